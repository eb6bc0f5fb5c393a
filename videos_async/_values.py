"""What keeps a value from being text, a URL or JSON that the service can take.

Each function tells the flaw as a phrase that follows the field's name, or None where there is
none; nothing here raises, whatever it is given.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import cast
from urllib.parse import urlsplit

__all__ = ["has_lone_surrogate", "json_flaw", "text_flaw", "url_flaw"]

_DEPTH_LIMIT = 32
_SIZE_LIMIT = 10_000
_WHOLE_NUMBER_LIMIT_BITS = 1024


def has_lone_surrogate(text: str) -> bool:
    """Tell whether a text holds half a surrogate pair, which no encoding can carry."""
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def text_flaw(value: object) -> str | None:
    """Tell what keeps a value from being a text with something in it."""
    if not isinstance(value, str):
        return "must be text"
    if not value:
        return "must not be empty"
    if "\0" in value:
        return "must not contain the NUL character"
    if has_lone_surrogate(value):
        return "must be valid Unicode without lone surrogates"
    return None


def url_flaw(value: object) -> str | None:
    """Tell what keeps a value from being an absolute http or https URL."""
    flaw = text_flaw(value)
    if flaw is not None:
        return flaw
    url = cast("str", value)
    rule = "must be an absolute http or https URL"
    # Looked at before it is split: `urlsplit` drops line breaks without a word.
    if any(character.isspace() or not character.isprintable() for character in url):
        return f"{rule} without spaces or control characters"
    try:
        parts = urlsplit(url)
        is_reachable = bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        return f"{rule} ({error})"
    return None if parts.scheme in ("http", "https") and is_reachable else rule


def json_flaw(root: object) -> str | None:
    """Tell what keeps a value from being JSON of a bearable size.

    Iterative, so that no depth can overflow; counted, as a list that holds the same list often
    over is written out each time.
    """
    pending: list[tuple[object, int]] = [(root, 1)]
    count = 0
    while pending:
        value, depth = pending.pop()
        count += 1
        if depth > _DEPTH_LIMIT:
            return f"must not be nested deeper than {_DEPTH_LIMIT} levels"
        if isinstance(value, dict):
            entries = cast("Mapping[object, object]", value)
            if not all(isinstance(name, str) for name in entries):
                return "must be JSON: names of fields are text"
            children: Iterable[object] = (item for pair in entries.items() for item in pair)
        elif isinstance(value, (list, tuple)):
            children = cast("Iterable[object]", value)
        else:
            flaw = _scalar_flaw(value)
            if flaw is not None:
                return flaw
            continue
        pending.extend((child, depth + 1) for child in children)
        if count + len(pending) > _SIZE_LIMIT:
            return f"must not hold more than {_SIZE_LIMIT} values"
    return None


def _scalar_flaw(value: object) -> str | None:
    flaw = None
    if isinstance(value, str):
        if has_lone_surrogate(value):
            flaw = "must be valid Unicode without lone surrogates"
    elif isinstance(value, float):
        if not math.isfinite(value):
            flaw = "must be JSON: a number is finite"
    elif isinstance(value, int):
        if value.bit_length() > _WHOLE_NUMBER_LIMIT_BITS:
            limit = _WHOLE_NUMBER_LIMIT_BITS
            flaw = f"must be JSON that others can read: a whole number has at most {limit} bits"
    elif value is not None:
        flaw = "must be JSON: text, numbers, true, false, null, lists and mappings"
    return flaw
