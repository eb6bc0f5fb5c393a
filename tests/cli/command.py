"""Runs the command as its users do: as a process of its own, with an environment of its own.

Most runs are forked from a process that has the command imported (`tests.cli.forks`), as the start
of an interpreter takes far longer than most of what is looked at. `Start.FRESH` starts one.
"""

from __future__ import annotations

import atexit
import enum
import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Protocol

import anyio
import attrs
from anyio.abc import ByteReceiveStream
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.cli.forks import Forks
from videos_async.emulator import VideosEmulator

__all__ = [
    "COMMAND",
    "Ended",
    "Running",
    "Start",
    "environment",
    "of",
    "run_command",
    "running",
    "unread_pipe",
]

MODULE: Final = "videos_async.cli"
COMMAND: Final = (sys.executable, "-m", MODULE)
# Two cores are shared with whatever else runs; the test's own limit is 30 s.
_LIMIT_S: Final = 25.0
# What the kernel takes into a pipe that nobody reads yet, by POSIX at the least.
_PIPE_BYTES: Final = 512


class Start(enum.Enum):
    """How a run begins."""

    FORKED = "forked"
    FRESH = "fresh"


@attrs.frozen
class Ended:
    """What a command left: its exit code and both of its streams."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Standard output as JSON lines; anything else there is an error."""
        return [json.loads(line) for line in self.out.splitlines()]


def environment(**variables: str) -> dict[str, str]:
    """Make an environment without a trace of the one the tests run in."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VIDEOS_")}
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "COLUMNS", "TERM"):
        kept.pop(name, None)
    return {**kept, "PYTHONWARNINGS": "default", **variables}


def of(emulator: VideosEmulator) -> dict[str, str]:
    """Make the environment of a user of that emulator."""
    return environment(VIDEOS_API_KEY=emulator.api_key, VIDEOS_BASE_URL=emulator.base_url)


async def run_command(
    *arguments: str,
    env: dict[str, str],
    cwd: Path | None = None,
    out: int = subprocess.PIPE,
    stdin: bytes = b"",
    start: Start = Start.FORKED,
    module: str = MODULE,
    speed: float = 1,
) -> Ended:
    """Run a command to its end.

    Args:
        arguments: What follows its name.
        env: Its environment.
        cwd: Its directory; by default the one of the tests.
        out: Where its standard output goes if not back here.
        stdin: What its standard input brings.
        start: How it begins.
        module: What is run in place of the command.
        speed: How many seconds pass on its event loop in one; of a fork alone.
    """
    if start is Start.FRESH:
        assert speed == 1
        with anyio.fail_after(_LIMIT_S):
            done = await anyio.run_process(
                [sys.executable, "-m", module, *arguments],
                check=False,
                env=env,
                cwd=cwd,
                input=stdin,
                stdout=out,
            )
        return Ended(done.returncode, (done.stdout or b"").decode(), done.stderr.decode())
    async with _forked(
        module, *arguments, env=env, cwd=cwd, out=out, stdin=stdin, speed=speed
    ) as run:
        return await run.end()


@contextmanager
def unread_pipe() -> Generator[int]:
    """Make a pipe whose reader has gone, to be a command's standard output."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)


class RunningProcess(Protocol):
    """What a test may do to the process of a run."""

    @property
    def pid(self) -> int:
        """Its id."""
        ...

    def send_signal(self, signal: signal.Signals) -> None:
        """Send it a signal."""
        ...

    async def wait(self) -> int:
        """Wait for its end; gives its exit code, negative for a signal."""
        ...


@attrs.frozen
class Running:
    """A command that is still at work."""

    process: RunningProcess
    out: BufferedByteReceiveStream
    err: BufferedByteReceiveStream

    async def line(self) -> str:
        """Read one line of standard output."""
        return (await self.out.receive_until(b"\n", 1 << 16)).decode()

    async def end(self) -> Ended:
        """Read what is left, and wait for the end."""
        with anyio.fail_after(_LIMIT_S):
            rest = [await _rest(self.out), await _rest(self.err)]
            code = await self.process.wait()
        return Ended(code, *rest)


@asynccontextmanager
async def running(
    *arguments: str, env: dict[str, str], cwd: Path | None = None, start: Start = Start.FORKED
) -> AsyncGenerator[Running]:
    """Start a command, to be watched or bothered while it runs."""
    begun = _fresh if start is Start.FRESH else _forked
    async with begun(MODULE, *arguments, env=env, cwd=cwd) as run:
        with anyio.fail_after(_LIMIT_S):
            yield run


async def _rest(stream: BufferedByteReceiveStream) -> str:
    pieces: list[bytes] = []
    while True:
        try:
            pieces.append(await stream.receive())
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            return b"".join(pieces).decode()


# --- a fresh interpreter -------------------------------------------------------------------


@asynccontextmanager
async def _fresh(
    module: str, *arguments: str, env: dict[str, str], cwd: Path | None
) -> AsyncGenerator[Running]:
    command = [sys.executable, "-m", module, *arguments]
    process = await anyio.open_process(command, env=env, cwd=cwd, stdin=subprocess.DEVNULL)
    async with process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            yield Running(
                process,
                BufferedByteReceiveStream(process.stdout),
                BufferedByteReceiveStream(process.stderr),
            )
        finally:
            if process.returncode is None:
                process.kill()


# --- a fork --------------------------------------------------------------------------------


@functools.cache
def _forks() -> Forks:
    forks = Forks(environment())
    atexit.register(forks.close)
    return forks


class _PipeEnd(ByteReceiveStream):
    """What comes out of a pipe."""

    def __init__(self, number: int) -> None:
        self._number = number

    async def receive(self, max_bytes: int = 1 << 16) -> bytes:
        await anyio.wait_readable(self._number)
        if piece := os.read(self._number, max_bytes):
            return piece
        raise anyio.EndOfStream

    async def aclose(self) -> None:
        os.close(self._number)


class _Fork:
    """The process of a run, by what its keeper tells of it."""

    def __init__(self, pid: int, told: BufferedByteReceiveStream) -> None:
        self.pid = pid
        self._told = told
        self._code: int | None = None

    def send_signal(self, signal: signal.Signals) -> None:
        # One that has just ended hears nothing, as one that nobody has waited for.
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal)

    async def wait(self) -> int:
        if self._code is None:
            self._code = int(await self._told.receive_until(b"\n", 16))
        return self._code


@asynccontextmanager
async def _forked(
    module: str,
    *arguments: str,
    env: dict[str, str],
    cwd: Path | None,
    out: int = subprocess.PIPE,
    stdin: bytes = b"",
    speed: float = 1,
) -> AsyncGenerator[Running]:
    assert len(stdin) <= _PIPE_BYTES, "it is written before anybody reads"
    async with AsyncExitStack() as ends:

        def read_end(number: int) -> BufferedByteReceiveStream:
            end = _PipeEnd(number)
            ends.push_async_callback(end.aclose)
            return BufferedByteReceiveStream(end)

        with ExitStack() as given:
            theirs, filled = os.pipe()
            given.callback(os.close, theirs)
            os.write(filled, stdin)
            os.close(filled)
            (read_out, write_out), (read_err, write_err) = os.pipe(), os.pipe()
            given.callback(os.close, write_out)
            given.callback(os.close, write_err)
            streams = read_end(read_out), read_end(read_err)
            kept = _forks().start(
                module,
                *arguments,
                environment=env,
                directory=cwd or Path.cwd(),
                streams=(theirs, write_out if out == subprocess.PIPE else out, write_err),
                speed=speed,
            )
        told = read_end(kept)
        with anyio.fail_after(_LIMIT_S):
            process = _Fork(int(await told.receive_until(b"\n", 16)), told)
        try:
            yield Running(process, *streams)
        finally:
            with anyio.CancelScope(shield=True):
                process.send_signal(signal.SIGKILL)
                await process.wait()
