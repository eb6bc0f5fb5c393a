"""The learning schedule: what it learns, what it saves, and the bounds it keeps whatever comes."""

from __future__ import annotations

import gc
import json
import logging
import math
import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Final

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videos_async import (
    AdaptivePolling,
    ConfigurationError,
    Mode,
    RetryPolicy,
    Status,
    Transition,
    VideoRequest,
    VideoTask,
    WaitTimeout,
)
from videos_async._ages import share_at
from videos_async._learning import Learner
from videos_async._learning_pace import LearningPace
from videos_async._priors import AT_ONCE_S
from videos_async._retry import UNCHANGED, QueryVerdict, RetryBudget, Seen, Trouble
from videos_async._schedule import Poll, Schedule

POLICY: Final = AdaptivePolling()
REQUEST: Final = VideoRequest(prompt="A kitten", duration=5)
WEATHER: Final = Trouble(reason="bad gateway", http_status=502)
THROTTLE: Final = Trouble(reason="slow down", http_status=429, is_throttle=True)


@attrs.frozen(kw_only=True)
class Life:
    accepted_s: float
    started_s: float
    ended_s: float
    failed: bool = False

    def status(self, now_s: float) -> Status:
        if now_s >= self.ended_s:
            return Status.FAILED if self.failed else Status.COMPLETED
        return Status.PROCESSING if now_s >= self.started_s else Status.QUEUED


class Service:
    """Lives, a schedule that follows them, and the instants at which each was looked at."""

    def __init__(
        self,
        lives: list[Life],
        *,
        learner: Learner | None = None,
        dice: random.Random | None = None,
        rate_per_s: Callable[[], float | None] = lambda: None,
        timeout_s: float | None = None,
    ) -> None:
        self.lives = lives
        self.learner = learner or Learner(POLICY)
        dice = dice or random.Random(1)
        self.schedule = Schedule(
            pace=LearningPace(self.learner, random=dice.random, rate_per_s=rate_per_s),
            patience=self.learner.policy,
            retry=RetryPolicy(),
            budget=RetryBudget(),
            random=dice.random,
        )
        self.timeout_s = timeout_s
        self.looks: list[list[float]] = [[] for _ in lives]
        self.troubled: list[list[bool]] = [[] for _ in lives]
        self.ends: list[Transition | None] = [None for _ in lives]
        self.weather: Callable[[], Trouble | None] = lambda: None

    def run(self, *, until_s: float = math.inf) -> None:
        arriving = iter(sorted(enumerate(self.lives), key=lambda each: each[1].accepted_s))
        coming = next(arriving, None)
        while coming is not None or not self.schedule.is_done:
            due_s = self.schedule.due_s
            if coming is not None and (due_s is None or coming[1].accepted_s <= due_s):
                self._submit(*coming)
                coming = next(arriving, None)
                continue
            assert due_s is not None
            if due_s > until_s:
                return
            step = self.schedule.next(due_s)
            if isinstance(step, Poll):
                step = self._answer(step, due_s)
            if step is not None and step.is_end:
                assert isinstance(step.key, int)
                self.ends[step.key] = step

    def _submit(self, number: int, life: Life) -> None:
        self.schedule.add(
            number,
            VideoTask(id=str(number), status=Status.QUEUED, model="videos"),
            now_s=life.accepted_s,
            timeout_s=self.timeout_s,
            accepted_s=life.accepted_s,
            request=REQUEST,
        )

    def _answer(self, poll: Poll, now_s: float) -> Transition | None:
        number = int(poll.task_id)
        self.looks[number].append(now_s)
        verdict: QueryVerdict | None = self.weather()
        self.troubled[number].append(verdict is not None)
        if verdict is None:
            status = self.lives[number].status(now_s)
            is_news = status != poll.followed.status
            verdict = Seen(task=VideoTask(id=poll.task_id, status=status)) if is_news else UNCHANGED
        return self.schedule.handle(poll, verdict, now_s)

    @property
    def delays_s(self) -> list[float]:
        return [
            looks[-1] - life.ended_s for looks, life in zip(self.looks, self.lives, strict=True)
        ]

    @property
    def polls(self) -> float:
        return sum(map(len, self.looks)) / len(self.looks)

    def gaps(self) -> Iterator[float]:
        for life, looks in zip(self.lives, self.looks, strict=True):
            for early_s, late_s in pairwise([life.accepted_s, *looks]):
                yield late_s - early_s


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def idle(
    tasks: int, *, seed: int = 1, median_s: float = 150, sigma: float = 0.3, every_s: float = 15
) -> list[Life]:
    dice = random.Random(seed)
    lives: list[Life] = []
    for number in range(tasks):
        begun_s = number * every_s
        ended_s = begun_s + median_s * math.exp(sigma * dice.gauss(0, 1))
        lives.append(Life(accepted_s=begun_s, started_s=begun_s, ended_s=ended_s))
    return lives


def queued(
    tasks: int,
    *,
    slots: int = 10,
    pick: Callable[[list[int]], int] = lambda waiting: 0,
    seed: int = 1,
) -> list[Life]:
    """Tasks accepted within a minute, worked off by a few slots; `pick` says who is next."""
    dice = random.Random(seed)
    free, waiting = [60.0] * slots, list(range(tasks))
    lives: dict[int, Life] = {}
    while waiting:
        number = waiting.pop(pick(waiting))
        started_s = min(free)
        free.remove(started_s)
        ended_s = started_s + 150 * math.exp(0.3 * dice.gauss(0, 1))
        free.append(ended_s)
        accepted_s = number * 60 / tasks
        lives[number] = Life(accepted_s=accepted_s, started_s=started_s, ended_s=ended_s)
    return [lives[number] for number in range(tasks)]


def polls_of_interval(lives: list[Life], interval_s: float = 45) -> float:
    return mean([math.ceil((life.ended_s - life.accepted_s) / interval_s) for life in lives])


# --- what is learned -----------------------------------------------------------------------


def test_what_was_learned_brings_ends_sooner_at_no_more_polls() -> None:
    learner = Learner(POLICY)
    Service([_earlier(life, 1e5) for life in idle(200)], learner=learner).run()
    lives = idle(300, seed=2)
    service = Service(lives, learner=learner)
    service.run()
    assert mean(service.delays_s) < 0.55 * 22.5
    assert service.polls <= polls_of_interval(lives)


def test_a_cold_start_is_no_worse_than_the_fixed_interval() -> None:
    lives = idle(60)
    service = Service(lives)
    service.run()
    assert mean(service.delays_s) < 22.5
    assert service.polls <= 1.05 * polls_of_interval(lives)


def test_a_batch_submitted_at_once_is_known_no_later_than_by_the_interval() -> None:
    lives = idle(100, every_s=0.05)
    service = Service(lives)
    service.run()
    assert mean(service.delays_s) < 22.5
    assert service.polls <= 1.1 * polls_of_interval(lives)


def test_a_batch_submitted_at_once_uses_what_was_learned() -> None:
    learner = Learner(POLICY)
    Service([_earlier(life, 1e5) for life in idle(120)], learner=learner).run()
    lives = idle(150, seed=2, every_s=0.05)
    service = Service(lives, learner=learner)
    service.run()
    assert mean(service.delays_s) < 0.6 * 22.5
    assert service.polls <= polls_of_interval(lives)


def test_a_watch_that_was_left_weighs_on_no_other() -> None:
    learner = Learner(POLICY)
    service = Service(idle(50, every_s=0.05), learner=learner)
    service.run(until_s=120)
    account = learner.cohort("videos", Mode.TEXT).account
    assert account.counts().total() > 20
    del service
    gc.collect()
    assert not account.counts()


def test_an_end_that_was_first_seen_from_the_queue_is_credited_at_least_one_poll() -> None:
    service = Service([])
    schedule, account = service.schedule, service.learner.cohort("videos", REQUEST.mode).account
    task = VideoTask(id="1", status=Status.QUEUED, model="videos")
    schedule.add(1, task, now_s=0, timeout_s=None, accepted_s=0, request=REQUEST)
    entered_s = None
    for now_s, status in ((200.0, Status.QUEUED), (800.0, Status.COMPLETED)):
        poll = schedule.next(now_s)
        assert isinstance(poll, Poll)
        schedule.handle(poll, Seen(task=attrs.evolve(task, status=status)), now_s)
        entered_s = poll.followed.entered_s
    assert entered_s is not None
    assert entered_s > 200 + POLICY.mean_interval_s
    # The time in the queue was saved but for two looks, and one was due while it was processed.
    saved = entered_s / (POLICY.mean_interval_s * 1.01) - 2 + 1
    assert account.balance >= saved * (1 - 1 / 400)


def test_of_a_batch_submitted_at_once_no_more_is_forgotten_of_a_model_than_of_its_mode() -> None:
    learner = Learner(POLICY)
    Service(idle(200, every_s=0.05), learner=learner).run()
    of_model, of_mode = learner.cohort("videos", None), learner.cohort("videos", Mode.TEXT)
    assert len(of_model.processing) == len(of_mode.processing)


def test_the_batches_of_a_session_learn_from_each_other() -> None:
    learner = Learner(POLICY)
    before_s = learner.cohort("videos", Mode.TEXT).gap_s(0)
    Service(idle(100, median_s=400, sigma=0.1), learner=learner).run()
    assert learner.cohort("videos", Mode.TEXT).gap_s(0) > before_s + 30


def test_models_and_modes_are_learned_apart() -> None:
    learner = Learner(POLICY)
    text = learner.cohort("videos", Mode.TEXT)
    images, fast = learner.cohort("videos", Mode.IMAGES), learner.cohort("videos_fast", Mode.TEXT)
    for number in range(100):
        text.ended_between(90, 100, number * 10)
        images.ended_between(290, 300, number * 10)
        fast.ended_between(40, 50, number * 10)
    first_s = [cohort.gap_s(0) for cohort in (fast, text, images)]
    assert first_s == sorted(first_s)
    assert first_s[0] < 60 < first_s[1] < 130 < first_s[2]


def test_a_new_mode_begins_with_what_is_known_of_its_model() -> None:
    learner = Learner(POLICY)
    known = learner.cohort("videos", Mode.TEXT)
    for number in range(100):
        known.ended_between(150, 160, number * 10)
    fresh, stranger = learner.cohort("videos", Mode.FRAMES), learner.cohort("other", Mode.TEXT)
    assert abs(fresh.gap_s(0) - known.gap_s(0)) < abs(stranger.gap_s(0) - known.gap_s(0)) / 2


def test_immediate_failures_are_looked_for_early() -> None:
    learner = Learner(POLICY)
    dice = random.Random(3)
    lives = [
        attrs.evolve(life, ended_s=life.accepted_s + 1, failed=True)
        if dice.random() < 0.4
        else life
        for life in idle(200)
    ]
    Service(lives, learner=learner).run()
    assert learner.cohort("videos", Mode.TEXT).gap_s(0) < 25


def test_names_that_the_service_makes_up_do_not_fill_memory() -> None:
    learner = Learner(POLICY)
    cohorts = {id(learner.cohort(f"model {number}", Mode.TEXT)) for number in range(1000)}
    assert len(cohorts) < 50


def test_a_task_submitted_in_the_session_is_watched_by_its_age() -> None:
    learner = Learner(POLICY)
    learner.accepted("video_1", "videos", Mode.TEXT, 100.0)
    service = Service([], learner=learner)
    task = VideoTask(id="video_1", status=Status.QUEUED)
    service.schedule.add(0, task, now_s=110.0, timeout_s=None)
    due_s = service.schedule.due_s
    first_s = learner.cohort("videos", Mode.TEXT).gap_s(0)
    assert due_s is not None
    # From its acceptance on, and a little later for the time in the queue.
    assert due_s - 100 == pytest.approx(first_s, rel=0.2)


def test_a_task_of_which_nothing_is_known_is_polled_as_the_service_advises() -> None:
    service = Service([])
    processing = VideoTask(id="video_1", status=Status.PROCESSING)
    service.schedule.add(0, processing, now_s=0.0, timeout_s=None)
    instants = [0.0]
    for _ in range(200):
        now_s = service.schedule.due_s or 0.0
        poll = service.schedule.next(now_s)
        assert isinstance(poll, Poll)
        service.schedule.handle(poll, UNCHANGED, now_s)
        instants.append(now_s)
    gaps = [late - early for early, late in pairwise(instants)]
    assert 30 <= min(gaps) <= max(gaps) <= 60
    assert mean(gaps) == pytest.approx(45, abs=2)


def test_a_bare_id_is_looked_at_within_half_a_minute() -> None:
    service = Service([])
    service.schedule.add(0, "video_1", now_s=0.0, timeout_s=None)
    assert 10 <= (service.schedule.due_s or 0.0) <= 30


# --- the queue -----------------------------------------------------------------------------


def test_a_queue_in_order_is_read_for_a_fifth_of_the_polls() -> None:
    lives = queued(600)
    service = Service(lives)
    service.run()
    assert service.polls < 0.2 * polls_of_interval(lives)
    assert mean(service.delays_s) < 22.5


def test_those_deep_in_a_queue_are_not_looked_at_again_when_its_order_is_seen() -> None:
    lives = queued(600)
    service = Service(lives)
    service.run(until_s=1200)
    deep = service.looks[-100:]
    # Until then once or twice a minute, and from then on every ten minutes.
    assert max(sum(300 < now_s < 1100 for now_s in looks) for looks in deep) <= 2
    assert mean([float(sum(now_s < 600 for now_s in looks)) for looks in deep]) < 4


def test_where_a_queue_saves_plenty_ends_are_looked_for_every_floor() -> None:
    dice = random.Random(5)
    lives = queued(300, pick=lambda waiting: dice.randrange(len(waiting)))
    service = Service(lives)
    service.run()
    # Ten seconds between two looks are five of delay, at the least.
    assert mean(service.delays_s) < 8
    assert service.polls < polls_of_interval(lives)


def test_a_queue_without_order_is_not_taken_for_one() -> None:
    dice = random.Random(5)
    lives = queued(300, pick=lambda waiting: dice.randrange(len(waiting)))
    service = Service(lives)
    service.run()
    assert service.polls < polls_of_interval(lives)
    assert mean(service.delays_s) < 22.5


def test_a_queue_that_loses_its_order_is_noticed() -> None:
    dice = random.Random(5)

    def pick(waiting: list[int]) -> int:
        return 0 if len(waiting) > 300 else dice.randrange(len(waiting))

    lives = queued(500, pick=pick)
    service = Service(lives)
    service.run()
    in_order = [life for life in lives if life.started_s < lives[150].started_s]
    assert len(in_order) > 100
    late = sorted(service.delays_s)[-30:]
    # The deepest were looked at every ten minutes when the order was lost.
    assert late[0] < 100
    assert mean(service.delays_s) < 45
    assert service.polls < polls_of_interval(lives)


def test_a_queue_that_stops_costs_few_polls_and_starves_nobody() -> None:
    lives = [
        attrs.evolve(life, started_s=life.started_s + 7200, ended_s=life.ended_s + 7200)
        if life.started_s > 1500
        else life
        for life in queued(300)
    ]
    service = Service(lives)
    service.run()
    assert all(end is not None for end in service.ends)
    assert service.polls < 0.4 * polls_of_interval(lives)


# --- what is seen of some bears on those that wait ------------------------------------------


def first_looks(
    learner: Learner,
    meanwhile: Callable[[], None],
    *,
    life_s: float,
    rate_per_s: float | None = None,
) -> list[float]:
    """Tell when tasks are looked at first, of which one begins a second.

    Args:
        learner: What is known before.
        meanwhile: What another watch sees before the first look.
        life_s: How long each lasts.
        rate_per_s: How many looks a second are allowed.
    """
    service = Service(
        [Life(accepted_s=n, started_s=n, ended_s=n + life_s) for n in range(30)],
        learner=learner,
        rate_per_s=lambda: rate_per_s,
    )

    def fair_weather() -> None:
        if not any(map(len, service.troubled)):
            meanwhile()

    service.weather = fair_weather
    service.run()
    return sorted(looks[0] for looks in service.looks)


def taught(*, low_s: float, high_s: float, tasks: int = 100) -> Learner:
    learner = Learner(POLICY)
    cohort = learner.cohort("videos", Mode.TEXT)
    dice = random.Random(4)
    for number in range(tasks):
        age_s = low_s + (high_s - low_s) * dice.random()
        cohort.ended_between(age_s - 5, age_s + 5, -1e4 + 10 * number)
    return learner


def ends(learner: Learner, age_s: float, *, within_s: float = 5, tasks: int = 12) -> None:
    cohort = learner.cohort("videos", Mode.TEXT)
    for _ in range(tasks):
        cohort.ended_between(age_s - within_s, age_s + within_s, 0.0)


def goes_on(learner: Learner, age_s: float) -> None:
    cohort = learner.cohort("videos", Mode.TEXT)
    for _ in range(12):
        cohort.goes_on(cohort.follow(), None, age_s, 0.0)


def test_a_service_that_becomes_faster_is_known_within_a_few_tasks() -> None:
    late_s: list[float] = []
    for seed in (1, 2, 3):
        learner = Learner(POLICY)
        Service([_earlier(life, 1e5) for life in idle(200, seed=seed)], learner=learner).run()
        lives = idle(60, seed=seed + 10, median_s=75)
        service = Service(lives, learner=learner, dice=random.Random(seed))
        service.run()
        late_s += service.delays_s[:20]
        # Those who follow are looked at by what was learned of these.
        assert mean(service.delays_s[20:]) < 0.6 * 22.5
    # By the tables of before, all of them would be known 40 s late.
    assert mean(late_s) < 23


def test_those_that_wait_are_looked_at_sooner_once_times_are_shorter() -> None:
    learner = taught(low_s=140, high_s=200)
    first_s, *_, last_s = first_looks(learner, lambda: ends(learner, 40), life_s=30)
    assert first_s > 120
    assert last_s < first_s + POLICY.min_interval_s


def test_a_doubt_is_settled_by_a_look_out_of_turn() -> None:
    learner = taught(low_s=140, high_s=200)
    processing = learner.cohort("videos", Mode.TEXT).processing
    looks_s = first_looks(learner, lambda: ends(learner, 75, within_s=70, tasks=1), life_s=30)
    assert looks_s[0] > 120
    # The first brings no certainty, and the one that is due next comes a second later by itself.
    assert looks_s[1] == looks_s[0]
    assert len(processing) < 100


def test_those_that_are_overdue_by_then_keep_to_the_rate_of_the_session() -> None:
    learner = taught(low_s=140, high_s=200)
    looks_s = first_looks(learner, lambda: ends(learner, 40), life_s=30, rate_per_s=0.1)
    # As far apart as they were begun.
    assert looks_s[-1] > looks_s[0] + 20


def test_none_is_put_off_when_times_are_longer() -> None:
    learner = taught(low_s=90, high_s=120)
    looks_s = first_looks(learner, lambda: goes_on(learner, 600), life_s=700)
    assert learner.cohort("videos", Mode.TEXT).changes
    assert looks_s[-1] < 120 + 30


def test_what_is_completed_was_not_done_at_once() -> None:
    learner = Learner(POLICY)
    Service(idle(100, median_s=75), learner=learner).run()
    assert share_at(learner.cohort("videos", Mode.TEXT).processing.ended, AT_ONCE_S) < 0.005


# --- bounds --------------------------------------------------------------------------------

# Each roll of dice that Hypothesis owns would be a choice of its own.
SEEDS: Final = st.integers(0, 1_000_000)
FACTORS: Final = st.floats(1, 5)


@st.composite
def policies(draw: st.DrawFn) -> AdaptivePolling:
    floor_s = draw(st.floats(1, 20))
    mean_s = floor_s * draw(FACTORS)
    ceiling_s = mean_s * draw(FACTORS)
    return AdaptivePolling(
        min_interval_s=floor_s,
        mean_interval_s=mean_s,
        max_interval_s=ceiling_s,
        max_queued_interval_s=ceiling_s * draw(FACTORS),
    )


LIVES: Final = st.lists(
    st.tuples(st.floats(0, 600), st.floats(0, 900), st.floats(0, 900), st.booleans()),
    min_size=1,
    max_size=40,
).map(
    lambda drawn: [
        Life(
            accepted_s=accepted_s,
            started_s=accepted_s + queued_s,
            ended_s=accepted_s + queued_s + processed_s,
            failed=failed,
        )
        for accepted_s, queued_s, processed_s, failed in drawn
    ]
)


@given(policies(), LIVES, SEEDS)
@settings(max_examples=40, deadline=None)
def test_every_gap_keeps_floor_and_ceiling_and_nobody_starves(
    policy: AdaptivePolling, lives: list[Life], seed: int
) -> None:
    service = Service(lives, learner=Learner(policy), dice=random.Random(seed))
    service.run()
    assert all(end is not None for end in service.ends)
    gaps = list(service.gaps())
    assert min(gaps) >= policy.min_interval_s * (1 - 1e-9)
    assert max(gaps) <= policy.max_queued_interval_s * (1 + 1e-9)
    for life, looks in zip(lives, service.looks, strict=True):
        processed = [now_s for now_s in looks if life.started_s <= now_s]
        for early_s, late_s in pairwise(processed):
            assert late_s - early_s <= policy.max_interval_s * (1 + 1e-9)


@given(
    LIVES,
    SEEDS,
    st.sampled_from([WEATHER, THROTTLE, Trouble(reason="x", http_status=503, retry_after_s=250)]),
)
@settings(max_examples=40, deadline=None)
def test_bad_weather_breaks_no_bound_and_a_pause_that_was_asked_for_is_kept(
    lives: list[Life], seed: int, trouble: Trouble
) -> None:
    dice = random.Random(seed)
    service = Service(lives, dice=dice)
    service.weather = lambda: trouble if dice.random() < 0.3 else None
    service.run()
    gaps = list(service.gaps())
    assert min(gaps) >= POLICY.min_interval_s * (1 - 1e-9)
    pause_s = trouble.retry_after_s or 0.0
    for looks, was_troubled in zip(service.looks, service.troubled, strict=True):
        for (early_s, late_s), must_pause in zip(pairwise(looks), was_troubled, strict=False):
            assert not must_pause or late_s - early_s >= pause_s * (1 - 1e-9)


@given(
    st.floats(40, 600),
    st.floats(0.1, 1.0),
    st.integers(0, 1000),
)
@settings(max_examples=4, deadline=None)
def test_mean_polls_do_not_exceed_those_of_the_interval(
    median_s: float, sigma: float, seed: int
) -> None:
    lives = idle(200, seed=seed, median_s=median_s, sigma=sigma)
    service = Service(lives, dice=random.Random(seed))
    service.run()
    # What is learned from costs something, and 200 tasks are a small sample.
    assert service.polls <= 1.04 * polls_of_interval(lives)


@pytest.mark.parametrize("timeout_s", [600.0, 60.0, 8.0])
def test_there_is_a_last_look_before_the_deadline(timeout_s: float) -> None:
    stuck = Life(accepted_s=0, started_s=0, ended_s=1e6)
    service = Service([stuck], timeout_s=timeout_s)
    service.run()
    end = service.ends[0]
    assert end is not None
    assert isinstance(end.error, WaitTimeout)
    looks = service.looks[0]
    assert all(late - early >= POLICY.min_interval_s for early, late in pairwise(looks))
    assert timeout_s - looks[-1] <= POLICY.min_interval_s


def test_ten_thousand_tasks_do_not_poll_in_step() -> None:
    together = Life(accepted_s=0, started_s=0, ended_s=1e4)
    service = Service([together] * 10_000)
    service.run(until_s=150)
    seconds: dict[int, int] = {}
    for looks in service.looks:
        for now_s in looks:
            seconds[int(now_s)] = seconds.get(int(now_s), 0) + 1
    # A fixed interval without jitter would ask all of them within one second.
    assert max(seconds.values()) < 1500


def test_a_rate_of_the_session_stretches_the_gaps_to_what_it_allows() -> None:
    stuck = Life(accepted_s=0, started_s=0, ended_s=1e5)
    service = Service([stuck] * 100, rate_per_s=lambda: 1.0)
    service.run(until_s=2000)
    assert sum(map(len, service.looks)) <= 2000
    assert min(service.gaps()) >= 1


def test_a_rate_learned_in_a_storm_puts_no_task_to_sleep() -> None:
    stuck = Life(accepted_s=0, started_s=0, ended_s=1e5)
    service = Service([stuck] * 100, rate_per_s=lambda: 0.001)
    service.run(until_s=5000)
    assert max(service.gaps()) <= POLICY.max_queued_interval_s


# --- the policy ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"min_interval_s": 0}, r"AdaptivePolling.min_interval_s must be a number of at least"),
        ({"mean_interval_s": 9}, r"mean_interval_s must be at least min_interval_s \(10\), got 9"),
        ({"max_interval_s": 44}, r"max_interval_s must be at least mean_interval_s \(45\), got 44"),
        (
            {"max_queued_interval_s": 100},
            r"max_queued_interval_s must be at least max_interval_s \(180\), got 100",
        ),
        ({"max_failures": 0}, r"AdaptivePolling.max_failures must be a whole number"),
    ],
)
def test_wrong_bounds_are_refused_by_name(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        AdaptivePolling(**wrong)


# --- from one run to the next --------------------------------------------------------------


def test_what_was_learned_survives_as_json() -> None:
    learner = Learner(POLICY)
    Service(idle(200, median_s=300, sigma=0.2), learner=learner).run()
    text = json.dumps(learner.snapshot())
    again = Learner(POLICY)
    again.restore(json.loads(text))
    assert again.snapshot() == learner.snapshot()
    assert len(text) < 20_000
    before, after = (each.cohort("videos", Mode.TEXT).gap_s(0) for each in (learner, again))
    assert after == pytest.approx(before, rel=0.1)


def test_what_an_earlier_release_has_learned_is_taken_up() -> None:
    ages_s: list[float] = [140, 160] * 100
    cohort = {
        "model": "videos",
        "mode": "TEXT",
        "credit": 400.0,
        "queued": [],
        "processing": ages_s,
    }
    learner = Learner(POLICY)
    fresh_s = learner.cohort("videos", Mode.FRAMES).gap_s(0)
    learner.restore({"version": 1, "cohorts": [cohort]})
    assert learner.cohort("videos", Mode.TEXT).gap_s(0) > fresh_s + 30
    assert not learner.cohort("videos", Mode.TEXT).account.has_plenty


def test_what_is_being_learned_is_not_replaced_by_what_was() -> None:
    old, new = Learner(POLICY), Learner(POLICY)
    for learner, median_s in ((old, 100), (new, 400)):
        Service(idle(50, median_s=median_s), learner=learner).run()
    before = new.snapshot()
    new.restore(old.snapshot())
    assert new.snapshot() == before


GARBAGE: Final[list[Any]] = [
    None,
    [],
    "text",
    {},
    {"version": 2, "cohorts": []},
    {"version": 1},
    {"version": 1, "cohorts": 5},
    {"version": 1, "cohorts": [None]},
    {"version": 1, "cohorts": [{"model": "videos"}]},
    {"version": 1, "cohorts": [{"model": 5, "mode": None, "credit": 0, "queued": []}]},
]


@pytest.mark.parametrize("data", GARBAGE, ids=lambda data: json.dumps(data)[:40])
def test_what_cannot_be_read_is_logged_and_left_alone(
    data: object, caplog: pytest.LogCaptureFixture
) -> None:
    learner = Learner(POLICY)
    with caplog.at_level(logging.WARNING, "videos_async"):
        learner.restore(data)
    assert "not used" in caplog.text
    assert not learner.snapshot()["cohorts"]


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(JSON, JSON, JSON, JSON, JSON)
@settings(max_examples=150, deadline=None)
def test_no_garbage_raises(
    model: object, mode: object, credit: object, queued_s: object, processing_s: object
) -> None:
    cohort = {
        "model": model,
        "mode": mode,
        "credit": credit,
        "queued": queued_s,
        "processing": processing_s,
    }
    learner = Learner(POLICY)
    learner.restore({"version": 1, "cohorts": [cohort]})
    assert learner.cohort("videos", Mode.TEXT).gap_s(0) >= POLICY.min_interval_s


def _earlier(life: Life, by_s: float) -> Life:
    return attrs.evolve(
        life,
        accepted_s=life.accepted_s - by_s,
        started_s=life.started_s - by_s,
        ended_s=life.ended_s - by_s,
    )
