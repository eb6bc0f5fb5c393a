"""The journal's file: SQLite, opened with suspicion and written with fsync.

Everything here blocks, so it runs on the journal's own thread. A file that is not exactly what
this library wrote is refused and left as it is: it may be the only place where a paid id stands.
"""

from __future__ import annotations

import json
import os
import sqlite3
import uuid
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import attrs

from videos_async._driver_lock import DriverLock, open_private
from videos_async._rows import (
    COLUMNS,
    Row,
    changeable_of,
    entry_from_row,
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

__all__ = ["Database", "Write"]

_APPLICATION_ID: Final = 0x56494453  # "VIDS"
_VERSION: Final = 1
_BUSY_TIMEOUT_S: Final = 5.0
_NEWEST: Final = 2**63 - 1

_SCHEMA: Final = (
    """
CREATE TABLE entries (
    position    INTEGER PRIMARY KEY,
    key         TEXT    NOT NULL UNIQUE,
    request     TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    planned_at  REAL    NOT NULL,
    intent_at   REAL,
    changed_at  REAL    NOT NULL,
    task_id     TEXT,
    task        TEXT,
    error       TEXT,
    file        TEXT,
    rearmed     INTEGER NOT NULL,
    idempotency INTEGER NOT NULL,
    revision    INTEGER NOT NULL
) STRICT
""",
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
)

# What brings a journal of a version to the next one, by the version it is of.
_MIGRATIONS: Final[Mapping[int, str]] = {}

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


@attrs.frozen
class Write:
    """One entry to be written.

    Attributes:
        entry: The entry as it is to be.
        is_new: Whether the journal does not hold it yet.
    """

    entry: JournalEntry
    is_new: bool


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
        self._revision = 0

    # --- opening and closing -------------------------------------------------------------

    @classmethod
    def drive(cls, path: Path, *, may_create: bool, now: float) -> Database:
        """Open a journal to write to it, alone.

        What the last driver left as intent is put in doubt.

        Args:
            path: The file.
            may_create: Whether it may be new.
            now: The time, as a Unix time.

        Raises:
            JournalLocked: Another batch drives it.
            JournalCorrupt: It is damaged.
            JournalError: It cannot be used; the text says why.
        """
        if not may_create:
            _must_exist(path)
        lock = DriverLock(path)
        witnessed = lock.take()
        try:
            database = cls._open(path, lock, witnessed)
        except BaseException:
            # What was witnessed counts for the next driver as well.
            lock.release(is_settled=witnessed == 0)
            raise
        try:
            database.recover(now)
        except BaseException:
            database.close()
            raise
        return database

    @classmethod
    def _open(cls, path: Path, lock: DriverLock, witnessed: int) -> Database:
        _refuse_links(path)
        descriptor, is_made = open_private(path)
        is_empty = os.fstat(descriptor).st_size == 0
        os.close(descriptor)
        if is_made:
            _sync_directory(path.parent)
        if is_empty and witnessed:
            problem = f"is empty, but held {witnessed} writes before: restore it from a copy"
            raise JournalCorrupt(path=str(path), problem=problem)
        with _as_journal_errors(path):
            connection = _connect(path, "rw")
        database = cls(path, connection, lock)
        try:
            with _as_journal_errors(path):
                if is_empty:
                    database._create()
                database._prepare(witnessed)
        except BaseException:
            connection.close()
            raise
        return database

    @classmethod
    def read(cls, path: Path) -> Database:
        """Open a journal to look at it, while it is being driven or not.

        Raises:
            JournalCorrupt: It is damaged.
            JournalError: It cannot be used; the text says why.
        """
        _must_exist(path)
        _refuse_links(path)
        with _as_journal_errors(path):
            connection = _connect(path, "ro")
        database = cls(path, connection, None)
        try:
            with _as_journal_errors(path):
                database._check()
                database._check_version(is_driver=False)
        except BaseException:
            connection.close()
            raise
        return database

    def close(self) -> None:
        """Settle the file and let go of it; as often as one likes."""
        is_settled = False
        try:
            if self._lock is not None:
                with suppress(sqlite3.Error):
                    self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._connection.close()
            is_settled = not _beside(self._path, "-wal").exists()
        finally:
            if self._lock is not None:
                self._lock.release(is_settled=is_settled)

    def _create(self) -> None:
        # In one transaction, so that a process that dies here leaves an empty file.
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        self._connection.execute(f"PRAGMA user_version = {_VERSION}")
        for statement in _SCHEMA:
            self._connection.execute(statement)
        self._put_facts({"batch_id": uuid.uuid4().hex, "is_input_complete": False})
        self._connection.execute("COMMIT")

    def _prepare(self, witnessed: int) -> None:
        self._check()
        self._check_version(is_driver=True)
        (mode,) = self._one("PRAGMA journal_mode = WAL")
        if mode != "wal":
            problem = f"cannot be written ahead here (SQLite says {mode!r}): put it on a local disk"
            raise JournalError(path=str(self._path), problem=problem)
        self._connection.execute("PRAGMA synchronous = FULL")
        (self._revision,) = self._one("SELECT coalesce(max(revision), 0) FROM entries")
        if self._revision < witnessed:
            lost = witnessed - self._revision
            problem = (
                f"has lost its last {lost} writes (it ends at {self._revision} of {witnessed}): "
                f"its write-ahead log {_beside(self._path, '-wal')} was cut or taken away. "
                "Nothing was sent; bring that file back, as requests may be paid for that this "
                "file does not know of"
            )
            raise JournalCorrupt(path=str(self._path), problem=problem)

    def _check(self) -> None:
        if self._one("PRAGMA application_id") != (_APPLICATION_ID,):
            problem = "is a database, but no journal of videos_async: name another file"
            raise JournalError(path=str(self._path), problem=problem)
        found = [row[0] for row in self._connection.execute("PRAGMA integrity_check(3)")]
        if found != ["ok"]:
            problem = f"is damaged and was left as it is: {'; '.join(map(str, found))}"
            raise JournalCorrupt(path=str(self._path), problem=problem)

    def _check_version(self, *, is_driver: bool) -> None:
        (version,) = self._one("PRAGMA user_version")
        if version > _VERSION:
            problem = (
                f"is of version {version}, newer than the {_VERSION} that is known here: "
                "use the release of videos_async that wrote it, or a later one"
            )
            raise JournalError(path=str(self._path), problem=problem)
        if version < _VERSION and not is_driver:
            problem = f"is of version {version}: resume it once, which brings it to {_VERSION}"
            raise JournalError(path=str(self._path), problem=problem)
        if version < _VERSION:
            self._migrate(version)

    def _migrate(self, version: int) -> None:
        backup = _beside(self._path, f".v{version}.bak")
        descriptor, is_made = open_private(backup)
        os.close(descriptor)
        if not is_made and backup.stat().st_size:
            problem = f"is of version {version}, and its backup {backup} is there already: move it"
            raise JournalError(path=str(self._path), problem=problem)
        self._connection.execute("VACUUM INTO ?", (str(backup),))
        _sync(backup)
        for step in range(version, _VERSION):
            self._connection.executescript(
                f"BEGIN IMMEDIATE; {_MIGRATIONS[step]} PRAGMA user_version = {step + 1}; COMMIT;"
            )

    def recover(self, now: float) -> None:
        """Put in doubt what is: an intent of a driver that ended without its outcome."""
        reason = "the process that sent it ended before its answer was written down"
        writes: list[Write] = []
        for entry in self.entries({KeyState.INTENT}):
            doubt = SubmissionUncertain(request=entry.request, key=entry.key, reason=reason)
            writes.append(Write(entry.doubt(doubt, now), is_new=False))
        if writes:
            self.write(writes)

    # --- writing -------------------------------------------------------------------------

    def write(self, writes: Sequence[Write], facts: Mapping[str, Any] | None = None) -> None:
        """Write entries in one transaction, on the disk when this returns.

        Raises:
            JournalWriteFailed: None of them was written.
        """
        with self._transaction():
            for each in writes:
                self._put(each)
            self._put_facts(facts or {})

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
            for key, request in requests.items():
                if is_fresh or not self.has(key, request):
                    entry = JournalEntry(key=key, request=request, planned_at=now, changed_at=now)
                    self._put(Write(entry, is_new=True))
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

    def check_adoptable(self, task_id: str) -> None:
        """Make sure that no other key has the task.

        Raises:
            KeyStateError: One has.
        """
        row = self._one("SELECT key, state FROM entries WHERE task_id = ?", task_id)
        if row:
            raise KeyStateError(
                key=json.loads(row[0]),
                state=row[1],
                action=f"give its task {task_id} to another key",
                allowed=(),
            )

    def _put(self, write: Write) -> None:
        self._revision += 1
        entry = write.entry
        if write.is_new:
            self._connection.execute(_INSERT, (*row_of(entry), self._revision))
            return
        changed = self._connection.execute(
            _UPDATE, (*changeable_of(entry), self._revision, key_to_text(entry.key))
        )
        assert changed.rowcount == 1  # noqa: S101 - whoever changes an entry has read it

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
                problem = (
                    f"could not be written ({error}), so nothing more is sent: "
                    "make room, then resume"
                )
                raise JournalWriteFailed(path=str(self._path), problem=problem) from None
            raise
        if self._lock is not None and self._revision > before:
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
        rows = self._connection.execute(
            f"{_SELECT} WHERE position > ? AND state IN ({marks}) AND revision <= ? "
            "ORDER BY position LIMIT ?",
            (after, *(state.value for state in states), until_revision, limit),
        )
        return [self._entry(row, given) for row in rows]

    def counts(self) -> dict[KeyState, int]:
        """Count the entries by state."""
        rows = self._connection.execute("SELECT state, count(*) FROM entries GROUP BY state")
        found = {str(state): int(count) for state, count in rows}
        return {state: found[state.value] for state in KeyState if state.value in found}

    def bearings(self) -> tuple[str, int]:
        """Tell which batch this is, and the number of the last write."""
        return str(self.facts()["batch_id"]), self._revision

    def facts(self) -> dict[str, Any]:
        """Read the facts about the journal as a whole."""
        rows = self._connection.execute("SELECT name, value FROM facts")
        return {name: json.loads(value) for name, value in rows}

    def _entry(
        self, row: Row, given: Mapping[Key, VideoRequest] = MappingProxyType({})
    ) -> JournalEntry:
        try:
            return entry_from_row(row, given)
        except ValueError as flaw:
            problem = f"holds a row that this library did not write ({flaw}): it was left as it is"
            raise JournalCorrupt(path=str(self._path), problem=problem) from None

    def _one(self, statement: str, *values: object) -> tuple[Any, ...]:
        row: tuple[Any, ...] | None = self._connection.execute(statement, values).fetchone()
        return row or ()


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        timeout=_BUSY_TIMEOUT_S,
        # It is closed on the thread that opened it as a rule, but not when that one has ended.
        check_same_thread=False,
    )


@contextmanager
def _as_journal_errors(path: Path) -> Generator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        problem = f"cannot be opened ({error}): nothing is sent without a journal"
        raise JournalError(path=str(path), problem=problem) from None
    except sqlite3.DatabaseError as error:
        problem = f"is damaged, or no journal at all ({error}); it was left as it is"
        raise JournalCorrupt(path=str(path), problem=problem) from None


def _must_exist(path: Path) -> None:
    if not path.exists():
        problem = "does not exist: check the name, or start a batch with it"
        raise JournalError(path=str(path), problem=problem)


def _refuse_links(path: Path) -> None:
    for each in (path, _beside(path, "-wal"), _beside(path, "-shm")):
        if each.is_symlink():
            problem = "is a symbolic link, which could lead anywhere: name the file itself"
            raise JournalError(path=str(each), problem=problem)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
