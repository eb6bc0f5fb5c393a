"""The account of polls: what was saved of those that a fixed interval would have made.

A look costs one; the time since the one before brings what a fixed interval would have spent on
it. Early in a task's life that saves, and near its likely end it costs, so for each that is under
way the account holds ready what is still to come by plan: the balance is what will be left when
all of them have ended. It moves with what is not as planned, and not with the ages of those who
happen to be under way, be they a thousand of one age.

Pure.
"""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, repeat
from typing import Final
from weakref import WeakSet

import attrs

from videos_async._ages import AGES_S, bin_of, share_at

__all__ = ["Account", "UnderWay"]

_MOST_OWED: Final = 150.0
_MOST_SAVED: Final = 150.0
# The sum over many under way strays further by chance, and is soon paid back by as many.
_MORE_EACH: Final = 3.0
# What a queue saves is saved for good: with more than the above, looks hardly count.
_MOST_SAVED_IN_QUEUE: Final = 1000.0
# What is saved or owed is spent or saved over so many tasks to come, and forgotten over more.
_BALANCED_OVER: Final = 15.0
_FORGOTTEN_OVER: Final = 400.0
# What one costs more than is planned while little is known. Of a few that is saved again by those
# who come next; of many under way at a time it is held ready from the first.
_BLIND_COST: Final = 0.1
_STOP_OWING: Final = 30.0
_STOP_OWING_EACH: Final = 0.1

_NEXT_TO_NONE: Final = 1e-4
_EXACT: Final = 40
_NOTHING_DUE: Final = (0.0,) * len(AGES_S)


@attrs.define(eq=False)
class UnderWay:
    """Those that one watch or batch follows while they are processed.

    Attributes:
        counts: How many were last seen at each of `AGES_S`, by its index.
    """

    counts: Counter[int] = attrs.field(factory=Counter[int])


class Account:
    """Polls that were saved, or are owed.

    Args:
        interval_s: The interval of those that would have been made, in seconds.
    """

    __slots__ = ("_count", "_due", "_gone", "_interval_s", "_later", "_watched", "balance")

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self.balance = 0.0
        """Polls that will be left by plan when all have ended; owed below 0."""
        # By plan, what a task leaves from each age on. Watches come and go without a word.
        self._due: Sequence[float] = _NOTHING_DUE
        self._gone: Sequence[float] = ()
        self._watched: WeakSet[UnderWay] = WeakSet()
        self._count = 0
        # The looks of a fixed interval from the first on, the second on, and so forth.
        self._later: Sequence[float] = ()

    # --- what it allows ------------------------------------------------------------------

    @property
    def has_plenty(self) -> bool:
        """Whether so much was saved that looks hardly count."""
        return self.balance > _MOST_SAVED + _MORE_EACH * self._count

    @property
    def must_save(self) -> bool:
        """Whether more is owed than is soon paid back."""
        return self.balance < -_STOP_OWING - _STOP_OWING_EACH * self._count

    @property
    def extra_looks(self) -> float:
        """How many looks more a task may cost than it would cost a fixed interval."""
        return self.balance / max(_BALANCED_OVER, float(self._count))

    # --- what is booked ------------------------------------------------------------------

    def open(self) -> UnderWay:
        """Begin to follow tasks."""
        under_way = UnderWay()
        self._watched.add(under_way)
        return under_way

    def move(self, under_way: UnderWay, before: int | None, after: int | None) -> None:
        """Book that a task is expected to cost what it costs from another age on.

        Args:
            under_way: Those to which it belongs.
            before: The age at which it was seen before, as an index of `AGES_S`; None for one
                that has just begun.
            after: The age at which it goes on; None for one that has ended.
        """
        if before == after:
            return
        change = 0.0
        counts = under_way.counts
        if before is not None:
            count = counts[before]
            if count > 1:
                counts[before] = count - 1
            else:
                del counts[before]
            self._count -= 1
            change -= self._due[before]
        if after is not None:
            counts[after] = counts.get(after, 0) + 1
            self._count += 1
            change += self._due[after]
        self._book(change)

    def begin_blindly(self) -> None:
        """Book that one has begun of which little is known, as for `_BLIND_COST`."""
        if self._count > _BALANCED_OVER:
            self._book(-_BLIND_COST)

    def looked(self, covered_s: float) -> None:
        """Book a look, and the time since the one before."""
        self._book(covered_s / self._interval_s - 1)

    def looked_in_queue(self, covered_s: float) -> None:
        """Book a look that found a task still queued, and the time since the one before."""
        most = _MOST_SAVED_IN_QUEUE + _MORE_EACH * self._count
        self.balance = min(self.balance + covered_s / self._interval_s - 1, most)

    def ended(self, low_s: float, high_s: float, covered_s: float) -> None:
        """Book that a task has ended, and what a fixed interval would have spent on it.

        Args:
            low_s: The last age at which it was seen to go on.
            high_s: The age by which it had ended.
            covered_s: The age up to which looks were booked.
        """
        # The last gap was booked whole, and a fixed interval makes whole polls.
        interval_s, gone = self._interval_s, self._gone
        made = int(low_s / interval_s) + 1
        looks = float(made)
        if gone and high_s > made * interval_s:
            below, above = share_at(gone, low_s), share_at(gone, high_s)
            while high_s > made * interval_s:
                age_s = made * interval_s
                if above - below > _NEXT_TO_NONE:
                    looks += (above - share_at(gone, age_s)) / (above - below)
                else:
                    looks += (high_s - age_s) / (high_s - low_s)
                made += 1
        self._book(looks - covered_s / interval_s)
        self.balance *= 1 - 1 / _FORGOTTEN_OVER

    def _book(self, change: float) -> None:
        balance = self.balance + change
        more = _MORE_EACH * self._count
        if balance > _MOST_SAVED + more:
            # What was saved in a queue stays.
            balance = min(balance, max(self.balance, _MOST_SAVED + more))
        elif balance < -_MOST_OWED - more:
            balance = -_MOST_OWED - more
        self.balance = balance

    def restore(self, balance: float) -> None:
        """Take up what an earlier run has saved."""
        self.balance = min(max(balance, -_MOST_OWED), _MOST_SAVED)

    # --- the plan ------------------------------------------------------------------------

    def counts(self) -> Counter[int]:
        """Tell how many are under way, by the age at which they were last seen."""
        total: Counter[int] = Counter()
        for under_way in self._watched:
            total.update(under_way.counts)
        return total

    def believe(self, ended: Sequence[float]) -> float:
        """Take in which share of tasks ends by each of `AGES_S`.

        Returns:
            How many looks a fixed interval makes until an end is seen.
        """
        self._gone = ended
        interval_s = self._interval_s
        alive = [1.0]
        while alive[-1] > _NEXT_TO_NONE and len(alive) < _EXACT:
            alive.append(1 - share_at(ended, len(alive) * interval_s))
        if len(alive) == _EXACT:
            # In a long tail one look more or less is the same, so it is an area.
            first = bin_of(_EXACT * interval_s)
            widths = map(operator.sub, AGES_S[first + 1 :], AGES_S[first:])
            shares = (1 - share for share in ended[first:])
            alive.append(math.fsum(map(operator.mul, widths, shares)) / interval_s)
        later = list(accumulate(reversed(alive), initial=0.0))
        later.reverse()
        self._later = later
        return later[0]

    def plan(self, looks: Sequence[float]) -> None:
        """Take in how many looks are planned.

        Args:
            looks: The looks that are planned from each of them on, times the share alive there.
        """
        old = self._due
        counts = self.counts()
        self._count = counts.total()
        self._due = self._planned(looks)
        for edge, count in counts.items():
            self.balance += count * (self._due[edge] - old[edge])

    def _planned(self, looks: Sequence[float]) -> list[float]:
        later = self._later
        due: list[float] = []
        for age_s, gone, planned in zip(AGES_S, self._gone, looks, strict=False):
            intervals = age_s / self._interval_s
            made = int(intervals) + 1
            rest = later[made] if made < len(later) else 0.0
            # What is still to cost is held ready; what is still to be saved is not counted on.
            due.append(min(0.0, made - intervals + (rest - planned) / (1 - gone)))
        # Those who live longer than is planned for cost what the last of these do.
        return [*due, *repeat(due[-1], len(AGES_S) - len(due))]
