"""Starts the command within milliseconds: ``python -m tests.cli.forks`` has it imported already.

An interpreter takes half a second to start and import the command, and the tests of it start some
hundred and fifty. Here one process imports it once and forks for each run, so that a run is a
process like any other: its memory, exit code, signals and standard streams are its own, and it
ends as an interpreter does. What a run is given is what `subprocess` would give it: arguments, an
environment, a directory, three descriptors, and whether it is deaf to Ctrl-C. Where a test asks for
it, time runs faster on its event loop (`tests.scaled_clock`).

What only a fresh interpreter can show is left to those who start one (`tests.cli.command.Start`):
that the script is installed, what is imported and what warns of it, and what Python reads of its
environment at its start.

Requests come over the socket that is the standard input, each as its length and then as JSON, with
descriptors beside the length: the three streams, and a pipe on which the run's *keeper* tells its
process id, and its exit code once it has ended. Each run has a keeper, a process that does nothing
but wait for it.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from io import BufferedReader, BufferedWriter, FileIO, TextIOWrapper
from pathlib import Path
from typing import Any, Final, NoReturn

import attrs

from tests.scaled_clock import scaled_loop

__all__ = ["Forks"]

# What the commands load, at once or where they need it.
_LOADED: Final = ("videos_async.cli._app", "videos_async.emulator", "videos_async.journal")
_ROOT: Final = Path(__file__).parent.parent.parent
_LENGTH_BYTES: Final = 4
# What the interpreter reads as it starts, and a fork can no longer be told.
_AT_START: Final = "PYTHON"


@attrs.frozen
class _Told:
    """What a run is given besides its descriptors."""

    module: str
    arguments: list[str]
    environment: dict[str, str]
    directory: str
    is_deaf_to_ctrl_c: bool
    speed: float


# --- as the tests see it -------------------------------------------------------------------


class Forks:
    """The process that makes the runs.

    Args:
        environment: The one it is started with. A run's own may differ, but for what an
            interpreter reads as it starts.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._at_start = _read_at_start(environment)
        self._requests, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.cli.forks"],
                cwd=_ROOT,
                env=dict(environment),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
            )

    def close(self) -> None:
        """End it; runs go on."""
        self._requests.close()
        self._process.wait(timeout=10)

    def start(
        self,
        module: str,
        *arguments: str,
        environment: Mapping[str, str],
        directory: Path,
        streams: tuple[int, int, int],
        speed: float,
    ) -> int:
        """Start a run.

        Args:
            module: What is run, as ``python -m`` does.
            arguments: What follows its name.
            environment: Its environment.
            directory: Where it runs.
            streams: Its standard input, output and error; they stay the caller's.
            speed: How many seconds pass on its event loop in one.

        Returns:
            The end of a pipe, the caller's from now on, which brings two lines: its process id,
            and once it has ended its exit code, negative for a signal.
        """
        assert _read_at_start(environment) == self._at_start, "this takes a fresh interpreter"
        told = _Told(
            module=module,
            arguments=list(arguments),
            environment=dict(environment),
            directory=str(directory),
            is_deaf_to_ctrl_c=signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
            speed=speed,
        )
        kept, keeper = os.pipe()
        try:
            request = json.dumps(attrs.asdict(told)).encode()
            length = len(request).to_bytes(_LENGTH_BYTES)
            socket.send_fds(self._requests, [length], [*streams, keeper])
            self._requests.sendall(request)
        except BaseException:
            os.close(kept)
            raise
        finally:
            os.close(keeper)
        return kept


def _read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in environment.items() if name.startswith(_AT_START)}


# --- the process itself --------------------------------------------------------------------


def main() -> None:
    """Fork as one is told until nobody can tell any more."""
    for name in _LOADED:
        importlib.import_module(name)
    # What is there now is never collected, so its pages stay shared.
    gc.collect()
    gc.freeze()
    # Ctrl-C at the tests' terminal is theirs to hear. Keepers go without anybody's notice.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(fileno=os.dup(0)) as requests:
        while True:
            length, descriptors, _, _ = socket.recv_fds(requests, _LENGTH_BYTES, 4)
            if not length:
                return
            request = requests.recv(int.from_bytes(length), socket.MSG_WAITALL)
            told = _Told(**json.loads(request))
            *streams, keeper = descriptors
            if os.fork() == 0:
                requests.close()
                _keep(told, streams, keeper)
            for each in descriptors:
                os.close(each)


def _keep(told: _Told, streams: list[int], keeper: int) -> NoReturn:
    """Run it in a process of its own, and tell how that went."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        os.close(keeper)
        _run(told, streams)
    for each in streams:
        os.close(each)
    os.write(keeper, b"%d\n" % pid)
    _, status = os.waitpid(pid, 0)
    os.write(keeper, b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _run(told: _Told, streams: list[int]) -> NoReturn:
    """Become the command: from here on all is as after the start of its interpreter."""
    for number, each in enumerate(streams):
        os.dup2(each, number)
        os.close(each)
    for name in ("stdin", "stdout", "stderr"):
        stream = _opened_anew(getattr(sys, name))
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    deaf = told.is_deaf_to_ctrl_c
    signal.signal(signal.SIGINT, signal.SIG_IGN if deaf else signal.default_int_handler)
    os.environ.clear()
    os.environ.update(told.environment)
    os.chdir(told.directory)
    sys.path[0] = told.directory
    sys.argv = ["", *told.arguments]
    if told.speed != 1:
        _run_faster(told.speed)
    runpy.run_module(told.module, run_name="__main__", alter_sys=True)
    sys.exit()


def _run_faster(speed: float) -> None:
    """Let time run faster on every event loop of this process."""

    class Policy(asyncio.DefaultEventLoopPolicy):
        def new_event_loop(self) -> asyncio.AbstractEventLoop:
            return scaled_loop(speed)()

    # The only way to reach a loop that somebody else runs.
    asyncio.set_event_loop_policy(Policy())  # pyright: ignore[reportDeprecated]


def _opened_anew(stream: Any) -> TextIOWrapper:
    """Open a standard stream as the interpreter did, on what its descriptor is now."""
    is_read = stream is sys.stdin
    unbuffered = stream.write_through and not is_read
    raw = FileIO(stream.fileno(), "r" if is_read else "w", closefd=False)
    return TextIOWrapper(
        BufferedReader(raw) if is_read else raw if unbuffered else BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        newline="\n",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


if __name__ == "__main__":
    main()
