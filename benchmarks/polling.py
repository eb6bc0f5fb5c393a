"""When tasks are polled, in simulated services: what each policy costs and how soon it knows.

No socket is opened and no time passes. Every policy looks at the same tasks; fixed intervals and
ours are the library's own code.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from typing import Final

from benchmarks import polling_runs
from benchmarks.polling_runs import Figures
from benchmarks.polling_worlds import World, worlds
from benchmarks.report import Row, Scale

__all__ = ["measure"]

_SEED: Final = 7
_DOCUMENTED_S: Final = 45.0
_FIXED_S: Final = (30.0, _DOCUMENTED_S, 60.0)
_DOCUMENTED: Final = f"fixed {_DOCUMENTED_S:g} s"


def simulate(world: World) -> dict[str, Figures]:
    """Let every policy look at the tasks of a world."""
    found = {f"fixed {each:g} s": polling_runs.fixed(world, _SEED, each) for each in _FIXED_S}
    found["backoff 1 to 60 s"] = polling_runs.backoff(world, _SEED)
    found["oracle"] = polling_runs.oracle(world, _SEED, found[_DOCUMENTED].polls)
    return found


def measure(scale: Scale) -> Iterator[Row]:
    """Simulate all worlds.

    Args:
        scale: How much is simulated.
    """
    for world in worlds(scale):
        found = simulate(world)
        for policy, figures in found.items():
            yield _row(world, policy, figures, found)


def _row(world: World, policy: str, figures: Figures, found: Mapping[str, Figures]) -> Row:
    return Row(
        what=f"{world.name}: {policy}",
        unit="s",
        floor=found[_DOCUMENTED].mean_s,
        ours=figures.mean_s,
        ratio=figures.mean_s / found[_DOCUMENTED].mean_s,
    )


def main() -> None:
    """Print the table of all worlds and policies."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.polling", description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="small worlds")
    parser.add_argument("--world", default="", help="only worlds with this in their name")
    options = parser.parse_args()
    print(f"{'world':<50}{'policy':<24}{'polls':>9}{'mean s':>9}{'p95 s':>9}{'peak/s':>8}")
    for world in worlds(Scale.QUICK if options.quick else Scale.FULL):
        if options.world not in world.name:
            continue
        began_s = time.perf_counter()
        for policy, each in simulate(world).items():
            print(
                f"{world.name:<50}{policy:<24}{each.polls:>9.2f}{each.mean_s:>9.2f}"
                f"{each.p95_s:>9.2f}{each.peak_per_s:>8}"
            )
        print(f"{'':<50}{time.perf_counter() - began_s:.1f} s")


if __name__ == "__main__":
    main()
