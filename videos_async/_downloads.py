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
from videos_async._fetch import Fetcher, ProgressHook
from videos_async._file_destination import FileDestination
from videos_async._files import FileServers
from videos_async._links import TaskLinks
from videos_async._retry import RetryBudget, RetryPolicy
from videos_async._targets import Target, destination_of
from videos_async._threads import Threads
from videos_async._video_check import VideoCheck, check_needs, look_at, video_flaws
from videos_async.errors import (
    ConfigurationError,
    SessionClosed,
)
from videos_async.models import VideoTask

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
            on_progress: Called with a `DownloadProgress` every megabyte or two.
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
        links = TaskLinks(
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
        links: TaskLinks,
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


def _inspector(check: VideoCheck, links: TaskLinks) -> Callable[[Path], tuple[str, ...]]:
    check_needs(check)

    def inspect(path: Path) -> tuple[str, ...]:
        facts = look_at(path)
        if isinstance(facts, str):
            return (facts,)
        return video_flaws(facts, check, actual_duration_s=links.actual_duration_s)

    return inspect
