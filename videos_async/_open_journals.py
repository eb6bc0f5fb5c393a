"""The journals that are open in one session: each is driven once, and shared where it may be."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import anyio
import attrs

from videos_async._journal_writer import JournalWriter
from videos_async.errors import JournalLocked

__all__ = ["JournalWriters"]


@attrs.define(eq=False)
class _Opened:
    writer: JournalWriter
    is_whole: bool
    users: int = 0


class JournalWriters:
    """The journals that are open in one session, each driven once.

    A batch drives a whole journal. Calls that have to do with one key each share it.
    """

    def __init__(self) -> None:
        self._opened: dict[Path, _Opened] = {}
        self._turn = anyio.Lock()

    async def acquire(self, path: Path, *, may_create: bool, is_whole: bool) -> JournalWriter:
        """Open a journal, or join those who share it.

        Args:
            path: The file, as an absolute path.
            may_create: Whether it may be new.
            is_whole: Whether nobody else may drive it meanwhile.

        Raises:
            JournalLocked: Another batch drives it, of this session or of anybody.
            JournalError: It cannot be used.
        """
        async with self._turn:
            opened = self._opened.get(path)
            if opened is not None and (is_whole or opened.is_whole):
                problem = "is driven by another batch of this session: wait for its end"
                raise JournalLocked(
                    path=str(path), problem=problem, pid=os.getpid(), host=socket.gethostname()
                )
            if opened is None:
                writer = await JournalWriter.open(path, may_create=may_create)
                opened = self._opened[path] = _Opened(writer, is_whole)
            opened.users += 1
            return opened.writer

    async def release(self, writer: JournalWriter) -> None:
        """Let go of a journal; the last who does closes it.

        Raises:
            JournalWriteFailed: Something could not be written to the last.
        """
        # What is begun is done, whoever stops waiting for it.
        await asyncio.shield(asyncio.create_task(self._release(writer)))

    async def _release(self, writer: JournalWriter) -> None:
        async with self._turn:
            path, opened = next(
                (path, one) for path, one in self._opened.items() if one.writer is writer
            )
            opened.users -= 1
            if not opened.users:
                del self._opened[path]
                await writer.aclose()
