"""The journal's thread: one connection, group commits, and nothing forgotten that was paid for.

A commit costs one flush of the disk however many entries it holds, so entries that come while
one is under way go into the next together. What must not be lost is waited for; the rest rides
along with the next that is, or goes by itself a tenth of a second later.

When a commit fails, an intent in it has failed, and its request is not sent. Everything else in
it has happened already: it is kept, in order, and tried again until the journal is closed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, ParamSpec, Self, TypeVar

import anyio
import attrs

from videos_async._database import Database, Write
from videos_async._states import JournalEntry
from videos_async.errors import JournalLocked, JournalWriteFailed, Key

__all__ = ["JournalWriter", "JournalWriters"]

logger = logging.getLogger("videos_async")

_P = ParamSpec("_P")
_T = TypeVar("_T")

_DELAY_S: Final = 0.1
_RETRY_S: Final = 1.0
_LAST_TRIES: Final = 3


@attrs.define(eq=False)
class _Pending:
    """An entry that is not on the disk yet, and who waits for it."""

    write: Write
    is_intent: bool
    waiter: asyncio.Future[None] | None


class JournalWriter:
    """Writes entries to one open journal, from one event loop.

    Attributes:
        failure: Why the last commit failed, or None while all went well.
        on_failure: Called with each failure as it happens.
    """

    def __init__(self, database: Database, thread: ThreadPoolExecutor, path: Path) -> None:
        self.failure: JournalWriteFailed | None = None
        self.on_failure: set[Callable[[JournalWriteFailed], None]] = set()
        self._database = database
        self._thread = thread
        self._path = path
        self._pending: list[_Pending] = []
        self._under_way: list[_Pending] = []
        self._idle = asyncio.Event()
        self._idle.set()
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    async def open(cls, path: Path, *, may_create: bool) -> Self:
        """Open a journal to drive it; see `Database.drive`."""
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="videos-async-journal")
        opening = asyncio.get_running_loop().run_in_executor(
            thread, lambda: Database.drive(path, may_create=may_create, now=time.time())
        )
        database: Database | None = None
        try:
            # A lock that was taken must not be left behind by a cancellation.
            with anyio.CancelScope(shield=True):
                database = await opening
        except BaseException:
            thread.shutdown(wait=False)
            raise
        assert database is not None  # noqa: S101 - a shielded scope swallows nothing
        return cls(database, thread, path)

    async def call(self, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Call a method of the database on its thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: function(*args, **kwargs))

    @property
    def database(self) -> Database:
        """The database, for `call`."""
        return self._database

    # --- writing -------------------------------------------------------------------------

    def write(self, entry: JournalEntry, *, is_new: bool = False) -> None:
        """Write an entry some time soon."""
        self._pending.append(_Pending(Write(entry, is_new), is_intent=False, waiter=None))
        self._wake(_DELAY_S)

    async def commit(
        self, entry: JournalEntry, *, is_new: bool = False, is_intent: bool = False
    ) -> None:
        """Write an entry; it is on the disk when this returns.

        Args:
            entry: The entry.
            is_new: Whether the journal does not hold it yet.
            is_intent: Whether it only announces something, which a failure calls off.

        Raises:
            JournalWriteFailed: It is not on the disk. Unless it is an intent, it is kept and
                tried again.
        """
        waiter = asyncio.get_running_loop().create_future()
        self._pending.append(_Pending(Write(entry, is_new), is_intent, waiter))
        self._flush()
        await waiter

    def _wake(self, after_s: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(after_s, self._flush)

    def _flush(self) -> None:
        """Hand all that is pending to the thread, unless it is at work already."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._under_way or not self._pending:
            return
        self._under_way, self._pending = self._pending, []
        self._idle.clear()
        writes = [pending.write for pending in self._under_way]
        done = asyncio.get_running_loop().run_in_executor(
            self._thread, self._database.write, writes
        )
        done.add_done_callback(self._flushed)

    def _flushed(self, done: asyncio.Future[None]) -> None:
        group, self._under_way = self._under_way, []
        error = done.exception()
        for pending in group:
            if pending.waiter is not None and not pending.waiter.done():
                if error is None:
                    pending.waiter.set_result(None)
                else:
                    pending.waiter.set_exception(error)
        if error is None:
            self.failure = None
        else:
            self._keep(group, error)
        self._idle.set()
        if any(pending.waiter is not None for pending in self._pending):
            self._flush()
        elif self._pending:
            self._wake(_DELAY_S if error is None else _RETRY_S)

    def _keep(self, group: list[_Pending], error: BaseException) -> None:
        # An intent that failed was called off; all else has happened, and its waiter was told.
        kept = [attrs.evolve(pending, waiter=None) for pending in group if not pending.is_intent]
        self._pending[:0] = kept
        if isinstance(error, JournalWriteFailed):
            self.failure = error
        else:
            reason = f"could not be written ({type(error).__name__}: {error})"
            self.failure = JournalWriteFailed(path=str(self._path), problem=reason)
        logger.error("%s", self.failure)
        for told in tuple(self.on_failure):
            told(self.failure)

    # --- the end -------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Write what is left and let go of the journal.

        Raises:
            JournalWriteFailed: Something could not be written to the last; it tells the ids.
        """
        with anyio.CancelScope(shield=True):
            for _ in range(_LAST_TRIES):
                await self._drain()
                if not self._pending:
                    break
            if self._timer is not None:
                self._timer.cancel()
            try:
                await self.call(self._database.close)
            finally:
                self._thread.shutdown(wait=False)
        if self._pending:
            problem = (
                "could not be written to the last" if self.failure is None else self.failure.problem
            )
            raise JournalWriteFailed(
                path=str(self._path), problem=problem, unwritten=self.unwritten
            )

    async def _drain(self) -> None:
        while True:
            await self._idle.wait()
            before = self.failure
            self._flush()
            await self._idle.wait()
            if not self._pending or (self.failure is not None and self.failure is not before):
                return

    @property
    def unwritten(self) -> dict[Key, str]:
        """The ids that are paid for and not on the disk, by key."""
        entries = [pending.write.entry for pending in (*self._under_way, *self._pending)]
        return {entry.key: entry.task_id for entry in entries if entry.task_id is not None}


@attrs.define(eq=False)
class _Opened:
    writer: JournalWriter
    is_whole: bool
    users: int = 0


class JournalWriters:
    """The journals that are open in one session, each driven once.

    A batch drives a whole journal. Calls that have to do with one key each share it.
    """

    def __init__(self) -> None:
        self._opened: dict[Path, _Opened] = {}
        self._turn = anyio.Lock()

    async def acquire(self, path: Path, *, may_create: bool, is_whole: bool) -> JournalWriter:
        """Open a journal, or join those who share it.

        Args:
            path: The file, as an absolute path.
            may_create: Whether it may be new.
            is_whole: Whether nobody else may drive it meanwhile.

        Raises:
            JournalLocked: Another batch drives it, of this session or of anybody.
            JournalError: It cannot be used.
        """
        async with self._turn:
            opened = self._opened.get(path)
            if opened is not None and (is_whole or opened.is_whole):
                problem = "is driven by another batch of this session: wait for its end"
                raise JournalLocked(
                    path=str(path), problem=problem, pid=os.getpid(), host=socket.gethostname()
                )
            if opened is None:
                writer = await JournalWriter.open(path, may_create=may_create)
                opened = self._opened[path] = _Opened(writer, is_whole)
            opened.users += 1
            return opened.writer

    async def release(self, writer: JournalWriter) -> None:
        """Let go of a journal; the last who does closes it.

        Raises:
            JournalWriteFailed: Something could not be written to the last.
        """
        async with self._turn:
            path, opened = next(
                (path, one) for path, one in self._opened.items() if one.writer is writer
            )
            opened.users -= 1
            if not opened.users:
                del self._opened[path]
                await writer.aclose()
