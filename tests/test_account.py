"""The account of polls: what a queue saves, what is held ready, and what is owed."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import pytest

from videos_async._account import Account, UnderWay
from videos_async._ages import AGES_S, nearest_edge, shares

INTERVAL_S: Final = 45.0
# All end between 100 and 200 s, none sooner than another.
ENDED: Final = shares([100 <= early < 200 and late - early for early, late in pairwise(AGES_S)])


def account_of(looks: float) -> tuple[Account, UnderWay]:
    """Make an account with a plan of so many looks at any age before the first end."""
    account = Account(INTERVAL_S)
    account.believe(ENDED)
    account.plan([looks * (1 - share) for share in ENDED[: nearest_edge(190)]])
    return account, account.open()


def test_a_fixed_interval_makes_whole_polls() -> None:
    # Three looks at 45, 90 and 135 s always, one at 180 s by two of three, and one beyond it.
    assert Account(INTERVAL_S).believe(ENDED) == pytest.approx(3 + 0.65 + 0.2, abs=0.05)


def test_what_is_saved_early_is_held_ready_for_the_end() -> None:
    account, under_way = account_of(looks=5.0)
    account.looked(90)
    account.move(under_way, None, nearest_edge(90))
    # One look where a fixed interval makes two; but five are to come, and it has about two.
    assert account.balance == pytest.approx(1 + (3.85 - 2) - 5, abs=0.1)
    account.move(under_way, nearest_edge(90), None)
    assert account.balance == pytest.approx(1)


def test_another_plan_is_booked_for_those_under_way() -> None:
    account, under_way = account_of(looks=5.0)
    account.move(under_way, None, nearest_edge(90))
    before = account.balance
    account.plan([4 * (1 - share) for share in ENDED[: nearest_edge(190)]])
    assert account.balance == pytest.approx(before + 1)


def test_where_an_end_fell_is_guessed_by_what_is_believed() -> None:
    account, _ = account_of(looks=5.0)
    account.ended(100, 200, 200)
    assert account.balance == pytest.approx(3.85 - 200 / INTERVAL_S, abs=0.05)


def test_of_many_that_begin_while_little_is_known_some_is_held_ready() -> None:
    few, many = account_of(looks=3.0), account_of(looks=3.0)
    for (account, under_way), tasks in ((few, 10), (many, 100)):
        for _ in range(tasks):
            account.move(under_way, None, 0)
            account.begin_blindly()
    assert few[0].balance == 0
    assert many[0].balance == pytest.approx(-0.1 * (100 - 15))


def test_only_what_a_queue_saves_is_plenty() -> None:
    account, _ = account_of(looks=5.0)
    for _ in range(1000):
        account.looked(180)
    assert not account.has_plenty
    for _ in range(10):
        account.looked_in_queue(600)
    assert account.has_plenty


def test_what_is_owed_is_bounded_and_asks_to_save() -> None:
    account, _ = account_of(looks=5.0)
    for _ in range(1000):
        account.looked(10)
    assert account.must_save
    assert account.balance == -150
