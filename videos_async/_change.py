"""Notices that a service has become slower or faster, from looks as they come.

What is believed is put to a sequential test against the same, stretched and compressed: a task
that was not expected to live on at an age, and does, speaks for the one, and a task that ends
before its time for the other. Evidence adds up in logarithms of odds, never below zero; above a
limit the change is taken for real, and what was seen since the evidence began to grow is what is
known of the new times. Each look counts for what could happen since the one before, so that it
does not matter that of tasks begun together the short ones end first. Well below the limit there
is doubt already, and a look at the right one settles it sooner than waiting does.

After a change the shape of the distribution is believed to be the same and its scale to be
unknown: each of some stretches has the weight that the looks give it.

Pure: edges of `AGES_S` by their index in, evidence and shares out.
Sources: Page 1954, on cumulative sums; Wald 1945, on sequential tests of hypotheses.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Final

from videos_async._ages import AGES_S, BINS, nearest_edge

__all__ = ["ChangeTest", "stretched"]

# What is put to the test: by so much longer, and by so much shorter.
_STRETCHES: Final = (1.5, 1 / 1.5)
# One in so many does what no distribution foresees, and proves nothing.
_STRAY: Final = 0.02
# What lives longer than all but these ends as such a power of its age.
_STRAY_POWER: Final = 4.0
_LIMIT: Final = 8.0
_DOUBT: Final = 2.0

_FACTORS: Final = tuple(1.15**power for power in range(-13, 14))
_FLOOR: Final = 1e-3


@cache
def _edges(stretch: float) -> tuple[int, ...]:
    """Tell for each of `AGES_S` which edge was there before all was stretched."""
    return tuple(nearest_edge(age_s / stretch) for age_s in AGES_S)


class ChangeTest:
    """Evidence against what is believed."""

    __slots__ = ("_alive", "_evidence", "_gains", "_since")

    def __init__(self) -> None:
        self._alive: list[list[float]] = []
        self._gains: list[list[float]] = []
        self.begin()

    def begin(self) -> None:
        """Begin without evidence."""
        self._evidence = [0.0] * len(_STRETCHES)
        self._since = [0] * len(_STRETCHES)

    def believe(self, ended: Sequence[float]) -> None:
        """Take in what is believed: the share that has ended by each of `AGES_S`."""
        alive = [1.0]
        for (early_s, late_s), share in zip(pairwise(AGES_S), ended[1:], strict=True):
            least = min(_STRAY, alive[-1] * (early_s / late_s) ** _STRAY_POWER)
            alive.append(max(least, 1 - share))
        logs = list(map(math.log, alive))
        stretches = [_edges(each) for each in _STRETCHES]
        self._alive = [alive, *([alive[edge] for edge in edges] for edges in stretches)]
        self._gains = [
            [logs[edge] - log for edge, log in zip(edges, logs, strict=True)] for edges in stretches
        ]

    def outlived(self, low: int, high: int) -> None:
        """Take in that a stay that had not ended by one edge had not by another."""
        # Written out rather than looped over, as each look comes here.
        evidence = self._evidence
        slower, faster = self._gains
        total = evidence[0] + slower[high] - slower[low]
        if total > 0:
            evidence[0] = total
        else:
            evidence[0], self._since[0] = 0.0, 0
        total = evidence[1] + faster[high] - faster[low]
        if total > 0:
            evidence[1] = total
        else:
            evidence[1], self._since[1] = 0.0, 0

    def ended(self, low: int, high: int) -> None:
        """Take in that a stay that had not ended by one edge had by another."""
        expected, *others = (1 - alive[high] / alive[low] + _STRAY for alive in self._alive)
        for index, chance in enumerate(others):
            total = max(0.0, self._evidence[index] + math.log(chance / expected))
            self._evidence[index] = total
            self._since[index] = self._since[index] + 1 if total else 0

    @property
    def is_in_doubt(self) -> bool:
        """Whether times begin to look shorter, although that is not sure yet."""
        return self._evidence[1] > _DOUBT

    def tells(self, low: int, high: int) -> float:
        """Tell how much evidence a look is expected to bring, should times be shorter.

        Args:
            low: The edge by which the stay had not ended.
            high: The edge at which the look would find it.
        """
        expected, chance = (
            min(1 - alive[high] / alive[low] + _STRAY, 1 - _STRAY)
            for alive in (self._alive[0], self._alive[2])
        )
        goes_on = (1 - chance) * math.log((1 - chance) / (1 - expected))
        return chance * math.log(chance / expected) + goes_on

    def changed_since(self) -> int | None:
        """Tell how many stays ended since times have changed, or None where they have not."""
        slower, faster = self._evidence
        if slower <= _LIMIT and faster <= _LIMIT:
            return None
        return self._since[0 if slower >= faster else 1]


def stretched(
    ended: Sequence[float],
    intervals: Iterable[tuple[int, int]],
    under_way: Mapping[int, int],
) -> list[float]:
    """Stretch a distribution of which the scale has changed by what was seen since.

    Args:
        ended: The share that had ended by each of `AGES_S` before.
        intervals: Between which edges stays have ended since.
        under_way: How many were last seen to go on at each edge.

    Returns:
        The share of each bin.
    """
    seen = tuple(intervals)
    laws: list[list[float]] = []
    scores: list[float] = []
    for factor in _FACTORS:
        law = [ended[edge] for edge in _edges(factor)]
        law[BINS] = 1.0
        laws.append(law)
        scores.append(
            math.fsum(math.log(law[high] - law[low] + _FLOOR) for low, high in seen)
            + math.fsum(
                count * math.log(1 - law[edge] + _FLOOR) for edge, count in under_way.items()
            )
        )
    best = max(scores)
    weights = [math.exp(score - best) for score in scores]
    mixed = [0.0] * (BINS + 1)
    for law, weight in zip(laws, weights, strict=True):
        if weight > _FLOOR:
            mixed = [sum_ + weight * share for sum_, share in zip(mixed, law, strict=True)]
    return [max(0.0, late - early) / mixed[BINS] for early, late in pairwise(mixed)]
