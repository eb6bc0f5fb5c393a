"""The emulated service as a state machine: requests in, tasks out, no I/O and no clock.

Every call is handed the virtual time. Between calls nothing runs; a call first replays, in order,
what must have happened since the last one. A task moves

    queued ──a slot is free──> processing ──its lifetime is over──> completed | failed

and at most ``processing_slots`` tasks are processing. Who waits is served in order of acceptance.
One event costs O(log n) in the number of tasks processing.

Two marks in a prompt ask for trouble. ``[refuse]``: accepted and billed, then failed at once as a
breach of content policy, without ever taking a slot. ``[fail]``: failed when processing ends.
"""

from __future__ import annotations

import hashlib
import math
from collections import deque
from enum import StrEnum
from heapq import heappop, heappush
from statistics import NormalDist
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from ._checks import at_least, check, positive
from ._ledger import Ledger, LedgerEntry
from ._recorder import NOBODY, Recorder
from .faults._kinds import Order, Ordering

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ._validation import GenerationRequest

__all__ = ["FAIL_MARK", "REFUSE_MARK", "EmulatedTask", "Lifetimes", "TaskStatus", "VideoService"]

REFUSE_MARK: Final = "[refuse]"
FAIL_MARK: Final = "[fail]"
_POLICY_ERROR: Final = "content policy violation: the prompt was refused"
_PROCESSING_ERROR: Final = "generation failed: the prompt asked for a failure"
_IDS: Final = 10**16
_NORMAL: Final = NormalDist()
# A rendered video is one frame longer than asked, so that clients meet fractional durations.
_EXTRA_FRAME_S: Final = 1 / 16


def _medians(medians_s: Mapping[str, float]) -> Mapping[str, float]:
    return MappingProxyType(dict(medians_s))


@attrs.frozen(kw_only=True)
class Lifetimes:
    """How long tasks are processed: a log-normal distribution for each model.

    The defaults follow what the service publishes: 2 to 5 minutes for standard models, 1 to 3 for
    fast ones, and longer with reference media.

    Attributes:
        medians_s: The median by model name, in virtual seconds.
        default_median_s: The median for every other model, in virtual seconds.
        sigma: The standard deviation of the logarithm; 0 makes every lifetime the median.
        references_factor: What reference media multiply a lifetime by.
    """

    medians_s: Mapping[str, float] = attrs.field(
        default={"videos": 150.0, "videos_fast": 90.0}, converter=_medians
    )
    default_median_s: float = attrs.field(default=150.0, validator=positive)
    sigma: float = attrs.field(default=0.3, validator=at_least(0))
    references_factor: float = attrs.field(default=1.5, validator=positive)

    def __attrs_post_init__(self) -> None:
        for model, median_s in self.medians_s.items():
            rule = "a finite number above 0"
            check(median_s > 0 and math.isfinite(median_s), f"medians_s[{model!r}]", rule, median_s)

    def lifetime_s(self, request: GenerationRequest, quantile: float) -> float:
        """Give the processing time at one point of the distribution.

        Args:
            request: The request whose model and references count.
            quantile: Between 0 and 1, both excluded.

        Returns:
            Virtual seconds.
        """
        median_s = self.medians_s.get(request.model, self.default_median_s)
        factor = self.references_factor if request.references else 1.0
        return median_s * factor * math.exp(self.sigma * _NORMAL.inv_cdf(quantile))


class TaskStatus(StrEnum):
    """Where a task stands, in the words of the wire."""

    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"


@attrs.define(kw_only=True, eq=False)
class EmulatedTask:
    """One task. The emulator writes, users read.

    Attributes:
        id: The id that was answered.
        request: What was asked for.
        accepted_at_s: Virtual Unix time of the create call.
        lifetime_s: How long it is processed once it has a slot, in virtual seconds.
        status: Where it stood when the emulator was last asked anything.
        started_at_s: Virtual Unix time at which it got a slot, if it did.
        ended_at_s: Virtual Unix time of completion or failure, if it came.
        error: Why it failed, if it did.
        link: The signed query string last handed out for its file.
        link_expires_at_s: Virtual Unix time at which that link dies.
    """

    id: str
    request: GenerationRequest
    accepted_at_s: float
    lifetime_s: float
    status: TaskStatus = TaskStatus.QUEUED
    started_at_s: float | None = None
    ended_at_s: float | None = None
    error: str | None = None
    link: str = ""
    link_expires_at_s: float = -math.inf

    @property
    def actual_duration_s(self) -> float:
        """How long the rendered video is, in seconds: fractional, a little over the asked one."""
        return self.request.duration_s + _EXTRA_FRAME_S


# (end, order of start, task): the order keeps ties stable and tasks out of comparisons.
_End: TypeAlias = tuple[float, int, EmulatedTask]


@attrs.define(kw_only=True, eq=False)
class VideoService:
    """The state of the service.

    Args:
        seed: With the prompt and how often that prompt came before, it decides a task's id and
            lifetime, so that concurrent submits get the same tasks in whatever order they arrive.
        processing_slots: How many tasks are processed at a time.
        lifetimes: How long tasks are processed.
    """

    seed: int
    processing_slots: int
    lifetimes: Lifetimes
    ledger: Ledger = attrs.field(init=False, factory=Ledger)
    recorder: Recorder = attrs.field(init=False, default=NOBODY)
    _tasks: dict[str, EmulatedTask] = attrs.field(init=False, factory=dict[str, EmulatedTask])
    _waiting: deque[EmulatedTask] = attrs.field(init=False, factory=deque[EmulatedTask])
    _ends: list[_End] = attrs.field(init=False, factory=list[_End])
    _starts: int = attrs.field(init=False, default=0)
    _now_s: float = attrs.field(init=False, default=-math.inf)

    @property
    def tasks(self) -> Mapping[str, EmulatedTask]:
        """All tasks by id, in order of acceptance; a live view."""
        return MappingProxyType(self._tasks)

    def accept(
        self,
        request: GenerationRequest,
        *,
        now_s: float,
        idempotency_key: str | None = None,
        faults: Iterable[Ordering] = (),
    ) -> EmulatedTask:
        """Take on a task and bill it.

        Args:
            request: What is asked for.
            now_s: Virtual Unix time.
            idempotency_key: Written into the ledger; nothing is deduplicated by it.
            faults: What has a say in the task's id and lifetime.

        Returns:
            The new task.
        """
        now_s = self.advance(now_s)
        task_id, quantile = self._draw(request.prompt)
        order = Order(task_id=task_id, lifetime_s=self.lifetimes.lifetime_s(request, quantile))
        for fault in faults:
            fault.apply(order)
        task_id, lifetime_s = order.task_id, order.lifetime_s
        task = EmulatedTask(id=task_id, request=request, accepted_at_s=now_s, lifetime_s=lifetime_s)
        entry = LedgerEntry(
            task_id=task_id,
            prompt=request.prompt,
            model=request.model,
            idempotency_key=idempotency_key,
            accepted_at_s=now_s,
        )
        # Written down before anything is true of it: what cannot be kept is not accepted.
        self.recorder.accepted(task, entry)
        self._tasks[task_id] = task
        self.ledger.record(entry)
        if REFUSE_MARK in request.prompt:
            self._end(task, at_s=now_s, error=_POLICY_ERROR)
        elif len(self._ends) < self.processing_slots:
            self._start(task, at_s=now_s)
        else:
            self._waiting.append(task)
        return task

    def find(self, task_id: str, *, now_s: float) -> EmulatedTask | None:
        """Give a task as it stands at ``now_s`` (virtual Unix time), if there is one."""
        self.advance(now_s)
        return self._tasks.get(task_id)

    def advance(self, now_s: float) -> float:
        """Let happen what is due.

        Args:
            now_s: Virtual Unix time. An earlier time than in a former call counts as that time.

        Returns:
            The time that now holds.
        """
        self._now_s = max(self._now_s, now_s)
        ends = self._ends
        while ends and ends[0][0] <= self._now_s:
            ended_at_s, _, task = heappop(ends)
            failed = FAIL_MARK in task.request.prompt
            self._end(task, at_s=ended_at_s, error=_PROCESSING_ERROR if failed else None)
            if self._waiting:
                # The slot is taken over at the very moment it came free, not at this call.
                self._start(self._waiting.popleft(), at_s=ended_at_s)
        return self._now_s

    def restore(
        self, kept: Iterable[tuple[EmulatedTask, LedgerEntry]], *, refused: int, now_s: float
    ) -> None:
        """Go on from where a service stood whose tasks were written down.

        Args:
            kept: Its tasks with what was billed for them, in order of acceptance.
            refused: How many create calls it refused.
            now_s: The virtual Unix time it had come to.
        """
        self._now_s = now_s
        self.ledger.record_refusal(refused)
        processing: list[tuple[float, int, EmulatedTask]] = []
        for task, entry in kept:
            self._tasks[task.id] = task
            self.ledger.record(entry)
            if task.status is TaskStatus.QUEUED:
                self._waiting.append(task)
            elif task.status is TaskStatus.PROCESSING and task.started_at_s is not None:
                processing.append((task.started_at_s, len(self._tasks), task))
        # In their old order of start, which decides between equal ends.
        for started_at_s, _, task in sorted(processing):
            self._starts += 1
            heappush(self._ends, (started_at_s + task.lifetime_s, self._starts, task))
        # There may be more slots now than there were.
        while self._waiting and len(self._ends) < self.processing_slots:
            self._start(self._waiting.popleft(), at_s=now_s)

    def _start(self, task: EmulatedTask, *, at_s: float) -> None:
        task.status = TaskStatus.PROCESSING
        task.started_at_s = at_s
        self._starts += 1
        heappush(self._ends, (at_s + task.lifetime_s, self._starts, task))
        self.recorder.started(task)

    def _end(self, task: EmulatedTask, *, at_s: float, error: str | None) -> None:
        task.status = TaskStatus.COMPLETED if error is None else TaskStatus.FAILED
        task.ended_at_s = at_s
        task.error = error
        self.recorder.ended(task)

    def _draw(self, prompt: str) -> tuple[str, float]:
        """Give a fresh id and a point of the lifetime distribution."""
        salt = self.ledger.billed_for(prompt)
        while True:
            seed = f"{self.seed}/{salt}/{prompt}".encode()
            digest = hashlib.blake2b(seed, digest_size=16).digest()
            task_id = f"video_{int.from_bytes(digest[:8]) % _IDS:016}"
            # 52 bits and a half: neither end of the unit interval can come out of the rounding.
            quantile = ((int.from_bytes(digest[8:]) >> 12) + 0.5) / 2**52
            if task_id not in self._tasks:
                return task_id, quantile
            salt += 1_000_000_000
