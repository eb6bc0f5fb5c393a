"""A journal, to look into and to resolve what is in doubt.

It can be read at any time, also while a batch drives it. What a process that was killed had
announced and never settled is put in doubt when the journal is opened. What changes it
(`Journal.rearm`, `Journal.adopt`, `Journal.abandon`) takes the place of a driver for that moment,
and so is refused while there is one.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, ParamSpec, Self, TypeVar

import anyio

from videos_async._database import Database
from videos_async._driver_lock import DriverLock
from videos_async._journal_thread import JournalThread
from videos_async._states import IN_DOUBT, JournalEntry, KeyState
from videos_async.errors import (
    InvalidRequest,
    JournalCorrupt,
    JournalError,
    JournalLocked,
    Key,
    Violation,
)
from videos_async.models import task_id_flaw

__all__ = ["Journal"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

_READ_AT_ONCE: Final = 256


class Journal:
    """The journal of a batch, open for reading.

    ::

        async with Journal("run.sqlite") as journal:
            for entry in await journal.uncertain():
                print(entry.key, entry.request.prompt, entry.error)
            await journal.adopt("meadow", "video_1234567890")

    It belongs to the event loop in which it is entered. A change that was begun is made, whoever
    stops waiting for it.

    Args:
        path: The file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._thread: JournalThread | None = None
        self._database: Database | None = None

    def __repr__(self) -> str:
        state = "closed" if self._database is None else "open"
        return f"<Journal {self._path} {state}>"

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    async def __aenter__(self) -> Self:
        """Open the journal.

        Raises:
            JournalError: There is none, or it cannot be read; `JournalCorrupt` where it is
                damaged.
        """
        if self._thread is not None:
            raise RuntimeError("a Journal is entered once: make another")
        self._thread = JournalThread()
        try:
            self._database = await self._thread.open(_read, self._path)
        except BaseException:
            self._thread.end()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        database = self._opened
        self._database = None
        closed = self._running.call(database.close)
        self._running.end()
        with anyio.CancelScope(shield=True):
            await closed

    # --- reading -------------------------------------------------------------------------

    async def counts(self) -> dict[KeyState, int]:
        """Count the keys by state; states without keys are left out."""
        return await self._call(self._opened.counts)

    async def driver(self) -> JournalLocked | None:
        """Tell who drives the journal now, as the error that a second driver would get.

        None where nobody does: then it may be changed here, or resumed.
        """
        return await self._call(DriverLock(self._path).held_by)

    async def is_input_complete(self) -> bool:
        """Tell whether the journal holds the whole input of its batch.

        It does not where an input of unknown length was not pulled to its end.
        """
        facts = await self._call(self._opened.facts)
        return bool(facts.get("is_input_complete"))

    async def find(self, key: Key) -> JournalEntry | None:
        """Read the entry of a key, or None where the journal does not know it."""
        return await self._call(self._opened.find, key)

    async def entries(
        self, states: Collection[KeyState] = frozenset(KeyState)
    ) -> AsyncIterator[JournalEntry]:
        """Iterate over the entries in the order in which they were planned.

        Args:
            states: Only those in these states; by default all.
        """
        after = 0
        while found := await self._call(
            self._opened.entries, frozenset(states), after=after, limit=_READ_AT_ONCE
        ):
            for entry in found:
                after = entry.position or after
                yield entry

    async def uncertain(self) -> list[JournalEntry]:
        """List the keys that may be billed and have no id; see `rearm`, `adopt`, `abandon`.

        `JournalEntry.intent_at` tells when each was sent.
        """
        return [entry async for entry in self.entries(IN_DOUBT)]

    # --- resolving -----------------------------------------------------------------------

    async def rearm(self, keys: Iterable[Key]) -> list[JournalEntry]:
        """Allow one more create call for each of these keys, which may be billed once more.

        For keys in doubt, and for those that ended without a video. They are sent when the
        journal is resumed.

        Returns:
            The entries as they are now.

        Raises:
            KeyStateError: A key is in a state in which that is not possible; none was changed.
            JournalLocked: A batch drives the journal now.
            JournalError: The journal cannot be written, or does not know a key.
        """
        return await self._change(keys, lambda entry, now: entry.rearm(now))

    async def adopt(self, key: Key, task_id: str) -> JournalEntry:
        """Attach the id of a key's task, found by other means: it is watched from then on.

        Raises:
            KeyStateError: The key is not in doubt, or another key has that task.
            InvalidRequest: The id can be none.
            JournalLocked: A batch drives the journal now.
            JournalError: The journal cannot be written, or does not know the key.
        """
        flaw = task_id_flaw(task_id)
        if flaw is not None:
            violation = Violation(field="task_id", rule=flaw, value=task_id)
            raise InvalidRequest(violations=(violation,), key=key)
        (entry,) = await self._change(
            [key], lambda entry, now: entry.adopt(task_id, now), adopted=task_id
        )
        return entry

    async def abandon(self, keys: Iterable[Key]) -> list[JournalEntry]:
        """Close these keys: they are neither sent nor watched any more.

        Returns:
            The entries as they are now.

        Raises:
            KeyStateError: A key has ended already; none was changed.
            JournalLocked: A batch drives the journal now.
            JournalError: The journal cannot be written, or does not know a key.
        """
        return await self._change(keys, lambda entry, now: entry.abandon(now))

    async def _change(
        self,
        keys: Iterable[Key],
        change: Callable[[JournalEntry, float], JournalEntry],
        *,
        adopted: str | None = None,
    ) -> list[JournalEntry]:
        _ = self._opened
        if isinstance(keys, str):
            raise TypeError(f"a list of keys is changed, got the text {keys!r}: write [{keys!r}]")
        named = list(dict.fromkeys(keys))
        # What is begun is done, whoever stops waiting for it.
        return await asyncio.shield(self._call(_changed, self._path, named, change, adopted))

    # --- the thread ----------------------------------------------------------------------

    @property
    def _opened(self) -> Database:
        if self._database is None:
            raise RuntimeError("enter the journal first: async with Journal(path) as journal")
        return self._database

    @property
    def _running(self) -> JournalThread:
        assert self._thread is not None  # noqa: S101 - it runs from when the journal is entered
        return self._thread

    async def _call(self, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return await self._running.call(function, *args, **kwargs)


def _read(path: Path) -> Database:
    """Open a journal for reading, once its last driver's intents are settled."""
    database = Database.read(path)
    try:
        if KeyState.INTENT in database.counts():
            Database.drive(path, may_create=False, now=time.time()).close()
    except JournalCorrupt:
        database.close()
        raise
    except JournalError:
        # Whose driver lives, or who may not write, sees the intents as they are.
        pass
    return database


def _changed(
    path: Path,
    keys: list[Key],
    change: Callable[[JournalEntry, float], JournalEntry],
    adopted: str | None,
) -> list[JournalEntry]:
    """Change entries as the driver of the journal for a moment; all of them or none."""
    database = Database.drive(path, may_create=False, now=time.time())
    try:
        if adopted is not None:
            for key in keys:
                database.check_adoptable(adopted, by=key)
        after = [change(_known(database, path, key), time.time()) for key in keys]
        database.write(changed=after)
    finally:
        database.close()
    return after


def _known(database: Database, path: Path, key: Key) -> JournalEntry:
    entry = database.find(key)
    if entry is None:
        problem = f"does not know the key {key!r}: a number and its text are two keys"
        raise JournalError(path=str(path), problem=problem)
    return entry
