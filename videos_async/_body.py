"""A long body, read from its connection into one buffer that is filled, used and filled again.

What aiohttp makes of a body costs half of a large download: each read gets memory of its own, is
copied by the parser, put in a queue, timed, and copied again into pieces of a useful size. Where
the length of a body is known there is nothing to parse in it, so `Body` takes the connection over
behind the headers, and the system writes straight into its buffer.

While a full buffer is being hashed and written nothing is read: what comes meanwhile waits in the
system's own buffers, and is then had in one large read in place of many small ones, which cost
twice as much. For the same reason the buffer grows where bytes come fast, as far as the room that
all bodies share allows.
"""

from __future__ import annotations

import asyncio
from typing import Final

__all__ = ["Body", "Room"]

_LEAST_BYTES: Final = 1 << 18
_MOST_BYTES: Final = 1 << 21
# Four downloads at a time, which is the default, get the most that is of use.
_ROOM_BYTES: Final = 1 << 23
# A buffer that is full so soon after it was empty could be larger.
_SOON_S: Final = 0.05
# A slow transfer is handed on as well as it comes, so that a kill loses little of it.
_BATCH_S: Final = 0.25


class Room:
    """The memory that the bodies of a session share, however many there are.

    Attributes:
        bodies: How many are being read.
    """

    def __init__(self) -> None:
        self.bodies = 0

    @property
    def share_bytes(self) -> int:
        """How much one of them may fill."""
        return max(_LEAST_BYTES, min(_MOST_BYTES, _ROOM_BYTES // max(1, self.bodies)))


class Body(asyncio.BufferedProtocol):
    """The rest of a body, of so many bytes.

    Args:
        transport: The connection; it is read from here alone from now on.
        above: The protocol it had until now, which still learns that it is lost.
        room: What limits the buffer; it counts this body until `close`.
        size_bytes: How many bytes are to come.
        stall_s: Longest silence, in seconds.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        above: asyncio.BaseProtocol,
        *,
        room: Room,
        size_bytes: int,
        stall_s: float,
    ) -> None:
        self._transport = transport
        self._above = above
        self._room = room
        self._missing_bytes = size_bytes
        self._stall_s = stall_s
        self._loop = asyncio.get_running_loop()
        self._buffer = memoryview(bytearray(_LEAST_BYTES))
        self._filled_bytes = 0
        self._emptied_s = 0.0
        self._first_s = 0.0
        self._is_fast: bool = False
        self._waiting: asyncio.Future[None] | None = None
        self._is_lost = False
        self._trouble: Exception | None = None
        room.bodies += 1
        # Bytes that come before they are asked for would be written over by those that follow.
        transport.pause_reading()
        transport.set_protocol(self)

    def close(self) -> None:
        """Leave the room to the others; called once, when no more is read."""
        self._room.bodies -= 1

    async def read(self) -> memoryview:
        """Wait until there is a buffer full of bytes, or some and no more for a while.

        Returns:
            The next bytes, which stay as they are until the next call; none at the end.

        Raises:
            TimeoutError: When nothing comes for too long.
            OSError: When the connection broke; what came before was given.
        """
        self._empty()
        while not self._is_due():
            if not self._missing_bytes:
                return self._buffer[:0]
            if self._is_lost and not self._filled_bytes:
                raise self._trouble or ConnectionAbortedError("the body was cut short")
            await self._wait()
        if self._is_to_come:
            self._transport.pause_reading()
        return self._buffer[: self._filled_bytes]

    def _empty(self) -> None:
        """Make the buffer ready to be filled, of the size that suits what comes."""
        grown_bytes = len(self._buffer) * (2 if self._is_fast else 1)
        size_bytes = min(grown_bytes, self._room.share_bytes)
        if size_bytes != len(self._buffer):
            self._buffer = memoryview(bytearray(size_bytes))
        self._filled_bytes, self._is_fast = 0, False
        self._emptied_s = self._loop.time()
        if self._is_to_come:
            self._transport.resume_reading()

    @property
    def _is_to_come(self) -> bool:
        # A connection that is being closed takes no more orders; that it is lost is told later.
        is_open = not self._is_lost and not self._transport.is_closing()
        return self._missing_bytes > 0 and is_open

    def _is_due(self) -> bool:
        if not self._filled_bytes:
            return False
        is_last = self._is_lost or not self._missing_bytes
        is_full = self._filled_bytes == len(self._buffer)
        return is_last or is_full or self._loop.time() >= self._first_s + _BATCH_S

    async def _wait(self) -> None:
        """Wait for the first byte, for the buffer to be full, or for the time to be up."""
        is_empty = not self._filled_bytes
        until_s = self._loop.time() + self._stall_s if is_empty else self._first_s + _BATCH_S
        self._waiting = self._loop.create_future()
        alarm = self._loop.call_at(until_s, self._wake)
        try:
            await self._waiting
        finally:
            self._waiting = None
            alarm.cancel()
        if is_empty and not self._filled_bytes and not self._is_lost:
            raise TimeoutError

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    # --- called by the transport ---------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        """Say where the next bytes go."""
        del sizehint  # a guess of the transport's
        start = self._filled_bytes
        end = min(start + self._missing_bytes, len(self._buffer))
        # Nothing is asked for once reading is paused; a transport that does, all the same, is
        # told where to put a byte that `buffer_updated` then does not take.
        return self._buffer[start:end] if end > start else memoryview(bytearray(1))

    def buffer_updated(self, nbytes: int) -> None:
        """Take note of bytes that came."""
        if self._filled_bytes == len(self._buffer) or not self._missing_bytes:
            # More than was declared, or out of turn: what came in order before it is good.
            self._transport.abort()
            return
        if not self._filled_bytes:
            self._first_s = self._loop.time()
            self._wake()
        self._filled_bytes += nbytes
        self._missing_bytes -= nbytes
        if self._filled_bytes == len(self._buffer) or not self._missing_bytes:
            self._is_fast = self._loop.time() - self._emptied_s < _SOON_S
            self._transport.pause_reading()
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note that no more comes."""
        self._is_lost, self._trouble = True, exc
        self._wake()
        self._above.connection_lost(exc)
