"""The downloads of a session: so many at a time, each with a URL that works."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import anyio
import attrs

from videos_async._destination import Destination
from videos_async._download import Download, OnExisting
from videos_async._download_policy import DownloadPolicy
from videos_async._expiry import expires_at_s
from videos_async._fetch import Fetcher, FileUrl, ProgressHook
from videos_async._file_destination import FileDestination
from videos_async._files import FileServers
from videos_async._ranges import Gone
from videos_async._retry import RetryBudget, RetryPolicy
from videos_async._targets import Target, destination_of
from videos_async._threads import Threads
from videos_async._video_check import VideoCheck, check_needs, look_at, video_flaws
from videos_async.errors import (
    ConfigurationError,
    SessionClosed,
    TaskNotFound,
    VideoExpired,
    VideoUnavailable,
)
from videos_async.models import Status, VideoTask

__all__ = ["Downloads"]

ResultT = TypeVar("ResultT")


class Downloads:
    """Brings videos to files and other destinations, a bounded number at a time.

    Args:
        files: Makes the connections.
        query: Asks the service for a task.
        policy: How much may be taken of network and disk.
        retry: How often to try again and when.
        random: Draws from 0 to 1.
        unix_clock: Tells the time of day as a Unix time.
    """

    def __init__(
        self,
        *,
        files: FileServers,
        query: Callable[[str], Awaitable[VideoTask]],
        policy: DownloadPolicy,
        retry: RetryPolicy,
        random: Callable[[], float],
        unix_clock: Callable[[], float],
    ) -> None:
        self._query = query
        self._unix_clock = unix_clock
        self._is_closed = False
        self._under_way: set[anyio.CancelScope] = set()
        self._turns = anyio.Semaphore(policy.parallel)
        self._threads = Threads.for_downloads(policy.parallel)
        self._fetcher = Fetcher(
            files=files,
            policy=policy,
            retry=retry,
            budget=RetryBudget(),
            random=random,
            unix_clock=unix_clock,
        )

    async def save(
        self,
        task: VideoTask | str,
        target: Target,
        *,
        on_existing: OnExisting = OnExisting.REFUSE,
        on_progress: ProgressHook | None = None,
        on_whole: Callable[[Download], Awaitable[None]] | None = None,
        check: VideoCheck | None = None,
    ) -> Download:
        """Bring the video of a completed task to where it is to go.

        Args:
            task: The task, or its id.
            target: The file, object or sink to be written.
            on_existing: What to do where a file or object is there already.
            on_progress: Called with a `DownloadProgress` about once a megabyte.
            on_whole: Called when the file is whole, just before it gets its name.
            check: What the video is held against before it gets its name.

        Raises:
            DownloadError: When it was not saved; see its subclasses.
            QueryRefused: When the service will not tell the URL.
            QueryFailed: When the service could not be asked for the URL.
            ConfigurationError: When the target or the check can be none.
            SessionClosed: When the session is closed.
        """
        destination = destination_of(target, on_existing=on_existing, threads=self._threads)
        links = _TaskLinks(
            task, query=self._query, unix_clock=self._unix_clock, target=destination.name
        )
        if isinstance(destination, FileDestination):
            inspect = None if check is None else _inspector(check, links)
            destination = attrs.evolve(destination, on_whole=on_whole, inspect=inspect)
        elif check is not None:
            problem = "is made on a file: download to one, and put that where it is to go"
            raise ConfigurationError(setting="check", problem=problem)
        return await self._bring(links, destination, on_progress)

    async def _bring(
        self,
        links: _TaskLinks,
        destination: Destination[ResultT],
        on_progress: ProgressHook | None,
    ) -> ResultT:
        if self._is_closed:
            raise SessionClosed
        with anyio.CancelScope() as scope:
            self._under_way.add(scope)
            try:
                async with self._turns:
                    return await self._fetcher.fetch(
                        links, destination, task_id=links.task_id, on_progress=on_progress
                    )
            finally:
                self._under_way.discard(scope)
        # Whoever reads a body is not told that its connection was closed on this side.
        raise SessionClosed

    def close(self) -> None:
        """End the downloads under way, each with `SessionClosed`; closing twice is fine."""
        self._is_closed = True
        for scope in self._under_way:
            scope.cancel()


def _inspector(check: VideoCheck, links: _TaskLinks) -> Callable[[Path], tuple[str, ...]]:
    check_needs(check)

    def inspect(path: Path) -> tuple[str, ...]:
        facts = look_at(path)
        if isinstance(facts, str):
            return (facts,)
        return video_flaws(facts, check, actual_duration_s=links.actual_duration_s)

    return inspect


class _TaskLinks:
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
