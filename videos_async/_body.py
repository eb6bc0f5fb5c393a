"""A long body, read from its connection into two buffers that are filled in turns.

What aiohttp makes of a body costs half of a large download: each read gets memory of its own, is
copied by the parser, put in a queue, timed, and copied again into pieces of a useful size. Where
the length of a body is known there is nothing to parse in it, so `Body` takes the connection over
behind the headers: the system writes straight into one buffer while the other is being hashed and
written. When both are full nothing is read, which is what slows the server down.
"""

from __future__ import annotations

import asyncio
from typing import Final

__all__ = ["Body"]

_BUFFER_BYTES: Final = 1 << 19
# At a time, so that fifty connections do not keep the loop from everything else for long.
_READ_BYTES: Final = 1 << 18
# A slow transfer is handed on as well as it comes, so that a kill loses little of it.
_BATCH_S: Final = 0.25


class Body(asyncio.BufferedProtocol):
    """The rest of a body, of so many bytes.

    Args:
        transport: The connection; it is read from here alone from now on.
        above: The protocol it had until now, which still learns that it is lost.
        size_bytes: How many bytes are to come.
        stall_s: Longest silence, in seconds.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        above: asyncio.BaseProtocol,
        *,
        size_bytes: int,
        stall_s: float,
    ) -> None:
        self._transport = transport
        self._above = above
        self._missing_bytes = size_bytes
        self._stall_s = stall_s
        self._loop = asyncio.get_running_loop()
        self._filling = memoryview(bytearray(_BUFFER_BYTES))
        self._other = memoryview(bytearray(_BUFFER_BYTES))
        self._filled_bytes = 0
        self._first_s = 0.0
        self._waiting: asyncio.Future[None] | None = None
        self._is_lost = False
        self._trouble: Exception | None = None
        transport.set_protocol(self)
        transport.resume_reading()

    async def read(self) -> memoryview:
        """Wait until there is a buffer full of bytes, or some and no more for a while.

        Returns:
            The next bytes, which stay as they are until the next call; none at the end.

        Raises:
            TimeoutError: When nothing comes for too long.
            OSError: When the connection broke; what came before was given.
        """
        while not self._is_due():
            if not self._missing_bytes:
                return self._filling[:0]
            if self._is_lost and not self._filled_bytes:
                raise self._trouble or ConnectionAbortedError("the body was cut short")
            await self._wait()
        full, size = self._filling, self._filled_bytes
        self._filling, self._other, self._filled_bytes = self._other, full, 0
        if self._missing_bytes and not self._is_lost:
            self._transport.resume_reading()
        return full[:size]

    def _is_due(self) -> bool:
        if not self._filled_bytes:
            return False
        is_last = self._is_lost or not self._missing_bytes
        is_full = self._filled_bytes == _BUFFER_BYTES
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
        end = min(start + min(_READ_BYTES, self._missing_bytes), _BUFFER_BYTES)
        # Nothing is asked for once reading is paused; a transport that does, all the same, is
        # told where to put a byte that `buffer_updated` then does not take.
        return self._filling[start:end] if end > start else memoryview(bytearray(1))

    def buffer_updated(self, nbytes: int) -> None:
        """Take note of bytes that came."""
        if self._filled_bytes == _BUFFER_BYTES or not self._missing_bytes:
            # More than was declared, or out of turn: what came in order before it is good.
            self._transport.abort()
            return
        if not self._filled_bytes:
            self._first_s = self._loop.time()
            self._wake()
        self._filled_bytes += nbytes
        self._missing_bytes -= nbytes
        if self._filled_bytes == _BUFFER_BYTES or not self._missing_bytes:
            self._transport.pause_reading()
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note that no more comes."""
        self._is_lost, self._trouble = True, exc
        self._wake()
        self._above.connection_lost(exc)
