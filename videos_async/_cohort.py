"""What is known of the tasks of one model and mode, and what follows for their polls.

A *cohort* keeps two estimates, of how long its tasks are queued and of how long they are
processed, and from the second the ages to look at. How many looks those are is a matter of its
account: what is saved in a queue may be spent on those that are processed, and what was spent in
excess is saved again.

A cohort of which little is known believes what is known of its model.

Pure: ages and instants in, gaps out.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Final

import attrs

from videos_async._account import Account, UnderWay
from videos_async._ages import age_between, bin_of, nearest_edge, share_at
from videos_async._inspection import Inspections, inspections
from videos_async._lifetimes import Lifetimes
from videos_async._polling import AdaptivePolling
from videos_async._priors import masses, priors

__all__ = ["Cohort"]

# What is known of a model weighs no more than so many of a mode.
_MODEL_WEIGHT: Final = 8.0

# --- the price of a look -------------------------------------------------------------------

# Not all that the account allows is planned for, as it goes by guesses where an end fell.
_THRIFT: Final = 1.007

# A look that brings the news less than a quarter of a second earlier on average is not worth
# making, however many were saved.
_CHEAPEST_S: Final = 0.25
_DEAREST_S: Final = 100.0
_USUAL_PRICE_S: Final = 5.0
_MOST_CHANGE: Final = 2.0
# What is saved or owed changes the price by no more than this share of the looks: those who come
# next may be so many that they cannot be looked at as planned before the price is another.
_MOST_EXTRA: Final = 0.15
_APART: Final = 1.25
_NEXT_TO_NONE: Final = 1e-4

_REFRESHED_AFTER_S: Final = 2.0
_REFRESHED_AFTER_SHARE: Final = 1 / 16
# While little is known, those that go on tell something as well.
_REFRESHED_ANYWAY_S: Final = 30.0


@attrs.frozen
class _Tables:
    """When to look: within the means, and a little above them."""

    dear: Inspections
    generous: Inspections

    @property
    def looks(self) -> list[float]:
        """Those of both on average, which the account keeps in balance."""
        pairs = zip(self.dear.looks, self.generous.looks, strict=False)
        return [(few + more) / 2 for few, more in pairs]


class Cohort:
    """What is known of the tasks of one model and mode.

    Args:
        policy: The bounds of the intervals.
        model: The name of the model, or None for tasks of which it is not known.
        of_model: What is known of all tasks of the model, whatever their mode.
    """

    __slots__ = (
        "_fresh",
        "_interval_s",
        "_is_stale",
        "_lavish",
        "_of_model",
        "_policy",
        "_price_s",
        "_refreshed_s",
        "_soon",
        "_tables",
        "account",
        "changes",
        "model",
        "processing",
        "queued",
    )

    def __init__(
        self, policy: AdaptivePolling, model: str | None, of_model: Cohort | None = None
    ) -> None:
        queued, processing = priors()
        self.model = model
        self.queued = Lifetimes(queued)
        self.processing = Lifetimes(processing)
        self._policy = policy
        self._of_model = of_model
        self._interval_s = policy.mean_interval_s * _THRIFT
        self.account = Account(self._interval_s)
        self._price_s = _USUAL_PRICE_S
        self._tables: _Tables | None = None
        self._lavish: Inspections | None = None
        self._soon: dict[int, bool] = {}
        self._is_stale = True
        self.changes = 0
        """How often times were found to have changed."""
        self._fresh = 0
        self._refreshed_s = -math.inf

    # --- what follows --------------------------------------------------------------------

    def gap_s(self, age_s: float) -> float:
        """Tell how long to wait with the next look at one that is processed for so long."""
        tables = self._tables
        if tables is None or self._is_stale:
            tables = self._refreshed()
        account = self.account
        # The account decides between the two: tables come in steps, as looks do.
        if account.balance > 0:
            if not account.has_plenty:
                return tables.generous.gap_s(age_s)
            if self._lavish is None:
                # Those that outlive what is believed are not left alone, either.
                self._lavish = self._inspections(_CHEAPEST_S, self._policy.mean_interval_s)
            return self._lavish.gap_s(age_s)
        gap_s = tables.dear.gap_s(age_s)
        # Where what is believed is far off, the account goes down until ends teach better.
        # Beyond a debt that is soon paid back, no look may add to it.
        return max(gap_s, self._interval_s) if account.must_save else gap_s

    def is_dequeued_soon(self, age_s: float) -> bool:
        """Tell whether one that is queued at an age is rather processed by the first look."""
        index = bin_of(age_s)
        found = self._soon.get(index)
        if found is None:
            ended = self.queued.ended
            waits = 1 - share_at(ended, age_s)
            later = 1 - share_at(ended, age_s + self.gap_s(0.0))
            found = self._soon[index] = waits > _NEXT_TO_NONE and later < waits / 2
        return found

    def dequeue_age_s(self, low_s: float, high_s: float) -> float:
        """Guess at which age one was taken from the queue, of which the bounds are known."""
        return age_between(self.queued.ended, low_s, high_s)

    # --- what is seen --------------------------------------------------------------------

    def follow(self) -> UnderWay:
        """Begin to follow tasks for one watch or batch."""
        return self.account.open()

    def dequeued_between(self, low_s: float, high_s: float) -> None:
        """Take in that one was taken from the queue between two ages."""
        if self._of_model is not None:
            self._of_model.dequeued_between(low_s, high_s)
        self.queued.outlived(0, nearest_edge(low_s))
        self.queued.observe(low_s, high_s)
        self._fresh += 1

    def goes_on(
        self, under_way: UnderWay, before_s: float | None, age_s: float, now_s: float
    ) -> None:
        """Take in that one is still processed.

        Args:
            under_way: Those to which it belongs.
            before_s: The age at which that was seen before, or None where it never was.
            age_s: The age.
            now_s: The time.
        """
        before = None if before_s is None else nearest_edge(before_s)
        edge = nearest_edge(age_s)
        self.account.move(under_way, before, edge)
        if before is None and self.processing.is_new:
            self.account.begin_blindly()
        if self.processing.outlived(before or 0, edge):
            self._changed()
        waited_s = now_s - self._refreshed_s
        if (
            waited_s > _REFRESHED_ANYWAY_S
            and waited_s > age_s * _REFRESHED_AFTER_SHARE
            and self.processing.is_new
        ):
            self._is_stale = True
            self._refreshed_s = now_s

    def ended_between(
        self, low_s: float, high_s: float, now_s: float, *, seen_s: float = math.inf
    ) -> None:
        """Take in that one was processed for no less and no more than so long.

        Args:
            low_s: The least.
            high_s: The most; infinity where it was lost from sight.
            now_s: The time.
            seen_s: The age up to which looks were booked; infinity where they are not.
        """
        of_model = self._of_model
        if of_model is not None:
            # It is asked for while little is known of a mode, and not told of each look.
            of_model.processing.remember(low_s, high_s)
            of_model._refresh_soon(now_s)  # noqa: SLF001 - of the same class
        if seen_s < math.inf:
            self.account.ended(low_s, high_s, seen_s)
        if self.processing.observe(low_s, high_s):
            self._changed()
        self._refresh_soon(now_s)

    # --- within --------------------------------------------------------------------------

    def _changed(self) -> None:
        """Take in that times were found to have changed, for what is known of the model as well."""
        self._is_stale = True
        self.changes += 1
        of_model = self._of_model
        if of_model is not None:
            of_model.processing.change(len(self.processing))
            of_model._is_stale = True  # noqa: SLF001 - of the same class

    def _refresh_soon(self, now_s: float) -> None:
        """Take in that one has ended, and bring tables up to date where that is enough."""
        self._fresh += 1
        if (
            self._fresh >= max(1, len(self.processing) * _REFRESHED_AFTER_SHARE)
            and now_s - self._refreshed_s > _REFRESHED_AFTER_S
        ):
            # Not at once: what is known of a model is mostly asked for through its modes.
            self._is_stale = True
            self._refreshed_s = now_s

    def _refreshed(self) -> _Tables:
        """Bring what is believed and the tables up to what was seen."""
        of_model = self._of_model
        self._fit(self.queued, None if of_model is None else of_model.queued, Counter())
        self._fit(
            self.processing,
            None if of_model is None else of_model.processing,
            self.account.counts(),
        )
        self._fresh, self._is_stale = 0, False
        self._soon.clear()
        ended = self.processing.ended
        looks = self.account.believe(ended)
        if self._tables is not None:
            # Looks go about as the root of the price. It comes nearer to what the means allow
            # with every time, and until it is there the account keeps the balance.
            most = looks * _MOST_EXTRA
            means = looks + min(max(self.account.extra_looks, -most), most)
            change = (self._tables.looks[0] / max(means, 1.0)) ** 2
            price_s = self._price_s * min(max(change, 1 / _MOST_CHANGE), _MOST_CHANGE)
            self._price_s = min(max(price_s, _CHEAPEST_S), _DEAREST_S)
        self._tables = tables = _Tables(
            dear=self._inspections(self._price_s * _APART),
            generous=self._inspections(self._price_s / _APART),
        )
        self._lavish = None
        self.account.plan(tables.looks)
        return tables

    @staticmethod
    def _fit(own: Lifetimes, of_model: Lifetimes | None, under_way: Counter[int]) -> None:
        more = None
        if of_model is not None and len(of_model) > len(own):
            of_model.fit(None, under_way)
            more = masses(of_model.ended, min(_MODEL_WEIGHT, len(of_model) - len(own)))
        own.fit(more, under_way)

    def _inspections(self, price_s: float, tail_s: float | None = None) -> Inspections:
        return inspections(
            self.processing.ended,
            price_s=price_s,
            floor_s=self._policy.min_interval_s,
            ceiling_s=self._policy.max_interval_s,
            tail_s=tail_s,
        )
