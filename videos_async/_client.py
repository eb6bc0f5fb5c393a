"""How the two calls are made: what a client of the service is, and one that was handed in.

With a client session that was handed in, or through a proxy, a request goes the way aiohttp sends
it; `videos_async._connections` has the shorter way of our own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import aiohttp
import attrs
from aiohttp.abc import AbstractStreamWriter
from yarl import URL

from videos_async._wire import Endpoints

__all__ = ["AdoptedClient", "Answer", "Client", "SentMark"]


@attrs.define
class SentMark:
    """Whether a byte of a request's body may have left this machine, and whether one still may.

    Attributes:
        sent: A byte may have left.
        is_revoked: From now on none leaves.
    """

    sent: bool = False
    is_revoked: bool = False

    def revoke(self) -> bool:
        """Let no byte leave from now on, and tell whether none has.

        A cancellation takes a turn of the loop to arrive, in which the body could still be
        written; this holds at once.
        """
        self.is_revoked = True
        return not self.sent

    def leave(self) -> None:
        """Mark that bytes leave now.

        Raises:
            ConnectionAbortedError: When they may not any more.
        """
        if self.is_revoked:
            raise ConnectionAbortedError("the call was called off before it was sent")
        self.sent = True


@attrs.define
class Answer:
    """An answer whose body is still to be read.

    Attributes:
        status: The HTTP status.
        headers: The headers, by case-insensitive name.
        content: The body.
        release: Lets go of the connection; it is closed where the body was not read to its end.
    """

    status: int
    headers: Mapping[str, str]
    content: aiohttp.StreamReader
    release: Callable[[], object]


class Client(Protocol):
    """Makes the two calls, each once but for a free one that meets a close in flight."""

    @property
    def is_closed(self) -> bool:
        """Whether its connections are gone."""
        ...

    async def query(self, path: str) -> Answer:
        """Make a result call."""
        ...

    async def submit(self, body: bytes, *, idempotency_key: str, mark: SentMark) -> Answer:
        """Make a create call; the mark is set before the first byte of the body leaves."""
        ...

    async def aclose(self) -> None:
        """Close its connections."""
        ...


class AdoptedClient:
    """Makes calls with a client session as it is set up, but for what would change their meaning.

    Args:
        session: The session; `aclose` closes it.
        endpoints: Where the calls go.
        headers: What every call carries.
        proxy: URL of an HTTP proxy, or None.
        timeout: How long it may take to get a connection.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        endpoints: Endpoints,
        headers: Mapping[str, str],
        proxy: str | None,
        timeout: aiohttp.ClientTimeout,
    ) -> None:
        self.session = session
        self._create_url = URL(endpoints.create, encoded=True)
        # Only the path differs from poll to poll: the rest is parsed once.
        self._root_url = URL(endpoints.root, encoded=True)
        self._headers = headers
        self._options: dict[str, Any] = {
            # Nothing that a session may be set to can resend, redirect, decode or raise behind
            # our back.
            "allow_redirects": False,
            "auto_decompress": False,
            "raise_for_status": False,
            "middlewares": (),
            "proxy": proxy,
            "timeout": timeout,
        }

    @property
    def is_closed(self) -> bool:
        return self.session.closed

    async def query(self, path: str) -> Answer:
        url = self._root_url.with_path(path, encoded=True)
        return _answer(await self.session.get(url, headers=self._headers, **self._options))

    async def submit(self, body: bytes, *, idempotency_key: str, mark: SentMark) -> Answer:
        headers = {
            **self._headers,
            # Said here, or the session's own default would win.
            "Content-Type": "application/json",
            "Idempotency-Key": idempotency_key,
        }
        marked = _MarkedBody(body, mark)
        return _answer(
            await self.session.post(self._create_url, headers=headers, data=marked, **self._options)
        )

    async def aclose(self) -> None:
        await self.session.close()


def _answer(response: aiohttp.ClientResponse) -> Answer:
    return Answer(response.status, response.headers, response.content, response.release)


class _MarkedBody(aiohttp.BytesPayload):
    """A request body that leaves a mark before its first byte is handed to the socket.

    aiohttp holds the headers back until the body is written, and a create call without its body
    cannot be accepted, so this is the exact line between "not accepted" and "maybe". Unlike a
    trace hook it also works in a client session that was handed in, and costs nothing.
    """

    def __init__(self, body: bytes, mark: SentMark) -> None:
        super().__init__(body, content_type="application/json")
        self._mark = mark

    async def write(self, writer: AbstractStreamWriter) -> None:
        self._mark.leave()
        await super().write(writer)

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        self._mark.leave()
        await super().write_with_length(writer, content_length)
