"""When to look at something whose end is only seen by looking: the best ages for it.

Looking often costs calls, looking rarely finds the end late. For a known distribution of
lifetimes the ages that serve best have gaps which narrow where ends are likely and widen where
they are not; with many looks their density goes as the square root of the hazard. With a handful
of looks that rule is coarse, so the ages are found exactly, on a grid, backwards from the last:

    cost of being alive at age a  =  price of a look
        +  least, over the next age b, of  delay expected between a and b  +  cost at b

The delay between two looks is an area under the distribution, so a step costs one subtraction;
the whole table takes a millisecond or two. The price, in seconds of delay that a look is worth,
is what sets how many looks there are.

Pure.
Sources: Barlow, Hunter & Proschan 1963, on optimum checking procedures; Keller 1974, on optimum
inspection policies and the square root of the hazard.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Final

import attrs

from videos_async._ages import AGES_S, bin_of

__all__ = ["Inspections", "inspections"]

# The few that live longer than all but so many are looked at every ceiling.
_TAIL: Final = 0.002
_LONGEST_S: Final = 4 * 3600.0


@attrs.frozen(kw_only=True, eq=False)
class Inspections:
    """When to look next, by age.

    Attributes:
        ages_s: The next age to look at, for one that was alive at each of `AGES_S`.
        looks: For each of `AGES_S` up to the tail, the expected looks from there on until the end
            is seen, times the share that is alive there.
        tail_s: The gap beyond all of these.
    """

    ages_s: Sequence[float]
    looks: Sequence[float]
    tail_s: float

    def gap_s(self, age_s: float) -> float:
        """Tell how long to wait before the next look at one that is alive at an age."""
        ages_s = self.ages_s
        index = bin_of(age_s)
        if index + 1 >= len(ages_s):
            return self.tail_s
        low_s = AGES_S[index]
        part = (age_s - low_s) / (AGES_S[index + 1] - low_s)
        return ages_s[index] + part * (ages_s[index + 1] - ages_s[index]) - age_s


@lru_cache(maxsize=8)
def _windows(floor_s: float, ceiling_s: float) -> tuple[tuple[int, int], ...]:
    """Find which of the ages may follow each age."""
    found: list[tuple[int, int]] = []
    first = last = 0
    final = len(AGES_S) - 1
    for age_s in AGES_S:
        while first < final and AGES_S[first] < age_s + floor_s:
            first += 1
        while last < final and AGES_S[last + 1] <= age_s + ceiling_s:
            last += 1
        found.append((first, max(first, last)))
    return tuple(found)


def inspections(
    ended: Sequence[float],
    *,
    price_s: float,
    floor_s: float,
    ceiling_s: float,
    tail_s: float | None = None,
) -> Inspections:
    """Find the best ages to look at.

    Args:
        ended: The share that has ended by each of `AGES_S`.
        price_s: How many seconds of delay one look is worth.
        floor_s: The shortest gap, in seconds.
        ceiling_s: The longest gap, in seconds.
        tail_s: The gap for the few that outlive all but so many, in seconds; by default the
            longest.
    """
    windows = _windows(floor_s, ceiling_s)
    longest = bin_of(_LONGEST_S)
    final = next((i for i, share in enumerate(ended) if 1 - share < _TAIL), longest)
    final = max(1, min(final, longest))
    reach = windows[final][1]
    area = [0.0]
    for (early_s, late_s), (early, late) in zip(
        pairwise(AGES_S[: reach + 1]), pairwise(ended), strict=False
    ):
        area.append(area[-1] + (late_s - early_s) * (early + late) / 2)
    # Area under the distribution and cost from there on, which are always wanted together.
    sums, looks, follow = area[:], [0.0] * (reach + 1), [0] * (reach + 1)
    best = reach
    for index in range(final, -1, -1):
        share = ended[index]
        first, last = windows[index]
        least = float("inf")
        # The younger never waits for a later age than the older: the gain of a later look
        # falls with what has ended before. So the search ends where the last one did.
        for later in range(first, max(first, min(last, best)) + 1):
            cost = sums[later] - share * AGES_S[later]
            if cost < least:
                least, follow[index] = cost, later
        best = follow[index]
        looks[index] = looks[best] + 1 - share
        sums[index] = area[index] + (
            price_s * (1 - share) + least - area[index] + share * AGES_S[index]
        )
    # Where the soonest of the ages that may follow is the best, a sooner one would be better.
    ages_s = tuple(
        AGES_S[index] + floor_s if best == first < last else AGES_S[best]
        for index, (best, (first, last)) in enumerate(
            zip(follow[: final + 1], windows, strict=False)
        )
    )
    return Inspections(
        ages_s=ages_s,
        looks=looks[:final],
        tail_s=ceiling_s if tail_s is None else tail_s,
    )
