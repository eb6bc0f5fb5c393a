"""The commands: what is typed becomes a call of one of the rooms beside this one."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Final, TypeAlias

from cyclopts import App, CycloptsError, Parameter

from videos_async import VideosSession, __version__, validate
from videos_async.cli._display import LiveReport
from videos_async.cli._emulate import Emulation, EmulatorOptions
from videos_async.cli._escape import shown
from videos_async.cli._exit import EXIT_CODES, BadInput, ExitCode
from videos_async.cli._follow import Watching, download, query
from videos_async.cli._generate import generate
from videos_async.cli._options import (
    EmulatorFlag,
    FileOptions,
    ServiceOptions,
    Timeout,
    VideoOptions,
)
from videos_async.cli._output import Streams
from videos_async.cli._report import JsonReport, PlainReport, Report
from videos_async.cli._run import run, told
from videos_async.cli._service import open_emulated, open_service
from videos_async.cli._target import check_current_directory, check_target
from videos_async.cli._unfinished import Unfinished
from videos_async.cli.batch import batch
from videos_async.cli.journal import journal

__all__ = ["run_app"]

Work: TypeAlias = Callable[[VideosSession, Report], Awaitable[ExitCode]]
TaskId: TypeAlias = Annotated[str, Parameter(help="The task's id, as `generate` showed it.")]

_DEFAULT_TIMEOUT_S: Final = 1800.0
_VIDEO_OPTIONS: Final = VideoOptions()
_FILE_OPTIONS: Final = FileOptions()
_SERVICE_OPTIONS: Final = ServiceOptions()
_EMULATOR_OPTIONS: Final = EmulatorOptions()

_app = App(
    name="videos-async",
    help="""\
Make videos with the Videos API: submit a prompt, watch it, save the file.

The key is read from the environment's VIDEOS_API_KEY and the address from VIDEOS_BASE_URL.
`videos-async generate PROMPT --emulator` needs neither, no network and no money.
""",
    help_epilogue=EXIT_CODES,
    help_format="markdown",
    version=f"videos-async {__version__}",
)


def run_app(arguments: Sequence[str]) -> ExitCode:
    """Run the command that was typed.

    Args:
        arguments: What follows the command's name.

    Returns:
        The exit code.
    """
    streams = Streams.standard()
    # Without a handler Python prints what libraries log, tracebacks included. What matters of it
    # comes back as an error, and errors are told in a paragraph.
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        code = _app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        text = " ".join(str(error).split())
        streams.err.line(f"videos-async: {shown(text)} (`videos-async --help` shows the usage)")
        return ExitCode.BAD_INPUT
    except SystemExit:
        # Only the help page does this, when its reader went away in the middle of it.
        return ExitCode.DONE
    except BaseException as error:  # noqa: BLE001 - as in `run`
        return told(error, streams=streams, aftermath=Unfinished())
    return code if isinstance(code, ExitCode) else ExitCode.DONE


@_app.command(name="generate")
def _generate(
    prompt: Annotated[str, Parameter(help="What to show, up to 1500 characters.")],
    /,
    *,
    video: VideoOptions = _VIDEO_OPTIONS,
    file: FileOptions = _FILE_OPTIONS,
    timeout: Timeout = _DEFAULT_TIMEOUT_S,
    emulator: EmulatorFlag = False,
    service: ServiceOptions = _SERVICE_OPTIONS,
) -> ExitCode:
    """Make one video: submit it, show its transitions, save the file.

    Submitting is the call that is billed, and it goes out once.

    With --json each transition is one object on a line of its own, with every key every time:
    {"key", "task_id", "previous", "status", "elapsed", "error", "task", "saved"}. "elapsed" is
    in seconds, "error" is null or {"type", "message"}, "task" is what the service said under its
    own names, and "saved" is null until the last object of a saved video:
    {"path", "size_bytes", "sha256", "is_verified"}.
    """
    request = video.request(prompt)
    unfinished = Unfinished(base_url=service.base_url, is_emulated=emulator)
    if emulator and service.base_url is not None:
        raise BadInput("--emulator and --base-url exclude each other: leave one of them out")

    async def work(session: VideosSession, report: Report) -> ExitCode:
        return await generate(
            session,
            request,
            timeout_s=timeout,
            saving=file.saving,
            report=report,
            unfinished=unfinished,
        )

    def check(streams: Streams) -> None:
        # All that can be wrong is said before the paid call, not after it.
        validate(request)
        if file.output is None:
            check_current_directory()
        else:
            check_target(file.output, file.saving.on_existing)
        if emulator:
            streams.err.line("This is the emulator: nothing is sent anywhere, nothing is billed.")

    return _run(
        work,
        service=service,
        unfinished=unfinished,
        check=check,
        session=open_emulated() if emulator else open_service(service.base_url),
    )


@_app.command(name="query")
def _query(task_id: TaskId, /, *, service: ServiceOptions = _SERVICE_OPTIONS) -> ExitCode:
    """Ask once how a task stands; free. A failed task makes the exit code 1."""

    async def work(session: VideosSession, report: Report) -> ExitCode:
        return await query(session, task_id, report=report)

    unfinished = Unfinished(base_url=service.base_url)
    return _run(work, service=service, unfinished=unfinished)


@_app.command(name="watch")
def _watch(
    task_id: TaskId,
    /,
    *more: Annotated[str, Parameter(help="More ids; all are watched at once.")],
    timeout: Timeout = _DEFAULT_TIMEOUT_S,
    service: ServiceOptions = _SERVICE_OPTIONS,
) -> ExitCode:
    """Follow tasks to their ends, each transition once; free.

    Each task is asked for once at the start and then every 30 to 60 seconds, as the service
    advises. One task's trouble does not end the others; of several exit codes the worst counts.
    """
    unfinished = Unfinished(base_url=service.base_url)

    async def work(session: VideosSession, report: Report) -> ExitCode:
        watching = Watching(session=session, report=report, unfinished=unfinished)
        return await watching.run((task_id, *more), timeout_s=timeout)

    return _run(work, service=service, unfinished=unfinished)


@_app.command(name="download")
def _download(
    task_id: TaskId,
    /,
    *,
    file: FileOptions = _FILE_OPTIONS,
    service: ServiceOptions = _SERVICE_OPTIONS,
) -> ExitCode:
    """Save the video of a completed task; free, and possible for about 24 hours."""
    unfinished = Unfinished(base_url=service.base_url)

    async def work(session: VideosSession, report: Report) -> ExitCode:
        return await download(
            session, task_id, saving=file.saving, report=report, unfinished=unfinished
        )

    def check(_: Streams) -> None:
        check_target(file.saving.path_of(task_id), file.saving.on_existing)

    return _run(work, service=service, unfinished=unfinished, check=check)


@_app.command(name="emulate")
def _emulate(*, options: EmulatorOptions = _EMULATOR_OPTIONS) -> ExitCode:
    """Run the service on this machine until Ctrl-C, and print the two variables that lead to it.

    A prompt with [refuse] in it is failed at once, one with [fail] when its processing ends. A page
    at / shows tasks, ledger and last requests, and switches faults; /openapi.json describes the
    API as it is without them.
    """
    streams = Streams.standard()
    emulation = Emulation(options=options, streams=streams)
    return run(emulation.run, streams=streams, aftermath=emulation)


_app.command(batch)
_app.command(journal)


def _nothing_to_check(_: Streams) -> None: ...


def _run(
    work: Work,
    *,
    service: ServiceOptions,
    unfinished: Unfinished,
    check: Callable[[Streams], None] = _nothing_to_check,
    session: AbstractAsyncContextManager[VideosSession] | None = None,
) -> ExitCode:
    """Open a session and a report, and do a command's work in them."""
    streams = Streams.standard()

    async def command() -> ExitCode:
        check(streams)
        async with session or open_service(service.base_url) as opened:
            with _report(streams, service) as report:
                return await work(opened, report)

    return run(command, streams=streams, aftermath=unfinished)


def _report(streams: Streams, service: ServiceOptions) -> Report:
    if service.json:
        return JsonReport(streams.out)
    return LiveReport(streams.out) if streams.out.is_terminal else PlainReport(streams.out)
