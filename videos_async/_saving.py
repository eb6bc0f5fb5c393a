"""The files of a batch: what is completed waits here for its turn, and ends as saved or not."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import anyio.to_thread
import attrs

from videos_async._download import OnExisting
from videos_async._downloads import Downloads
from videos_async._filenames import file_name
from videos_async._part import tidy
from videos_async._recorder import Recorder
from videos_async._replay import download_of
from videos_async._states import SavedFile
from videos_async._stream import Signal
from videos_async.errors import ConfigurationError, Key, VideosError
from videos_async.models import Transition

__all__ = ["Saving"]


class Saving:
    """Saves what is completed in a directory, each under a name made of its key.

    Args:
        downloads: Brings the files.
        directory: Where to.
        on_existing: What to do with a file that is there already.
        workers: How many are under way at a time.
    """

    def __init__(
        self, downloads: Downloads, directory: Path, *, on_existing: OnExisting, workers: int
    ) -> None:
        self._downloads = downloads
        self._directory = directory
        self._on_existing = on_existing
        self._workers = workers
        self._waiting: deque[_Job] = deque()
        self._under_way: set[_Job] = set()
        self._changed = Signal()
        self._is_sealed = False

    async def prepare(self) -> None:
        """Make the directory.

        Raises:
            ConfigurationError: When it cannot be made.
        """
        try:
            await anyio.Path(self._directory).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            problem = f"{self._directory} cannot be made: {error.strerror or error}"
            raise ConfigurationError(setting="download_to", problem=problem) from None

    def target(self, key: Key) -> Path:
        """Name the file of a key."""
        return self._directory / file_name(key)

    def add(self, change: Transition, *, staged: SavedFile | None = None) -> None:
        """Save the video of a completed task when its turn comes.

        Args:
            change: Its completion.
            staged: The file that an earlier run may have saved, and did not come to note.
        """
        self._waiting.append(_Job(change, staged))
        self._changed.send()

    def seal(self) -> None:
        """Say that nothing more will be added."""
        self._is_sealed = True
        self._changed.send()

    def left(self) -> list[Transition]:
        """Take out what was not saved yet."""
        jobs = [*self._under_way, *self._waiting]
        self._under_way.clear()
        self._waiting.clear()
        return [job.change for job in jobs]

    async def run(
        self, recorder: Recorder, deliver: Callable[[Transition], Awaitable[None]]
    ) -> None:
        """Save until it is sealed and all is saved.

        Args:
            recorder: Is told of each file before it gets its name.
            deliver: Takes each end.
        """
        async with anyio.create_task_group() as group:
            for _ in range(self._workers):
                group.start_soon(self._work, recorder, deliver)

    async def _work(
        self, recorder: Recorder, deliver: Callable[[Transition], Awaitable[None]]
    ) -> None:
        while True:
            while not self._waiting:
                if self._is_sealed:
                    return
                await self._changed.wait()
            job = self._waiting.popleft()
            self._under_way.add(job)
            end = await self._end_of(job, recorder)
            self._under_way.discard(job)
            await deliver(end)

    async def _end_of(self, job: _Job, recorder: Recorder) -> Transition:
        change, task = job.change, job.change.task
        assert task is not None  # noqa: S101 - it was seen completed
        if job.staged is not None and await anyio.to_thread.run_sync(_is_in_place, job.staged):
            return attrs.evolve(change, download=download_of(job.staged))
        try:
            download = await self._downloads.save(
                task,
                self.target(change.key),
                on_existing=self._on_existing,
                on_whole=recorder.staging(change.key),
            )
        except VideosError as error:
            return attrs.evolve(change, error=error, is_replayed=False)
        return attrs.evolve(change, download=download, is_replayed=False)


@attrs.frozen(eq=False)
class _Job:
    change: Transition
    staged: SavedFile | None


def _is_in_place(file: SavedFile) -> bool:
    """Tell whether a file stands where and as it was about to when the process ended."""
    target = Path(file.path)
    try:
        with target.open("rb") as found:
            if os.fstat(found.fileno()).st_size != file.size_bytes:
                return False
            if hashlib.file_digest(found, "sha256").hexdigest() != file.sha256:
                return False
        tidy(target)
    except OSError:
        return False
    return True
