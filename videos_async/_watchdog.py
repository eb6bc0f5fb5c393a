"""One timer for all exchanges under way: stops those whose time is up, or all of them.

A timer of its own for each exchange costs a tenth of a poll. Here an exchange costs an entry in a
set: the time allowed is nearly always the same, so the one timer that is set for the first of
them is rarely moved, and whatever it finds overdue when it fires is stopped.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any

import attrs

__all__ = ["UnderWay", "Watchdog"]


@attrs.define(eq=False)
class UnderWay:
    """An exchange under way.

    Attributes:
        task: The task that makes it.
        deadline_s: When it is stopped, by the loop's clock.
        cancelling: How many cancellations of the task were asked for before it began.
        stopped: Why it was stopped, or None.
        is_taken: Whether the cancellation by which it was stopped was taken back.
    """

    task: asyncio.Task[Any]
    deadline_s: float
    cancelling: int
    stopped: str | None = None
    is_taken: bool = False

    def stop(self, why: str) -> None:
        """Cancel what the task waits for; it is told `why`."""
        if self.stopped is None:
            self.stopped = why
            self.task.cancel()

    def takes_cancellation(self) -> bool:
        """Take a cancellation that arrived for ours; False where somebody else asked, too."""
        if self.stopped is None:
            return False
        self.is_taken = True
        return self.task.uncancel() <= self.cancelling


class Watchdog:
    """Stops exchanges: each at its deadline, all of them when the transport closes."""

    def __init__(self) -> None:
        self._under_way: set[UnderWay] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._fires_s = math.inf

    def begin(self, limit_s: float) -> UnderWay:
        """Watch over what the current task does from now until `end`."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101 - coroutines run in tasks
        call = UnderWay(task, loop.time() + limit_s, task.cancelling())
        self._under_way.add(call)
        if call.deadline_s < self._fires_s:
            self._set(loop, call.deadline_s)
        return call

    def end(self, call: UnderWay) -> None:
        """Leave the task alone from now on."""
        self._under_way.discard(call)
        if call.stopped is not None and not call.is_taken:
            # Stopped, and ended by something else: the task's own count must be right again.
            call.takes_cancellation()

    def stop_all(self, why: str) -> None:
        """Stop all that is under way."""
        for call in self._under_way:
            call.stop(why)
        if self._timer is not None:
            self._timer.cancel()

    def _set(self, loop: asyncio.AbstractEventLoop, fires_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._fires_s = fires_s
        self._timer = loop.call_at(fires_s, self._fire, loop)

    def _fire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer, self._fires_s = None, math.inf
        next_s = math.inf
        for call in self._under_way:
            # The deadline at which the timer was set, not the clock: that may lag behind it.
            if call.deadline_s <= loop.time():
                call.stop("no answer within the time allowed")
            elif call.stopped is None:
                next_s = min(next_s, call.deadline_s)
        if next_s < math.inf:
            self._set(loop, next_s)
