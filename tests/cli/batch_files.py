"""What the tests of ``batch`` write for it and read of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.raw_server import Line, Request

__all__ = ["AsRead", "prompts", "results"]


class AsRead(Line):
    """A line whose request was read already, for scripts that begin by reading it."""

    def __init__(self, line: Line) -> None:
        self.__dict__ = line.__dict__

    async def read_request(self) -> Request:
        assert self.request is not None
        return self.request


def prompts(tmp_path: Path, *lines: str, name: str = "prompts.txt") -> str:
    """Write an input and tell its name."""
    (tmp_path / name).write_text("\n".join(lines), encoding="utf-8")
    return name


def results(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a results file, which are whole."""
    text = path.read_text(encoding="ascii")
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]
