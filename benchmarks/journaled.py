"""The library with a journal: the same batch as `benchmarks.ours`, everything written down.

What the commits themselves cost is counted apart: the processor time of the journal's thread
within `Database.write`.
"""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import ours
from videos_async import PollPolicy, RateLimit, VideosSession
from videos_async._database import Database

__all__ = ["commit_cpu_s", "run"]

_write = Database.write
_spent_s = 0.0


def _measured(self: Database, *args: Any, **options: Any) -> None:
    global _spent_s  # noqa: PLW0603 - one client a process
    began_s = time.thread_time()
    try:
        _write(self, *args, **options)
    finally:
        _spent_s += time.thread_time() - began_s


Database.write = _measured  # type: ignore[method-assign]


def commit_cpu_s() -> float:
    """Tell what the commits have cost since this was asked last, in seconds of the processor."""
    global _spent_s
    spent_s, _spent_s = _spent_s, 0.0
    return spent_s


async def run(url: str, *, tasks: int, in_flight: int) -> int:
    """Submit tasks with a journal and poll each until it is completed; see `benchmarks.ours`."""
    completed = 0
    poll = PollPolicy(min_interval_s=0, max_interval_s=0)
    limit = RateLimit(queries_in_flight=in_flight)
    with TemporaryDirectory() as folder:
        async with (
            VideosSession("benchmark", base_url=url, poll=poll, limit=limit) as session,
            session.batch(ours.requests(tasks), journal=Path(folder, "run.sqlite")) as transitions,
        ):
            async for change in transitions:
                if change.is_end and change.error is None:
                    completed += 1
    return completed
