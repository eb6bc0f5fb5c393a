"""What is known of the bytes of a file so far: how many, their digest, how they end."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from videos_async._mp4 import Mp4Verdict, Mp4Walk

__all__ = ["Contents"]


class Contents:
    """The bytes that are in hand, taken in one after the other.

    Taking them in is work for a thread, as hashing a megabyte takes a millisecond.

    Attributes:
        size_bytes: How many there are.
    """

    __slots__ = ("_digest", "_walk", "size_bytes")

    def __init__(self) -> None:
        self.size_bytes = 0
        self._digest = hashlib.sha256()
        self._walk = Mp4Walk()

    def __repr__(self) -> str:
        return f"<Contents of {self.size_bytes} bytes>"

    def feed(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Take in the next bytes."""
        for piece in pieces:
            self._digest.update(piece)
            self._walk.feed(piece)
            self.size_bytes += len(piece)

    @property
    def sha256(self) -> str:
        """The digest of the bytes so far, in hex."""
        return self._digest.hexdigest()

    @property
    def as_mp4(self) -> Mp4Verdict:
        """What the bytes so far are as an MP4, if they end here."""
        return self._walk.verdict
