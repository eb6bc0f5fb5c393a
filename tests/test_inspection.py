"""The best ages to look at, against all others that were tried and against the known rule."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from statistics import NormalDist
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videos_async._ages import AGES_S, shares
from videos_async._inspection import Inspections, inspections

FLOOR_S: Final = 10.0
CEILING_S: Final = 180.0
PRICE_S: Final = 3.0


def log_normal(sigma: float, median_s: float = 150.0) -> list[float]:
    normal = NormalDist()
    return [normal.cdf(math.log(age_s / median_s) / sigma) if age_s else 0.0 for age_s in AGES_S]


def ages_of(table: Inspections) -> list[float]:
    ages_s = [0.0]
    while ages_s[-1] < 3000:
        ages_s.append(ages_s[-1] + table.gap_s(ages_s[-1]))
    return ages_s


def cost(ages_s: Sequence[float], lives_s: Sequence[float]) -> float:
    """The delay and the price of the looks, on average over lives."""
    total_s = 0.0
    for life_s in lives_s:
        looks, seen_s = next(
            (number, age_s) for number, age_s in enumerate(ages_s) if age_s >= life_s
        )
        total_s += seen_s - life_s + PRICE_S * looks
    return total_s / len(lives_s)


def drawn(sigma: float) -> list[float]:
    dice = random.Random(1)
    return [min(150 * math.exp(sigma * dice.gauss(0, 1)), 2500.0) for _ in range(4000)]


def table_of(ended: Sequence[float], price_s: float = PRICE_S) -> Inspections:
    return inspections(ended, price_s=price_s, floor_s=FLOOR_S, ceiling_s=CEILING_S)


@pytest.mark.parametrize("sigma", [0.2, 0.4, 0.8])
def test_no_fixed_interval_is_better(sigma: float) -> None:
    lives_s = drawn(sigma)
    ours = cost(ages_of(table_of(log_normal(sigma))), lives_s)
    fixed = (
        cost([every_s * number for number in range(1000)], lives_s)
        for every_s in range(int(FLOOR_S), int(CEILING_S), 5)
    )
    assert ours < min(fixed)


@pytest.mark.parametrize(("factor", "shift_s"), [(1.1, 0.0), (0.9, 0.0), (1.0, 12.0)])
def test_moving_the_ages_makes_them_worse(factor: float, shift_s: float) -> None:
    lives_s = drawn(0.3)
    ages_s = ages_of(table_of(log_normal(0.3)))
    moved = [0.0, *(age_s * factor + shift_s for age_s in ages_s[1:]), 4000.0]
    assert cost(ages_s, lives_s) < cost(moved, lives_s)


def test_where_looks_are_many_their_density_goes_as_the_root_of_the_hazard() -> None:
    sigma = 0.8
    table = inspections(log_normal(sigma, 2000.0), price_s=1.0, floor_s=1.5, ceiling_s=CEILING_S)
    normal = NormalDist()

    def hazard(age_s: float) -> float:
        depth = math.log(age_s / 2000) / sigma
        return normal.pdf(depth) / (age_s * sigma * (1 - normal.cdf(depth)))

    for early_s, late_s in ((600.0, 1200.0), (1000.0, 2000.0)):
        expected = math.sqrt(hazard(early_s + 20) / hazard(late_s + 20))
        found = table.gap_s(late_s) / table.gap_s(early_s)
        assert found == pytest.approx(expected, rel=0.15)


def test_few_early_many_near_the_likely_end_few_in_the_tail() -> None:
    # One in twenty lives for hours, so that those who are left at 600 s are of that kind.
    tail = [min(1.0, age_s / 20_000) for age_s in AGES_S]
    mixed = [0.95 * one + 0.05 * other for one, other in zip(log_normal(0.2), tail, strict=True)]
    table = table_of(mixed)
    early_s, likely_s, late_s = table.gap_s(0), table.gap_s(150), table.gap_s(600)
    assert early_s > 5 * likely_s
    assert late_s > 5 * likely_s


def test_a_dearer_look_is_made_less_often() -> None:
    looks = [table_of(log_normal(0.3), price_s).looks[0] for price_s in (0.5, 2, 8, 30)]
    assert looks == sorted(looks, reverse=True)
    assert looks[0] > 2 * looks[-1]


def test_expected_looks_are_those_that_are_made() -> None:
    table, lives_s = table_of(log_normal(0.3)), drawn(0.3)
    ages_s = ages_of(table)
    made = sum(sum(age_s < life_s for age_s in ages_s) for life_s in lives_s) / len(lives_s)
    assert table.looks[0] == pytest.approx(made, rel=0.03)


@given(
    st.lists(st.floats(0.0, 1.0), min_size=30, max_size=30),
    st.floats(0.01, 200),
    st.floats(0.5, 50),
    st.floats(1, 20),
    st.floats(0, 20_000),
)
@settings(max_examples=60, deadline=None)
def test_whatever_the_distribution_the_gaps_keep_the_bounds(
    heights: list[float], price_s: float, floor_s: float, factor: float, age_s: float
) -> None:
    spread = len(AGES_S) // len(heights) + 1
    masses = [height + 1e-6 for height in heights for _ in range(spread)][: len(AGES_S) - 1]
    ceiling_s = floor_s * factor + 5
    table = inspections(shares(masses), price_s=price_s, floor_s=floor_s, ceiling_s=ceiling_s)
    # Between two of the ages it is a line from one to the other, off by their distance at most.
    index = max(i for i, edge_s in enumerate(AGES_S) if edge_s <= age_s)
    slack_s = AGES_S[min(index + 1, len(AGES_S) - 1)] - AGES_S[index]
    assert floor_s - slack_s - 1e-6 <= table.gap_s(age_s) <= ceiling_s + slack_s * 2 + 1e-6
    assert all(late > early for early, late in zip(AGES_S, table.ages_s, strict=False))
