"""Reading the body of an answer: at a pace that is watched, or the first words of a page."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Final

import anyio

from videos_async._destination import Piece
from videos_async._download_policy import DownloadPolicy
from videos_async._files import FileAnswer, TransportTrouble
from videos_async._links import FileUrl
from videos_async._pace import Pace
from videos_async._pages import HEAD_BYTES, first_line

__all__ = ["Trouble", "first_words", "next_piece", "watched"]

_WORDS_LIMIT_S: Final = 1.0


class Trouble(Exception):
    """One try came to nothing; another one may not. Never leaves the library."""

    def __init__(self, reason: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


@contextmanager
def watched(policy: DownloadPolicy) -> Generator[Pace]:
    """Break off what is read in this block when it comes too slowly.

    Raises:
        Trouble: When it did.
    """
    pace = Pace(minimum_bytes_per_s=policy.minimum_bytes_per_s, window_s=policy.window_s)
    with anyio.CancelScope() as scope:
        watch = _Watch(pace, scope)
        try:
            yield pace
        finally:
            watch.stop()
    if scope.cancelled_caught:
        rate, window = f"{policy.minimum_bytes_per_s:g}", f"{policy.window_s:g}"
        raise Trouble(f"less than {rate} bytes a second came over {window} s")


async def next_piece(answer: FileAnswer, pace: Pace) -> Piece:
    """Wait for the next piece of a body; empty at the end."""
    loop = asyncio.get_running_loop()
    pace.wait(loop.time())
    piece = await anext(answer.chunks, b"")
    pace.receive(len(piece), loop.time())
    return piece


async def first_words(answer: FileAnswer, url: FileUrl) -> str:
    """Quote the first line of an error page, where there is one and it comes at once."""
    if answer.is_encoded:
        return ""
    head = b""
    # A page that breaks off has said what it has said.
    with anyio.move_on_after(_WORDS_LIMIT_S), suppress(TransportTrouble):
        while len(head) < HEAD_BYTES and (piece := await anext(answer.chunks, b"")):
            head += piece
    line = first_line(head, url=url)
    return f", which says: {line}" if line else ""


class _Watch:
    """Looks at a pace now and then, and cancels a scope when it is too slow."""

    def __init__(self, pace: Pace, scope: anyio.CancelScope) -> None:
        self._pace = pace
        self._scope = scope
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(pace.look_every_s, self._look)

    def stop(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _look(self) -> None:
        if self._pace.is_too_slow(self._loop.time()):
            self._scope.cancel()
        else:
            self._timer = self._loop.call_later(self._pace.look_every_s, self._look)
