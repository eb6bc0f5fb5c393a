"""Ages on a grid, and how a distribution on it is read.

A distribution is the share that has ended by each of `AGES_S`. The bins between those are 1.5 s
wide, and a share of the age from 100 s on.

Pure.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Final

__all__ = [
    "AGES_S",
    "BINS",
    "EVEN_BINS",
    "age_between",
    "bin_of",
    "nearest_edge",
    "share_at",
    "shares",
]

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

BINS: Final = len(AGES_S) - 1
"""How many bins there are."""

EVEN_BINS: Final = int(1 / _STEP_SHARE)
"""How many of them, at the lower end, are of the same width."""

_MIDDLES_S: Final = tuple((early_s + late_s) / 2 for early_s, late_s in pairwise(AGES_S))


def bin_of(age_s: float) -> int:
    """Tell which bin an age falls into."""
    return bisect_right(AGES_S, age_s, 1, BINS) - 1


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


def nearest_edge(age_s: float) -> int:
    """Tell which of `AGES_S` is nearest to an age."""
    return bisect_left(_MIDDLES_S, age_s)
