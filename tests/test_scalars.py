from __future__ import annotations

import math
from typing import Any, Final

import pytest

from videos_async import Status
from videos_async._scalars import (
    WrongType,
    encodable,
    kind_of,
    read_id,
    read_number,
    read_status,
    read_text,
    read_time,
)


def the_problem(read: Any, value: object) -> str:
    with pytest.raises(WrongType) as caught:
        read(value)
    return str(caught.value)


KINDS: Final[list[tuple[Any, str]]] = [
    (None, "null"),
    (True, "a boolean"),
    (5, "a number"),
    (5.5, "a number"),
    ("x", "text"),
    ([], "a list"),
    ({}, "an object"),
    (b"x", "bytes"),
]


@pytest.mark.parametrize(("value", "kind"), KINDS, ids=repr)
def test_a_kind_is_named_as_json_does(value: object, kind: str) -> None:
    assert kind_of(value) == kind


@pytest.mark.parametrize("read", [read_id, read_status])
@pytest.mark.parametrize(("value", "kind"), [k for k in KINDS if k[1] != "text"], ids=repr)
def test_an_id_and_a_status_are_text(read: Any, value: object, kind: str) -> None:
    assert the_problem(read, value) == f"must be text, got {kind}"


@pytest.mark.parametrize(
    ("value", "kind"), [k for k in KINDS if k[1] not in ("text", "null")], ids=repr
)
def test_a_text_is_text_or_null(value: object, kind: str) -> None:
    assert the_problem(read_text, value) == f"must be text, got {kind}"


@pytest.mark.parametrize("read", [read_text, read_time, read_number])
def test_null_is_none(read: Any) -> None:
    assert read(None) is None


def test_an_unknown_status_is_kept() -> None:
    assert read_status("upscaling") == Status("upscaling")


@pytest.mark.parametrize("text", ["half \ud83d a cat", "\udc08"])
def test_half_a_character_is_replaced(text: str) -> None:
    assert encodable(text) == text.replace("\ud83d", "?").replace("\udc08", "?")


@pytest.mark.parametrize("text", ["", "plain", "視 🐈 \x1b"])
def test_whole_text_stays_as_it_is(text: str) -> None:
    assert encodable(text) == text


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (0, 0),
        (1774836724, 1774836724),
        (5.0, 5),
        ("1774836724", 1774836724),
        (253_402_300_799,) * 2,
    ],
)
def test_a_time_is_a_whole_number_of_seconds(value: object, seconds: int) -> None:
    assert read_time(value) == seconds


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("yesterday", "must be a whole number, got text"),
        ("", "must be a whole number, got text"),
        ("-5", "must be a whole number, got text"),
        ("٣", "must be a whole number, got text"),
        ("9" * 5000, "must be a whole number, got text"),
        (True, "must be a whole number, got a boolean"),
        (5.5, "must be a whole number, got a number"),
        (math.nan, "must be a whole number, got a number"),
        (math.inf, "must be a whole number, got a number"),
        ([], "must be a whole number, got a list"),
        (-1, "must be a Unix time in seconds"),
        (1774836724000, "must be a Unix time in seconds"),
        (10**5000, "must be a Unix time in seconds"),
    ],
    ids=lambda value: repr(value)[:20] if not isinstance(value, int) else str(value % 10**6),
)
def test_what_is_no_time_is_told(value: object, problem: str) -> None:
    assert the_problem(read_time, value) == problem


@pytest.mark.parametrize(
    ("value", "number"), [(5, 5.0), (5.04, 5.04), ("5.04", 5.04), ("-1e3", -1000.0), ("5.", 5.0)]
)
def test_a_number_is_a_number_or_its_digits(value: object, number: float) -> None:
    assert read_number(value) == number


@pytest.mark.parametrize(
    "value",
    [
        "",
        "five",
        "1_0",
        " 5 ",
        "٣",
        "0x10",
        "nan",
        "inf",
        "1e999",
        "9" * 41,
        math.nan,
        math.inf,
        10**400,
    ],
    ids=lambda value: repr(value)[:12],
)
def test_a_number_is_finite_and_plain(value: object) -> None:
    assert the_problem(read_number, value) == "must be a finite number"


@pytest.mark.parametrize(
    ("value", "kind"), [(True, "a boolean"), ([], "a list"), ({}, "an object")]
)
def test_what_is_no_number_is_told(value: object, kind: str) -> None:
    assert the_problem(read_number, value) == f"must be a number, got {kind}"
