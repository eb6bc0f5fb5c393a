from __future__ import annotations

from http import HTTPStatus

import pytest

from videos_async.emulator._delivery import Delivery, decide_delivery

ETAG = '"abc"'
MODIFIED_AT_S = 1_774_836_724
MODIFIED = "Mon, 30 Mar 2026 02:12:04 GMT"
LATER = "Mon, 30 Mar 2026 02:12:05 GMT"
EARLIER = "Mon, 30 Mar 2026 02:12:03 GMT"
WHOLE = Delivery(status=HTTPStatus.OK, start=0, stop=100)
UNSATISFIABLE = Delivery(
    status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, content_range="bytes */100"
)


def decide(**headers: str) -> Delivery:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return decide_delivery(named, size=100, etag=ETAG, modified_at_s=MODIFIED_AT_S)


def part(start: int, stop: int) -> Delivery:
    content_range = f"bytes {start}-{stop - 1}/100"
    return Delivery(
        status=HTTPStatus.PARTIAL_CONTENT, start=start, stop=stop, content_range=content_range
    )


def test_a_plain_request_gets_the_whole_file() -> None:
    assert decide() == WHOLE


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-", part(0, 100)),
        ("bytes=0-0", part(0, 1)),
        ("bytes=10-19", part(10, 20)),
        ("bytes=10-", part(10, 100)),
        ("bytes=90-500", part(90, 100)),
        ("bytes=-30", part(70, 100)),
        ("bytes=-500", part(0, 100)),
        ("Bytes= 10 - 19 ", part(10, 20)),
        ("bytes=100-", UNSATISFIABLE),
        ("bytes=200-300", UNSATISFIABLE),
        ("bytes=-0", UNSATISFIABLE),
    ],
)
def test_a_range_gets_its_bytes_or_416(header: str, expected: Delivery) -> None:
    assert decide(Range=header) == expected


@pytest.mark.parametrize(
    "header",
    ["bytes=-", "bytes=20-10", "bytes=0-1,5-6", "lines=0-5", "bytes", f"bytes={'9' * 999}-"],
)
def test_a_range_that_cannot_be_served_or_read_is_ignored(header: str) -> None:
    assert decide(Range=header) == WHOLE


@pytest.mark.parametrize("condition", [ETAG, MODIFIED])
def test_if_range_of_the_same_file_gives_the_part(condition: str) -> None:
    assert decide(Range="bytes=50-", If_Range=condition) == part(50, 100)


@pytest.mark.parametrize("condition", ['"other"', f"W/{ETAG}", EARLIER, LATER, "no date", ""])
def test_if_range_of_another_file_gives_the_whole(condition: str) -> None:
    assert decide(Range="bytes=50-", If_Range=condition) == WHOLE


@pytest.mark.parametrize("known", [ETAG, f"W/{ETAG}", f'"other", {ETAG}', "*"])
def test_a_file_that_the_client_has_is_not_sent_again(known: str) -> None:
    assert decide(If_None_Match=known).status == 304


@pytest.mark.parametrize(("since", "status"), [(MODIFIED, 304), (LATER, 304), (EARLIER, 200)])
def test_a_file_not_modified_since_is_not_sent_again(since: str, status: int) -> None:
    assert decide(If_Modified_Since=since).status == status


def test_the_entity_tag_counts_more_than_the_date() -> None:
    assert decide(If_None_Match='"other"', If_Modified_Since=LATER) == WHOLE


@pytest.mark.parametrize(("wanted", "status"), [(ETAG, 200), ("*", 200), ('"other"', 412)])
def test_if_match_of_another_file_fails(wanted: str, status: int) -> None:
    assert decide(If_Match=wanted).status == status
