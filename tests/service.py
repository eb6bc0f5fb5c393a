"""The service as the session's tests meet it: the emulator in a hurry, and a client to match."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from videos_async import PollPolicy, RetryPolicy, VideoRequest, VideosSession
from videos_async.emulator import Media, VideosEmulator

QUICK_POLLS = PollPolicy(min_interval_s=0.01, max_interval_s=0.02)
QUICK_RETRIES = RetryPolicy(base_s=0.01, cap_s=0.05)


def quick_session(emulator: VideosEmulator, **options: Any) -> VideosSession:
    """Open a session with the emulator whose polls and retries take milliseconds."""
    settings: dict[str, Any] = {"poll": QUICK_POLLS, "retry": QUICK_RETRIES, **options}
    return VideosSession(emulator.api_key, base_url=emulator.base_url, **settings)


@asynccontextmanager
async def quick_service(
    **options: Any,
) -> AsyncGenerator[tuple[VideosEmulator, VideosSession]]:
    """Run the emulator, minutes passing in hundredths of a second, and a session with it."""
    settings: dict[str, Any] = {"speed": 2000.0, "media": Media.SAMPLE, **options}
    async with VideosEmulator(**settings) as emulator, quick_session(emulator) as session:
        yield emulator, session


def request(prompt: str = "A kitten on a meadow", **fields: Any) -> VideoRequest:
    """Make a valid request."""
    return VideoRequest(prompt=prompt, duration=fields.pop("duration", 5), **fields)


def open_descriptors() -> set[str]:
    """List the sockets this process holds, by what they are rather than by number."""
    found: set[str] = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names are all that is wanted
        try:
            target = os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115 - as above
        except FileNotFoundError:
            continue  # the descriptor of the listing itself
        if target.startswith("socket:"):
            found.add(target)
    return found


def other_tasks() -> set[asyncio.Task[Any]]:
    """List the loop's tasks but the one that asks."""
    return asyncio.all_tasks() - {task for task in (asyncio.current_task(),) if task is not None}
