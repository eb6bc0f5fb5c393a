"""Pages in place of videos: what a file server, or something before it, says in words.

An expired link, a captive portal or a balancer in trouble answers with a page, and some do it
with HTTP 200. Its first line tells more than its status, so that is what an error shows.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, urlsplit

__all__ = ["HEAD_BYTES", "first_line", "is_page"]

HEAD_BYTES: Final = 1024
"""How much of a body has to be looked at."""

_LINE_LIMIT: Final = 160
_PAGE_TYPES: Final = frozenset(
    {"application/json", "application/problem+json", "application/xhtml+xml", "application/xml"}
)
# A server that knows no videos calls them text. A video begins with the length of its first box
# in four bytes, of which one at least is zero, and no text holds a zero.
_LOOKED_AT_BYTES: Final = 64
_PAGE_BEGINNINGS: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<!doctype|<html|<head|<body|<\?xml|<error|[{\[]\s*[\"{\[\]}])",
    re.IGNORECASE,
)
_MARKUP: Final = re.compile(
    r"<(script|style)\b.*?(?:</\1\s*>|$)|<!--.*?(?:-->|$)|<[^>]*(?:>|$)", re.IGNORECASE | re.DOTALL
)
_QUERY: Final = re.compile(r"[?#][^\s\"'<>]*[=&%][^\s\"'<>]*")
_SECRET_LENGTH: Final = 6


def is_page(media_type: str, head: bytes) -> bool:
    """Tell whether a body is a page rather than a video.

    Args:
        media_type: What the server calls it, in small letters and without parameters.
        head: How it begins.
    """
    if media_type.startswith("text/") or media_type in _PAGE_TYPES:
        return b"\0" not in head[:_LOOKED_AT_BYTES]
    return _PAGE_BEGINNINGS.match(head) is not None


def first_line(head: bytes, *, url: str = "") -> str:
    """Pick the first line of a page that says something, without markup and without secrets.

    Args:
        head: How the page begins.
        url: Where it was found; the values of its query are credentials, which pages like to
            show.

    Returns:
        The line, shortened; empty where there is none.
    """
    text = head[:HEAD_BYTES].decode("utf-8", "replace").lstrip("\N{ZERO WIDTH NO-BREAK SPACE}")
    said = _MARKUP.sub("\n", text) if text.lstrip().startswith("<") else text
    lines = (" ".join(line.split()) for line in said.splitlines())
    line = next((line for line in lines if line), "")
    line = _QUERY.sub("?…", _without_secrets(line, url))
    line = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in line)
    return line if len(line) <= _LINE_LIMIT else f"{line[:_LINE_LIMIT]}…"


def _without_secrets(line: str, url: str) -> str:
    try:
        query = urlsplit(url).query
        secrets = {value for _, value in parse_qsl(query, max_num_fields=100)}
    except ValueError:
        return line
    secrets |= {pair.partition("=")[2] for pair in query.split("&")}
    # Longest first, so that no part of one is left; short ones are words like "1080p".
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SECRET_LENGTH:
            line = line.replace(secret, "…")
    return line
