"""A file as the destination of a download: `_part` off the loop, its troubles in our words."""

from __future__ import annotations

import errno
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple

import anyio
import anyio.to_thread
import attrs

from videos_async._contents import Contents
from videos_async._destination import Piece, Received
from videos_async._download import Download, OnExisting
from videos_async._part import NoRoom, Part, PartBusy
from videos_async._ranges import Source
from videos_async._threads import Threads
from videos_async.errors import DiskFull, DownloadError, TargetBusy, TargetExists, VideoMismatch

__all__ = ["FileDestination"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@attrs.frozen(kw_only=True)
class FileDestination:
    """A file that is there whole or not at all.

    Attributes:
        target: Its name.
        on_existing: What to do where it is there already.
        threads: How many threads may be busy at a time.
        on_whole: Called when the file is whole, just before it gets its name; or None.
        inspect: Called in a thread with the ``.part`` that is whole, and says what is wrong with
            it; or None.
    """

    target: Path
    on_existing: OnExisting
    threads: Threads
    on_whole: Callable[[Download], Awaitable[None]] | None = None
    inspect: Callable[[Path], tuple[str, ...]] | None = None

    @property
    def name(self) -> str:
        """The path."""
        return str(self.target)

    def open(self, task_id: str) -> AbstractAsyncContextManager[FileWriting]:
        """Lock the ``.part`` beside the target and take up what is in it.

        Raises:
            TargetExists: When the target is there and is not to be replaced.
            TargetBusy: When another download is writing it.
            DownloadError: When the file system refuses.
        """
        return self._open(task_id)

    @asynccontextmanager
    async def _open(self, task_id: str) -> AsyncGenerator[FileWriting]:
        writing = FileWriting(self, task_id)
        try:
            await writing.take_up()
            yield writing
        finally:
            with anyio.CancelScope(shield=True):
                await writing.close()


class FileWriting:
    """A file on its way."""

    def __init__(self, destination: FileDestination, task_id: str) -> None:
        self._destination = destination
        self._threads = destination.threads
        self._task_id = task_id
        self._part: Part | None = None

    @property
    def contents(self) -> Contents:
        """What is there."""
        return self._open_part.contents

    @property
    def source(self) -> Source:
        """The version it is of."""
        return self._open_part.source

    @property
    def _open_part(self) -> Part:
        assert self._part is not None  # noqa: S101 - it is taken up first
        return self._part

    async def take_up(self) -> None:
        """Lock the part and read what is good of it.

        Raises:
            DownloadError: When that cannot be done.
        """
        await self._off_loop(self._threads.waiting, self._open)
        while not await self._off_loop(self._threads.working, self._open_part.hash_some):
            pass

    def _open(self) -> None:
        target, on_existing = self._destination.target, self._destination.on_existing
        if not target.name:
            raise IsADirectoryError(errno.EISDIR, "it is a directory: give a file's name as well")
        part = Part(target, task_id=self._task_id, on_existing=on_existing)
        part.open()
        self._part = part

    async def begin(self, source: Source) -> None:
        """Empty the part and note the version."""
        await self._off_loop(self._threads.waiting, self._open_part.begin, source)

    async def reserve(self, more_bytes: int) -> None:
        """See that the disk has room."""
        await self._off_loop(self._threads.waiting, self._open_part.reserve, more_bytes)

    async def write(self, pieces: Sequence[Piece]) -> None:
        """Write and hash, off the loop."""
        await self._off_loop(self._threads.working, self._open_part.write, pieces)

    async def rescue(self, pieces: Sequence[Piece]) -> None:
        """Write them: the next call goes on behind them."""
        await self.write(pieces)

    async def finish(self, received: Received) -> Download:
        """Flush, rename, flush the directory."""
        download = Download(
            path=self._destination.target,
            size_bytes=received.size_bytes,
            sha256=received.sha256,
            media_type=received.media_type,
            is_verified=received.is_verified,
        )
        await self._inspect()
        if self._destination.on_whole is not None:
            await self._destination.on_whole(download)
        await self._off_loop(self._threads.waiting, self._open_part.finish)
        return download

    async def _inspect(self) -> None:
        inspect, part = self._destination.inspect, self._open_part
        if inspect is None:
            return
        flaws = await self._off_loop(self._threads.working, inspect, part.path)
        if flaws:
            raise VideoMismatch(
                task_id=self._task_id,
                target=self._destination.name,
                reason=f"{'; '.join(flaws)}; {self.remains()}",
                flaws=flaws,
            )

    async def close(self) -> None:
        """Keep what is there for the next call."""
        if self._part is not None:
            await self._off_loop(self._threads.waiting, self._part.close)

    def remains(self) -> str:
        """Say what is kept, and what the next call does with it."""
        part = self._open_part
        size, length = part.contents.size_bytes, part.source.length_bytes
        if not size:
            return "nothing is kept"
        kept = f"{size} of {'unknown' if length is None else length} bytes are kept in {part.path}"
        if part.source.validator is None:
            return f"{kept}, but of which version they are is not known: the next call starts over"
        return f"{kept}, and the next call goes on from there"

    async def _off_loop(
        self, limiter: anyio.CapacityLimiter, work: Callable[[*Ts], T], *args: *Ts
    ) -> T:
        """Do what blocks in a thread, and put what goes wrong in our words."""
        try:
            return await anyio.to_thread.run_sync(work, *args, limiter=limiter)
        except (OSError, PartBusy) as error:
            failure = self._failure(error)
        raise failure

    def _failure(self, error: OSError | PartBusy) -> DownloadError:
        where = {"task_id": self._task_id, "target": self._destination.name}
        if isinstance(error, PartBusy):
            reason = "another download is writing it: wait for that one, or choose another name"
            return TargetBusy(**where, reason=reason)
        if isinstance(error, FileExistsError):
            reason = (
                "the file is there already and was left as it is; "
                "to replace it say on_existing=OnExisting.REPLACE"
            )
            return TargetExists(**where, reason=reason)
        if error.errno in _FULL:
            return self._full(error)
        remains = f"; {self.remains()}" if self._part is not None else ""
        return DownloadError(**where, reason=f"{error.strerror or error}{remains}")

    def _full(self, error: OSError) -> DiskFull:
        part = self._part
        needed = free = None
        if isinstance(error, NoRoom):
            needed, free = error.needed_bytes, error.free_bytes
        elif part is not None and part.source.length_bytes is not None:
            needed = part.source.length_bytes - part.contents.size_bytes
        sizes = "" if needed is None else f", {needed} bytes are still to be written"
        room = "" if free is None else f" and there is room for {free}"
        remains = "" if part is None else f"; {self.remains()}"
        return DiskFull(
            task_id=self._task_id,
            target=self._destination.name,
            reason=f"{error.strerror}{sizes}{room}: make room, then call again{remains}",
            needed_bytes=needed,
            free_bytes=free,
        )
