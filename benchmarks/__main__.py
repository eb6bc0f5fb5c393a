"""Runs every benchmark and prints one table: ``python -m benchmarks``."""

from __future__ import annotations

from benchmarks import import_cost


def main() -> None:
    """Measure and print."""
    cost = import_cost.measure()
    print(f"{'what':<24} {'floor':>10} {'ours':>10} {'ratio':>7} {'target':>7}")
    print(
        f"{'import, CPU ms':<24} {cost.floor_ms:>10.1f} {cost.ours_ms:>10.1f} "
        f"{cost.ratio:>7.2f} {import_cost.TARGET:>7.2f}"
    )


if __name__ == "__main__":
    main()
