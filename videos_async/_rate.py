"""Learns how many calls a second the service bears, from the refusals alone.

No document gives the limit, so it is found the way TCP finds a line's: additive increase,
multiplicative decrease. There is no limit before the first refusal. Then there are two phases:

*Searching.* The first refusal says little: a server that lets bursts through is refused late, one
that does not is refused early. The rate starts from what was accepted in the last second, doubles
every second, and the next refusal ends the search near what is accepted then.

*Holding.* Each further refusal takes a twentieth off, and the next 20 seconds (or 200 calls, if
those take longer) win it back in a straight line. Every such period without a refusal doubles the
slope, so a limit that was lifted is found again. One call in some hundreds is refused, and all but
a few per cent of the limit is used.

*Falling.* Refusals with nothing accepted between them say that the service bears nothing now, not
how much it will bear. They take a third off each, and once the rate has fallen by half, whatever is
accepted next starts a search, so that a storm costs seconds after its end and not hours.

*Chance.* A service may also refuse one call in some hundreds whatever the rate. A refusal that
stands alone changes nothing; what counts is the share of refusals among the last calls, but for a
refusal with a ``Retry-After``: a service that says so has counted.

A pause (``Retry-After``, or a short one where the service names none) stops all calls alike. What
is already under way when the rate is cut may still be refused and cuts it no further.

Pure: the time is handed in, and nothing here waits.
Source of the principle: Chiu & Jain 1989, on increase and decrease for avoiding congestion.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["AdaptiveRate"]

_LEAST_PER_S: Final = 0.1
_DECREASE: Final = 0.95
# The same factor again and again would take for ever to come down from far above.
_QUICK_DECREASE: Final = 0.7
_SEARCH_WINDOW_S: Final = 1.0
_PERIOD_S: Final = 20.0
_PERIOD_CALLS: Final = 200.0
_LONGEST_PERIOD_S: Final = 100.0
# In calls a second, a second: a share of next to nothing is nothing.
_LEAST_SLOPE: Final = 0.005
# The share of refusals is that of about the last 150 calls: two close together, or three, are more
# than chance. Where few calls are made, a refusal by chance is rare and costs next to nothing.
_SHARE_CALLS: Final = 150.0
_CHANCE_SHARE: Final = 0.0175
_CHANCE_LEAST_PER_S: Final = 10.0
_LONE_PAUSE_SHARE: Final = 0.1


class AdaptiveRate:
    """The rate of a whole session, and the pause that holds for all of its calls."""

    __slots__ = (
        "_accepted",
        "_accepted_before",
        "_borne_per_s",
        "_changed_s",
        "_cut_s",
        "_is_borne",
        "_is_searching",
        "_next_s",
        "_period_end_s",
        "_refused_share",
        "_slope",
        "paused_until_s",
        "rate_per_s",
    )

    def __init__(self) -> None:
        self.rate_per_s: float | None = None
        """Calls a second, or None while no call was ever refused."""
        self.paused_until_s = -math.inf
        """The instant before which nothing is called."""
        self._accepted = _SlidingCount()
        self._next_s = -math.inf
        self._cut_s = -math.inf
        self._changed_s = -math.inf
        self._slope = 0.0
        self._period_end_s = math.inf
        self._is_searching = True
        # Whether anything was accepted since the last cut, and what the rate was before the
        # first cut after which nothing was.
        self._is_borne = True
        self._borne_per_s = math.inf
        # How much is refused of late, and how many calls had been accepted at the last refusal.
        self._refused_share = 0.0
        self._accepted_before = 0

    def reserve(self, now_s: float, *, earliest_s: float = -math.inf) -> float:
        """Take the next turn and tell the instant it is at; ask again after a pause.

        Args:
            now_s: The time.
            earliest_s: An instant that the turn must not come before.
        """
        start_s = max(now_s, self.paused_until_s)
        if self.rate_per_s is not None:
            self._grow(now_s)
            start_s = max(start_s, self._next_s)
            # A call that its own limit holds back longer pays for the next turn all the same, or
            # those that could have gone before it would wait for it.
            self._next_s = start_s + 1.0 / self.rate_per_s
        return max(start_s, earliest_s)

    def pause(self, until_s: float) -> None:
        """Stop all calls until the given instant, unless a longer pause is on."""
        self.paused_until_s = max(self.paused_until_s, until_s)

    def accepted(self, now_s: float) -> None:
        """Take in that a call was let through."""
        self._accepted.add(now_s)
        self._is_borne = True

    def refused(self, *, sent_s: float, now_s: float, retry_after_s: float | None = None) -> float:
        """Take in that a call was refused for coming too fast.

        Args:
            sent_s: When it was sent.
            now_s: When the refusal came.
            retry_after_s: For how long the service asks to be left alone, in seconds. One that
                asks counts, so it is always believed.

        Returns:
            Which share of the usual pause to make: one that stands alone is no reason to stop all
            calls for long.
        """
        if sent_s <= self._cut_s:
            return 1.0
        if self._is_chance() and retry_after_s is None:
            return _LONE_PAUSE_SHARE
        self._refused_share = 0.0
        accepted_per_s = max(1.0, self._accepted.in_last_second(now_s))
        if self.rate_per_s is None:
            rate = self._borne_per_s = accepted_per_s
        else:
            self._grow(now_s)
            rate = self.rate_per_s
            if self._is_borne:
                self._borne_per_s = rate
            if not self._is_borne or now_s - self._cut_s < _SEARCH_WINDOW_S:
                rate *= _QUICK_DECREASE
            elif self._is_searching:
                self._is_searching = False
                # At least half: a second in which there was little to send says little.
                rate = max(min(rate, accepted_per_s), rate / 2)
        rate = max(_LEAST_PER_S, rate * _DECREASE)
        if not self._is_borne and rate < self._borne_per_s / 2:
            self._is_searching = True
        self.rate_per_s = rate
        self._slope = max(_LEAST_SLOPE, rate * (1 - _DECREASE) / _period_s(rate))
        self._period_end_s = now_s + _period_s(rate)
        self._cut_s = self._changed_s = now_s
        self._is_borne = False
        return 1.0

    def _is_chance(self) -> bool:
        """Count a refusal, and tell whether it is one that no rate would avoid."""
        accepted = self._accepted.total - self._accepted_before
        self._accepted_before = self._accepted.total
        faded = self._refused_share * (1.0 - 1.0 / _SHARE_CALLS) ** accepted
        self._refused_share = faded + 1.0 / _SHARE_CALLS
        is_quick = self.rate_per_s is not None and self.rate_per_s >= _CHANCE_LEAST_PER_S
        return is_quick and self._refused_share < _CHANCE_SHARE

    def _grow(self, now_s: float) -> None:
        assert self.rate_per_s is not None  # noqa: S101 - only a rate can grow
        # A pause is no time in which the service showed what it bears.
        since_s = max(self._changed_s, min(now_s, self.paused_until_s))
        elapsed_s = now_s - since_s
        if elapsed_s <= 0:
            return
        if self._is_searching:
            # At most twofold a step, however long nothing was called.
            self.rate_per_s *= 2.0 ** min(elapsed_s, 1.0)
        else:
            if now_s > self._period_end_s:
                self._slope *= 2
                self._period_end_s = now_s + _period_s(self.rate_per_s)
            self.rate_per_s += self._slope * elapsed_s
        self._changed_s = now_s


def _period_s(rate_per_s: float) -> float:
    return min(max(_PERIOD_S, _PERIOD_CALLS / rate_per_s), _LONGEST_PERIOD_S)


class _SlidingCount:
    """How many events fell into the last second, from two counters."""

    __slots__ = ("_current", "_previous", "_started_s", "total")

    def __init__(self) -> None:
        self.total = 0
        self._started_s = -math.inf
        self._current = 0
        self._previous = 0

    def add(self, now_s: float) -> None:
        if now_s - self._started_s >= 1.0:
            self._roll(now_s)
        self._current += 1
        self.total += 1

    def in_last_second(self, now_s: float) -> float:
        self._roll(now_s)
        return self._current + self._previous * (1.0 - (now_s - self._started_s))

    def _roll(self, now_s: float) -> None:
        age_s = now_s - self._started_s
        if age_s < 1.0:
            return
        self._previous = self._current if age_s < 2.0 else 0
        self._started_s = self._started_s + 1.0 if age_s < 2.0 else now_s
        self._current = 0
