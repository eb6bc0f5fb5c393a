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
from collections.abc import Callable, Mapping
from typing import TypeAlias

import attrs

from videos_async._retry import (
    QueryVerdict,
    RetryBudget,
    RetryPolicy,
    Seen,
    Trouble,
    Unchanged,
    query_error,
)
from videos_async._settings import at_least, whole_at_least
from videos_async.errors import (
    ConfigurationError,
    GenerationFailed,
    Key,
    VideosError,
    WaitTimeout,
    WatchLeft,
)
from videos_async.models import Status, Transition, VideoRequest, VideoTask

__all__ = ["Poll", "PollPolicy", "Schedule"]


def _not_below_minimum(policy: PollPolicy, _: object, value: float) -> None:
    if value < policy.min_interval_s:
        raise ConfigurationError(
            setting="PollPolicy.max_interval_s",
            problem=f"must be at least min_interval_s ({policy.min_interval_s:g}), got {value!r}",
        )


@attrs.frozen(kw_only=True)
class PollPolicy:
    """When a task is polled, and how many bad answers in a row it takes to give it up.

    Each interval is drawn uniformly between the two bounds, the one before the first poll
    included. The defaults are the service's own advice; more often gets rate limited.

    Attributes:
        min_interval_s: Shortest time between two polls of one task, in seconds.
        max_interval_s: Longest time between two polls of one task, in seconds.
        max_failures: Bad answers in a row (time-outs, 5xx, garbage) after which the task is
            given up as `QueryFailed`; its id stays valid.
        max_refusals: Refusals in a row (401, 403, 404, …) after which it is given up as
            `QueryRefused` or `TaskNotFound`.
    """

    min_interval_s: float = attrs.field(default=30.0, validator=at_least(0))
    max_interval_s: float = attrs.field(default=60.0, validator=[at_least(0), _not_below_minimum])
    max_failures: int = attrs.field(default=20, validator=whole_at_least(1))
    max_refusals: int = attrs.field(default=3, validator=whole_at_least(1))

    def interval_s(self, random: Callable[[], float]) -> float:
        """Draw the time to the next poll; `random` draws from 0 to 1."""
        return self.min_interval_s + random() * (self.max_interval_s - self.min_interval_s)


@attrs.define(kw_only=True, eq=False, weakref_slot=False)
class _Followed:
    """One task that is followed: what was seen of it, and its patience."""

    key: Key
    task_id: str
    started_s: float
    timeout_s: float | None
    deadline_s: float | None
    task: VideoTask | None = None
    seen: tuple[Status, ...] = ()
    failures: int = 0
    refusals: int = 0
    last_error: str | None = None
    fingerprint: int | None = None
    poll_number: int | None = None
    request: VideoRequest | None = None


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
    followed: _Followed = attrs.field(repr=False)
    number: int = attrs.field(repr=False)


Step: TypeAlias = Poll | Transition

_QUEUED, _PROCESSING = (Status.QUEUED,), (Status.QUEUED, Status.PROCESSING)
_STORIES: Mapping[tuple[Status, ...], tuple[Status, ...]] = {
    _QUEUED: _QUEUED,
    _PROCESSING: _PROCESSING,
}

_LAST_LOOK_S = 5.0
_LAST_LOOK_SHARE = 0.1


class Schedule:
    """Follows many tasks to their ends.

    Args:
        poll: The intervals and the patience.
        retry: The pauses after a bad answer.
        budget: Pays for retries that come sooner than the regular poll.
        random: Draws from 0 to 1.
    """

    def __init__(
        self,
        *,
        poll: PollPolicy,
        retry: RetryPolicy,
        budget: RetryBudget,
        random: Callable[[], float],
    ) -> None:
        self._policy = poll
        self._retry = retry
        self._budget = budget
        self._random = random
        self._waiting: list[tuple[float, int, _Followed]] = []
        self._in_flight: set[_Followed] = set()
        self._sequence = 0

    def __repr__(self) -> str:
        return f"<Schedule waiting={len(self._waiting)} in_flight={len(self._in_flight)}>"

    @property
    def is_done(self) -> bool:
        """Whether every task that was added has ended."""
        return not self._waiting and not self._in_flight

    @property
    def due_s(self) -> float | None:
        """The instant at which `next` will have something, or None while nothing waits."""
        return self._waiting[0][0] if self._waiting else None

    def add(
        self,
        key: Key,
        task_or_id: VideoTask | str,
        *,
        now_s: float,
        timeout_s: float | None,
        started_s: float | None = None,
        request: VideoRequest | None = None,
    ) -> Transition | None:
        """Follow a task from now on.

        Args:
            key: The caller's name for it.
            task_or_id: What is known of it.
            now_s: The time.
            timeout_s: Seconds after which it is given up as `WaitTimeout`, or None for never.
            started_s: From when on `Transition.elapsed` counts; by default from now.
            request: What its transitions are to carry.

        Returns:
            The transition to what its snapshot says; None for a bare id, of which nothing is
            known yet.
        """
        task_id = task_or_id if isinstance(task_or_id, str) else task_or_id.id
        deadline_s = None if timeout_s is None else now_s + timeout_s
        followed = _Followed(
            key=key,
            task_id=task_id,
            started_s=now_s if started_s is None else started_s,
            timeout_s=timeout_s,
            deadline_s=deadline_s,
            request=request,
        )
        step = None if isinstance(task_or_id, str) else self._observe(followed, task_or_id, now_s)
        if step is None or not step.is_end:
            self._wait(followed, self._policy.interval_s(self._random), now_s)
        return step

    def next(self, now_s: float) -> Step | None:
        """Take the next thing that is due: a poll to make, or the end of a task's patience.

        Returns:
            None while nothing is due; see `due_s`.
        """
        if not self._waiting or self._waiting[0][0] > now_s:
            return None
        _, _, followed = heapq.heappop(self._waiting)
        if followed.deadline_s is None:
            time_left_s = None
        else:
            time_left_s = followed.deadline_s - now_s
            if time_left_s <= 0:
                return self._end(followed, self._timeout_error(followed), now_s)
        self._sequence += 1
        followed.poll_number = self._sequence
        self._in_flight.add(followed)
        return Poll(followed.task_id, time_left_s, followed, self._sequence)

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
        if followed.poll_number != poll.number:
            raise RuntimeError(f"this poll of task {followed.task_id} is not in flight")
        followed.poll_number = None
        self._in_flight.discard(followed)
        if isinstance(verdict, Unchanged):
            self._well(followed)
            self._wait(followed, self._policy.interval_s(self._random), now_s)
            return None
        if isinstance(verdict, Seen):
            followed.fingerprint = verdict.fingerprint
            return self._seen(followed, verdict.task, now_s)
        return self._troubled(followed, verdict, now_s)

    def leave(self, now_s: float) -> list[Transition]:
        """End all that goes on as `WatchLeft`; for those who stop before the tasks do."""
        rest = [followed for _, _, followed in sorted(self._waiting)] + list(self._in_flight)
        self._waiting.clear()
        self._in_flight.clear()
        return [
            self._end(
                followed,
                WatchLeft(task_id=followed.task_id, task=followed.task, key=followed.key),
                now_s,
            )
            for followed in rest
        ]

    def _seen(self, followed: _Followed, task: VideoTask, now_s: float) -> Transition | None:
        self._well(followed)
        step = self._observe(followed, task, now_s)
        if step is None or not step.is_end:
            self._wait(followed, self._policy.interval_s(self._random), now_s)
        return step

    def _well(self, followed: _Followed) -> None:
        """Take in a good answer."""
        self._budget.refill()
        followed.failures = followed.refusals = 0
        followed.last_error = None

    def _observe(self, followed: _Followed, task: VideoTask, now_s: float) -> Transition | None:
        previous = followed.seen[-1] if followed.seen else None
        # A late replica may say "queued" after "processing": each status is told once, and what
        # is older is no snapshot to end with.
        if task.status != previous and task.status in followed.seen:
            return None
        followed.task = task
        if task.status == previous:
            return None
        seen = (*followed.seen, task.status)
        # Most tasks have the same few stories behind them, and share the tuple.
        followed.seen = _STORIES.get(seen, seen)
        error = None
        if task.status == Status.FAILED:
            error = GenerationFailed(
                task_id=task.id, task=task, key=followed.key, reason=task.error
            )
        return self._transition(followed, previous, error, now_s)

    def _troubled(self, followed: _Followed, trouble: Trouble, now_s: float) -> Transition | None:
        followed.last_error = trouble.reason
        if trouble.is_throttle:
            # Asking to slow down says nothing of the task, so it costs no patience.
            pause_s = trouble.retry_after_s or 0.0
            self._wait(followed, max(pause_s, self._policy.interval_s(self._random)), now_s)
            return None
        followed.failures += 1
        followed.refusals += trouble.is_refusal
        error = self._given_up(followed, trouble)
        if error is not None:
            return self._end(followed, error, now_s)
        self._wait(followed, self._pause_s(followed, trouble), now_s)
        return None

    def _pause_s(self, followed: _Followed, trouble: Trouble) -> float:
        """How long to wait after a bad answer: less than the interval while the budget pays."""
        interval_s = self._policy.interval_s(self._random)
        if not self._budget.spend():
            return max(interval_s, trouble.retry_after_s or 0.0)
        pause_s = self._retry.pause_s(
            followed.failures, retry_after_s=trouble.retry_after_s, random=self._random
        )
        return pause_s if trouble.retry_after_s else min(pause_s, interval_s)

    def _given_up(self, followed: _Followed, trouble: Trouble) -> VideosError | None:
        # A refusal and an outage are counted apart: one 404 between two 503 ends nothing.
        patience = trouble.is_refusal and followed.refusals < self._policy.max_refusals
        if patience or (not trouble.is_refusal and followed.failures < self._policy.max_failures):
            return None
        return query_error(
            trouble,
            task_id=followed.task_id,
            task=followed.task,
            key=followed.key,
            attempts=followed.failures,
        )

    def _timeout_error(self, followed: _Followed) -> WaitTimeout:
        assert followed.timeout_s is not None  # noqa: S101 - only such a task is given up
        return WaitTimeout(
            task_id=followed.task_id,
            task=followed.task,
            key=followed.key,
            timeout_s=followed.timeout_s,
            last_error=followed.last_error,
        )

    def _wait(self, followed: _Followed, interval_s: float, now_s: float) -> None:
        due_s = now_s + interval_s
        deadline_s = followed.deadline_s
        if deadline_s is not None:
            # One last look shortly before the deadline, then nothing until it: a task that
            # finished meanwhile is not reported as timed out.
            assert followed.timeout_s is not None  # noqa: S101 - it made the deadline
            last_look_s = deadline_s - min(_LAST_LOOK_S, followed.timeout_s * _LAST_LOOK_SHARE)
            if due_s > last_look_s:
                due_s = last_look_s if now_s < last_look_s else min(due_s, deadline_s)
        self._sequence += 1
        heapq.heappush(self._waiting, (due_s, self._sequence, followed))

    def _end(self, followed: _Followed, error: VideosError, now_s: float) -> Transition:
        previous = followed.seen[-1] if followed.seen else None
        return self._transition(followed, previous, error, now_s)

    def _transition(
        self, followed: _Followed, previous: Status | None, error: VideosError | None, now_s: float
    ) -> Transition:
        return Transition(
            key=followed.key,
            task_id=followed.task_id,
            previous=previous,
            status=followed.seen[-1] if followed.seen else None,
            task=followed.task,
            elapsed=now_s - followed.started_s,
            error=error,
            request=followed.request,
        )
