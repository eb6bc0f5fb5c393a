"""Where the bytes of a download go: the seam between fetching and keeping.

Fetching (`_fetch`) knows ranges, validators, watchdogs and servers, and nothing of files. Keeping
(`_part`: a file; others beside it) knows what is here already, where bytes go and how they get
their final name, and nothing of HTTP. Between them stands what is in this file: a `Destination`
is opened for one download and gives a `Writing`, which is written to and then finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias, TypeVar

import attrs

from videos_async._contents import Contents
from videos_async._ranges import Source

__all__ = ["Destination", "Piece", "Received", "Writing"]

Piece: TypeAlias = bytes | memoryview
"""Some bytes of a file; a view is of a buffer that is soon filled anew."""

ResultT_co = TypeVar("ResultT_co", covariant=True)


@attrs.frozen(kw_only=True)
class Received:
    """A file that has arrived to its last byte.

    Attributes:
        size_bytes: How long it is.
        sha256: The digest of its bytes, in hex.
        media_type: What the file server called it.
        is_verified: Whether its end could be told from a broken connection.
    """

    size_bytes: int
    sha256: str
    media_type: str
    is_verified: bool


class Writing(Protocol[ResultT_co]):
    """One file on its way to its destination. One method at a time is called.

    What goes wrong is raised as a `videos_async.errors.DownloadError`, which ends the download;
    leaving the destination's context then keeps or drops what is there, as it can.
    """

    @property
    def contents(self) -> Contents:
        """What is there: the first bytes of `source`."""
        ...

    @property
    def source(self) -> Source:
        """The version that `contents` is of; without a validator it cannot be continued."""
        ...

    async def begin(self, source: Source) -> None:
        """Drop what is there, if anything, and take the file from its first byte.

        Raises:
            DownloadError: When that cannot be done: bytes that were handed on cannot be taken
                back, say.
        """
        ...

    async def reserve(self, more_bytes: int) -> None:
        """Make sure, as far as can be told, that there is room for so many bytes more.

        Raises:
            DiskFull: When there is not.
        """
        ...

    async def write(self, pieces: Sequence[Piece]) -> None:
        """Take the next bytes, up to two megabytes at a time, and `feed` them to `contents`.

        A view among them is good until this returns; to keep it, copy it. When this is
        cancelled, the pieces are taken or not, and `contents` says which.
        """
        ...

    async def rescue(self, pieces: Sequence[Piece]) -> None:
        """Take what came before a cancellation, if a later call can use it, and be quick."""
        ...

    async def finish(self, received: Received) -> ResultT_co:
        """Make the file final, atomically: until this is called it is not there."""
        ...

    def remains(self) -> str:
        """Say what a failure leaves behind, as a phrase that ends an error."""
        ...


class Destination(Protocol[ResultT_co]):
    """A place for one file."""

    @property
    def name(self) -> str:
        """What to call it in an error; no secret is in it."""
        ...

    def open(self, task_id: str) -> AbstractAsyncContextManager[Writing[ResultT_co]]:
        """Get ready to write the video of a task, with what an earlier run left of it.

        Raises:
            DownloadError: When nothing can be written there; see its subclasses.
        """
        ...
