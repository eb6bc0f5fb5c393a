"""What stands between the client that is killed and the service, and sees each call on the wire.

It reads a request whole before it hands it on, and an answer likewise, so a kill can be put
exactly between the two: the client's bytes have left and nothing was answered, or the service
has answered (and billed) and the client has not read a word.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import Enum
from types import TracebackType
from typing import Final, Self, TypeAlias
from urllib.parse import urlsplit

import attrs

__all__ = ["Call", "Proxy", "Stage"]

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class Stage(Enum):
    """How far a call has come when it is told of."""

    ARRIVED = "the request is here whole, and not handed on"
    ANSWERED = "the answer is here, and not handed on"
    HALF_WAY = "half of the answer's body was handed on"


@attrs.frozen
class Call:
    """One call on its way.

    Attributes:
        method: POST or GET.
        path: Without the query.
        stage: How far it is.
    """

    method: str
    path: str
    stage: Stage


Watcher: TypeAlias = Callable[[Call], Awaitable[None]]


class Proxy:
    """Hands calls on to a service and tells of each.

    Args:
        upstream: The service's base URL.
        watcher: Is told of each call at each stage, and waited for.
    """

    def __init__(self, upstream: str, watcher: Watcher) -> None:
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname, parts.port)
        self._path = parts.path
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._watcher = watcher
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.Task[None]] = set()

    @property
    def base_url(self) -> str:
        """What the client takes for the service's."""
        return f"{self._own_origin}{self._path}"

    @property
    def _own_origin(self) -> str:
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for line in self._lines:
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = asyncio.create_task(self._serve(reader, writer))
        self._lines.add(line)
        line.add_done_callback(self._lines.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(*self._upstream)
        try:
            # Whoever is killed leaves his connections reset or in the middle of a word.
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    await self._hand_on(reader, writer, there_reader, there_writer)
        finally:
            writer.close()
            there_writer.close()

    async def _hand_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there_reader: asyncio.StreamReader,
        there_writer: asyncio.StreamWriter,
    ) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.decode("latin-1").split(" ", 2)
        path, _, _ = target.partition("?")
        body = await reader.readexactly(_body_length(head))
        await self._watcher(Call(method, path, Stage.ARRIVED))
        there_writer.write(head + body)
        head = await there_reader.readuntil(b"\r\n\r\n")
        body = await there_reader.readexactly(_body_length(head))
        await self._watcher(Call(method, path, Stage.ANSWERED))
        if b"application/json" in head:
            # Files come this way, too.
            body = body.replace(self._origin.encode(), self._own_origin.encode())
            head = _LENGTH.sub(b"\r\nContent-Length: %d\r\n" % len(body), head)
        half = len(body) // 2
        writer.write(head + body[:half])
        await writer.drain()
        await self._watcher(Call(method, path, Stage.HALF_WAY))
        writer.write(body[half:])
        await writer.drain()


def _body_length(head: bytes) -> int:
    found = _LENGTH.search(head)
    return int(found[1]) if found else 0
