"""File servers: fetched from on connections of their own, which never carry the key."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urljoin, urlsplit

import aiohttp
import attrs
from yarl import URL

from videos_async._settings import is_loopback
from videos_async._version import __version__
from videos_async.models import without_query

__all__ = ["FileAnswer", "FileServers", "TransportTrouble"]

_REDIRECT_LIMIT: Final = 5
_HEADERS: Final = {"Accept-Encoding": "identity", "User-Agent": f"videos-async/{__version__}"}


class TransportTrouble(Exception):
    """A file could not be read to its end; the text says why. Never leaves the library."""


@attrs.frozen
class FileAnswer:
    """The answer of a file server, its body still to be read.

    Attributes:
        status: The HTTP status.
        length_bytes: The declared length, or None.
        is_delimited: Whether the end of the body can be told from a broken connection.
        media_type: What the server calls it.
        chunks: The body, piece by piece; raises `TransportTrouble` when it breaks.
    """

    status: int
    length_bytes: int | None
    is_delimited: bool
    media_type: str
    chunks: AsyncIterator[bytes]


class FileServers:
    """Fetches videos from whatever host their URLs name.

    Args:
        client: Gives the client that is kept for files.
        describe: Says what an exception means, in words that hold no secret.
        connect_s: Longest time to get a connection, in seconds.
        stall_s: Longest silence, in seconds.
        api_host: Where the API is: a file may be on loopback without TLS when the API is, too.
        plain_http_hosts: Further hosts that may be spoken to without TLS.
    """

    def __init__(
        self,
        *,
        client: Callable[[], aiohttp.ClientSession],
        describe: Callable[[Exception], str],
        connect_s: float,
        stall_s: float,
        api_host: str,
        plain_http_hosts: Collection[str],
    ) -> None:
        self._client = client
        self._describe = describe
        # A total would kill a long download; silence is what tells a dead one.
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect_s, sock_read=stall_s)
        self._is_api_on_loopback = is_loopback(api_host)
        self._plain_http_hosts = frozenset(plain_http_hosts)

    @asynccontextmanager
    async def open(self, url: str) -> AsyncGenerator[FileAnswer]:
        """Ask a file server for a file, on a connection that never carries the key.

        Args:
            url: An absolute http or https URL.

        Raises:
            TransportTrouble: When no answer comes, or a redirect leads where it must not.
        """
        response = await self._follow(url)
        try:
            yield FileAnswer(
                response.status,
                response.content_length,
                response.content_length is not None or _is_chunked(response),
                response.content_type,
                self._chunks(response),
            )
        finally:
            response.close()

    async def _follow(self, url: str) -> aiohttp.ClientResponse:
        for _ in range(_REDIRECT_LIMIT + 1):
            self._check_file_url(url)
            response = await self._get_file(url)
            target = response.headers.get("Location")
            if response.status not in (301, 302, 303, 307, 308) or target is None:
                encoding = response.headers.get("Content-Encoding", "identity")
                if encoding.lower() == "identity":
                    return response
                response.close()
                raise TransportTrouble(f"the file is encoded as {encoding[:20]!r}, uninvited")
            response.close()
            url = urljoin(url, target)
        raise TransportTrouble(f"more than {_REDIRECT_LIMIT} redirects")

    async def _get_file(self, url: str) -> aiohttp.ClientResponse:
        try:
            return await self._client().get(
                URL(url, encoded=True),
                headers=_HEADERS,
                allow_redirects=False,
                auto_decompress=False,
                timeout=self._timeout,
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            trouble = self._describe(error)
        raise TransportTrouble(trouble)

    async def _chunks(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        trouble: str | None = None
        try:
            async for piece in response.content.iter_any():
                yield piece
        except (aiohttp.ClientError, OSError) as error:
            trouble = self._describe(error)
        if trouble is not None:
            raise TransportTrouble(trouble)

    def _check_file_url(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            host = parts.hostname or ""
        except ValueError:
            raise TransportTrouble("the URL of the video cannot be read") from None
        if parts.scheme not in ("http", "https") or not host:
            raise TransportTrouble(f"the video is at {without_query(url)!r}, no http or https URL")
        is_ours = self._is_api_on_loopback and is_loopback(host)
        trusted = is_ours or host in self._plain_http_hosts
        if parts.scheme == "http" and not trusted:
            raise TransportTrouble(
                f"the video is at {without_query(url)!r} without TLS; "
                f"to allow it say plain_http_hosts=[{host!r}]"
            )


def _is_chunked(response: aiohttp.ClientResponse) -> bool:
    return "chunked" in response.headers.get("Transfer-Encoding", "").lower()
