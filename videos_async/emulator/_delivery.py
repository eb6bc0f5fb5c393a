"""Which bytes of a file a request gets: the conditional and range rules of HTTP (RFC 9110).

Pure: headers in, a decision out. One range per request is served; a request for several gets the
whole file, which the RFC allows and clients must survive.
"""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Delivery", "decide_delivery"]

_RANGE: Final = re.compile(r"bytes=\s*(\d*)\s*-\s*(\d*)\s*", re.ASCII | re.IGNORECASE)
# Past any file's size, and short enough that int() takes it.
_MOST_DIGITS: Final = 18


@attrs.frozen(kw_only=True)
class Delivery:
    """What to answer.

    Attributes:
        status: 200, 206, 304, 412 or 416.
        start: The first byte to send.
        stop: The byte after the last one to send.
        content_range: The ``Content-Range`` header, for 206 and 416.
    """

    status: HTTPStatus
    start: int = 0
    stop: int = 0
    content_range: str | None = None


def decide_delivery(
    headers: Mapping[str, str], *, size: int, etag: str, modified_at_s: int
) -> Delivery:
    """Decide what a GET or HEAD of a file is answered with.

    Args:
        headers: The request's headers, looked up by their usual names.
        size: The size of the file in bytes.
        etag: The file's strong entity tag, quotes included.
        modified_at_s: When the file came to be, in whole seconds since the Unix epoch.

    Returns:
        The status and the bytes to send.
    """
    if (wanted := headers.get("If-Match")) is not None and not _lists(wanted, etag):
        return Delivery(status=HTTPStatus.PRECONDITION_FAILED)
    if (known := headers.get("If-None-Match")) is not None:
        is_known = _lists(known.replace("W/", ""), etag)
    else:
        since_s = _date_s(headers.get("If-Modified-Since"))
        is_known = since_s is not None and modified_at_s <= since_s
    if is_known:
        return Delivery(status=HTTPStatus.NOT_MODIFIED)
    whole = Delivery(status=HTTPStatus.OK, stop=size)
    condition = headers.get("If-Range")
    if condition is not None and condition != etag and _date_s(condition) != modified_at_s:
        # The file is not the one the client has a part of: all of it, from the start.
        return whole
    return _decide_range(headers.get("Range", ""), whole)


def _decide_range(header: str, whole: Delivery) -> Delivery:
    found = _RANGE.fullmatch(header)
    if found is None or max(len(found[1]), len(found[2])) > _MOST_DIGITS or not any(found.groups()):
        return whole
    size = whole.stop
    first, last = found[1], found[2]
    if first:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < int(first):
            return whole
    else:
        start, stop = max(size - int(last), 0), size
    if start >= size:
        return Delivery(
            status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, content_range=f"bytes */{size}"
        )
    return Delivery(
        status=HTTPStatus.PARTIAL_CONTENT,
        start=start,
        stop=stop,
        content_range=f"bytes {start}-{stop - 1}/{size}",
    )


def _lists(tags: str, etag: str) -> bool:
    return any(tag.strip() in {"*", etag} for tag in tags.split(","))


def _date_s(header: str | None) -> float | None:
    if header is None:
        return None
    try:
        return parsedate_to_datetime(header).timestamp()
    except ValueError:  # RFC 9110: a date that cannot be read is ignored
        return None
