from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.emulator.wire import LIFETIME_S, Wire
from videos_async.emulator import Lifetimes, ManualClock, Media, VideosEmulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def wire(http: aiohttp.ClientSession) -> AsyncIterator[Wire]:
    clock = ManualClock()
    lifetimes = Lifetimes(medians_s={}, default_median_s=LIFETIME_S, sigma=0)
    async with VideosEmulator(
        clock=clock, lifetimes=lifetimes, processing_slots=2, media=Media.SAMPLE
    ) as emulator:
        yield Wire(emulator=emulator, clock=clock, http=http)
