"""Connections of our own: which ones are reused, how they are written to and read.

Nothing is needed here of what aiohttp's session does for each request: no cookies, redirects,
middlewares, hooks or timers, no headers to be merged, no task that produces the body. That is
most of what a poll costs, and one request differs from the next in its id or its body alone. So
they are written to the connection as they are; aiohttp opens, pools and secures the connections
and reads the answers.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, NoReturn, cast

import aiohttp
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from videos_async._client import AdoptedClient, Answer, Client, SentMark
from videos_async._wire import Endpoints

__all__ = ["open_client", "open_session"]

_READ_SIZE_BYTES: Final = 1 << 16
# How a connection is asked for, written to and read has no underscore and no page in the manual:
# it holds for this series.
_IS_KNOWN_SERIES: Final = aiohttp.__version__.startswith("3.")


def open_client(
    *,
    endpoints: Endpoints,
    headers: Mapping[str, str],
    keepalive_s: float,
    is_wary: bool,
    proxy: str | None,
    timeout: aiohttp.ClientTimeout,
) -> Client:
    """Open connections of our own to the service.

    Args:
        endpoints: Where the calls go.
        headers: What every call carries.
        keepalive_s: For how long a connection may lie idle and be used again, in seconds.
        is_wary: Whether each is looked at first, as a call that meets a close makes trouble.
        proxy: URL of an HTTP proxy, or None.
        timeout: How long it may take to get a connection.
    """
    if proxy is None and _IS_KNOWN_SERIES:
        connector = _connector(keepalive_s, is_wary=is_wary)
        return _OwnClient(connector, endpoints=endpoints, headers=headers, timeout=timeout)
    session = open_session(keepalive_s=keepalive_s, is_wary=is_wary, proxy=proxy)
    return AdoptedClient(
        session, endpoints=endpoints, headers=headers, proxy=proxy, timeout=timeout
    )


def open_session(
    *, keepalive_s: float, is_wary: bool = False, proxy: str | None, **connecting: Any
) -> aiohttp.ClientSession:
    """Open a client session that keeps no cookies and has no queue.

    Args:
        keepalive_s: For how long a connection may lie idle and be used again, in seconds.
        is_wary: Whether each is looked at first, as a call that meets a close makes trouble.
        proxy: URL of an HTTP proxy, or None.
        connecting: What else the connector is told.
    """
    return aiohttp.ClientSession(
        connector=_connector(keepalive_s, is_wary=is_wary, **connecting),
        cookie_jar=aiohttp.DummyCookieJar(),
        proxy=proxy,
    )


class _OwnClient:
    """Makes calls on connections of our own; see `open_client`."""

    def __init__(
        self,
        connector: _Connector,
        *,
        endpoints: Endpoints,
        headers: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,
    ) -> None:
        self.connector = connector
        self._timeout = timeout
        # Tells the connector where to go, and says the headers as aiohttp would. It is never sent.
        self._pattern = aiohttp.ClientRequest(
            "GET",
            URL(endpoints.create, encoded=True),
            headers=headers,
            loop=asyncio.get_running_loop(),
        )
        lines = [f"{name}: {value}\r\n" for name, value in self._pattern.headers.items()]
        self._headers = _Hidden("".join([" HTTP/1.1\r\n", *lines]).encode())
        self._create_path = self._pattern.url.raw_path.encode()

    @property
    def is_closed(self) -> bool:
        return self.connector.closed

    async def query(self, path: str) -> Answer:
        target = path.encode()
        try:
            return await self._converse(b"GET ", target, b"\r\n", None)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
            if self.connector.closed:
                raise
        # A free call that met a close in flight is simply made again.
        return await self._converse(b"GET ", target, b"\r\n", None)

    async def submit(self, body: bytes, *, idempotency_key: str, mark: SentMark) -> Answer:
        rest = (
            b"Content-Type: application/json\r\nContent-Length: %d\r\nIdempotency-Key: %b\r\n\r\n%b"
        ) % (len(body), idempotency_key.encode(), body)
        return await self._converse(b"POST ", self._create_path, rest, mark)

    async def _converse(
        self, method: bytes, target: bytes, rest: bytes, mark: SentMark | None
    ) -> Answer:
        try:
            connection = await self.connector.connect(
                self._pattern, traces=[], timeout=self._timeout
            )
        except TimeoutError:
            raise aiohttp.ConnectionTimeoutError from None
        try:
            protocol, transport = connection.protocol, connection.transport
            if protocol is None or transport is None:
                raise aiohttp.ClientConnectionResetError  # noqa: TRY301 - as if it had been sent
            protocol.set_response_params(read_until_eof=True, auto_decompress=False)
            if mark is not None:
                mark.leave()
            # In one piece, and never held in a variable: the key is in it.
            transport.write(b"".join((method, target, self._headers, rest)))
            message, content = await protocol.read()
            while 100 <= message.code < 200 and message.code != 101:
                message, content = await protocol.read()
        except HttpProcessingError as error:
            connection.close()
            raise aiohttp.ClientResponseError(
                self._pattern.request_info, (), status=error.code, message=error.message
            ) from None
        except BaseException:
            connection.close()
            raise
        return Answer(message.code, message.headers, content, partial(_let_go, connection))

    async def aclose(self) -> None:
        await self.connector.close()


class _Hidden(bytes):
    """Bytes that a dump of variables does not show."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'[headers]'"

    def __reduce__(self) -> NoReturn:
        raise TypeError("headers with the API key are never pickled")


def _let_go(connection: Connection) -> None:
    transport = connection.transport
    if transport is not None and transport.get_write_buffer_size():
        # It was answered before it was all sent: the next request must not follow half of it.
        connection.close()
    else:
        connection.release()


class _Connector(aiohttp.TCPConnector):
    """Connections that are reused only clean, and read in pieces the allocator keeps at hand.

    All overrides are of private methods, whose effect the tests watch. Where aiohttp has them no
    longer, connections are what they are by default.
    """

    is_wary = False
    """Whether a connection is looked at before it is used again."""

    _left_idle: frozenset[tuple[Any, float]] = frozenset()

    def _cleanup(self) -> None:
        # aiohttp is woken by the loop's clock, and judges by the machine's how long a connection
        # lay idle. On a loop whose time jumps it would keep them all, and be woken again for each
        # second of the hours that pass. What is found unused twice has its time behind it.
        super()._cleanup()
        idle = frozenset(each for each_host in self._conns.values() for each in each_host)
        for protocol, _ in idle & self._left_idle:
            protocol.close()
        self._left_idle = idle - self._left_idle

    async def _get(self, *args: Any, **options: Any) -> Any:
        # An answer that came in while the connection lay idle is the answer to nothing we asked:
        # the next call would take it for its own, and a create call pay twice for it.
        connection = await super()._get(*args, **options)
        while connection is not None and (
            _is_spoilt(connection) or (self.is_wary and _has_news(connection))
        ):
            connection.close()
            connection = await super()._get(*args, **options)
        return connection

    async def _wrap_create_connection(
        self, *args: Any, **options: Any
    ) -> tuple[asyncio.Transport, Any]:
        above = cast("Any", super())
        transport, protocol = await above._wrap_create_connection(*args, **options)  # noqa: SLF001 - see above
        # asyncio asks for 256 KiB a read, which the C library maps and unmaps each time: a sixth
        # of a poll. uvloop's transports, and TLS with a buffer it keeps, have no such size.
        if isinstance(getattr(transport, "max_size", None), int):
            transport.max_size = _READ_SIZE_BYTES
        return transport, protocol


def _connector(keepalive_s: float, *, is_wary: bool, **connecting: Any) -> _Connector:
    # The callers bound what is in flight; a queue in here would cost 7 kB a call.
    connector = _Connector(limit=0, keepalive_timeout=keepalive_s, **connecting)
    connector.is_wary = is_wary
    return connector


def _is_spoilt(connection: Any) -> bool:
    return connection.protocol is None or connection.protocol.should_close


def _has_news(connection: Any) -> bool:
    """Tell whether something came that the loop has not read yet: that it was closed, say."""
    descriptor = connection.transport.get_extra_info("socket").fileno()
    if descriptor < 0:
        return True
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([descriptor], [], [], 0)[0])
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
