"""When each task is looked at next, by what was learned.

It keeps three rules:

- A task that is *processed* is looked at when the table of its cohort says, by how long that has
  lasted as far as is known.
- A task that is *queued*, where queues are short, is taken to be processed soon, and looked at
  when the table says. Where they are long and there is no order, it is looked at as often as it
  takes to see it processed before it can have ended. Where there is order, it is looked at when
  the front of the queue has come to it, and else at every ceiling.
- Of a task whose past is not known, nothing can be predicted: it is looked at on average at the
  interval that the service advises, until it changes its status.

What looks find bears on those that wait as well. Once times are found to have become shorter, those
that wait are looked at as the new tables say, and not when the old ones did. And as soon as times
begin to look shorter, the one that can tell most of it is looked at, so that it is known within a
few looks rather than when a dozen have fallen due.

Every gap is jittered, kept between the bounds, and stretched where the tasks that wait would ask
for more calls than the session may make.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Final

from videos_async._account import UnderWay
from videos_async._ages import nearest_edge
from videos_async._cohort import Cohort
from videos_async._followed import Followed
from videos_async._learning import Learner
from videos_async._priors import AT_ONCE_S
from videos_async._queue_order import QueueLine
from videos_async._sooner import brought_forward, most_telling
from videos_async.models import Status

__all__ = ["LearningPace"]

# One task in so many is looked at early, or it would never be known what happens there.
_SCOUTS: Final = 1 / 48
# The more are followed, the further apart are set those that were begun together.
_JITTER: Final = 0.05
_MOST_JITTER: Final = 0.1
_MANY: Final = 1000
_BACKLOG_SHARE: Final = 4 / 3
_UNKNOWN_FROM: Final = 2 / 3
_UNKNOWN_TO: Final = 4 / 3
# Those that are overdue by new tables are looked at within so long for each that is followed.
_OVERDUE_EACH_S: Final = 0.1


class LearningPace:
    """Looks where news is likely; one for each batch or watch, over what their session learned.

    Args:
        learner: What the session has learned.
        random: Draws from 0 to 1.
        rate_per_s: Tells how many looks a second the session may make, or None for any.
    """

    def __init__(
        self,
        learner: Learner,
        *,
        random: Callable[[], float],
        rate_per_s: Callable[[], float | None],
    ) -> None:
        self._learner = learner
        self._policy = learner.policy
        self.floor_s = learner.policy.min_interval_s
        self._random = random
        self._rate_per_s = rate_per_s
        self._lines: dict[str | None, QueueLine] = {}
        self._under_way: dict[Cohort, UnderWay] = {}
        self._tasks = 0
        # How many changes of each were heeded, and what is news since.
        self._heeded: dict[Cohort, int] = {}
        self._changed: Cohort | None = None
        self._in_doubt: Cohort | None = None
        self.has_news = False

    # --- events --------------------------------------------------------------------------

    def added(self, followed: Followed, now_s: float) -> float:
        """Begin with a task, and tell how long to wait with the first look at it."""
        self._tasks += 1
        known = None if followed.entered_s is not None else self._learner.recall(followed.task_id)
        if known is not None:
            followed.cohort = known.cohort
            followed.entered_s = followed.looked_s = known.at_s
        if followed.task is None:
            return self._bounded(self._drawn(1, 3) * self.floor_s, self._policy.max_interval_s)
        cohort = followed.cohort or self._place(followed)
        if followed.status == Status.QUEUED:
            self._line(cohort).join(followed)
        elif known is not None:
            self._dequeued(followed, cohort, now_s)
        if followed.status != Status.QUEUED and followed.entered_s is not None:
            age_s = followed.looked_s - followed.entered_s
            cohort.goes_on(self._under_way_of(cohort), None, age_s, now_s)
        return self.again_s(followed, now_s)

    def looked(self, followed: Followed, previous: Status | None, now_s: float) -> float:
        """Take in that a task goes on, and tell how long to wait with the next look."""
        cohort = followed.cohort or self._place(followed)
        is_queued = followed.status == Status.QUEUED
        before_s = _age_s(followed, previous)
        if followed.entered_s is not None:
            covered_s = now_s - followed.looked_s
            if is_queued:
                cohort.account.looked_in_queue(covered_s)
            else:
                cohort.account.looked(covered_s)
        if is_queued:
            self._line(cohort).still(followed, now_s)
        elif previous == Status.QUEUED or (previous is None and followed.entered_s is not None):
            self._dequeued(followed, cohort, now_s)
        followed.looked_s = now_s
        if not is_queued and followed.entered_s is not None:
            under_way = self._under_way_of(cohort)
            cohort.goes_on(under_way, before_s, now_s - followed.entered_s, now_s)
            self._heed(cohort)
        return self.again_s(followed, now_s)

    def again_s(self, followed: Followed, now_s: float) -> float:
        """Tell how long to wait with the next look, by what is known of a task."""
        cohort = followed.cohort
        if cohort is None or followed.entered_s is None:
            gap_s = self._drawn(_UNKNOWN_FROM, _UNKNOWN_TO) * self._policy.mean_interval_s
            return self._bounded(gap_s, self._policy.max_interval_s)
        if followed.status == Status.QUEUED:
            age_s = followed.looked_s - followed.entered_s
            return self._queued_gap_s(followed, cohort, age_s, now_s)
        gap_s = cohort.gap_s(now_s - followed.entered_s)
        return self._bounded(self._jittered(gap_s), self._policy.max_interval_s)

    def longer_s(self, followed: Followed, now_s: float) -> float | None:
        """Tell how much longer to wait with a task that is due, or None to look at it now.

        Those far from the front that became due before there was order to be seen need no look.
        """
        cohort = followed.cohort
        if cohort is None or followed.status != Status.QUEUED or followed.troubles is not None:
            return None
        line = self._line(cohort)
        waited_s = now_s - followed.looked_s
        if waited_s > self._policy.max_queued_interval_s / 2 or not line.is_deep(followed, now_s):
            return None
        return self._deep_gap_s() - waited_s

    def ended(self, followed: Followed, previous: Status | None, now_s: float) -> None:
        """Take in that a task was seen to have ended."""
        self._tasks -= 1
        cohort, entered_s = followed.cohort, followed.entered_s
        if cohort is None or entered_s is None:
            return
        cohort.account.looked(now_s - followed.looked_s)
        before_s = _age_s(followed, previous)
        if before_s is not None:
            cohort.account.move(self._under_way_of(cohort), nearest_edge(before_s), None)
        was_never_seen = followed.looked_s == entered_s
        if previous is None or previous == Status.QUEUED:
            self._dequeued(followed, cohort, now_s)
            entered_s = followed.entered_s or entered_s
        low_s, seen_s = max(0.0, followed.looked_s - entered_s), now_s - entered_s
        high_s = seen_s
        if followed.status == Status.FAILED and was_never_seen:
            # The service says of itself that it refuses for content at once. Should this one have
            # failed later: once looks are made for those, that is seen.
            high_s = min(seen_s, AT_ONCE_S)
        elif followed.status == Status.COMPLETED:
            # No video is made as fast as one is refused.
            low_s = max(low_s, min(AT_ONCE_S, seen_s))
        cohort.ended_between(low_s, high_s, now_s, seen_s=seen_s)
        self._heed(cohort)
        if cohort.processing.is_in_doubt:
            self._in_doubt, self.has_news = cohort, True

    def lost(self, followed: Followed, now_s: float) -> None:
        """Take in that a task is followed no more, although it goes on."""
        self._tasks -= 1
        cohort, entered_s = followed.cohort, followed.entered_s
        if cohort is None or entered_s is None or followed.task is None:
            return
        if followed.status == Status.QUEUED:
            self._line(cohort).left(followed, now_s, is_served=False)
        else:
            age_s = followed.looked_s - entered_s
            cohort.account.move(self._under_way_of(cohort), nearest_edge(age_s), None)
            cohort.ended_between(age_s, math.inf, now_s)

    # --- what bears on those that wait ---------------------------------------------------

    def sooner(self, waiting: Iterable[Followed], now_s: float) -> list[tuple[Followed, float]]:
        """Tell which of those that wait are to be looked at sooner, and how soon."""
        changed, in_doubt = self._changed, self._in_doubt
        self._changed = self._in_doubt = None
        self.has_news = False
        if changed is not None:
            return self._planned_anew(changed, waiting, now_s)
        if in_doubt is None:
            return []
        telling = self._most_telling(in_doubt, waiting, now_s)
        return [] if telling is None else [(telling, 0.0)]

    def _heed(self, cohort: Cohort) -> None:
        """Find out whether times have changed, be it by what another watch has seen."""
        if self._heeded.get(cohort, 0) != cohort.changes:
            self._heeded[cohort] = cohort.changes
            self._changed, self.has_news = cohort, True

    def _planned_anew(
        self, cohort: Cohort, waiting: Iterable[Followed], now_s: float
    ) -> list[tuple[Followed, float]]:
        overdue_s = min(self.floor_s, self._tasks * _OVERDUE_EACH_S)
        rate_per_s = self._rate_per_s()
        if rate_per_s is not None:
            overdue_s = max(overdue_s, self._tasks / rate_per_s)

        def gap_s(followed: Followed) -> float | None:
            planned_s = self._planned_gap_s(followed, cohort)
            if planned_s is None:
                return None
            return self._bounded(self._jittered(planned_s), self._policy.max_interval_s)

        return brought_forward(
            waiting,
            now_s,
            # Or each change would draw for those that are overdue once more.
            soon_s=max(self.floor_s, overdue_s),
            gap_s=gap_s,
            overdue_s=lambda: self._drawn(0, overdue_s),
        )

    def _most_telling(
        self, cohort: Cohort, waiting: Iterable[Followed], now_s: float
    ) -> Followed | None:
        return most_telling(
            waiting,
            now_s,
            can_tell=lambda followed: self._planned_gap_s(followed, cohort) is not None,
            floor_s=self._bounded(self.floor_s, self._policy.max_interval_s),
            lifetimes=cohort.processing,
        )

    def _planned_gap_s(self, followed: Followed, cohort: Cohort) -> float | None:
        """Tell which gap follows the last look at one by the table of a cohort.

        Returns:
            None where it is no such table that says.
        """
        entered_s = followed.entered_s
        if followed.cohort is not cohort or entered_s is None or followed.task is None:
            return None
        if followed.troubles is not None:
            # It has its own pause to keep.
            return None
        age_s = followed.looked_s - entered_s
        if followed.status != Status.QUEUED:
            return cohort.gap_s(age_s)
        if self._line(cohort).is_trusted or not cohort.is_dequeued_soon(age_s):
            return None
        return _gap_from_queue_s(cohort, age_s)

    # --- the front of a queue ------------------------------------------------------------

    @property
    def due_s(self) -> float | None:
        """When `take` has a task to look at."""
        soonest_s = None
        for line in self._lines.values():
            due_s = line.next_due_s(self.floor_s) if line.is_trusted else None
            if due_s is not None and (soonest_s is None or due_s < soonest_s):
                soonest_s = due_s
        return soonest_s

    def take(self, now_s: float) -> Followed | None:
        """Give a task to which the front of its queue has come."""
        for line in self._lines.values():
            due_s = line.next_due_s(self.floor_s) if line.is_trusted else None
            if due_s is not None and due_s <= now_s:
                return line.take()
        return None

    # --- within --------------------------------------------------------------------------

    def _place(self, followed: Followed) -> Cohort:
        request, task = followed.request, followed.task
        if request is not None:
            cohort = self._learner.cohort(request.model, request.mode)
        else:
            cohort = self._learner.cohort(None if task is None else task.model, None)
        followed.cohort = cohort
        return cohort

    def _under_way_of(self, cohort: Cohort) -> UnderWay:
        under_way = self._under_way.get(cohort)
        if under_way is None:
            under_way = self._under_way[cohort] = cohort.follow()
        return under_way

    def _line(self, cohort: Cohort) -> QueueLine:
        line = self._lines.get(cohort.model)
        if line is None:
            line = self._lines[cohort.model] = QueueLine()
        return line

    def _dequeued(self, followed: Followed, cohort: Cohort, now_s: float) -> None:
        """Take in that a task was taken from the queue, and guess when."""
        is_served = followed.status != Status.FAILED
        guess_s = self._line(cohort).left(followed, now_s, is_served=is_served)
        entered_s = followed.entered_s
        if entered_s is None:
            followed.entered_s = (followed.looked_s + now_s) / 2
            return
        low_s, high_s = followed.looked_s - entered_s, now_s - entered_s
        if guess_s is None:
            guess_s = entered_s + cohort.dequeue_age_s(low_s, high_s)
        if is_served:
            cohort.dequeued_between(low_s, high_s)
        followed.entered_s = guess_s

    def _queued_gap_s(
        self, followed: Followed, cohort: Cohort, age_s: float, now_s: float
    ) -> float:
        """Tell how long to wait with one that was seen queued at an age."""
        policy = self._policy
        line = self._line(cohort)
        if line.is_trusted:
            gap_s = line.gap_s(followed, now_s)
            if gap_s is None:
                return self._deep_gap_s()
            return self._bounded(self._jittered(gap_s), policy.max_interval_s)
        if cohort.is_dequeued_soon(age_s):
            gap_s = _gap_from_queue_s(cohort, age_s)
            is_scout = age_s == 0 and cohort.account.balance >= 0 and self._random() < _SCOUTS
            if is_scout and gap_s > self.floor_s:
                gap_s = self.floor_s * (gap_s / self.floor_s) ** self._random()
        else:
            gap_s = _BACKLOG_SHARE * policy.mean_interval_s
        gap_s -= now_s - followed.looked_s
        return self._bounded(self._jittered(gap_s), policy.max_interval_s)

    def _deep_gap_s(self) -> float:
        ceiling_s = self._policy.max_queued_interval_s
        return self._bounded(self._drawn(1 - _MOST_JITTER / 2, 1) * ceiling_s, ceiling_s)

    def _bounded(self, gap_s: float, ceiling_s: float) -> float:
        gap_s = max(self.floor_s, min(gap_s, ceiling_s))
        rate_per_s = self._rate_per_s()
        if rate_per_s is None:
            return gap_s
        # A rate that was learned in a storm is soon another: it must not put tasks to sleep.
        return max(gap_s, min(self._tasks / rate_per_s, self._policy.max_queued_interval_s))

    def _jittered(self, gap_s: float) -> float:
        # Those that are looked at as often as may be were set apart by what came before.
        share = _JITTER + (_MOST_JITTER - _JITTER) * min(1.0, self._tasks / _MANY)
        spread_s = max(0.0, gap_s - self.floor_s) * share
        return gap_s + self._drawn(-spread_s, spread_s)

    def _drawn(self, low: float, high: float) -> float:
        return low + self._random() * (high - low)


def _gap_from_queue_s(cohort: Cohort, age_s: float) -> float:
    """Tell how long to wait with one that is queued at an age, and rather processed by then."""
    first_s = cohort.gap_s(0.0)
    return cohort.dequeue_age_s(age_s, age_s + first_s) - age_s + first_s


def _age_s(followed: Followed, status: Status | None) -> float | None:
    """Tell at which age a task of a status was seen last, where it was being processed."""
    if status is None or status == Status.QUEUED or followed.entered_s is None:
        return None
    return followed.looked_s - followed.entered_s
