"""An entry as a row of the journal, both ways, and what no row ever holds."""

from __future__ import annotations

import json
import sqlite3
from typing import Any, Final, cast

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from videos_async import (
    AccountRefused,
    GenerationFailed,
    InvalidRequest,
    JournalEntry,
    Key,
    KeyState,
    SavedFile,
    Status,
    SubmissionRefused,
    SubmissionUncertain,
    VideoExpired,
    VideoRequest,
    VideosError,
    VideoTask,
    Violation,
)
from videos_async._rows import (
    COLUMNS,
    changeable_of,
    entry_from_row,
    key_from_text,
    key_to_text,
    row_of,
)

SECRET: Final = "s3cr3t-signature"
SIGNED: Final = f"https://cdn.example/video.mp4?Signature={SECRET}&Expires=1"
REQUEST: Final = VideoRequest(prompt="A kitten", duration=5)

# Any code point, lone surrogates and NUL as well.
texts = st.text(st.characters(exclude_categories=[]), max_size=12)
keys: st.SearchStrategy[Key] = st.one_of(texts, st.integers())
ids = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=40)
numbers = st.floats(allow_nan=False, allow_infinity=False)
moments = st.floats(0, 1e11)
scalars = st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), numbers, texts)
json_values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)
requests = st.builds(
    VideoRequest,
    prompt=texts,
    duration=st.integers(-5, 99),
    model=texts,
    ratio=texts,
    resolution=texts,
    first_image=st.none() | texts,
    last_image=st.none() | texts,
    reference_images=st.lists(texts, max_size=3).map(tuple),
    reference_videos=st.lists(texts, max_size=3).map(tuple),
    extra=st.dictionaries(texts, json_values, max_size=3),
)
statuses = st.one_of(st.sampled_from(list(Status)), texts.map(Status))
facts = {
    "model": st.none() | texts,
    "created": st.none() | st.integers(0, 2**40),
    "actual_duration": st.none() | numbers,
    "error": st.none() | texts,
    "progress": st.none() | numbers,
}
files = st.builds(
    SavedFile,
    path=texts,
    size_bytes=st.integers(0, 2**50),
    sha256=texts,
    media_type=texts,
    is_verified=st.booleans(),
)


def errors(
    key: Key, request: VideoRequest, task: VideoTask | None
) -> st.SearchStrategy[VideosError | None]:
    submissions = [
        st.builds(
            kind,
            request=st.just(request),
            key=st.just(key),
            reason=texts,
            http_status=st.none() | st.integers(100, 599),
            service_message=st.none() | texts,
            attempts=st.integers(0, 9),
        )
        for kind in (AccountRefused, SubmissionRefused, SubmissionUncertain)
    ]
    violations = st.builds(Violation, field=texts, rule=texts, value=scalars)
    invalid = st.builds(InvalidRequest, violations=st.tuples(violations), key=st.just(key))
    if task is None:
        return st.one_of(st.none(), *submissions, invalid)
    failed = st.builds(
        GenerationFailed,
        task_id=st.just(task.id),
        task=st.just(task),
        key=st.just(key),
        reason=st.none() | texts,
    )
    where = {"task_id": st.just(task.id), "target": texts, "reason": texts}
    expired = st.builds(VideoExpired, **where, age_s=moments, http_status=st.just(403))
    return st.one_of(*submissions, invalid, failed, expired)


@st.composite
def entries(draw: st.DrawFn) -> JournalEntry:
    key, request = draw(keys), draw(requests)
    task_id = draw(st.none() | ids)
    told: dict[str, Any] = {name: draw(values) for name, values in facts.items()}
    task = task_id and VideoTask(id=task_id, status=draw(statuses), **told)
    return JournalEntry(
        key=key,
        request=request,
        state=draw(st.sampled_from(list(KeyState))),
        planned_at=draw(moments),
        changed_at=draw(moments),
        intent_at=draw(st.none() | moments),
        task_id=task_id,
        task=task or None,
        error=draw(errors(key, request, task or None)),
        file=draw(st.none() | files),
        rearmed=draw(st.integers(0, 99)),
        idempotency=draw(st.integers(0, 99)),
        position=draw(st.none() | st.integers(1, 2**60)),
    )


def told_of(error: VideosError | None) -> object:
    if error is None:
        return None
    fields: Any = attrs.fields(cast("Any", type(error)))
    known = {field.name: getattr(error, field.name) for field in fields}
    return type(error), known, str(error)


def stored(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Take a row through SQLite itself, which has its own idea of texts and numbers."""
    connection = sqlite3.connect(":memory:")
    try:
        marks = ", ".join("?" * len(row))
        return tuple(connection.execute(f"SELECT {marks}", row).fetchone())
    finally:
        connection.close()


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(entry=entries())
def test_an_entry_comes_back_from_its_row(entry: JournalEntry) -> None:
    again = entry_from_row(stored(row_of(entry)))
    assert again._replace(error=None) == entry._replace(error=None)
    assert type(again.key) is type(entry.key)
    assert again.request.extra == entry.request.extra
    assert told_of(again.error) == told_of(entry.error)


@given(keys=st.lists(keys, unique_by=lambda key: (type(key), key), max_size=8))
def test_two_keys_are_two_in_the_journal(keys: list[Key]) -> None:
    assert len({key_to_text(key) for key in keys}) == len(keys)
    assert [key_from_text(key_to_text(key)) for key in keys] == keys


def test_a_number_and_its_text_are_two_keys() -> None:
    assert key_to_text(7) != key_to_text("7")
    assert (key_from_text("7"), key_from_text('"7"')) == (7, "7")


@pytest.mark.parametrize("sign", [1, -1])
def test_a_number_of_any_length_is_a_key(sign: int) -> None:
    # Python writes no such number down in decimal, and so does no encoder of JSON.
    key = sign * 10**5000
    assert key_from_text(key_to_text(key)) == key


def test_what_can_change_is_the_rear_of_the_row() -> None:
    entry = JournalEntry(key="a", request=REQUEST, planned_at=1.0, changed_at=1.0)
    assert row_of(entry)[COLUMNS.index("state") :] == changeable_of(entry)


def test_a_request_that_is_at_hand_is_not_read() -> None:
    entry = JournalEntry(key="a", request=REQUEST, planned_at=1.0, changed_at=1.0)
    assert entry_from_row(row_of(entry), {"a": REQUEST}).request is REQUEST


# --- what no row holds ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        SubmissionUncertain(
            request=REQUEST, key="a", reason=f"see {SIGNED}", service_message=f"at {SIGNED}, or so"
        ),
        InvalidRequest(
            violations=(Violation(field="first_image", rule="must be short", value=SIGNED),),
            key="a",
        ),
        InvalidRequest(
            violations=(Violation(field="extra", rule="must be few", value=[SIGNED] * 9),), key="a"
        ),
        GenerationFailed(task_id="video_1", reason=f"could not read {SIGNED}"),
        VideoExpired(task_id="video_1", target="a.mp4", reason=f"HTTP 403 of {SIGNED}"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_nothing_that_is_signed_is_written(error: VideosError) -> None:
    task = VideoTask(
        id="video_1",
        status=Status.COMPLETED,
        video_url=SIGNED,
        error=f"not {SIGNED}",
        extra={"cover": SIGNED},
    )
    entry = JournalEntry(
        key="a",
        request=REQUEST,
        planned_at=1.0,
        changed_at=1.0,
        task_id=task.id,
        task=task,
        error=error,
    )
    assert SECRET not in repr(row_of(entry))
    again = entry_from_row(row_of(entry))
    assert again.task is not None
    assert (again.task.video_url, again.task.extra) == (None, {})


def test_the_request_is_kept_whole_as_it_is_to_be_sent() -> None:
    request = VideoRequest(prompt="A kitten", duration=5, reference_images=(SIGNED,))
    entry = JournalEntry(key="a", request=request, planned_at=1.0, changed_at=1.0)
    assert entry_from_row(row_of(entry)).request.reference_images == (SIGNED,)


# --- what is none of ours ------------------------------------------------------------------


class Stubborn:
    """Nothing that JSON can hold."""


def endless() -> dict[str, Any]:
    loop: dict[str, Any] = {}
    loop["self"] = loop
    return loop


def deep() -> list[Any]:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    return nested


@pytest.mark.parametrize(
    "value", [Stubborn(), float("nan"), float("inf"), endless(), deep()], ids=lambda _: ""
)
def test_a_request_that_json_cannot_hold_is_told_as_such(value: object) -> None:
    request = VideoRequest(prompt="A kitten", duration=5, extra={"field": value})
    entry = JournalEntry(key="a", request=request, planned_at=1.0, changed_at=1.0)
    with pytest.raises(ValueError, match=r"JSON|Circular"):
        row_of(entry)


def _row(**other: object) -> tuple[Any, ...]:
    entry = JournalEntry(key="a", request=REQUEST, planned_at=1.0, changed_at=1.0)
    told = {**dict(zip(COLUMNS, row_of(entry), strict=True)), **other}
    return tuple(told[name] for name in COLUMNS)


@pytest.mark.parametrize(
    "other",
    [
        {"key": "nothing"},
        {"key": "true"},
        {"key": "1.5"},
        {"key": "[]"},
        {"key": '["7", "8"]'},
        {"key": "[7]"},
        {"key": None},
        {"request": "[]"},
        {"request": "{}"},
        {"request": '{"prompt": "a", "duration": 5, "colour": "red"}'},
        {"request": "[" * 100_000},
        {"state": "lost"},
        {"task_id": "video_1", "task": "[]"},
        {"task_id": "video_1", "task": '{"model": "videos"}'},
        {"error": '{"reason": "x"}'},
        {"error": '{"kind": "Mystery", "reason": "x"}'},
        {"error": '{"kind": "GenerationFailed", "reason": "x"}'},
        {"error": '{"kind": "InvalidRequest", "violations": [[1]]}'},
        {"task_id": "video_1", "error": '{"kind": "VideoExpired"}'},
        {"file": '{"path": "a.mp4"}'},
        {"file": "7"},
    ],
    ids=json.dumps,
)
def test_a_row_that_is_none_of_ours_is_told_as_such(other: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        entry_from_row(_row(**other))


def test_an_error_that_ends_no_key_is_not_written() -> None:
    entry = JournalEntry(
        key="a", request=REQUEST, planned_at=1.0, changed_at=1.0, error=VideosError()
    )
    with pytest.raises(TypeError, match="a VideosError ends no key of a journal"):
        row_of(entry)
