"""Named mixtures of faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from videos_async.emulator._checks import Choice

from ._answers import Decline, DeclineStyle, Redirect, Status
from ._base import Fault
from ._connection import Close, Cut, Delay, Drip, Framing, Garbage, Reset
from ._dialects import Dialect, DialectName, ExpireUrls, IdLoss, LoseId, NoUrl, Slow, UnknownStatus
from ._hostile import (
    HostileBody,
    HostileBodyKind,
    HostileId,
    HostileIdKind,
    HostileUrl,
    UrlKind,
)

__all__ = ["PROFILES", "Profile", "profile_faults"]


class Profile(Choice):
    """The named mixtures of faults."""

    FIELD = "field"
    """What other published revisions say, and what clients in the field have met."""
    HOSTILE = "hostile"
    """All of ``field``, and malicious bodies, ids, URLs and redirects."""


_PAGE: Final = "<html><body><h1>502 Bad Gateway</h1></body></html>"
_WRONG_URL: Final = {"message": "No handler found for GET /kyyReactApiServer/v1/result"}


def _field() -> Iterator[Fault]:
    # Each shape for some tasks from end to end would be tidier than it is in the field, where
    # two answers about one task come from two machines.
    for name in DialectName:
        yield Dialect(name, probability=0.04)
    # The weather, most of it between the client and the service.
    yield Status(429, retry_after=1, probability=0.02)
    for code in (502, 503, 504):
        yield Status(code, body=_PAGE, on="query", probability=0.01)
        yield Status(code, body=_PAGE, on="download", probability=0.01)
    yield Status(503, body="", on="query", probability=0.01)
    yield Status(200, body=_PAGE, on="query", probability=0.01)
    yield Status(404, body=_WRONG_URL, on="query", probability=0.005)
    yield Status(502, body=_PAGE, on="submit", probability=0.005)
    yield Status(504, body=_PAGE, on="submit", after="acceptance", probability=0.005)
    yield Reset(probability=0.005)
    yield Reset(after="acceptance", probability=0.005)
    yield Close(after="acceptance", probability=0.005)
    yield Close(after="answer", probability=0.01)
    yield Cut(at=40, probability=0.005)
    yield Cut(at=40, framing=Framing.CHUNKED, probability=0.005)
    yield Delay(2, probability=0.02)
    # What the service itself says.
    for style in DeclineStyle:
        yield Decline(style, probability=0.01)
    for loss in (IdLoss.MISSING, IdLoss.HTML, IdLoss.NO_BODY):
        yield LoseId(loss, probability=0.003)
    yield UnknownStatus("pending_review", probability=0.02)
    yield NoUrl(probability=0.05)
    yield ExpireUrls(on="download", probability=0.05)
    yield Slow(600, probability=0.02)


def _hostile() -> Iterator[Fault]:
    yield from _field()
    for body in HostileBodyKind:
        # The large ones cost the machine, not the client, so they are rare.
        is_large = body in {HostileBodyKind.HUGE, HostileBodyKind.ENDLESS}
        yield HostileBody(body, on="submit", probability=0.0005 if is_large else 0.002)
        yield HostileBody(body, on="query", probability=0.0005 if is_large else 0.003)
    yield HostileBody(HostileBodyKind.GZIP_BOMB, on="download", probability=0.01)
    for kind in HostileIdKind:
        yield HostileId(kind, probability=0.01)
    for loss in (IdLoss.EMPTY, IdLoss.NULL, IdLoss.NUMBER, IdLoss.CUT):
        yield LoseId(loss, probability=0.003)
    for url in UrlKind:
        on = "download" if url in {UrlKind.REDIRECT, UrlKind.REDIRECT_LOOP} else "query"
        yield HostileUrl(url, on=on, probability=0.01)
    for code in (301, 302, 307, 308):
        yield Redirect(code=code, on="submit", probability=0.002)
        yield Redirect(code=code, on="query", probability=0.002)
    yield Redirect("http://169.254.169.254/latest", on="query", probability=0.005)
    yield Garbage(probability=0.005)
    yield Garbage(after="acceptance", on="submit", probability=0.003)
    yield Drip(every=5, on="query", probability=0.002)


PROFILES: Final[Mapping[Profile, Callable[[], Iterator[Fault]]]] = MappingProxyType(
    {Profile.FIELD: _field, Profile.HOSTILE: _hostile}
)
"""What each profile is made of."""


def profile_faults(name: str) -> tuple[Fault, ...]:
    """Give the faults of a profile.

    Raises:
        ValueError: If there is no such profile.
    """
    return tuple(PROFILES[Profile(name)]())
