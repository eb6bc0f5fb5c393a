"""Strict JSON in: what a hostile or broken peer can put into a body ends in one error.

`json.loads` alone takes ``NaN``, turns ``1e999`` into infinity, and leaves by `RecursionError`
or a bare `ValueError` on deep nesting and long integers. Here all of these are `JsonFlaw`, with
the path of the value where there is one.
"""

from __future__ import annotations

import json
import math
from typing import TypeAlias, cast

import attrs

__all__ = ["JsonFlaw", "loads"]

Path: TypeAlias = tuple[str | int, ...]

DEPTH_LIMIT = 64


@attrs.define(kw_only=True, eq=False, slots=False)
class JsonFlaw(Exception):
    """A text that is not JSON this library takes.

    Attributes:
        path: Where, as a JSON path.
        problem: What is wrong there, as a phrase that follows the path.
    """

    path: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path} {self.problem}"


def loads(data: bytes | str) -> object:
    """Parse JSON.

    Args:
        data: The text, or its UTF-8 bytes.

    Raises:
        JsonFlaw: When it is not JSON, not UTF-8, nested deeper than 64 levels, or holds a
            number that is not finite or has thousands of digits.
    """
    text = data if isinstance(data, str) else _decode(data)
    try:
        value: object = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        problem = (
            f"is not JSON: {error.msg} at character {error.pos}" if text.strip() else "is empty"
        )
    except RecursionError:
        problem = f"is nested deeper than {DEPTH_LIMIT} levels"
    except ValueError:
        # A number no decoder should have let through; the path needs a second, slower look.
        raise _locate_number(text) from None
    else:
        if text.count("{") + text.count("[") > DEPTH_LIMIT:
            _check_depth(value)
        return value
    raise JsonFlaw(path="$", problem=problem)


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8 at byte {error.start}"
    raise JsonFlaw(path="$", problem=problem)


def _refuse_constant(name: str) -> object:
    raise ValueError(name)


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(digits)
    return number


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


@attrs.frozen
class _BadNumber:
    problem: str


def _mark_constant(name: str) -> object:
    return _BadNumber(f"is {name}, which is not JSON")


def _mark_float(digits: str) -> object:
    number = float(digits)
    return number if math.isfinite(number) else _BadNumber("is a number too large to hold")


def _mark_int(digits: str) -> object:
    try:
        return int(digits)
    except ValueError:
        return _BadNumber(f"is a number of {len(digits)} digits")


_MARKING_DECODER = json.JSONDecoder(
    parse_constant=_mark_constant, parse_float=_mark_float, parse_int=_mark_int
)


def _locate_number(text: str) -> JsonFlaw:
    """Parse again with marks in place of the numbers that were refused, and find the first."""
    try:
        marked: object = _MARKING_DECODER.decode(text)
    except json.JSONDecodeError as error:
        return JsonFlaw(path="$", problem=f"is not JSON: {error.msg} at character {error.pos}")
    except RecursionError:
        return JsonFlaw(path="$", problem=f"is nested deeper than {DEPTH_LIMIT} levels")
    for path, value in _walk(marked):
        if isinstance(value, _BadNumber):
            return JsonFlaw(path=json_path(path), problem=value.problem)
    return JsonFlaw(path="$", problem="holds a number that cannot be read")


def _check_depth(value: object) -> None:
    for path, _ in _walk(value):
        if len(path) > DEPTH_LIMIT:
            problem = f"is nested deeper than {DEPTH_LIMIT} levels"
            raise JsonFlaw(path=json_path(path), problem=problem)


def _walk(root: object) -> list[tuple[Path, object]]:
    """List every value with its path, in document order, without recursing."""
    found: list[tuple[Path, object]] = []
    pending: list[tuple[Path, object]] = [((), root)]
    while pending:
        path, value = pending.pop()
        found.append((path, value))
        children: list[tuple[Path, object]] = []
        if len(path) > DEPTH_LIMIT:
            continue
        if isinstance(value, dict):
            items = cast("dict[str, object]", value).items()
            children = [((*path, name), item) for name, item in items]
        elif isinstance(value, list):
            values = cast("list[object]", value)
            children = [((*path, index), item) for index, item in enumerate(values)]
        pending.extend(reversed(children))
    return found


def json_path(path: Path) -> str:
    """Write a path the way it is read: ``$.data.items[2]``."""
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
