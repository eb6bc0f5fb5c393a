from __future__ import annotations

import time

import pytest

from videos_async.emulator import ManualClock
from videos_async.emulator._clock import ScaledClock


def test_a_scaled_clock_starts_at_the_real_time() -> None:
    assert ScaledClock().now_s() == pytest.approx(time.time(), abs=5)


def test_a_scaled_clock_runs_as_fast_as_told(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ScaledClock(speed=60)
    monkeypatch.setattr(time, "monotonic", iter([10.0, 10.5]).__next__)
    assert -clock.now_s() + clock.now_s() == pytest.approx(30)


def test_a_manual_clock_stands_still_until_it_is_told_to_move() -> None:
    clock = ManualClock(start_s=5)
    assert clock.now_s() == clock.now_s() == 5
    clock.advance(90)
    assert clock.now_s() == 95


def test_a_manual_clock_does_not_run_backwards() -> None:
    with pytest.raises(ValueError, match=r"^seconds must be at least 0, got -1$"):
        ManualClock().advance(-1)


def test_a_scaled_clock_needs_a_speed_above_zero() -> None:
    with pytest.raises(ValueError, match=r"^speed must be a finite number above 0, got 0$"):
        ScaledClock(speed=0)
