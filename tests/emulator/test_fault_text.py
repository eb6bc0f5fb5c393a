from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videos_async.emulator import (
    FAULTS,
    Close,
    Cut,
    Decline,
    Delay,
    Dialect,
    Drip,
    ExpireUrls,
    Fault,
    Garbage,
    HostileBody,
    HostileId,
    HostileUrl,
    LoseId,
    NoUrl,
    Phase,
    RateLimit,
    Redirect,
    Refuse,
    Reset,
    Slow,
    Status,
    UnknownStatus,
    fault_from_json,
    parse_fault,
    profile_faults,
)

ONE_OF_EACH = (
    Refuse(2.5, nth=3),
    Reset(after="acceptance"),
    Close(after="answer"),
    Delay(90),
    Drip(0.5, size=10),
    Cut(at=100, framing="chunked"),
    Garbage("no = http"),
    Status(503, retry_after=1.5, body={"message": "later"}),
    RateLimit(5, burst=2, retry_after="Wed, 21 Oct 2015 07:28:00 GMT"),
    Redirect("https://example.com/?a=b", code=308),
    Decline("failed", message="content policy"),
    Dialect("data_project_id"),
    UnknownStatus("archiving"),
    NoUrl(nth=(1, 2)),
    ExpireUrls(on="download"),
    LoseId("null"),
    Slow(600),
    HostileBody("deep_json"),
    HostileId("traversal"),
    HostileUrl("metadata"),
)


def test_there_is_an_example_of_each() -> None:
    assert {type(fault) for fault in ONE_OF_EACH} == set(FAULTS.values())


@pytest.mark.parametrize("fault", ONE_OF_EACH, ids=lambda fault: fault.name)
def test_every_fault_reads_back_from_its_text_and_its_json(fault: Fault) -> None:
    assert parse_fault(str(fault)) == fault
    assert fault_from_json(fault.to_json()) == fault


@pytest.mark.parametrize("profile", ["field", "hostile"])
def test_every_fault_of_a_profile_reads_back(profile: str) -> None:
    for fault in profile_faults(profile):
        assert parse_fault(str(fault)) == fault


SELECTORS = st.fixed_dictionaries(
    {},
    optional={
        "on": st.sampled_from(Phase),
        "nth": st.lists(st.integers(1, 10**6), min_size=1, max_size=4),
        "nth_of_task": st.integers(1, 10**6),
        "probability": st.floats(0, 1),
        "prompt": st.text(min_size=1),
        "times": st.integers(1, 10**6),
    },
)
BODIES = st.none() | st.text() | st.dictionaries(st.text(), st.integers() | st.text())


@given(SELECTORS, BODIES)
def test_any_selector_and_any_body_read_back(selectors: dict[str, Any], body: object) -> None:
    fault = Status(500, body=body, **selectors)
    assert parse_fault(str(fault)) == fault
    assert fault_from_json(fault.to_json()) == fault


def test_the_text_is_short_and_says_its_own_fields_first() -> None:
    assert str(Status(503, on="query", probability=0.1)) == (
        "status code=503 on=query probability=0.1"
    )
    assert Status(503, on="query", probability=0.1).to_json() == {
        "fault": "status",
        "code": 503,
        "on": "query",
        "probability": 0.1,
    }
    assert str(NoUrl()) == "no_url"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("status 503 on=query", Status(503, on="query")),
        ("refuse 20", Refuse(20)),
        ("cut 10 chunked", Cut(10, framing="chunked")),
        (
            "reset after=acceptance prompt='two words'",
            Reset(after="acceptance", prompt="two words"),
        ),
        ('{"fault": "no_url", "nth_of_task": [1, 2]}', NoUrl(nth_of_task=(1, 2))),
        ("status 200 body='<html>'", Status(200, body="<html>")),
    ],
)
def test_text_may_leave_the_names_of_its_own_fields_out(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "fault must be one of refuse, reset, .*, got ''"),
        ("stats 503", "fault must be one of refuse, reset, .*, got 'stats'"),
        ("stats x=1", "fault must be one of refuse, reset, .*, got 'stats'"),
        ("{}", "fault must be one of refuse, reset, .*, got None"),
        ("status", "status.code must be given, got None"),
        ("status 503 504 505 506", "a word must be field=value, each field once, got '506'"),
        ("status 503 code=504", "a word must be field=value, each field once, got 'code=504'"),
        ("status 503 when=now", "a field of status must be one of on, nth, .*, got 'when'"),
        ("status 99", "code must be an integer from 200 to 599, got 99"),
        ("status 503 on=poll", "phase must be one of submit, query, download, got 'poll'"),
        ("status 503 probability=2", "probability must be a number from 0 to 1, got 2"),
        ("status 503 nth=0", "nth must be numbers from 1 up, got 0"),
        ("status 503 times=0", "times must be a whole number from 1 up, or None, got 0"),
        ("status 503 retry_after=-1", "retry_after must be seconds, the text of a header, or None"),
        ("status 503 prompt=''", "prompt must be a non-empty string, got ''"),
        ("lose_id on=query", "on must be one of submit, got 'query'"),
        ("lose_id task=video_1", "task must be left out for submits, which have no id yet"),
        ("lose_id how=thrown", "id loss must be one of missing, null, .*, got 'thrown'"),
        ("reset before=answer", "before must be acceptance, or left out, got 'answer'"),
        ("reset after=answer", "after must be acceptance, headers, or left out, got 'ans"),
        ("status 503 after=headers", "after must be acceptance, or left out, got 'headers'"),
        (
            "reset before=acceptance after=acceptance",
            "before and after must be one or the other, got",
        ),
        ("refuse 0", "seconds must be a finite number above 0, got 0"),
        ("refuse 1 prompt=a", "prompt must be left out: nothing is known of a call that was never"),
        ("redirect code=200", r"code must be one of \(301, 302, 303, 307, 308\), got 200"),
        ("redirect 'a\nb'", "to must be printable ASCII, got"),
        ("garbage 'снег'", "text must be non-empty Latin-1, got"),
        ("dialect klingon", "dialect name must be one of envelope, task_id, .*, got 'klingon'"),
    ],
)
def test_what_is_no_fault_is_refused_with_field_rule_and_value(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        parse_fault(text)


def test_a_body_that_is_no_json_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^body must be text or JSON, got"):
        Status(503, body=object())
