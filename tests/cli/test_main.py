"""The command as a whole: help, version, missing extra, broken pipes and its own bugs."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import sysconfig
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.cli.command import Start, environment, run_command, unread_pipe
from tests.raw_server import RawServer, answer
from videos_async import __version__
from videos_async.cli._exit import ExitCode
from videos_async.cli._output import Output, Streams
from videos_async.cli._run import run
from videos_async.cli._unfinished import Unfinished

_WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {name!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
import videos_async.cli
sys.exit(videos_async.cli.main(["--version"]))
"""


@pytest.mark.parametrize("missing", ["cyclopts", "rich"])
def test_missing_extra_is_one_sentence_that_says_how_to_get_it(missing: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT.format(name=missing)],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "videos-async: the command needs its extra: "
        "install it with pip install 'videos-async[cli]'\n"
    )


async def test_version_is_the_package_s() -> None:
    ended = await run_command("--version", env=environment(), start=Start.FRESH)
    assert (ended.code, ended.out) == (0, f"videos-async {__version__}\n")


def test_the_installed_script_is_the_command() -> None:
    script = Path(sysconfig.get_path("scripts"), "videos-async")
    done = subprocess.run(
        [script, "--version"], capture_output=True, text=True, check=False, env=environment()
    )
    assert (done.returncode, done.stdout) == (0, f"videos-async {__version__}\n"), done.stderr


async def test_help_documents_every_exit_code() -> None:
    ended = await run_command("--help", env=environment(), start=Start.FRESH)

    assert ended.code == 0
    assert all(f"{code.value}:" in ended.out for code in ExitCode)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
async def test_reader_that_is_gone_before_the_first_line_is_no_accident(
    arguments: list[str],
) -> None:
    with unread_pipe() as out:
        ended = await run_command(*arguments, env=environment(), out=out)

    assert (ended.code, ended.err) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full disk to write to")  # noqa: PTH110
async def test_output_that_cannot_be_written_is_said_and_not_exit_code_0() -> None:
    async with RawServer(answer(200, {"id": "v", "status": "queued"})) as server:
        env = environment(VIDEOS_API_KEY="a-key", VIDEOS_BASE_URL=server.url)
        full = os.open("/dev/full", os.O_WRONLY)
        try:
            ended = await run_command("query", "v", env=env, out=full)
        finally:
            os.close(full)

    assert ended.code == 4
    assert ended.err.startswith("videos-async: the output could not be written: ")
    assert ended.err.count("\n") == 1


def told(command: Callable[[], Awaitable[ExitCode]]) -> tuple[ExitCode, str]:
    streams = Streams(Output(io.StringIO()), Output(err := io.StringIO()))
    return run(command, streams=streams, aftermath=Unfinished()), err.getvalue()


def test_bug_of_the_command_is_one_paragraph_with_its_own_exit_code() -> None:
    async def broken() -> ExitCode:
        raise KeyError("no such\nthing")

    code, err = told(broken)

    assert code == ExitCode.BUG
    assert err.startswith(r"videos-async: this is a bug: KeyError: 'no such\nthing'. Please report")
    assert err.count("\n") == 1
