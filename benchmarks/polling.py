"""When tasks are polled, in simulated services: what each policy costs and how soon it knows.

No socket is opened and no time passes. Every policy looks at the same tasks; fixed intervals and
ours are the library's own code. Then the same is shown once for real, over sockets.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from typing import Final

import attrs

from benchmarks import polling_live, polling_runs
from benchmarks.polling_runs import Figures
from benchmarks.polling_worlds import World, worlds
from benchmarks.report import Row, Scale

__all__ = ["measure"]

_SEED: Final = 7
_DOCUMENTED_S: Final = 45.0
_FIXED_S: Final = (30.0, _DOCUMENTED_S, 60.0)
_DOCUMENTED: Final = f"fixed {_DOCUMENTED_S:g} s"
_ORACLE: Final = "oracle"
_COLD: Final = "ours, cold"
_WARM: Final = "ours, warm"
# The most that the mean delay may be, to that of the documented interval.
_DELAY_LIMITS: Final = {"idle, sigma 0.2": 0.40, "idle, sigma 0.3": 0.52, "idle, sigma 0.4": 0.68}
_POLLS_LIMIT_IN_ORDER: Final = 0.2
_ORACLE_LIMIT: Final = 1.15


def simulate(world: World) -> dict[str, Figures]:
    """Let every policy look at the tasks of a world."""
    found = {f"fixed {each:g} s": polling_runs.fixed(world, _SEED, each) for each in _FIXED_S}
    found["backoff 1 to 60 s"] = polling_runs.backoff(world, _SEED)
    cold = polling_runs.adaptive(world, _SEED, warm=False)
    warm = polling_runs.adaptive(world, _SEED, warm=True)
    # Where a queue saves most of the polls of a fixed interval, the oracle has no more than ours.
    looks = warm.polls if world.is_queued else found[_DOCUMENTED].polls
    found[_ORACLE] = polling_runs.oracle(world, _SEED, looks)
    found[_COLD], found[_WARM] = cold, warm
    return found


def measure(scale: Scale) -> Iterator[Row]:
    """Simulate all worlds and judge ours by the targets, then show it for real.

    Args:
        scale: How much is simulated.
    """
    for world in worlds(scale):
        yield from _judged(world, simulate(world))
    yield from polling_live.measure(scale)


def _judged(world: World, found: Mapping[str, Figures]) -> Iterator[Row]:
    numbers = {policy: attrs.asdict(figures) for policy, figures in found.items()}
    for policy in (_COLD, _WARM):
        limit = _DELAY_LIMITS.get(world.name, 1.0) if policy == _WARM else 1.0
        yield _delay(world, policy, _DOCUMENTED, found, limit)
        yield Row(
            what=f"polls per task, {world.name}, {policy}, floor: {_DOCUMENTED}",
            unit="",
            floor=found[_DOCUMENTED].polls,
            ours=found[policy].polls,
            ratio=found[policy].polls / found[_DOCUMENTED].polls,
            limit=_POLLS_LIMIT_IN_ORDER if world.is_in_order else 1.0,
        )
    row = _delay(world, _WARM, _ORACLE, found, _ORACLE_LIMIT)
    yield attrs.evolve(row, numbers=numbers)


def _delay(
    world: World, policy: str, against: str, found: Mapping[str, Figures], limit: float
) -> Row:
    return Row(
        what=f"mean delay, {world.name}, {policy}, floor: {against}",
        unit="s",
        floor=found[against].mean_s,
        ours=found[policy].mean_s,
        ratio=found[policy].mean_s / found[against].mean_s,
        limit=limit,
    )


def main() -> None:
    """Print the table of all worlds and policies."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.polling", description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="small worlds")
    parser.add_argument("--world", default="", help="only worlds with this in their name")
    options = parser.parse_args()
    print(f"{'world':<46}{'policy':<20}{'polls':>9}{'mean s':>9}{'p95 s':>9}{'peak/s':>8}")
    for world in worlds(Scale.QUICK if options.quick else Scale.FULL):
        if options.world not in world.name:
            continue
        began_s = time.process_time()
        for policy, each in simulate(world).items():
            print(
                f"{world.name:<46}{policy:<20}{each.polls:>9.2f}{each.mean_s:>9.2f}"
                f"{each.p95_s:>9.2f}{each.peak_per_s:>8}"
            )
        print(f"{'':<46}in {time.process_time() - began_s:.1f} s of processor time", flush=True)


if __name__ == "__main__":
    main()
