"""What every benchmark gives: rows of one table, and one JSON file of the same numbers."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import attrs

__all__ = ["Row", "Scale", "print_table", "write_json"]

_HEADINGS = ("what", "floor", "ours", "ratio", "target", "reached")
_PACKAGES = ("aiohttp", "anyio", "attrs", "cattrs", "uvloop")


class Scale(Enum):
    """How much is measured."""

    FULL = "full"
    QUICK = "quick"


@attrs.frozen(kw_only=True)
class Row:
    """One number that was measured, and what it is held to.

    Attributes:
        what: What was measured, in a few words.
        unit: The unit of `floor` and `ours`.
        ours: The library's number, or None where it could not be measured; `note` says why.
        floor: What it is compared with, or None where it stands alone.
        ratio: Ours to the floor; the median over pairs of runs, so not the ratio of the medians.
        spread: Half the distance between the quartiles of `ratio`, or of `ours` without a floor.
        limit: The most that `ratio` may be, or `ours` without a floor; None where it is told for
            information.
        note: What a reader has to know beside it.
        numbers: More of what was measured, for the file alone.
    """

    what: str
    unit: str
    ours: float | None
    floor: float | None = None
    ratio: float | None = None
    spread: float | None = None
    limit: float | None = None
    note: str = ""
    numbers: Mapping[str, Any] = attrs.field(factory=dict[str, Any])

    @property
    def reached(self) -> bool | None:
        """Whether the target is kept; None where there is none or nothing was measured."""
        judged = self.ours if self.floor is None else self.ratio
        return None if judged is None or self.limit is None else judged <= self.limit


def print_table(rows: Iterable[Row]) -> None:
    """Print the rows, one a line, and their notes below."""
    noted = [(row, _cells(row)) for row in rows]
    table = [_HEADINGS, *(cells for _, cells in noted)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        first, *others = (
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        print("  ".join((first, *others)).rstrip())
    for row, _ in noted:
        if row.note:
            print(f"- {row.what}: {row.note}")


def _cells(row: Row) -> tuple[str, ...]:
    judged_alone = row.floor is None
    spread = "" if row.spread is None else f" ±{_number(row.spread)}"
    ours = "skipped" if row.ours is None else f"{_number(row.ours)} {row.unit}"
    limit = "" if row.limit is None else f"<= {row.limit:g}"
    return (
        row.what,
        "" if row.floor is None else f"{_number(row.floor)} {row.unit}",
        ours + (spread if judged_alone else ""),
        "" if row.ratio is None else f"{row.ratio:.2f}{spread}",
        f"{limit} {row.unit}" if limit and judged_alone else limit,
        {None: "", True: "yes", False: "NO"}[row.reached],
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def write_json(rows: Sequence[Row], path: Path, *, scale: Scale) -> None:
    """Write the rows, and on what they were measured, as one JSON file."""
    report = {
        "scale": scale.value,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "load_average": os.getloadavg()[0] if sys.platform != "win32" else None,
        "packages": {name: _version(name) for name in _PACKAGES},
        "rows": [{**attrs.asdict(row), "reached": row.reached} for row in rows],
    }
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
