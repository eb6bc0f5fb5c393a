"""The three formats of an input, each read into the same records."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final, Literal, NoReturn, TypeAlias, cast

import attrs

from videos_async import InvalidRequest, VideoRequest, request_from_json
from videos_async.cli._lines import violation_text
from videos_async.cli.batch._source import BadLine, Lines

__all__ = ["PYTHON_NAMES", "FormatName", "Record", "format_of", "records"]

FormatName: TypeAlias = Literal["jsonl", "csv", "text"]

PYTHON_NAMES: Final = {
    **{field.name: field.name for field in attrs.fields(VideoRequest)},
    "referenceImages": "reference_images",
    "referenceVideos": "reference_videos",
    "image": "first_image",
    "lastFrameImage": "last_image",
}
"""Every name a field may come under, to its Python name."""

_LISTS: Final = frozenset({"reference_images", "reference_videos"})
_SUFFIXES: Final[Mapping[str, FormatName]] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}


@attrs.frozen
class Record:
    """What one line, or one row over several lines, says.

    Attributes:
        line: The number of its first line, counted from 1.
        fields: The fields it says, under whatever names.
    """

    line: int
    fields: Mapping[str, Any]


def format_of(prompts: str) -> FormatName:
    """Tell the format by the file's suffix; anything unknown is text, and so is ``-``."""
    return _SUFFIXES.get(PurePath(prompts).suffix.lower(), "text")


def records(lines: Lines, format_name: FormatName) -> Iterator[Record | BadLine]:
    """Read records, with what cannot be read in its place among them."""
    reader = _READERS[format_name](lines)
    while True:
        try:
            record = next(reader, None)
        except BadLine as bad:
            yield bad
        else:
            if record is None:
                return
            yield record


# --- text ----------------------------------------------------------------------------------


class _Text:
    """One prompt a line, blank lines aside.

    The readers are classes because, unlike generators, they go on after an exception.
    """

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def __iter__(self) -> Iterator[Record]:
        return self

    def __next__(self) -> Record:
        while not (text := next(self._lines).strip()):
            pass
        return Record(self._lines.number, self._fields(text))

    def _fields(self, text: str) -> Mapping[str, Any]:
        return {"prompt": text}


# --- JSON lines ----------------------------------------------------------------------------


class _JsonLines(_Text):
    """One object a line, blank lines aside."""

    def _fields(self, text: str) -> Mapping[str, Any]:
        value = _json(text, self._lines.number)
        if isinstance(value, dict):
            return cast("Mapping[str, Any]", value)
        hint = "one request a line, with no list around them all"
        raise BadLine(self._lines.number, f"the line must be a JSON object ({hint})")


def _json(text: str, line: int) -> object:
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise BadLine(line, f"is not JSON: {error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise BadLine(line, "is nested too deep to be read") from None
    except ValueError as error:
        raise BadLine(line, f"is not JSON: {error}") from None


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    # Of a name given twice, the value that would not count may be the one that was meant.
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!r} is there twice in one object")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


# --- CSV -----------------------------------------------------------------------------------


class _Csv:
    """Rows under a header; an empty cell says nothing."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        # The reader takes lines with their ends, or it would join those of a quoted cell.
        self._rows = csv.reader(_WithEnds(lines), strict=True)
        self._header: Sequence[str] | None = None

    def __iter__(self) -> Iterator[Record]:
        return self

    def __next__(self) -> Record:
        if self._header is None:
            self._header = ()
            self._header = self._read_header()
        if not self._header:
            raise StopIteration  # without the names of its columns no row says anything
        line, cells = self._row()
        if len(cells) > len(self._header):
            problem = f"the row has {len(cells)} cells under {len(self._header)} columns"
            raise BadLine(line, f"{problem}: put a cell with a comma in it in double quotes")
        named = zip(self._header, cells, strict=False)
        return Record(line, {name: _cell(name, cell, line) for name, cell in named if cell})

    def _row(self) -> tuple[int, list[str]]:
        """Read the next row that is not blank, and the number of its first line."""
        while True:
            first = self._lines.number + 1
            try:
                cells = [cell.strip() for cell in next(self._rows)]
            except csv.Error as error:
                raise BadLine(first, f"the row is not CSV: {error}") from None
            if any(cells):
                return first, cells

    def _read_header(self) -> Sequence[str]:
        line, header = self._row()
        problems: list[str] = []
        if "prompt" not in header:
            other = next((mark for mark in ";\t" if mark in " ".join(header)), None)
            hint = f"; the columns are separated by commas, not by {other!r}" if other else ""
            problems.append(f"the header has no column prompt{hint}")
        problems.extend(
            f"the header names {name!r} twice"
            for name in sorted({*header})
            if header.count(name) > 1
        )
        if not problems:
            problems.extend(_unknown(name) for name in header if name not in {*PYTHON_NAMES, "key"})
        if problems:
            raise BadLine(line, *problems)
        return header


class _WithEnds:
    """Puts the line ends back that the CSV reader goes by."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return f"{next(self._lines)}\n"


def _unknown(name: str) -> str:
    if not name:
        return "the header has a column without a name"
    try:
        request_from_json({"prompt": "x", "duration": 5, name: "x"})
    except InvalidRequest as invalid:
        # The library knows what may have been meant.
        return f"the header's column {violation_text(invalid.violations[0])}"
    return f"the header's column {name!r} is not a field of a request"


def _cell(name: str, cell: str, line: int) -> object:
    field = PYTHON_NAMES.get(name)
    if field == "duration" and re.fullmatch(r"[+-]?[0-9]{1,9}", cell):
        return int(cell)
    if field in _LISTS:
        return [url for url in re.split(r"[|\s]+", cell) if url]
    return _json(cell, line) if field == "extra" else cell


_READERS: Final[Mapping[FormatName, Callable[[Lines], Iterator[Record]]]] = {
    "jsonl": _JsonLines,
    "csv": _Csv,
    "text": _Text,
}
