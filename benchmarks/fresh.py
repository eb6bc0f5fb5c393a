"""Measuring in a fresh process, and what is made of several such measurements.

A process for each run: caches, the allocator's arenas and the collector's counters are those of
a program that begins, and no run pays for what another one left behind.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

__all__ = ["half_quartile_distance", "median_ratio", "run_module"]

_HERE: Final = Path(__file__).resolve().parent.parent


def run_module(
    name: str,
    *arguments: object,
    timeout_s: float,
    prefix: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run a module of this folder in a fresh interpreter.

    Args:
        name: The module's name, without the package's.
        arguments: Its command line.
        timeout_s: Seconds after which it is killed.
        prefix: A command to run it under, valgrind say.
        environment: What to change in the environment.

    Returns:
        The JSON object on the last line of its output.

    Raises:
        subprocess.SubprocessError: When it fails or takes too long.
    """
    command = [*prefix, sys.executable, "-m", f"benchmarks.{name}", *map(str, arguments)]
    done = subprocess.run(
        command,
        check=True,
        cwd=_HERE,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        timeout=timeout_s,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def median_ratio(ours: Iterable[float], floors: Iterable[float]) -> tuple[float, float]:
    """Give the median ratio of pairs that were measured side by side, and its spread.

    Pairs, because what slows the machine for a while slows both of a pair.
    """
    ratios = [one / floor for one, floor in zip(ours, floors, strict=True)]
    return statistics.median(ratios), half_quartile_distance(ratios)


def half_quartile_distance(values: Sequence[float]) -> float:
    """Tell how far values lie apart, whatever a few of them did."""
    if len(values) < 2:
        return 0.0
    first, _, third = statistics.quantiles(values, n=4)
    return (third - first) / 2
