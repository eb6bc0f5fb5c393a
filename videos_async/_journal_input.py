"""Where the requests of a batch with a journal come from: what it has planned, then the input.

An input whose length is known is planned into the journal whole before anything is sent, and
what is pulled is what the journal has planned. What an earlier run left is taken up beside it:
what was accepted is watched by id, what had ended ends again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Sized
from typing import Final, Protocol

import anyio
import anyio.lowlevel

from videos_async._input import Input, Pulled, Requests
from videos_async._journal_writer import JournalWriter
from videos_async._rows import is_writable
from videos_async._states import JournalEntry, KeyState
from videos_async.errors import Key, KeyConflict
from videos_async.models import VideoRequest

__all__ = ["JournalInput"]

_PLANNED_AT_ONCE: Final = 256
_TAKEN_UP: Final = frozenset(KeyState) - {KeyState.PLANNED, KeyState.INTENT}


class _Expect(Protocol):
    """Takes in what the journal has on a request that is pulled, or is to have."""

    def __call__(self, entry: JournalEntry, *, is_new: bool) -> None: ...


class JournalInput:
    """Finds the requests that are still to be submitted, and what an earlier run left.

    Args:
        requests: The input as it was given, or None to go on with what the journal holds.
        pulling: Pulls from it.
        is_partial: Whether the batch has to do with the keys of its input alone.
        expect: Called for each request that is pulled, unless its item is no request.
    """

    def __init__(
        self,
        requests: Requests | None,
        pulling: Input,
        *,
        is_partial: bool,
        expect: _Expect,
    ) -> None:
        self._has_length = isinstance(requests, Sized)
        self._is_planned_whole = requests is None or self._has_length
        # So many are pulled of which it is not known yet whether the journal has them.
        self._looked_up = 0
        self._input = pulling
        self._is_partial = is_partial
        self._expect = expect
        self._opened: JournalWriter | None = None
        self._revision = 0
        self._is_closed = False
        self._turn = anyio.Lock(fast_acquire=True)
        # Of a list the requests are at hand, and need not be read back.
        self._given: dict[Key, VideoRequest] = {}
        self._flawed: deque[Pulled] = deque()
        self._planned: deque[JournalEntry] = deque()
        self._planned_after = 0
        self._is_all_planned_read = False
        self._claimed: list[Key] = []
        self._known_given: list[JournalEntry] = []

    @property
    def is_complete(self) -> bool:
        """Whether the input has nothing more that the journal lacks, but for what was pulled."""
        return (self._is_planned_whole or self._input.is_at_end) and not self._looked_up

    @property
    def _writer(self) -> JournalWriter:
        assert self._opened is not None  # noqa: S101 - opened before anything else
        return self._opened

    # --- opening and closing -------------------------------------------------------------

    async def open(self, writer: JournalWriter, revision: int) -> None:
        """Plan the input, where it is a list or the like.

        Args:
            writer: The journal.
            revision: The number of its last write: what has a later one is of this run.

        Raises:
            JournalError: The journal cannot be used; nothing was sent.
            KeyConflict: A key of the input stands for another request; nothing was sent.
        """
        self._opened, self._revision = writer, revision
        if self._has_length:
            await self._plan()
        if self._is_partial:
            await self._claim()

    def close(self) -> None:
        """Pull no more; what is planned stays so."""
        self._is_closed = True

    def release(self) -> None:
        """Leave the keys to whoever waits for them."""
        while self._claimed:
            self._writer.disclaim(self._claimed.pop())
        self._opened = None

    async def _claim(self) -> None:
        """Wait until nobody else is at work on the keys of the input, and see how they stand."""
        writer = self._writer
        for key in self._given:
            await writer.claim(key)
            self._claimed.append(key)
        # What the one before us found out may be on its way to the disk still.
        await writer.sync()
        found = [await writer.call(writer.database.find, key) for key in self._given]
        self._known_given = [entry for entry in found if entry is not None]

    async def _plan(self) -> None:
        """Write the whole input into the journal, or none of it."""
        while (pulled := await self._input.pull()) is not None:
            if pulled.flaw is not None or not is_writable(pulled.request):
                # It cannot be sent, and is told with the rest.
                self._flawed.append(pulled)
            else:
                self._given[pulled.key] = pulled.request
            if self._input.pulled % _PLANNED_AT_ONCE == 0:
                await anyio.lowlevel.checkpoint()
        is_whole = self._input.failure is None and not self._is_partial
        await self._writer.call(
            self._writer.database.plan,
            self._given,
            now=time.time(),
            facts={"is_input_complete": True} if is_whole else {},
        )

    # --- what is to be submitted ---------------------------------------------------------

    async def pull(self) -> Pulled | None:
        """Take the next request that the journal has planned, then of the input."""
        if self._is_closed:
            return None
        if self._flawed:
            return self._flawed.popleft()
        if self._planned or not self._is_all_planned_read:
            entry = await self._next_planned()
            if entry is not None:
                self._expect(entry, is_new=False)
                return Pulled(entry.key, entry.request, None)
        while (pulled := await self._input.pull()) is not None:
            key, request, flaw = pulled
            if flaw is not None:
                return pulled
            # A journal that was empty knows none, and each key is pulled once.
            if not self._revision or not await self._is_known(key, request):
                now = time.time()
                self._expect(JournalEntry(key, request, now, now), is_new=True)
                return pulled
        return None

    async def _next_planned(self) -> JournalEntry | None:
        if not self._planned:
            async with self._turn:
                if not self._planned and not self._is_all_planned_read:
                    await self._read_planned()
        return self._planned.popleft() if self._planned else None

    async def _read_planned(self) -> None:
        writer = self._writer
        if self._is_partial:
            given = self._known_given
            self._planned.extend(entry for entry in given if entry.state is KeyState.PLANNED)
            self._is_all_planned_read = True
            return
        entries = await writer.call(
            writer.database.entries,
            frozenset({KeyState.PLANNED}),
            after=self._planned_after,
            limit=_PLANNED_AT_ONCE,
            given=self._given,
        )
        self._is_all_planned_read = len(entries) < _PLANNED_AT_ONCE
        if entries:
            self._planned_after = entries[-1].position or 0
        self._planned.extend(entries)

    async def _is_known(self, key: Key, request: VideoRequest) -> bool:
        """Tell whether the journal has a key already, and see to it that it means the same."""
        if not is_writable(request):
            return False
        writer = self._writer
        self._looked_up += 1
        try:
            return await writer.call(writer.database.has, key, request)
        except KeyConflict as conflict:
            # Like an input that raises: told at the end, once what was paid for has ended.
            self._input.fail(conflict)
            return True
        finally:
            self._looked_up -= 1

    # --- what an earlier run left --------------------------------------------------------

    async def taken_up(self) -> AsyncIterator[JournalEntry]:
        """Iterate over what an earlier run left, in the order in which it was planned."""
        if self._is_partial:
            for entry in self._known_given:
                if entry.state in _TAKEN_UP:
                    yield entry
            return
        writer, after = self._writer, 0
        while entries := await writer.call(
            writer.database.entries,
            _TAKEN_UP,
            after=after,
            limit=_PLANNED_AT_ONCE,
            given=self._given,
            until_revision=self._revision,
        ):
            after = entries[-1].position or 0
            for entry in entries:
                yield entry
