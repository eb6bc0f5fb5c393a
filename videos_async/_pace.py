"""Whether bytes come fast enough, over a window that slides.

A transfer that drips defeats every time-out on silence. What counts is the time spent waiting for
the server: a slow disk or a slow sink on our side is no fault of its.
"""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["Pace"]

_LOOKS_A_WINDOW: Final = 10


class Pace:
    """The bytes of one connection, counted against the seconds that were waited for them.

    Args:
        minimum_bytes_per_s: Slowest rate that will do.
        window_s: Over how many seconds of waiting it is taken.

    Attributes:
        look_every_s: How often to ask `is_too_slow`, in seconds.
    """

    __slots__ = (
        "_bytes",
        "_minimum_bytes",
        "_samples",
        "_waited_s",
        "_waiting_since_s",
        "_window_s",
        "look_every_s",
    )

    def __init__(self, *, minimum_bytes_per_s: float, window_s: float) -> None:
        self.look_every_s = window_s / _LOOKS_A_WINDOW
        self._minimum_bytes = minimum_bytes_per_s * window_s
        self._window_s = window_s
        self._bytes = 0
        self._waited_s = 0.0
        self._waiting_since_s: float | None = None
        # Where each look found the two counters; those before the window are dropped but one.
        self._samples: deque[tuple[float, int]] = deque([(0.0, 0)])

    def wait(self, now_s: float) -> None:
        """Begin to wait for bytes."""
        self._waiting_since_s = now_s

    def receive(self, size_bytes: int, now_s: float) -> None:
        """Take note of what came; nothing is waited for until the next `wait`."""
        self._bytes += size_bytes
        if self._waiting_since_s is not None:
            self._waited_s += now_s - self._waiting_since_s
            self._waiting_since_s = None

    def is_too_slow(self, now_s: float) -> bool:
        """Look at the window that ends now; only a connection that is waited for is too slow."""
        if self._waiting_since_s is None:
            return False
        waited_s = self._waited_s + now_s - self._waiting_since_s
        samples = self._samples
        while len(samples) > 1 and samples[1][0] <= waited_s - self._window_s:
            samples.popleft()
        began_s, bytes_then = samples[0]
        samples.append((waited_s, self._bytes))
        if waited_s - began_s < self._window_s:
            return False
        return self._bytes - bytes_then < self._minimum_bytes
