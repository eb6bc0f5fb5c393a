"""The contract's bytes: a model becomes a request, an exchange becomes an outcome.

Source of the endpoints: ``POST {base}/v1/videos/videos`` and ``GET {base}/v1/result/{id}`` of the
Videos API.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import quote, urlsplit

import attrs

from videos_async._converter import find_task_id, request_to_json
from videos_async._json import JsonFlaw, loads
from videos_async._retry import Outcome
from videos_async.errors import InvalidRequest, Violation
from videos_async.models import VideoRequest, task_id_flaw

__all__ = [
    "ANSWER_LIMIT_BYTES",
    "Endpoints",
    "Exchange",
    "checked_task_id",
    "encode_request",
    "parse_retry_after",
    "read_exchange",
]

ANSWER_LIMIT_BYTES: Final = 1 << 20
"""Largest body of an API answer that is read; a real one has some 300 bytes."""

_SNIPPET_LIMIT: Final = 120


@attrs.frozen
class Endpoints:
    """Where the two calls go.

    Attributes:
        root: The address without a trailing slash and without ``/v1``.
        path: Its path, to which only the path of a call is added from poll to poll.
    """

    root: str
    path: str = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        # The class is frozen; what is derived is set the way attrs itself sets it.
        object.__setattr__(self, "path", urlsplit(self.root).path)

    @property
    def create(self) -> str:
        """The URL of the create call."""
        return f"{self.root}/v1/videos/videos"

    def result_path(self, task_id: str) -> str:
        """The path of the result call; the id is one percent-encoded segment."""
        # Nearly every id stands for itself, and `quote` takes its time to find that out.
        segment = task_id if _UNRESERVED.fullmatch(task_id) else quote(task_id, safe="")
        return f"{self.path}/v1/result/{segment}"


# Source: RFC 3986, section 2.3.
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9._~-]+")


# `json.dumps` makes one of these at each call that has options.
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def encode_request(request: VideoRequest) -> bytes:
    """Write the body of the create call."""
    return _ENCODER.encode(request_to_json(request)).encode()


def checked_task_id(task_id: object) -> str:
    """Take an id that can be asked for.

    Raises:
        InvalidRequest: When it could not be one segment of a path.
    """
    flaw = task_id_flaw(task_id)
    if flaw is not None or not isinstance(task_id, str):
        rule = f"{flaw}: give the id exactly as the create call answered it"
        raise InvalidRequest(violations=(Violation(field="task_id", rule=rule, value=task_id),))
    return task_id


# Not frozen: it lives for a moment, and freezing would double its price.
@attrs.define(kw_only=True)
class Exchange:
    """One request that was made, and all that came of it.

    Attributes:
        sent: Whether a byte of the request's body may have left this machine.
        status: The HTTP status, or None where no answer came.
        headers: The answer's headers, by case-insensitive name.
        body: The answer's body, as far as it came, or None where it was too large to keep.
        trouble: What went wrong on the way, in words, or None.
    """

    sent: bool
    status: int | None = None
    # What a service says here can be signed, or an echo of the key: no dump shows it.
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)
    body: bytes | None = attrs.field(default=None, repr=False)
    trouble: str | None = None


def read_exchange(exchange: Exchange, *, unix_now_s: float) -> Outcome:
    """Read what the service said.

    Args:
        exchange: The exchange.
        unix_now_s: The time of day as a Unix time, for a ``Retry-After`` that names a date.
    """
    if exchange.status is None:
        return Outcome(sent=exchange.sent, trouble=exchange.trouble)
    answer: object = None
    salvage: str | None = None
    trouble = exchange.trouble
    if exchange.body is not None:
        try:
            answer = loads(exchange.body)
        except JsonFlaw as flaw:
            trouble = trouble or _flaw_text(flaw, exchange)
            salvage = _salvage(exchange.body)
        else:
            # An object says itself where it ends: one that parses is whole, also where the
            # connection broke behind it, and the id in it is paid for.
            trouble = None if _is_object(answer) else trouble
    return Outcome(
        sent=exchange.sent,
        status=exchange.status,
        answer=answer,
        salvage=salvage,
        retry_after_s=_retry_after(exchange.headers, unix_now_s),
        # What a proxy writes into an error page is no trouble of its own: the status tells.
        trouble=trouble if 200 <= exchange.status < 300 or exchange.body is None else None,
    )


def _is_object(answer: object) -> bool:
    return isinstance(answer, dict)


def _flaw_text(flaw: JsonFlaw, exchange: Exchange) -> str:
    if exchange.headers.get("Content-Encoding", "").strip().lower() not in ("", "identity"):
        # Never decoded: 292 kB of gzip can become 300 MB.
        return "the body is compressed, which was not asked for"
    where = "" if flaw.path == "$" else f" at {flaw.path}"
    return f"the body{where} {flaw.problem}{_snippet(exchange.body or b'')}"


def _salvage(body: bytes) -> str | None:
    """Find the id in JSON that is whole but holds a number this library refuses."""
    try:
        # Numbers are blanked, not read: one that stands for an id is no usable id here either.
        answer: object = json.loads(
            body, parse_int=_blank, parse_float=_blank, parse_constant=_blank
        )
    except (ValueError, RecursionError):
        return None
    return find_task_id(answer)


def _blank(_: str) -> None:
    """Stand in for a number."""


def _snippet(body: bytes) -> str:
    """Show how a body begins: whoever reads the error knows a proxy's page by its first line."""
    text = " ".join(body[: 4 * _SNIPPET_LIMIT].decode("utf-8", "replace").split())
    shown = "".join(character for character in text if character.isprintable())
    return f" (it begins {shown[:_SNIPPET_LIMIT]!r})" if shown else ""


_SECONDS: Final = re.compile(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*", re.ASCII)


def _retry_after(headers: Mapping[str, str], unix_now_s: float) -> float | None:
    value = headers.get("Retry-After")
    return None if value is None else parse_retry_after(value, unix_now_s=unix_now_s)


def parse_retry_after(value: str, *, unix_now_s: float) -> float | None:
    """Read a ``Retry-After`` header.

    Args:
        value: Seconds, or an HTTP date.
        unix_now_s: The time of day as a Unix time.

    Returns:
        Seconds to wait, at least 0, or None where it says neither.

    Source: RFC 9110, section 10.2.3.
    """
    seconds = _SECONDS.fullmatch(value)
    if seconds is not None:
        return float(seconds[1])
    try:
        date = parsedate_to_datetime(value)
        # HTTP dates are in GMT, also where they say so in a way that parses as "unknown".
        return max(
            0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - unix_now_s
        )
    except (ValueError, OverflowError):
        return None
