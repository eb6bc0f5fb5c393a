"""Strict JSON in: what a hostile or broken peer can put into a body ends in one error.

`json.loads` alone takes ``NaN``, turns ``1e999`` into infinity, and leaves by `RecursionError`
or a bare `ValueError` on deep nesting and long integers. Here all of these are `JsonFlaw`, with
the path of the value where there is one.

A name that an object holds twice is told by no parser in wide use, and the last one counts. So it
is for answers, where refusing would cost a task that is paid for; a person's own text is held to
more, as the other value may be the one they meant: see `Names`.
"""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Callable, Iterator
from enum import Enum
from typing import TypeAlias, cast

import attrs

__all__ = ["JsonFlaw", "Names", "loads"]

Path: TypeAlias = tuple[str | int, ...]

DEPTH_LIMIT = 64
"""How many lists and objects may stand in one another."""

_NAME_LIMIT = 40


class Names(Enum):
    """What to do with a name that one object holds twice."""

    LAST_COUNTS = "last counts"
    UNIQUE = "unique"


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


def loads(data: bytes | str, *, names: Names = Names.LAST_COUNTS) -> object:
    """Parse JSON.

    Args:
        data: The text, or its UTF-8 bytes.
        names: What to do with a name that one object holds twice.

    Raises:
        JsonFlaw: When it is not JSON, not UTF-8, nested deeper than 64 levels, or holds a
            number that is not finite or has thousands of digits.
    """
    text = data.removeprefix("\ufeff") if isinstance(data, str) else _decode(data)
    strict, marking = _DECODERS[names]
    try:
        value = _decode_whole(strict, text)
    except json.JSONDecodeError as error:
        raise _not_json(error) from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        # A value no decoder should have let through; the path needs a second, slower look.
        raise _locate(text, marking) from None
    if text.count("{") + text.count("[") > DEPTH_LIMIT:
        _check_depth(value)
    return value


def _decode_whole(decoder: json.JSONDecoder, text: str) -> object:
    # `decode` looks for white space on both sides, which nearly no answer has and which costs as
    # much as the parsing.
    if text[:1] == "{":
        value, end = decoder.raw_decode(text)
        if end == len(text):
            return value
    return decoder.decode(text)


def _not_json(error: json.JSONDecodeError) -> JsonFlaw:
    if not error.doc.strip():
        return JsonFlaw(path="$", problem="is empty")
    return JsonFlaw(path="$", problem=f"is not JSON: {error.msg} at character {error.pos}")


def _too_deep(path: Path = ()) -> JsonFlaw:
    return JsonFlaw(path=json_path(path), problem=f"is nested deeper than {DEPTH_LIMIT} levels")


def _decode(data: bytes) -> str:
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode()
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


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name twice")
    return value


@attrs.frozen
class _Bad:
    """Stands in the place of a value that was refused."""

    problem: str


def _mark_constant(name: str) -> object:
    return _Bad(f"is {name}, which is not JSON")


def _mark_float(digits: str) -> object:
    number = float(digits)
    return number if math.isfinite(number) else _Bad("is a number too large to hold")


def _mark_int(digits: str) -> object:
    try:
        return int(digits)
    except ValueError:
        return _Bad(f"is a number of {len(digits)} digits")


def _mark_twice(pairs: list[tuple[str, object]]) -> object:
    value: dict[str, object] = {}
    for name, item in pairs:
        value[name] = _Bad("is given twice") if name in value else item
    return value


def _decoders(
    unique: Callable[[list[tuple[str, object]]], object] | None,
    mark_twice: Callable[[list[tuple[str, object]]], object] | None,
) -> tuple[json.JSONDecoder, json.JSONDecoder]:
    """Make the decoder that refuses and the slower one that marks what was refused."""
    return (
        json.JSONDecoder(
            parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=unique
        ),
        json.JSONDecoder(
            parse_constant=_mark_constant,
            parse_float=_mark_float,
            parse_int=_mark_int,
            object_pairs_hook=mark_twice,
        ),
    )


_DECODERS = {
    Names.LAST_COUNTS: _decoders(None, None),
    Names.UNIQUE: _decoders(_unique, _mark_twice),
}


def _locate(text: str, decoder: json.JSONDecoder) -> JsonFlaw:
    """Parse again with marks in place of the values that were refused, and find the first."""
    try:
        marked: object = decoder.decode(text)
    except json.JSONDecodeError as error:
        return _not_json(error)
    except RecursionError:
        return _too_deep()
    for path, value in _walk(marked):
        if isinstance(value, _Bad):
            return JsonFlaw(path=json_path(path), problem=value.problem)
        if _is_too_deep(path, value):
            return _too_deep(path)
    return JsonFlaw(path="$", problem="holds a value that cannot be read")


def _check_depth(value: object) -> None:
    """Refuse what is nested too deep, level by level: no path is built where all is well."""
    level = [value]
    for _ in range(DEPTH_LIMIT):
        level = [child for parent in level for _, child in _entries(parent)]
        if not level:
            return
    for path, child in _walk(value):
        if _is_too_deep(path, child):
            raise _too_deep(path)


def _is_too_deep(path: Path, value: object) -> bool:
    return len(path) >= DEPTH_LIMIT and isinstance(value, (dict, list))


def _entries(value: object) -> Iterator[tuple[str | int, object]]:
    if isinstance(value, dict):
        return iter(cast("dict[str, object]", value).items())
    return enumerate(cast("list[object]", value) if isinstance(value, list) else ())


def _walk(root: object) -> Iterator[tuple[Path, object]]:
    """Give every value with its path, in document order; what is held grows with depth alone."""
    yield (), root
    unfinished: list[tuple[Path, Iterator[tuple[str | int, object]]]] = [((), _entries(root))]
    while unfinished:
        path, entries = unfinished[-1]
        for name, value in entries:
            yield (*path, name), value
            if isinstance(value, (dict, list)):
                unfinished.append(((*path, name), _entries(cast("object", value))))
                break
        else:
            unfinished.pop()


def json_path(path: Path) -> str:
    """Write a path the way it is read: ``$.data.items[2]``."""
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else _step(part) for part in path)


def _step(name: str) -> str:
    # A name is the peer's text: whatever it holds, the error stays short and printable.
    if len(name) > _NAME_LIMIT:
        name = f"{name[:_NAME_LIMIT]}…"
    return f".{name}" if name.isidentifier() else f"[{name!r}]"
