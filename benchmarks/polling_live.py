"""Fixed 45 s against the learning policy for real: the emulator, sockets, and a fast clock.

The event loop lives a minute in a second, and the emulator with it, so that both policies keep
their real intervals and nothing of the library is replaced.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import time
from collections.abc import AsyncGenerator, Iterator
from typing import Final

import anyio
import attrs

from benchmarks.report import Row, Scale
from videos_async import AdaptivePolling, PollPolicy, VideoRequest, VideosSession
from videos_async.emulator import Lifetimes, Media, VideosEmulator

__all__ = ["measure"]

_SPEED: Final = 60.0
_SIGMA: Final = 0.2
_ARRIVAL_S: Final = 6.0
_SLOTS: Final = 1000
# What 0.40 is in the simulator, with room for a machine on which a hundredth of a second, which
# is most of a second here, is soon lost.
_DELAY_LIMIT: Final = 0.5


@attrs.frozen(kw_only=True)
class _Size:
    learned: int
    counted: int


_SIZES: Final = {
    Scale.FULL: _Size(learned=80, counted=80),
    Scale.QUICK: _Size(learned=5, counted=5),
}


@attrs.frozen(kw_only=True)
class _Outcome:
    mean_s: float
    polls: float


def measure(scale: Scale) -> Iterator[Row]:
    """Let both policies follow the same tasks of an idle emulator.

    Args:
        scale: How many tasks.
    """
    size = _SIZES[scale]
    fixed = _run(PollPolicy(min_interval_s=45, max_interval_s=45), size)
    ours = _run(AdaptivePolling(), size)
    yield Row(
        what="mean delay over sockets, floor: fixed 45 s",
        unit="s",
        floor=fixed.mean_s,
        ours=ours.mean_s,
        ratio=ours.mean_s / fixed.mean_s,
        limit=_DELAY_LIMIT,
        note=(
            f"emulator at {_SPEED:g} times the speed, sigma {_SIGMA:g}; "
            f"{size.counted} tasks after {size.learned}"
        ),
    )
    yield Row(
        what="polls per task over sockets, floor: fixed 45 s",
        unit="",
        floor=fixed.polls,
        ours=ours.polls,
        ratio=ours.polls / fixed.polls,
        limit=1.0,
        note="of all tasks, those learned from included",
    )


def _run(poll: AdaptivePolling | PollPolicy, size: _Size) -> _Outcome:
    with asyncio.Runner(loop_factory=_fast_loop) as runner:
        return runner.run(_follow(poll, size))


async def _follow(poll: AdaptivePolling | PollPolicy, size: _Size) -> _Outcome:
    clock = _FastClock()
    lifetimes = Lifetimes(sigma=_SIGMA)
    tasks = size.learned + size.counted
    delays_s: list[float] = []
    async with (
        VideosEmulator(
            clock=clock, lifetimes=lifetimes, processing_slots=_SLOTS, media=Media.SAMPLE
        ) as emulator,
        VideosSession(emulator.api_key, base_url=emulator.base_url, poll=poll) as session,
        session.batch(_requests(tasks)) as transitions,
    ):
        async for change in transitions:
            if not change.is_end:
                continue
            ended_at_s = None
            if change.task_id is not None:
                ended_at_s = emulator.tasks[change.task_id].ended_at_s
            if change.error is not None or ended_at_s is None:
                raise RuntimeError(f"{change.key} was not completed: {change.error}")
            if isinstance(change.key, int) and change.key >= size.learned:
                delays_s.append(clock.now_s() - ended_at_s)
        return _Outcome(
            mean_s=math.fsum(delays_s) / len(delays_s), polls=emulator.requests.queries / tasks
        )


async def _requests(count: int) -> AsyncGenerator[VideoRequest]:
    for number in range(count):
        yield VideoRequest(prompt=f"A kitten, take {number}", duration=5)
        await anyio.sleep(_ARRIVAL_S)


class _FastClock:
    """The emulator's time: that of the loop, so that both age alike."""

    def now_s(self) -> float:
        return time.monotonic() * _SPEED

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _FastSelector(selectors.DefaultSelector):
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(timeout and timeout / _SPEED)


class _FastLoop(asyncio.SelectorEventLoop):
    def time(self) -> float:
        return time.monotonic() * _SPEED


def _fast_loop() -> asyncio.AbstractEventLoop:
    return _FastLoop(_FastSelector())
