"""What the emulator costs: processor time per request, without faults and under a script of them.

A test suite that fans out must not wait for its own service: 1,500 requests a second on one core
are 667 microseconds of that core for each. Each run has the emulator in a fresh process and
the load in another one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Final

import attrs

from benchmarks.emulator_load import KEY, POLLS
from benchmarks.fresh import half_quartile_distance, run_module
from benchmarks.report import Row, Scale
from videos_async.emulator import (
    Close,
    Cut,
    Delay,
    Drip,
    Fault,
    Garbage,
    HostileBody,
    RateLimit,
    Reset,
    VideosEmulator,
    profile_faults,
)

__all__ = ["measure"]

_REQUESTS_PER_S: Final = 1500
_RUN_LIMIT_S: Final = 120.0


@attrs.frozen(kw_only=True)
class _Size:
    rounds: int
    tasks: int


_SIZES: Final = {
    Scale.FULL: _Size(rounds=7, tasks=600),
    Scale.QUICK: _Size(rounds=2, tasks=30),
}


def measure(scale: Scale) -> Iterator[Row]:
    """Measure the emulator with an empty script and with a long one.

    Args:
        scale: How much is measured.
    """
    size = _SIZES[scale]
    for script in ("empty", "field"):
        runs = [
            run_module(
                "emulator_cost",
                f"--script={script}",
                f"--tasks={size.tasks}",
                timeout_s=_RUN_LIMIT_S,
            )
            for _ in range(size.rounds)
        ]
        costs_us = [run["cpu_s"] / run["requests"] * 1e6 for run in runs]
        rate = statistics.median(run["requests"] / run["wall_s"] for run in runs)
        yield Row(
            what=f"CPU of the emulator per request, {runs[0]['faults']} faults in the script",
            unit="us",
            ours=statistics.median(costs_us),
            spread=half_quartile_distance(costs_us),
            limit=1e6 / _REQUESTS_PER_S,
            note=f"{rate:,.0f} requests/s from one client, of which {runs[0]['struck']:.0%} struck",
        )


def _script(name: str) -> list[Fault]:
    """Give all of a profile that leaves connections as they are: the load has no patience."""
    if name == "empty":
        return []
    broken = (Reset, Close, Cut, Garbage, Drip, Delay, HostileBody)
    kept = [fault for fault in profile_faults(name) if not isinstance(fault, broken)]
    return [*kept, Delay(0, probability=0.02), RateLimit(1e6, burst=1000)]


async def _run(script: str, tasks: int) -> dict[str, float]:
    # A speed at which tasks go through all of their states while they are asked for.
    async with VideosEmulator(api_keys=[KEY], speed=10_000, faults=_script(script)) as emulator:
        command = (sys.executable, "-m", "benchmarks.emulator_load", f"--port={emulator.port}")
        # What is loaded or cached at the first call is not a call's cost.
        await _wait_for(*command, "--tasks=16")
        before = emulator.requests.total
        began_s, spent_s = time.perf_counter(), time.process_time()
        await _wait_for(*command, f"--tasks={tasks}")
        wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - spent_s
        requests = emulator.requests.total - before
        if requests != tasks * (1 + POLLS):
            raise RuntimeError(f"{requests} requests came in, not {tasks * (1 + POLLS)}")
        recent = emulator.requests.recent
        return {
            "requests": requests,
            "wall_s": wall_s,
            "cpu_s": cpu_s,
            "faults": len(emulator.faults),
            "struck": sum(bool(one.faults) for one in recent) / len(recent),
        }


async def _wait_for(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command)
    if await process.wait():
        raise RuntimeError("the load has failed")


def main() -> None:
    """Make one run and print what it cost."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--script", choices=("empty", "field"), required=True)
    parser.add_argument("--tasks", type=int, required=True)
    options = parser.parse_args()
    print(json.dumps(asyncio.run(_run(options.script, options.tasks))))


if __name__ == "__main__":
    main()
