"""Runs every benchmark and prints one table: ``python -m benchmarks``."""

from __future__ import annotations

from benchmarks import import_cost


def main() -> None:
    """Measure and print."""
    cost = import_cost.measure()
    rows = (
        ("import videos_async", cost.package_ms, f"<= {import_cost.TARGET}"),
        ("from videos_async import VideosSession", cost.session_ms, ""),
    )
    print(f"{'CPU of an import, floor: import aiohttp':<40} {'floor ms':>9} {'ms':>7} {'ratio':>6}")
    for name, spent_ms, target in rows:
        ratio = spent_ms / cost.floor_ms
        print(f"{name:<40} {cost.floor_ms:>9.1f} {spent_ms:>7.1f} {ratio:>6.2f} {target}")


if __name__ == "__main__":
    main()
