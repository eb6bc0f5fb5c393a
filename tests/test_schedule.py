"""Hours of polling in milliseconds: the clock and the dice are handed in."""

from __future__ import annotations

import gc
import random
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videos_async import (
    GenerationFailed,
    PollPolicy,
    QueryFailed,
    QueryRefused,
    RetryPolicy,
    Status,
    TaskNotFound,
    Transition,
    VideoTask,
    WaitTimeout,
)
from videos_async._poll_pace import TimerPace
from videos_async._retry import QueryVerdict, RetryBudget, Seen, Trouble
from videos_async._schedule import Poll, Schedule

START_S: Final = 5000.0
HOUR_S: Final = 3600.0
WEATHER: Final[QueryVerdict] = Trouble(reason="bad gateway", http_status=502)
THROTTLE: Final[QueryVerdict] = Trouble(reason="slow down", http_status=429, is_throttle=True)
REFUSAL: Final[QueryVerdict] = Trouble(reason="who are you", http_status=401, is_refusal=True)
NOT_FOUND: Final[QueryVerdict] = Trouble(reason="unknown", http_status=404, is_refusal=True)


def a_task(status: str, task_id: str = "video_1", **fields: Any) -> VideoTask:
    return VideoTask(id=task_id, status=Status(status), **fields)


def seen(status: str, **fields: Any) -> QueryVerdict:
    return Seen(task=a_task(status, **fields))


class Drive:
    """A schedule, its clock, and what came out of it for one or many tasks."""

    def __init__(
        self,
        *,
        dice: Callable[[], float] = lambda: 0.5,
        budget: RetryBudget | None = None,
        retry: RetryPolicy | None = None,
        **poll: Any,
    ) -> None:
        self.now_s = START_S
        policy = PollPolicy(**poll)
        self.schedule = Schedule(
            pace=TimerPace(policy, dice),
            patience=policy,
            retry=retry or RetryPolicy(),
            budget=budget or RetryBudget(),
            random=dice,
        )
        self.transitions: list[Transition] = []
        self.polled_at_s: list[float] = []

    def add(self, task: VideoTask | str = "video_1", *, timeout_s: float | None = None) -> None:
        self._keep(self.schedule.add("key", task, now_s=self.now_s, timeout_s=timeout_s))

    def next(self) -> Poll | Transition | None:
        """Let the time pass to whatever is due next."""
        self.now_s = max(self.now_s, self.schedule.due_s or self.now_s)
        return self.schedule.next(self.now_s)

    def poll(self) -> Poll:
        step = self.next()
        assert isinstance(step, Poll)
        return step

    def answer(self, *verdicts: QueryVerdict, latency_s: float = 0.0) -> None:
        """Give one verdict a poll; an end in between is kept like any transition."""
        for verdict in verdicts:
            step = self.next()
            if not isinstance(step, Poll):
                self._keep(step)
                return
            self.polled_at_s.append(self.now_s - START_S)
            self.now_s += latency_s
            self._keep(self.schedule.handle(step, verdict, self.now_s))

    def run(self, verdict: QueryVerdict, *, polls: int = 1000) -> None:
        """Give the same verdict until all is done."""
        for _ in range(polls):
            if self.schedule.is_done:
                return
            self.answer(verdict)

    def _keep(self, transition: Transition | None) -> None:
        if transition is not None:
            self.transitions.append(transition)

    @property
    def story(self) -> list[str]:
        return [f"{step.previous or ''}>{step.status or ''}" for step in self.transitions]

    @property
    def end(self) -> Transition:
        (end,) = [step for step in self.transitions if step.is_end]
        assert end is self.transitions[-1]
        return end


# --- intervals -----------------------------------------------------------------------------


@pytest.mark.parametrize(("dice", "interval_s"), [(0.0, 30.0), (0.5, 45.0), (1.0, 60.0)])
def test_every_poll_keeps_the_interval_the_first_included(dice: float, interval_s: float) -> None:
    drive = Drive(dice=lambda: dice)
    drive.add()
    drive.answer(*[seen("processing")] * 3)
    assert drive.polled_at_s == [interval_s, 2 * interval_s, 3 * interval_s]


def test_a_day_of_polls_stays_within_the_bounds_and_uses_them() -> None:
    drive = Drive(dice=random.Random(1).random)
    drive.add()
    drive.answer(*[seen("processing")] * 2000)
    instants = [0.0, *drive.polled_at_s]
    intervals = [late - early for early, late in pairwise(instants)]
    assert 30 <= min(intervals) < 31
    assert 59 < max(intervals) <= 60


def test_the_interval_is_counted_from_the_answer() -> None:
    drive = Drive(min_interval_s=10, max_interval_s=10)
    drive.add()
    drive.answer(seen("queued"), seen("queued"), latency_s=5)
    assert drive.polled_at_s == [10.0, 25.0]


def test_a_thousand_tasks_added_at_once_are_spread_over_the_interval() -> None:
    drive = Drive(dice=random.Random(1).random)
    for number in range(1000):
        drive.add(f"video_{number}")
    due_by_bucket: Counter[int] = Counter()
    for _ in range(1000):
        drive.poll()
        due_by_bucket[int((drive.now_s - START_S) // 3)] += 1
    assert set(due_by_bucket) == set(range(10, 20))
    assert max(due_by_bucket.values()) < 150


def test_what_is_due_first_is_polled_first() -> None:
    rolls = iter([1.0, 0.0, 0.5])
    drive = Drive(dice=lambda: next(rolls))
    for name in ("last", "first", "second"):
        drive.add(name)
    assert [drive.poll().task_id for _ in range(3)] == ["first", "second", "last"]


def test_nothing_is_due_before_its_time() -> None:
    drive = Drive()
    drive.add()
    assert drive.schedule.next(START_S + 44.9) is None


def test_a_schedule_of_nothing_is_done() -> None:
    schedule = Drive().schedule
    assert (schedule.is_done, schedule.due_s, schedule.next(START_S)) == (True, None, None)


def test_a_task_in_flight_is_handed_to_nobody_else() -> None:
    drive = Drive()
    drive.add()
    drive.poll()
    assert drive.schedule.next(START_S + HOUR_S) is None
    assert not drive.schedule.is_done


def test_a_poll_says_how_much_time_is_left() -> None:
    drive = Drive()
    drive.add(timeout_s=100)
    assert drive.poll().time_left_s == 55.0


def test_a_poll_without_a_deadline_has_all_the_time() -> None:
    drive = Drive()
    drive.add()
    assert drive.poll().time_left_s is None


# --- transitions ---------------------------------------------------------------------------


def test_each_status_is_told_once_and_in_order() -> None:
    drive = Drive()
    drive.add()
    drive.answer(*map(seen, ["queued", "queued", "processing", "processing", "completed"]))
    assert drive.story == [">queued", "queued>processing", "processing>completed"]
    assert drive.schedule.is_done


def test_a_status_that_was_not_observed_is_not_made_up() -> None:
    drive = Drive()
    drive.add(a_task("queued"))
    drive.answer(seen("completed"))
    assert drive.story == [">queued", "queued>completed"]


def test_the_snapshot_a_task_comes_with_is_its_first_transition() -> None:
    drive = Drive()
    drive.add(a_task("processing"))
    assert drive.story == [">processing"]


def test_a_bare_id_has_no_transition_before_its_first_poll() -> None:
    drive = Drive()
    drive.add()
    assert drive.story == []


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_a_task_that_has_ended_already_is_never_polled(status: str) -> None:
    drive = Drive()
    drive.add(a_task(status))
    assert drive.story == [f">{status}"]
    assert drive.schedule.is_done


def test_a_completed_task_ends_without_an_error() -> None:
    drive = Drive()
    drive.add()
    drive.answer(seen("completed"))
    assert (drive.end.error, drive.end.elapsed) == (None, 45.0)


def test_a_failed_task_ends_with_the_reason_of_the_service() -> None:
    drive = Drive()
    drive.add()
    drive.answer(seen("failed", error="policy"))
    error = drive.end.error
    assert isinstance(error, GenerationFailed)
    assert (error.task_id, error.key, error.reason) == ("video_1", "key", "policy")


def test_a_late_replica_takes_nothing_back() -> None:
    drive = Drive()
    drive.add()
    drive.answer(*map(seen, ["processing", "queued", "processing", "queued", "completed"]))
    assert drive.story == [">processing", "processing>queued", "queued>completed"]


def test_the_snapshot_of_a_late_replica_does_not_replace_a_newer_one() -> None:
    drive = Drive()
    drive.add(a_task("queued"), timeout_s=200)
    drive.answer(seen("processing", progress=80.0), seen("queued", progress=0.0))
    drive.run(WEATHER)
    assert drive.end.task == a_task("processing", progress=80.0)


def test_a_newer_snapshot_of_the_same_status_is_kept_without_a_transition() -> None:
    drive = Drive()
    drive.add(a_task("processing", progress=10.0), timeout_s=200)
    drive.answer(seen("processing", progress=80.0))
    drive.run(WEATHER)
    assert drive.end.task == a_task("processing", progress=80.0)
    assert len(drive.transitions) == 2


def test_unknown_statuses_are_told_and_polled_on() -> None:
    drive = Drive()
    drive.add(a_task("queued"))
    drive.answer(*map(seen, ["upscaling", "upscaling", "polishing", "completed"]))
    assert drive.story == [
        ">queued",
        "queued>upscaling",
        "upscaling>polishing",
        "polishing>completed",
    ]


def test_an_unknown_status_is_bounded_by_the_deadline() -> None:
    drive = Drive()
    drive.add(timeout_s=HOUR_S)
    drive.run(seen("upscaling"))
    assert isinstance(drive.end.error, WaitTimeout)
    assert drive.end.elapsed == HOUR_S


# --- deadline ------------------------------------------------------------------------------


def test_the_deadline_keeps_the_id_the_key_and_the_last_snapshot() -> None:
    drive = Drive()
    drive.add(timeout_s=HOUR_S)
    drive.run(seen("processing", progress=99.0))
    error = drive.end.error
    assert isinstance(error, WaitTimeout)
    facts = (error.task_id, error.key, error.timeout_s, error.last_error)
    assert facts == ("video_1", "key", HOUR_S, None)
    assert error.task == drive.end.task == a_task("processing", progress=99.0)
    assert drive.end.previous == drive.end.status == Status.PROCESSING


def test_the_deadline_of_a_task_that_was_never_seen_has_no_status() -> None:
    drive = Drive(max_failures=1000)
    drive.add(timeout_s=HOUR_S)
    drive.run(WEATHER)
    error = drive.end.error
    assert isinstance(error, WaitTimeout)
    assert (drive.end.status, drive.end.task, error.last_error) == (None, None, "bad gateway")


@pytest.mark.parametrize(
    ("timeout_s", "before_s"), [(600.0, 5.0), (20.0, 2.0), (5.0, 1.0), (1.0, 0.5)]
)
def test_there_is_one_last_look_shortly_before_the_deadline(
    timeout_s: float, before_s: float
) -> None:
    drive = Drive()
    drive.add(timeout_s=timeout_s)
    drive.run(seen("processing"))
    assert drive.polled_at_s[-1] == pytest.approx(timeout_s - before_s)


def test_a_task_that_is_completed_at_the_last_look_is_completed() -> None:
    drive = Drive()
    drive.add(timeout_s=40)
    drive.answer(seen("completed"))
    assert drive.end.error is None


def test_a_task_that_is_completed_while_the_deadline_passes_is_completed() -> None:
    drive = Drive()
    drive.add(timeout_s=40)
    drive.answer(seen("completed"), latency_s=60)
    assert drive.end.error is None


def test_a_task_is_polled_no_more_after_its_deadline() -> None:
    drive = Drive()
    drive.add(timeout_s=40)
    drive.answer(seen("processing"), latency_s=60)
    assert isinstance(drive.next(), Transition)
    assert drive.schedule.is_done


def test_a_task_whose_poll_comes_late_is_not_polled_after_its_deadline() -> None:
    drive = Drive()
    drive.add(timeout_s=40)
    step = drive.schedule.next(START_S + 41)
    assert isinstance(step, Transition)
    assert isinstance(step.error, WaitTimeout)


def test_a_short_interval_is_kept_up_to_the_deadline() -> None:
    drive = Drive(min_interval_s=1, max_interval_s=1)
    drive.add(timeout_s=10)
    drive.run(seen("processing"))
    assert drive.polled_at_s == [float(second) for second in range(1, 10)]


def test_without_a_deadline_a_task_is_followed_for_ever() -> None:
    drive = Drive()
    drive.add()
    drive.answer(*[seen("processing")] * 5000)
    assert drive.now_s > START_S + 50 * HOUR_S
    assert not drive.schedule.is_done


# --- patience ------------------------------------------------------------------------------


def test_a_run_of_bad_answers_ends_with_the_id_in_hand() -> None:
    drive = Drive(max_failures=5)
    drive.add(a_task("processing"))
    drive.run(WEATHER)
    error = drive.end.error
    assert isinstance(error, QueryFailed)
    facts = (error.task_id, error.key, error.attempts, error.http_status, error.reason)
    assert facts == ("video_1", "key", 5, 502, "bad gateway")
    assert error.task == a_task("processing")


def test_a_good_answer_restores_the_patience() -> None:
    drive = Drive(max_failures=3)
    drive.add()
    drive.answer(*[WEATHER, WEATHER, seen("queued")] * 20)
    assert drive.story == [">queued"]


@pytest.mark.parametrize(("trouble", "kind"), [(REFUSAL, QueryRefused), (NOT_FOUND, TaskNotFound)])
def test_a_few_refusals_end_a_task(trouble: Trouble, kind: type) -> None:
    drive = Drive(max_refusals=3)
    drive.add()
    drive.run(trouble)
    assert type(drive.end.error) is kind
    assert len(drive.polled_at_s) == 3


def test_one_refusal_may_be_a_replica_that_lags() -> None:
    drive = Drive(max_refusals=3)
    drive.add()
    drive.answer(NOT_FOUND, NOT_FOUND, seen("queued"), NOT_FOUND, NOT_FOUND, seen("completed"))
    assert drive.end.error is None


def test_a_refusal_between_outages_ends_nothing() -> None:
    drive = Drive(max_failures=20, max_refusals=3)
    drive.add()
    drive.answer(*[WEATHER] * 9, NOT_FOUND, *[WEATHER] * 9, seen("completed"))
    assert drive.end.error is None


def test_an_outage_counts_the_refusals_before_it() -> None:
    drive = Drive(max_failures=3, max_refusals=3)
    drive.add()
    drive.answer(NOT_FOUND, NOT_FOUND, WEATHER)
    assert isinstance(drive.end.error, QueryFailed)


def test_being_asked_to_slow_down_costs_no_patience() -> None:
    drive = Drive(max_failures=1, max_refusals=1)
    drive.add()
    drive.answer(*[THROTTLE] * 500, seen("completed"))
    assert drive.end.error is None


def test_being_asked_to_slow_down_waits_at_least_the_interval() -> None:
    drive = Drive()
    drive.add()
    drive.answer(THROTTLE, seen("queued"))
    assert drive.polled_at_s == [45.0, 90.0]


def test_being_asked_to_slow_down_waits_as_long_as_was_asked() -> None:
    drive = Drive()
    drive.add()
    drive.answer(Trouble(reason="x", is_throttle=True, retry_after_s=120.0), seen("queued"))
    assert drive.polled_at_s == [45.0, 165.0]


# --- pauses after a bad answer -------------------------------------------------------------


def test_a_bad_answer_is_followed_by_pauses_that_double_up_to_the_interval() -> None:
    drive = Drive(dice=lambda: 1.0, min_interval_s=10, max_interval_s=10)
    drive.add()
    drive.answer(*[WEATHER] * 7)
    assert drive.polled_at_s == [10.0, 11.0, 13.0, 17.0, 25.0, 35.0, 45.0]


def test_a_bad_answer_that_says_when_is_obeyed() -> None:
    drive = Drive(dice=lambda: 0.0)
    drive.add()
    drive.answer(Trouble(reason="x", http_status=503, retry_after_s=100.0), seen("queued"))
    assert drive.polled_at_s == [30.0, 130.0]


def test_without_a_budget_a_bad_answer_waits_for_the_regular_poll() -> None:
    drive = Drive(budget=RetryBudget(0))
    drive.add()
    drive.answer(*[WEATHER] * 4)
    assert drive.polled_at_s == [45.0, 90.0, 135.0, 180.0]


def test_without_a_budget_a_bad_answer_that_says_when_is_obeyed_all_the_same() -> None:
    drive = Drive(budget=RetryBudget(0))
    drive.add()
    drive.answer(Trouble(reason="x", http_status=503, retry_after_s=100.0), seen("queued"))
    assert drive.polled_at_s == [45.0, 145.0]


def test_one_budget_pays_for_the_retries_of_all_tasks() -> None:
    budget = RetryBudget(2)
    drive = Drive(budget=budget, max_failures=1000)
    for number in range(10):
        drive.add(f"video_{number}")
    drive.answer(*[WEATHER] * 30)
    assert not budget.spend()
    # Ten tasks in the time of three intervals, and two retries more.
    assert 90 <= drive.polled_at_s[-1] <= 135


def test_an_outage_of_ten_minutes_ends_nothing() -> None:
    drive = Drive()
    drive.add()
    # As often as any call is tried, then at the regular interval.
    drive.run(WEATHER)
    pauses_s = [late - early for early, late in pairwise(drive.polled_at_s)]
    assert pauses_s[:5] == [0.5, 1.0, 2.0, 4.0, 8.0]
    assert set(pauses_s[5:]) == {45.0}
    assert drive.polled_at_s[-1] > 600


def test_a_hiccup_after_an_outage_is_tried_again_soon() -> None:
    drive = Drive()
    drive.add()
    drive.answer(*[WEATHER] * 10, seen("queued"), WEATHER, seen("queued"))
    *_, hiccup_s, again_s = drive.polled_at_s
    assert again_s - hiccup_s == 0.5


def test_good_answers_earn_retries_back() -> None:
    budget = RetryBudget(1)
    budget.spend()
    drive = Drive(budget=budget)
    drive.add()
    drive.answer(*[seen("processing")] * 10)
    assert budget.spend()


# --- illegal events ------------------------------------------------------------------------


def _outcome(drive: Drive) -> tuple[Any, ...]:
    return drive.schedule.is_done, drive.schedule.due_s, repr(drive.schedule)


def test_a_poll_that_was_answered_already_raises_and_changes_nothing() -> None:
    drive = Drive()
    drive.add()
    poll = drive.poll()
    drive.schedule.handle(poll, seen("queued"), drive.now_s)
    before = _outcome(drive)
    with pytest.raises(RuntimeError, match="poll of task video_1 is not in flight"):
        drive.schedule.handle(poll, seen("completed"), drive.now_s)
    assert _outcome(drive) == before


def test_an_older_poll_does_not_pass_for_the_one_in_flight() -> None:
    drive = Drive()
    drive.add()
    old = drive.poll()
    drive.schedule.handle(old, seen("queued"), drive.now_s)
    new = drive.poll()
    before = _outcome(drive)
    with pytest.raises(RuntimeError, match="not in flight"):
        drive.schedule.handle(old, seen("completed"), drive.now_s)
    assert _outcome(drive) == before
    assert drive.schedule.handle(new, seen("processing"), drive.now_s) is not None


def test_a_poll_of_a_task_that_has_ended_raises() -> None:
    drive = Drive()
    drive.add()
    poll = drive.poll()
    drive.schedule.handle(poll, seen("completed"), drive.now_s)
    with pytest.raises(RuntimeError, match="not in flight"):
        drive.schedule.handle(poll, seen("completed"), drive.now_s)


# --- memory --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "timeout_s"),
    [(seen("completed"), None), (seen("failed"), None), (REFUSAL, None), (WEATHER, 10.0)],
    ids=["completed", "failed", "given up", "timed out"],
)
def test_a_task_that_has_ended_is_forgotten(verdict: QueryVerdict, timeout_s: float | None) -> None:
    drive = Drive()
    drive.add(timeout_s=timeout_s)
    poll = drive.poll()
    followed = id(poll.followed)
    drive.schedule.handle(poll, verdict, drive.now_s)
    kind = type(poll.followed)
    del poll
    drive.run(verdict)
    assert drive.schedule.is_done
    gc.collect()
    assert not any(id(each) == followed and isinstance(each, kind) for each in gc.get_objects())
    assert repr(drive.schedule) == "<Schedule waiting=0 in_flight=0>"


# --- properties ----------------------------------------------------------------------------

VERDICTS: Final = st.sampled_from(
    [
        *map(seen, ["queued", "processing", "processing", "completed", "failed", "upscaling", "x"]),
        WEATHER,
        WEATHER,
        THROTTLE,
        REFUSAL,
        NOT_FOUND,
        Trouble(reason="later", http_status=503, retry_after_s=200.0),
    ]
)
STEPS: Final = st.lists(st.tuples(VERDICTS, st.floats(0, 90), st.booleans()), max_size=150)
TIMEOUTS: Final = st.lists(st.none() | st.floats(0.5, 5000), min_size=1, max_size=5)


class Ledger:
    """Keeps the books of a schedule: every task in one place, every story with one end."""

    def __init__(self, drive: Drive, timeouts: list[float | None]) -> None:
        self.drive = drive
        self.in_flight: list[Poll] = []
        self.stories: list[list[Transition]] = [[] for _ in timeouts]
        for number, timeout_s in enumerate(timeouts):
            drive.schedule.add(number, f"video_{number}", now_s=drive.now_s, timeout_s=timeout_s)

    def take(self, step: Poll | Transition | None) -> None:
        if isinstance(step, Poll):
            self.in_flight.append(step)
        elif step is not None:
            assert isinstance(step.key, int)
            story = self.stories[step.key]
            assert not any(earlier.is_end for earlier in story)
            story.append(step)
        self.check()

    def answer(self, verdict: QueryVerdict) -> None:
        poll = self.in_flight.pop(0)
        self.take(self.drive.schedule.handle(poll, verdict, self.drive.now_s))

    def finish(self) -> None:
        while not self.drive.schedule.is_done:
            while self.in_flight:
                self.answer(seen("completed"))
            if not self.drive.schedule.is_done:
                self.take(self.drive.next())

    def check(self) -> None:
        schedule = self.drive.schedule
        ended = sum(bool(story) and story[-1].is_end for story in self.stories)
        in_flight = len(self.in_flight)
        waiting = len(self.stories) - in_flight - ended
        assert repr(schedule) == f"<Schedule waiting={waiting} in_flight={in_flight}>"
        assert schedule.is_done == (ended == len(self.stories))


@given(STEPS, TIMEOUTS, st.randoms(use_true_random=False), st.integers(0, 3))
@settings(max_examples=200, deadline=None)
def test_whatever_the_service_says_every_task_has_one_story_and_one_end(
    steps: list[tuple[QueryVerdict, float, bool]],
    timeouts: list[float | None],
    dice: random.Random,
    budget: int,
) -> None:
    drive = Drive(dice=dice.random, budget=RetryBudget(budget), max_failures=6)
    ledger = Ledger(drive, timeouts)
    for verdict, passing_s, holds in steps:
        drive.now_s += passing_s
        ledger.take(drive.schedule.next(drive.now_s))
        if ledger.in_flight and not holds:
            ledger.answer(verdict)
    ledger.finish()
    for story in ledger.stories:
        assert [step.is_end for step in story] == [False] * (len(story) - 1) + [True]
        told = [step.status for step in story if step.error is None or step.status == Status.FAILED]
        assert len(told) == len(set(told))
        assert story[0].previous in (None, story[0].status)
        assert all(step.task is None or step.task.status == step.status for step in story)
        for before, after in pairwise(story):
            assert after.previous == before.status
            assert after.elapsed >= before.elapsed
