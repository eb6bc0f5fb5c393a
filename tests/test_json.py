from __future__ import annotations

import json
import tracemalloc
from contextlib import suppress
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videos_async._json import DEPTH_LIMIT, JsonFlaw, Names, json_path, loads


def the_flaw(data: bytes | str, *, names: Names = Names.LAST_COUNTS) -> tuple[str, str]:
    with pytest.raises(JsonFlaw) as caught:
        loads(data, names=names)
    return caught.value.path, caught.value.problem


# --- what is JSON --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"id": "video_1"}', {"id": "video_1"}),
        ('{"id": "video_1"}', {"id": "video_1"}),
        (b"\xef\xbb\xbf{}", {}),
        ("\ufeff{}", {}),
        (" \r\n\t[] ", []),
        ("null", None),
        ("-0.5e3", -500.0),
        ("1e308", 1e308),
        ('"\\ud83d\\udc08"', "🐈"),
        ('"\\ud83d"', "\ud83d"),
        ("9" * 4300, int("9" * 4300)),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_json_is_read(data: bytes | str, value: object) -> None:
    assert loads(data) == value


@pytest.mark.parametrize("depth", [1, DEPTH_LIMIT - 1, DEPTH_LIMIT])
@pytest.mark.parametrize(("before", "after"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_nesting_up_to_the_limit_is_read(depth: int, before: str, after: str) -> None:
    times = depth // (before.count("[") + before.count("{"))
    loads(before * times + "1" + after * times)


def test_many_values_side_by_side_are_not_deep() -> None:
    assert loads("[" + ",".join(["[]"] * 1000) + "]") == [[]] * 1000


# --- what is none --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"<html>502 Bad Gateway</html>", "is not JSON: Expecting value at character 0"),
        (b'{"id": "video_1"', "is not JSON: "),
        (b'{"id": "video_1"} x', "is not JSON: Extra data at character 18"),
        (b"{'id': 1}", "is not JSON: "),
        (b'"\x01"', "is not JSON: Invalid control character"),
        (b"\xff\xfe{\x00}\x00", "is not UTF-8 at byte 0"),
        (b'{"id": "\xe9"}', "is not UTF-8 at byte 8"),
        (b'"\xed\xa0\x80"', "is not UTF-8 at byte 1"),
    ],
)
def test_what_is_no_json_is_told(data: bytes, problem: str) -> None:
    path, told = the_flaw(data)
    assert path == "$"
    assert told.startswith(problem)


@pytest.mark.parametrize(
    ("number", "problem"),
    [
        ("NaN", "is NaN, which is not JSON"),
        ("Infinity", "is Infinity, which is not JSON"),
        ("-Infinity", "is -Infinity, which is not JSON"),
        ("1e999", "is a number too large to hold"),
        ("-1e999", "is a number too large to hold"),
        ("9" * 5000, "is a number of 5000 digits"),
        ("9" * 5000 + ".5", "is a number too large to hold"),
    ],
    ids=lambda text: text[:12],
)
@pytest.mark.parametrize(
    ("before", "after", "path"),
    [
        ("", "", "$"),
        ("[1, ", "]", "$[1]"),
        ('{"a": 1, "data": {"items": [{}, {"n": ', "}]}}", "$.data.items[1].n"),
    ],
)
def test_a_number_that_cannot_be_held_is_told_with_its_path(
    number: str, problem: str, before: str, after: str, path: str
) -> None:
    assert the_flaw(before + number + after) == (path, problem)


def test_the_first_of_many_flaws_is_told() -> None:
    assert the_flaw('{"a": {"b": NaN}, "c": 1e999}')[0] == "$.a.b"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("[" * 65 + "]" * 65, "$" + "[0]" * 64),
        ("[" * 66 + "1" + "]" * 66, "$" + "[0]" * 64),
        ('{"a":' * 65 + "1" + "}" * 65, "$" + ".a" * 64),
        ("[1, " * 65 + "{}" + "]" * 65, "$" + "[1]" * 64),
        ("[" * 65 + "NaN" + "]" * 65, "$" + "[0]" * 64),
    ],
)
def test_nesting_beyond_the_limit_is_told_with_its_path(text: str, path: str) -> None:
    assert the_flaw(text) == (path, "is nested deeper than 64 levels")


@pytest.mark.parametrize("before", ["[", '{"a":', '[{"a":', "[1,"])
@pytest.mark.parametrize("end", ["", "NaN", "9" * 5000])
def test_a_hundred_thousand_levels_are_told(before: str, end: str) -> None:
    assert the_flaw(before * 100_000 + end) == ("$", "is nested deeper than 64 levels")


def test_a_flaw_says_where_and_what() -> None:
    with pytest.raises(JsonFlaw, match=r"^\$\.created is NaN, which is not JSON$"):
        loads('{"created": NaN}')


# --- names ---------------------------------------------------------------------------------


def test_of_a_name_given_twice_the_last_counts() -> None:
    assert loads('{"id": 1, "id": 2}') == {"id": 2}


@pytest.mark.parametrize(
    ("text", "path"),
    [('{"a": 1, "a": 1}', "$.a"), ('{"x": [0, {"a": 1, "b": 2, "a": null}]}', "$.x[1].a")],
)
def test_a_name_given_twice_is_told_where_names_are_unique(text: str, path: str) -> None:
    assert the_flaw(text, names=Names.UNIQUE) == (path, "is given twice")


def test_one_name_in_two_objects_is_no_name_given_twice() -> None:
    assert loads('[{"a": 1}, {"a": {"a": 2}}]', names=Names.UNIQUE) == [{"a": 1}, {"a": {"a": 2}}]


def test_a_number_that_cannot_be_held_is_told_where_names_are_unique() -> None:
    assert the_flaw('{"a": NaN}', names=Names.UNIQUE)[0] == "$.a"


# --- paths ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), "$"),
        (("data", "items", 2, "id"), "$.data.items[2].id"),
        (("a b",), "$['a b']"),
        (("",), "$['']"),
        (("\x1b[31m",), r"$['\x1b[31m']"),
        (("\ud800",), r"$['\ud800']"),
        (("x" * 100,), "$['" + "x" * 40 + "…']"),
    ],
)
def test_a_path_is_short_and_printable_whatever_the_names(
    path: tuple[str | int, ...], text: str
) -> None:
    assert json_path(path) == text


# --- what a hostile peer costs -------------------------------------------------------------

DEEP_AND_WIDE: Final = "[" * 63 + ",".join(["0"] * 200_000)


@pytest.mark.parametrize("last", ["", ",NaN", ",[[]]"], ids=["whole", "a number", "too deep"])
def test_a_deep_and_wide_body_costs_no_more_memory_than_its_values(last: str) -> None:
    text = DEEP_AND_WIDE + last + "]" * 63
    tracemalloc.start()
    with suppress(JsonFlaw):
        loads(text)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A path for each value would be a hundred million.
    assert peak_bytes < 20_000_000


# --- properties ----------------------------------------------------------------------------

JSON: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON, st.sampled_from(Names))
@settings(max_examples=150, deadline=None)
def test_what_was_written_is_read_back(value: object, names: Names) -> None:
    assert loads(json.dumps(value), names=names) == value


FRAGMENTS: Final = st.lists(
    st.sampled_from(
        ["{", "}", "[", "]", '"a"', ":", ",", "1", "1e999", "NaN", "null", "\\ud800", '"', " "]
    ),
    max_size=30,
).map("".join)


@given(st.binary(max_size=60) | FRAGMENTS | st.text(max_size=40), st.sampled_from(Names))
@settings(max_examples=300, deadline=None)
def test_nothing_escapes_but_the_one_flaw(data: bytes | str, names: Names) -> None:
    flaws: list[JsonFlaw] = []
    try:
        loads(data, names=names)
    except JsonFlaw as flaw:
        flaws.append(flaw)
    assert all(flaw.path.startswith("$") for flaw in flaws)
    assert all(str(flaw).encode() for flaw in flaws)
