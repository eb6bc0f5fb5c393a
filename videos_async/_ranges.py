"""Which bytes of a file to ask for, and what an answer gives: the range rules of HTTP.

Pure: what is here and what a server said go in, a decision comes out. The rules are those of RFC
9110, sections 8.8 (validators), 13.1.5 (If-Range), 14 (ranges) and 15.3.7 (206). Two of them decide
whether the parts of a file fit together:

- A part may be continued only under a *strong* validator: a weak one stays the same while bytes
  change. An entity tag is strong unless it says ``W/``. A date is strong only when it lies well
  before the answer's own; 60 seconds is the number of RFC 7232, section 2.2.2, where RFC 9110 says
  "at least one second" and "enough difference".
- A server may ignore If-Range, or Range, or both, and some do. So an answer is held against what
  was asked for, in each of its headers, before one byte of it is used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final, TypeAlias

import attrs

__all__ = [
    "Ask",
    "FromStart",
    "GoOn",
    "Gone",
    "Judgement",
    "Refused",
    "Source",
    "StartOver",
    "Weather",
]

_STRONG_TAG: Final = re.compile(r'"[\x21\x23-\x7e]{0,512}"')
_CONTENT_RANGE: Final = re.compile(
    r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII | re.IGNORECASE
)
_STRONG_AFTER_S: Final = 60.0
# What a signed URL answers once it has run out.
_GONE: Final = frozenset({401, 403, 404, 410})
_WEATHER: Final = frozenset({408, 425, 429})


@attrs.frozen(kw_only=True)
class Source:
    """One version of a file.

    Attributes:
        validator: What tells it from other versions, as it goes into If-Range: a strong entity
            tag or a strong date; None where the server gave neither.
        length_bytes: How long it is, or None where the server did not tell.
    """

    validator: str | None = None
    length_bytes: int | None = None


@attrs.frozen(kw_only=True)
class FromStart:
    """The body is the file from its first byte."""

    source: Source


@attrs.frozen(kw_only=True)
class GoOn:
    """The body is the file from `start` on, in the version asked for."""

    start: int
    source: Source


@attrs.frozen(kw_only=True)
class StartOver:
    """What is here belongs to another version, or the server's ranges are not to be used."""

    reason: str


@attrs.frozen(kw_only=True)
class Gone:
    """The URL does not work (any more); a fresh one may."""

    reason: str
    status: int


@attrs.frozen(kw_only=True)
class Weather:
    """Nothing is wrong with what was asked: ask again later."""

    reason: str


@attrs.frozen(kw_only=True)
class Refused:
    """Asking again will not help."""

    reason: str


Judgement: TypeAlias = FromStart | GoOn | StartOver | Gone | Weather | Refused


@attrs.frozen(kw_only=True)
class Ask:
    """What is asked of a server.

    Attributes:
        start: The first byte that is asked for.
        source: The version of which the bytes before it are here.
    """

    start: int
    source: Source

    @classmethod
    def for_rest(cls, size_bytes: int, source: Source) -> Ask:
        """Ask for what is missing behind the first `size_bytes` of a version.

        Nothing that is here can be continued without a validator, nor what is longer than the
        whole. Of what is complete the last byte is asked for once more: an answer to it says
        that this version still stands, where one to an empty range (416) says next to nothing.
        """
        length = source.length_bytes
        if source.validator is None or (length is not None and size_bytes > length):
            return cls(start=0, source=source)
        return cls(start=size_bytes - 1 if size_bytes == length else size_bytes, source=source)

    @property
    def headers(self) -> dict[str, str]:
        """The headers that say so."""
        if self.start <= 0 or self.source.validator is None:
            return {}
        return {"Range": f"bytes={self.start}-", "If-Range": self.source.validator}

    def judge(self, status: int, headers: Mapping[str, str], body_bytes: int | None) -> Judgement:
        """Judge an answer.

        Args:
            status: Its status.
            headers: Its headers; looked up in any case.
            body_bytes: The declared length of its body, or None.
        """
        if status == 200:
            source = Source(validator=_validator(headers), length_bytes=body_bytes)
            return FromStart(source=source)
        if status == 206:
            return self._judge_part(headers, body_bytes)
        if status == 416 and self.headers:
            return StartOver(reason="the file has no such bytes any more (HTTP 416)")
        reason = f"the file server answered HTTP {status}"
        if status in _GONE:
            return Gone(reason=reason, status=status)
        if status >= 500 or status in _WEATHER:
            return Weather(reason=reason)
        return Refused(reason=reason)

    def _judge_part(self, headers: Mapping[str, str], body_bytes: int | None) -> Judgement:
        if not self.headers:
            # Asked again it may give the whole file.
            return Weather(reason="the file server sent a part of the file, uninvited")
        found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
        if found is None:
            return StartOver(reason="the file server does not say which part it sent")
        first, last = int(found[1]), int(found[2])
        total = None if found[3] == "*" else int(found[3])
        is_whole_range = first == self.start and last >= first
        is_in_file = total is None or last < total
        fits_body = body_bytes is None or body_bytes == last - first + 1
        if not (is_whole_range and is_in_file and fits_body):
            return StartOver(reason="the file server sent other bytes than were asked for")
        known = self.source.length_bytes
        if known is not None and total is not None and total != known:
            return StartOver(reason="the file has another length now")
        flaw = self._version_flaw(headers)
        if flaw is not None:
            return StartOver(reason=flaw)
        source = attrs.evolve(self.source, length_bytes=known if total is None else total)
        return GoOn(start=first, source=source)

    def _version_flaw(self, headers: Mapping[str, str]) -> str | None:
        """Tell what shows that the part is of another version: If-Range can have been ignored."""
        validator = self.source.validator
        if validator is None or not validator.startswith('"'):
            # A part need not repeat the date (RFC 9110, section 15.3.7).
            date = headers.get("Last-Modified", validator)
            return None if date == validator else "the file is another version now"
        if headers.get("ETag") != validator:
            return "the file is another version now"
        return None


def _validator(headers: Mapping[str, str]) -> str | None:
    tag = headers.get("ETag")
    if tag is not None and _STRONG_TAG.fullmatch(tag):
        return tag
    modified, date = headers.get("Last-Modified"), headers.get("Date")
    if modified is None or date is None or not modified.isascii() or not modified.isprintable():
        return None
    try:
        age = parsedate_to_datetime(date) - parsedate_to_datetime(modified)
    except (ValueError, TypeError, OverflowError):
        # No date, or one with a zone beside one without.
        return None
    return modified if age.total_seconds() >= _STRONG_AFTER_S else None
