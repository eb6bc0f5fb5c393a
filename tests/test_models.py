from __future__ import annotations

import copy
import gc
import pickle
import weakref
from datetime import UTC, datetime
from typing import Any, Final, get_type_hints

import attrs
import pytest

from videos_async import GenerationFailed, Mode, Status, Transition, VideoRequest, VideoTask
from videos_async.models import task_id_flaw, without_query

SIGNED: Final = "https://cdn.example/a.mp4?X-Signature=SECRET#SECRET"
UNKNOWN: Final = "upscaling"


def a_request(**fields: Any) -> VideoRequest:
    return VideoRequest(**dict[str, Any](prompt="A kitten on a meadow", duration=5) | fields)


def a_task(**fields: Any) -> VideoTask:
    return VideoTask(**dict[str, Any](id="video_1", status=Status.QUEUED) | fields)


def a_transition(**fields: Any) -> Transition:
    given: dict[str, Any] = {
        "key": 0,
        "task_id": "video_1",
        "previous": None,
        "status": Status.QUEUED,
        "task": a_task(),
        "elapsed": 0.0,
    }
    return Transition(**{**given, **fields})


DATA: Final = (
    a_request(reference_images=["https://a.example/1.png"], extra={"autoFace": True}),
    a_task(created=1774836724, extra={"amount": [1, 2]}),
    a_transition(),
)


def _names(data: Any) -> list[str]:
    return [field.name for field in attrs.fields(data.__class__)]


every_class = pytest.mark.parametrize("data", DATA, ids=lambda data: type(data).__name__)

# --- status --------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["queued", "processing", "completed", "failed"])
def test_a_documented_status_is_a_member(text: str) -> None:
    assert Status(text) in list(Status)


@pytest.mark.parametrize(
    ("status", "is_terminal"),
    [("queued", False), ("processing", False), ("completed", True), ("failed", True)],
)
def test_completed_and_failed_are_the_ends(status: str, is_terminal: bool) -> None:  # noqa: FBT001
    assert Status(status).is_terminal is is_terminal


@pytest.mark.parametrize("text", [UNKNOWN, "COMPLETED", "completed ", "", "\x1b[31m", "状態"])
def test_an_unknown_status_is_legal_and_no_end(text: str) -> None:
    assert not Status(text).is_terminal


def test_an_unknown_status_keeps_its_text() -> None:
    assert (str(Status(UNKNOWN)), Status(UNKNOWN).value) == (UNKNOWN, UNKNOWN)


def test_unknown_statuses_of_one_text_are_equal() -> None:
    assert Status(UNKNOWN) == Status(UNKNOWN) == UNKNOWN


def test_unknown_statuses_of_two_texts_differ() -> None:
    assert Status(UNKNOWN) != Status("rendering")


def test_unknown_statuses_of_one_text_are_one_key() -> None:
    assert {Status(UNKNOWN): 1}[Status(UNKNOWN)] == 1


def test_an_unknown_status_is_a_status() -> None:
    assert isinstance(Status(UNKNOWN), Status)


@pytest.mark.parametrize("status", [Status.QUEUED, Status(UNKNOWN)])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_status_survives_pickling(status: Status, protocol: int) -> None:
    again = pickle.loads(pickle.dumps(status, protocol))
    assert (type(again), again) == (Status, status)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_an_unknown_status_survives_copying(copied: Any) -> None:
    assert copied(Status(UNKNOWN)) == Status(UNKNOWN)


def test_a_documented_status_stays_the_one_member() -> None:
    assert pickle.loads(pickle.dumps(Status.FAILED)) is Status.FAILED


def test_unknown_statuses_do_not_add_up_in_the_enum() -> None:
    for number in range(100):
        Status(f"step {number}")
    assert [status.value for status in Status] == ["queued", "processing", "completed", "failed"]


def test_an_unknown_status_is_freed_when_nobody_holds_it() -> None:
    status = Status("a status of one moment")
    freed = weakref.ref(status)
    del status
    gc.collect()
    assert freed() is None


@pytest.mark.parametrize("value", [None, 5, True, b"queued", ["queued"]])
def test_a_status_is_text(value: Any) -> None:
    with pytest.raises(ValueError, match="is not a valid Status"):
        Status(value)


def test_the_repr_of_a_status_shows_its_text() -> None:
    assert repr(Status(UNKNOWN)) == "Status('upscaling')"


# --- all plain data ------------------------------------------------------------------------


@every_class
def test_data_is_frozen(data: Any) -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(data, _names(data)[0], None)


@every_class
def test_data_takes_no_attributes_of_others(data: Any) -> None:
    assert not hasattr(data, "__dict__")


@every_class
def test_data_is_keyword_only(data: Any) -> None:
    with pytest.raises(TypeError, match="positional"):
        type(data)("one", "two")


@every_class
def test_data_can_be_a_key(data: Any) -> None:
    assert {data: 1}[copy.deepcopy(data)] == 1


@every_class
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_data_survives_pickling(data: Any, protocol: int) -> None:
    assert pickle.loads(pickle.dumps(data, protocol)) == data


@every_class
def test_the_types_of_data_can_be_resolved(data: Any) -> None:
    assert list(get_type_hints(data.__class__)) == _names(data)


@every_class
def test_data_holds_plain_values_and_no_client(data: Any) -> None:
    values = attrs.asdict(data, recurse=True).values()
    plain = (str, int, float, bool, tuple, list, dict, type(None))
    assert all(isinstance(value, plain) for value in values)


# --- requests ------------------------------------------------------------------------------

IMAGE: Final = "https://a.example/1.png"
VIDEO: Final = "https://a.example/1.mp4"


@pytest.mark.parametrize(
    ("fields", "mode"),
    [
        ({}, Mode.TEXT),
        ({"first_image": IMAGE, "last_image": IMAGE}, Mode.FRAMES),
        ({"reference_images": [IMAGE]}, Mode.IMAGES),
        ({"reference_videos": [VIDEO]}, Mode.VIDEOS),
        ({"reference_images": [IMAGE], "reference_videos": [VIDEO]}, Mode.IMAGES_AND_VIDEOS),
    ],
    ids=lambda value: value.value if isinstance(value, Mode) else "",
)
def test_the_mode_follows_from_the_fields(fields: dict[str, Any], mode: Mode) -> None:
    assert a_request(**fields).mode is mode


def test_the_defaults_are_those_of_the_contract() -> None:
    request = a_request()
    assert (request.model, request.ratio, request.resolution) == ("videos", "16:9", "720p")


def test_a_request_does_not_change_with_the_list_it_was_built_from() -> None:
    urls = [IMAGE]
    request = a_request(reference_images=urls)
    urls.append(VIDEO)
    assert request.reference_images == (IMAGE,)


def test_a_request_does_not_change_with_the_mapping_it_was_built_from() -> None:
    extra = {"autoFace": True}
    request = a_request(extra=extra)
    extra["autoFace"] = False
    assert request.extra == {"autoFace": True}


@pytest.mark.parametrize("field", ["reference_images", "reference_videos", "extra"])
@pytest.mark.parametrize("value", [None, 5, "https://a.example/1.png"])
def test_a_request_can_be_built_with_what_the_rules_will_refuse(field: str, value: object) -> None:
    assert getattr(a_request(**{field: value}), field) == value


@pytest.mark.parametrize("field", ["first_image", "last_image", "reference_images", "extra"])
def test_the_repr_of_a_request_gives_no_signed_url_away(field: str) -> None:
    value = {"first_image": SIGNED, "last_image": SIGNED, "reference_images": [SIGNED]}
    request = a_request(**{field: value.get(field, {"referenceAudios": [SIGNED]})})
    assert "SECRET" not in repr(request)


@pytest.mark.parametrize("field", ["first_image", "reference_images", "extra"])
def test_the_repr_of_a_request_holds_out_against_any_value(field: str) -> None:
    assert "VideoRequest(" in repr(a_request(**{field: 5}))


# --- tasks ---------------------------------------------------------------------------------


def test_the_repr_of_a_task_gives_no_signed_url_away() -> None:
    task = a_task(video_url=SIGNED, extra={"result_url": SIGNED})
    assert "SECRET" not in repr(task)
    assert "https://cdn.example/a.mp4?…" in repr(task)


def test_when_a_task_was_made_is_an_aware_time() -> None:
    expected = datetime(2026, 3, 30, 2, 12, 4, tzinfo=UTC)
    assert a_task(created=1774836724).created_at == expected


@pytest.mark.parametrize(
    ("created", "year"), [(0, 1970), (-1, 1969), (-62_135_596_800, 1), (253_402_300_799, 9999)]
)
def test_every_second_of_the_calendar_is_a_time(created: int, year: int) -> None:
    made = a_task(created=created).created_at
    assert made is not None
    assert made.year == year


@pytest.mark.parametrize("created", [None, -62_135_596_801, 253_402_300_800, 10**30, -(10**400)])
def test_what_the_calendar_does_not_have_is_no_time(created: int | None) -> None:
    assert a_task(created=created).created_at is None


# --- transitions ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "is_end"),
    [
        ({"status": Status.QUEUED}, False),
        ({"status": Status.PROCESSING}, False),
        ({"status": Status(UNKNOWN)}, False),
        ({"status": Status.COMPLETED}, True),
        ({"status": Status.FAILED, "error": GenerationFailed(task_id="video_1")}, True),
        ({"status": Status.QUEUED, "error": GenerationFailed(task_id="video_1")}, True),
        ({"status": None, "error": GenerationFailed(task_id="video_1")}, True),
    ],
)
def test_a_transition_is_the_end_when_completed_or_in_error(
    fields: dict[str, Any],
    is_end: bool,  # noqa: FBT001
) -> None:
    assert a_transition(**fields).is_end is is_end


# --- ids and URLs --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "task_id",
    [
        "video_1234567890",
        "proj_1",
        "6f1c0c1e-7f0e-4d0c-9f57-0e0f6f2a7f10",
        "a/b",
        "../../admin",
        "...",
        "ä 視 %2e",
        "x" * 512,
    ],
)
def test_an_id_is_opaque_text(task_id: str) -> None:
    assert task_id_flaw(task_id) is None


@pytest.mark.parametrize(
    ("task_id", "flaw"),
    [
        ("", "must not be empty"),
        (".", "path segment"),
        ("..", "path segment"),
        ("a\nb", "control characters"),
        ("a\0b", "control characters"),
        ("a\ud800b", "control characters"),
        ("x" * 513, "at most 512 characters, is 513"),
        (5, "must be text, got int"),
        (True, "must be text, got bool"),
        (None, "must be text, got NoneType"),
        (b"video_1", "must be text, got bytes"),
        (["video_1"], "must be text, got list"),
    ],
)
def test_what_can_be_no_segment_of_a_path_is_no_id(task_id: object, flaw: str) -> None:
    assert flaw in (task_id_flaw(task_id) or "")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.example/b", "https://a.example/b"),
        ("https://a.example/b?c=d", "https://a.example/b?…"),
        ("https://a.example/b#c", "https://a.example/b#…"),
        ("https://a.example/b?c#d", "https://a.example/b?…"),
        ("https://a.example/b#c?d", "https://a.example/b#…"),
        ("", ""),
    ],
)
def test_what_is_signed_in_a_url_is_cut_off(url: str, shown: str) -> None:
    assert without_query(url) == shown


@pytest.mark.parametrize(
    ("writer", "arguments"),
    [
        ("__setitem__", ("seed", 1)),
        ("update", ({"seed": 1},)),
        ("setdefault", ("seed", 1)),
        ("__ior__", ({"seed": 1},)),
    ],
)
def test_the_extra_of_those_who_have_none_cannot_be_written_to(
    writer: str, arguments: tuple[Any, ...]
) -> None:
    extra = VideoRequest(prompt="a", duration=5).extra
    with pytest.raises(TypeError, match=r"attrs\.evolve"):
        getattr(extra, writer)(*arguments)
    assert VideoRequest(prompt="b", duration=5).extra == {}
