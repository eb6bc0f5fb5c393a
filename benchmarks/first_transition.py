"""How long a batch of a hundred thousand keeps its caller waiting for the first transition."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Iterator
from typing import Final

from benchmarks import ours
from benchmarks.fresh import half_quartile_distance, run_module
from benchmarks.report import Row, Scale
from benchmarks.server import serve
from videos_async import VideosSession

__all__ = ["measure"]

_LIMIT_S: Final = 1.0
_RUN_LIMIT_S: Final = 60.0
_TASKS: Final = {Scale.FULL: 100_000, Scale.QUICK: 2_000}
_ROUNDS: Final = {Scale.FULL: 5, Scale.QUICK: 2}


def measure(scale: Scale) -> Iterator[Row]:
    """Enter a batch and take the time to its first transition.

    Args:
        scale: How much is measured.
    """
    tasks = _TASKS[scale]
    with serve() as server:
        waited_s: list[float] = [
            run_module(
                "first_transition",
                f"--url={server.url}",
                f"--tasks={tasks}",
                timeout_s=_RUN_LIMIT_S,
            )["first_s"]
            for _ in range(_ROUNDS[scale])
        ]
    yield Row(
        what=f"first transition of a batch of {tasks:,}",
        unit="s",
        ours=statistics.median(waited_s),
        spread=half_quartile_distance(waited_s),
        limit=_LIMIT_S,
    )


async def _first_s(url: str, tasks: int) -> float:
    requests = list(ours.requests(tasks))
    async with VideosSession("benchmark", base_url=url) as session:
        began_s = time.perf_counter()
        async with session.batch(requests) as transitions:
            await anext(aiter(transitions))
            return time.perf_counter() - began_s


def main() -> None:
    """Make one measurement and print it as one line of JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--tasks", type=int, required=True)
    options = parser.parse_args()
    print(json.dumps({"first_s": asyncio.run(_first_s(options.url, options.tasks))}))


if __name__ == "__main__":
    main()
