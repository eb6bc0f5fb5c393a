"""File servers: fetched from on connections of their own, which never carry the key."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from typing import Final
from urllib.parse import urljoin

import aiohttp
import attrs
from yarl import URL

from videos_async._body import Body, Room
from videos_async._destination import Piece
from videos_async._guard import AddressRefused, Guard, refusal
from videos_async._version import __version__

__all__ = ["FileAnswer", "FileServers", "TransportTrouble"]

_REDIRECT_LIMIT: Final = 5
# What is shorter is not worth a connection that cannot be used again.
_TAKEN_OVER_BYTES: Final = 1 << 20
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_HEADERS: Final = {
    # What is encoded on the way has neither the length nor the ranges of the file.
    "Accept-Encoding": "identity",
    "User-Agent": f"videos-async/{__version__}",
}


class TransportTrouble(Exception):
    """A file could not be read to its end; the text says why. Never leaves the library.

    Attributes:
        is_final: Whether another try would end the same way.
    """

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.is_final = is_final


@attrs.frozen(kw_only=True)
class FileAnswer:
    """The answer of a file server, its body still to be read.

    Attributes:
        status: The HTTP status.
        headers: The headers; looked up in any case.
        length_bytes: The declared length of the body, or None.
        is_delimited: Whether the end of the body can be told from a broken connection.
        is_encoded: Whether the body is encoded, which was not asked for.
        media_type: What the server calls it.
        chunks: The body, piece by piece; raises `TransportTrouble` when it breaks. A piece that
            is a view is good until the next one is asked for.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    length_bytes: int | None
    is_delimited: bool
    is_encoded: bool
    media_type: str
    chunks: AsyncIterator[Piece] = attrs.field(repr=False)


class FileServers:
    """Fetches videos from whatever host their URLs name.

    Args:
        client: Gives the client for hosts at public addresses, or for those that were allowed
            to be elsewhere.
        describe: Says what an exception means, in words that hold no secret.
        connect_s: Longest time to get a connection, in seconds.
        stall_s: Longest silence, in seconds.
        guard: Says which URLs are fetched from.

    Attributes:
        room: What the long bodies that are being read share.
    """

    def __init__(
        self,
        *,
        client: Callable[[bool], aiohttp.ClientSession],
        describe: Callable[[Exception], str],
        connect_s: float,
        stall_s: float,
        guard: Guard,
    ) -> None:
        self._client = client
        self._describe = describe
        self._guard = guard
        # A total would kill a long download; silence is what tells a dead one.
        self._stall_s = stall_s
        self.room = Room()
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect_s, sock_read=stall_s)

    @asynccontextmanager
    async def open(self, url: str, headers: Mapping[str, str]) -> AsyncGenerator[FileAnswer]:
        """Ask a file server for a file, on a connection that never carries the key.

        Args:
            url: An absolute http or https URL.
            headers: What is asked beyond the file itself.

        Raises:
            TransportTrouble: When no answer comes, or a redirect leads where it must not.
        """
        response = await self._follow(url, headers)
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        chunks = self._chunks(response)
        try:
            yield FileAnswer(
                status=response.status,
                headers=response.headers,
                length_bytes=response.content_length,
                is_delimited=response.content_length is not None or _is_chunked(response),
                is_encoded=encoding not in ("", "identity"),
                media_type=response.content_type,
                chunks=chunks,
            )
        finally:
            # Read to its end it frees the connection, else it closes it.
            response.close()
            # Or the buffers would stay until the loop gets to it.
            await chunks.aclose()

    async def _follow(self, url: str, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        for _ in range(_REDIRECT_LIMIT + 1):
            response = await self._get(url, headers)
            target = response.headers.get("Location")
            if response.status not in _REDIRECTS or target is None:
                return response
            response.close()
            try:
                url = urljoin(url, target)
            except ValueError:
                url = target
        raise TransportTrouble(f"more than {_REDIRECT_LIMIT} redirects", is_final=True)

    async def _get(self, url: str, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        parsed = self._checked(url)
        host = parsed.host or ""
        is_final = False
        try:
            return await self._client(self._guard.is_private(host)).get(
                parsed,
                headers={**_HEADERS, **headers},
                allow_redirects=False,
                auto_decompress=False,
                timeout=self._timeout,
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            flaw = next((one.flaw for one in _causes(error) if isinstance(one, AddressRefused)), "")
            trouble = refusal(host, flaw) if flaw else self._describe(error)
            is_final = bool(flaw) or isinstance(
                error, (aiohttp.ClientConnectorCertificateError, aiohttp.InvalidURL)
            )
        raise TransportTrouble(trouble, is_final=is_final)

    def _checked(self, url: str) -> URL:
        try:
            # Read once, by what makes the connection: two readers can see two hosts in one URL.
            parsed = URL(url, encoded=True)
            scheme, host = parsed.scheme, parsed.host or ""
        except ValueError:
            raise TransportTrouble("the URL of the video cannot be read", is_final=True) from None
        flaw = self._guard.url_flaw(url, scheme=scheme, host=host)
        if flaw is not None:
            raise TransportTrouble(flaw, is_final=True)
        return parsed

    async def _chunks(self, response: aiohttp.ClientResponse) -> AsyncGenerator[Piece]:
        trouble: str | None = None
        content = response.content
        try:
            while not content.at_eof():
                piece = await content.readany()
                if piece:
                    yield piece
                body = self._take_over(response)
                if body is not None:
                    with closing(body):
                        while view := await body.read():
                            yield view
                    return
        except (aiohttp.ClientError, OSError) as error:
            trouble = self._describe(error)
        if trouble is not None:
            rest = _held_back(content)
            if rest:
                yield rest
            raise TransportTrouble(trouble)

    def _take_over(self, response: aiohttp.ClientResponse) -> Body | None:
        """Take a connection from aiohttp that has a long body to come, and give it to nobody else.

        By private attributes, whose effect the tests watch: bytes that aiohttp has read and not
        handed on would be lost, so where it may have some, or where that cannot be told any more,
        the body is read from it to its end.
        """
        connection, length = response.connection, response.content_length
        if connection is None or length is None or response.content.is_eof():
            return None
        protocol, transport = connection.protocol, connection.transport
        missing_bytes = length - response.content.total_bytes
        if protocol is None or transport is None or missing_bytes < _TAKEN_OVER_BYTES:
            return None
        # A reader that was paused keeps what it did not parse; here and in the parser.
        is_reading = getattr(protocol, "_reading_paused", None) is False
        if (
            not is_reading
            or getattr(protocol, "_tail", None) != b""
            or getattr(response.content, "_buffer", True)
        ):
            return None
        return Body(
            transport, protocol, room=self.room, size_bytes=missing_bytes, stall_s=self._stall_s
        )


def _is_chunked(response: aiohttp.ClientResponse) -> bool:
    return "chunked" in response.headers.get("Transfer-Encoding", "").lower()


def _held_back(content: aiohttp.StreamReader) -> bytes:
    """Take what came before a connection broke, which aiohttp keeps behind the error.

    By a private method, whose effect the tests watch. Without it the bytes are asked for again.
    """
    read: Callable[[int], bytes] | None = getattr(content, "_read_nowait", None)
    return b"" if read is None else read(-1)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk down to what began it: aiohttp wraps what a socket raises."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
