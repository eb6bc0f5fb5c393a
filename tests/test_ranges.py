"""What is asked for and what an answer is taken for, row by row."""

from __future__ import annotations

import pytest

from videos_async._ranges import (
    Ask,
    FromStart,
    Gone,
    GoOn,
    Judgement,
    Refused,
    Source,
    StartOver,
    Weather,
)

TAG = '"abc"'
KNOWN = Source(validator=TAG, length_bytes=100)
DATE = "Thu, 01 Jan 2026 00:00:00 GMT"


@pytest.mark.parametrize(
    ("size", "source", "start"),
    [
        (0, Source(), 0),
        (40, KNOWN, 40),
        (40, Source(validator=TAG), 40),
        (40, Source(length_bytes=100), 0),
        (100, KNOWN, 99),
        (101, KNOWN, 0),
    ],
)
def test_what_is_missing_is_asked_for(size: int, source: Source, start: int) -> None:
    assert Ask.for_rest(size, source).start == start


def test_a_range_goes_with_its_condition_or_not_at_all() -> None:
    assert Ask(start=40, source=KNOWN).headers == {"Range": "bytes=40-", "If-Range": TAG}
    assert Ask(start=0, source=KNOWN).headers == {}


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({"ETag": TAG}, TAG),
        ({"ETag": '""'}, '""'),
        ({"ETag": 'W/"abc"'}, None),
        ({"ETag": "abc"}, None),
        ({"ETag": '"a"b"'}, None),
        ({"ETag": '"a\r\nX: y"'}, None),
        ({"ETag": f'"{"a" * 600}"'}, None),
        ({"Last-Modified": DATE}, None),
        ({"Last-Modified": DATE, "Date": DATE}, None),
        ({"Last-Modified": DATE, "Date": "Thu, 01 Jan 2026 00:00:59 GMT"}, None),
        ({"Last-Modified": DATE, "Date": "Thu, 01 Jan 2026 00:01:00 GMT"}, DATE),
        ({"Last-Modified": DATE, "Date": "yesterday"}, None),
        ({"Last-Modified": "Thu, 01 Jan 2026 00:00:00 -0000", "Date": DATE}, None),
        ({"ETag": 'W/"abc"', "Last-Modified": DATE, "Date": "Fri, 02 Jan 2026 00:00:00 GMT"}, DATE),
        ({}, None),
    ],
)
def test_only_a_strong_validator_is_one(headers: dict[str, str], validator: str | None) -> None:
    judged = Ask.for_rest(0, Source()).judge(200, headers, 100)
    assert judged == FromStart(source=Source(validator=validator, length_bytes=100))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, Gone),
        (403, Gone),
        (404, Gone),
        (410, Gone),
        (408, Weather),
        (425, Weather),
        (429, Weather),
        (500, Weather),
        (503, Weather),
        (416, StartOver),
        (304, Refused),
        (400, Refused),
        (412, Refused),
        (451, Refused),
        (204, Refused),
    ],
)
def test_a_status_tells_what_to_do(status: int, kind: type[Judgement]) -> None:
    judged = Ask.for_rest(40, KNOWN).judge(status, {}, None)
    assert type(judged) is kind


def test_an_answer_that_no_bytes_are_there_is_no_reason_to_start_over_twice() -> None:
    assert isinstance(Ask.for_rest(0, Source()).judge(416, {}, None), Refused)


GOOD = {"Content-Range": "bytes 40-99/100", "ETag": TAG}


def test_a_part_that_fits_is_gone_on_with() -> None:
    judged = Ask.for_rest(40, KNOWN).judge(206, GOOD, 60)
    assert judged == GoOn(start=40, source=KNOWN)


def test_a_part_tells_a_length_that_was_not_known() -> None:
    judged = Ask.for_rest(40, Source(validator=TAG)).judge(206, GOOD, 60)
    assert judged == GoOn(start=40, source=KNOWN)


def test_a_part_need_not_tell_the_length() -> None:
    headers = {**GOOD, "Content-Range": "bytes 40-99/*"}
    assert Ask.for_rest(40, KNOWN).judge(206, headers, None) == GoOn(start=40, source=KNOWN)


def test_a_part_need_not_repeat_the_date() -> None:
    dated = Source(validator=DATE, length_bytes=100)
    judged = Ask.for_rest(40, dated).judge(206, {"Content-Range": "bytes 40-99/100"}, 60)
    assert judged == GoOn(start=40, source=dated)


@pytest.mark.parametrize(
    "changed",
    [
        {"Content-Range": "bytes 39-99/100"},
        {"Content-Range": "bytes 41-99/100"},
        {"Content-Range": "bytes 40-99/101"},
        {"Content-Range": "bytes 40-100/100"},
        {"Content-Range": "bytes 40-39/100"},
        {"Content-Range": "bytes 40-98/100"},
        {"Content-Range": "bytes */100"},
        {"Content-Range": "lines 40-99/100"},
        {"Content-Range": "bytes \N{FULLWIDTH DIGIT FOUR}0-99/100"},
        {"Content-Range": ""},
        {"ETag": '"abd"'},
        {"ETag": f"W/{TAG}"},
        {"ETag": ""},
    ],
)
def test_a_part_that_does_not_fit_is_not_used(changed: dict[str, str]) -> None:
    judged = Ask.for_rest(40, KNOWN).judge(206, {**GOOD, **changed}, 60)
    assert isinstance(judged, StartOver)


def test_a_part_with_another_date_is_not_used() -> None:
    dated = Source(validator=DATE, length_bytes=100)
    headers = {"Content-Range": "bytes 40-99/100", "Last-Modified": DATE.replace("2026", "2025")}
    assert isinstance(Ask.for_rest(40, dated).judge(206, headers, 60), StartOver)


def test_a_part_that_was_not_asked_for_is_not_used() -> None:
    assert isinstance(Ask.for_rest(0, Source()).judge(206, GOOD, 60), Weather)
