"""What a create call costs the emulator, and what keeping it in a state file adds to that.

The emulator has a process to itself and tells its own CPU time, so that neither the load nor
whatever else the machine does counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from benchmarks.fresh import half_quartile_distance, median_ratio
from benchmarks.report import Row, Scale

__all__ = ["measure"]

# At least 1,500 requests a second on one core.
_LIMIT_US: Final = 1e6 / 1500
_CALLS: Final = {Scale.FULL: 8_000, Scale.QUICK: 400}
_ROUNDS: Final = {Scale.FULL: 5, Scale.QUICK: 2}
_CONNECTIONS: Final = 16
_BODY: Final = json.dumps({"model": "videos", "prompt": "A kitten on a meadow", "duration": 5})


def measure(scale: Scale) -> Iterator[Row]:
    """Have an emulator accept calls, without a state file and with one.

    Args:
        scale: How much is measured.
    """
    floors_us: list[float] = []
    ours_us: list[float] = []
    for _ in range(_ROUNDS[scale]):
        with tempfile.TemporaryDirectory() as folder:
            floors_us.append(_cpu_us(_CALLS[scale]))
            ours_us.append(_cpu_us(_CALLS[scale], f"--state={Path(folder) / 'state.jsonl'}"))
    ratio, spread = median_ratio(ours_us, floors_us)
    yield Row(
        what="emulator: CPU of a create call with --state",
        unit="us",
        ours=statistics.median(ours_us),
        floor=statistics.median(floors_us),
        ratio=ratio,
        spread=spread,
        note="the floor is the same emulator without a state file",
    )
    yield Row(
        what="emulator: the same, against 1,500 requests/s on a core",
        unit="us",
        ours=statistics.median(ours_us),
        spread=half_quartile_distance(ours_us),
        limit=_LIMIT_US,
    )


def _cpu_us(calls: int, *options: str) -> float:
    command = [sys.executable, "-m", "benchmarks.emulator_state", *options]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        asyncio.run(_load(url, calls=calls))
        told, _ = server.communicate("end\n", timeout=60)
    cpu_s: float = json.loads(told)["cpu_s"]
    return cpu_s / calls * 1e6


async def _load(url: str, *, calls: int) -> None:
    parts = urlsplit(url)
    head = (
        f"POST {parts.path}/v1/videos/videos HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Authorization: Bearer emulator-key\r\nContent-Length: {len(_BODY)}\r\n\r\n"
    )
    numbers = iter(range(calls))

    async def work() -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        for _ in numbers:
            writer.write((head + _BODY).encode())
            answer = await reader.readuntil(b"\r\n\r\n")
            size = int(answer.lower().partition(b"content-length:")[2].split()[0])
            await reader.readexactly(size)
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(work() for _ in range(_CONNECTIONS)))


async def _serve(options: dict[str, Any]) -> None:
    from videos_async.emulator import VideosEmulator  # noqa: PLC0415 - the server's process alone

    async with VideosEmulator(**options) as emulator:
        print(json.dumps({"url": emulator.base_url}), flush=True)
        began_s = time.process_time()
        await asyncio.to_thread(sys.stdin.readline)
        print(json.dumps({"cpu_s": time.process_time() - began_s}), flush=True)


def main() -> None:
    """Be the server: tell the address, and after a line on standard input the CPU time."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--state", type=Path)
    asyncio.run(_serve(vars(parser.parse_args())))


if __name__ == "__main__":
    main()
