"""A connection under the hands of a fault: raw bytes, virtual pauses, FIN and RST."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import attrs
from anyio.lowlevel import checkpoint

if TYPE_CHECKING:
    import asyncio

    from aiohttp import web

    from ._clock import Clock
    from .faults._kinds import Answer

__all__ = ["ServerLine"]

# On, and no time to linger: a close then sends RST and throws away what was not yet sent.
_LINGER_OFF: Final = struct.pack("ii", 1, 0)
_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}


@attrs.frozen(kw_only=True)
class ServerLine:
    """The server's end of a connection whose request was read.

    Args:
        request: The request.
        clock: The virtual time.
    """

    request: web.BaseRequest
    clock: Clock

    @property
    def is_open(self) -> bool:
        """Whether bytes can still be sent."""
        return self._transport is not None

    @property
    def _transport(self) -> asyncio.Transport | None:
        transport = self.request.transport
        return None if transport is None or transport.is_closing() else transport

    def head(self, answer: Answer, framing: Mapping[str, str]) -> bytes:
        """Write the status line and the headers of an answer, the blank line included."""
        headers = {"Content-Type": answer.media_type, **answer.headers, **framing}
        lines = [f"HTTP/1.1 {answer.status} {_PHRASES.get(answer.status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    async def send(self, data: bytes, *, is_last: bool = False) -> None:
        """Send bytes as they are; waits while the peer does not take them.

        Args:
            data: The bytes.
            is_last: Whether the end of the connection (FIN) is right behind them.
        """
        transport = self._transport
        if transport is not None:
            transport.write(data)
            if is_last and transport.can_write_eof():
                transport.write_eof()
            with suppress(ConnectionError):
                await self.request.writer.drain()
        # Always a turn for the others: where the peer keeps pace there is nothing to wait for.
        await checkpoint()

    async def sleep(self, seconds: float) -> None:
        """Let virtual seconds pass."""
        await self.clock.sleep(seconds)

    def finish(self) -> None:
        """Close the connection in order (FIN) once all that was sent has left."""
        transport = self._transport
        if transport is not None:
            transport.close()

    def reset(self) -> None:
        """Drop the connection with an RST, at once."""
        transport = self._transport
        if transport is not None:
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_OFF)
            transport.abort()
