"""What a journal holds, read and written: entries, facts, and the number of the last write.

Everything here blocks, so it runs on the journal's own thread.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import attrs

from videos_async._driver_lock import DriverLock
from videos_async._journal_file import (
    SCHEMA,
    Schema,
    as_journal_errors,
    log_of,
    open_to_drive,
    open_to_read,
)
from videos_async._rows import (
    COLUMNS,
    Row,
    changeable_of,
    entry_from_row,
    key_from_text,
    key_to_text,
    request_to_text,
    row_of,
)
from videos_async._states import JournalEntry, KeyState
from videos_async.errors import (
    JournalCorrupt,
    JournalError,
    JournalWriteFailed,
    Key,
    KeyConflict,
    KeyStateError,
    SubmissionUncertain,
    shorten,
)
from videos_async.models import VideoRequest

__all__ = ["Database"]

_NEWEST: Final = 2**63 - 1

_SELECT: Final = f"SELECT {', '.join(COLUMNS)} FROM entries"  # noqa: S608 - our own names
_INSERT: Final = (
    f"INSERT INTO entries ({', '.join(COLUMNS)}, revision) "  # noqa: S608 - our own names
    f"VALUES ({', '.join('?' * (len(COLUMNS) + 1))})"
)
_CHANGEABLE: Final = COLUMNS[COLUMNS.index("state") :]
_UPDATE: Final = (
    f"UPDATE entries SET {', '.join(f'{name} = ?' for name in _CHANGEABLE)}, "  # noqa: S608
    "revision = ? WHERE key = ?"
)


class Database:
    """One journal file, open.

    Args:
        path: The file.
        connection: SQLite's connection to it.
        lock: The driver's lock, or None where it is only read.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: DriverLock | None) -> None:
        self._path = path
        self._connection = connection
        self._lock = lock
        self._revision: int
        (self._revision,) = self._one("SELECT coalesce(max(revision), 0) FROM entries")

    # --- opening and closing -------------------------------------------------------------

    @classmethod
    def drive(
        cls, path: Path, *, may_create: bool, now: float, schema: Schema = SCHEMA
    ) -> Database:
        """Open a journal to write to it, alone.

        What the last driver left as intent is put in doubt.

        Args:
            path: The file.
            may_create: Whether it may be new.
            now: The time, as a Unix time.
            schema: What is in it.

        Raises:
            JournalLocked: Another batch drives it.
            JournalCorrupt: It is damaged, or parts of it are missing.
            JournalError: It cannot be used; the text says why.
        """
        lock = DriverLock(path)
        if not may_create and not lock.is_beside and not _is_there(path):
            # Not even a lock is left where there is nothing to drive.
            problem = "does not exist: check the name, or start a batch with it"
            raise JournalError(path=str(path), problem=problem)
        witnessed = lock.take()
        try:
            connection = open_to_drive(
                path, may_create=may_create, witnessed=witnessed, schema=schema
            )
        except BaseException:
            # What was witnessed counts for the next driver as well.
            lock.release(is_settled=witnessed == 0)
            raise
        database = cls(path, connection, lock)
        try:
            database.recover(now)
        except BaseException:
            database.close()
            raise
        return database

    @classmethod
    def read(cls, path: Path, *, schema: Schema = SCHEMA) -> Database:
        """Open a journal to look at it, while it is being driven or not.

        Raises:
            JournalCorrupt: It is damaged, or parts of it are missing.
            JournalError: It cannot be used; the text says why.
        """
        # First what it must hold, then what it holds: meanwhile it can only become more.
        witnessed = DriverLock(path).witnessed
        return cls(path, open_to_read(path, witnessed=witnessed, schema=schema), None)

    def close(self) -> None:
        """Settle the file and let go of it; as often as one likes."""
        is_settled = False
        try:
            if self._lock is not None:
                with suppress(sqlite3.Error):
                    self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._connection.close()
            log = log_of(self._path)
            is_settled = not log.exists() or not log.stat().st_size
        finally:
            if self._lock is not None:
                self._lock.release(is_settled=is_settled)

    def recover(self, now: float) -> None:
        """Put in doubt what is: an intent of a driver that ended without its outcome."""
        reason = "the process that sent it ended before its answer was written down"
        doubts: list[JournalEntry] = []
        for entry in self.entries({KeyState.INTENT}):
            doubt = SubmissionUncertain(request=entry.request, key=entry.key, reason=reason)
            doubts.append(entry.doubt(doubt, now))
        if doubts:
            self.write(changed=doubts)

    # --- writing -------------------------------------------------------------------------

    def write(
        self,
        new: Sequence[JournalEntry] = (),
        changed: Sequence[JournalEntry] = (),
        facts: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Write entries in one transaction, on the disk when this returns.

        Args:
            new: Entries of keys that the journal does not hold yet.
            changed: Entries of others, and of these as they became since; in their order.
            facts: Facts about the journal as a whole.

        Raises:
            JournalWriteFailed: None of them was written.
        """
        with self._transaction():
            self._put(new, changed)
            self._put_facts(facts)

    def plan(
        self, requests: Mapping[Key, VideoRequest], *, now: float, facts: Mapping[str, Any]
    ) -> None:
        """Add what is new and compare what is known; all or nothing.

        Raises:
            KeyConflict: A key stands for another request; nothing was added.
            JournalWriteFailed: Nothing was added.
        """
        with self._transaction():
            is_fresh = not self._one("SELECT 1 FROM entries LIMIT 1")
            new = [
                JournalEntry(key, request, planned_at=now, changed_at=now)
                for key, request in requests.items()
                if is_fresh or not self.has(key, request)
            ]
            self._put(new, ())
            self._put_facts(facts)

    def has(self, key: Key, request: VideoRequest) -> bool:
        """Tell whether a key is known, and see to it that it means what it meant.

        Raises:
            KeyConflict: It stands for another request.
        """
        known = self.find(key)
        if known is not None:
            self._compare(known, request)
        return known is not None

    def _compare(self, known: JournalEntry, given: VideoRequest) -> None:
        # What JSON cannot tell apart, a tuple and a list say, is one and the same to the service.
        if known.request == given or request_to_text(known.request) == request_to_text(given):
            return
        there, here = attrs.asdict(known.request), attrs.asdict(given)
        differences = "; ".join(
            f"{name} is {shorten(there[name])} there and {shorten(here[name])} now"
            for name in there
            if there[name] != here[name]
        )
        problem = (
            f"holds another request under the key {known.key!r}: {differences}. "
            "Nothing was sent for the new one: give it a key of its own"
        )
        raise KeyConflict(
            path=str(self._path),
            problem=problem,
            key=known.key,
            recorded=known.request,
            given=given,
        )

    def check_adoptable(self, task_id: str, *, by: Key | None = None) -> None:
        """Make sure that no key has the task, but for the one that is to have it.

        Raises:
            KeyStateError: One has.
        """
        row = self._one(
            "SELECT key, state FROM entries WHERE task_id = ? AND key <> ?",
            task_id,
            "" if by is None else key_to_text(by),
        )
        if row:
            raise KeyStateError(
                key=key_from_text(row[0]),
                state=row[1],
                action=f"give its task {task_id} to another key",
                allowed=(),
            )

    def _put(self, new: Sequence[JournalEntry], changed: Sequence[JournalEntry]) -> None:
        # Two statements for all: between any two, the loop's thread and this one would wait for
        # each other.
        if new:
            rows = [(*row_of(entry), self._next_revision()) for entry in new]
            self._connection.executemany(_INSERT, rows)
        if changed:
            rows = [
                (*changeable_of(entry), self._next_revision(), key_to_text(entry.key))
                for entry in changed
            ]
            found = self._connection.executemany(_UPDATE, rows).rowcount
            assert found == len(rows)  # noqa: S101 - whoever changes an entry has read it

    def _next_revision(self) -> int:
        self._revision += 1
        return self._revision

    def _put_facts(self, facts: Mapping[str, Any]) -> None:
        for name, value in facts.items():
            self._connection.execute(
                "INSERT INTO facts VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (name, json.dumps(value)),
            )

    @contextmanager
    def _transaction(self) -> Generator[None]:
        before = self._revision
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except BaseException as error:
            self._revision = before
            with suppress(sqlite3.Error):
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                is_full = error.sqlite_errorcode == sqlite3.SQLITE_FULL
                remedy = "make room on its disk" if is_full else "see to its disk"
                problem = f"could not be written ({error}), so nothing more is sent: {remedy}, then"
                raise JournalWriteFailed(
                    path=str(self._path), problem=f"{problem} go on with it"
                ) from None
            raise
        if self._lock is not None and self._revision > before:
            # What is committed is: a witness may be behind.
            with suppress(OSError):
                self._lock.witness(self._revision)

    # --- reading -------------------------------------------------------------------------

    def find(self, key: Key) -> JournalEntry | None:
        """Read the entry of a key."""
        row = self._one(f"{_SELECT} WHERE key = ?", key_to_text(key))
        return self._entry(row) if row else None

    def entries(
        self,
        states: Collection[KeyState] = frozenset(KeyState),
        *,
        after: int = 0,
        limit: int = -1,
        until_revision: int = _NEWEST,
        given: Mapping[Key, VideoRequest] = MappingProxyType({}),
    ) -> list[JournalEntry]:
        """Read entries in the order of their positions.

        Args:
            states: Those in these states.
            after: Those behind this position.
            limit: At most so many; all by default.
            until_revision: Those that no later write has touched.
            given: Requests that are at hand, by key.
        """
        marks = ", ".join("?" * len(states))
        rows = self._all(
            f"{_SELECT} WHERE position > ? AND state IN ({marks}) AND revision <= ? "
            "ORDER BY position LIMIT ?",
            after,
            *(state.value for state in states),
            until_revision,
            limit,
        )
        return [self._entry(row, given) for row in rows]

    def counts(self) -> dict[KeyState, int]:
        """Count the entries by state."""
        rows = self._all("SELECT state, count(*) FROM entries GROUP BY state")
        found = {str(state): int(count) for state, count in rows}
        return {state: found[state.value] for state in KeyState if state.value in found}

    def bearings(self) -> tuple[str, int]:
        """Tell which batch this is, and the number of the last write."""
        return str(self.facts()["batch_id"]), self._revision

    def facts(self) -> dict[str, Any]:
        """Read the facts about the journal as a whole."""
        rows = self._all("SELECT name, value FROM facts")
        return {name: json.loads(value) for name, value in rows}

    def _entry(
        self, row: Row, given: Mapping[Key, VideoRequest] = MappingProxyType({})
    ) -> JournalEntry:
        try:
            return entry_from_row(row, given)
        except ValueError as flaw:
            problem = f"holds a row that this library did not write ({flaw}): it was left as it is"
            raise JournalCorrupt(path=str(self._path), problem=problem) from None

    def _all(self, statement: str, *values: object) -> list[Row]:
        with as_journal_errors(self._path):
            return self._connection.execute(statement, values).fetchall()

    def _one(self, statement: str, *values: object) -> Row:
        with as_journal_errors(self._path):
            row: Row | None = self._connection.execute(statement, values).fetchone()
        return row or ()


def _is_there(path: Path) -> bool:
    # Also a link that leads nowhere is there, and refused as a link.
    return os.path.lexists(path)
