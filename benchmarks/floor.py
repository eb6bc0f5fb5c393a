"""The floor: the same calls by hand, as one would write them who wants nothing but speed.

No validation, no state, no retry, no deadline of its own, no types: one aiohttp session with
its defaults, a fixed set of workers, and the standard library's JSON.
"""

from __future__ import annotations

import asyncio
import json

import aiohttp

__all__ = ["run"]


async def run(url: str, *, tasks: int, in_flight: int) -> int:
    """Submit tasks and poll each until it is completed.

    Args:
        url: The server's base URL.
        tasks: How many.
        in_flight: How many calls are under way at a time.

    Returns:
        How many were completed.
    """
    numbers = iter(range(tasks))
    completed = 0

    async def work(session: aiohttp.ClientSession) -> None:
        nonlocal completed
        for number in numbers:
            body = {"model": "videos", "prompt": f"A kitten, take {number}", "duration": 5}
            async with session.post(f"{url}/v1/videos/videos", json=body) as response:
                task = json.loads(await response.read())
            while task["status"] != "completed":
                async with session.get(f"{url}/v1/result/{task['id']}") as response:
                    task = json.loads(await response.read())
            completed += 1

    async with aiohttp.ClientSession(headers={"Authorization": "Bearer benchmark"}) as session:
        await asyncio.gather(*(work(session) for _ in range(in_flight)))
    return completed
