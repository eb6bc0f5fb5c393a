"""What is learned of lifetimes from looks that saw too little."""

from __future__ import annotations

import json
import math
import random
from itertools import pairwise
from statistics import NormalDist
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videos_async._ages import AGES_S, age_between, bin_of, nearest_edge, share_at, shares
from videos_async._lifetimes import MEMORY, Lifetimes

# Next to nothing, spread over all ages.
VAGUE: Final = tuple(2 / (len(AGES_S) - 1) for _ in AGES_S[1:])


def log_normal(median_s: float, sigma: float, dice: random.Random) -> float:
    return median_s * math.exp(sigma * dice.gauss(0, 1))


def learned(*, median_s: float, sigma: float, tasks: int, every_s: float) -> Lifetimes:
    """Look at tasks at an interval, each from an instant of its own, and learn from that."""
    dice = random.Random(1)
    lifetimes = Lifetimes(VAGUE)
    for number in range(tasks):
        age_s, low_s = log_normal(median_s, sigma, dice), 0.0
        high_s = dice.random() * every_s
        while high_s < age_s:
            lifetimes.outlived(nearest_edge(low_s), nearest_edge(high_s))
            low_s, high_s = high_s, high_s + every_s
        lifetimes.observe(low_s, high_s)
        if number % 20 == 0:
            lifetimes.fit()
    lifetimes.fit()
    return lifetimes


def median_of(lifetimes: Lifetimes) -> float:
    return next(age_s for age_s, share in zip(AGES_S, lifetimes.ended, strict=True) if share >= 0.5)


def test_the_ages_grow_and_reach_a_day() -> None:
    assert AGES_S[0] == 0
    assert AGES_S[-1] >= 86_400
    assert all(early < late for early, late in pairwise(AGES_S))


@given(st.floats(0, 86_000))
def test_an_age_lies_in_its_bin(age_s: float) -> None:
    index = bin_of(age_s)
    assert AGES_S[index] <= age_s < AGES_S[index + 1]


@pytest.mark.parametrize("sigma", [0.2, 0.4])
def test_a_distribution_is_found_through_wide_gaps(sigma: float) -> None:
    lifetimes = learned(median_s=150, sigma=sigma, tasks=400, every_s=45)
    normal = NormalDist()
    for age_s in (100.0, 130.0, 150.0, 180.0, 220.0):
        true = normal.cdf(math.log(age_s / 150) / sigma)
        assert share_at(lifetimes.ended, age_s) == pytest.approx(true, abs=0.08)


def test_a_stay_that_was_lost_from_sight_counts_as_longer_than_that() -> None:
    lifetimes = Lifetimes(VAGUE)
    for _ in range(50):
        lifetimes.observe(100, 110)
        lifetimes.observe(200, math.inf)
    lifetimes.fit()
    assert share_at(lifetimes.ended, 190) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("age_s", [300.0, 75.0])
def test_a_service_that_has_changed_is_noticed_within_a_dozen_observations(age_s: float) -> None:
    lifetimes = learned(median_s=150, sigma=0.2, tasks=300, every_s=20)
    for _ in range(12):
        lifetimes.outlived(0, nearest_edge(age_s - 10))
        lifetimes.observe(age_s - 10, age_s + 10)
    lifetimes.fit()
    assert median_of(lifetimes) == pytest.approx(age_s, rel=0.1)


def test_a_service_that_slows_down_is_noticed_before_any_has_ended() -> None:
    lifetimes = learned(median_s=150, sigma=0.2, tasks=300, every_s=20)
    under_way = {nearest_edge(300.0): 8}
    assert any(lifetimes.outlived(*map(nearest_edge, (100, 300))) for _ in range(8))
    lifetimes.fit(under_way=under_way)
    assert median_of(lifetimes) > 250
    # The shape is kept: what was known of the others has not to be learned again.
    assert share_at(lifetimes.ended, 150) < 0.1


def test_of_those_begun_together_the_first_that_end_are_not_taken_for_all() -> None:
    lifetimes = learned(median_s=150, sigma=0.3, tasks=300, every_s=20)
    dice = random.Random(2)
    alive_s = [log_normal(150, 0.3, dice) for _ in range(200)]
    now_s, has_changed = 0.0, False
    while len(alive_s) > 100:
        now_s += 10
        for life_s in alive_s:
            if life_s <= now_s:
                has_changed |= lifetimes.observe(now_s - 10, now_s)
            else:
                has_changed |= lifetimes.outlived(nearest_edge(now_s - 10), nearest_edge(now_s))
        alive_s = [life_s for life_s in alive_s if life_s > now_s]
    lifetimes.fit(under_way={nearest_edge(now_s): len(alive_s)})
    assert not has_changed
    assert median_of(lifetimes) == pytest.approx(150, rel=0.1)


def test_a_few_that_end_early_are_a_reason_to_doubt_and_no_proof() -> None:
    lifetimes = learned(median_s=150, sigma=0.3, tasks=300, every_s=20)
    count = len(lifetimes)
    for _ in range(3):
        assert not lifetimes.observe(0, 100)
    assert lifetimes.is_in_doubt
    assert len(lifetimes) == count + 3


def test_a_doubt_is_settled_best_where_old_and_new_times_are_furthest_apart() -> None:
    lifetimes = learned(median_s=150, sigma=0.3, tasks=300, every_s=20)
    tells = [lifetimes.tells(0, age_s) for age_s in (20.0, 100.0, 240.0)]
    assert max(tells) == tells[1]
    assert tells[1] > 0.3
    assert lifetimes.tells(100, 100) == 0


def test_chance_alone_is_no_change() -> None:
    lifetimes = learned(median_s=150, sigma=0.3, tasks=3000, every_s=20)
    assert len(lifetimes) == MEMORY


def test_memory_is_bounded_and_the_old_fades() -> None:
    lifetimes = Lifetimes(VAGUE)
    for _ in range(MEMORY // 2):
        lifetimes.observe(100, 110)
        lifetimes.observe(130, 140)
    lifetimes.fit()
    before = share_at(lifetimes.ended, 120)
    for _ in range(25):
        lifetimes.observe(100, 110)
        for _ in range(3):
            lifetimes.observe(130, 140)
    lifetimes.fit()
    assert len(lifetimes) == MEMORY
    # A hundred of four, of which a half more than before is late, if all weighed the same.
    assert before - share_at(lifetimes.ended, 120) > 0.25 * 100 / MEMORY


def test_what_ends_at_once_stays_apart_from_the_rest() -> None:
    lifetimes = Lifetimes(VAGUE)
    for _ in range(40):
        lifetimes.observe(0, 2)
        for _ in range(4):
            lifetimes.observe(140, 160)
    lifetimes.fit()
    assert share_at(lifetimes.ended, 3) == pytest.approx(0.2, abs=0.02)
    assert share_at(lifetimes.ended, 60) == pytest.approx(0.2, abs=0.03)


def test_an_age_between_two_is_the_mean_of_what_is_believed() -> None:
    even = shares([late - early for early, late in pairwise(AGES_S)])
    assert age_between(even, 100, 200) == pytest.approx(150)


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6) | st.just(math.inf)), max_size=60),
    st.floats(0, 1e5),
    st.floats(0, 1e5),
)
@settings(max_examples=100, deadline=None)
def test_whatever_is_observed_a_distribution_is_believed(
    observed: list[tuple[float, float]], one_s: float, other_s: float
) -> None:
    lifetimes = Lifetimes(VAGUE)
    for low_s, length_s in observed:
        lifetimes.observe(low_s, low_s + length_s)
    lifetimes.fit()
    assert lifetimes.ended[0] == 0
    assert lifetimes.ended[-1] == pytest.approx(1)
    assert all(early <= late for early, late in pairwise(lifetimes.ended))
    low_s, high_s = sorted((one_s, other_s))
    assert low_s <= age_between(lifetimes.ended, low_s, high_s) <= high_s * (1 + 1e-9)


def test_a_snapshot_is_plain_data_and_brings_back_what_was_believed() -> None:
    lifetimes = learned(median_s=150, sigma=0.3, tasks=200, every_s=30)
    again = Lifetimes(VAGUE)
    again.restore(Lifetimes.readable(json.loads(json.dumps(lifetimes.snapshot()))))
    assert again.snapshot() == lifetimes.snapshot()
    for _ in range(5):
        again.fit()
    assert median_of(again) == pytest.approx(median_of(lifetimes), rel=0.02)


@pytest.mark.parametrize(
    "data", [None, {}, "100", [1], [1, 1], [2, 1], [-1, 5], [0, "x"], [0, None], [math.nan, 1]]
)
def test_what_is_no_snapshot_is_refused(data: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        Lifetimes.readable(data)


def test_two_that_end_long_after_all_others_are_no_change() -> None:
    lifetimes = learned(median_s=150, sigma=0.2, tasks=300, every_s=20)
    for _ in range(2):
        assert not lifetimes.outlived(0, nearest_edge(260))
        assert not lifetimes.observe(260, 290)


def test_those_under_way_are_carried_no_further_out_by_fitting_again() -> None:
    believed = learned(median_s=150, sigma=0.5, tasks=300, every_s=20).ended
    lifetimes = Lifetimes([late - early for early, late in pairwise(believed)])
    for _ in range(10):
        lifetimes.observe(75, 110)
    for _ in range(20):
        lifetimes.fit(under_way={nearest_edge(110): 190})
    # Of those that live to 110 s, 3.7 % were believed to live to 400 s.
    assert 1 - share_at(lifetimes.ended, 400) < 0.06
