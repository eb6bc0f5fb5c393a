"""The URL of a video: as the task has it, or a fresh one where it has run out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from videos_async._expiry import expires_at_s
from videos_async._ranges import Gone
from videos_async.errors import TaskNotFound, VideoExpired, VideoUnavailable
from videos_async.models import Status, VideoTask, without_query

__all__ = ["FileUrl", "Links", "TaskLinks"]


class FileUrl(str):
    """The URL of a file, whose query is a credential that its repr does not show."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(without_query(str(self)))


class Links(Protocol):
    """Knows the URL of one video."""

    async def current(self) -> FileUrl:
        """Give the URL to be tried.

        Raises:
            VideosError: When there is none.
        """
        ...

    def works(self) -> None:
        """Take note that the current URL brought bytes."""
        ...

    async def renew(self, refusal: Gone) -> None:
        """Get a fresh URL in place of one that was refused.

        Raises:
            VideoExpired: When fresh ones are refused as well.
            VideosError: When none can be had.
        """
        ...


class TaskLinks:
    """The URLs of one task's video, the fresh ones included."""

    def __init__(
        self,
        task: VideoTask | str,
        *,
        query: Callable[[str], Awaitable[VideoTask]],
        unix_clock: Callable[[], float],
        target: str,
    ) -> None:
        self.task_id = task if isinstance(task, str) else task.id
        self._task = None if isinstance(task, str) else task
        self._query = query
        self._unix_clock = unix_clock
        self._target = target
        # Whether the service gave the URL just now; one that brought bytes may run out again.
        self._is_fresh = False
        self._url: FileUrl | None = None

    @property
    def actual_duration_s(self) -> float | None:
        """How long the service says the video is, in seconds, as far as it was asked."""
        return None if self._task is None else self._task.actual_duration

    async def current(self) -> FileUrl:
        """Give the URL to be tried; one that says that it has run out is not.

        Raises:
            VideoUnavailable: When there is none.
            QueryRefused: When the service will not tell.
            QueryFailed: When the service could not be asked.
        """
        if self._url is None:
            task = self._task
            if task is None or task.video_url is None or self._has_run_out(task.video_url):
                task = await self._ask()
            if task.video_url is None:
                reason = _no_url_reason(task)
                raise VideoUnavailable(task_id=self.task_id, target=self._target, reason=reason)
            self._url = FileUrl(task.video_url)
        return self._url

    def works(self) -> None:
        """Take note that the URL brought bytes: should it run out, a fresh one is worth a try."""
        self._is_fresh = False

    async def renew(self, refusal: Gone) -> None:
        """Ask the service for a fresh URL.

        Raises:
            VideoExpired: When the refused one was fresh, or there is none any more.
            QueryRefused: When the service will not tell.
            QueryFailed: When the service could not be asked.
        """
        if self._is_fresh:
            raise self._expired(f"its URL does not work any more: {refusal.reason}", refusal)
        try:
            task = await self._ask()
        except TaskNotFound:
            reason = f"{refusal.reason}, and the service does not know the task any more"
        else:
            if task.video_url is not None:
                self._url = FileUrl(task.video_url)
                return
            reason = f"{refusal.reason}, and the service has no URL for it any more"
        raise self._expired(reason, refusal)

    async def _ask(self) -> VideoTask:
        self._task = await self._query(self.task_id)
        self._is_fresh = True
        return self._task

    def _has_run_out(self, url: str) -> bool:
        end_s = expires_at_s(url)
        return end_s is not None and end_s <= self._unix_clock()

    def _expired(self, reason: str, refusal: Gone) -> VideoExpired:
        created = None if self._task is None else self._task.created
        age_s = None if created is None else max(0.0, self._unix_clock() - created)
        return VideoExpired(
            task_id=self.task_id,
            target=self._target,
            reason=reason,
            age_s=age_s,
            http_status=refusal.status,
        )


def _no_url_reason(task: VideoTask) -> str:
    if task.status == Status.COMPLETED:
        return "the service completed it without a URL: query it again later"
    if task.status == Status.FAILED:
        return f"the task failed: {task.error or 'the service gave no reason'}"
    return f"the task is {task.status}: wait for it first"
