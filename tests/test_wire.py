from __future__ import annotations

import json
import sys
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videos_async import InvalidRequest, VideoRequest
from videos_async._wire import (
    Endpoints,
    Exchange,
    checked_task_id,
    encode_request,
    parse_retry_after,
    read_exchange,
)

NOW_S: Final = 1_774_836_724.0  # Mon, 30 Mar 2026 02:12:04 GMT
ENDPOINTS: Final = Endpoints("https://api.example/root")


def an_exchange(body: bytes | None = b"{}", **fields: Any) -> Exchange:
    return Exchange(**dict[str, Any](sent=True, status=200, body=body) | fields)


def trouble_of(body: bytes, **fields: Any) -> str:
    return read_exchange(an_exchange(body, **fields), unix_now_s=NOW_S).trouble or ""


# --- out -----------------------------------------------------------------------------------


def test_a_request_is_utf_8_json_under_the_names_of_the_service() -> None:
    request = VideoRequest(
        prompt='視 🐈 "quoted"\n', duration=5, reference_images=["https://a.example/1.png"]
    )
    body = encode_request(request)
    assert "視 🐈".encode() in body
    assert json.loads(body) == {
        "model": "videos",
        "prompt": '視 🐈 "quoted"\n',
        "duration": 5,
        "ratio": "16:9",
        "resolution": "720p",
        "referenceImages": ["https://a.example/1.png"],
    }


def test_a_number_that_is_no_json_is_never_written() -> None:
    request = VideoRequest(prompt="x", duration=5, extra={"seed": float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode_request(request)


def test_the_create_call_has_its_address() -> None:
    assert ENDPOINTS.create == "https://api.example/root/v1/videos/videos"


@pytest.mark.parametrize(
    ("task_id", "segment"),
    [
        ("video_1234567890", "video_1234567890"),
        ("6f1c0c1e-7f0e-4d0c", "6f1c0c1e-7f0e-4d0c"),
        ("../../admin", "..%2F..%2Fadmin"),
        ("a?b#c", "a%3Fb%23c"),
        ("a%2Fb", "a%252Fb"),
        ("a b+c", "a%20b%2Bc"),
        ("視", "%E8%A6%96"),
    ],
)
def test_an_id_is_one_segment_of_the_path(task_id: str, segment: str) -> None:
    assert ENDPOINTS.result_path(task_id) == f"/root/v1/result/{segment}"


@given(st.text(min_size=1, max_size=50))
@settings(max_examples=200, deadline=None)
def test_every_id_that_passes_stays_below_the_result_call(task_id: str) -> None:
    try:
        checked = checked_task_id(task_id)
    except InvalidRequest:
        return
    tail = ENDPOINTS.result_path(checked).removeprefix("/root/v1/result/")
    assert tail.isascii()
    assert not set(tail) & set("/?#\\ ")
    assert tail not in (".", "..")


@pytest.mark.parametrize("task_id", ["", ".", "..", "a\n", None, 5, ["a"], "x" * 600, "\ud800"])
def test_an_id_that_could_be_no_segment_is_refused(task_id: object) -> None:
    with pytest.raises(InvalidRequest, match="give the id exactly as the create call answered it"):
        checked_task_id(task_id)


def test_a_good_id_is_taken_as_it_is() -> None:
    assert checked_task_id("../../admin") == "../../admin"


# --- Retry-After ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 5 ", 5.0),
        ("1.5", 1.5),
        ("999999999", 999_999_999.0),
        ("Mon, 30 Mar 2026 02:13:04 GMT", 60.0),
        ("Mon, 30 Mar 2026 02:13:04 -0000", 60.0),
        ("Mon, 30 Mar 2026 04:13:04 +0200", 60.0),
        ("Monday, 30-Mar-26 02:13:04 GMT", 60.0),
        ("Mon, 30 Mar 2026 02:11:04 GMT", 0.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float) -> None:
    assert parse_retry_after(value, unix_now_s=NOW_S) == seconds


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "soon",
        "-5",
        "+5",
        "1e9",
        "0x10",
        "nan",
        "inf",
        "٣",
        "5 s",
        "5, 6",
        "1" * 10,
        "9" * 5000,
        "Mon, 99 Mar 2026 02:13:04 GMT",
        "Mon, 30 Mar 99999 02:13:04 GMT",
        "\0",
        "\ud800",
    ],
    ids=lambda text: repr(text)[:20],
)
def test_retry_after_that_says_neither_is_none(value: str) -> None:
    assert parse_retry_after(value, unix_now_s=NOW_S) is None


@given(st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_retry_after_of_any_text_is_none_or_a_time_to_come(value: str) -> None:
    seconds = parse_retry_after(value, unix_now_s=NOW_S)
    assert seconds is None or 0.0 <= seconds < sys.maxsize


# --- in ------------------------------------------------------------------------------------


def test_an_answer_is_parsed() -> None:
    exchange = an_exchange(b'{"id": "video_1"}', headers={"Retry-After": "5"})
    outcome = read_exchange(exchange, unix_now_s=NOW_S)
    assert (outcome.answer, outcome.retry_after_s, outcome.trouble) == (
        {"id": "video_1"},
        5.0,
        None,
    )


@pytest.mark.parametrize("sent", [True, False])
def test_no_answer_leaves_what_is_known(sent: bool) -> None:  # noqa: FBT001
    exchange = Exchange(sent=sent, trouble="connection reset")
    outcome = read_exchange(exchange, unix_now_s=NOW_S)
    facts = (outcome.sent, outcome.status, outcome.answer, outcome.trouble)
    assert facts == (sent, None, None, "connection reset")


def test_an_object_is_whole_even_if_the_line_died_behind_it() -> None:
    outcome = read_exchange(an_exchange(b'{"id": "a"}', trouble="reset"), unix_now_s=NOW_S)
    assert (outcome.answer, outcome.trouble) == ({"id": "a"}, None)


@pytest.mark.parametrize("body", [b'{"id": "a"', b"", b"12", b'"a'])
def test_a_body_that_may_be_cut_keeps_its_trouble(body: bytes) -> None:
    assert trouble_of(body, trouble="the body is cut") == "the body is cut"


@pytest.mark.parametrize("status", [301, 404, 500, 503])
def test_a_page_behind_a_bad_status_is_no_trouble_of_its_own(status: int) -> None:
    assert trouble_of(b"<html>Bad Gateway</html>", status=status) == ""


@pytest.mark.parametrize(
    ("body", "salvage"),
    [
        (b'{"id": "video_1", "amount": 1e999}', "video_1"),
        (b'{"id": "video_1", "created": NaN}', "video_1"),
        (b'{"data": {"projectId": "p"}, "n": ' + b"9" * 5000 + b"}", "p"),
        (b'{"id": "video_1"', None),
        (b"<html>", None),
        (b"[" * 100_000, None),
        (b'{"amount": 1e999}', None),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_an_id_is_salvaged_from_json_with_a_number_beyond_reading(
    body: bytes, salvage: str | None
) -> None:
    assert read_exchange(an_exchange(body), unix_now_s=NOW_S).salvage == salvage


@pytest.mark.parametrize(
    ("body", "snippet"),
    [
        (b"<html>\r\n  <h1>Bad Gateway</h1>", "it begins '<html> <h1>Bad Gateway</h1>'"),
        (b"\x1b[31mred\x07\x00", "it begins '[31mred'"),
        (b"\xff\xfe nonsense", "nonsense"),
    ],
)
def test_a_body_that_is_no_json_is_shown_without_control_characters(
    body: bytes, snippet: str
) -> None:
    trouble = trouble_of(body)
    assert snippet in trouble
    assert trouble.isprintable()


def test_a_long_body_is_shown_by_its_beginning() -> None:
    assert len(trouble_of(b"<p>" * 100_000)) < 250


def test_an_empty_body_is_called_empty() -> None:
    assert trouble_of(b"") == "the body is empty"


@given(
    st.binary(max_size=200) | st.text(max_size=100).map(str.encode),
    st.sampled_from([200, 404, 503]),
)
@settings(max_examples=200, deadline=None)
def test_any_body_is_an_outcome_that_can_be_logged(body: bytes, status: int) -> None:
    outcome = read_exchange(an_exchange(body, status=status), unix_now_s=NOW_S)
    assert (outcome.trouble or "").isprintable()


def test_what_was_said_is_in_no_dump_of_an_exchange() -> None:
    exchange = an_exchange(b"CANARY", headers={"X": "CANARY"})
    assert "CANARY" not in repr(exchange)


def test_a_number_that_stands_for_an_id_is_not_salvaged_as_text() -> None:
    exchange = Exchange(sent=True, status=200, body=b'{"id": 12345, "created": NaN}')
    assert read_exchange(exchange, unix_now_s=0.0).salvage is None


def test_an_id_beside_a_number_that_cannot_be_read_is_salvaged() -> None:
    exchange = Exchange(sent=True, status=200, body=b'{"id": "video_1", "created": NaN}')
    assert read_exchange(exchange, unix_now_s=0.0).salvage == "video_1"
