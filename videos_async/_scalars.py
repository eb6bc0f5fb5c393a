"""Strict readers of single JSON values: a value of the right kind comes out, or `WrongType`.

Written as cattrs takes them, with the value and its declared type, which each knows already.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final, cast

from videos_async._values import has_lone_surrogate
from videos_async.models import Status, task_id_flaw

__all__ = [
    "WrongType",
    "encodable",
    "kind_of",
    "read_id",
    "read_number",
    "read_status",
    "read_text",
    "read_time",
]


class WrongType(Exception):
    """A value that is not of its field's type; the text follows the field's path."""


def read_id(value: Any, _: Any = None) -> str:
    """Read an id; see `task_id_flaw`."""
    flaw = task_id_flaw(value)
    if flaw is not None:
        raise WrongType(flaw if isinstance(value, str) else f"must be text, got {kind_of(value)}")
    return cast("str", value)


def read_status(value: Any, _: Any = None) -> Status:
    """Read a status; one that is in no document is kept."""
    if not isinstance(value, str):
        raise WrongType(f"must be text, got {kind_of(value)}")
    # The lookup spares the documented ones the slower way through the enum's own door.
    return _STATUSES.get(value) or Status(encodable(value))


_STATUSES: Final = {status.value: status for status in Status}


def read_text(value: Any, _: Any = None) -> str | None:
    """Read a text, or None."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise WrongType(f"must be text, got {kind_of(value)}")
    return value if value.isascii() else encodable(value)


def encodable(text: str) -> str:
    """Replace lone surrogates: JSON can spell them, but no terminal, log or file can hold them."""
    return text.encode("utf-8", "replace").decode() if has_lone_surrogate(text) else text


def read_time(value: Any, _: Any = None) -> int | None:
    """Read a Unix time in seconds, or None; digits in a text and a float like 5.0 will do."""
    if value is None:
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 12:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise WrongType(f"must be a whole number, got {kind_of(value)}")
    if not 0 <= value <= _LAST_SECOND:
        raise WrongType("must be a Unix time in seconds")
    return value


_LAST_SECOND: Final = 253_402_300_799  # the end of the year 9999


def read_number(value: Any, _: Any = None) -> float | None:
    """Read a finite number, or None; also as a text in decimal."""
    if value is None:
        return None
    if isinstance(value, str):
        # `float` alone also takes "1_0", " 5 " and the digits of every script.
        is_number = len(value) <= _DIGITS_LIMIT and _DECIMAL.fullmatch(value) is not None
        value = float(value) if is_number else math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise WrongType(f"must be a number, got {kind_of(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise WrongType("must be a finite number")
    return number


_DIGITS_LIMIT: Final = 40
_DECIMAL: Final = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?", re.ASCII)


def kind_of(value: object) -> str:
    """Name a value's type as JSON does."""
    return _KINDS.get(type(value), type(value).__name__)


_KINDS: Final[Mapping[type, str]] = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "text",
    dict: "an object",
    list: "a list",
}
