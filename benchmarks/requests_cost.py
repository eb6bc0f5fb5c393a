"""Processor time per HTTP request: the library with all that is on by default, and the floor.

Each run submits tasks and polls each ten times, in a fresh process, against a server on a
processor of its own. The runs take turns, and each of ours is compared with the floor of the
same turn, so what slows the machine for a while slows both. All ratios are to the floor on
asyncio's own loop, also those on uvloop: the question is what a user gains over the plain way.
"""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Iterator
from typing import Any, Final

import attrs

from benchmarks.fresh import median_ratio, run_module
from benchmarks.report import Row, Scale
from benchmarks.server import Server, serve

__all__ = ["POLLS", "measure", "run_client"]

POLLS: Final = 10
"""Polls of each task."""

_LIMITS: Final = {"asyncio": 0.85, "uvloop": 0.75}
_RUN_LIMIT_S: Final = 60.0
_WARM_UP_TASKS: Final = 32


@attrs.frozen(kw_only=True)
class _Size:
    rounds: int
    tasks: int


_SIZES: Final = {
    Scale.FULL: _Size(rounds=12, tasks=400),
    Scale.QUICK: _Size(rounds=2, tasks=30),
}


def measure(scale: Scale) -> Iterator[Row]:
    """Measure both clients on both loops.

    Args:
        scale: How much is measured.
    """
    size = _SIZES[scale]
    loops = ["asyncio"]
    if importlib.util.find_spec("uvloop") is not None:
        loops.append("uvloop")
    runs: dict[tuple[str, str], list[_Cost]] = {}
    with serve(polls=POLLS) as server:
        for _ in range(size.rounds):
            for loop in loops:
                for client in ("floor", "ours"):
                    cost = _cost(server, client, loop, size.tasks)
                    runs.setdefault((client, loop), []).append(cost)
    floors = [cost.cpu_us for cost in runs["floor", "asyncio"]]
    floor_faults = statistics.median(cost.faults for cost in runs["floor", "asyncio"])
    for loop in loops:
        for client in ("floor", "ours"):
            if (client, loop) == ("floor", "asyncio"):
                continue
            costs = [cost.cpu_us for cost in runs[client, loop]]
            faults = statistics.median(cost.faults for cost in runs[client, loop])
            note = f"{faults:.1f} page faults per request, the floor's {floor_faults:.1f}"
            ratio, spread = median_ratio(costs, floors)
            yield Row(
                what=f"CPU per request, {loop}" + (", the floor itself" * (client == "floor")),
                unit="us",
                floor=statistics.median(floors),
                ours=statistics.median(costs),
                ratio=ratio,
                spread=spread,
                limit=_LIMITS[loop] if client == "ours" else None,
                note=note if loop == "asyncio" else f"to the floor on asyncio's loop; {note}",
            )
    if "uvloop" not in loops:
        yield Row(
            what="CPU per request, uvloop", unit="us", ours=None, note="uvloop is not installed"
        )


@attrs.frozen(kw_only=True)
class _Cost:
    """What a request cost: microseconds of the processor, and page faults.

    The faults tell whether the allocator had the memory for a read at hand or asked the kernel
    for it each time, which is a sixth of the floor and depends on what was freed before.
    """

    cpu_us: float
    faults: float


def _cost(server: Server, client: str, loop: str, tasks: int) -> _Cost:
    result = run_client(server, client, tasks, f"--loop={loop}")
    requests = tasks * (1 + POLLS)
    return _Cost(cpu_us=result["cpu_s"] / requests * 1e6, faults=result["faults"] / requests)


def run_client(server: Server, client: str, tasks: int, *options: str) -> dict[str, Any]:
    """Run a client in a process of its own, and see that it made the requests that were planned.

    Args:
        server: Where it makes them; one that ends a task with its last poll.
        client: Which one; see `benchmarks.client`.
        tasks: How many it submits, besides those to warm up.
        options: What else it is told.

    Raises:
        RuntimeError: It made more or fewer.
    """
    before = server.counts().requests
    result = run_module(
        "client",
        client,
        f"--url={server.url}",
        f"--tasks={tasks}",
        f"--warm-up={_WARM_UP_TASKS}",
        *options,
        timeout_s=_RUN_LIMIT_S,
    )
    made = server.counts().requests - before
    planned = (tasks + _WARM_UP_TASKS) * (1 + POLLS)
    if result["completed"] != tasks or made != planned:
        raise RuntimeError(f"{client} made {made} requests in place of {planned}")
    return result
