"""The one place where an event loop runs, and where every way it can end becomes an exit code."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Iterator
from typing import Protocol, cast

import anyio

from videos_async import JournalWriteFailed, VideosError
from videos_async.cli._escape import shown
from videos_async.cli._exit import BadInput, ExitCode, code_of, worst
from videos_async.cli._lines import in_words_of_the_command
from videos_async.cli._output import Streams

__all__ = ["Aftermath", "run", "told"]


class Aftermath(Protocol):
    """What a command leaves behind if it stops now."""

    def parting(self) -> tuple[str, ExitCode]:
        """What to say on an interruption, and what the command then comes to."""
        ...

    def next_step(self, error: BaseException) -> str | None:
        """The command that goes on from an error, where one does."""
        ...


def run(
    command: Callable[[], Awaitable[ExitCode]], *, streams: Streams, aftermath: Aftermath
) -> ExitCode:
    """Run a command to its end, whatever that is.

    Ctrl-C cancels it first, so that it closes its connections, and is told afterwards.

    Args:
        command: The command; its errors become a paragraph each.
        streams: Where that paragraph goes.
        aftermath: What the command left behind.

    Returns:
        The exit code.
    """
    try:
        code = anyio.run(command)
    except BaseException as error:  # noqa: BLE001 - a command ends in a sentence, never a traceback
        code = told(error, streams=streams, aftermath=aftermath)
    if streams.out.trouble is not None:
        lost = f"the output could not be written: {shown(streams.out.trouble)}"
        streams.err.line(f"videos-async: {lost}")
        code = code or ExitCode.SERVICE
    return code


def told(error: BaseException, *, streams: Streams, aftermath: Aftermath) -> ExitCode:
    """Tell what ended a command, and what it comes to; of several errors the worst counts."""
    errors = list(_leaves(error))
    for one in errors:
        if isinstance(one, KeyboardInterrupt):
            # The process is leaving: another Ctrl-C could only garble its last line and its code.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            text, code = aftermath.parting()
            streams.err.line(f"videos-async: {text}")
            return code
    return worst([_told_one(one, streams, aftermath) for one in errors])


def _told_one(error: BaseException, streams: Streams, aftermath: Aftermath) -> ExitCode:
    if isinstance(error, JournalWriteFailed) and error.unwritten:
        # Each on a line of its own, as a long text is cut, and nothing else knows them.
        head = f"journal {error.path} {error.problem}"
        streams.err.line(f"videos-async: {shown(head)}")
        streams.err.line("videos-async: these ids are paid for and stand nowhere else, by key:")
        for key, task_id in error.unwritten.items():
            streams.err.line(f"videos-async: {shown(key)}: {shown(task_id)}")
        return code_of(error)
    if isinstance(error, (VideosError, BadInput)):
        step = aftermath.next_step(error)
        onwards = "" if step is None else f": {step}"
        streams.err.line(f"videos-async: {shown(in_words_of_the_command(error))}{onwards}")
        return code_of(error)
    streams.err.line(
        f"videos-async: this is a bug: {type(error).__name__}: {shown(error)}. "
        "Please report it, together with the command that led to it"
    )
    return ExitCode.BUG


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Take errors out of the groups that task groups, or a watch of several, put around them."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        for member in group.exceptions:
            yield from _leaves(member)
    else:
        yield error
