"""An event loop on which time runs faster, so that half a minute of polling takes half a second.

Sockets are real and nothing of ours is replaced: the loop's clock is multiplied, and the time
the selector may block is divided by as much.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable


def scaled_loop(speed: float) -> Callable[[], asyncio.AbstractEventLoop]:
    """Make a factory of event loops that live `speed` seconds in one."""

    class ScaledSelector(selectors.DefaultSelector):
        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            return super().select(timeout and timeout / speed)

    class ScaledLoop(asyncio.SelectorEventLoop):
        def time(self) -> float:
            return time.monotonic() * speed

    return lambda: ScaledLoop(ScaledSelector())
