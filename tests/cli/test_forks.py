"""Runs that are forked, against those that start an interpreter: nothing tells them apart."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.cli.command import Ended, Start, environment, run_command, running

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@needs_proc
@pytest.mark.parametrize("is_deaf", [False, True], ids=["Ctrl-C heard", "Ctrl-C ignored"])
async def test_a_fork_is_in_the_world_of_a_fresh_interpreter(
    tmp_path: Path, *, is_deaf: bool
) -> None:
    if is_deaf:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    forks = environment(VIDEOS_API_KEY="a-key")
    root = os.getcwd()  # noqa: PTH109 - text for an environment

    async def told(start: Start, env: dict[str, str]) -> Ended:
        return await run_command(
            *("one", "--two=2", "drei "),
            module="tests.cli.world",
            env=env,
            cwd=tmp_path,
            stdin=b"a\r\nb",
            start=start,
        )

    forked = await told(Start.FORKED, forks)
    # It has to find the tests first.
    fresh = await told(Start.FRESH, {**forks, "PYTHONPATH": root})
    assert fresh.code == 1, fresh.err
    assert fresh.err == "the end\n"
    assert (forked.code, forked.err) == (fresh.code, fresh.err)
    [here], [there] = forked.objects, fresh.objects
    assert there["environment"].pop("PYTHONPATH") == root
    assert here == there


async def test_forks_end_by_what_kills_them_and_are_told_apart(tmp_path: Path) -> None:
    arguments = ("emulate", "--port", "0")
    async with (
        running(*arguments, env=environment()) as one,
        running(*arguments, env=environment()) as another,
    ):
        for command in (one, another):
            await command.line()
        one.process.send_signal(signal.SIGKILL)
        assert (await one.end()).code == -signal.SIGKILL
        another.process.send_signal(signal.SIGTERM)
        assert (await another.end()).code == -signal.SIGTERM
    assert one.process.pid != another.process.pid


async def test_what_an_interpreter_reads_at_its_start_takes_a_fresh_one() -> None:
    with pytest.raises(AssertionError, match="takes a fresh interpreter"):
        await run_command("--version", env=environment(PYTHONOPTIMIZE="1"))
