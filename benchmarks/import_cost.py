"""What ``import videos_async`` costs beside ``import aiohttp``, which it cannot do without.

Each import runs in a fresh interpreter; what counts is the processor time of that process less
that of one which imports nothing. The runs take turns, so a busy machine slows all alike, and
the least of each is taken, because noise only ever adds.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Final

from benchmarks.report import Row, Scale

__all__ = ["TARGET", "measure"]

TARGET: Final = 1.15
_ROUNDS: Final = {Scale.FULL: 20, Scale.QUICK: 2}
_STATEMENTS: Final[Mapping[str, str]] = {
    "nothing": "pass",
    "floor": "import aiohttp",
    "package": "import videos_async",
    "session": "from videos_async import VideosSession",
}


def measure(scale: Scale) -> Iterator[Row]:
    """Measure the imports, taking turns.

    Args:
        scale: How much is measured.
    """
    for statement in _STATEMENTS.values():
        _cpu_ms(statement)  # writes the byte code, which only the first import ever pays
    best = dict.fromkeys(_STATEMENTS, float("inf"))
    for _ in range(_ROUNDS[scale]):
        for name, statement in _STATEMENTS.items():
            best[name] = min(best[name], _cpu_ms(statement))
    floor_ms = best["floor"] - best["nothing"]
    for name, limit in (("package", TARGET), ("session", None)):
        ours_ms = best[name] - best["nothing"]
        yield Row(
            what=f"CPU of `{_STATEMENTS[name]}`, floor: `{_STATEMENTS['floor']}`",
            unit="ms",
            floor=floor_ms,
            ours=ours_ms,
            ratio=ours_ms / floor_ms,
            limit=limit,
        )


def _cpu_ms(statement: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", statement], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000
