"""The best that inspections can do where the distribution of lifetimes is known.

Looks are laid on whole seconds; what is minimised is the mean delay plus a price per look, which
is then set so that the looks cost what they may. It shares no code with the library, whose own
way to the same end it is to judge.

Source: Barlow, Hunter & Proschan 1963, on optimum checking procedures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final, TypeAlias

import attrs

__all__ = ["CEILING_S", "FLOOR_S", "Cdf", "Inspections", "best_inspections"]

FLOOR_S: Final = 10
CEILING_S: Final = 180
_GONE: Final = 1e-5
_LONGEST_S: Final = 7000
_PRICE_STEPS: Final = 18
_CHEAPEST_S: Final = 1e-3
_DEAREST_S: Final = 1e3

Cdf: TypeAlias = Callable[[float], float]


@attrs.frozen(kw_only=True)
class Inspections:
    """Ages at which a task is looked at, in seconds, and what they come to on average.

    Attributes:
        ages_s: In order; after the last one, every ceiling.
        looks: Expected looks until the end is seen.
        delay_s: Expected time from the end to the look that sees it.
        price_s: How many seconds of delay one look was taken to be worth.
    """

    ages_s: tuple[float, ...]
    looks: float
    delay_s: float
    price_s: float


def inspections_at(cdf: Cdf, *, price_s: float) -> Inspections:
    """Find the best ages where a look costs a given delay."""
    ended = [cdf(float(age_s)) for age_s in range(_LONGEST_S + CEILING_S + 1)]
    gone = (age_s for age_s, share in enumerate(ended) if 1 - share < _GONE)
    last = min(next(gone, _LONGEST_S), _LONGEST_S)
    # The integral of the distribution: delay between two looks is a difference of it.
    area = [0.0]
    for early, late in pairwise(ended):
        area.append(area[-1] + (early + late) / 2)
    cost = [0.0] * (last + CEILING_S + 1)
    follow = list(range(CEILING_S, last + 2 * CEILING_S + 1))
    for age_s in range(last, -1, -1):
        share, below = ended[age_s], area[age_s]
        rest = (
            (area[later] - below - share * (later - age_s) + cost[later], later)
            for later in range(age_s + FLOOR_S, age_s + CEILING_S + 1)
        )
        least, follow[age_s] = min(rest)
        cost[age_s] = price_s * (1 - share) + least
    ages: list[float] = []
    looks = delay_s = 0.0
    age_s = 0
    while age_s <= last:
        later = follow[age_s]
        looks += 1 - ended[age_s]
        delay_s += area[later] - area[age_s] - ended[age_s] * (later - age_s)
        ages.append(float(later))
        age_s = later
    return Inspections(ages_s=tuple(ages), looks=looks, delay_s=delay_s, price_s=price_s)


def best_inspections(parts: Sequence[tuple[float, Cdf]], *, looks: float) -> list[Inspections]:
    """Find the best ages that cost at most a number of looks on average.

    Args:
        parts: The kinds of tasks there are: the share of each and its distribution.
        looks: Looks a task may cost on average over all kinds.
    """
    cheap, dear = _CHEAPEST_S, _DEAREST_S
    best = [inspections_at(cdf, price_s=dear) for _, cdf in parts]
    for _ in range(_PRICE_STEPS):
        price_s = (cheap * dear) ** 0.5
        found = [inspections_at(cdf, price_s=price_s) for _, cdf in parts]
        if sum(each.looks * share for each, (share, _) in zip(found, parts, strict=True)) > looks:
            cheap = price_s
        else:
            dear, best = price_s, found
    return best
