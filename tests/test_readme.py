"""The README is true: its Python blocks run as they are printed, against the emulator."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from videos_async.emulator import Media, VideosEmulator, VirtualClock

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def test_there_are_blocks_to_run() -> None:
    assert len(BLOCKS) >= 6


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_python_block_runs_as_printed(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Top-level await, as in `python -m asyncio`; names of earlier blocks are in reach.
    imports = "\n".join(re.findall(r"^from videos_async import .*$", BLOCKS[0], re.MULTILINE))
    names: dict[str, Any] = {}
    exec(imports, names)
    code = compile(BLOCKS[number], "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    monkeypatch.chdir(tmp_path)

    # Minutes of polling take as long as the requests themselves.
    clock = VirtualClock()

    async def run() -> None:
        async with VideosEmulator(clock=clock, media=Media.SAMPLE) as emulator:
            monkeypatch.setenv("VIDEOS_API_KEY", emulator.api_key)
            monkeypatch.setenv("VIDEOS_BASE_URL", emulator.base_url)
            outcome = eval(code, names)
            if inspect.isawaitable(outcome):
                await outcome

    with asyncio.Runner(loop_factory=clock.new_event_loop) as runner:
        runner.run(run())


def test_the_first_two_sh_blocks_are_the_two_commands() -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```$", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert [block.count("\n") for block in blocks[:2]] == [1, 1]
    assert "videos-async generate" in blocks[0]
    assert "--emulator" in blocks[0]
    assert blocks[1].rstrip().endswith("-m pytest")
