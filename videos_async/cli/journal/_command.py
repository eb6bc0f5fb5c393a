"""The commands of ``journal``: show it, list its doubts, resolve them, export it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import App, Parameter

from videos_async import Journal, JournalEntry, Key, KeyState
from videos_async.cli._escape import shown
from videos_async.cli._exit import BadInput, ExitCode
from videos_async.cli._output import Streams
from videos_async.cli._run import run
from videos_async.cli._unfinished import Unfinished
from videos_async.cli.journal._entries import (
    DOUBT_COLUMNS,
    ENTRY_COLUMNS,
    doubt_row,
    entry_line,
    entry_row,
    table,
)

__all__ = ["journal"]

journal = App(
    name="journal",
    help="""\
Look into the journal of a batch, and resolve what is in doubt.

A key is typed as it reads. A word of digits means the number, if the journal has that, and else
the text; `'"7"'`, a text in the quotes of JSON, always means the text. A journal can be looked at
while its batch runs; it can be changed only when it does not.
""",
    help_format="markdown",
)

File: TypeAlias = Annotated[Path, Parameter(help="The journal, DIR/journal.sqlite by default.")]
Keys: TypeAlias = Annotated[str, Parameter(help="The keys.", allow_leading_hyphen=False)]
States: TypeAlias = Annotated[
    list[KeyState] | None,
    Parameter(negative="", help="All keys in this state; may be given more than once."),
]
AsJson: TypeAlias = Annotated[
    bool,
    Parameter(name="--json", negative="", show_default=False, help="Write one object per line."),
]
Change: TypeAlias = Callable[[Journal, list[Key]], Awaitable[Sequence[JournalEntry]]]


@journal.command(name="show")
def _show(file: File, /, *keys: Keys, state: States = None, as_json: AsJson = False) -> ExitCode:
    """Show every key, or those that are named: its state, since when, its task, its file or error.

    How many keys are in which state is told on standard error, and who drives the journal now.
    """
    streams = Streams.standard()

    async def work(opened: Journal) -> ExitCode:
        # Not gathered first: there may be very many.
        entries = opened.entries(state or tuple(KeyState))
        if keys:
            entries = _each(await _named(opened, keys, state or ()))
        if as_json:
            async for entry in entries:
                streams.out.line(entry_line(entry))
        else:
            rows = [entry_row(entry) async for entry in entries]
            for line in table(ENTRY_COLUMNS, rows):
                streams.out.line(line)
        await _summarise(opened, streams)
        return ExitCode.DONE

    return _run(file, work, streams)


@journal.command(name="uncertain")
def _uncertain(file: File, /, *, as_json: AsJson = False) -> ExitCode:
    """List the keys that may be billed and have no task: when each was sent, and its prompt.

    The exit code is 3 when there are some, and 0 when there is none.
    """
    streams = Streams.standard()

    async def work(opened: Journal) -> ExitCode:
        entries = await opened.uncertain()
        if as_json:
            lines = [entry_line(entry) for entry in entries]
        else:
            lines = list(table(DOUBT_COLUMNS, map(doubt_row, entries))) if entries else []
        for line in lines:
            streams.out.line(line)
        if not entries:
            streams.err.line("videos-async: nothing is uncertain")
        return ExitCode.UNCERTAIN if entries else ExitCode.DONE

    return _run(file, work, streams)


@journal.command(name="rearm")
def _rearm(file: File, /, *keys: Keys, state: States = None, as_json: AsJson = False) -> ExitCode:
    """Allow one more submission of each key, which may be billed once more.

    For keys that are in doubt, and for those that ended without a video. Look them up at the
    service first: what was accepted after all is paid for twice then.
    """
    return _change(
        file,
        keys,
        lambda opened, found: opened.rearm(found),
        states=state or (),
        as_json=as_json,
        onwards=": the same batch command as before sends it",
    )


@journal.command(name="abandon")
def _abandon(file: File, /, *keys: Keys, state: States = None, as_json: AsJson = False) -> ExitCode:
    """Close keys: they are neither submitted nor watched any more. `rearm` opens them again."""
    return _change(
        file,
        keys,
        lambda opened, found: opened.abandon(found),
        states=state or (),
        as_json=as_json,
    )


@journal.command(name="adopt")
def _adopt(
    file: File,
    key: Annotated[str, Parameter(help="The key.")],
    task_id: Annotated[str, Parameter(help="The id of its task, found at the service.")],
    /,
    *,
    as_json: AsJson = False,
) -> ExitCode:
    """Attach the id of its task to a key in doubt: it is watched from then on, and not sent."""

    async def change(opened: Journal, keys: list[Key]) -> Sequence[JournalEntry]:
        return [await opened.adopt(keys[0], task_id)]

    return _change(
        file,
        (key,),
        change,
        as_json=as_json,
        onwards=": the same batch command as before watches it",
    )


@journal.command(name="export")
def _export(file: File, /) -> ExitCode:
    """Write everything the journal knows as JSON, one object per key, to standard output.

    {"key", "state", "task_id", "planned_at", "sent_at", "changed_at", "rearmed", "error",
    "request", "task", "file"}; times are in seconds since 1970.
    """
    streams = Streams.standard()

    async def work(opened: Journal) -> ExitCode:
        async for entry in opened.entries():
            streams.out.line(entry_line(entry))
        return ExitCode.DONE

    return _run(file, work, streams)


def _run(file: Path, work: Callable[[Journal], Awaitable[ExitCode]], streams: Streams) -> ExitCode:
    async def command() -> ExitCode:
        async with Journal(file) as opened:
            return await work(opened)

    return run(command, streams=streams, aftermath=Unfinished())


def _change(
    file: Path,
    words: Sequence[str],
    change: Change,
    *,
    as_json: bool,
    states: Sequence[KeyState] = (),
    onwards: str = "",
) -> ExitCode:
    streams = Streams.standard()
    if not words and not states:
        raise BadInput("no key was named: name them, or a state with --state")

    async def work(opened: Journal) -> ExitCode:
        before = await _named(opened, words, states)
        after = await change(opened, [entry.key for entry in before])
        for was, now in zip(before, after, strict=True):
            if as_json:
                streams.out.line(entry_line(now))
            else:
                became = f"{now.state.value} (was {was.state.value}){onwards}"
                streams.out.line(f"{shown(now.key)}  {became}")
        if not before:
            streams.err.line("videos-async: no key is in that state, and none was changed")
        return ExitCode.DONE

    return _run(file, work, streams)


async def _summarise(opened: Journal, streams: Streams) -> None:
    counts = await opened.counts()
    told = ", ".join(f"{number} {state.value}" for state, number in counts.items())
    parts = [f"{_number(sum(counts.values()))}: {told}" if counts else "no keys"]
    if not await opened.is_input_complete():
        parts.append("its input was not read to the end")
    driver = await opened.driver()
    if driver is not None:
        whose = "" if driver.pid is None else f" by process {driver.pid} on {shown(driver.host)}"
        parts.append(f"driven now{whose}")
    elif KeyState.INTENT in counts:
        parts.append("what is intent was under way when its process ended, and is uncertain")
    streams.err.line(f"videos-async: {'; '.join(parts)}")


def _number(keys: int) -> str:
    return "1 key" if keys == 1 else f"{keys} keys"


async def _named(
    opened: Journal, words: Sequence[str], states: Sequence[KeyState]
) -> list[JournalEntry]:
    """Find the entries that were meant, by key or state, each once, all of them or none."""
    found: dict[int | None, JournalEntry] = {}
    if states:
        found = {entry.position: entry async for entry in opened.entries(states)}
    unknown: list[str] = []
    for word in words:
        for key in _meanings(word):
            entry = await opened.find(key)
            if entry is not None:
                found.setdefault(entry.position, entry)
                break
        else:
            unknown.append(shown(word))
    if unknown:
        raise BadInput(
            f"journal {shown(opened.path)} knows no {', '.join(unknown)}: "
            "`videos-async journal show` lists its keys"
        )
    return list(found.values())


def _meanings(word: str) -> list[Key]:
    """List what a word can mean, the likeliest first."""
    meanings: list[Key] = [word]
    digits = word.removeprefix("-")
    # Of the number 7 this is the one way to write it.
    if digits.isascii() and digits.isdigit() and str(int(digits[:400])) == digits:
        meanings.insert(0, int(word))
    if word.startswith('"'):
        try:
            quoted: object = json.loads(word)
        except ValueError:
            quoted = None
        if isinstance(quoted, str):
            meanings.append(quoted)
    return meanings


async def _each(entries: Sequence[JournalEntry]) -> AsyncIterator[JournalEntry]:
    for entry in entries:
        yield entry
