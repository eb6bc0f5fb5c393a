"""What a journal costs: the time until a submit is on the disk, and processor time per request.

The first is held against SQLite alone, which writes the same rows in the same run: a commit waits
for the disk, so the number is the disk's more than anybody's. The second compares a batch with a
journal to the same batch without, each submit and ten polls a task. The commits themselves are
not counted, in two ways: they are not made, or what they took on the journal's thread is taken
off. The first is what the journal costs without them. The second has in it what they do to
whoever shares a processor with them, here the event loop: they evict its caches and interrupt it.
Both are held to the same limit. The batches that are compared take turns in one process, several
times in several processes: between two processes the same batch differs by three per cent.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Final

import attrs

from benchmarks.durable import IN_FLIGHT
from benchmarks.fresh import half_quartile_distance, median_ratio, run_module
from benchmarks.journal_batches import WARM_UP_TASKS, WAYS
from benchmarks.report import Row, Scale
from benchmarks.requests_cost import POLLS
from benchmarks.server import Server, serve

__all__ = ["measure"]

_SUBMITS_PER_S: Final = 1500
_CPU_LIMIT: Final = 1.05
_RUN_LIMIT_S: Final = 120.0


@attrs.frozen(kw_only=True)
class _Size:
    durations: int
    submits: int
    processes: int
    rounds: int
    tasks: int


_SIZES: Final = {
    Scale.FULL: _Size(durations=12, submits=2000, processes=5, rounds=3, tasks=4000),
    Scale.QUICK: _Size(durations=2, submits=40, processes=1, rounds=2, tasks=30),
}


def measure(scale: Scale) -> Iterator[Row]:
    """Measure the wait for the disk, then the processor.

    Args:
        scale: How much is measured.
    """
    yield from _measure_durability(_SIZES[scale])
    yield from _measure_cpu(_SIZES[scale])


def _measure_durability(size: _Size) -> Iterator[Row]:
    runs: dict[str, list[float]] = {"raw": [], "grouped": [], "ours": []}
    for _ in range(size.durations):
        for way, took in runs.items():
            result = run_module("durable", way, f"--submits={size.submits}", timeout_s=_RUN_LIMIT_S)
            took.append(result["submit_us"])
    medians = {way: statistics.median(took) for way, took in runs.items()}
    per_s = {way: f"{1e6 / median:,.0f} a second" for way, median in medians.items()}
    yield Row(
        what=f"durable submit, {IN_FLIGHT} in flight",
        unit="us",
        ours=medians["ours"],
        spread=half_quartile_distance(runs["ours"]),
        limit=1e6 / _SUBMITS_PER_S,
        note=f"intent and id on the disk: {per_s['ours']}",
    )
    for way, how in (("grouped", f"{IN_FLIGHT} in a commit"), ("raw", "a commit for each")):
        ratio, spread = median_ratio(runs["ours"], runs[way])
        yield Row(
            what=f"durable submit to raw SQLite, {how}",
            unit="us",
            floor=medians[way],
            ours=medians["ours"],
            ratio=ratio,
            spread=spread,
            note=f"raw: {per_s[way]}",
        )


def _measure_cpu(size: _Size) -> Iterator[Row]:
    costs: dict[str, list[float]] = {}
    with serve(polls=POLLS) as server:
        for _ in range(size.processes):
            for way, spent_s in _run(server, size).items():
                costs.setdefault(way, []).extend(_per_request_us(spent_s, size.tasks))
    commits_us = statistics.median(costs["commits"])
    for how, way, note in (
        ("commits not made", "uncommitted", ""),
        ("commits taken off", "journaled", f"{commits_us:.1f} us of them on their thread"),
    ):
        ratio, spread = median_ratio(costs[way], costs["without"])
        yield Row(
            what=f"CPU per request with a journal, {how}, to without one",
            unit="us",
            floor=statistics.median(costs["without"]),
            ours=statistics.median(costs[way]),
            ratio=ratio,
            spread=spread,
            limit=_CPU_LIMIT,
            note=note,
        )


def _run(server: Server, size: _Size) -> dict[str, list[float]]:
    """Run batches in one process, and see that they made the requests that were planned."""
    before = server.counts().requests
    result = run_module(
        "journal_batches",
        f"--url={server.url}",
        f"--tasks={size.tasks}",
        f"--rounds={size.rounds}",
        timeout_s=_RUN_LIMIT_S,
    )
    made = server.counts().requests - before
    planned = len(WAYS) * (size.rounds * size.tasks + WARM_UP_TASKS) * (1 + POLLS)
    if made != planned:
        raise RuntimeError(f"{made} requests were made in place of {planned}")
    return result


def _per_request_us(spent_s: list[float], tasks: int) -> list[float]:
    return [each_s * 1e6 / (tasks * (1 + POLLS)) for each_s in spent_s]
