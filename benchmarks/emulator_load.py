"""The load on the emulator: bare bytes on a few connections, so that it costs the least there is.

``python -m benchmarks.emulator_load --port … --tasks …`` submits tasks and asks for each ten
times, sixteen calls at a time, whatever is answered.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from collections.abc import Iterator
from typing import Final

from benchmarks.server import new_event_loop

__all__ = ["KEY", "POLLS"]

KEY: Final = "benchmark"
POLLS: Final = 10
"""Result calls for each task."""

_CONNECTIONS: Final = 16
_BASE: Final = "/kyyReactApiServer/v1"
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_ID: Final = re.compile(rb'"(?:id|task_?[iI]d|projectId)": "([^"]+)"')


async def _work(port: int, numbers: Iterator[int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def call(method: str, path: str, body: bytes = b"") -> bytes:
        head = (
            f"{method} {_BASE}{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        length = _LENGTH.search(await reader.readuntil(b"\r\n\r\n"))
        return await reader.readexactly(int(length[1])) if length else b""

    for number in numbers:
        body = {"model": "videos", "prompt": f"A kitten, take {number}", "duration": 5}
        answer = await call("POST", "/videos/videos", json.dumps(body).encode())
        found = _ID.search(answer)
        task_id = "unknown" if found is None else found[1].decode()
        for _ in range(POLLS):
            await call("GET", f"/result/{task_id}")
    writer.close()
    await writer.wait_closed()


async def _run(port: int, tasks: int) -> None:
    numbers = iter(range(tasks))
    await asyncio.gather(*(_work(port, numbers) for _ in range(_CONNECTIONS)))


def main() -> None:
    """Make the calls."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tasks", type=int, required=True)
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_run(options.port, options.tasks))


if __name__ == "__main__":
    main()
