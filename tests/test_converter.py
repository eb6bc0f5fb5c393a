from __future__ import annotations

import json
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videos_async import (
    BUILTIN_MODELS,
    InvalidRequest,
    InvalidResponse,
    ModelSpec,
    Status,
    VideoRequest,
    VideosError,
    VideoTask,
    request_from_json,
    request_to_json,
    task_from_json,
    task_to_json,
    validate,
)
from videos_async._converter import task_from_answer

IMAGE: Final = "https://a.example/1.png"
OTHER: Final = "https://a.example/2.png"
VIDEO: Final = "https://a.example/1.mp4"
BODY: Final[dict[str, Any]] = {"prompt": "A kitten on a meadow", "duration": 5}
EXTENDED: Final = ModelSpec(name="videos", extra_fields={"referenceAudios", "autoFace"})


def a_request(**fields: Any) -> VideoRequest:
    return VideoRequest(**BODY | fields)


def the_violations(data: Any, *models: ModelSpec) -> list[str]:
    with pytest.raises(InvalidRequest) as caught:
        request_from_json(data, models=models or BUILTIN_MODELS)
    return [str(violation) for violation in caught.value.violations]


# --- requests out --------------------------------------------------------------------------


def test_defaults_are_said_and_absent_fields_left_out() -> None:
    assert request_to_json(a_request()) == {
        "model": "videos",
        "prompt": "A kitten on a meadow",
        "duration": 5,
        "ratio": "16:9",
        "resolution": "720p",
    }


def test_fields_go_out_under_the_names_of_the_service() -> None:
    body = request_to_json(a_request(reference_images=[IMAGE], reference_videos=[VIDEO]))
    assert body["referenceImages"] == (IMAGE,)
    assert body["referenceVideos"] == (VIDEO,)
    assert not {"reference_images", "reference_videos", "extra"} & body.keys()


def test_frames_go_out_under_their_new_names() -> None:
    body = request_to_json(a_request(first_image=IMAGE, last_image=OTHER))
    assert (body["first_image"], body["last_image"]) == (IMAGE, OTHER)


def test_extra_fields_stand_beside_the_others_as_they_are() -> None:
    body = request_to_json(a_request(extra={"autoFace": False, "seed": 0, "note": None}))
    assert (body["autoFace"], body["seed"], body["note"]) == (False, 0, None)


def test_a_request_goes_out_whatever_is_in_it() -> None:
    assert request_to_json(a_request(prompt=5, reference_images=5))["referenceImages"] == 5


# --- requests in ---------------------------------------------------------------------------

FRAMES: Final = {"first_image": IMAGE, "last_image": OTHER}


@pytest.mark.parametrize(
    ("given_fields", "expected"),
    [
        ({}, {}),
        ({"model": "videos_fast", "ratio": "1:1"}, {"model": "videos_fast", "ratio": "1:1"}),
        (FRAMES, FRAMES),
        ({"image": IMAGE, "lastFrameImage": OTHER}, FRAMES),
        ({"image": IMAGE, "last_image": OTHER}, FRAMES),
        ({"image": IMAGE, "lastFrameImage": OTHER, **FRAMES}, FRAMES),
        ({"referenceImages": [IMAGE]}, {"reference_images": [IMAGE]}),
        ({"reference_images": [IMAGE]}, {"reference_images": [IMAGE]}),
        (
            {"reference_images": [IMAGE], "referenceImages": [IMAGE], "referenceVideos": [VIDEO]},
            {"reference_images": [IMAGE], "reference_videos": [VIDEO]},
        ),
        ({"image": None, "ratio": None, "extra": None}, {}),
        ({"extra": {"seed": 1}}, {"extra": {"seed": 1}}),
    ],
    ids=repr,
)
def test_a_request_is_read_under_every_name(
    given_fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert request_from_json({**BODY, **given_fields}) == a_request(**expected)


def _as_bytes(body: object) -> bytes:
    return json.dumps(body).encode()


@pytest.mark.parametrize("write", [json.dumps, _as_bytes, MappingProxyType])
def test_a_request_is_read_from_text_bytes_or_a_mapping(write: Any) -> None:
    assert request_from_json(write(BODY)) == a_request()


@pytest.mark.parametrize("field", ["prompt", "duration"])
@pytest.mark.parametrize("value", [..., None], ids=["left out", "null"])
def test_a_required_field_is_required(field: str, value: object) -> None:
    body = {name: given for name, given in BODY.items() if name != field}
    (text,) = the_violations(body if value is ... else {**body, field: value})
    assert text.startswith(f"{field} must be ")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"image": IMAGE}, {"first_image": OTHER}),
        ({"first_image": IMAGE}, {"image": OTHER}),
        ({"last_image": IMAGE}, {"lastFrameImage": OTHER}),
        ({"referenceImages": [IMAGE]}, {"reference_images": [OTHER]}),
        ({"referenceVideos": [VIDEO]}, {"reference_videos": []}),
    ],
    ids=repr,
)
def test_two_values_of_one_field_are_a_parameter_conflict(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    (one,), (other,) = first, second
    text = " ".join(the_violations({**BODY, **first, **second}))
    assert f"{other} is a parameter conflict with {one}: two names of one field" in text


def test_values_that_are_equal_and_of_two_types_are_a_parameter_conflict() -> None:
    texts = the_violations({**BODY, "image": 1, "first_image": True})
    assert "parameter conflict" in texts[0]


def test_a_conflict_and_every_other_violation_are_told_at_once() -> None:
    texts = the_violations({"image": IMAGE, "first_image": OTHER, "duration": 3, "colour": "red"})
    fields = [text.split()[0] for text in texts]
    assert fields == ["first_image", "colour", "prompt", "duration", "last_image"]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("referenceImage", "referenceImages"),
        ("durations", "duration"),
        ("lastImage", "last_image"),
        ("Prompt", "prompt"),
    ],
)
def test_a_misspelled_field_is_refused_with_the_likely_one(name: str, near: str) -> None:
    (text,) = the_violations({**BODY, name: 1})
    assert text.startswith(f"{name} is not a field of a request (did you mean {near}?)")


@pytest.mark.parametrize("name", ["seed", 5, None, "\ud800", "\x1b[31m", "x" * 1000])
def test_an_unknown_field_is_refused_and_told_where_it_would_go(name: Any) -> None:
    (text,) = the_violations({**BODY, name: 1})
    assert "is not a field of a request; undocumented fields go under extra" in text
    assert len(text.encode()) < 400


def test_a_declared_field_may_stand_beside_the_others() -> None:
    request = request_from_json({**BODY, "autoFace": True, "extra": {"seed": 1}}, models=[EXTENDED])
    assert request.extra == {"autoFace": True, "seed": 1}


def test_a_declared_field_of_another_model_is_unknown() -> None:
    data = {**BODY, "model": "videos_fast", "autoFace": True}
    (text,) = the_violations(data, *BUILTIN_MODELS, EXTENDED)
    assert text.startswith("autoFace is not a field of a request")


@pytest.mark.parametrize(
    "data",
    [
        {"extra": {"autoFace": True}, "autoFace": False},
        {"autoFace": False, "extra": {"autoFace": True}},
    ],
)
def test_a_declared_field_given_twice_is_a_parameter_conflict(data: dict[str, Any]) -> None:
    (text,) = the_violations({**BODY, **data}, EXTENDED)
    assert text.startswith("autoFace is a parameter conflict with extra")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "$ is empty"),
        ("[]", "$ must be a JSON object with the fields of a request"),
        ("null", "$ must be a JSON object"),
        (None, "$ must be a JSON object"),
        (5, "$ must be a JSON object"),
        (b"\xff", "$ is not UTF-8 at byte 0"),
        ('{"prompt": "x", "duration": NaN}', "$.duration is NaN, which is not JSON"),
        ('{"duration": 5, "duration": 10}', "$.duration is given twice"),
        ('{"extra": ' + "[" * 100_000, "$ is nested deeper than 64 levels"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_json_object_is_an_invalid_request(data: Any, text: str) -> None:
    (violation,) = the_violations(data)
    assert violation.startswith(text)


# --- tasks in ------------------------------------------------------------------------------

CREATED: Final = {
    "id": "video_1234567890",
    "object": "video",
    "created": 1774836724,
    "model": "videos",
    "status": "queued",
    "error": None,
}
COMPLETED: Final = {
    **CREATED,
    "status": "completed",
    "video_url": "https://cdn.example/1.mp4?t=1",
    "actualDuration": 5.04,
}


def test_the_documented_create_answer_is_read() -> None:
    assert task_from_json(json.dumps(CREATED)) == VideoTask(
        id="video_1234567890",
        status=Status.QUEUED,
        model="videos",
        created=1774836724,
    )


def test_what_every_answer_says_under_object_is_written_and_not_kept() -> None:
    task = task_from_json(CREATED)
    assert "object" not in task.extra
    assert task_to_json(task)["object"] == "video"


def test_an_object_that_is_not_the_contracts_is_kept() -> None:
    answer = {"id": "a", "status": "queued", "object": "video.generation"}
    assert task_from_json(answer).extra == {"object": "video.generation"}
    assert task_to_json(task_from_json(answer))["object"] == "video.generation"


def test_the_documented_result_answer_is_read() -> None:
    task = task_from_json(json.dumps(COMPLETED).encode())
    assert (task.status, task.video_url, task.actual_duration) == (
        Status.COMPLETED,
        "https://cdn.example/1.mp4?t=1",
        5.04,
    )


def test_the_documented_envelope_is_read() -> None:
    answer = {"code": "0", "msg": None, "data": {"projectId": "proj_1234567890"}}
    task = task_from_answer(answer, default_status=Status.QUEUED)
    assert (task.id, task.status, task.extra) == (
        "proj_1234567890",
        Status.QUEUED,
        {"code": "0", "msg": None},
    )


@pytest.mark.parametrize("name", ["id", "task_id", "taskId", "projectId"])
@pytest.mark.parametrize("envelope", [False, True], ids=["flat", "in an envelope"])
def test_the_id_is_read_under_any_of_its_names(name: str, envelope: bool) -> None:  # noqa: FBT001
    fields = {name: "video_1", "status": "queued"}
    task = task_from_json({"code": 0, "data": fields} if envelope else fields)
    assert (task.id, name in task.extra) == ("video_1", False)


@pytest.mark.parametrize("name", ["video_url", "url", "result_url"])
@pytest.mark.parametrize("beside", [{}, {"video_url": None}, {"video_url": ""}], ids=repr)
def test_the_url_of_a_completed_task_is_read_under_any_of_its_names(
    name: str, beside: dict[str, Any]
) -> None:
    task = task_from_json({"id": "a", "status": "completed", **beside, name: VIDEO})
    assert (task.video_url, task.extra) == (VIDEO, {})


@pytest.mark.parametrize("status", ["queued", "processing", "failed", "upscaling"])
def test_a_url_of_another_name_is_no_video_before_the_task_is_completed(status: str) -> None:
    task = task_from_json({"id": "a", "status": status, "url": "https://api.example/result/a"})
    assert task.video_url is None
    assert task.extra == {"url": "https://api.example/result/a"}


def test_a_task_completed_without_a_url_is_a_task() -> None:
    assert task_from_json({"id": "a", "status": "completed"}).video_url is None


def test_extra_fields_are_kept_as_they_came() -> None:
    extra = {"amount": 1.5, "nested": {"a": [None]}, "data": None}
    assert task_from_json({"id": "a", "status": "queued", **extra}).extra == extra


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"error": "policy"}, "policy"),
        ({"error": {"message": "policy"}}, "policy"),
        ({"error": {"detail": "policy"}}, "policy"),
        ({"error": {"code": "policy"}}, "policy"),
        ({"error": None, "message": "policy"}, "policy"),
        ({"error": "", "msg": "policy"}, "policy"),
        ({"message": {"detail": "policy"}}, "policy"),
        ({"error": ["policy"]}, '["policy"]'),
        ({}, None),
    ],
    ids=repr,
)
def test_why_a_task_failed_is_read_wherever_it_stands(
    fields: dict[str, Any], error: str | None
) -> None:
    assert task_from_json({"id": "a", "status": "failed", **fields}).error == error


def test_the_success_of_the_envelope_is_no_reason_of_the_failure() -> None:
    data = {"id": "a", "status": "failed"}
    assert task_from_json({"code": "0", "msg": "success", "data": data}).error is None


def test_the_reason_within_the_envelope_is_read() -> None:
    data = {"id": "a", "status": "failed", "message": "policy"}
    assert task_from_json({"code": "0", "msg": "success", "data": data}).error == "policy"


def test_a_message_beside_a_task_that_did_not_fail_is_no_error() -> None:
    task = task_from_json({"id": "a", "status": "processing", "message": "half way"})
    assert (task.error, task.extra) == (None, {"message": "half way"})


def test_an_error_that_is_an_object_is_kept_whole() -> None:
    error = {"code": 1301, "message": "policy"}
    assert task_from_json({"id": "a", "status": "failed", "error": error}).extra["error"] == error


@pytest.mark.parametrize(
    ("progress", "per_cent"),
    [(42, 42.0), (42.5, 42.5), ("42%", 42.0), ("42", 42.0), ("42 %", 42.0), (0, 0.0), (None, None)],
    ids=repr,
)
def test_progress_is_read_as_a_number(progress: object, per_cent: float | None) -> None:
    task = task_from_json({"id": "a", "status": "processing", "progress": progress})
    assert (task.progress, task.extra) == (per_cent, {})


@pytest.mark.parametrize(
    "progress",
    ["nearly", "", "%", True, [], {"p": 1}, 10**400, "1e999"],
    ids=lambda value: repr(value)[:10],
)
def test_progress_that_is_no_number_is_kept_and_no_error(progress: object) -> None:
    task = task_from_json({"id": "a", "status": "processing", "progress": progress})
    assert (task.progress, task.extra) == (None, {"progress": progress})


@pytest.mark.parametrize("status", ["upscaling", "COMPLETED", "状態", "\x1b[31m"])
def test_an_unknown_status_is_kept_as_it_came(status: str) -> None:
    task = task_from_json({"id": "a", "status": status})
    assert (task.status.value, task.status.is_terminal) == (status, False)


def test_half_a_character_in_an_answer_costs_no_task() -> None:
    task = task_from_json(
        '{"id": "a", "status": "failed", "error": "cut \\ud83d", "model": "\\ud83d"}'
    )
    assert (task.error, task.model) == ("cut ?", "?")


def test_a_task_is_read_from_any_mapping() -> None:
    assert task_from_json(MappingProxyType({"id": "a", "status": "queued"})).id == "a"


# --- tasks that are none -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "path", "problem"),
    [
        ([], "$", "must be an object, got a list"),
        (None, "$", "must be an object, got null"),
        ("x", "$", "must be an object, got text"),
        ({}, "$.id", "is missing"),
        ({"id": None, "status": "queued"}, "$.id", "is missing"),
        ({"id": "", "status": "queued"}, "$.id", "is missing"),
        ({"id": "a"}, "$.status", "is missing"),
        ({"id": "a", "status": None}, "$.status", "is missing"),
        ({"id": "a", "status": ""}, "$.status", "is missing"),
        ({"data": {"projectId": "a"}}, "$.data.status", "is missing"),
        ({"data": {"status": "queued"}}, "$.data.id", "is missing"),
        ({"id": 5, "status": "queued"}, "$.id", "must be text, got a number"),
        ({"id": ["a"], "status": "queued"}, "$.id", "must be text, got a list"),
        ({"id": 0, "status": "queued"}, "$.id", "must be text, got a number"),
        ({"id": "..", "status": "queued"}, "$.id", "must not be a path segment"),
        ({"id": "a\nb", "status": "queued"}, "$.id", "must not contain control characters"),
        ({"id": "x" * 600, "status": "queued"}, "$.id", "must be at most 512 characters"),
        ({"taskId": 5, "status": "queued"}, "$.taskId", "must be text, got a number"),
        (
            {"data": {"projectId": 5, "status": "x"}},
            "$.data.projectId",
            "must be text, got a number",
        ),
        ({"id": "a", "status": 3}, "$.status", "must be text, got a number"),
        ({"id": "a", "status": ["queued"]}, "$.status", "must be text, got a list"),
        (
            {"id": "a", "status": "x", "created": "yesterday"},
            "$.created",
            "must be a whole number, got text",
        ),
        (
            {"id": "a", "status": "x", "created": True},
            "$.created",
            "must be a whole number, got a boolean",
        ),
        ({"id": "a", "status": "x", "created": -1}, "$.created", "must be a Unix time in seconds"),
        ({"id": "a", "status": "x", "model": 5}, "$.model", "must be text, got a number"),
        (
            {"id": "a", "status": "x", "actualDuration": []},
            "$.actualDuration",
            "must be a number, got a list",
        ),
        (
            {"id": "a", "status": "x", "actualDuration": "long"},
            "$.actualDuration",
            "must be a finite number",
        ),
        ({"id": "a", "status": "x", "video_url": 5}, "$.video_url", "must be text, got a number"),
        (
            {"id": "a", "status": "completed", "result_url": {}},
            "$.result_url",
            "must be text, got an object",
        ),
        (
            {"data": {"id": "a", "status": "x", "created": "y"}},
            "$.data.created",
            "must be a whole number",
        ),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_an_answer_of_wrong_shape_is_told_with_its_path(
    answer: object, path: str, problem: str
) -> None:
    with pytest.raises(InvalidResponse) as caught:
        task_from_answer(answer)
    assert caught.value.path == path
    assert caught.value.problem.startswith(problem)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"id": "a", "status": "x", "created": NaN}', "$.created"),
        ('{"id": "a", "status": "x", "created": ' + "9" * 5000 + "}", "$.created"),
        ('{"id": "a", "status": "x", "amount": 1e999}', "$.amount"),
        ('{"id": "a", "x": ' + "[" * 100_000, "$"),
        ("<html>", "$"),
        ("", "$"),
    ],
    ids=lambda text: text[:40],
)
def test_an_answer_that_is_no_json_is_told_with_its_path(text: str, path: str) -> None:
    with pytest.raises(InvalidResponse) as caught:
        task_from_json(text)
    assert caught.value.path == path


# --- the task that was asked for -----------------------------------------------------------


def test_an_answer_without_an_id_is_about_the_task_that_was_asked_for() -> None:
    assert task_from_answer({"status": "queued"}, task_id="video_1").id == "video_1"


def test_an_answer_about_another_task_is_refused() -> None:
    with pytest.raises(InvalidResponse, match=r"\$\.id is another task's: video_2"):
        task_from_answer({"id": "video_2", "status": "completed"}, task_id="video_1")


@pytest.mark.parametrize(
    "answer",
    [
        {"id": "row_9", "projectId": "proj_1", "status": "queued"},
        {"id": "row_9", "data": {"projectId": "proj_1", "status": "queued"}},
        {"id": "proj_1", "data": {"id": "row_9", "status": "queued"}},
    ],
    ids=repr,
)
def test_an_answer_with_more_than_one_id_is_about_the_one_that_was_asked_for(
    answer: dict[str, Any],
) -> None:
    assert task_from_answer(answer, task_id="proj_1").id == "proj_1"


@pytest.mark.parametrize("status", [{}, {"status": None}, {"status": ""}], ids=repr)
def test_a_status_that_is_left_out_is_the_one_to_expect(status: dict[str, Any]) -> None:
    task = task_from_answer({"id": "a", **status}, default_status=Status.QUEUED)
    assert task.status is Status.QUEUED


def test_a_status_that_is_given_stands() -> None:
    answer = {"id": "a", "status": "processing"}
    assert task_from_answer(answer, default_status=Status.QUEUED).status is Status.PROCESSING


# --- tasks out -----------------------------------------------------------------------------


def test_a_task_goes_out_under_the_names_of_the_service() -> None:
    assert task_to_json(task_from_json(COMPLETED)) == COMPLETED


@pytest.mark.parametrize(
    "answer",
    [
        CREATED,
        COMPLETED,
        {"code": "0", "msg": None, "data": {"projectId": "p", "status": "completed", "url": "u"}},
        {"id": "a", "status": "failed", "error": {"code": 5, "message": "policy"}},
        {"id": "a", "status": "failed", "msg": "policy"},
        {"code": "0", "data": {"id": "a", "status": "failed", "error": [], "msg": "x", "data": {}}},
        {"id": "a", "status": "upscaling", "progress": "nearly"},
        {"id": "a", "status": "upscaling", "progress": "42%", "data": {"id": "b", "status": "x"}},
    ],
    ids=repr,
)
def test_a_task_survives_the_way_out_and_back(answer: dict[str, Any]) -> None:
    task = task_from_json(answer)
    assert task_from_json(json.dumps(task_to_json(task))) == task


# --- properties ----------------------------------------------------------------------------

FAST: Final = settings(max_examples=200, deadline=None)
TEXT: Final = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20
)
URLS: Final = st.sampled_from([IMAGE, OTHER, VIDEO, "http://[::1]:8/ä?b=c#d"])
EXTRAS: Final = st.dictionaries(
    st.sampled_from(["referenceAudios", "autoFace"]),
    st.booleans() | st.integers(-(10**9), 10**9) | TEXT | st.lists(URLS, max_size=3),
)
REFERENCES: Final = st.fixed_dictionaries(
    {},
    optional={
        "reference_images": st.lists(URLS, max_size=4),
        "reference_videos": st.lists(URLS, max_size=3),
    },
)
FRAME_PAIRS: Final = st.fixed_dictionaries({"first_image": URLS, "last_image": URLS})


def _built(fields: dict[str, Any], media: dict[str, Any]) -> VideoRequest:
    return VideoRequest(**fields, **media)


REQUESTS: Final = st.builds(
    _built,
    st.fixed_dictionaries(
        {
            "prompt": TEXT,
            "duration": st.integers(4, 15),
            "ratio": st.sampled_from(["16:9", "9:16", "1:1"]),
            "extra": EXTRAS,
        }
    ),
    REFERENCES | FRAME_PAIRS,
)


@given(REQUESTS)
@FAST
def test_a_valid_request_survives_the_way_out_and_back(request: VideoRequest) -> None:
    validate(request, [EXTENDED])
    body = json.dumps(request_to_json(request))
    assert request_from_json(body, models=[EXTENDED]) == request


ALL_TEXT: Final = st.text(st.characters(exclude_categories=[]), max_size=10)
SCALARS: Final = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | ALL_TEXT
    | st.sampled_from(["", "queued", "completed", "failed", "videos", "42%", IMAGE, 5, "0", 0])
    # Not by value: what cannot be written cannot be shown by Hypothesis either.
    | st.none().map(lambda _: 10**5000)
)
NAMES: Final = ALL_TEXT | st.sampled_from(
    [
        *(
            "id",
            "task_id",
            "taskId",
            "projectId",
            "status",
            "data",
            "code",
            "msg",
            "message",
            "detail",
        ),
        *(
            "error",
            "url",
            "result_url",
            "video_url",
            "created",
            "model",
            "progress",
            "actualDuration",
        ),
        *("prompt", "duration", "ratio", "resolution", "first_image", "last_image", "image"),
        *("lastFrameImage", "referenceImages", "reference_images", "referenceVideos", "extra"),
        *("autoFace", "referenceAudios", "referenceImage"),
    ]
)
VALUES: Final = st.recursive(
    SCALARS,
    lambda children: st.lists(children, max_size=5) | st.dictionaries(NAMES, children, max_size=6),
    max_leaves=15,
)
JSON: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(NAMES, children, max_size=3),
    max_leaves=8,
)
BODIES: Final = st.binary(max_size=40) | JSON.map(json.dumps) | ALL_TEXT
MAPPINGS: Final = st.dictionaries(NAMES | st.integers() | st.none(), VALUES, max_size=10)
TASK_LIKE: Final = st.fixed_dictionaries(
    {
        "id": st.just("video_1") | VALUES,
        "status": st.sampled_from(["failed", "completed"]) | VALUES,
    },
    optional={
        "error": VALUES,
        "message": VALUES,
        "data": VALUES,
        "url": VALUES,
        "progress": VALUES,
        "created": VALUES,
        "extra": VALUES,
    },
)


def _caught(kind: type[VideosError], read: Any, data: object) -> VideosError | None:
    """Read; what is not of the one kind escapes and fails the test."""
    try:
        read(data)
    except kind as error:
        return error
    return None


def _read_request(data: Any) -> None:
    request = request_from_json(data, models=[EXTENDED])
    validate(request, [EXTENDED])
    json.dumps(request_to_json(request), ensure_ascii=False, allow_nan=False).encode()


@given(MAPPINGS | VALUES | BODIES)
@FAST
def test_whatever_is_read_as_a_request_is_valid_or_an_invalid_request(data: object) -> None:
    error = _caught(InvalidRequest, _read_request, data)
    assert error is None or str(error).encode()


@given(TASK_LIKE | MAPPINGS | VALUES | BODIES)
@FAST
def test_whatever_is_read_as_a_task_is_one_or_an_invalid_response(data: object) -> None:
    error = _caught(InvalidResponse, task_from_json, data)
    assert error is None or str(error).encode()


@given(TASK_LIKE | MAPPINGS | VALUES)
@FAST
def test_whatever_is_read_as_an_answer_is_a_task_or_an_invalid_response(answer: object) -> None:
    def read(data: object) -> None:
        task = task_from_answer(data, task_id="video_1", default_status=Status.QUEUED)
        assert task.id == "video_1"
        assert f"{task.error}{task.model}{task.video_url}".encode()

    error = _caught(InvalidResponse, read, answer)
    assert error is None or str(error).encode()


ANSWERS: Final = st.fixed_dictionaries(
    {"id": TEXT, "status": st.sampled_from(["queued", "processing", "completed", "failed"]) | TEXT},
    optional={
        "created": st.none() | st.integers(0, 2**33),
        "model": st.none() | TEXT,
        "video_url": st.none() | URLS,
        "actualDuration": st.none() | st.floats(0, 60),
        "error": JSON,
        "progress": JSON,
        "message": JSON,
        "amount": JSON,
        "data": JSON,
        "url": st.none() | URLS,
        "taskId": st.none() | TEXT,
    },
)


@given(ANSWERS, st.booleans())
@FAST
def test_a_task_that_was_read_survives_the_way_out_and_back(
    answer: dict[str, Any],
    envelope: bool,  # noqa: FBT001
) -> None:
    try:
        task = task_from_json({"code": "0", "data": answer} if envelope else answer)
    except InvalidResponse:
        # An id that can be none: there is nothing to write.
        return
    written = json.dumps(task_to_json(task))
    assert task_from_json(written) == task


@pytest.mark.parametrize("levels", [100, 100_000])
@pytest.mark.parametrize(
    "name", ["error", "message", "data", "id", "created", "progress", "amount"]
)
def test_no_depth_of_a_mapping_escapes(name: str, levels: int) -> None:
    nested: Any = "x"
    for _ in range(levels):
        nested = {name: nested}
    _caught(InvalidResponse, task_from_json, {"id": "a", "status": "failed", name: nested})
    _caught(InvalidRequest, request_from_json, {**BODY, name: nested, "extra": nested})
    _caught(
        InvalidRequest, request_from_json, {**BODY, "image": nested, "first_image": {name: nested}}
    )


def test_the_fields_of_a_task_are_those_the_converter_knows() -> None:
    task = VideoTask(id="a", status=Status.QUEUED, progress=1.0)
    names: Mapping[str, object] = task_to_json(task)
    # All but `extra`, and `object`, which says the same of every task.
    assert len(names.keys() - {"object"}) == len(attrs.fields(VideoTask)) - 1


def test_a_number_that_is_none_is_never_sent() -> None:
    texts = the_violations({**BODY, "extra": {"seed": math.nan}})
    assert "a number is finite" in texts[0]
