"""Lets policies look at the tasks of a world, without sockets and as fast as they can think."""

from __future__ import annotations

import math
import random
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import attrs

from benchmarks.polling_oracle import CEILING_S, best_inspections
from benchmarks.polling_worlds import Life, World
from videos_async import (
    AdaptivePolling,
    PollPolicy,
    RetryPolicy,
    Status,
    VideoRequest,
    VideoTask,
)
from videos_async._learning import Learner
from videos_async._learning_pace import LearningPace
from videos_async._retry import UNCHANGED, QueryVerdict, RetryBudget, Seen
from videos_async._schedule import Poll, Schedule

__all__ = ["Figures", "Tally", "adaptive", "backoff", "fixed", "oracle"]

_BACKOFF_FROM_S: Final = 1.0
_BACKOFF_TO_S: Final = 60.0
_QUEUE_CEILING_S: Final = 600.0
_HOUR_S: Final = 3600.0


@attrs.frozen(kw_only=True)
class Figures:
    """What a policy cost and brought in one world.

    Attributes:
        polls: Polls per task.
        mean_s: Mean time from a task's end to the poll that saw it.
        p95_s: The 95th percentile of that.
        peak_per_s: Most polls in any one second.
    """

    polls: float
    mean_s: float
    p95_s: float
    peak_per_s: int


class Tally:
    """Counts the polls and the delays of one policy in one world."""

    def __init__(self) -> None:
        self._polls = 0
        self._peak = 0
        self._per_second = array("L")
        self._delays_s: list[float] = []

    def polled(self, now_s: float) -> None:
        """Count a poll."""
        second = int(now_s)
        per_second = self._per_second
        if second >= len(per_second):
            per_second.extend(array("L", bytes(array("L").itemsize * (second + 1024))))
        per_second[second] += 1
        self._polls += 1

    def seen(self, life: Life, now_s: float) -> None:
        """Count the delay with which an end was seen."""
        self._delays_s.append(now_s - life.ended_s)

    def end_session(self) -> None:
        """Begin at instant 0 again, with another session."""
        self._peak = max(self._peak, max(self._per_second, default=0))
        self._per_second = array("L")

    def figures(self) -> Figures:
        """Sum up."""
        self.end_session()
        delays_s = sorted(self._delays_s)
        return Figures(
            polls=self._polls / len(delays_s),
            mean_s=math.fsum(delays_s) / len(delays_s),
            p95_s=delays_s[int(0.95 * len(delays_s))],
            peak_per_s=self._peak,
        )


def sessions(world: World, seed: int) -> Iterator[Sequence[Life]]:
    """Draw the sessions of a world; the same for every policy."""
    for number in range(world.sessions):
        yield world.draw(random.Random(f"{seed}/{world.name}/{number}"))


def _look(world: World, seed: int, intervals: Callable[[Life], Iterator[float]]) -> Figures:
    """Look at each task by itself; for policies that learn nothing from one for another."""
    tally = Tally()
    polled = tally.polled
    for lives in sessions(world, seed):
        for life in lives:
            now_s, ended_s = life.accepted_s, life.ended_s
            for interval_s in intervals(life):
                now_s += interval_s
                polled(now_s)
                if now_s >= ended_s:
                    break
            tally.seen(life, now_s)
        tally.end_session()
    return tally.figures()


def fixed(world: World, seed: int, interval_s: float) -> Figures:
    """Look at each task at a fixed interval, by the library's own simple policy."""
    policy = PollPolicy(min_interval_s=interval_s, max_interval_s=interval_s)
    dice = random.Random(seed)

    def intervals(_: Life) -> Iterator[float]:
        while True:
            yield policy.interval_s(dice.random)

    return _look(world, seed, intervals)


def backoff(world: World, seed: int) -> Figures:
    """Look at each task at intervals that double from a second to a minute."""

    def intervals(_: Life) -> Iterator[float]:
        interval_s = _BACKOFF_FROM_S
        while True:
            yield interval_s
            interval_s = min(_BACKOFF_TO_S, interval_s * 2)

    return _look(world, seed, intervals)


def oracle(world: World, seed: int, looks: float) -> Figures:
    """Look at each task when it is best, knowing what nobody can know.

    The oracle knows the true distribution of the time of processing, also after a change, and is
    told the instant at which a task leaves the queue; in the queue it looks as rarely as it may.

    Args:
        world: The world.
        seed: What it is drawn from.
        looks: Polls per task that it may spend on average.
    """
    all_lives = [life for lives in sessions(world, seed) for life in lives]
    in_queue = sum(_queue_looks(life) for life in all_lives) / len(all_lives)
    counts = Counter(map(world.era, all_lives))
    parts = [(counts[era] / len(all_lives), cdf) for era, cdf in enumerate(world.cdfs)]
    plans = best_inspections(parts, looks=looks - in_queue)

    def intervals(life: Life) -> Iterator[float]:
        for _ in range(_queue_looks(life)):
            yield _QUEUE_CEILING_S
        before_s = (life.accepted_s - life.started_s) % -_QUEUE_CEILING_S
        for age_s in plans[world.era(life)].ages_s:
            yield age_s - before_s
            before_s = age_s
        while True:
            yield float(CEILING_S)

    return _look(world, seed, intervals)


def _queue_looks(life: Life) -> int:
    return int((life.started_s - life.accepted_s) // _QUEUE_CEILING_S)


def adaptive(world: World, seed: int, *, warm: bool) -> Figures:
    """Look at each task when the library's learning policy says so.

    Args:
        world: The world.
        seed: What it is drawn from.
        warm: Whether each session has learned from another one of its kind before.
    """
    tally = Tally()
    for number, lives in enumerate(sessions(world, seed)):
        dice = random.Random(f"{seed}/{number}/dice")
        learner = Learner(AdaptivePolling())
        if warm:
            _Session(_before(world.train(dice)), learner, dice, None).run()
        _Session(lives, learner, dice, tally).run()
        tally.end_session()
    return tally.figures()


def _before(lives: Sequence[Life]) -> list[Life]:
    """Move lives into the time before 0: a clock does not run backwards."""
    by_s = _HOUR_S + max(life.ended_s for life in lives)
    return [
        attrs.evolve(
            life,
            accepted_s=life.accepted_s - by_s,
            started_s=life.started_s - by_s,
            ended_s=life.ended_s - by_s,
        )
        for life in lives
    ]


class _Session:
    """One session of the library's schedule, with a service in place of its sockets."""

    def __init__(
        self, lives: Sequence[Life], learner: Learner, dice: random.Random, tally: Tally | None
    ) -> None:
        self._lives = lives
        self._tally = tally
        self._schedule = Schedule(
            pace=LearningPace(learner, random=dice.random, rate_per_s=lambda: None),
            patience=learner.policy,
            retry=RetryPolicy(),
            budget=RetryBudget(),
            random=dice.random,
        )
        self._request = VideoRequest(prompt="a kitten", duration=5)

    def run(self) -> None:
        """Submit all tasks and follow them to their ends."""
        schedule = self._schedule
        arriving = iter(enumerate(self._lives))
        coming = next(arriving, None)
        while coming is not None or not schedule.is_done:
            due_s = schedule.due_s
            if coming is not None and (due_s is None or coming[1].accepted_s <= due_s):
                self._submit(*coming)
                coming = next(arriving, None)
                continue
            assert due_s is not None
            step = schedule.next(due_s)
            if isinstance(step, Poll):
                if self._tally is not None:
                    self._tally.polled(due_s)
                self._answer(step, due_s)

    def _submit(self, number: int, life: Life) -> None:
        now_s = life.accepted_s
        task = VideoTask(id=str(number), status=Status.QUEUED, model="videos")
        self._schedule.add(
            number,
            task,
            now_s=now_s,
            timeout_s=None,
            accepted_s=now_s,
            request=self._request,
        )

    def _answer(self, poll: Poll, now_s: float) -> None:
        followed = poll.followed
        life = self._lives[int(poll.task_id)]
        status = Status.QUEUED
        if now_s >= life.ended_s:
            status = Status.FAILED if life.failed else Status.COMPLETED
            if self._tally is not None:
                self._tally.seen(life, now_s)
        elif now_s >= life.started_s:
            status = Status.PROCESSING
        verdict: QueryVerdict = UNCHANGED
        if status != followed.status:
            verdict = Seen(task=VideoTask(id=poll.task_id, status=status, model="videos"))
        self._schedule.handle(poll, verdict, now_s)
