"""How fast a session may call: a rate for each kind of call, and a learned one for all of them.

Pure: the clock is handed in, and nothing here waits. A call reserves its turn and is told how
many seconds to wait for it.
"""

from __future__ import annotations

import attrs

from videos_async._rate import AdaptiveRate
from videos_async._settings import at_least, whole_at_least

__all__ = ["Limiter", "RateLimit"]


@attrs.frozen(kw_only=True)
class RateLimit:
    """How much of the service a session uses at most.

    Attributes:
        submits_in_flight: Most create calls at a time.
        queries_in_flight: Most result calls at a time.
        submits_per_s: Most create calls a second, or None for no limit of our own.
        queries_per_s: Most result calls a second, or None for no limit of our own.
        burst: How many calls may go out at once after a pause, where a rate is set.
    """

    submits_in_flight: int = attrs.field(default=8, validator=whole_at_least(1))
    queries_in_flight: int = attrs.field(default=16, validator=whole_at_least(1))
    submits_per_s: float | None = attrs.field(
        default=None, validator=at_least(0.001, optional="for no limit")
    )
    queries_per_s: float | None = attrs.field(
        default=None, validator=at_least(0.001, optional="for no limit")
    )
    burst: int = attrs.field(default=1, validator=whole_at_least(1))


class Limiter:
    """Deals out turns of one kind of call: at its own rate, if it has one, and at the session's.

    The own rate is kept by the generic cell rate algorithm: one instant is all its state.
    Source: ITU-T I.371.
    """

    __slots__ = ("_interval_s", "_next_s", "_session", "_tolerance_s")

    def __init__(self, *, rate_per_s: float | None, burst: int, session: AdaptiveRate) -> None:
        self._interval_s = 0.0 if rate_per_s is None else 1.0 / rate_per_s
        self._tolerance_s = self._interval_s * (burst - 1)
        self._next_s = float("-inf")
        self._session = session

    def is_free(self, now_s: float) -> bool:
        """Tell whether a call may go out now without a turn being taken for it."""
        session = self._session
        is_unlimited = not self._interval_s and session.rate_per_s is None
        return is_unlimited and session.paused_until_s <= now_s

    def reserve(self, now_s: float) -> float:
        """Take the next turn and tell how many seconds from now it is."""
        turn_s = now_s
        if self._interval_s:
            # A turn may come early by the burst that was saved up.
            turn_s = max(now_s, self._next_s - self._tolerance_s)
        turn_s = self._session.reserve(now_s, earliest_s=turn_s)
        if self._interval_s:
            self._next_s = max(self._next_s, turn_s) + self._interval_s
        return turn_s - now_s

    def reserve_again(self, now_s: float) -> float:
        """Take another turn in place of one that a pause has overtaken; 0 where none has."""
        if self._session.paused_until_s <= now_s:
            return 0.0
        return self._session.reserve(now_s) - now_s
