"""A hundred thousand tasks that wait: what each costs in memory, and what polling them costs.

Memory is measured twice, in fresh processes: what Python has allocated (tracemalloc), and what
the process has grown by. The event loop's lag is how much later than asked for a 5 ms sleep
ends while 1,000 tasks a second are polled. The price of a poll is taken with few and with many
tasks: it must not grow with them.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import os
import statistics
import sys
import time
import tracemalloc
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import attrs

from benchmarks import ours
from benchmarks.fresh import half_quartile_distance, median_ratio, run_module
from benchmarks.report import Row, Scale
from benchmarks.server import Server, client_cpus, serve
from videos_async import AdaptivePolling, PollPolicy, Status, VideosSession, VideoTask

__all__ = ["measure"]

_LONG_S: Final = 1e6
_RATE_PER_S: Final = 1000.0
_TICK_S: Final = 0.005
_SETTLE_S: Final = 1.0
_MEMORY_LIMIT_KB: Final = 0.8
_LAG_LIMIT_MS: Final = 20.0
_FLAT_LIMIT: Final = 1.15
# The default policy, whose records are larger than those of a simple timer, but patient.
_SELDOM: Final = AdaptivePolling(
    min_interval_s=_LONG_S,
    mean_interval_s=_LONG_S,
    max_interval_s=_LONG_S,
    max_queued_interval_s=_LONG_S,
)
_RUN_LIMIT_S: Final = 90.0


@attrs.frozen(kw_only=True)
class _Size:
    traced: int
    grown: int
    polled: tuple[int, ...]
    window_s: float
    rounds: int


_SIZES: Final = {
    Scale.FULL: _Size(
        traced=20_000, grown=100_000, polled=(1_000, 10_000, 100_000), window_s=4.0, rounds=3
    ),
    Scale.QUICK: _Size(traced=500, grown=1_000, polled=(500, 2_000), window_s=1.0, rounds=1),
}


def measure(scale: Scale) -> Iterator[Row]:
    """Measure the memory of waiting tasks, and what polling them does to the loop.

    Args:
        scale: How much is measured.
    """
    size = _SIZES[scale]
    # Each answer differs, so that a poll is the same work the first time and the tenth.
    with serve(polls=0) as server:
        yield from _memory(server, size)
        yield from _polling(server, size)


def _memory(server: Server, size: _Size) -> Iterator[Row]:
    requests_kb = _child(server, "requests", size.traced)["kb"]
    for what, note in (
        ("watched", "by id; the ids are the caller's own"),
        ("batch", f"with its request, of {requests_kb:.2f} kB"),
    ):
        for how, tasks in (("traced", size.traced), ("grown", size.grown)):
            kb = _child(server, f"{what}-{how}", tasks)["kb"]
            yield Row(
                what=f"memory per waiting task, {what}, {how}, {tasks:,}",
                unit="kB",
                ours=kb,
                limit=_MEMORY_LIMIT_KB,
                note=note if how == "traced" else "",
            )


def _polling(server: Server, size: _Size) -> Iterator[Row]:
    few, *_, many = size.polled
    found: dict[int, list[dict[str, float]]] = {tasks: [] for tasks in size.polled}
    for _ in range(size.rounds):
        for tasks in size.polled:
            found[tasks].append(_child(server, "polled", tasks, f"--window={size.window_s}"))
    for tasks, runs in found.items():
        rate = statistics.median(run["polls_per_s"] for run in runs)
        median_ms = statistics.median(run["median_ms"] for run in runs)
        longest_ms = max(run["longest_ms"] for run in runs)
        lags_ms = [run["p99_ms"] for run in runs]
        yield Row(
            what=f"event-loop lag p99, {tasks:,} tasks, {rate:,.0f} polls/s",
            unit="ms",
            ours=statistics.median(lags_ms),
            spread=half_quartile_distance(lags_ms),
            limit=_LAG_LIMIT_MS,
            note=f"median {median_ms:.2f} ms, longest {longest_ms:.1f} ms",
        )
    costs_us = {tasks: [run["cpu_us"] for run in runs] for tasks, runs in found.items()}
    medians_us = {tasks: statistics.median(costs) for tasks, costs in costs_us.items()}
    ratio, spread = median_ratio(costs_us[many], costs_us[few])
    yield Row(
        what=f"CPU per poll, {many:,} tasks, floor: {few:,}",
        unit="us",
        floor=medians_us[few],
        ours=medians_us[many],
        ratio=ratio,
        spread=spread,
        limit=_FLAT_LIMIT,
        note=", ".join(f"{tasks:,}: {cost:.0f} us" for tasks, cost in medians_us.items()),
    )


def _child(server: Server, name: str, tasks: int, *options: str) -> dict[str, Any]:
    return run_module(
        "waiting",
        name,
        f"--port={server.port}",
        f"--tasks={tasks}",
        *options,
        timeout_s=_RUN_LIMIT_S,
    )


# --- in a process of its own ---------------------------------------------------------------


@asynccontextmanager
async def _watched(server: Server, tasks: int) -> AsyncGenerator[None]:
    """Follow tasks by their ids alone, none of which is due yet, for the length of a block."""
    async with (
        VideosSession("benchmark", base_url=server.url, poll=_SELDOM) as session,
        session.watch(_ids(tasks), timeout=_LONG_S * 2),
    ):
        await anyio.sleep(0.2)
        yield


@asynccontextmanager
async def _polling_tasks(server: Server, tasks: int, max_interval_s: float) -> AsyncGenerator[None]:
    """Poll tasks whose status is known and does not change, for the length of a block."""
    known = [VideoTask(id=task_id, status=Status.PROCESSING) for task_id in _ids(tasks)]
    poll = PollPolicy(min_interval_s=0, max_interval_s=max_interval_s)
    async with (
        VideosSession("benchmark", base_url=server.url, poll=poll) as session,
        session.watch(known, timeout=_LONG_S) as transitions,
        anyio.create_task_group() as group,
    ):
        # What is known is told first; polls give no transitions then, which are paid apart.
        for _ in range(tasks):
            await anext(transitions)
        group.start_soon(anext, transitions)
        yield
        group.cancel_scope.cancel()


@asynccontextmanager
async def _batch(server: Server, tasks: int) -> AsyncGenerator[None]:
    """Have tasks accepted, so that all of them wait, for the length of a block."""
    async with (
        VideosSession("benchmark", base_url=server.url, poll=_SELDOM) as session,
        session.batch(ours.requests(tasks), timeout=_LONG_S * 2) as transitions,
    ):
        # Until the first poll, each has one transition: it was queued.
        for _ in range(tasks):
            await anext(transitions)
        yield


def _ids(tasks: int) -> list[str]:
    return [f"video_{number:010d}" for number in range(1_000_000, 1_000_000 + tasks)]


async def _memory_kb(
    make: Callable[[int], Any], tasks: int, usage: Callable[[], int]
) -> dict[str, float]:
    # The first tasks pay for what is there once: connections, caches, code.
    async with make(16):
        pass
    gc.collect()
    before = usage()
    async with make(tasks):
        gc.collect()
        return {"kb": (usage() - before) / tasks / 1000}


def _traced_bytes() -> int:
    return tracemalloc.get_traced_memory()[0]


def _resident_bytes() -> int:
    if sys.platform != "linux":
        raise RuntimeError("the size of a process is read from /proc, which is Linux's")
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def _requests_kb(tasks: int) -> dict[str, float]:
    before = _traced_bytes()
    held = list(ours.requests(tasks))
    return {"kb": (_traced_bytes() - before) / len(held) / 1000}


async def _polled(server: Server, tasks: int, window_s: float) -> dict[str, float]:
    """Poll tasks at the rate, and take the lag of the loop and the price of a poll."""
    settle_s, longest_s = _pace(tasks, window_s)
    async with _polling_tasks(server, tasks, longest_s):
        await anyio.sleep(settle_s)
        first = await anyio.to_thread.run_sync(server.counts)
        began_s, spent_s = time.perf_counter(), time.process_time()
        lags = await _lags(window_s)
        spent_s = time.process_time() - spent_s
        took_s = time.perf_counter() - began_s
        polls = (await anyio.to_thread.run_sync(server.counts)).polls - first.polls
    return {
        "median_ms": statistics.median(lags) * 1000,
        "p99_ms": statistics.quantiles(lags, n=100)[98] * 1000,
        "longest_ms": max(lags) * 1000,
        "polls_per_s": polls / took_s,
        "cpu_us": spent_s / polls * 1e6,
    }


def _pace(tasks: int, window_s: float) -> tuple[float, float]:
    """Find when to begin and the longest interval, so that the rate is kept in the window.

    A task's next poll is drawn evenly from 0 to the longest interval T. While T lasts, N tasks
    are polled N/T * e^(t/T) times a second; later this settles at 2N/T.
    """
    middle_s = _SETTLE_S + window_s / 2
    longest_s = tasks / _RATE_PER_S
    for _ in range(50):
        # Half a step at a time: a whole one would overshoot, and the next one back again.
        longest_s += (tasks / _RATE_PER_S * math.exp(middle_s / longest_s) - longest_s) / 2
    if longest_s >= _SETTLE_S + window_s:
        return _SETTLE_S, longest_s
    longest_s = 2 * tasks / _RATE_PER_S
    return _SETTLE_S + 2 * longest_s, longest_s


async def _lags(window_s: float) -> list[float]:
    loop = asyncio.get_running_loop()
    lags: list[float] = []
    until_s = loop.time() + window_s
    while (now_s := loop.time()) < until_s:
        await asyncio.sleep(_TICK_S)
        lags.append(loop.time() - now_s - _TICK_S)
    return lags


def main() -> None:
    """Make one measurement and print it as one line of JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("name")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tasks", type=int, required=True)
    parser.add_argument("--window", type=float, default=1.0)
    options = parser.parse_args()
    server, tasks = Server(options.port), options.tasks
    if sys.platform == "linux":
        os.sched_setaffinity(0, client_cpus())

    def watch(count: int) -> Any:
        return _watched(server, count)

    def batch(count: int) -> Any:
        return _batch(server, count)

    measurements: dict[str, Callable[[], Awaitable[dict[str, float]]]] = {
        "requests": lambda: _requests_kb(tasks),
        "watched-traced": lambda: _memory_kb(watch, tasks, _traced_bytes),
        "watched-grown": lambda: _memory_kb(watch, tasks, _resident_bytes),
        "batch-traced": lambda: _memory_kb(batch, tasks, _traced_bytes),
        "batch-grown": lambda: _memory_kb(batch, tasks, _resident_bytes),
        "polled": lambda: _polled(server, tasks, options.window),
    }
    if options.name.endswith("traced") or options.name == "requests":
        tracemalloc.start()

    async def run() -> dict[str, float]:
        return await measurements[options.name]()

    print(json.dumps(asyncio.run(run())))


if __name__ == "__main__":
    main()
