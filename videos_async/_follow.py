"""Serves one schedule: a fixed set of workers that poll what is due.

A worker takes what is due, polls, hands the outcome to the schedule and what comes of it to the
stream. While nothing is due, one of them waits for the next instant and the others wait for that
one, so an idle follower holds one timer, however many tasks it follows.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio

from videos_async._retry import QueryVerdict
from videos_async._schedule import Poll, Schedule, Step
from videos_async.models import Transition

__all__ = ["Follower", "PollCall"]


class PollCall(Protocol):
    """Asks for a task once, within a time; never raises for a bad answer."""

    async def __call__(
        self, task_id: str, *, timeout_s: float, known: int | None
    ) -> QueryVerdict: ...


class Follower:
    """Polls the tasks of a schedule until it is sealed and all of them have ended.

    Args:
        schedule: Says what is due; add tasks to it through `added`.
        poll: Makes one poll.
        workers: How many polls are in flight at most.
        emit: Takes each transition; may wait.
    """

    def __init__(
        self,
        *,
        schedule: Schedule,
        poll: PollCall,
        workers: int,
        emit: Callable[[Transition], Awaitable[None]],
    ) -> None:
        self._schedule = schedule
        self._poll = poll
        self._workers = workers
        self._emit = emit
        self._turn = anyio.Lock(fast_acquire=True)
        self._changed = anyio.Event()
        # Until when the one that waits is going to wait; nobody waits before minus infinity.
        self._waiting_until_s = -math.inf
        self._is_sealed = False

    def added(self) -> None:
        """Say that the schedule has more to do than it had."""
        due_s = self._schedule.due_s
        if self._schedule.is_done or (due_s is not None and due_s < self._waiting_until_s):
            self._wake()

    def seal(self) -> None:
        """Say that no more tasks will be added."""
        self._is_sealed = True
        self._wake()

    async def run(self) -> None:
        """Poll until the schedule is sealed and done."""
        async with anyio.create_task_group() as workers:
            for _ in range(self._workers):
                workers.start_soon(self._work)

    async def _work(self) -> None:
        clock = asyncio.get_running_loop().time
        while (step := self._schedule.next(clock()) or await self._next()) is not None:
            if isinstance(step, Poll):
                time_left_s = math.inf if step.time_left_s is None else step.time_left_s
                verdict = await self._poll(
                    step.task_id, timeout_s=time_left_s, known=step.followed.fingerprint
                )
                change = self._schedule.handle(step, verdict, clock())
                if self._waiting_until_s != -math.inf:
                    self.added()
            else:
                change = step
            if change is not None:
                await self._emit(change)

    async def _next(self) -> Step | None:
        """Wait for the next step; None when there is nothing left to wait for."""
        step = self._schedule.next(anyio.current_time())
        if step is not None:
            return step
        async with self._turn:
            while not (self._is_sealed and self._schedule.is_done):
                step = self._schedule.next(anyio.current_time())
                if step is not None:
                    return step
                due_s = self._schedule.due_s
                self._waiting_until_s = math.inf if due_s is None else due_s
                self._changed = anyio.Event()
                with anyio.CancelScope(deadline=self._waiting_until_s):
                    await self._changed.wait()
                self._waiting_until_s = -math.inf
        return None

    def _wake(self) -> None:
        self._changed.set()
