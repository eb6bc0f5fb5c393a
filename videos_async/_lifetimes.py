"""How long tasks stay in a status, learned from looks that saw too little.

A look tells that a task had not left yet, or that it had; when it left lies somewhere between
two looks. So what is remembered is intervals of ages, open where a task was lost from sight, and
a distribution is fitted to them: each interval is shared out over a histogram in proportion to
what is believed, what comes out is smoothed and believed from then on, and so again. With sums
over differences a round costs one step per interval and per bin, a fraction of a millisecond.

The last `MEMORY` observations are held, the older half of which fades. A service that has changed
is noticed sooner: where the latest no longer fit what is believed, the others are dropped.

The bins are 1.5 s wide, and a share of the age from 100 s on.

Pure: ages in, shares out.
Sources: Turnbull 1976, on the distribution that grouped and censored data suggest; Silverman,
Jones, Wilson & Nychka 1990, on smoothing it in every round.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Any, Final, cast

__all__ = ["AGES_S", "MEMORY", "Lifetimes", "age_between", "bin_of", "share_at", "shares"]

MEMORY: Final = 400
"""How many observations are held."""

_STEP_S: Final = 1.5
_STEP_SHARE: Final = 0.015
_LONGEST_S: Final = 86_400.0


def _ages_s() -> tuple[float, ...]:
    ages_s = [0.0]
    while ages_s[-1] < _LONGEST_S:
        ages_s.append(ages_s[-1] + max(_STEP_S, ages_s[-1] * _STEP_SHARE))
    return tuple(ages_s)


AGES_S: Final = _ages_s()
"""The edges of the bins, in seconds."""

_BINS: Final = len(AGES_S) - 1
_EVEN_BINS: Final = int(1 / _STEP_SHARE)
_ROUNDS: Final = 3
_FITTED_AFTER: Final = 8
_FITTED_AFTER_SHARE: Final = 1 / 8
_MORE_AT_FIRST: Final = 3.0
_AT_FIRST: Final = 40
_FADING_FROM: Final = MEMORY // 2

# Noticing a change: the rank of an observation among those believed in is even between 0 and 1
# while nothing changes, and then the running mean of ranks keeps within a quarter of a half but
# for one time in some ten thousand.
_RANK_GAIN: Final = 0.1
_RANK_LIMIT: Final = 0.25
_RANKED_FROM: Final = 30
_LATEST: Final = 12

# Silverman's rule of thumb for the width of a bell, from the distance of the quartiles.
_BANDWIDTH: Final = 0.9 / 1.34
_BOXES: Final = 3
_WIDEST: Final = 20.0
# What ends at once is no part of the curve.
_AT_ONCE_BINS: Final = 2


def bin_of(age_s: float) -> int:
    """Tell which bin an age falls into."""
    index = int(age_s / _STEP_S)
    if index < _EVEN_BINS:
        return index
    return min(bisect_right(AGES_S, age_s, _EVEN_BINS) - 1, _BINS - 1)


def share_at(ended: Sequence[float], age_s: float) -> float:
    """Tell which share of stays has ended by an age, from the shares at `AGES_S`."""
    if age_s >= AGES_S[-1]:
        return 1.0
    index = bin_of(age_s)
    low_s, below = AGES_S[index], ended[index]
    return below + (ended[index + 1] - below) * (age_s - low_s) / (AGES_S[index + 1] - low_s)


def age_between(ended: Sequence[float], low_s: float, high_s: float) -> float:
    """Tell at which age a stay ends on average that ends between two ages."""
    below, above = share_at(ended, low_s), share_at(ended, high_s)
    if above - below < 1e-6:
        return (low_s + high_s) / 2
    first, last = bin_of(low_s) + 1, bin_of(high_s) + 1
    edges_s = [low_s, *AGES_S[first:last], high_s]
    levels = [below, *ended[first:last], above]
    moments = (
        (late - early) * (early_s + late_s) / 2
        for (early_s, late_s), (early, late) in zip(
            pairwise(edges_s), pairwise(levels), strict=True
        )
    )
    return math.fsum(moments) / (above - below)


def shares(masses: Iterable[float]) -> list[float]:
    """Sum masses up to the share at each of `AGES_S`."""
    ended = list(accumulate(masses, initial=0.0))
    total = ended[-1]
    return [share / total for share in ended]


class Lifetimes:
    """A decaying estimate of how long tasks stay.

    Args:
        prior: What is believed before anything was seen: a mass for each bin, which together
            weigh as much as so many observations.
    """

    __slots__ = ("_intervals", "_prior", "_rank", "_unfitted", "ended")

    def __init__(self, prior: Sequence[float]) -> None:
        self._prior = prior
        # From the lower edge to the upper, each as its index, in one number.
        self._intervals: deque[int] = deque(maxlen=MEMORY)
        self._rank = 0.5
        self._unfitted = 0
        self.ended: Sequence[float] = shares(prior)
        """The share of stays that end by each of `AGES_S`, as it is believed."""

    def __len__(self) -> int:
        """How many observations are held."""
        return len(self._intervals)

    def observe(self, low_s: float, high_s: float) -> None:
        """Take in that a stay ended between two ages.

        Args:
            low_s: The last age at which it had not ended.
            high_s: The first age at which it had; infinity where it was lost from sight.
        """
        low = min(_nearest_edge(low_s), _BINS - 1)
        high = max(low + 1, _nearest_edge(high_s))
        self._intervals.append(low * len(AGES_S) + high)
        rank = (self.ended[low] + self.ended[high]) / 2
        self._rank += _RANK_GAIN * (rank - self._rank)
        if abs(self._rank - 0.5) > _RANK_LIMIT and len(self) > _RANKED_FROM:
            self._rank = 0.5
            self._intervals = deque(list(self._intervals)[-_LATEST:], maxlen=MEMORY)
            # Or what was believed would have to be unlearned first.
            self.ended = shares(self._prior)
        self._unfitted += 1
        if self._unfitted > max(_FITTED_AFTER, len(self) * _FITTED_AFTER_SHARE):
            # Nobody asks for it, but ranks among what was believed long ago tell nothing.
            self.fit()

    def snapshot(self) -> list[float]:
        """Give what is held, oldest first: one after the other the two ages of each, in seconds."""
        edges = (edge for interval in self._intervals for edge in divmod(interval, len(AGES_S)))
        return [round(AGES_S[edge], 1) for edge in edges]

    @staticmethod
    def readable(ages_s: object) -> list[tuple[float, float]]:
        """Read what `snapshot` gave.

        Raises:
            TypeError: When it is no list of numbers.
            ValueError: When the numbers are no ages, one above the other.
        """
        if not isinstance(ages_s, list):
            raise TypeError(f"ages are a list, got {type(ages_s).__name__}")
        flat = [float(age_s) for age_s in cast("Iterable[Any]", ages_s)]
        pairs = list(zip(flat[::2], flat[1::2], strict=True))
        if not all(0 <= low_s < high_s for low_s, high_s in pairs):
            raise ValueError("ages are from 0 on, each pair in order")
        return pairs

    def restore(self, pairs: Iterable[tuple[float, float]]) -> None:
        """Take up what `readable` has read; nothing is compared with what is believed."""
        edges = ((_nearest_edge(low_s), _nearest_edge(high_s)) for low_s, high_s in pairs)
        self._intervals.extend(
            low * len(AGES_S) + max(high, low + 1) for low, high in edges if low < _BINS
        )

    def fit(self, more: Sequence[float] | None = None) -> None:
        """Bring what is believed up to what was seen.

        Args:
            more: What is known from elsewhere, as a mass for each bin.
        """
        if more is not None:
            prior = [own + other for own, other in zip(self._prior, more, strict=True)]
        else:
            # The first observations must not be taken for the whole truth.
            firm = 1 + _MORE_AT_FIRST * max(0.0, 1 - len(self) / _AT_FIRST)
            prior = [mass * firm for mass in self._prior]
        self._unfitted = 0
        for _ in range(_ROUNDS if self._intervals else 1):
            masses = self._smoothed(self._shared_out())
            self.ended = shares(map(float.__add__, masses, prior))

    def _shared_out(self) -> list[float]:
        """Share each interval out over its bins, as is believed."""
        ended = self.ended
        slopes = [0.0] * (_BINS + 1)
        fades = len(self) - _FADING_FROM
        for age, interval in enumerate(self._intervals):
            low, high = divmod(interval, _BINS + 1)
            chance = ended[high] - ended[low]
            if chance > 0:
                weight = 1.0 if age >= fades else (age + 1) / (fades + 1)
                slopes[low] += weight / chance
                slopes[high] -= weight / chance
        factors = accumulate(slopes)
        return [
            max(0.0, factor) * (late - early)
            for factor, (early, late) in zip(factors, pairwise(ended), strict=False)
        ]

    def _smoothed(self, masses: list[float]) -> list[float]:
        curve = masses[_AT_ONCE_BINS:]
        if math.fsum(curve) < 1:
            return masses
        ended = shares(curve)
        quartiles = bisect_left(ended, 0.75) - bisect_left(ended, 0.25)
        width = _BANDWIDTH * quartiles * max(len(self), 2) ** -0.2
        return [*masses[:_AT_ONCE_BINS], *_blurred(curve, width)]


def _nearest_edge(age_s: float) -> int:
    if age_s >= AGES_S[-1]:
        return _BINS
    index = bin_of(max(0.0, age_s))
    return index + (age_s - AGES_S[index] > AGES_S[index + 1] - age_s)


def _blurred(masses: list[float], width: float) -> list[float]:
    """Blur masses by about a bell, of a width in bins that shrinks with the age below 100 s."""
    # Three boxes one on the other make a good bell, and running sums make them cheap.
    reach = min((math.sqrt(1 + 4 * width**2) - 1) / 2, _WIDEST)
    if reach < 0.5:
        return masses
    widest = round(reach)
    even = [round(reach * index / _EVEN_BINS) for index in range(_EVEN_BINS)]
    for _ in range(_BOXES):
        sums = list(accumulate([*masses, *[0.0] * widest], initial=0.0))
        box = 2 * widest + 1
        early = [
            (sums[index + near + 1] - sums[index - near]) / (2 * near + 1)
            for index, near in enumerate(even)
        ]
        start = _EVEN_BINS - widest
        late = [
            (above - below) / box
            for below, above in zip(sums[start:], sums[start + box :], strict=False)
        ]
        masses = [*early, *late]
    return masses
