"""Time at will for a whole program: an event loop that never waits, because it moves the clock.

Whatever sleeps in such a loop (the emulator's tasks, a client's polls, the service under test)
goes by one `VirtualClock`. Time stands still while anything runs; when everything waits, it jumps
to the next instant for which somebody set a timer. So three hours of polling take as long as the
requests themselves, and take the same course every time.

What is not done in this thread is waited for in real time: sockets get a moment in which bytes
may still be on their way, and time never jumps while a worker thread of the loop is at work. What
the loop cannot see is another process: do not let one answer.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
import time
from contextlib import suppress
from queue import Queue
from typing import TYPE_CHECKING, Any, Final

import anyio
import attrs

from ._checks import at_least, check

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["VirtualClock", "VirtualLoop", "check_loop_of"]

# Bytes between two sockets of this process are there at once, unless the kernel has put them off;
# a sleep gives it the processor for that. (A selector's own time-out is at least a millisecond.)
_GRACE_S: Final = 0.0001
# How often to look whether a thread has come to its end without waking the loop.
_LOOK_S: Final = 0.01


@attrs.define(kw_only=True, eq=False)
class VirtualClock:
    """A clock that jumps ahead whenever its event loops have nothing to do but to wait.

    ::

        clock = VirtualClock()
        with asyncio.Runner(loop_factory=clock.new_event_loop) as runner:
            runner.run(test(VideosEmulator(clock=clock)))

    Under pytest it is enough to run the test in such a loop: the fixtures take its clock.

    Args:
        start_s: The first virtual time, in seconds since the Unix epoch.
    """

    start_s: float = attrs.field(default=1_774_836_724.0, validator=at_least(0))
    _elapsed_s: float = attrs.field(init=False, default=0.0)
    _busy: list[Callable[[], bool]] = attrs.field(init=False, factory=list["Callable[[], bool]"])

    def now_s(self) -> float:
        """Give the virtual time in seconds since the Unix epoch."""
        return self.start_s + self._elapsed_s

    def elapsed_s(self) -> float:
        """Give the virtual seconds since the start; the time of the loops."""
        return self._elapsed_s

    async def sleep(self, seconds: float) -> None:
        """Wait until so many virtual seconds have passed; all that is due meanwhile happens."""
        await anyio.sleep(seconds)

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """Make an event loop that goes by this clock; a loop factory for whoever runs loops."""
        return VirtualLoop(self)

    def hold_while(self, is_busy: Callable[[], bool]) -> Callable[[], None]:
        """Let no time pass while something that a loop cannot see is at work.

        Args:
            is_busy: Tells whether it is.

        Returns:
            What ends this.
        """
        self._busy.append(is_busy)

        def end() -> None:
            with suppress(ValueError):
                self._busy.remove(is_busy)

        return end

    def is_held(self) -> bool:
        """Tell whether time must not pass now."""
        return any(is_busy() for is_busy in self._busy)

    def move(self, seconds: float) -> None:
        """Let time pass at once; for loops that go by this clock."""
        check(seconds >= 0, "seconds", "at least 0", seconds)
        self._elapsed_s += seconds


def check_loop_of(clock: VirtualClock) -> None:
    """See to it that the running loop goes by a clock.

    Raises:
        RuntimeError: If it does not: the clock would stand still.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop) or loop.clock is not clock:
        message = (
            "this event loop does not go by the VirtualClock, which would stand still: run the"
            " program with loop_factory=clock.new_event_loop"
        )
        raise RuntimeError(message)


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for what can come by itself, and moves the clock where nothing does.

    Attributes:
        is_stirred: Whether anything but timers ran since it last waited: only then can bytes be
            on their way that are not there yet.
    """

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self.is_stirred = True
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(0)
        if not ready and self.is_stirred:
            time.sleep(_GRACE_S)
            ready = super().select(0)
        while not ready and self._clock.is_held():
            ready = super().select(_LOOK_S)
        if not ready:
            self.is_stirred = False
            self._clock.move(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is a `VirtualClock`.

    Attributes:
        clock: The clock.
    """

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self._waiting = _JumpingSelector(clock)
        super().__init__(self._waiting)
        self._in_threads = 0
        self._end_hold = clock.hold_while(self._is_waiting_for_threads)

    def time(self) -> float:
        """Give the loop's time, in virtual seconds."""
        return self.clock.elapsed_s()

    def call_soon(self, *args: Any, **options: Any) -> asyncio.Handle:  # type: ignore[override]
        """Call a function on the next round, as every loop does."""
        self._waiting.is_stirred = True
        return super().call_soon(*args, **options)

    def run_in_executor(self, *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Run a function in a thread; time stands still until it has ended."""
        done = super().run_in_executor(*args)
        self._in_threads += 1
        done.add_done_callback(self._thread_ended)
        return done

    async def shutdown_default_executor(self, *args: Any) -> None:
        """Wait for the threads of the default executor; time stands still meanwhile."""
        self._in_threads += 1
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self._in_threads -= 1

    def close(self) -> None:
        """Close the loop."""
        self._end_hold()
        super().close()

    def _thread_ended(self, _: object) -> None:
        self._in_threads -= 1

    def _is_waiting_for_threads(self) -> bool:
        return self._in_threads > 0 or any(map(self._is_at_work, threading.enumerate()))

    def _is_at_work(self, thread: threading.Thread) -> bool:
        """Tell whether a thread that is not the loop's own works for it.

        Each of anyio's has a queue for that; where a later version has none, time passes while
        they work. A journal's says so.
        """
        if getattr(thread, "loop", None) is not self:
            return False
        queue = getattr(thread, "queue", None)
        is_handed = isinstance(queue, Queue) and queue.unfinished_tasks > 0
        return is_handed or bool(getattr(thread, "is_busy", False))
