"""The note beside a ``.part``: whose bytes they are, so that a later run may continue them.

It is JSON lines that are only ever added to, so a kill at any instant leaves a note that can be
read: the first line is written while the part is empty, and a last line that was cut is as good
as none.

- The first line says whose video it is, in which version (`Source`), and in which boot of the
  machine it was begun.
- Each further line says that so many bytes, with that digest, had reached the disk.

What a process wrote before it was killed stays in the system's cache, so within one boot the
part's length tells how much is good. After a power cut a part can be as long as it was and end in
zeros: then only what a line vouches for is taken.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

import attrs

from videos_async._ranges import Source

__all__ = ["Kept", "PartNote", "boot_id"]

_BOOT_ID_FILE: Final = Path("/proc/sys/kernel/random/boot_id")
_LIMIT_BYTES: Final = 1 << 18


def boot_id() -> str | None:
    """Name this boot of the machine, or None where the system has no name for it."""
    try:
        return _BOOT_ID_FILE.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None


@attrs.frozen(kw_only=True)
class Kept:
    """Bytes that had reached the disk: how many, and their digest in hex."""

    size_bytes: int = 0
    sha256: str | None = None


@attrs.frozen(kw_only=True)
class PartNote:
    """What the note says.

    Attributes:
        task_id: Whose video the part is of.
        source: Which version of it.
        boot: The boot in which it was begun, or None.
        kept: What had reached the disk when the part was last closed in order.
    """

    task_id: str
    source: Source
    boot: str | None = None
    kept: Kept = Kept()

    def write(self, path: Path) -> None:
        """Write the first line, in place of what was there."""
        line = {
            "task_id": self.task_id,
            "validator": self.source.validator,
            "length_bytes": self.source.length_bytes,
            "boot": self.boot,
        }
        _put(path, line, os.O_TRUNC)

    @staticmethod
    def add(path: Path, kept: Kept) -> None:
        """Add a line on what has reached the disk."""
        line = {"kept_bytes": kept.size_bytes, "sha256": kept.sha256}
        # Begun with a line break, as a kill may have cut the line before it.
        _put(path, line, os.O_APPEND, before=b"\n")

    @classmethod
    def read(cls, path: Path) -> PartNote | None:
        """Read a note, or None where there is none that makes sense.

        Raises:
            OSError: When what is there cannot be read.
        """
        try:
            descriptor = os.open(path, os.O_RDONLY | _FLAGS)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            first, *more = file.read(_LIMIT_BYTES).splitlines() or [b""]
        note = _read_first(first)
        for line in more if note is not None else ():
            kept = _read_kept(line)
            if note is not None and kept is not None:
                note = attrs.evolve(note, kept=kept)
        return note


# A link or a pipe planted under the name must neither lead away nor hold things up.
_FLAGS: Final = (
    getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
)


def _put(path: Path, line: Mapping[str, object], flag: int, *, before: bytes = b"") -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | flag | _FLAGS, 0o666)
    with os.fdopen(descriptor, "wb") as file:
        file.write(before + json.dumps(line).encode() + b"\n")


def _object(line: bytes) -> dict[str, object]:
    try:
        read: object = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, object]", read) if isinstance(read, dict) else {}


def _read_first(line: bytes) -> PartNote | None:
    match _object(line):
        case {
            "task_id": str(task_id),
            "validator": str() | None as validator,
            "length_bytes": int() | None as length,
            "boot": str() | None as boot,
        }:
            source = Source(validator=validator, length_bytes=length)
            return PartNote(task_id=task_id, source=source, boot=boot)
        case _:
            return None


def _read_kept(line: bytes) -> Kept | None:
    match _object(line):
        case {"kept_bytes": int(size), "sha256": str(digest)}:
            return Kept(size_bytes=size, sha256=digest)
        case _:
            return None
