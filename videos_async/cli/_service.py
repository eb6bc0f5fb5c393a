"""Opens the session a command works on: the service's, or an emulator of its own."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from videos_async import DownloadPolicy, PollPolicy, RateLimit, RetryPolicy, VideosSession
from videos_async.cli._exit import BadInput

__all__ = ["open_emulated", "open_service"]

# A person waits: a wrong address should be told within seconds. The library's own patience is
# meant for batches.
_RETRY: Final = RetryPolicy(max_attempts=4)
# Some 150 emulated seconds of processing pass in 2 to 3 real ones, each status being seen.
_EMULATOR_SPEED: Final = 60.0
_EMULATOR_POLL: Final = PollPolicy(min_interval_s=0.2, max_interval_s=0.4)
_SEEDS: Final = 1 << 32


@asynccontextmanager
async def open_service(
    base_url: str | None,
    *,
    limit: RateLimit | None = None,
    retry: RetryPolicy = _RETRY,
    downloads: DownloadPolicy | None = None,
) -> AsyncGenerator[VideosSession]:
    """Open a session of the service, with the environment's key.

    Args:
        base_url: The address, or None for the environment's.
        limit: How much of the service is used at most.
        retry: How patient it is.
        downloads: How files are fetched.

    Raises:
        BadInput: When there is no key.
        ConfigurationError: When the key or the address is wrong.
    """
    if not os.environ.get("VIDEOS_API_KEY"):
        raise BadInput(
            "there is no API key: set the environment's VIDEOS_API_KEY to yours, or try it "
            "without one and free of charge with `videos-async generate PROMPT --emulator`"
        )
    async with VideosSession(
        base_url=base_url, limit=limit, retry=retry, downloads=downloads
    ) as session:
        yield session


@asynccontextmanager
async def open_emulated(
    *, limit: RateLimit | None = None, downloads: DownloadPolicy | None = None
) -> AsyncGenerator[VideosSession]:
    """Open a session of an emulator that lives as long as it does.

    Args:
        limit: How much of it is used at most.
        downloads: How files are fetched.
    """
    # Not at the top: it loads a web server, for which no other command should wait.
    from videos_async.emulator import VideosEmulator  # noqa: PLC0415

    # Ids follow from the seed: with a fixed one the second run would find its file there already.
    seed = random.randrange(_SEEDS)  # noqa: S311 - nothing secret hangs on it
    async with (
        VideosEmulator(speed=_EMULATOR_SPEED, seed=seed) as emulator,
        VideosSession(
            emulator.api_key,
            base_url=emulator.base_url,
            poll=_EMULATOR_POLL,
            limit=limit,
            downloads=downloads,
        ) as session,
    ):
        yield session
