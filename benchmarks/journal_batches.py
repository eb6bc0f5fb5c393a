"""One batch with a journal and without, in turns: ``python -m benchmarks.journal_batches --url …``.

In one process, because where a process happens to have its memory costs or saves it some per
cent, which is as much as is asked for here. What one batch leaves behind is collected before the
next, and each round begins with another one.

Prints one line of JSON: for each way the processor time of each of its batches in seconds, what
the commits took on their thread apart.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from unittest.mock import patch

from benchmarks import ours
from benchmarks.client import IN_FLIGHT
from benchmarks.server import client_cpus, new_event_loop
from videos_async import PollPolicy, RateLimit, VideosSession
from videos_async._database import Database

__all__ = ["WARM_UP_TASKS", "WAYS"]

WAYS: Final = ("without", "uncommitted", "journaled")
WARM_UP_TASKS: Final = 64


async def _with_journal(url: str, tasks: int) -> int:
    """Do as `benchmarks.ours` does, with everything written down."""
    completed = 0
    poll = PollPolicy(min_interval_s=0, max_interval_s=0)
    limit = RateLimit(queries_in_flight=IN_FLIGHT)
    with TemporaryDirectory() as folder:
        async with (
            VideosSession("benchmark", base_url=url, poll=poll, limit=limit) as session,
            session.batch(ours.requests(tasks), journal=Path(folder, "run.sqlite")) as transitions,
        ):
            async for change in transitions:
                if change.is_end and change.error is None:
                    completed += 1
    return completed


def _nothing(self: Database, *arguments: Any, **options: Any) -> None:
    """Take what goes into a commit, and leave it at that."""


class _Commits:
    """Makes the commits as ever, and tells what they took on their thread.

    Attributes:
        spent_s: Their processor time so far, in seconds.
    """

    def __init__(self) -> None:
        self.spent_s = 0.0

    def measured(self) -> Callable[..., None]:
        """Make what stands in for `Database.write`."""
        write = Database.write

        def write_measured(database: Database, *arguments: Any, **options: Any) -> None:
            began_s = time.thread_time()
            try:
                write(database, *arguments, **options)
            finally:
                self.spent_s += time.thread_time() - began_s

        return write_measured


def _cost(runner: asyncio.Runner, way: str, url: str, tasks: int) -> tuple[float, float]:
    """Run a batch in one way; return the seconds of the processor it took, its commits apart."""
    commits = _Commits()
    write = _nothing if way == "uncommitted" else commits.measured()
    gc.collect()
    with patch.object(Database, "write", write):
        began_s = time.process_time()
        if way == "without":
            completed = runner.run(ours.run(url, tasks=tasks, in_flight=IN_FLIGHT))
        else:
            completed = runner.run(_with_journal(url, tasks))
        spent_s = time.process_time() - began_s
    if completed != tasks:
        raise RuntimeError(f"{completed} of {tasks} tasks were completed, {way}")
    return spent_s - commits.spent_s, commits.spent_s


def main() -> None:
    """Run the batches and print what they cost."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--tasks", type=int, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    options = parser.parse_args()
    if sys.platform == "linux":
        os.sched_setaffinity(0, client_cpus())
    costs: dict[str, list[float]] = {way: [] for way in (*WAYS, "commits")}
    with asyncio.Runner(loop_factory=lambda: new_event_loop("asyncio")) as runner:
        # What is loaded, compiled or cached at the first call is the import's cost, not a call's.
        for way in WAYS:
            _cost(runner, way, options.url, WARM_UP_TASKS)
        for number in range(options.rounds):
            first = number % len(WAYS)
            for way in (*WAYS[first:], *WAYS[:first]):
                spent_s, commits_s = _cost(runner, way, options.url, options.tasks)
                costs[way].append(spent_s)
                if way == "journaled":
                    costs["commits"].append(commits_s)
    print(json.dumps(costs))


if __name__ == "__main__":
    main()
