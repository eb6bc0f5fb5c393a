"""One measurement of downloads: ``python -m benchmarks.download_client ours --url … --bytes …``.

Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import anyio

from benchmarks.server import client_cpus
from videos_async import DownloadPolicy, Status, VideosSession, VideoTask

_TICK_S: Final = 0.005
_IDLE_S: Final = 1.0
_WARM_UP_BYTES: Final = 100_000
_IN_MEMORY: Final = Path("/dev/shm")

_Fetch: TypeAlias = Callable[[int, str], Coroutine[Any, Any, None]]


def _curl(url: str, size_bytes: int, directory: Path, *digest: str) -> dict[str, float]:
    """Fetch a file with curl, and run a command on it if there is one."""
    target = directory / "curl.mp4"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began_s = time.perf_counter()
    fetch = ["curl", "--silent", "--fail", "--output", str(target), f"{url}/{size_bytes}.mp4"]
    subprocess.run(fetch, check=True)
    if digest:
        subprocess.run([*digest, str(target)], check=True, stdout=subprocess.DEVNULL)
    wall_s = time.perf_counter() - began_s
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if target.stat().st_size != size_bytes:
        raise RuntimeError(f"curl brought {target.stat().st_size} bytes, not {size_bytes}")
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu_s": cpu_s, "wall_s": wall_s}


@asynccontextmanager
async def _downloader(url: str, directory: Path, policy: DownloadPolicy) -> AsyncGenerator[_Fetch]:
    """Open a session that has made its first small download, and give what makes others."""
    async with VideosSession("benchmark", base_url=url, downloads=policy) as session:

        async def fetch(size_bytes: int, name: str) -> None:
            video_url = f"{url}/{size_bytes}.mp4"
            task = VideoTask(id=f"video_{name}", status=Status.COMPLETED, video_url=video_url)
            saved = await session.download(task, directory / f"{name}.mp4")
            if saved.size_bytes != size_bytes or not saved.is_verified:
                raise RuntimeError(f"this is not what was to be downloaded: {saved}")

        # What is loaded or started at the first download is not what one costs.
        await fetch(_WARM_UP_BYTES, "warm-up")
        yield fetch


async def _ours(url: str, size_bytes: int, directory: Path) -> dict[str, float]:
    async with _downloader(url, directory, DownloadPolicy()) as fetch:
        began_s, spent_s = time.perf_counter(), time.process_time()
        await fetch(size_bytes, "timed")
        spent_s = time.process_time() - spent_s
        return {"cpu_s": spent_s, "wall_s": time.perf_counter() - began_s}


async def _memory(url: str, size_bytes: int, directory: Path) -> dict[str, float]:
    async with _downloader(url, directory, DownloadPolicy()) as fetch:
        gc.collect()
        idle = _resident_kb("VmRSS")
        _forget_peak()
        await fetch(size_bytes, "measured")
        return {"mb": (_resident_kb("VmHWM") - idle) * 1024 / 1e6}


def _forget_peak() -> None:
    """Have the largest size of the process counted anew from here on (proc(5))."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _resident_kb(field: str) -> int:
    if sys.platform != "linux":
        raise RuntimeError("the size of a process is read from /proc, which is Linux's")
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (found,) = (line for line in lines if line.startswith(f"{field}:"))
    return int(found.split()[1])


async def _lag(url: str, size_bytes: int, directory: Path, parallel: int) -> dict[str, float]:
    """Make downloads side by side, and take how late a short sleep ends meanwhile."""
    async with _downloader(url, directory, DownloadPolicy(parallel=parallel)) as fetch:
        idle = await _idle_lags()
        lags: list[float] = []
        works: list[float] = []
        began_s = time.perf_counter()
        async with anyio.create_task_group() as ticking:
            ticking.start_soon(_tick, lags, works)
            async with anyio.create_task_group() as group:
                for number in range(parallel):
                    group.start_soon(fetch, size_bytes, f"lag-{number}")
            ticking.cancel_scope.cancel()
        took_s = time.perf_counter() - began_s
    return {
        "median_ms": statistics.median(lags) * 1000,
        "p99_ms": statistics.quantiles(lags, n=100)[98] * 1000,
        "longest_ms": max(lags) * 1000,
        "work_p99_ms": statistics.quantiles(works, n=100)[98] * 1000,
        "idle_p99_ms": statistics.quantiles(idle, n=100)[98] * 1000,
        "mb_per_s": parallel * size_bytes / took_s / 1e6,
    }


async def _idle_lags() -> list[float]:
    """Take the same of a loop that has nothing to do: what else runs on the machine shows in it."""
    lags: list[float] = []
    with anyio.move_on_after(_IDLE_S):
        await _tick(lags, [])
    return lags


async def _tick(lags: list[float], works: list[float]) -> None:
    """Note how late each short sleep ends, and how long the loop itself was at work meanwhile."""
    while True:
        began_s, worked_s = time.perf_counter(), time.thread_time()
        await anyio.sleep(_TICK_S)
        lags.append(time.perf_counter() - began_s - _TICK_S)
        works.append(time.thread_time() - worked_s)


def main() -> None:
    """Make one measurement and print it as one line of JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("way", choices=("curl", "curl-digest", "ours", "memory", "lag"))
    parser.add_argument("--url", required=True)
    parser.add_argument("--bytes", type=int, required=True)
    parser.add_argument("--parallel", type=int, default=4)
    options = parser.parse_args()
    if sys.platform == "linux":
        os.sched_setaffinity(0, client_cpus())
    where = _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=where) as folder:
        url, size_bytes, directory = options.url, options.bytes, Path(folder)
        if options.way.startswith("curl"):
            digest = ["sha256sum"] if options.way == "curl-digest" else []
            result = _curl(url, size_bytes, directory, *digest)
        elif options.way == "lag":
            result = asyncio.run(_lag(url, size_bytes, directory, options.parallel))
        else:
            measure = _ours if options.way == "ours" else _memory
            result = asyncio.run(measure(url, size_bytes, directory))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
