"""Which of those that wait are brought forward, and which are left where they are."""

from __future__ import annotations

import math

import pytest

from videos_async._followed import Followed
from videos_async._sooner import brought_forward

NOW_S = 100.0


def waiting(due_s: float, looked_s: float = 0.0) -> Followed:
    return Followed(
        key=1,
        task_id="video_1",
        started_s=0.0,
        added_s=0.0,
        timeout_s=None,
        request=None,
        looked_s=looked_s,
        due_s=due_s,
    )


def moved_to(followed: Followed, gap_s: float | None, *, drawn_s: float = 4.0) -> float | None:
    """Tell when one is due that was brought forward, or None where it was not."""
    found = brought_forward(
        [followed], NOW_S, soon_s=10.0, gap_s=lambda _: gap_s, overdue_s=lambda: drawn_s
    )
    return NOW_S + found[0][1] if found else None


def test_one_is_looked_at_when_the_new_plan_says() -> None:
    assert moved_to(waiting(due_s=180.0), gap_s=120.0) == 120.0


def test_one_that_is_overdue_by_the_new_plan_is_looked_at_soon() -> None:
    assert moved_to(waiting(due_s=180.0), gap_s=60.0) == NOW_S + 4.0


@pytest.mark.parametrize("gap_s", [None, 200.0, 180.0, 163.0])
def test_none_is_put_off_or_moved_for_next_to_nothing(gap_s: float | None) -> None:
    assert moved_to(waiting(due_s=180.0), gap_s) is None


def test_one_that_is_due_soon_is_not_drawn_for_again() -> None:
    # Or of many changes each would bring it nearer, until all are due at once.
    assert moved_to(waiting(due_s=NOW_S + 9.0), gap_s=1.0, drawn_s=0.0) is None


def test_of_a_hundred_thousand_only_the_first_are_planned_anew() -> None:
    each = waiting(due_s=180.0)
    found = brought_forward(
        [each] * 100_000, NOW_S, soon_s=10.0, gap_s=lambda _: 120.0, overdue_s=lambda: math.nan
    )
    assert 1000 < len(found) < 10_000
