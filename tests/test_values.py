from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videos_async._values import has_lone_surrogate, json_flaw, text_flaw, url_flaw

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.binary()
    | st.text(st.characters(exclude_categories=[]))
    # Not by value: what cannot be written cannot be shown by Hypothesis either.
    | st.none().map(lambda _: 10**5000),
    lambda children: st.lists(children) | st.dictionaries(st.text() | st.integers(), children),
    max_leaves=10,
)


@pytest.mark.parametrize(
    "text", ["", "x", "ä", "🐈", "\udbff\udfff".encode("utf-16", "surrogatepass").decode("utf-16")]
)
def test_whole_text_has_no_lone_surrogate(text: str) -> None:
    assert not has_lone_surrogate(text)


@pytest.mark.parametrize("text", ["\ud800", "a\udfff", "🐈\udc00", "\udc00\ud800"])
def test_half_a_pair_is_a_lone_surrogate(text: str) -> None:
    assert has_lone_surrogate(text)


@pytest.mark.parametrize("flaw_of", [text_flaw, url_flaw, json_flaw])
@given(value=ANYTHING)
@settings(max_examples=100, deadline=None)
def test_whatever_is_looked_at_the_answer_is_a_rule_or_none(flaw_of: Any, value: object) -> None:
    flaw = flaw_of(value)
    assert flaw is None or flaw.startswith("must ")


@given(st.text(st.characters(exclude_categories=[]), max_size=30))
@settings(max_examples=200, deadline=None)
def test_a_url_is_judged_whatever_follows_its_host(tail: str) -> None:
    flaw = url_flaw(f"https://{tail}")
    assert flaw is None or flaw.startswith("must ")
