"""Whether an MP4 has its end, told by its boxes alone.

An MP4 is a row of boxes, each of which begins with its size and type (ISO/IEC 14496-12, section
4.2). Walking from one to the next shows whether the last of them is whole, without a decoder
and without looking at what is inside; a body that only ended because its connection did is held
against that.

The walk is fed with the pieces of a body as they come, or run over a file, where it jumps from
box to box; the one may go on where the other stopped. It keeps the sixteen bytes of one header
and a few numbers, whatever it is fed.
"""

from __future__ import annotations

import os
from enum import Enum
from struct import unpack_from
from typing import BinaryIO, Final

import attrs

__all__ = ["Mp4State", "Mp4Verdict", "Mp4Walk"]

_SHORT_HEADER_BYTES: Final = 8
_LONG_HEADER_BYTES: Final = 16
# The type of its own that follows the type ``uuid``.
_USER_TYPE_BYTES: Final = 16
_READ_BYTES: Final = 64
# What a file can begin with: ``ftyp`` since 2001, the others before it (QuickTime) or in segments.
_FIRST: Final = frozenset(
    {b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"uuid"}
)


class Mp4State(Enum):
    """What the bytes are, if they end here."""

    WHOLE = "whole"
    """Every box is whole, and the index and the pictures are among them."""
    CUT = "cut"
    """It ends within a box, or before the index or the pictures."""
    UNTOLD = "untold"
    """Nothing is missing that could be told: a file of this kind may end at many places."""
    NOT_MP4 = "not an MP4"
    """Something that is no box was met."""


@attrs.frozen
class Mp4Verdict:
    """What a walk found.

    Attributes:
        state: What the bytes are, if they end here.
        reason: Why, as a phrase.
    """

    state: Mp4State
    reason: str


class Mp4Walk:
    """Goes from box to box.

    Attributes:
        position_bytes: How many bytes were seen, or jumped over.
    """

    __slots__ = ("_box", "_end", "_flaw", "_header", "_seen", "position_bytes")

    def __init__(self) -> None:
        self.position_bytes = 0
        self._header = bytearray()
        # The box under way: its type, and where it ends, or None where the file's end is its end.
        self._box = b""
        self._end: int | None = 0
        # Only of the types that matter: hostile ones are as many as there are boxes.
        self._seen: set[bytes] = set()
        self._flaw: str | None = None

    def __repr__(self) -> str:
        verdict = self.verdict
        return f"<Mp4Walk at {self.position_bytes}: {verdict.state.value}, {verdict.reason}>"

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes; pieces of any length.

        What lies inside a box costs nothing, so this may run on the event loop.
        """
        with memoryview(data) as view, view.cast("B") as piece:
            self._walk(piece)

    def read(self, file: BinaryIO) -> None:
        """Take a file from where the walk is to its end, jumping over what is inside the boxes.

        Blocks, for a few reads of a few bytes. Where the file ends inside a box, the walk stands
        at the file's end and can be fed what follows.

        Args:
            file: Open for reading, unbuffered or not; its position is left anywhere.

        Raises:
            OSError: When it cannot be read.
        """
        size = file.seek(0, os.SEEK_END)
        while self.position_bytes < size and self._flaw is None:
            if not self._header and (self._end is None or self._end > self.position_bytes):
                self.position_bytes = size if self._end is None else min(self._end, size)
                continue
            file.seek(self.position_bytes)
            piece = file.read(_READ_BYTES)
            if not piece:
                break  # it was made shorter meanwhile
            self.feed(piece)

    @property
    def verdict(self) -> Mp4Verdict:
        """What the bytes so far are, if they end here."""
        if self._flaw is not None:
            return Mp4Verdict(Mp4State.NOT_MP4, self._flaw)
        if self._header:
            where = self.position_bytes - len(self._header)
            return Mp4Verdict(Mp4State.CUT, f"it ends in the header of the box at byte {where}")
        if self._end is not None and self._end > self.position_bytes:
            missing = self._end - self.position_bytes
            return Mp4Verdict(
                Mp4State.CUT, f"{missing} bytes of the box {_name(self._box)} are missing"
            )
        return self._verdict_between_boxes()

    def _verdict_between_boxes(self) -> Mp4Verdict:
        if b"moov" not in self._seen:
            return Mp4Verdict(Mp4State.CUT, "the box 'moov' is missing, its index")
        if not self._seen & {b"mdat", b"moof"}:
            return Mp4Verdict(Mp4State.CUT, "the box 'mdat' is missing, its pictures")
        if self._end is None:
            reason = f"the box {_name(self._box)} reaches to wherever the file ends"
            return Mp4Verdict(Mp4State.UNTOLD, reason)
        if b"moof" in self._seen and b"mfra" not in self._seen:
            # A fragment follows the other, and nothing before says how many there are.
            return Mp4Verdict(Mp4State.UNTOLD, "it is in fragments and does not say how many")
        return Mp4Verdict(Mp4State.WHOLE, "every box is whole")

    # --- the walk ------------------------------------------------------------------------

    def _walk(self, piece: memoryview) -> None:
        offset = 0
        while offset < len(piece) and self._flaw is None:
            if self._end is None:
                offset = len(piece)
            elif not self._header and self._end > self.position_bytes + offset:
                offset = min(self._end - self.position_bytes, len(piece))
            else:
                offset = self._take_header(piece, offset)
        # Also what follows a flaw was seen, so that positions stay those of the body.
        self.position_bytes += len(piece)

    def _take_header(self, piece: memoryview, offset: int) -> int:
        """Fill the header, and open its box once it is whole; tell where to go on."""
        header = self._header
        start = self.position_bytes + offset - len(header)
        while (missing := _header_bytes(header) - len(header)) > 0:
            taken = piece[offset : offset + missing]
            if not taken:
                return offset
            header += taken
            offset += len(taken)
        self._open(start)
        header.clear()
        return offset

    def _open(self, start: int) -> None:
        size, kind = unpack_from(">I4s", self._header)
        header_bytes, is_open = len(self._header), size == 0
        if size == 1:
            (size,) = unpack_from(">Q", self._header, _SHORT_HEADER_BYTES)
        if kind == b"uuid":
            header_bytes += _USER_TYPE_BYTES
        if not _is_type(kind) or (start == 0 and kind not in _FIRST):
            self._flaw = f"there is no box at byte {start} but {bytes(self._header[:8])!r}"
        elif size < header_bytes and not is_open:
            self._flaw = f"the box {_name(kind)} at byte {start} is said to be {size} bytes long"
        self._box = kind
        self._end = None if is_open else start + size
        if kind in (b"moov", b"mdat", b"moof", b"mfra"):
            self._seen.add(kind)


def _header_bytes(header: bytearray) -> int:
    """How long a header is that begins like this: a size of 1 says that the real one follows."""
    is_long = len(header) >= _SHORT_HEADER_BYTES and int.from_bytes(header[:4]) == 1
    return _LONG_HEADER_BYTES if is_long else _SHORT_HEADER_BYTES


def _is_type(kind: bytes) -> bool:
    # Four printable characters; Apple's own begin with the copyright sign.
    return all(0x20 <= sign < 0x7F or sign == 0xA9 for sign in kind)


def _name(kind: bytes) -> str:
    return repr(kind.decode("latin-1"))
