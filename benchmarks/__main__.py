"""Runs the benchmarks and prints one table: ``python -m benchmarks [NAME …] [--quick]``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks import (
    downloads,
    emulator_cost,
    emulator_state,
    first_transition,
    import_cost,
    instructions,
    journal_cost,
    polling,
    requests_cost,
    waiting,
)
from benchmarks.report import Row, Scale, print_table, write_json

_BENCHMARKS: Final[Mapping[str, Callable[[Scale], Iterator[Row]]]] = {
    "requests": requests_cost.measure,
    "instructions": instructions.measure,
    "journal": journal_cost.measure,
    "waiting": waiting.measure,
    "first_transition": first_transition.measure,
    "downloads": downloads.measure,
    "import": import_cost.measure,
    "emulator_state": emulator_state.measure,
    "emulator": emulator_cost.measure,
    "polling": polling.measure,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print the table and write the numbers to a file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    names = ", ".join(_BENCHMARKS)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which to run: {names}")
    parser.add_argument(
        "--quick", action="store_true", help="a smoke run: every part works, no number counts"
    )
    parser.add_argument(
        "--json",
        type=Path,
        default=Path(__file__).with_name("results.json"),
        help="where to write the numbers",
    )
    options = parser.parse_args(argv)
    unknown = set(options.names) - set(_BENCHMARKS)
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {names}")
    scale = Scale.QUICK if options.quick else Scale.FULL
    rows: list[Row] = []
    for name in options.names or _BENCHMARKS:
        rows.extend(_BENCHMARKS[name](scale))
    print_table(rows)
    write_json(rows, options.json, scale=scale)


if __name__ == "__main__":
    main()
