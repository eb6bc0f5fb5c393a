"""How long tasks stay in a status, learned from looks that saw too little.

A look tells that a task had not left yet, or that it had; when it left lies somewhere between
two looks. So what is remembered is intervals of ages, open where a task was lost from sight, and
a distribution is fitted to them: each interval is shared out over a histogram in proportion to
what is believed, what comes out is smoothed and believed from then on, and so again. With sums
over differences a round costs one step per interval and per bin, a fraction of a millisecond.

The last `MEMORY` observations are held, the older half of which fades. A service that has changed
is noticed sooner, by a test of its own: what was seen before is dropped then, but for the shape of
what was believed.

Those still under way are observations as well: of tasks begun together the short ones end first,
and would else be taken for all there are.

Pure: ages in, shares out.
Sources: Turnbull 1976, on the distribution that grouped and censored data suggest; Silverman,
Jones, Wilson & Nychka 1990, on smoothing it in every round.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, Final, cast

from videos_async._ages import AGES_S, BINS, EVEN_BINS, nearest_edge, shares
from videos_async._change import ChangeTest, stretched

__all__ = ["MEMORY", "Lifetimes"]

MEMORY: Final = 400
"""How many observations are held."""

_ROUNDS: Final = 3
_FITTED_AFTER: Final = 8
_FITTED_AFTER_SHARE: Final = 1 / 8
_MORE_AT_FIRST: Final = 3.0
_AT_FIRST: Final = 40
_FADING_FROM: Final = MEMORY // 2

# How many must have been seen before what is believed is put to the test.
_TESTED_FROM: Final = 30
# What was believed before a change, stretched, counts for so many until so many were seen.
_SHAPE_WEIGHT: Final = 12.0
_SHAPE_UNTIL: Final = 60

# Silverman's rule of thumb for the width of a bell, from the distance of the quartiles.
_BANDWIDTH: Final = 0.9 / 1.34
_BOXES: Final = 3
_WIDEST: Final = 20.0
# What ends at once is no part of the curve.
_AT_ONCE_BINS: Final = 2


class Lifetimes:
    """A decaying estimate of how long tasks stay.

    Args:
        prior: What is believed before anything was seen: a mass for each bin, which together
            weigh as much as so many observations.
    """

    __slots__ = ("_before", "_intervals", "_prior", "_test", "_under_way", "_unfitted", "ended")

    def __init__(self, prior: Sequence[float]) -> None:
        self._prior = prior
        # From the lower edge to the upper, each as its index, in one number.
        self._intervals: deque[int] = deque(maxlen=MEMORY)
        self._unfitted = 0
        self._test = ChangeTest()
        self._under_way: Mapping[int, int] = {}
        self._before: Sequence[float] | None = None
        self.ended: Sequence[float] = shares(prior)
        """The share of stays that end by each of `AGES_S`, as it is believed."""
        self._test.believe(self.ended)

    def __len__(self) -> int:
        """How many observations are held."""
        return len(self._intervals)

    @property
    def is_new(self) -> bool:
        """Whether little was seen yet, or since times have changed."""
        return len(self) < _AT_FIRST

    @property
    def is_in_doubt(self) -> bool:
        """Whether stays begin to look shorter than is believed."""
        return self._test.is_in_doubt and len(self) >= _TESTED_FROM

    def tells(self, low_s: float, high_s: float) -> float:
        """Tell how much a look would bring to settle that doubt, in logarithms of odds.

        Args:
            low_s: The last age at which the stay had not ended.
            high_s: The age at which it would be looked at.
        """
        return self._test.tells(nearest_edge(low_s), nearest_edge(high_s))

    def observe(self, low_s: float, high_s: float) -> bool:
        """Take in that a stay ended between two ages.

        Args:
            low_s: The last age at which it had not ended.
            high_s: The first age at which it had; infinity where it was lost from sight.

        Returns:
            Whether times are found to have changed.
        """
        low, high = self._remember(low_s, high_s)
        self._test.ended(low, high)
        if self._has_changed():
            return True
        if self._unfitted > max(_FITTED_AFTER, len(self) * _FITTED_AFTER_SHARE):
            # Nobody asks for it, but a test against what was believed long ago tells nothing.
            self.fit()
        return False

    def remember(self, low_s: float, high_s: float) -> None:
        """Take in that a stay ended between two ages, of which no look was told of before.

        Nothing is put to the test: of stays begun together the short ones end first.

        Args:
            low_s: As for `observe`.
            high_s: As for `observe`.
        """
        self._remember(low_s, high_s)

    def _remember(self, low_s: float, high_s: float) -> tuple[int, int]:
        low = min(nearest_edge(low_s), BINS - 1)
        high = max(low + 1, nearest_edge(high_s))
        self._intervals.append(low * len(AGES_S) + high)
        self._unfitted += 1
        return low, high

    def outlived(self, low: int, high: int) -> bool:
        """Take in that a stay that had not ended by one of `AGES_S` had not by another.

        Returns:
            Whether times are found to have changed.
        """
        self._test.outlived(low, high)
        return self._has_changed()

    def _has_changed(self) -> bool:
        count = self._test.changed_since()
        if count is None:
            return False
        self._test.begin()
        if len(self) < _TESTED_FROM:
            return False
        self.change(count)
        return True

    def change(self, count: int) -> None:
        """Take in that times have changed, and that so many stays have ended since."""
        self._before = self.ended
        latest = list(self._intervals)[max(0, len(self) - count) :]
        self._intervals = deque(latest, maxlen=MEMORY)
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
        edges = ((nearest_edge(low_s), nearest_edge(high_s)) for low_s, high_s in pairs)
        self._intervals.extend(
            low * len(AGES_S) + max(high, low + 1) for low, high in edges if low < BINS
        )

    def fit(
        self, more: Sequence[float] | None = None, under_way: Mapping[int, int] | None = None
    ) -> None:
        """Bring what is believed up to what was seen.

        Args:
            more: What is known from elsewhere, as a mass for each bin.
            under_way: How many were last seen to go on at each of `AGES_S`, by its index; None
                where that is not known better than the last time.
        """
        if under_way is None:
            under_way = self._under_way
        self._under_way = under_way
        if self._before is not None and len(self) > _SHAPE_UNTIL:
            self._before = None
        if self._before is not None:
            seen = (divmod(interval, len(AGES_S)) for interval in self._intervals)
            shape = stretched(self._before, seen, under_way)
            prior = [
                own / 4 + _SHAPE_WEIGHT * share
                for own, share in zip(self._prior, shape, strict=True)
            ]
            # What was believed would have to be unlearned first.
            self.ended = shares(prior)
        elif more is not None:
            prior = [own + other for own, other in zip(self._prior, more, strict=True)]
        else:
            # The first observations must not be taken for the whole truth.
            firm = 1 + _MORE_AT_FIRST * max(0.0, 1 - len(self) / _AT_FIRST)
            prior = [mass * firm for mass in self._prior]
        self._unfitted = 0
        ended_share = len(self) / max(1, len(self) + sum(under_way.values()))
        for _ in range(_ROUNDS if self._intervals or under_way else 1):
            masses = self._round(under_way, ended_share)
            self.ended = shares(map(float.__add__, masses, prior))
        self._test.believe(self.ended)

    def _round(self, under_way: Mapping[int, int], ended_share: float) -> list[float]:
        masses = self._shared_out(self._slopes())
        if not under_way:
            return self._smoothed(masses)
        # Smoothing carries those under way a little further out with every round, as their ages
        # bound them on one side alone. The more of all they are, the less of them is smoothed.
        rest = self._shared_out(self._slopes_of(under_way))
        smooth = [own + ended_share * more for own, more in zip(masses, rest, strict=True)]
        rough = [(1 - ended_share) * more for more in rest]
        return list(map(float.__add__, self._smoothed(smooth), rough))

    def _slopes(self) -> list[float]:
        """Tell where the weight of the intervals to the belief begins and ends."""
        ended = self.ended
        slopes = [0.0] * (BINS + 1)
        fades = len(self) - _FADING_FROM
        for age, interval in enumerate(self._intervals):
            low, high = divmod(interval, len(AGES_S))
            chance = ended[high] - ended[low]
            if chance > 0:
                weight = 1.0 if age >= fades else (age + 1) / (fades + 1)
                slopes[low] += weight / chance
                slopes[high] -= weight / chance
        return slopes

    def _slopes_of(self, under_way: Mapping[int, int]) -> list[float]:
        ended = self.ended
        slopes = [0.0] * (BINS + 1)
        for edge, count in under_way.items():
            chance = 1 - ended[edge]
            if chance > 0:
                slopes[edge] += count / chance
                slopes[BINS] -= count / chance
        return slopes

    def _shared_out(self, slopes: Iterable[float]) -> list[float]:
        """Share observations out over their bins, as is believed."""
        ended = self.ended
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


def _blurred(masses: list[float], width: float) -> list[float]:
    """Blur masses by about a bell, of a width in bins that shrinks with the age below 100 s."""
    # Three boxes one on the other make a good bell, and running sums make them cheap.
    reach = min((math.sqrt(1 + 4 * width**2) - 1) / 2, _WIDEST)
    if reach < 0.5:
        return masses
    widest = round(reach)
    even = [round(reach * index / EVEN_BINS) for index in range(EVEN_BINS)]
    for _ in range(_BOXES):
        sums = list(accumulate([*masses, *[0.0] * widest], initial=0.0))
        box = 2 * widest + 1
        early = [
            (sums[index + near + 1] - sums[index - near]) / (2 * near + 1)
            for index, near in enumerate(even)
        ]
        start = EVEN_BINS - widest
        late = [
            (above - below) / box
            for below, above in zip(sums[start:], sums[start + box :], strict=False)
        ]
        masses = [*early, *late]
    return masses
