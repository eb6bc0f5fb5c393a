"""Times and numbers in the words of the admin page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

__all__ = ["age", "clock_time", "count_of", "moment"]

_MINUTE_S: Final = 60
_HOUR_S: Final = 60 * _MINUTE_S
_DAY_S: Final = 24 * _HOUR_S


def age(seconds: float) -> str:
    """Say how long something lasted, in its two largest units."""
    whole = int(seconds)
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min {whole % _MINUTE_S:02} s"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S:02} min"
    return f"{whole // _DAY_S:,} d {whole % _DAY_S // _HOUR_S:02} h"


def moment(at_s: float) -> str:
    """Say a Unix time with its date."""
    return _formatted(at_s, "%Y-%m-%d %H:%M:%S UTC")


def clock_time(at_s: float) -> str:
    """Say a Unix time without its date."""
    return _formatted(at_s, "%H:%M:%S")


def count_of(number: int, one: str, many: str | None = None) -> str:
    """Say how many there are of something: "1 task", "2,000 tasks"."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def _formatted(at_s: float, form: str) -> str:
    try:
        return datetime.fromtimestamp(at_s, UTC).strftime(form)
    except (OverflowError, ValueError, OSError):  # an emulated clock may be past the year 9999
        return f"{at_s:.0f} s"
