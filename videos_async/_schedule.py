"""Which task to poll when: events in, polls and transitions out.

The theory: every task that is followed is in exactly one of three places.

::

             add            next(now)              answered / troubled
    (new) ---------> waiting ---------> in flight ---------------------> waiting   (goes on)
                        |                                 '-----------> ended     (its last word)
                        '---------------------------------------------> ended     (deadline)

*Waiting* is one heap ordered by the instant at which something is due: the next poll, or the
deadline where that comes first. *In flight* is a task handed out by `next` until its outcome
comes back; nobody else is handed it meanwhile, so the transitions of one task are in order.
*Ended* is gone from memory. Each method takes the time and returns what is to be done; none
waits, reads a clock or rolls dice of its own. An event for a task that is not in flight changes
nothing and raises.

A task that waits costs a heap entry and a slotted record, never a coroutine.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import TypeAlias

import attrs

from videos_async._followed import Followed, Troubles, story
from videos_async._poll_pace import PollPace
from videos_async._polling import AdaptivePolling, PollPolicy
from videos_async._retry import (
    QueryVerdict,
    RetryBudget,
    RetryPolicy,
    Seen,
    Trouble,
    query_error,
)
from videos_async.errors import GenerationFailed, Key, VideosError, WaitTimeout, WatchLeft
from videos_async.models import Status, Transition, VideoRequest, VideoTask

__all__ = ["Poll", "Schedule"]


@attrs.frozen(eq=False)
class Poll:
    """One poll to be made.

    Attributes:
        task_id: The task to ask for.
        time_left_s: Seconds until the task's deadline, or None where it has none.
        followed: The schedule's own record; of no use to anyone else.
        number: Tells this poll from the task's others.
    """

    task_id: str
    time_left_s: float | None
    followed: Followed = attrs.field(repr=False)
    number: int = attrs.field(repr=False)


Step: TypeAlias = Poll | Transition

# How long before a deadline the last look is taken: late, and yet in time for its answer.
_LAST_LOOK_S = 5.0
_LAST_LOOK_SHARE = 0.1
_ANSWER_TAKES_S = 1.0


Patience: TypeAlias = PollPolicy | AdaptivePolling


class Schedule:
    """Follows many tasks to their ends.

    Args:
        pace: Says how long to wait with the next look at a task.
        patience: How many bad answers in a row it takes to give a task up.
        retry: The pauses after a bad answer.
        budget: Pays for retries that come sooner than the regular poll.
        random: Draws from 0 to 1.
    """

    def __init__(
        self,
        *,
        pace: PollPace,
        patience: Patience,
        retry: RetryPolicy,
        budget: RetryBudget,
        random: Callable[[], float],
    ) -> None:
        self._pace = pace
        self._patience = patience
        self._retry = retry
        self._budget = budget
        self._random = random
        # What is no more due at the instant it stands for lies there until that has come.
        self._waiting: list[tuple[float, Followed]] = []
        self._waiting_count = 0
        self._in_flight: dict[Followed, int] = {}
        self._polls = 0

    def __repr__(self) -> str:
        return f"<Schedule waiting={self._waiting_count} in_flight={len(self._in_flight)}>"

    @property
    def is_done(self) -> bool:
        """Whether every task that was added has ended."""
        return not self._waiting_count and not self._in_flight

    @property
    def due_s(self) -> float | None:
        """The instant at which `next` will have something, or None while nothing waits."""
        due_s = self._pace.due_s
        waiting = self._waiting
        while waiting and waiting[0][0] is not waiting[0][1].due_s:
            heapq.heappop(waiting)
        if not waiting:
            return due_s
        return waiting[0][0] if due_s is None else min(due_s, waiting[0][0])

    def add(  # noqa: PLR0913 - what is known of a task, each by its name
        self,
        key: Key,
        task_or_id: VideoTask | str,
        *,
        now_s: float,
        timeout_s: float | None,
        started_s: float | None = None,
        accepted_s: float | None = None,
        request: VideoRequest | None = None,
    ) -> Transition | None:
        """Follow a task from now on.

        Args:
            key: The caller's name for it.
            task_or_id: What is known of it.
            now_s: The time.
            timeout_s: Seconds after which it is given up as `WaitTimeout`, or None for never.
            started_s: From when on `Transition.elapsed` counts; by default from now.
            accepted_s: When the service accepted it, or None where that is not known.
            request: What its transitions are to carry.

        Returns:
            The transition to what its snapshot says; None for a bare id, of which nothing is
            known yet.
        """
        followed = Followed(
            key=key,
            task_id=task_or_id if isinstance(task_or_id, str) else task_or_id.id,
            started_s=now_s if started_s is None else started_s,
            added_s=now_s,
            timeout_s=timeout_s,
            request=request,
            looked_s=now_s,
        )
        step = None if isinstance(task_or_id, str) else self._observe(followed, task_or_id, now_s)
        if step is None or not step.is_end:
            if accepted_s is not None:
                followed.entered_s = followed.looked_s = accepted_s
            self._wait(followed, self._pace.added(followed, now_s), now_s)
        return step

    def next(self, now_s: float) -> Step | None:
        """Take the next thing that is due: a poll to make, or the end of a task's patience.

        Returns:
            None while nothing is due; see `due_s`.
        """
        followed = self._next_waiting(now_s) or self._pace.take(now_s)
        if followed is None:
            return None
        followed.due_s = None
        self._waiting_count -= 1
        time_left_s = None
        deadline_s = followed.deadline_s
        if deadline_s is not None:
            time_left_s = deadline_s - now_s
            if time_left_s <= 0:
                return self._give_up(followed, self._timeout_error(followed), now_s)
        self._polls += 1
        self._in_flight[followed] = self._polls
        return Poll(followed.task_id, time_left_s, followed, self._polls)

    def _next_waiting(self, now_s: float) -> Followed | None:
        waiting = self._waiting
        while waiting and waiting[0][0] <= now_s:
            due_s, followed = heapq.heappop(waiting)
            if followed.due_s is not due_s:
                continue
            longer_s = self._pace.longer_s(followed, now_s)
            if longer_s is None or _last_look_s(followed) <= now_s:
                return followed
            self._waiting_count -= 1
            self._wait(followed, longer_s, now_s)
        return None

    def handle(self, poll: Poll, verdict: QueryVerdict, now_s: float) -> Transition | None:
        """Take in how a poll went.

        Args:
            poll: The poll, as `next` gave it.
            verdict: What came of it.
            now_s: The time.

        Returns:
            The task's transition, or None where nothing changed.

        Raises:
            RuntimeError: The poll is not in flight: its outcome was told already.
        """
        followed = poll.followed
        if self._in_flight.get(followed) != poll.number:
            raise RuntimeError(f"this poll of task {followed.task_id} is not in flight")
        del self._in_flight[followed]
        if isinstance(verdict, Trouble):
            return self._troubled(followed, verdict, now_s)
        self._budget.refill()
        followed.troubles = None
        previous, step = followed.status, None
        if isinstance(verdict, Seen):
            followed.fingerprint = verdict.fingerprint
            step = self._observe(followed, verdict.task, now_s)
            if step is not None and step.is_end:
                self._pace.ended(followed, previous, now_s)
                self._heed(now_s)
                return step
        self._wait(followed, self._pace.looked(followed, previous, now_s), now_s)
        self._heed(now_s)
        return step

    def _heed(self, now_s: float) -> None:
        """Let those that wait be looked at sooner where what was just seen bears on them."""
        if not self._pace.has_news:
            return
        waiting = (followed for due_s, followed in self._waiting if followed.due_s is due_s)
        for followed, gap_s in self._pace.sooner(waiting, now_s):
            self._waiting_count -= 1
            self._wait(followed, gap_s, now_s)
        if len(self._waiting) > 2 * self._waiting_count:
            # Those that were brought forward have left their old places behind.
            live = [(due_s, each) for due_s, each in self._waiting if each.due_s is due_s]
            heapq.heapify(live)
            self._waiting = live

    def leave(self, now_s: float) -> list[Transition]:
        """End all that goes on as `WatchLeft`; for those who stop before the tasks do."""
        rest = [followed for due_s, followed in sorted(self._waiting) if followed.due_s is due_s]
        rest += self._in_flight
        self._waiting.clear()
        self._waiting_count = 0
        self._in_flight.clear()
        return [
            self._transition(
                followed,
                followed.status,
                WatchLeft(task_id=followed.task_id, task=followed.task, key=followed.key),
                now_s,
            )
            for followed in rest
        ]

    def _observe(self, followed: Followed, task: VideoTask, now_s: float) -> Transition | None:
        previous = followed.status
        # A late replica may say "queued" after "processing": each status is told once, and what
        # is older is no snapshot to end with.
        if task.status != previous and task.status in followed.seen:
            return None
        followed.task = task
        if task.status == previous:
            return None
        followed.seen = story(followed.seen, task.status)
        error = None
        if task.status == Status.FAILED:
            error = GenerationFailed(
                task_id=task.id, task=task, key=followed.key, reason=task.error
            )
        return self._transition(followed, previous, error, now_s)

    def _troubled(self, followed: Followed, trouble: Trouble, now_s: float) -> Transition | None:
        troubles = followed.troubles
        if troubles is None:
            troubles = followed.troubles = Troubles(last_error=trouble.reason)
        troubles.last_error = trouble.reason
        if trouble.is_throttle:
            # Asking to slow down says nothing of the task, so it costs no patience.
            pause_s = trouble.retry_after_s or 0.0
            self._wait(followed, max(pause_s, self._pace.again_s(followed, now_s)), now_s)
            return None
        troubles.failures += 1
        troubles.refusals += trouble.is_refusal
        error = self._given_up(followed, troubles, trouble)
        if error is not None:
            return self._give_up(followed, error, now_s)
        self._wait(followed, self._pause_s(followed, troubles, trouble, now_s), now_s)
        return None

    def _pause_s(
        self, followed: Followed, troubles: Troubles, trouble: Trouble, now_s: float
    ) -> float:
        """How long to wait after a bad answer: less than the interval while the budget pays.

        After as many tries as a call gets it is no hiccup but an outage, and one of some minutes
        is sat out at the regular interval.
        """
        interval_s = self._pace.again_s(followed, now_s)
        if troubles.failures >= self._retry.max_attempts or not self._budget.spend():
            return max(interval_s, trouble.retry_after_s or 0.0)
        pause_s = self._retry.pause_s(
            troubles.failures, retry_after_s=trouble.retry_after_s, random=self._random
        )
        if not trouble.retry_after_s:
            pause_s = min(pause_s, interval_s)
        return max(pause_s, self._pace.floor_s)

    def _given_up(
        self, followed: Followed, troubles: Troubles, trouble: Trouble
    ) -> VideosError | None:
        # A refusal and an outage are counted apart: one 404 between two 503 ends nothing.
        allowed = self._patience
        patience = trouble.is_refusal and troubles.refusals < allowed.max_refusals
        if patience or (not trouble.is_refusal and troubles.failures < allowed.max_failures):
            return None
        return query_error(
            trouble,
            task_id=followed.task_id,
            task=followed.task,
            key=followed.key,
            attempts=troubles.failures,
        )

    def _timeout_error(self, followed: Followed) -> WaitTimeout:
        assert followed.timeout_s is not None  # noqa: S101 - only such a task is given up
        return WaitTimeout(
            task_id=followed.task_id,
            task=followed.task,
            key=followed.key,
            timeout_s=followed.timeout_s,
            last_error=None if followed.troubles is None else followed.troubles.last_error,
        )

    def _wait(self, followed: Followed, interval_s: float, now_s: float) -> None:
        due_s = now_s + interval_s
        deadline_s = followed.deadline_s
        if deadline_s is not None:
            # One last look shortly before the deadline, then nothing until it: a task that
            # finished meanwhile is not reported as timed out.
            last_look_s = _last_look_s(followed)
            if due_s > last_look_s:
                # Two polls keep their distance all the same, and the first is no second one.
                soonest_s = now_s if now_s == followed.added_s else now_s + self._pace.floor_s
                due_s = max(last_look_s, soonest_s) if now_s < last_look_s else due_s
                due_s = min(due_s, deadline_s)
        followed.due_s = due_s
        self._waiting_count += 1
        heapq.heappush(self._waiting, (due_s, followed))

    def _give_up(self, followed: Followed, error: VideosError, now_s: float) -> Transition:
        self._pace.lost(followed, now_s)
        return self._transition(followed, followed.status, error, now_s)

    def _transition(
        self, followed: Followed, previous: Status | None, error: VideosError | None, now_s: float
    ) -> Transition:
        return Transition(
            key=followed.key,
            task_id=followed.task_id,
            previous=previous,
            status=followed.status,
            task=followed.task,
            elapsed=now_s - followed.started_s,
            error=error,
            request=followed.request,
        )


def _last_look_s(followed: Followed) -> float:
    """Tell when a task is looked at for the last time before it is given up."""
    timeout_s = followed.timeout_s
    if timeout_s is None:
        return math.inf
    # A tenth of two seconds is gone before a distant service has answered.
    least_s = min(_ANSWER_TAKES_S, timeout_s / 2)
    left_s = min(_LAST_LOOK_S, max(least_s, timeout_s * _LAST_LOOK_SHARE))
    return followed.added_s + timeout_s - left_s
