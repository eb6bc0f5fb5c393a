"""A journal's file: made whole, opened with suspicion, brought to the version that is known here.

A file that is not exactly what this library wrote is refused and left as it is: it may be the
only place where a paid id stands. So it is judged over a connection that cannot write, which
neither rolls back nor checkpoints, before one that can is opened; and a new one is made under
another name, so that a process that dies at it leaves no half of a journal behind.
"""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import count
from json import dumps
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import attrs

from videos_async._driver_lock import open_private, problem_of, problem_of_reading
from videos_async.errors import JournalCorrupt, JournalError

__all__ = ["SCHEMA", "Schema", "as_journal_errors", "log_of", "open_to_drive", "open_to_read"]

_APPLICATION_ID: Final = 0x56494453  # "VIDS"
_BUSY_TIMEOUT_S: Final = 5.0


@attrs.frozen(kw_only=True)
class Schema:
    """What is in a journal's file.

    Attributes:
        version: Its number, which the file bears.
        statements: What makes it.
        migrations: What brings a file of a version to the next one, by the version it is of.
    """

    version: int
    statements: Sequence[str]
    migrations: Mapping[int, Sequence[str]] = MappingProxyType({})


SCHEMA: Final = Schema(
    version=1,
    statements=(
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
    ),
)


# --- opening -------------------------------------------------------------------------------


def open_to_drive(
    path: Path, *, may_create: bool, witnessed: int, schema: Schema
) -> sqlite3.Connection:
    """Open a journal to write to it; only for whom holds its lock.

    Args:
        path: The file.
        may_create: Whether it may be new.
        witnessed: The number of the last write that it must hold.
        schema: What is to be in it.

    Raises:
        JournalCorrupt: It is damaged, or parts of it are missing.
        JournalError: It cannot be used; the text says why.
    """
    _refuse_strangers(path, problem_of)
    if _size_bytes(path) == 0:
        _refuse_lost(path, witnessed)
        if not may_create:
            raise JournalError(path=str(path), problem=_EMPTY)
        with as_journal_errors(path):
            _make(path, schema)
    with as_journal_errors(path), closing(_connect(path, "mode=ro")) as reader:
        _judge(path, reader, witnessed, schema)
    with as_journal_errors(path):
        connection = _connect(path, "mode=rw")
        try:
            _settle(path, connection, schema)
        except BaseException:
            connection.close()
            raise
    return connection


def open_to_read(path: Path, *, witnessed: int, schema: Schema) -> sqlite3.Connection:
    """Open a journal to look at it, while it is being driven or not; arguments as above."""
    _refuse_strangers(path, problem_of_reading)
    if _size_bytes(path) == 0:
        _refuse_lost(path, witnessed)
        raise JournalError(path=str(path), problem=_missing(path))
    # SQLite takes notes of its readers beside the file. Where nobody can write there, nobody
    # changes it either; but what a log holds cannot be read without them.
    is_still = not log_of(path).exists() and not os.access(path.parent, os.W_OK)
    with as_journal_errors(path):
        connection = _connect(path, "mode=ro&immutable=1" if is_still else "mode=ro")
        try:
            version = _judge(path, connection, witnessed, schema)
        except BaseException:
            connection.close()
            raise
    if version < schema.version:
        connection.close()
        problem = f"is of version {version}: resume it once, which brings it to {schema.version}"
        raise JournalError(path=str(path), problem=problem)
    return connection


_EMPTY: Final = "is empty, no batch was written to it: check the name, or start a batch with it"


def _missing(path: Path) -> str:
    return _EMPTY if path.exists() else "does not exist: check the name, or start a batch with it"


def _connect(path: Path, how: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?{how}",
        uri=True,
        isolation_level=None,
        timeout=_BUSY_TIMEOUT_S,
        # It is closed on the thread that opened it as a rule, but not when that one has ended.
        check_same_thread=False,
    )


def _settle(path: Path, connection: sqlite3.Connection, schema: Schema) -> None:
    (mode,) = _one(connection, "PRAGMA journal_mode = WAL")
    if mode != "wal":
        problem = f"cannot be written ahead here (SQLite says {mode!r}): put it on a local disk"
        raise JournalError(path=str(path), problem=problem)
    connection.execute("PRAGMA synchronous = FULL")
    (version,) = _one(connection, "PRAGMA user_version")
    if version < schema.version:
        _migrate(path, connection, version, schema)


@contextmanager
def as_journal_errors(path: Path) -> Generator[None]:
    """Tell of what SQLite and the system cannot do as errors of the journal."""
    try:
        yield
    except sqlite3.OperationalError as error:
        problem = f"cannot be used ({error}): nothing is sent without a journal"
        raise JournalError(path=str(path), problem=problem) from None
    except sqlite3.DatabaseError as error:
        is_none = error.sqlite_errorcode == sqlite3.SQLITE_NOTADB
        what = "is no journal, or one whose head is destroyed" if is_none else "is damaged"
        problem = (
            f"{what} ({error}); it was left as it is and nothing was sent: bring it back from a "
            "copy, or name another file"
        )
        raise JournalCorrupt(path=str(path), problem=problem) from None
    except OSError as error:
        reason = error.strerror or error
        problem = f"cannot be used ({reason}): nothing is sent without a journal"
        raise JournalError(path=str(path), problem=problem) from None


# --- judging -------------------------------------------------------------------------------


def _judge(path: Path, connection: sqlite3.Connection, witnessed: int, schema: Schema) -> int:
    """Make sure that a file is a whole journal; return its version."""
    if _one(connection, "PRAGMA application_id") != (_APPLICATION_ID,):
        problem = "is a database, but no journal of videos_async: name another file"
        raise JournalError(path=str(path), problem=problem)
    (version,) = _one(connection, "PRAGMA user_version")
    if version > schema.version:
        problem = (
            f"is of version {version}, newer than the {schema.version} that is known here: "
            "use the release of videos_async that wrote it, or a later one"
        )
        raise JournalError(path=str(path), problem=problem)
    found = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
    if found != ["ok"]:
        problem = (
            f"is damaged ({'; '.join(map(str, found))}); it was left as it is and nothing was "
            "sent: bring it back from a copy"
        )
        raise JournalCorrupt(path=str(path), problem=problem)
    (revision,) = _one(connection, "SELECT coalesce(max(revision), 0) FROM entries")
    if revision < witnessed:
        lost = "its last write" if witnessed - revision == 1 else f"{witnessed - revision} writes"
        problem = (
            f"has lost {lost} (it ends at {revision} of {witnessed}): its write-ahead log "
            f"{log_of(path)} was cut or taken away. Nothing was sent; bring that file back, as "
            "requests may be paid for that this file does not know of"
        )
        raise JournalCorrupt(path=str(path), problem=problem)
    return int(version)


def _refuse_strangers(path: Path, problem_of: Callable[[os.stat_result], str | None]) -> None:
    """Refuse what could lead elsewhere, and what others could have written."""
    for each in (path, log_of(path), _beside(path, "-shm"), _beside(path, "-journal")):
        try:
            found = each.lstat()
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise JournalError(path=str(each), problem=f"cannot be looked at: {reason}") from None
        problem = problem_of(found)
        if problem is not None:
            raise JournalError(path=str(each), problem=problem)


def _refuse_lost(path: Path, witnessed: int) -> None:
    """Refuse to begin anew where a journal was before."""
    log = log_of(path)
    if not witnessed and not _size_bytes(log):
        return
    what = "is empty" if path.exists() else "is missing"
    held = f"it held {witnessed} writes" if witnessed else f"its write-ahead log {log} is not"
    problem = (
        f"{what}, but {held}, and requests may be paid for that nothing else knows of: bring the "
        f"file back. Only if it was thrown away on purpose, take {path.name}.lock and "
        f"{log.name} away as well"
    )
    raise JournalCorrupt(path=str(path), problem=problem)


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


# --- making --------------------------------------------------------------------------------


def _make(path: Path, schema: Schema) -> None:
    new = _beside(path, ".new")
    for each in _with_companions(new):
        # Of a process that died here.
        each.unlink(missing_ok=True)
    descriptor, _ = open_private(new)
    os.close(descriptor)
    try:
        with closing(_connect(new, "mode=rw")) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {schema.version}")
            for statement in schema.statements:
                connection.execute(statement)
            facts = {"batch_id": uuid.uuid4().hex, "is_input_complete": False}
            connection.executemany(
                "INSERT INTO facts VALUES (?, ?)",
                [(name, dumps(value)) for name, value in facts.items()],
            )
            connection.execute("COMMIT")
        _sync(new)
        new.replace(path)
    except BaseException:
        for each in _with_companions(new):
            with suppress(OSError):
                each.unlink(missing_ok=True)
        raise
    _sync(path.parent)


# --- migrating -----------------------------------------------------------------------------


def _migrate(path: Path, connection: sqlite3.Connection, version: int, schema: Schema) -> None:
    """Bring a journal to the version that is known here: wholly, or not at all."""
    backup = _back_up(path, connection, version)
    try:
        connection.execute("BEGIN IMMEDIATE")
        for step in range(version, schema.version):
            for statement in schema.migrations[step]:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {schema.version}")
        connection.execute("COMMIT")
    except (sqlite3.Error, KeyError) as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        problem = (
            f"could not be brought from version {version} to {schema.version} ({error!r}) and is "
            f"as it was, a copy of it in {backup}: use the release of videos_async that wrote it"
        )
        raise JournalError(path=str(path), problem=problem) from None


def _back_up(path: Path, connection: sqlite3.Connection, version: int) -> Path:
    """Copy a journal beside itself, under a name that is free; the copy is whole or not there."""
    new = _beside(path, ".bak.new")
    new.unlink(missing_ok=True)
    descriptor, _ = open_private(new)
    os.close(descriptor)
    try:
        connection.execute("VACUUM INTO ?", (str(new),))
        _sync(new)
        # Whoever holds the journal's lock is the only one to take such a name.
        name = next(name for name in _backup_names(path, version) if not os.path.lexists(name))
        new.rename(name)
    finally:
        new.unlink(missing_ok=True)
    _sync(path.parent)
    return name


def _backup_names(path: Path, version: int) -> Iterator[Path]:
    yield _beside(path, f".v{version}.bak")
    for number in count(2):
        yield _beside(path, f".v{version}.bak{number}")


# --- files ---------------------------------------------------------------------------------


def log_of(path: Path) -> Path:
    """Name the write-ahead log of a database."""
    return _beside(path, "-wal")


def _with_companions(path: Path) -> tuple[Path, ...]:
    return path, log_of(path), _beside(path, "-shm"), _beside(path, "-journal")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _sync(path: Path) -> None:
    """Bring a file, or the names in a directory, to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _one(connection: sqlite3.Connection, statement: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(statement).fetchone()
    return row or ()
