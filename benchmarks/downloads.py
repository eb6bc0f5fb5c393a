"""What a download costs: processor and clock against ``curl``, memory, and the loop's lag.

``curl`` writes the bytes to a file and is done. The library counts them, takes their SHA-256,
walks the boxes, flushes the file and gives it its name; it is held against the plain ``curl`` all
the same, and for information against ``curl`` and ``sha256sum`` together. Both write to a file
system in memory, where there is one: a disk's mood would be measured with them. The runs take
turns, each in a fresh process beside a server with a processor of its own.
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Iterator
from typing import Any, Final

import attrs

from benchmarks.file_server import serve_files
from benchmarks.fresh import half_quartile_distance, median_ratio, run_module
from benchmarks.report import Row, Scale

__all__ = ["measure"]

_RATIO_LIMIT: Final = 1.3
_MEMORY_LIMIT_MB: Final = 8.0
_LAG_LIMIT_MS: Final = 20.0
_RUN_LIMIT_S: Final = 120.0
_MB: Final = 1_000_000


@attrs.frozen(kw_only=True)
class _Size:
    """How much is measured; sizes in bytes."""

    rounds: int
    timed: int
    memory: tuple[int, ...]
    parallel: int
    each: int


_SIZES: Final = {
    Scale.FULL: _Size(
        rounds=9, timed=200 * _MB, memory=(10 * _MB, 200 * _MB), parallel=50, each=20 * _MB
    ),
    Scale.QUICK: _Size(rounds=2, timed=5 * _MB, memory=(5 * _MB,), parallel=50, each=_MB),
}


def measure(scale: Scale) -> Iterator[Row]:
    """Measure one download, and fifty at a time.

    Args:
        scale: How much is measured.
    """
    size = _SIZES[scale]
    with serve_files() as url:
        yield from _cost(url, size)
        yield from _memory(url, size)
        yield from _lag(url, size)


def _cost(url: str, size: _Size) -> Iterator[Row]:
    megabytes = size.timed // _MB
    whats = {"cpu_s": f"CPU of a download of {megabytes} MB", "wall_s": "time of the same download"}
    if shutil.which("curl") is None:
        for what in whats.values():
            yield Row(what=what, unit="ms", ours=None, note="curl is not installed")
        return
    ways = ["curl", "ours"]
    if shutil.which("sha256sum") is not None:
        ways.append("curl-digest")
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for _ in range(size.rounds):
        for way in ways:
            runs[way].append(_run(way, url, size.timed))
    for floor in ways[::2]:
        is_plain = floor == "curl"
        for measured, what in whats.items():
            ours_s = [run[measured] for run in runs["ours"]]
            floors_s = [run[measured] for run in runs[floor]]
            ratio, spread = median_ratio(ours_s, floors_s)
            yield Row(
                what=f"{what}, floor: curl" + (" and sha256sum" * (not is_plain)),
                unit="ms",
                floor=statistics.median(floors_s) * 1000,
                ours=statistics.median(ours_s) * 1000,
                ratio=ratio,
                spread=spread,
                limit=_RATIO_LIMIT if is_plain else None,
            )


def _memory(url: str, size: _Size) -> Iterator[Row]:
    for length in size.memory:
        runs_mb = [_run("memory", url, length)["mb"] for _ in range(min(size.rounds, 3))]
        yield Row(
            what=f"memory over idle, download of {length // _MB} MB",
            unit="MB",
            ours=statistics.median(runs_mb),
            spread=half_quartile_distance(runs_mb),
            limit=_MEMORY_LIMIT_MB,
        )


def _lag(url: str, size: _Size) -> Iterator[Row]:
    runs = [
        _run("lag", url, size.each, f"--parallel={size.parallel}")
        for _ in range(min(size.rounds, 3))
    ]
    lags_ms = [run["p99_ms"] for run in runs]
    rate = statistics.median(run["mb_per_s"] for run in runs)
    yield Row(
        what=f"event-loop lag p99, {size.parallel} downloads at a time",
        unit="ms",
        ours=statistics.median(lags_ms),
        spread=half_quartile_distance(lags_ms),
        limit=_LAG_LIMIT_MS,
        note=f"{rate:,.0f} MB/s in all; median "
        f"{statistics.median(run['median_ms'] for run in runs):.2f} ms, "
        f"longest {max(run['longest_ms'] for run in runs):.1f} ms; "
        f"p99 of the loop's own work between two ticks "
        f"{statistics.median(run['work_p99_ms'] for run in runs):.1f} ms, "
        f"of an idle loop's lag {statistics.median(run['idle_p99_ms'] for run in runs):.1f} ms",
    )


def _run(way: str, url: str, size_bytes: int, *options: str) -> dict[str, Any]:
    return run_module(
        "download_client",
        way,
        f"--url={url}",
        f"--bytes={size_bytes}",
        *options,
        timeout_s=_RUN_LIMIT_S,
    )
