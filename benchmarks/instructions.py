"""Instructions per HTTP request under callgrind, which do not depend on the machine's mood.

A client runs twice, with few tasks and with more, and the difference is divided by the requests
between them: what starting up, importing and warming up cost falls out.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from benchmarks.fresh import run_module
from benchmarks.report import Row, Scale
from benchmarks.requests_cost import POLLS
from benchmarks.server import Server, serve

__all__ = ["measure"]

_WHAT: Final = "instructions per request, asyncio"
_UNIT: Final = "k"
# Both above what is in flight, so that both open the same number of connections.
_TASKS: Final = (20, 60)
# Two at a time: callgrind is slow and one processor would be idle.
_AT_ONCE: Final = 2
_RUN_LIMIT_S: Final = 120.0
_COLLECTED: Final = re.compile(r"^(?:summary|totals): (\d+)", re.MULTILINE)


def measure(scale: Scale) -> Iterator[Row]:
    """Count the instructions of both clients.

    Args:
        scale: How much is measured; nothing here is quick.
    """
    missing = _missing(scale)
    if missing is not None:
        yield Row(what=_WHAT, unit=_UNIT, ours=None, note=missing)
        return
    runs = [(client, tasks) for tasks in reversed(_TASKS) for client in ("floor", "ours")]
    # Unequal numbers of polls would be unequal work: the server gives every task its ten.
    with serve(polls=POLLS) as server, ThreadPoolExecutor(_AT_ONCE) as pool:
        counting = {run: pool.submit(_count, server, *run) for run in runs}
    counts = {run: counted.result() for run, counted in counting.items()}
    few, many = _TASKS
    requests = (many - few) * (1 + POLLS)
    floor, ours = (
        (counts[client, many] - counts[client, few]) / requests / 1000
        for client in ("floor", "ours")
    )
    yield Row(what=_WHAT, unit=_UNIT, floor=floor, ours=ours, ratio=ours / floor)


def _missing(scale: Scale) -> str | None:
    if scale is Scale.QUICK:
        return "valgrind takes a minute: run without --quick"
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        return "valgrind is not installed"
    works = subprocess.run(
        [valgrind, "--tool=callgrind", "--help"], capture_output=True, check=False
    )
    return None if works.returncode == 0 else "valgrind has no callgrind here"


def _count(server: Server, client: str, tasks: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        collected = Path(folder, "callgrind.out")
        run_module(
            "client",
            client,
            f"--url={server.url}",
            f"--tasks={tasks}",
            "--warm-up=4",
            timeout_s=_RUN_LIMIT_S,
            prefix=("valgrind", "--tool=callgrind", "-q", f"--callgrind-out-file={collected}"),
            # The order of a set, and with it the work, depends on the seed.
            environment={"PYTHONHASHSEED": "0"},
        )
        found = _COLLECTED.search(collected.read_text(encoding="utf-8"))
    if found is None:
        raise RuntimeError("callgrind wrote no summary")
    return int(found[1])
