"""Virtual time: what the emulated service believes the hour to be.

The state machine is handed its time, so the only place that reads a real clock is here.
"""

from __future__ import annotations

import time
from heapq import heappop, heappush
from typing import Protocol

import anyio
import attrs
from anyio.lowlevel import checkpoint

from ._checks import at_least, check, positive

__all__ = ["Clock", "ManualClock", "ResumedClock", "ScaledClock"]


class Clock(Protocol):
    """Anything that tells the virtual time."""

    def now_s(self) -> float:
        """Give the virtual time in seconds since the Unix epoch; it never runs backwards."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait until so many virtual seconds have passed."""
        ...


@attrs.define(kw_only=True, eq=False)
class ScaledClock:
    """A clock that starts at the real time and runs ``speed`` times as fast.

    Args:
        speed: Virtual seconds per real second.
    """

    speed: float = attrs.field(default=1.0, validator=positive)
    _epoch_s: float = attrs.field(init=False, factory=time.time)
    # Monotonic underneath: a step of the machine's wall clock must not finish or revive tasks.
    _started_s: float = attrs.field(init=False, factory=time.monotonic)
    _moved: anyio.Event = attrs.field(init=False, factory=anyio.Event)

    def now_s(self) -> float:
        """Give the virtual time in seconds since the Unix epoch."""
        return self._epoch_s + (time.monotonic() - self._started_s) * self.speed

    async def sleep(self, seconds: float) -> None:
        """Wait until so many virtual seconds have passed."""
        due_s = self.now_s() + seconds
        while (left_s := due_s - self.now_s()) > 0:
            moved = self._moved
            with anyio.move_on_after(left_s / self.speed):
                await moved.wait()

    def advance(self, seconds: float) -> None:
        """Jump ahead by so many virtual seconds.

        Raises:
            ValueError: If ``seconds`` is negative: time does not run backwards.
        """
        check(seconds >= 0, "seconds", "at least 0", seconds)
        self._epoch_s += seconds
        moved, self._moved = self._moved, anyio.Event()
        moved.set()


@attrs.define(kw_only=True, eq=False)
class ManualClock:
    """A clock that stands still until it is told to move.

    Args:
        start_s: The first virtual time, in seconds since the Unix epoch.
    """

    start_s: float = attrs.field(default=1_774_836_724.0, validator=at_least(0))
    _elapsed_s: float = attrs.field(init=False, default=0.0)
    # (instant, order of coming, bell): the order keeps bells out of comparisons.
    _sleepers: list[tuple[float, int, anyio.Event]] = attrs.field(
        init=False, factory=list[tuple[float, int, anyio.Event]]
    )
    _came: int = attrs.field(init=False, default=0)

    def now_s(self) -> float:
        """Give the virtual time in seconds since the Unix epoch."""
        return self.start_s + self._elapsed_s

    def advance(self, seconds: float) -> None:
        """Let virtual time pass.

        Args:
            seconds: How many virtual seconds to move ahead.

        Raises:
            ValueError: If ``seconds`` is negative: time does not run backwards.
        """
        check(seconds >= 0, "seconds", "at least 0", seconds)
        self._elapsed_s += seconds
        while self._sleepers and self._sleepers[0][0] <= self._elapsed_s:
            heappop(self._sleepers)[2].set()

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was moved ahead by so many seconds."""
        if seconds <= 0:
            await checkpoint()
            return
        bell = anyio.Event()
        self._came += 1
        heappush(self._sleepers, (self._elapsed_s + seconds, self._came, bell))
        await bell.wait()


@attrs.define(eq=False)
class ResumedClock:
    """A clock that can be set to where another one stood, and goes on as fast as its own.

    Args:
        clock: What it goes by.
    """

    clock: Clock
    _ahead_s: float = attrs.field(init=False, default=0.0)

    def now_s(self) -> float:
        """Give the virtual time in seconds since the Unix epoch."""
        return self.clock.now_s() + self._ahead_s

    async def sleep(self, seconds: float) -> None:
        """Wait until so many virtual seconds have passed."""
        await self.clock.sleep(seconds)

    def resume(self, at_s: float) -> None:
        """Go on from a virtual time, in seconds since the Unix epoch."""
        self._ahead_s = at_s - self.clock.now_s()
