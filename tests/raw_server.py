"""A server that does to a connection exactly what its script says, and counts what it read.

It is bytes on sockets: neither the library nor an HTTP server is in it, so it can also do what no
HTTP server would. It lives in the loop of the test, so what it does is ordered with what the
client does, and a test waits for it by events. Each connection takes the next script when it is
accepted, and again when another request begins on it; the last script serves all that follow.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self, TypeAlias

import attrs

__all__ = [
    "Line",
    "RawServer",
    "Request",
    "Script",
    "answer",
    "arrival",
    "close_after_body",
    "closed_port",
    "drip",
    "hang",
    "hang_after_body",
    "head",
    "raw",
    "reset_after_body",
    "reset_after_headers",
    "reset_at_once",
]

_LINGER_OFF = struct.pack("ii", 1, 0)


@attrs.frozen(kw_only=True)
class Request:
    """One request whose headers and body were read to their end.

    Attributes:
        method: As it stood on the request line.
        target: As it stood on the request line, undecoded.
        headers: By lower-case name.
        raw_headers: The bytes up to the blank line.
        body: The bytes after it.
        connection: The number of the connection it came on, counted from 1.
        at_s: When its last byte was read, by the loop's clock.
    """

    method: str
    target: str
    headers: dict[str, str] = attrs.field(repr=False)
    raw_headers: bytes = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    connection: int
    at_s: float


class Line:
    """The server's end of one connection, as a script handles it."""

    def __init__(
        self,
        server: RawServer,
        number: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.number = number
        self.request: Request | None = None
        self._server = server
        self._reader = reader
        self._writer = writer
        self._buffer = b""

    @property
    def is_open(self) -> bool:
        return not self._writer.is_closing()

    async def peek_headers(self) -> bytes:
        """Wait for the blank line, and leave what is before it to be read."""
        while b"\r\n\r\n" not in self._buffer:
            await self._fill()
        self._server.note_begun(self.number)
        return self._buffer.partition(b"\r\n\r\n")[0]

    async def read_headers(self) -> bytes:
        """Read up to the blank line, and leave the body where it is."""
        headers = await self.peek_headers()
        self._buffer = self._buffer.partition(b"\r\n\r\n")[2]
        return headers

    async def read_request(self) -> Request:
        """Read one request to its end; from then on it counts."""
        raw_headers = await self.read_headers()
        first, *lines = raw_headers.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {
            name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)
        }
        if headers.get("expect") == "100-continue":
            await self.send(head(100))
        length = int(headers.get("content-length", "0"))
        while len(self._buffer) < length:
            await self._fill()
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        self.request = Request(
            method=method,
            target=target,
            headers=headers,
            raw_headers=raw_headers,
            body=body,
            connection=self.number,
            at_s=asyncio.get_running_loop().time(),
        )
        self._server.note_read(self.request)
        return self.request

    async def send(self, data: bytes) -> None:
        if not self.is_open:
            raise ConnectionAbortedError
        self._writer.write(data)
        await self._writer.drain()

    async def send_last(self, data: bytes) -> None:
        """Send bytes with the end of the connection right behind them."""
        self._writer.write(data)
        self._writer.write_eof()
        await self._writer.drain()

    def reset(self) -> None:
        """Drop the connection with an RST, whatever is still under way."""
        transport_socket = self._writer.get_extra_info("socket")
        transport_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_OFF)
        self._writer.transport.abort()

    def close(self) -> None:
        self._writer.close()

    async def until_peer_closes(self) -> None:
        """Say nothing, take whatever comes, and return when the client has gone."""
        while await self._reader.read(1 << 16):
            pass

    async def until_next_request(self) -> bool:
        """Wait for the first byte of another request; False when the client has gone."""
        try:
            if not self._buffer:
                await self._fill()
        except EOFError:
            return False
        return True

    async def _fill(self) -> None:
        data = await self._reader.read(1 << 16)
        if not data:
            raise EOFError
        self._buffer += data


Script: TypeAlias = Callable[[Line], Awaitable[None]]


class RawServer:
    """Listens on loopback and plays its scripts.

    Args:
        scripts: One for each connection or further request, in order; the last one stays.
        on: A bound socket to listen on; by default a fresh one.
    """

    def __init__(self, *scripts: Script, on: socket.socket | None = None) -> None:
        self.requests: list[Request] = []
        self.begun = 0
        self.accepted = 0
        self.open_connections = 0
        self._scripts = list(scripts)
        self._socket = on or _bound_socket()
        self._began: set[int] = set()
        self._probes: dict[int, asyncio.Event] = {}
        self._lines: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        port: int = self._socket.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def posts(self) -> int:
        """How many POSTs were read to the end of their bodies."""
        return sum(request.method == "POST" for request in self.requests)

    @property
    def gets(self) -> int:
        """How many GETs were read to their end."""
        return sum(request.method == "GET" for request in self.requests)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, sock=self._socket)
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
        if self._lines:
            await asyncio.wait(self._lines)
        await self._server.wait_closed()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something that this server counts has come about."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def settle(self) -> None:
        """Wait until every connection that was opened up to now has come to its end."""
        # Connections are accepted in the order they were made, so a last one finds the others in.
        with _bound_socket() as probe:
            accepted = self._probes[probe.getsockname()[1]] = asyncio.Event()
            await asyncio.get_running_loop().sock_connect(probe, ("127.0.0.1", self.port))
            await accepted.wait()
        await self.until(lambda: self.open_connections == 0)

    def note_begun(self, connection: int) -> None:
        if connection not in self._began:
            self._began.add(connection)
            self.begun += 1
            self._changed.set()

    def note_read(self, request: Request) -> None:
        self._began.discard(request.connection)
        self.requests.append(request)
        self._changed.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        probe = self._probes.get(writer.get_extra_info("peername")[1])
        if probe is not None:
            probe.set()
            writer.close()
            return
        self._lines.add(task)
        self.accepted += 1
        self.open_connections += 1
        self._changed.set()
        try:
            await self._play(Line(self, self.accepted, reader, writer))
        except (EOFError, ConnectionError):
            pass  # the client went first, as is its right
        except asyncio.CancelledError:
            pass  # the server is being closed; asyncio would log it as an error
        finally:
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
            self._lines.discard(task)
            self.open_connections -= 1
            self._changed.set()

    async def _play(self, line: Line) -> None:
        is_wanted = True
        while is_wanted:
            script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
            await script(line)
            is_wanted = line.is_open and await line.until_next_request()


# --- scripts -------------------------------------------------------------------------------


def head(status: int, *headers: tuple[str, str], reason: str = "Whatever") -> bytes:
    """Write a status line and headers, with the blank line."""
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode()


def answer(status: int, body: object = b"", *headers: tuple[str, str]) -> Script:
    """Read the request, then give a proper answer; what is not bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    framing = (("Content-Type", "application/json"), ("Content-Length", str(len(content))))
    return raw(head(status, *framing, *headers) + content)


def raw(*pieces: bytes, then: Script | None = None) -> Script:
    """Read the request, then send bytes just as they are, then what `then` does."""

    async def script(line: Line) -> None:
        await line.read_request()
        for piece in pieces:
            await line.send(piece)
        if then is not None:
            await then(line)

    return script


async def reset_at_once(line: Line) -> None:
    line.reset()


async def reset_after_headers(line: Line) -> None:
    await line.read_headers()
    line.reset()


async def reset_after_body(line: Line) -> None:
    await line.read_request()
    line.reset()


async def close_after_body(line: Line) -> None:
    await line.read_request()
    line.close()


async def hang(line: Line) -> None:
    """Say nothing until the client goes."""
    await line.until_peer_closes()
    line.close()


async def hang_after_body(line: Line) -> None:
    await line.read_request()
    await hang(line)


def drip(*pieces: bytes, interval_s: float) -> Script:
    """Read the request, then send bytes piece by piece; the last piece again and again."""

    async def script(line: Line) -> None:
        await line.read_request()
        queue = list(pieces)
        while True:
            await line.send(queue.pop(0) if len(queue) > 1 else queue[0])
            await asyncio.sleep(interval_s)

    return script


async def arrival() -> None:
    """Wait until the other end has taken in what was sent: both ends turn in one loop."""
    for _ in range(20):
        await asyncio.sleep(0)


# --- addresses -----------------------------------------------------------------------------


@contextmanager
def closed_port() -> Generator[socket.socket]:
    """Hold a port on which nobody listens, so that connecting to it is refused."""
    with _bound_socket() as held:
        yield held


def _bound_socket() -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", 0))
    bound.settimeout(0)
    return bound
