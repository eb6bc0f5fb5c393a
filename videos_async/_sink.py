"""Something of the caller's own as the destination of a download: anything that is written to.

A sink takes the bytes in order, each once, and no more before it is done with the last: that it
is awaited is what slows the server down to its pace. What it was given cannot be taken back, so
within one call a broken connection goes on where it broke, and where it cannot (the file is
another version now), the download fails. A sink is never flushed or closed here.
"""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from inspect import isawaitable
from typing import Protocol, TypeGuard

import anyio.to_thread
import attrs

from videos_async._contents import Contents
from videos_async._destination import Piece, Received
from videos_async._download import Download
from videos_async._ranges import Source
from videos_async._threads import Threads
from videos_async.errors import ConfigurationError, DownloadError, DownloadIncomplete, shorten

__all__ = ["Sink", "SinkDestination", "as_sink"]


class Sink(Protocol):
    """Anything with an asynchronous ``write``: a file of anyio's, a web response, your own."""

    def write(self, data: bytes, /) -> Awaitable[object]:
        """Take the next bytes.

        Args:
            data: Some of the file, up to about two megabytes.

        Returns:
            What is awaited before there is more. When it gives a whole number below the length
            of `data`, as an unbuffered file may, the rest is given once more.
        """
        ...


def as_sink(value: object) -> Sink:
    """Judge what was given as a sink.

    Raises:
        ConfigurationError: When it is none.
    """
    if _is_sink(value):
        return value
    problem = (
        "must be a path, an object store's URL, an ObjectTarget or something with an "
        f"asynchronous write(bytes), got {shorten(value)}"
    )
    raise ConfigurationError(setting="target", problem=problem)


def _is_sink(value: object) -> TypeGuard[Sink]:
    # A file of Python's own has a write, which blocks the loop and cannot be awaited.
    return callable(getattr(value, "write", None)) and not isinstance(value, io.IOBase)


@attrs.frozen(kw_only=True, eq=False)
class SinkDestination:
    """A sink that takes one file.

    Attributes:
        sink: Takes the bytes.
        threads: How many threads may be busy at a time.
    """

    sink: Sink
    threads: Threads

    @property
    def name(self) -> str:
        """The class of the sink; its repr may hold anything."""
        return f"a {type(self.sink).__name__}"

    def open(self, task_id: str) -> AbstractAsyncContextManager[SinkWriting]:
        """Begin with nothing."""
        return self._open(task_id)

    @asynccontextmanager
    async def _open(self, task_id: str) -> AsyncGenerator[SinkWriting]:
        yield SinkWriting(self, task_id)


class SinkWriting:
    """A file on its way into a sink.

    Attributes:
        contents: What the sink has taken.
        source: The version that is of.
    """

    def __init__(self, destination: SinkDestination, task_id: str) -> None:
        self.contents = Contents()
        self.source = Source()
        self._destination = destination
        self._task_id = task_id

    async def begin(self, source: Source) -> None:
        """Take the file from its first byte, if the sink has none yet.

        Raises:
            DownloadIncomplete: When it has.
        """
        size = self.contents.size_bytes
        if size:
            raise DownloadIncomplete(
                task_id=self._task_id,
                target=self._destination.name,
                reason=f"the file server cannot go on where it stopped; {self.remains()}",
                received_bytes=size,
                expected_bytes=self.source.length_bytes,
            )
        self.source = source

    async def reserve(self, more_bytes: int) -> None:
        """Nothing to do: how much room a sink has is its own affair."""

    async def write(self, pieces: Sequence[Piece]) -> None:
        """Give the sink the next bytes, and wait for it."""
        for piece in pieces:
            await self._give(bytes(piece))
        await anyio.to_thread.run_sync(
            self.contents.feed, pieces, limiter=self._destination.threads.working
        )

    async def _give(self, piece: bytes) -> None:
        rest = piece
        while rest:
            answer: object = self._destination.sink.write(rest)
            if not isawaitable(answer):
                raise self._failure("its write() gave nothing to await: it must be asynchronous")
            taken: object = await answer
            if not isinstance(taken, int) or isinstance(taken, bool) or taken >= len(rest):
                return
            if taken <= 0:
                raise self._failure(f"it took {taken} of {len(rest)} bytes")
            rest = rest[taken:]

    def _failure(self, reason: str) -> DownloadError:
        name = self._destination.name
        return DownloadError(task_id=self._task_id, target=name, reason=reason)

    async def rescue(self, pieces: Sequence[Piece]) -> None:
        """Drop them: who was cancelled does not wait for a sink."""

    async def finish(self, received: Received) -> Download:
        """Tell that the sink has it all."""
        return Download(
            size_bytes=received.size_bytes,
            sha256=received.sha256,
            media_type=received.media_type,
            is_verified=received.is_verified,
        )

    def remains(self) -> str:
        """Say what the sink was given."""
        return (
            f"the sink was given the first {self.contents.size_bytes} bytes, which cannot be "
            "taken back: begin anew with an empty one"
        )
