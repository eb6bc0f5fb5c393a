"""Drives a schedule over the transport: polls out, transitions in, one stream.

A fixed set of workers serves one schedule. A worker takes what is due, polls, hands the outcome
to the schedule and what comes of it to the stream; while nothing is due, one of them waits for
the next instant and the others wait for that one. A slow consumer holds the workers up, so what
is buffered stays bounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from types import TracebackType
from typing import Protocol, Self, cast

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from videos_async._retry import QueryVerdict
from videos_async._schedule import Poll, Schedule, Step
from videos_async.errors import Key
from videos_async.models import Transition, VideoTask

__all__ = ["Watch"]

_BUFFERED_TRANSITIONS = 64


class PollCall(Protocol):
    """Asks for a task once, within a time; never raises for a bad answer."""

    async def __call__(self, task_id: str, *, timeout_s: float) -> QueryVerdict: ...


class Watch:
    """Many tasks, followed to their ends in one stream of transitions.

    Enter it, then iterate::

        async with session.watch(task_ids) as transitions:
            async for change in transitions:
                print(change.key, change.previous, "->", change.status)

    Each task gives each of its observed transitions once and in order, and exactly one with
    `Transition.is_end`; the stream ends after the last one. Leaving the block in any way stops
    the polls and frees what they held. The tasks themselves go on at the service.
    """

    def __init__(
        self,
        tasks: Iterable[tuple[Key, VideoTask | str]],
        *,
        schedule: Schedule,
        poll: PollCall,
        workers: int,
        timeout_s: float | None,
    ) -> None:
        self._tasks = tuple(tasks)
        self._schedule = schedule
        self._poll = poll
        self._worker_count = max(1, min(workers, len(self._tasks)))
        self._timeout_s = timeout_s
        self._group: TaskGroup | None = None
        self._received: MemoryObjectReceiveStream[Transition] | None = None
        self._turn = anyio.Lock(fast_acquire=True)
        self._changed = anyio.Event()

    def __repr__(self) -> str:
        state = "not entered" if self._group is None else repr(self._schedule)
        return f"<Watch of {len(self._tasks)} tasks: {state}>"

    async def __aenter__(self) -> Self:
        if self._group is not None:
            raise RuntimeError("a watch is entered once: call session.watch(…) again")
        sent, self._received = anyio.create_memory_object_stream[Transition](_BUFFERED_TRANSITIONS)
        self._group = await anyio.create_task_group().__aenter__()
        self._group.start_soon(self._run, sent)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        assert self._group is not None  # noqa: S101 - __aexit__ follows __aenter__
        assert self._received is not None  # noqa: S101 - as above
        self._group.cancel_scope.cancel()
        try:
            return await self._group.__aexit__(kind, error, traceback)
        except BaseExceptionGroup as group:
            # The group wraps what the block itself raised: hand that on as it was.
            ours = group if error is None else group.split(lambda one: one is error)[1]
        finally:
            self._received.close()
        if ours is None:
            return False
        raise _alone(ours)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Transition:
        if self._received is None:
            raise RuntimeError("enter a watch before iterating: async with session.watch(…) as …")
        try:
            return await self._received.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None
        except anyio.ClosedResourceError:
            problem = "the watch is over: iterate inside its async with block"
        raise RuntimeError(problem)

    # --- inside --------------------------------------------------------------------------

    async def _run(self, sent: MemoryObjectSendStream[Transition]) -> None:
        async with sent:
            # What the snapshots say comes before anything a poll may find.
            for first in self._admit():
                await sent.send(first)
            async with anyio.create_task_group() as workers:
                for _ in range(self._worker_count):
                    workers.start_soon(self._work, sent)

    def _admit(self) -> list[Transition]:
        now_s = anyio.current_time()
        steps = (
            self._schedule.add(key, task, now_s=now_s, timeout_s=self._timeout_s)
            for key, task in self._tasks
        )
        return [step for step in steps if step is not None]

    async def _work(self, sent: MemoryObjectSendStream[Transition]) -> None:
        while (step := await self._next()) is not None:
            if isinstance(step, Poll):
                time_left_s = math.inf if step.time_left_s is None else step.time_left_s
                verdict = await self._poll(step.task_id, timeout_s=time_left_s)
                change = self._schedule.handle(step, verdict, anyio.current_time())
                self._changed.set()
            else:
                change = step
            if change is not None:
                await sent.send(change)

    async def _next(self) -> Step | None:
        """Wait for the next step; None when every task has ended."""
        step = self._schedule.next(anyio.current_time())
        if step is not None:
            return step
        async with self._turn:
            while not self._schedule.is_done:
                step = self._schedule.next(anyio.current_time())
                if step is not None:
                    return step
                self._changed = anyio.Event()
                due_s = self._schedule.due_s
                with anyio.CancelScope(deadline=math.inf if due_s is None else due_s):
                    await self._changed.wait()
        return None


def _alone(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Unwrap a group of one, so that a caller can name the error in an ``except``."""
    if len(group.exceptions) != 1:
        return group
    member = group.exceptions[0]
    if not isinstance(member, BaseExceptionGroup):
        return member
    return _alone(cast("BaseExceptionGroup[BaseException]", member))
