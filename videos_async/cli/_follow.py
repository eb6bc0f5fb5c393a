"""``query``, ``watch`` and ``download``: tasks whose ids are known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import anyio
import attrs

from videos_async import (
    GenerationFailed,
    Key,
    Status,
    Transition,
    VideosError,
    VideosSession,
    VideoTask,
    VideoUnavailable,
)
from videos_async.cli._exit import ExitCode
from videos_async.cli._generate import Saving, save
from videos_async.cli._report import Report
from videos_async.cli._unfinished import Unfinished

__all__ = ["Watching", "download", "query"]

_FIRST_QUERIES_IN_FLIGHT: Final = 16


async def query(session: VideosSession, task_id: str, *, report: Report) -> ExitCode:
    """Tell how one task stands.

    Raises:
        GenerationFailed: When it stands as failed, after that was told.
        VideosError: All that querying raises.
    """
    report.phase("asking")
    change = _observed(0, await session.query(task_id))
    report.task(change)
    if change.error is not None:
        raise change.error
    return ExitCode.DONE


async def download(
    session: VideosSession,
    task_id: str,
    *,
    saving: Saving,
    report: Report,
    unfinished: Unfinished,
) -> ExitCode:
    """Save the video of a task.

    Raises:
        GenerationFailed: When the task has failed.
        VideosError: All that querying and downloading raise.
    """
    report.phase("asking")
    unfinished.unsaved = task_id
    change = _observed(0, await session.query(task_id))
    if change.status == Status.COMPLETED:
        await save(session, change, saving=saving, report=report, unfinished=unfinished)
        return ExitCode.DONE
    error = change.error
    if error is None:
        unfinished.watched, unfinished.unsaved = {0: task_id}, None
        error = VideoUnavailable(
            task_id=task_id,
            target=str(saving.path_of(task_id)),
            reason=f"the task is {change.status}, wait for it first",
        )
    report.transition(attrs.evolve(change, error=error))
    raise error


@attrs.define(eq=False, kw_only=True)
class Watching:
    """``watch``: follow tasks to their ends.

    Attributes:
        session: The session.
        report: Is told every transition.
        unfinished: Keeps the ids whose end is not known yet.
        errors: The errors of the tasks that ended in one, in the order of their ends.
    """

    session: VideosSession
    report: Report
    unfinished: Unfinished
    errors: list[VideosError] = attrs.field(factory=list[VideosError])

    async def run(self, task_ids: Iterable[str], *, timeout_s: float) -> ExitCode:
        """Ask for each once, so that what is known shows at once, then watch what goes on.

        Args:
            task_ids: The ids; one given twice is one task.
            timeout_s: How long to watch, in seconds.

        Raises:
            ExceptionGroup: Of the errors of all tasks that ended in one, after the last end.
        """
        self.unfinished.watched = dict[Key, str](enumerate(dict.fromkeys(task_ids)))
        self.report.phase("asking")
        tasks = await self._first_look()
        async with self.session.watch(tasks, timeout=timeout_s) as transitions:
            async for change in transitions:
                self._tell(change)
                if self.report.is_abandoned:
                    break
        if self.errors:
            raise ExceptionGroup("tasks ended in errors", self.errors)
        return ExitCode.DONE

    async def _first_look(self) -> dict[Key, VideoTask | str]:
        tasks: dict[Key, VideoTask | str] = {}
        started_s = anyio.current_time()
        limiter = anyio.CapacityLimiter(_FIRST_QUERIES_IN_FLIGHT)

        async def look(key: Key, task_id: str) -> None:
            async with limiter:
                try:
                    tasks[key] = await self.session.query(task_id)
                except VideosError as error:
                    elapsed = anyio.current_time() - started_s
                    self._tell(_lost(key, task_id, error, elapsed=elapsed))

        async with anyio.create_task_group() as group:
            for key, task_id in tuple(self.unfinished.watched.items()):
                group.start_soon(look, key, task_id)
        return tasks

    def _tell(self, change: Transition) -> None:
        if change.is_end:
            self.unfinished.watched.pop(change.key, None)
        if change.error is not None:
            self.errors.append(change.error)
        self.report.transition(change)


def _observed(key: Key, task: VideoTask) -> Transition:
    """Make the transition of a task that was looked at once."""
    error = None
    if task.status == Status.FAILED:
        error = GenerationFailed(task_id=task.id, task=task, reason=task.error)
    return Transition(
        key=key,
        task_id=task.id,
        previous=None,
        status=task.status,
        task=task,
        elapsed=0.0,
        error=error,
    )


def _lost(key: Key, task_id: str, error: VideosError, *, elapsed: float) -> Transition:
    return Transition(
        key=key,
        task_id=task_id,
        previous=None,
        status=None,
        task=None,
        elapsed=elapsed,
        error=error,
    )
