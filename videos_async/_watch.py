"""Many tasks, followed to their ends in one stream."""

from __future__ import annotations

from collections.abc import Iterable

import anyio

from videos_async._follow import Follower, PollCall
from videos_async._schedule import Schedule
from videos_async._stream import TransitionStream
from videos_async.errors import Key
from videos_async.models import VideoTask

__all__ = ["Watch"]


class Watch(TransitionStream):
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
        super().__init__()
        self._tasks = tuple(tasks)
        self._schedule = schedule
        self._timeout_s = timeout_s
        self._follower = Follower(
            schedule=schedule,
            poll=poll,
            workers=max(1, min(workers, len(self._tasks))),
            emit=self._emit,
        )

    def __repr__(self) -> str:
        state = "not entered" if self._group is None else repr(self._schedule)
        return f"<Watch of {len(self._tasks)} tasks: {state}>"

    async def _drive(self) -> None:
        now_s = anyio.current_time()
        steps = [
            self._schedule.add(key, task, now_s=now_s, timeout_s=self._timeout_s)
            for key, task in self._tasks
        ]
        self._follower.seal()
        # What the snapshots say comes before anything a poll may find.
        for step in steps:
            if step is not None:
                await self._emit(step)
        await self._follower.run()
