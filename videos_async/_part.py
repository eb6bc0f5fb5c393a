"""The ``.part`` beside a target: locked, written, continued, and renamed once it is whole.

Everything here blocks and is called off the loop. The order of the steps is what makes a kill at
any instant harmless:

- A note (`_part_note`) is written while the part is empty, so bytes never stand under a note of
  another version.
- The part is locked as long as it is open, and an open one that lost its name to somebody else's
  rename is opened anew, so two writers never meet in one file.
- A whole part is flushed to the disk, then takes the target's name, then loses its own; the
  directory is flushed last.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from videos_async._contents import Contents
from videos_async._download import OnExisting
from videos_async._lock import lock_file
from videos_async._part_note import Kept, PartNote, boot_id
from videos_async._ranges import Source

__all__ = ["NoRoom", "Part", "PartBusy", "tidy"]

_FLAGS: Final = (
    os.O_RDWR
    | os.O_CREAT
    # A link planted beside the target must not send the bytes elsewhere, nor a pipe hold us up.
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)
_HASHED_AT_ONCE_BYTES: Final = 1 << 20
_SLICE_BYTES: Final = 1 << 25
_OPEN_TRIES: Final = 10
# What directories say that cannot be flushed: some network and FUSE file systems.
_NOT_FLUSHED: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EACCES})


class PartBusy(Exception):
    """Somebody else is writing the part. Never leaves the library."""


class NoRoom(OSError):
    """The disk has less room than is needed. Never leaves the library."""

    def __init__(self, needed_bytes: int, free_bytes: int) -> None:
        super().__init__(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes


class Part:
    """A file on its way to a target. Methods may come from any thread; they take turns.

    Args:
        target: The final name.
        task_id: Whose video it is.
        on_existing: What to do where the target is there already.

    Attributes:
        path: Where the bytes are until they are whole.
        contents: The bytes that are there and good.
        source: The version they are of.
    """

    def __init__(self, target: Path, *, task_id: str, on_existing: OnExisting) -> None:
        self.path = _part_of(target)
        self.contents = Contents()
        self.source = Source()
        self._target = target
        self._task_id = task_id
        self._on_existing = on_existing
        self._note_path = _note_of(target)
        # A thread outlives the call that was cancelled: who closes waits for who writes.
        self._turn = threading.Lock()
        self._descriptor: int | None = None
        self._good_bytes = 0
        self._kept = Kept()
        self._is_begun = False

    # --- open ----------------------------------------------------------------------------

    def open(self) -> None:
        """Lock the part, and find out how much of it is good; `hash_some` then reads it.

        Raises:
            PartBusy: When somebody else is writing it.
            FileExistsError: When the target is there and is not to be replaced.
            OSError: When the file system refuses.
        """
        with self._turn:
            self._refuse_existing()
            self._descriptor = self._open_locked()
            try:
                # The one who had the lock until now may just have finished.
                self._refuse_existing()
                self._take_up()
            except BaseException:
                self._close()
                raise

    def _refuse_existing(self) -> None:
        if self._target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a directory: give a file's name as well")
        if self._on_existing is OnExisting.REFUSE and os.path.lexists(self._target):
            tidy(self._target)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    def _open_locked(self) -> int:
        for _ in range(_OPEN_TRIES):
            descriptor = os.open(self.path, _FLAGS, 0o666)
            try:
                if self._lock(descriptor):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
        raise PartBusy

    def _lock(self, descriptor: int) -> bool:
        """Lock an open part; False where the name has come to mean another file."""
        opened = os.fstat(descriptor)
        if not stat.S_ISREG(opened.st_mode):
            raise OSError(errno.EINVAL, f"{self.path.name} is there and is no file: remove it")
        if not lock_file(descriptor):
            raise PartBusy
        try:
            named = os.lstat(self.path)
        except FileNotFoundError:
            return False
        if not os.path.samestat(os.fstat(descriptor), named):
            return False
        if named.st_nlink > 1:
            # It is another file as well: a target, after a kill between its two names. What
            # stands there under its own name must not be written to.
            self.path.unlink()
            return False
        return True

    def _take_up(self) -> None:
        assert self._descriptor is not None  # noqa: S101 - it was opened just now
        size = os.fstat(self._descriptor).st_size
        note = PartNote.read(self._note_path) if size else None
        if note is None or note.task_id != self._task_id or note.source.validator is None:
            return
        is_same_boot = note.boot == boot_id()
        self._good_bytes = size if is_same_boot else min(size, note.kept.size_bytes)
        self._kept = note.kept
        if self._good_bytes >= self._kept.size_bytes:
            self.source = note.source
        else:
            self._good_bytes = 0

    def hash_some(self) -> bool:
        """Read what is good, some of it at a time; True when all of it is read.

        Raises:
            OSError: When it cannot be read.
        """
        with self._turn:
            descriptor = self._open_descriptor
            until = min(self.contents.size_bytes + _SLICE_BYTES, self._good_bytes)
            while self.contents.size_bytes < until:
                if not self._hash_next(descriptor):
                    break
            is_read = self.contents.size_bytes >= self._good_bytes
            if is_read and self._good_bytes:
                os.ftruncate(descriptor, self._good_bytes)
            return is_read

    def _hash_next(self, descriptor: int) -> bool:
        here = self.contents.size_bytes
        # A stop where a digest was taken, to compare it.
        checked = self._kept.size_bytes if here < self._kept.size_bytes else self._good_bytes
        data = os.read(descriptor, min(_HASHED_AT_ONCE_BYTES, checked - here))
        self.contents.feed([data])
        is_at_mark = self.contents.size_bytes == self._kept.size_bytes
        if not data or (is_at_mark and self.contents.sha256 != self._kept.sha256):
            # Not what was written: nothing of it is good.
            self.contents, self.source, self._good_bytes = Contents(), Source(), 0
            return False
        return True

    # --- write ---------------------------------------------------------------------------

    def begin(self, source: Source) -> None:
        """Empty the part and note which version it is to be of."""
        with self._turn:
            descriptor = self._open_descriptor
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            self.contents, self.source, self._kept = Contents(), source, Kept()
            self._is_begun = True
            PartNote(task_id=self._task_id, source=source, boot=boot_id()).write(self._note_path)

    def reserve(self, more_bytes: int) -> None:
        """See that the disk has room.

        Raises:
            NoRoom: When it has not.
        """
        free_bytes = shutil.disk_usage(self._target.parent).free
        if free_bytes < more_bytes:
            raise NoRoom(more_bytes, free_bytes)

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Write the next bytes. Where the disk gets full, what was written counts."""
        with self._turn:
            descriptor = self._open_descriptor
            (data,) = pieces if len(pieces) == 1 else (b"".join(pieces),)
            rest = memoryview(data)
            while rest:
                written = os.write(descriptor, rest)
                self.contents.feed([rest[:written]])
                rest = rest[written:]

    # --- end -----------------------------------------------------------------------------

    def finish(self) -> None:
        """Flush the part and give it the target's name.

        Raises:
            FileExistsError: When something took the name meanwhile; the part stays.
            OSError: When the file system refuses; the part stays.
        """
        with self._turn:
            os.fsync(self._open_descriptor)
            if os.name == "nt":  # which renames no file that is open
                self._free()
            self._put_in_place()
            self._note_path.unlink(missing_ok=True)
            _flush_directory(self._target.parent)
            self._free()

    def _put_in_place(self) -> None:
        if self._on_existing is OnExisting.REPLACE:
            self.path.replace(self._target)
            return
        try:
            # Unlike a rename, a link fails where something took the name meanwhile.
            os.link(self.path, self._target)
        except FileExistsError:
            raise
        except OSError:
            # A file system without links: a look and a rename is the best there is.
            if os.path.lexists(self._target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
            self.path.rename(self._target)
        else:
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Keep what is there for a later run, and free it; an empty part is removed.

        Raises:
            OSError: When what is there could not be flushed; it is freed all the same.
        """
        with self._turn:
            self._close()

    def _close(self) -> None:
        descriptor = self._descriptor
        if descriptor is None:
            return
        try:
            size = self.contents.size_bytes
            if not os.fstat(descriptor).st_size:
                self.path.unlink()
                self._note_path.unlink(missing_ok=True)
            elif size > self._kept.size_bytes and self.source.validator is not None:
                os.fsync(descriptor)
                kept = Kept(size_bytes=size, sha256=self.contents.sha256)
                PartNote.add(self._note_path, kept)
        finally:
            self._free()

    def _free(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    @property
    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise OSError(errno.EBADF, "the part was closed")
        return self._descriptor


def tidy(target: Path) -> None:
    """Do the last steps of `Part.finish`, where a kill in the midst of them left any undone."""
    part = _part_of(target)
    try:
        is_leftover = os.path.samestat(part.lstat(), target.lstat())
    except FileNotFoundError:
        is_leftover = not os.path.lexists(part)
    if is_leftover:
        part.unlink(missing_ok=True)
        _note_of(target).unlink(missing_ok=True)
        _flush_directory(target.parent)


def _part_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def _note_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.part.json")


def _flush_directory(directory: Path) -> None:
    """Make the new name survive a power cut, where the system lets a directory be flushed."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_FLUSHED:
            raise
    finally:
        os.close(descriptor)
