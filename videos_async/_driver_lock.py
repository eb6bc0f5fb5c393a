"""One driver per journal: an operating system's lock on a file beside it.

The lock lives in a file of its own, because SQLite's own locks on a database are lost when any
other descriptor of it is closed in the process (POSIX record locks), and it is a `flock`, which
two openings within one process do not share and which dies with the process that holds it.

The file says who holds it and, at its end, how far the journal's writes had come: a journal that
is found at an earlier write than that has lost some, which SQLite itself cannot tell from a write
that never was. The witness is written after each commit and never flushed, so it can be behind
the journal, after a power failure, but not ahead of it. A driver that ends well takes it away.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from videos_async.errors import JournalCorrupt, JournalError, JournalLocked

if sys.platform != "win32":
    import fcntl

__all__ = ["DriverLock", "open_private", "problem_of", "problem_of_reading"]

_SUFFIX: Final = ".lock"
_WITNESS_BYTES: Final = 20
_HOLDER_LIMIT_BYTES: Final = 1000
# Who only asks for the holder has the lock for a moment.
_TRIES: Final = 5
_BETWEEN_TRIES_S: Final = 0.01


def open_private(path: Path) -> tuple[int, bool]:
    """Open a file that is ours alone, or make it so; never through a symbolic link.

    Returns:
        Its descriptor, and whether it was made.

    Raises:
        JournalError: It cannot be made, or others could write to it.
    """
    try:
        descriptor, is_made = _opened_or_made(path)
        if is_made:
            # A umask may have taken away what is needed.
            os.fchmod(descriptor, 0o600)
            return descriptor, True
    except (OSError, ValueError) as error:
        raise JournalError(path=str(path), problem=_reason(error)) from None
    problem = problem_of(os.fstat(descriptor))
    if problem is None:
        return descriptor, False
    os.close(descriptor)
    raise JournalError(path=str(path), problem=problem)


def _opened_or_made(path: Path) -> tuple[int, bool]:
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        with suppress(FileExistsError):
            return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600), True
        # Whoever made it may take it away just now: then it is to be made again. That its
        # directory is missing is found out above.
        with suppress(FileNotFoundError):
            return os.open(path, flags | os.O_NONBLOCK), False


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, ValueError):
        return f"can be no file ({error}): give it another name"
    if error.errno == errno.ELOOP:
        return _LINK
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"may not be opened ({error.strerror}): nothing is sent without a journal"
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return f"has no directory to be in ({error.strerror}): make it first"
    return f"cannot be opened ({error.strerror or error}): nothing is sent without a journal"


_LINK: Final = "is a symbolic link, which could lead anywhere: name the file itself"


def problem_of_reading(found: os.stat_result) -> str | None:
    """Tell why something is no file to be looked into, or None where it is."""
    if stat.S_ISLNK(found.st_mode):
        return _LINK
    if not stat.S_ISREG(found.st_mode):
        return "is no regular file: name one, or one that does not exist yet"
    return None


def problem_of(found: os.stat_result) -> str | None:
    """Tell why something is no file that is ours alone, or None where it is."""
    problem = problem_of_reading(found)
    if problem is not None:
        return problem
    mode = stat.S_IMODE(found.st_mode)
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"can be written by others (mode {mode:04o}): make it yours with chmod 600"
    if sys.platform != "win32" and found.st_uid != os.geteuid():
        return f"belongs to another user (uid {found.st_uid}): run as that user, or chown it"
    return None


class DriverLock:
    """The right to drive a journal, held from `take` to `release`.

    Args:
        journal: The journal's file.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._path = journal.with_name(journal.name + _SUFFIX)
        self._descriptor: int | None = None

    @property
    def is_beside(self) -> bool:
        """Whether there is a lock file, held or left behind."""
        return os.path.lexists(self._path)

    @property
    def witnessed(self) -> int:
        """The number of a write that the journal holds by now, 0 where none is witnessed.

        Raises:
            JournalError: The lock file is none of ours.
        """
        descriptor = self._look()
        if descriptor is None:
            return 0
        try:
            return self._read_witness(descriptor)
        finally:
            os.close(descriptor)

    def held_by(self) -> JournalLocked | None:
        """Tell who holds the lock, as the error that taking it would raise."""
        if sys.platform == "win32":
            return None
        descriptor = self._look()
        if descriptor is None:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return self._held(os.pread(descriptor, _HOLDER_LIMIT_BYTES, _WITNESS_BYTES))
        except OSError:
            # Where there are no locks nobody holds one.
            return None
        finally:
            os.close(descriptor)
        return None

    def _look(self) -> int | None:
        """Open the lock file for reading, where there is one."""
        try:
            descriptor = os.open(
                self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise JournalError(path=str(self._path), problem=_reason(error)) from None
        problem = problem_of_reading(os.fstat(descriptor))
        if problem is not None:
            os.close(descriptor)
            raise JournalError(path=str(self._path), problem=problem)
        return descriptor

    def take(self) -> int:
        """Take the lock.

        Returns:
            The number of the last write that the journal must hold, 0 where none is witnessed.

        Raises:
            JournalLocked: Somebody else holds it.
            JournalError: It cannot be had here.
        """
        if sys.platform == "win32":
            problem = "cannot be locked: journals need a system with POSIX locks"
            raise JournalError(path=str(self._journal), problem=problem)
        while True:
            descriptor, is_made = open_private(self._path)
            try:
                self._lock(descriptor)
                if self._is_still(descriptor):
                    witnessed = self._sign(descriptor)
                    break
            except BaseException as error:
                if is_made and not isinstance(error, JournalLocked):
                    self._path.unlink(missing_ok=True)
                os.close(descriptor)
                raise
            # The driver before us took it away between our opening and our locking it.
            os.close(descriptor)
        self._descriptor = descriptor
        return witnessed

    def _sign(self, descriptor: int) -> int:
        """Say who holds the lock, and leave the witness as it is."""
        witnessed = self._read_witness(descriptor)
        holder = {"pid": os.getpid(), "host": socket.gethostname()}
        told = json.dumps(holder).encode()[:_HOLDER_LIMIT_BYTES]
        try:
            os.pwrite(descriptor, b"%0*d" % (_WITNESS_BYTES, witnessed), 0)
            os.ftruncate(descriptor, _WITNESS_BYTES)
            os.pwrite(descriptor, told, _WITNESS_BYTES)
        except OSError as error:
            raise JournalError(path=str(self._path), problem=_reason(error)) from None
        return witnessed

    def witness(self, revision: int) -> None:
        """Note that the journal holds this write."""
        assert self._descriptor is not None  # noqa: S101 - only a driver writes
        # The write is on the disk and stays there: a witness that is behind is still true.
        with suppress(OSError):
            os.pwrite(self._descriptor, b"%0*d" % (_WITNESS_BYTES, revision), 0)

    def release(self, *, is_settled: bool) -> None:
        """Give the lock up; `is_settled` tells that the journal stands whole in one file."""
        if self._descriptor is None:
            return
        try:
            if is_settled:
                self._path.unlink(missing_ok=True)
        finally:
            os.close(self._descriptor)
            self._descriptor = None

    def _lock(self, descriptor: int) -> None:
        assert sys.platform != "win32"  # noqa: S101 - refused before it comes to this
        try:
            for tries_left in reversed(range(_TRIES)):
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if not tries_left:
                        told = os.pread(descriptor, _HOLDER_LIMIT_BYTES, _WITNESS_BYTES)
                        raise self._held(told) from None
                    time.sleep(_BETWEEN_TRIES_S)
                else:
                    return
        except OSError as error:
            problem = (
                f"cannot be locked ({error.strerror or error}), so two programs could pay for "
                "the same request: put it on a file system with locks, a local disk say"
            )
            raise JournalError(path=str(self._journal), problem=problem) from None

    def _held(self, told: bytes) -> JournalLocked:
        try:
            holder = json.loads(told)
            pid, host = int(holder["pid"]), str(holder["host"])
        except (ValueError, TypeError, KeyError):
            # It has just taken it and said nothing yet.
            problem = "is driven by another batch now: wait for its end"
            return JournalLocked(path=str(self._journal), problem=problem)
        problem = f"is driven by process {pid} on {host} now: wait for its end, or stop it first"
        return JournalLocked(path=str(self._journal), problem=problem, pid=pid, host=host)

    def _is_still(self, descriptor: int) -> bool:
        """Tell whether what was locked is what stands under the name."""
        try:
            found = self._path.lstat()
        except FileNotFoundError:
            return False
        return os.path.samestat(found, os.fstat(descriptor))

    def _read_witness(self, descriptor: int) -> int:
        told = os.pread(descriptor, _WITNESS_BYTES, 0)
        if not told:
            return 0
        if len(told) == _WITNESS_BYTES and told.isdigit():
            return int(told)
        problem = (
            f"has a lock file {self._path} that is none: look what it is, and take it away when "
            "you are sure that nothing drives the journal"
        )
        raise JournalCorrupt(path=str(self._journal), problem=problem)
