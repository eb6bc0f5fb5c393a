"""Group commits: one connection on one thread, and nothing forgotten that was paid for.

A commit costs one flush of the disk however many entries it holds, so entries that come while
one is under way go into the next together. An intent is waited for and an id is in a hurry: they
go at once, or while other create calls are under way a few milliseconds later, with what those
bring. The rest rides along with them, or goes by itself a tenth of a second later.

When a commit fails, an intent in it has failed, and its request is not sent. Everything else in
it has happened already: it is kept, in order, and tried again until the journal is closed.

Source of the short wait: PostgreSQL's ``commit_delay`` and ``commit_siblings``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, ParamSpec, Self, TypeVar

import anyio

from videos_async._commit_group import Awaited, Group
from videos_async._database import Database
from videos_async._journal_thread import JournalThread
from videos_async._states import JournalEntry
from videos_async.errors import JournalWriteFailed, Key

__all__ = ["JournalWriter"]

logger = logging.getLogger("videos_async")

_P = ParamSpec("_P")
_T = TypeVar("_T")

# A create call takes a hundred times as long.
_PATIENCE_S: Final = 0.005
_DELAY_S: Final = 0.1
_RETRY_S: Final = 1.0
_LAST_TRIES: Final = 3


class JournalWriter:
    """Writes entries to one open journal, from one event loop.

    Attributes:
        failure: Why the last commit failed, or None while all went well.
        on_failure: Called with each failure as it happens.
        on_commit: Called with the number of each commit that was made, or failed.
    """

    def __init__(self, database: Database, thread: JournalThread, path: Path) -> None:
        self.failure: JournalWriteFailed | None = None
        self.on_failure: set[Callable[[JournalWriteFailed], None]] = set()
        self.on_commit: set[Callable[[int], None]] = set()
        self._database = database
        self._thread = thread
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._pending = Group()
        self._under_way = Group()
        # Commits are numbered: what is pending goes into this one.
        self._next_commit = 1
        self._idle = asyncio.Event()
        self._idle.set()
        self._timer: asyncio.Handle | None = None
        # Somebody waits, or would lose money; and how long others are waited for.
        self._is_urgent = False
        self._patience: asyncio.Handle | None = None
        # Their create calls are under way, and will be back with an id and the next intent.
        self._away: set[Key] = set()
        self._claims: dict[Key, asyncio.Event] = {}
        self._is_closed = False

    @classmethod
    async def open(cls, path: Path, *, may_create: bool) -> Self:
        """Open a journal to drive it; see `Database.drive`."""
        thread = JournalThread()
        database: Database | None = None
        try:
            with anyio.CancelScope(shield=True):
                database = await thread.open(
                    Database.drive, path, may_create=may_create, now=time.time()
                )
        except BaseException:
            thread.end()
            raise
        assert database is not None  # noqa: S101 - a shielded scope swallows nothing
        return cls(database, thread, path)

    async def call(self, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Call a method of the database on its thread."""
        return await self._thread.call(function, *args, **kwargs)

    @property
    def database(self) -> Database:
        """The database, for `call`."""
        return self._database

    # --- whose key it is -----------------------------------------------------------------

    async def claim(self, key: Key) -> None:
        """Wait until nobody else who shares the journal is at work on a key."""
        while (taken := self._claims.get(key)) is not None:
            await taken.wait()
        self._claims[key] = asyncio.Event()

    def disclaim(self, key: Key) -> None:
        """Leave a key to the next one."""
        self._claims.pop(key).set()

    # --- writing -------------------------------------------------------------------------

    def write(self, entry: JournalEntry, *, is_new: bool = False) -> None:
        """Write an entry some time soon; one that cannot be written is kept."""
        pending = self._pending
        (pending.new if is_new else pending.changed).append(entry)
        self._away.discard(entry.key)
        if self._timer is None:
            self._wake(_DELAY_S)

    def write_at_once(self, entry: JournalEntry) -> int:
        """Write an entry with the next commit: it holds an id that stands nowhere else.

        Returns:
            The number of that commit; see `on_commit`.
        """
        pending = self._pending
        pending.changed.append(entry)
        pending.accepted.append(entry)
        self._away.discard(entry.key)
        self._flush_soon(is_patient=bool(self._away))
        return self._next_commit

    def write_facts(self, facts: Mapping[str, Any]) -> None:
        """Write facts about the journal some time soon, not before what is pending now."""
        self._pending.facts |= facts
        if self._timer is None:
            self._wake(_DELAY_S)

    async def commit(self, entry: JournalEntry) -> None:
        """Write an entry; it is on the disk when this returns.

        A cancellation waits until it is known whether it is, and has the `JournalWriteFailed` as
        its cause where it is not.

        Raises:
            JournalWriteFailed: It is not on the disk. It is kept and tried again.
        """
        awaited = self.add(entry)
        try:
            await awaited.waiter
        except asyncio.CancelledError as cancelled:
            raise cancelled from await self.outcome(awaited)

    def add(self, entry: JournalEntry, *, is_new: bool = False, is_intent: bool = False) -> Awaited:
        """Write an entry with the next commit, which somebody waits for.

        Args:
            entry: The entry.
            is_new: Whether the journal does not hold it yet.
            is_intent: Whether it only announces something, which a failure calls off.
        """
        pending = self._pending
        awaited = Awaited(entry, is_intent, self._loop.create_future())
        (pending.new if is_new else pending.changed).append(entry)
        pending.awaited.append(awaited)
        # A file has taken seconds to come; another one's is perhaps about to be whole.
        self._flush_soon(is_patient=not is_intent or bool(self._away))
        return awaited

    async def outcome(self, awaited: Awaited) -> JournalWriteFailed | None:
        """Find out what becomes of an entry, whoever calls that off; None where it is written."""
        with anyio.CancelScope(shield=True):
            while not awaited.is_settled:
                self._flush()
                # One cancellation is on its way already.
                with suppress(asyncio.CancelledError):
                    await self._idle.wait()
        return awaited.failure

    async def sync(self) -> None:
        """Write all that is pending.

        Raises:
            JournalWriteFailed: Not all of it could be.
        """
        while self._pending or not self._idle.is_set():
            before = self.failure
            self._flush()
            await self._idle.wait()
            if self.failure is not None and self.failure is not before:
                raise self.failure

    def _wake(self, after_s: float) -> None:
        self._timer = self._loop.call_later(after_s, self._flush_late)

    def _flush_late(self) -> None:
        self._timer = None
        self._flush()

    def _flush_soon(self, *, is_patient: bool) -> None:
        """Flush once those have come who may come soon: what they bring goes into one commit."""
        if is_patient:
            if not self._is_urgent:
                self._is_urgent = True
                self._patience = self._loop.call_later(_PATIENCE_S, self._flush)
        elif self._patience is not None or not self._is_urgent:
            self._is_urgent = True
            self._wait_no_longer()
            # Behind those who are about to run.
            self._loop.call_soon(self._flush)

    def _wait_no_longer(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _flush(self) -> None:
        """Hand all that is pending to the thread; while it is at work, that is for later."""
        self._wait_no_longer()
        if not self._idle.is_set():
            return
        self._is_urgent = False
        if not self._pending:
            return
        group = self._under_way = self._pending
        self._pending = Group()
        self._next_commit += 1
        self._idle.clear()
        try:
            self._thread.hand(
                partial(self._database.write, group.new, group.changed, group.facts), self._flushed
            )
        except RuntimeError as closed:
            self._flushed(None, closed)

    def _flushed(self, _: None, error: BaseException | None) -> None:
        group, self._under_way = self._under_way, Group()
        had_failed = self.failure is not None
        failure = self.failure = None if error is None else self._failure(error)
        if self._timer is not None and (had_failed or failure is not None):
            # It is not the time to wait any more.
            self._timer.cancel()
            self._timer = None
        for one in group.awaited:
            one.is_settled, one.failure = True, failure
            if one.is_intent and failure is None:
                self._away.add(one.entry.key)
            if not one.waiter.done():
                if failure is None:
                    one.waiter.set_result(None)
                else:
                    one.waiter.set_exception(failure)
        if failure is not None:
            self._keep(group, failure)
        for told in self.on_commit:
            told(self._next_commit - 1)
        self._idle.set()
        if self._is_urgent:
            self._is_urgent = False
            self._flush_soon(is_patient=bool(self._away))
        elif self._timer is None and self._pending and not self._is_closed:
            self._wake(_DELAY_S if failure is None else _RETRY_S)

    def _failure(self, error: BaseException) -> JournalWriteFailed:
        if isinstance(error, JournalWriteFailed):
            return error
        problem = f"could not be written ({type(error).__name__}: {error})"
        return JournalWriteFailed(path=str(self._path), problem=problem)

    def _keep(self, group: Group, failure: JournalWriteFailed) -> None:
        logger.error("%s", failure)
        for entry in group.accepted:
            logger.error("task %s of %r is not in the journal yet", entry.task_id, entry.key)
        self._pending.keep(group)
        for told in tuple(self.on_failure):
            told(failure)

    # --- the end -------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Write what is left and let go of the journal.

        Raises:
            JournalWriteFailed: Something could not be written to the last; it tells the ids.
        """
        try:
            await self._drain()
        finally:
            self._is_closed = True
            if self._timer is not None:
                self._timer.cancel()
            # Done on the thread, whoever waits for it here no longer.
            closed = self._thread.call(self._database.close)
            self._thread.end()
            await asyncio.shield(closed)
            failure = self._last_failure
            if failure is not None:
                logger.critical("%s", failure)
        if failure is not None:
            raise failure

    async def _drain(self) -> None:
        for _ in range(_LAST_TRIES):
            with suppress(JournalWriteFailed):
                await self.sync()
                return

    @property
    def _last_failure(self) -> JournalWriteFailed | None:
        """What is to be told when there is no more trying."""
        left = (self._under_way, self._pending)
        if not any(group.new or group.changed for group in left):
            return None
        unwritten = {
            entry.key: entry.task_id
            for group in left
            for entry in group.accepted
            if entry.task_id is not None
        }
        problem = "could not be written to the last"
        if self.failure is not None:
            problem = self.failure.problem
        return JournalWriteFailed(path=str(self._path), problem=problem, unwritten=unwritten)
