"""Everything that can be wrong with a journal before it is opened, each made on a real disk."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import attrs
import pytest

from tests.journals import accepted, driven, killed_journal
from videos_async import JournalCorrupt, JournalError

__all__ = ["FAULTS", "READ_FAULTS", "Fault"]

_FRAME_BYTES: Final = 24 + 4096
_LOG_HEAD_BYTES: Final = 32


@attrs.frozen
class Fault:
    """One thing that is wrong.

    Attributes:
        name: What it is.
        make: Makes it of a path.
        text: What the error says of it, as a pattern.
        kind: The error.
        is_read: Whether it keeps a journal from being read as well.
        suffix: What the name of the file that the error names ends in.
    """

    name: str
    make: Callable[[Path], None]
    text: str
    kind: type[JournalError] = JournalError
    is_read: bool = True
    suffix: str = ""


def _journal(path: Path) -> None:
    with driven(path) as database:
        database.write([accepted(key) for key in range(300)])


def _link_to_a_journal(path: Path) -> None:
    real = path.with_name("real.sqlite")
    _journal(real)
    path.symlink_to(real)


def _link_beside(suffix: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        _journal(path)
        victim = path.with_name("victim")
        victim.write_bytes(b"not yours")
        path.with_name(path.name + suffix).symlink_to(victim)

    return make


def _shared(path: Path) -> None:
    _journal(path)
    path.chmod(0o666)


def _foreign(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("gives a file to another user, which takes root")
    _journal(path)
    os.chown(path, 65534, 65534)


def _other_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE accounts (owner)")
        connection.execute("INSERT INTO accounts VALUES ('me')")
        connection.commit()
    path.chmod(0o600)


def _no_database(path: Path) -> None:
    path.write_bytes(b"Dear diary, today I wrote no journal. " * 200)
    path.chmod(0o600)


def _bad_page(path: Path) -> None:
    _journal(path)
    with path.open("rb+") as file:
        file.seek(4 * 4096)
        file.write(random.Random(0).randbytes(4096))


def _cut_short(path: Path) -> None:
    _journal(path)
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)


def _only_a_head(path: Path) -> None:
    _journal(path)
    os.truncate(path, 50)


def _newer(path: Path) -> None:
    _journal(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


def _emptied(path: Path) -> None:
    killed_journal(path)
    os.truncate(path, 0)


def _removed(path: Path) -> None:
    killed_journal(path)
    path.unlink()


def _removed_with_its_lock(path: Path) -> None:
    _removed(path)
    path.with_name(path.name + ".lock").unlink()


def _log_cut(how: Callable[[int], int]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        killed_journal(path, count=20)
        log = path.with_name(path.name + "-wal")
        size = log.stat().st_size
        assert size > _LOG_HEAD_BYTES + 3 * _FRAME_BYTES
        os.truncate(log, how(size))
        # It is made anew from the log, after a crash of the machine at the latest.
        path.with_name(path.name + "-shm").unlink(missing_ok=True)

    return make


def _log_removed(path: Path) -> None:
    killed_journal(path)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink()


LINK: Final = "is a symbolic link, which could lead anywhere: name the file itself"
LOST: Final = (
    r"has lost (its last write|\d+ writes) \(it ends at \d+ of \d+\): its write-ahead log \S+-wal "
    r"was cut or taken away\. Nothing was sent; bring that file back"
)

FAULTS: Final = (
    Fault("a symlink", _link_to_a_journal, LINK),
    Fault("a symlink to nothing", lambda path: path.symlink_to("nowhere"), LINK),
    Fault("a log that is a symlink", _link_beside("-wal"), LINK, suffix="-wal"),
    Fault("an index that is a symlink", _link_beside("-shm"), LINK, suffix="-shm"),
    Fault("a rollback that is a symlink", _link_beside("-journal"), LINK, suffix="-journal"),
    Fault("a lock that is a symlink", _link_beside(".lock"), LINK, suffix=".lock"),
    Fault(
        "a file that others can write",
        _shared,
        r"can be written by others \(mode 0666\): make it yours with chmod 600",
        is_read=False,
    ),
    Fault(
        "a file of another user",
        _foreign,
        r"belongs to another user \(uid 65534\): run as that user, or chown it",
        is_read=False,
    ),
    Fault("a directory", Path.mkdir, "is no regular file: name one"),
    Fault("a pipe", os.mkfifo, "is no regular file: name one"),
    Fault("a database of somebody else", _other_database, "is a database, but no journal"),
    Fault(
        "a file that is no database",
        _no_database,
        r"is no journal, or one whose head is destroyed \(file is not a database\); it was left",
        JournalCorrupt,
    ),
    Fault("a bad page", _bad_page, r"is damaged \(.*; it was left as it is", JournalCorrupt),
    Fault("a file cut short", _cut_short, "is damaged.*; it was left as it is", JournalCorrupt),
    Fault("a file of 50 bytes", _only_a_head, "is a database, but no journal of videos_async"),
    Fault("a newer version", _newer, "is of version 99, newer than the 1 that is known here: use"),
    Fault(
        "a journal that was emptied",
        _emptied,
        r"is empty, but it held 3 writes, and requests may be paid for .*: bring the file back",
        JournalCorrupt,
    ),
    Fault(
        "a journal that was removed",
        _removed,
        r"is missing, but it held 3 writes, .*: bring the file back",
        JournalCorrupt,
    ),
    Fault(
        "a log without its journal",
        _removed_with_its_lock,
        r"is missing, but its write-ahead log \S+-wal is not, .*: bring the file back",
        JournalCorrupt,
    ),
    Fault(
        "a log cut between two frames",
        _log_cut(lambda size: size - _FRAME_BYTES),
        LOST,
        JournalCorrupt,
    ),
    Fault(
        "a log cut in a frame",
        _log_cut(lambda size: size - _FRAME_BYTES // 2),
        LOST,
        JournalCorrupt,
    ),
    Fault("a log cut to its head", _log_cut(lambda _: _LOG_HEAD_BYTES), LOST, JournalCorrupt),
    Fault("a log cut to nothing", _log_cut(lambda _: 0), LOST, JournalCorrupt),
    Fault("a log that was removed", _log_removed, LOST, JournalCorrupt),
)
READ_FAULTS: Final = tuple(fault for fault in FAULTS if fault.is_read)
