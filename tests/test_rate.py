"""The learned rate against simulated services: minutes of calls in milliseconds."""

from __future__ import annotations

import heapq
import random
from enum import Enum

import attrs
import pytest

from videos_async._rate import AdaptiveRate


class Kind(Enum):
    """How a service counts what it allows."""

    BUCKET = "a bucket of tokens that holds a tenth of a second"
    WINDOW = "so many in each second of the clock"


@attrs.define
class Service:
    """Allows so many calls a second and refuses the rest."""

    kind: Kind
    limit_per_s: float
    _tokens: float = 1.0
    _then_s: float = 0.0

    def allows(self, now_s: float) -> bool:
        if self.kind is Kind.BUCKET:
            burst = max(1.0, self.limit_per_s / 10)
            self._tokens = min(burst, self._tokens + (now_s - self._then_s) * self.limit_per_s)
            self._then_s = now_s
        elif int(now_s) != int(self._then_s):
            self._tokens, self._then_s = self.limit_per_s, now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


@attrs.define
class Storm(Service):
    """Refuses everything for a while before it allows what it allows."""

    until_s: float = 0.0

    def allows(self, now_s: float) -> bool:
        return now_s >= self.until_s and Service.allows(self, now_s)


@attrs.define
class Moody(Service):
    """Refuses one call in some hundreds, too, whatever the rate."""

    chance: float = 0.0
    dice: random.Random = attrs.field(factory=lambda: random.Random(11))

    def allows(self, now_s: float) -> bool:
        return Service.allows(self, now_s) and self.dice.random() >= self.chance


@attrs.frozen
class Tally:
    """What became of the calls after the first seconds."""

    refused_share: float
    used_share: float


CALLERS = 16
ROUND_TRIP_S = 0.02
FIRST_S = 10.0


def simulate(
    service: Service,
    *,
    seconds: float = 200,
    retry_after_s: float | None = None,
    first_s: float = FIRST_S,
) -> Tally:
    """Let sixteen callers call as fast as the rate lets them; they take turns, as in a session."""
    rate, dice = AdaptiveRate(), random.Random(7)
    order, waiting = 0, CALLERS
    events: list[tuple[float, int, str, float]] = [(rate.reserve(0.0), 0, "turn", 0.0)]
    allowed: list[bool] = []
    while events:
        now_s, _, what, sent_s = heapq.heappop(events)
        if now_s > seconds:
            break
        order += 1
        ask_next = False
        if what == "turn" and rate.paused_until_s > now_s:
            ask_next = True
        elif what == "turn":
            is_allowed = service.allows(now_s)
            if now_s > first_s:
                allowed.append(is_allowed)
            answer = "accepted" if is_allowed else "refused"
            heapq.heappush(events, (now_s + ROUND_TRIP_S, order, answer, now_s))
            waiting -= 1
            ask_next = waiting > 0
        else:
            if what == "accepted":
                rate.accepted(now_s)
            else:
                share = rate.refused(sent_s=sent_s, now_s=now_s, retry_after_s=retry_after_s)
                rate.pause(now_s + share * (retry_after_s or dice.random()))
            waiting += 1
            ask_next = waiting == 1
        if ask_next:
            heapq.heappush(events, (rate.reserve(now_s), order, "turn", 0.0))
    return Tally(
        refused_share=allowed.count(False) / len(allowed),
        used_share=allowed.count(True) / (service.limit_per_s * (seconds - first_s)),
    )


@pytest.mark.parametrize("retry_after_s", [None, 1.0])
@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("limit_per_s", [20, 50, 200, 600])
def test_under_two_per_cent_are_refused_and_most_of_the_limit_is_used(
    limit_per_s: float, kind: Kind, retry_after_s: float | None
) -> None:
    tally = simulate(Service(kind, limit_per_s), retry_after_s=retry_after_s)
    assert tally.refused_share < 0.02
    assert tally.used_share >= 0.85


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("limit_per_s", [20, 50, 200, 600])
def test_refusals_by_chance_do_not_starve_the_rate(limit_per_s: float, kind: Kind) -> None:
    tally = simulate(Moody(kind, limit_per_s, chance=0.002))
    assert tally.refused_share < 0.02
    assert tally.used_share >= 0.85


NOW_S = 9.6


def quick_rate() -> tuple[AdaptiveRate, float]:
    """A rate of many calls a second of which none was refused of late, and what it is now."""
    rate = AdaptiveRate()
    for _ in range(200):
        rate.accepted(0.5)
    rate.refused(sent_s=0.6, now_s=0.7)
    for _ in range(600):
        rate.accepted(NOW_S - 0.1)
    rate.reserve(NOW_S)
    assert rate.rate_per_s is not None
    return rate, rate.rate_per_s


def test_refusal_that_stands_alone_cuts_nothing_and_pauses_a_tenth_as_long() -> None:
    rate, before_per_s = quick_rate()
    assert [rate.refused(sent_s=NOW_S, now_s=NOW_S) for _ in range(2)] == [0.1, 0.1]
    assert rate.rate_per_s == before_per_s
    assert rate.refused(sent_s=NOW_S, now_s=NOW_S) == 1.0
    assert (rate.rate_per_s or 0.0) <= 0.95 * before_per_s


def test_refusal_that_names_a_pause_is_never_taken_for_chance() -> None:
    rate, before_per_s = quick_rate()
    assert rate.refused(sent_s=NOW_S, now_s=NOW_S, retry_after_s=1.0) == 1.0
    assert (rate.rate_per_s or 0.0) <= 0.95 * before_per_s


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("limit_per_s", [2, 5, 10])
def test_a_slow_service_is_not_hammered(limit_per_s: float, kind: Kind) -> None:
    tally = simulate(Service(kind, limit_per_s))
    assert tally.refused_share < 0.05
    assert tally.used_share >= 0.7


@pytest.mark.parametrize("storm_s", [5, 30, 300])
@pytest.mark.parametrize("limit_per_s", [20, 50, 200])
def test_a_storm_of_refusals_costs_seconds_after_its_end(
    limit_per_s: float, storm_s: float
) -> None:
    storm = Storm(Kind.BUCKET, limit_per_s, until_s=storm_s)
    tally = simulate(storm, first_s=storm_s + 30, seconds=storm_s + 130)
    assert tally.used_share >= 0.85
    assert tally.refused_share < 0.03


def test_there_is_no_limit_before_the_first_refusal() -> None:
    rate = AdaptiveRate()
    assert [rate.reserve(5.0) for _ in range(100)] == [5.0] * 100
    assert rate.rate_per_s is None


def test_a_pause_stops_all_calls_and_a_shorter_one_does_not_shorten_it() -> None:
    rate = AdaptiveRate()
    rate.pause(30.0)
    rate.pause(10.0)
    assert rate.reserve(1.0) == 30.0
    assert rate.reserve(31.0) == 31.0


def test_refusals_of_calls_sent_before_a_cut_do_not_cut_again() -> None:
    rate = AdaptiveRate()
    for _ in range(40):
        rate.accepted(0.5)
    rate.refused(sent_s=0.4, now_s=0.6)
    after_one = rate.rate_per_s
    for _ in range(15):
        rate.refused(sent_s=0.5, now_s=0.61)
    assert rate.rate_per_s == after_one == pytest.approx(38.0)


def test_a_limit_that_was_lifted_is_found_again() -> None:
    rate = AdaptiveRate()
    for second in range(4):
        for _ in range(10):
            rate.accepted(second + 0.5)
        rate.refused(sent_s=second + 0.6, now_s=second + 0.7)
    held = rate.rate_per_s
    assert held is not None
    for second in range(4, 600):
        rate.reserve(float(second))
    assert rate.rate_per_s is not None
    assert rate.rate_per_s > 10 * held


def test_a_rate_never_falls_to_nothing() -> None:
    rate = AdaptiveRate()
    for second in range(1000):
        rate.refused(sent_s=second * 2.0, now_s=second * 2.0 + 1)
    assert rate.rate_per_s is not None
    assert rate.rate_per_s >= 0.1
