"""The socket side of the API: with what stands below it, all that imports aiohttp's client.

It makes one exchange at a time and reports it as data. Nothing of aiohttp leaves from here, its
exceptions least of all: the same ones are raised for "the service never read it" and "it was
accepted, then the line died", and their reprs and tracebacks hold the Authorization header.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NoReturn, TypeAlias

import aiohttp
import anyio
import attrs

from videos_async._client import AdoptedClient, Answer, Client, SentMark
from videos_async._connections import open_client, open_session
from videos_async._files import FileServers
from videos_async._guard import Guard
from videos_async._settings import ApiKey, at_least
from videos_async._version import __version__
from videos_async._watchdog import UnderWay, Watchdog
from videos_async._wire import ANSWER_LIMIT_BYTES, Endpoints, Exchange
from videos_async.errors import SessionClosed
from videos_async.models import without_query

__all__ = ["SentMark", "Timeouts", "Transport"]

_KEEPALIVE_S: Final = {
    # Short enough that no server is known to close a connection this young, and looked at before
    # it is used, so that a create call meets no close in flight, which would make doubt.
    "submit": 1.0,
    # A free call that meets a close in flight is simply made again.
    "query": 15.0,
    "files": 15.0,
}
_COMMON_HEADERS: Final[Mapping[str, str]] = {
    "Accept": "application/json",
    # 292 kB of gzip can become 300 MB in one read.
    "Accept-Encoding": "identity",
    "User-Agent": f"videos-async/{__version__}",
}
_TROUBLE_LIMIT: Final = 300


@attrs.frozen(kw_only=True)
class Timeouts:
    """How long one exchange may take.

    Attributes:
        connect_s: To get a connection, in seconds.
        submit_s: For a create call as a whole, in seconds. One that runs out after its bytes
            left is uncertain, so be generous.
        query_s: For a result call as a whole, in seconds.
        download_stall_s: Longest silence of a file server in a download, in seconds.
    """

    connect_s: float = attrs.field(default=10.0, validator=at_least(0.001))
    submit_s: float = attrs.field(default=60.0, validator=at_least(0.001))
    query_s: float = attrs.field(default=30.0, validator=at_least(0.001))
    download_stall_s: float = attrs.field(default=30.0, validator=at_least(0.001))


# A result call has no body, so nothing of it is ever marked.
_UNMARKED: Final = SentMark()

_MakeCall: TypeAlias = Callable[[Client], Awaitable[Answer]]


class Transport:
    """Connections to the service and, apart from them and without the key, to file servers.

    Args:
        endpoints: Where the calls go.
        key: The API key; it goes to `endpoints` and nowhere else.
        timeouts: How long an exchange may take.
        proxy: URL of an HTTP proxy, or None.
        guard: Says where videos may be fetched from.
        client_session: A session to make the API calls with; it stays its owner's to close.

    Attributes:
        closed: Set when the transport is closed, for those who wait between two calls.
        files: Where videos are fetched from.
    """

    def __init__(
        self,
        *,
        endpoints: Endpoints,
        key: ApiKey,
        timeouts: Timeouts,
        proxy: str | None,
        guard: Guard,
        client_session: aiohttp.ClientSession | None,
    ) -> None:
        self._endpoints = endpoints
        self._key = key
        self._proxy = proxy
        # No total: a timer of aiohttp's for each call costs a tenth of a poll.
        timeout = aiohttp.ClientTimeout(total=None, connect=timeouts.connect_s)
        self._where: dict[str, Any] = {
            "endpoints": endpoints,
            "proxy": proxy,
            "timeout": timeout,
            # The key goes with each call: what a session has by default, a proxy gets, too.
            "headers": {**_COMMON_HEADERS, **_authorization(key)},
        }
        self._adopted = client_session and AdoptedClient(client_session, **self._where)
        self._owned: dict[str, Client] = {}
        self._file_sessions: dict[bool, aiohttp.ClientSession] = {}
        self._watchdog = Watchdog()
        self.closed = anyio.Event()
        self._guard = guard
        self.files = FileServers(
            client=self._files_client,
            describe=self._describe,
            connect_s=timeouts.connect_s,
            stall_s=timeouts.download_stall_s,
            guard=guard,
        )
        self._without_key = _eraser(key)
        self._timeouts = timeouts

    @property
    def is_open(self) -> bool:
        """Whether there are connections of our own that want closing."""
        return bool(self._owned or self._file_sessions)

    async def aclose(self) -> None:
        """End the calls under way and close our own connections; closing twice is fine."""
        self.closed.set()
        self._watchdog.stop_all("the session was closed")
        while self._owned:
            _, client = self._owned.popitem()
            await client.aclose()
        while self._file_sessions:
            _, session = self._file_sessions.popitem()
            await session.close()

    # --- the two calls -------------------------------------------------------------------

    async def submit(self, body: bytes, *, idempotency_key: str, mark: SentMark) -> Exchange:
        """Make one create call.

        Args:
            body: The JSON to send.
            idempotency_key: Names this submission across its tries; the contract documents no
                use of it.
            mark: Set before the first byte of the body is handed to the socket.
        """
        return await self._exchange(
            "submit",
            mark,
            self._timeouts.submit_s,
            lambda client: client.submit(body, idempotency_key=idempotency_key, mark=mark),
        )

    async def query(self, task_id: str, *, timeout_s: float) -> Exchange:
        """Make one result call, within `timeout_s` seconds at most."""
        path = self._endpoints.result_path(task_id)
        limit_s = min(self._timeouts.query_s, timeout_s)
        return await self._exchange("query", _UNMARKED, limit_s, lambda client: client.query(path))

    async def _exchange(
        self, name: str, mark: SentMark, limit_s: float, make: _MakeCall
    ) -> Exchange:
        if self.closed.is_set():
            raise SessionClosed
        client = self._adopted or self._owned.get(name) or self._open(name)
        call = self._watchdog.begin(limit_s)
        try:
            return await self._converse(make(client), call, mark)
        except asyncio.CancelledError as cancelled:
            if call.takes_cancellation():
                trouble = call.stopped
            elif mark.sent or not client.is_closed or _is_cancelling():
                # Without the frames below: what they hold, the key and an answer that may echo
                # it, is no business of whoever logs the cancellation.
                raise cancelled.with_traceback(None)  # noqa: B904 - it is the one that was caught
            else:
                # A connector that is closed cancels those who wait for a name or a connection.
                trouble = "the client was closed"
        except Exception as error:  # noqa: BLE001 - whatever it was, what counts is the mark
            trouble = self._describe(error)
        finally:
            self._watchdog.end(call)
        if self.closed.is_set() or client.is_closed:
            if not mark.sent:
                raise SessionClosed
            trouble = "the session was closed before an answer came"
        return Exchange(sent=mark.sent, trouble=trouble)

    async def _converse(
        self, answering: Awaitable[Answer], call: UnderWay, mark: SentMark
    ) -> Exchange:
        answer = await answering
        # Not `async with`: its exit can wait, and a cancellation would find the answer there.
        try:
            body, trouble = await self._read_body(answer.content, call)
        finally:
            answer.release()
        return Exchange(
            sent=mark.sent,
            status=answer.status,
            headers=answer.headers,
            body=body,
            trouble=trouble,
        )

    async def _read_body(
        self, content: aiohttp.StreamReader, call: UnderWay
    ) -> tuple[bytes | None, str | None]:
        """Read a body up to the cap; where it breaks off, what came until then and why."""
        trouble: str | None = None
        pieces: list[bytes] = []
        size = 0
        try:
            # Nearly always one turn: the body came with the headers.
            while not content.at_eof():
                piece = await content.readany()
                size += len(piece)
                if size > ANSWER_LIMIT_BYTES:
                    return None, f"the body is larger than {ANSWER_LIMIT_BYTES} bytes"
                pieces.append(piece)
        except asyncio.CancelledError:
            if not call.takes_cancellation():
                raise
            trouble = call.stopped
        except Exception as error:  # noqa: BLE001 - aiohttp's parser has exceptions of its own
            # The status is in hand and can be all that is needed: a 429 stays one.
            trouble = self._describe(error)
        # A service that echoes the key must not get it into an error, a log or a snapshot.
        return self._without_key(b"".join(pieces)), trouble

    # --- inside --------------------------------------------------------------------------

    def _open(self, name: str) -> Client:
        client = self._owned[name] = open_client(
            **self._where, keepalive_s=_KEEPALIVE_S[name], is_wary=name == "submit"
        )
        return client

    def _files_client(self, is_private: bool) -> aiohttp.ClientSession:  # noqa: FBT001 - as `FileServers` asks
        if self.closed.is_set():
            raise SessionClosed
        session = self._file_sessions.get(is_private)
        if session is None:
            # Through a proxy the one address that is seen is the proxy's own.
            is_guarded = not is_private and self._proxy is None
            # A file server is told nothing by default.
            session = self._file_sessions[is_private] = open_session(
                keepalive_s=_KEEPALIVE_S["files"],
                proxy=self._proxy,
                socket_factory=self._guard.open_socket if is_guarded else None,
                # Looked up anew for each connection: a file server that moved is found again.
                use_dns_cache=False,
            )
        return session

    def _describe(self, error: Exception) -> str:
        """Say what happened in words that hold neither the key nor a signed query."""
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return f"no connection within {self._timeouts.connect_s:g} s"
        if isinstance(error, TimeoutError):
            return "no answer within the time allowed"
        if isinstance(error, aiohttp.ServerDisconnectedError):
            return "the connection was closed before an answer came"
        if isinstance(error, aiohttp.ClientPayloadError):
            return "the body was cut short"
        if isinstance(error, aiohttp.ClientHttpProxyError):
            return f"the proxy refused the connection: HTTP {error.status}"
        if isinstance(error, aiohttp.ClientResponseError):
            # The parser's words without the bytes it shows: those can be a torn half of the key.
            text = f"the answer is not HTTP: {_SHOWN_BYTES.split(error.message, maxsplit=1)[0]}"
        else:
            text = str(error) or type(error).__name__
        text = without_query(" ".join(text.replace(self._key, "[api key]").split()))
        return text if len(text) <= _TROUBLE_LIMIT else f"{text[:_TROUBLE_LIMIT]}…"


_SHOWN_BYTES: Final = re.compile(r"""[\s:]*(?:\n\n|(?<!\w)(?:bytearray\()?b?['"])""")


def _eraser(key: str) -> Callable[[bytes], bytes]:
    """Make what replaces the key in a body: plain, in a JSON string's escapes or in a URL's.

    A function and not a pattern, as a pattern's repr shows what it looks for.
    """
    forms = (
        sign
        if sign.isalnum()
        # Which of the others a service escapes is its own choice: PHP does "/", .NET "+".
        else rf"(?:\\u00(?i:{ord(sign):02x})|%(?i:{ord(sign):02x})|\\?{re.escape(sign)})"
        for sign in key
    )
    pattern = re.compile("".join(forms).encode())
    return lambda body: pattern.sub(b"[api key]", body)


def _is_cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _authorization(key: ApiKey) -> dict[str, str]:
    return {"Authorization": _HeaderValue(f"Bearer {key}")}


class _HeaderValue(str):
    """A header's value that a dump of variables does not show."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'[api key]'"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a header with the API key is never pickled")
