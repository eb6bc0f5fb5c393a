"""Faults with malice in them: bodies, ids and URLs that are meant to do harm to a client."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit

import attrs

from videos_async.emulator._checks import Choice

from ._base import Phase
from ._kinds import Answer, Delivering, Line, Order, Ordering, Rewriting

__all__ = ["HostileBody", "HostileBodyKind", "HostileId", "HostileIdKind", "HostileUrl", "UrlKind"]

_MEBIBYTE: Final = 1 << 20
_BOMB_MEBIBYTES: Final = 64
_HUGE_MEBIBYTES: Final = 64


class HostileBodyKind(Choice):
    """What a body does to whoever reads it without care."""

    DEEP_JSON = "deep_json"
    """A hundred thousand brackets: `json.loads` raises `RecursionError`."""
    LONG_INTEGER = "long_integer"
    """An integer of ten thousand digits: `json.loads` raises `ValueError`."""
    GZIP_BOMB = "gzip_bomb"
    """64 kB of gzip that nobody asked for, and that become 64 MiB."""
    HUGE = "huge"
    """64 MiB, announced."""
    ENDLESS = "endless"
    """Chunks without an end."""
    WRONG_TYPES = "wrong_types"
    """The contract's fields with values of other types."""
    NAN = "nan"
    """``NaN`` and ``Infinity``, which are no JSON."""
    SURROGATE = "surrogate"
    """Texts with a lone surrogate, which cannot be encoded."""
    LIST = "list"
    """An array in place of the object."""
    BINARY = "binary"
    """Bytes that are no UTF-8, called JSON."""


def _json(text: str) -> Callable[[Answer], bytes]:
    return lambda _: text.encode()


@cache
def _bomb() -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    block = bytes(_MEBIBYTE)
    pieces = [packer.compress(b'{"id": "')]
    pieces += [packer.compress(block) for _ in range(_BOMB_MEBIBYTES)]
    return b"".join([*pieces, packer.compress(b'"}'), packer.flush()])


_WRONG_TYPES: Final = (
    '{"id": ["video_1"], "object": 3, "created": "yesterday", "model": {}, "status": 7,'
    ' "video_url": {"a": 1}, "actualDuration": "long", "error": [[]]}'
)
_BODIES: Final[Mapping[HostileBodyKind, Callable[[Answer], bytes]]] = {
    HostileBodyKind.DEEP_JSON: lambda _: b'{"id":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    HostileBodyKind.LONG_INTEGER: lambda _: b'{"created": ' + b"9" * 10_000 + b"}",
    HostileBodyKind.WRONG_TYPES: _json(_WRONG_TYPES),
    HostileBodyKind.NAN: _json('{"created": NaN, "actualDuration": Infinity}'),
    HostileBodyKind.SURROGATE: _json('{"id": "\\ud800", "status": "\\udfff", "error": "\\ud800"}'),
    HostileBodyKind.LIST: _json("[1, 2, 3]"),
    HostileBodyKind.BINARY: lambda _: bytes(range(256)),
    HostileBodyKind.GZIP_BOMB: lambda _: _bomb(),
}


@attrs.frozen
class HostileBody(Delivering):
    """The answer's body is replaced by a malicious one; what was taken up stays taken up.

    Attributes:
        kind: What it does; see `HostileBodyKind`.
    """

    kind: HostileBodyKind = attrs.field(converter=HostileBodyKind)

    async def deliver(self, line: Line, answer: Answer) -> bool:
        """Replace the body, or send it as long as anybody listens."""
        if self.kind is HostileBodyKind.ENDLESS:
            await line.send(line.head(answer, {"Transfer-Encoding": "chunked"}))
            await self._pour(line, _endless())
        elif self.kind is HostileBodyKind.HUGE:
            length = {"Content-Length": str(_HUGE_MEBIBYTES * _MEBIBYTE)}
            await line.send(line.head(answer, length))
            await self._pour(line, _huge())
        else:
            answer.body = _BODIES[self.kind](answer)
            if self.kind is HostileBodyKind.GZIP_BOMB:
                answer.headers["Content-Encoding"] = "gzip"
            return False
        return True

    @staticmethod
    async def _pour(line: Line, pieces: AsyncIterator[bytes]) -> None:
        async for piece in pieces:
            if not line.is_open:
                return
            await line.send(piece)
        line.finish()


async def _endless() -> AsyncIterator[bytes]:
    chunk = b"1000\r\n" + b" " * 4096 + b"\r\n"
    while True:
        yield chunk


async def _huge() -> AsyncIterator[bytes]:
    block = b" " * _MEBIBYTE
    for _ in range(_HUGE_MEBIBYTES):
        yield block


class HostileIdKind(Choice):
    """What an id does to whoever puts it into a path, a file name or a terminal."""

    TRAVERSAL = "traversal"
    """``../../admin``: climbs out of the path."""
    CONTROL = "control"
    """Control characters: a line break ends a request line, an escape paints a terminal."""
    LONG = "long"
    """A hundred thousand characters."""
    QUERY = "query"
    """``?`` and ``#``: ends the path."""
    MARKUP = "markup"
    """A tag and quotes."""


_IDS: Final[Mapping[HostileIdKind, str]] = {
    HostileIdKind.TRAVERSAL: "../../admin/",
    HostileIdKind.CONTROL: "video\r\nX-Injected: 1\x1b[2J\x00",
    HostileIdKind.LONG: "v" * 100_000,
    HostileIdKind.QUERY: "video?status=completed#",
    HostileIdKind.MARKUP: '<img src=x onerror="alert(1)">\'--',
}


@attrs.frozen
class HostileId(Ordering):
    """A task gets a malicious id, under which it can be asked for like any other.

    Attributes:
        kind: What the id does; see `HostileIdKind`.
    """

    kind: HostileIdKind = attrs.field(converter=HostileIdKind)

    def apply(self, order: Order) -> None:
        """Set the id; what was drawn for the task stays in it, so no two are the same."""
        order.task_id = f"{_IDS[self.kind]}{order.task_id}"


class UrlKind(Choice):
    """Where a video URL leads whoever follows it without care."""

    FILE = "file"
    """``file:///etc/passwd``."""
    DATA = "data"
    """A ``data:`` URL."""
    SCRIPT = "script"
    """A ``javascript:`` URL."""
    METADATA = "metadata"
    """The address under which clouds tell machines their secrets, plain HTTP."""
    PLAIN_HTTP = "plain_http"
    """A host that is not this machine, without TLS."""
    USERINFO = "userinfo"
    """A user and a password before the host: looks like another host than it is."""
    CONTROL = "control"
    """A line break in the path."""
    RELATIVE = "relative"
    """No scheme and no host."""
    LONG = "long"
    """A hundred thousand characters."""
    REDIRECT = "redirect"
    """A file server that redirects to the metadata address."""
    REDIRECT_LOOP = "redirect_loop"
    """A file server that redirects to itself for ever."""


_METADATA: Final = "http://169.254.169.254/latest/meta-data/iam"
_URLS: Final[Mapping[UrlKind, str]] = {
    UrlKind.FILE: "file:///etc/passwd",
    UrlKind.DATA: "data:video/mp4;base64,AAAA",
    UrlKind.SCRIPT: "javascript:alert(1)",
    UrlKind.METADATA: _METADATA,
    UrlKind.PLAIN_HTTP: "http://files.example/video.mp4",
    UrlKind.RELATIVE: "/files/video.mp4",
    UrlKind.CONTROL: "https://files.example/a\r\nHost: evil.example\r\n\r\n.mp4",
    UrlKind.LONG: f"https://files.example/{'a' * 100_000}.mp4",
}


@attrs.frozen
class HostileUrl(Rewriting):
    """``completed`` comes with a URL that leads astray.

    ``redirect`` and ``redirect_loop`` act where the file is asked for: the URL is a good one, and
    the file server leads astray.

    Attributes:
        kind: Where it leads; see `UrlKind`.
    """

    PHASES = frozenset({Phase.QUERY, Phase.DOWNLOAD})

    kind: UrlKind = attrs.field(converter=UrlKind)

    def rewrite(self, answer: Answer) -> None:
        """Replace the URL, or the file by a redirect."""
        redirects = self.kind in {UrlKind.REDIRECT, UrlKind.REDIRECT_LOOP}
        if answer.phase is Phase.DOWNLOAD:
            if redirects and answer.status < 300:
                target = _METADATA if self.kind is UrlKind.REDIRECT else ""
                answer.status, answer.body, answer.headers = 302, b"", {"Location": target}
            return
        fields = answer.fields
        if redirects or fields is None or not fields.get("video_url"):
            return
        fields["video_url"] = _URLS.get(self.kind) or _with_userinfo(fields)


def _with_userinfo(fields: dict[str, Any]) -> str:
    parts = urlsplit(str(fields["video_url"]))
    return parts._replace(netloc=f"files.example:secret@{parts.netloc}").geturl()
