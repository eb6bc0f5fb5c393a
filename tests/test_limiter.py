from __future__ import annotations

import math
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videos_async._limiter import Limiter
from videos_async._rate import AdaptiveRate

START_S: Final = 1000.0


def a_limiter(
    rate_per_s: float | None = 2.0, *, burst: int = 1, session: AdaptiveRate | None = None
) -> Limiter:
    return Limiter(rate_per_s=rate_per_s, burst=burst, session=session or AdaptiveRate())


def turns(limiter: Limiter, count: int, *, now_s: float = START_S) -> list[float]:
    return [limiter.reserve(now_s) for _ in range(count)]


def test_without_a_rate_every_turn_is_at_once() -> None:
    assert turns(a_limiter(None), 3) == [0.0, 0.0, 0.0]


def test_turns_are_evenly_spaced_at_the_rate() -> None:
    assert turns(a_limiter(2.0), 4) == [0.0, 0.5, 1.0, 1.5]


def test_a_burst_goes_out_at_once_and_the_rest_at_the_rate() -> None:
    assert turns(a_limiter(2.0, burst=3), 6) == [0.0, 0.0, 0.0, 0.5, 1.0, 1.5]


def test_what_was_not_used_is_saved_up_to_one_burst() -> None:
    limiter = a_limiter(2.0, burst=3)
    turns(limiter, 6)
    assert turns(limiter, 4, now_s=START_S + 3600) == [0.0, 0.0, 0.0, 0.5]


def test_a_call_that_comes_later_waits_less() -> None:
    limiter = a_limiter(2.0)
    limiter.reserve(START_S)
    assert limiter.reserve(START_S + 0.3) == pytest.approx(0.2)


@pytest.mark.parametrize("rate_per_s", [None, 2.0])
def test_nothing_goes_out_before_the_pause_ends(rate_per_s: float | None) -> None:
    pause = AdaptiveRate()
    pause.pause(START_S + 30)
    assert a_limiter(rate_per_s, session=pause).reserve(START_S) == 30.0


def test_a_pause_spares_nobody_and_saves_no_burst_beyond_its_size() -> None:
    pause = AdaptiveRate()
    pause.pause(START_S + 30)
    assert turns(a_limiter(2.0, burst=2, session=pause), 4) == [30.0, 30.0, 30.5, 31.0]


def test_a_pause_holds_for_every_kind_of_call() -> None:
    pause = AdaptiveRate()
    submits, queries = a_limiter(session=pause), a_limiter(None, session=pause)
    pause.pause(START_S + 30)
    assert (submits.reserve(START_S), queries.reserve(START_S)) == (30.0, 30.0)


def test_calls_with_a_slow_rate_of_their_own_do_not_hold_up_the_others() -> None:
    session = AdaptiveRate()
    for _ in range(100):
        session.accepted(START_S - 0.5)
    session.refused(sent_s=START_S - 0.4, now_s=START_S)
    submits, queries = a_limiter(0.1, session=session), a_limiter(None, session=session)
    assert turns(submits, 2) == [0.0, 10.0]
    assert turns(queries, 10)[-1] < 1


def test_a_shorter_pause_does_not_end_a_longer_one() -> None:
    pause = AdaptiveRate()
    pause.pause(START_S + 30)
    pause.pause(START_S + 5)
    assert a_limiter(None, session=pause).reserve(START_S) == 30.0


def test_a_pause_that_is_over_holds_nobody_up() -> None:
    pause = AdaptiveRate()
    pause.pause(START_S - 1)
    assert a_limiter(session=pause).reserve(START_S) == 0.0


GAPS: Final = st.lists(st.floats(0, 20), min_size=1, max_size=40)


@given(GAPS, st.sampled_from([0.1, 1.0, 7.0, 1000.0]), st.integers(1, 5))
@settings(max_examples=150, deadline=None)
def test_no_stretch_of_time_sees_more_than_the_rate_and_one_burst(
    gaps: list[float], rate_per_s: float, burst: int
) -> None:
    limiter = a_limiter(rate_per_s, burst=burst)
    now_s = START_S
    instants: list[float] = []
    for gap_s in gaps:
        now_s += gap_s
        instants.append(now_s + limiter.reserve(now_s))
    for first, early in enumerate(instants):
        for last, late in enumerate(instants[first:], start=first):
            allowed = (late - early) * rate_per_s + burst
            assert last - first + 1 <= math.floor(allowed + 1e-6)


@given(GAPS, st.sampled_from([None, 0.1, 7.0]), st.lists(st.floats(0, 50), max_size=5))
@settings(max_examples=150, deadline=None)
def test_turns_are_in_order_and_never_in_the_past(
    gaps: list[float], rate_per_s: float | None, pauses: list[float]
) -> None:
    pause = AdaptiveRate()
    limiter = a_limiter(rate_per_s, burst=2, session=pause)
    now_s, latest_s = START_S, -math.inf
    for number, gap_s in enumerate(gaps):
        now_s += gap_s
        if number < len(pauses):
            pause.pause(now_s + pauses[number])
        wait_s = limiter.reserve(now_s)
        assert wait_s >= 0
        assert now_s + wait_s >= max(latest_s, pause.paused_until_s) - 1e-9
        latest_s = now_s + wait_s
