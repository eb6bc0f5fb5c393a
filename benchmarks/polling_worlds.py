"""Services as the polling simulator knows them: when each task was accepted, began and ended.

What a service does does not depend on how often it is asked, so a world is drawn beforehand,
from a seed, as a list of lives.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial
from statistics import NormalDist
from typing import Final

import attrs

from benchmarks.polling_oracle import Cdf
from benchmarks.report import Scale

__all__ = ["Life", "Order", "World", "mixture_cdf", "worlds"]

MEDIAN_S: Final = 150.0
"""Median time of processing: the service says 2 to 5 minutes for standard models."""

_NORMAL: Final = NormalDist()
_SLOTS: Final = 20
_QUEUE_SIGMA: Final = 0.3
# A refusal for content is there by the time the create call is answered, or a moment later.
_REFUSAL_S: Final = 2.0
_ARRIVAL_S: Final = 15.0
_SUBMITS_PER_S: Final = 20.0


@attrs.frozen(kw_only=True)
class Life:
    """One task as the service lived it; instants in seconds."""

    accepted_s: float
    started_s: float
    ended_s: float
    failed: bool = False


class Order(Enum):
    """In which order a service takes tasks from its queue."""

    FIRST_IN_FIRST_OUT = "first in, first out"
    RANDOM = "random"


@attrs.frozen(kw_only=True)
class World:
    """A kind of service and the work it is given.

    Attributes:
        name: What tables call it.
        draw: Makes the lives of one session from a random source.
        train: Makes the lives that a warm policy has learned from before.
        cdfs: The true distributions of the time of processing, one for each era.
        changes_at_s: When the second era begins, for tasks accepted from then on.
        sessions: How many sessions are simulated.
        order: In which order tasks that wait for a slot get one, or None where none waits.
    """

    name: str
    draw: Callable[[random.Random], Sequence[Life]]
    train: Callable[[random.Random], Sequence[Life]]
    cdfs: Sequence[Cdf]
    sessions: int
    changes_at_s: float = math.inf
    order: Order | None = None

    @property
    def is_queued(self) -> bool:
        """Whether tasks wait for a slot."""
        return self.order is not None

    @property
    def is_in_order(self) -> bool:
        """Whether they get one in the order of their acceptance."""
        return self.order is Order.FIRST_IN_FIRST_OUT

    def era(self, life: Life) -> int:
        """Tell which of the distributions a task's is."""
        return int(life.accepted_s >= self.changes_at_s)


@attrs.frozen(kw_only=True)
class _Processing:
    """How long tasks are processed: log-normal, some failing at once."""

    sigma: float
    refused: float = 0.0
    median_s: float = MEDIAN_S
    later_median_s: float | None = None
    changes_at_s: float = math.inf

    def lifetime(self, accepted_s: float, dice: random.Random) -> tuple[float, bool]:
        if dice.random() < self.refused:
            return dice.random() * _REFUSAL_S, True
        return self._median_s(accepted_s) * math.exp(self.sigma * dice.gauss(0, 1)), False

    def cdfs(self) -> list[Cdf]:
        medians_s = [self.median_s]
        if self.later_median_s is not None:
            medians_s.append(self.later_median_s)
        return [
            partial(mixture_cdf, median_s=median_s, sigma=self.sigma, refused=self.refused)
            for median_s in medians_s
        ]

    def _median_s(self, accepted_s: float) -> float:
        if self.later_median_s is not None and accepted_s >= self.changes_at_s:
            return self.later_median_s
        return self.median_s


def mixture_cdf(age_s: float, *, median_s: float, sigma: float, refused: float = 0.0) -> float:
    """Tell which share of tasks has ended by an age."""
    if age_s <= 0:
        return 0.0
    done = _NORMAL.cdf(math.log(age_s / median_s) / sigma)
    return refused * min(1.0, age_s / _REFUSAL_S) + (1 - refused) * done


def _idle(
    dice: random.Random, *, tasks: int, processing: _Processing, every_s: float = _ARRIVAL_S
) -> list[Life]:
    """A service with slots to spare: what is accepted begins at once."""
    lives: list[Life] = []
    for number in range(tasks):
        accepted_s = number * every_s
        lifetime_s, failed = processing.lifetime(accepted_s, dice)
        ended_s = accepted_s + lifetime_s
        lives.append(
            Life(accepted_s=accepted_s, started_s=accepted_s, ended_s=ended_s, failed=failed)
        )
    return lives


def _saturated(
    dice: random.Random, *, tasks: int, order: Order, processing: _Processing
) -> list[Life]:
    """Tasks submitted within minutes, worked off by a few slots."""
    accepted = [number / _SUBMITS_PER_S for number in range(tasks)]
    free = [0.0] * _SLOTS
    waiting: list[float] = []
    lives: list[Life] = []
    arrived = 0
    while len(lives) < tasks:
        slot_s = heapq.heappop(free)
        while arrived < tasks and (accepted[arrived] <= slot_s or not waiting):
            waiting.append(accepted[arrived])
            arrived += 1
        if order is Order.RANDOM:
            index = dice.randrange(len(waiting))
            waiting[index], waiting[-1] = waiting[-1], waiting[index]
            accepted_s = waiting.pop()
        else:
            accepted_s = waiting.pop(0)
        started_s = max(slot_s, accepted_s)
        lifetime_s, failed = processing.lifetime(accepted_s, dice)
        heapq.heappush(free, started_s + lifetime_s)
        lives.append(
            Life(
                accepted_s=accepted_s,
                started_s=started_s,
                ended_s=started_s + lifetime_s,
                failed=failed,
            )
        )
    return sorted(lives, key=lambda life: life.accepted_s)


def worlds(scale: Scale) -> list[World]:
    """Make all worlds."""
    is_full = scale is Scale.FULL
    sessions, learned = (20, 200) if is_full else (3, 100)
    return [
        *(_idle_world(sigma, sessions, learned) for sigma in (0.2, 0.3, 0.4, 0.8)),
        *(
            _saturated_world(tasks, order)
            for order in Order
            for tasks in ((1_000, 10_000) if is_full else (300,))
        ),
        _changing_world(MEDIAN_S * 2, "slows down to half", sessions, learned),
        _changing_world(MEDIAN_S / 2, "speeds up twofold", sessions, learned),
        _refusing_world(sessions, learned),
        _burst_world(sessions, learned),
    ]


def _idle_world(sigma: float, sessions: int, learned: int) -> World:
    processing = _Processing(sigma=sigma)
    draw = partial(_idle, tasks=learned, processing=processing)
    return World(
        name=f"idle, sigma {sigma:g}",
        draw=draw,
        train=draw,
        cdfs=processing.cdfs(),
        sessions=sessions,
    )


def _saturated_world(tasks: int, order: Order) -> World:
    processing = _Processing(sigma=_QUEUE_SIGMA)
    return World(
        name=f"saturated, {order.value}, {tasks:,} tasks",
        draw=partial(_saturated, tasks=tasks, order=order, processing=processing),
        train=partial(_saturated, tasks=min(tasks, 400), order=order, processing=processing),
        cdfs=processing.cdfs(),
        sessions=1 if tasks > 1_000 else 2,
        order=order,
    )


def _changing_world(later_median_s: float, change: str, sessions: int, learned: int) -> World:
    processing = _Processing(
        sigma=_QUEUE_SIGMA, later_median_s=later_median_s, changes_at_s=learned * _ARRIVAL_S
    )
    return World(
        name=f"idle, {change} halfway",
        draw=partial(_idle, tasks=2 * learned, processing=processing),
        train=partial(_idle, tasks=learned, processing=processing),
        cdfs=processing.cdfs(),
        sessions=max(1, sessions // 2),
        changes_at_s=processing.changes_at_s,
    )


def _refusing_world(sessions: int, learned: int) -> World:
    processing = _Processing(sigma=_QUEUE_SIGMA, refused=0.2)
    draw = partial(_idle, tasks=learned, processing=processing)
    return World(
        name="idle, 20 % fail at once",
        draw=draw,
        train=draw,
        cdfs=processing.cdfs(),
        sessions=sessions,
    )


def _burst_world(sessions: int, learned: int) -> World:
    """All are under way before the first has ended."""
    processing = _Processing(sigma=_QUEUE_SIGMA)
    draw = partial(_idle, tasks=learned, processing=processing, every_s=1 / _SUBMITS_PER_S)
    return World(
        name=f"idle, {learned} submitted at once",
        draw=draw,
        train=draw,
        cdfs=processing.cdfs(),
        sessions=sessions,
    )
