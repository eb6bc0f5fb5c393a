"""What ``import videos_async`` costs beside ``import aiohttp``, which it cannot do without.

Each import runs in a fresh interpreter; what counts is the processor time of that process less
that of one which imports nothing. The runs take turns, so a busy machine slows all alike, and
the least of each is taken, because noise only ever adds.
"""

from __future__ import annotations

import resource
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
    "package": "import videos_async",
    "session": "from videos_async import VideosSession",
}


@attrs.frozen(kw_only=True)
class ImportCost:
    """The processor time of each import, in milliseconds.

    Attributes:
        floor_ms: ``import aiohttp``.
        package_ms: ``import videos_async``, which loads its names when they are first used.
        session_ms: ``from videos_async import VideosSession``, which loads all that a call needs.
    """

    floor_ms: float
    package_ms: float
    session_ms: float


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
    nothing_ms = best.pop("nothing")
    return ImportCost(**{f"{name}_ms": spent_ms - nothing_ms for name, spent_ms in best.items()})


def _cpu_ms(statement: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", statement], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000
