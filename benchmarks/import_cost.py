"""What ``import videos_async`` costs beside ``import aiohttp``, which it cannot do without.

Each import runs in a fresh interpreter; what counts is the processor time of that process less
that of one which imports nothing. The runs take turns, so a busy machine slows all alike, and
the least of each is taken, because noise only ever adds.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Final

import attrs

__all__ = ["TARGET", "ImportCost", "measure"]

TARGET: Final = 1.15
_STATEMENTS: Final[Mapping[str, str]] = {
    "nothing": "pass",
    "floor": "import aiohttp",
    "ours": "import videos_async",
}


@attrs.frozen(kw_only=True)
class ImportCost:
    """The processor time of both imports, in milliseconds."""

    floor_ms: float
    ours_ms: float

    @property
    def ratio(self) -> float:
        """How many times the floor ours costs."""
        return self.ours_ms / self.floor_ms


def measure(rounds: int = 20) -> ImportCost:
    """Measure both imports, taking turns.

    Args:
        rounds: How often each import runs.
    """
    for statement in _STATEMENTS.values():
        _cpu_ms(statement)  # writes the byte code, which only the first import ever pays
    best = dict.fromkeys(_STATEMENTS, float("inf"))
    for _ in range(rounds):
        for name, statement in _STATEMENTS.items():
            best[name] = min(best[name], _cpu_ms(statement))
    return ImportCost(
        floor_ms=best["floor"] - best["nothing"], ours_ms=best["ours"] - best["nothing"]
    )


def _cpu_ms(statement: str) -> float:
    before = os.times()
    subprocess.run([sys.executable, "-c", statement], check=True)
    after = os.times()
    seconds = after.children_user + after.children_system
    return (seconds - before.children_user - before.children_system) * 1000
