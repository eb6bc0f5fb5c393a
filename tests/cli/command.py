"""Runs the command as its users do: as a process of its own, with an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import attrs
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from videos_async.emulator import VideosEmulator

__all__ = [
    "COMMAND",
    "Ended",
    "Running",
    "environment",
    "of",
    "run_command",
    "running",
    "unread_pipe",
]

COMMAND: Final = (sys.executable, "-m", "videos_async.cli")
# Two cores are shared with whatever else runs; the test's own limit is 30 s.
_LIMIT_S: Final = 25.0


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
) -> Ended:
    """Run a command to its end; `out` is where its standard output goes if not back here."""
    with anyio.fail_after(_LIMIT_S):
        done = await anyio.run_process(
            [*COMMAND, *arguments],
            check=False,
            env=env,
            cwd=cwd,
            input=stdin,
            stdout=out,
        )
    return Ended(done.returncode, (done.stdout or b"").decode(), done.stderr.decode())


@contextmanager
def unread_pipe() -> Generator[int]:
    """Make a pipe whose reader has gone, to be a command's standard output."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)


@attrs.frozen
class Running:
    """A command that is still at work."""

    process: Process
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
    *arguments: str, env: dict[str, str], cwd: Path | None = None
) -> AsyncGenerator[Running]:
    """Start a command, to be watched or bothered while it runs."""
    process = await anyio.open_process(
        [*COMMAND, *arguments], env=env, cwd=cwd, stdin=subprocess.DEVNULL
    )
    async with process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            with anyio.fail_after(_LIMIT_S):
                yield Running(
                    process,
                    BufferedByteReceiveStream(process.stdout),
                    BufferedByteReceiveStream(process.stderr),
                )
        finally:
            if process.returncode is None:
                process.kill()


async def _rest(stream: BufferedByteReceiveStream) -> str:
    pieces: list[bytes] = []
    while True:
        try:
            pieces.append(await stream.receive())
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            return b"".join(pieces).decode()
