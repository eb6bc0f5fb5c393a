"""An event loop on which time runs faster, so that half a minute of polling takes half a second.

Sockets are real and nothing of ours is replaced: the loop's clock is multiplied, and the time
the selector may block is divided by as much.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable

import pytest

__all__ = ["on_scaled_time", "scaled_loop"]


def scaled_loop(speed: float) -> Callable[[], asyncio.AbstractEventLoop]:
    """Make a factory of event loops that live `speed` seconds in one."""

    class ScaledSelector(selectors.DefaultSelector):
        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            return super().select(timeout and timeout / speed)

    class ScaledLoop(asyncio.SelectorEventLoop):
        def time(self) -> float:
            return time.monotonic() * speed

    return lambda: ScaledLoop(ScaledSelector())


def on_scaled_time(speed: float) -> pytest.MarkDecorator:
    """Let a test, and all it awaits, live `speed` seconds in one."""
    backend = ("asyncio", {"loop_factory": scaled_loop(speed)})
    name = f"{speed:g} times as fast"
    return pytest.mark.parametrize("anyio_backend", [pytest.param(backend, id=name)])
