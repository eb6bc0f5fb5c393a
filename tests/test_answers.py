from __future__ import annotations

from typing import Any

import pytest

from videos_async._answers import fields_of_task, find_message, find_task_id, path_of


def _endless() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value.update(error=value, message=value, data=value, code=0)
    return value


# --- ids -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["id", "task_id", "taskId", "projectId"])
@pytest.mark.parametrize("inside", [False, True], ids=["flat", "in an envelope"])
def test_an_id_is_found_under_any_of_its_names(name: str, inside: bool) -> None:  # noqa: FBT001
    fields = {name: "video_1", "created": "nonsense"}
    assert find_task_id({"code": "0", "data": fields} if inside else fields) == "video_1"


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        "video_1",
        {},
        {"id": 5},
        {"id": ""},
        {"id": None},
        {"id": ".."},
        {"data": []},
        {"data": {}},
    ],
    ids=repr,
)
def test_no_id_is_made_up(answer: object) -> None:
    assert find_task_id(answer) is None


def test_an_id_that_can_be_none_does_not_hide_one_that_can() -> None:
    assert find_task_id({"id": 5, "task_id": "video_1"}) == "video_1"


def test_the_id_of_the_task_comes_before_that_of_the_call() -> None:
    assert find_task_id({"id": "call_1", "data": {"status": "queued", "projectId": "p"}}) == "p"


# --- messages ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        {"error": "no"},
        {"message": "no"},
        {"msg": "no"},
        {"error": {"message": "no"}},
        {"error": {"detail": "no"}},
        {"error": {"msg": "no"}},
        {"error": {"code": "no"}},
        {"error": {"message": None, "detail": "", "code": "no"}},
        {"error": {"message": {"detail": "no"}}},
        {"error": None, "message": "", "msg": "no"},
        {"error": {}, "message": "no"},
        {"code": "1001", "msg": "no", "data": None},
        {"data": {"error": "no"}},
        {"code": "0", "msg": "success", "data": {"error": {"message": "no"}}},
        {"code": 0, "message": "ok", "data": {"message": "no"}},
        {"error": "no", "message": "yes", "msg": "yes"},
        {"message": "no", "msg": "yes"},
        {"error": {"message": "no", "detail": "yes", "code": "yes"}},
    ],
    ids=repr,
)
def test_a_message_is_found_wherever_it_stands(answer: object) -> None:
    assert find_message(answer) == "no"


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        "no",
        {},
        {"error": None},
        {"error": ""},
        {"error": {}},
        {"error": False},
        {"code": "0", "msg": "ok", "data": {}},
    ],
    ids=repr,
)
def test_no_message_is_made_up(answer: object) -> None:
    assert find_message(answer) is None


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (42, "42"),
        (True, "true"),
        (["a", 1], '["a", 1]'),
        ({"reason": "policy"}, '{"reason": "policy"}'),
        ({"code": 1301}, "1301"),
        ({"message": ["a"]}, '["a"]'),
    ],
    ids=repr,
)
def test_an_error_of_no_known_shape_is_shown_as_it_came(error: object, message: str) -> None:
    assert find_message({"error": error}) == message


@pytest.mark.parametrize("error", ["half \ud83d", {"message": "half \ud83d"}, {"x": "half \ud83d"}])
def test_a_message_can_always_be_encoded(error: object) -> None:
    assert (find_message({"error": error}) or "").encode()


def test_a_message_without_an_end_is_cut() -> None:
    assert find_message({"error": _endless()})


def test_an_envelope_without_an_end_has_no_message() -> None:
    assert find_message(_endless()) is None


# --- one shape -----------------------------------------------------------------------------


def test_a_flat_answer_stays_as_it_is() -> None:
    answer = {"id": "video_1", "status": "queued", "model": "videos"}
    assert fields_of_task(answer) == {**answer, "video_url": None, "extra": {}}


def test_the_answer_itself_is_left_alone() -> None:
    answer: dict[str, Any] = {"code": 0, "data": {"taskId": "a", "status": "completed", "url": "u"}}
    before = repr(answer)
    fields_of_task(answer)
    assert repr(answer) == before


def test_what_stands_beside_the_task_in_an_envelope_is_kept() -> None:
    fields = fields_of_task({"code": 0, "trace": "t", "data": {"id": "a", "status": "x", "n": 1}})
    assert fields["extra"] == {"code": 0, "trace": "t", "n": 1}


def test_what_the_task_leaves_out_is_taken_from_the_envelope() -> None:
    fields = fields_of_task(
        {"id": "a", "created": 5, "data": {"status": "queued", "created": None}}
    )
    assert (fields["id"], fields["created"]) == ("a", 5)


def test_the_id_of_an_envelope_does_not_stand_in_for_the_tasks_own() -> None:
    fields = fields_of_task({"id": "call_1", "data": {"projectId": "p", "status": "queued"}})
    assert fields["id"] == "p"


@pytest.mark.parametrize(
    ("answer", "field", "path"),
    [
        ({"id": 5}, "id", "$.id"),
        ({"taskId": 5}, "id", "$.taskId"),
        ({}, "id", "$.id"),
        ({"data": {"projectId": 5}}, "id", "$.data.projectId"),
        ({"data": {"status": "queued"}}, "id", "$.data.id"),
        ({"id": 5, "data": {"status": "queued"}}, "id", "$.id"),
        ({"status": "completed", "result_url": 5}, "video_url", "$.result_url"),
        ({"data": {"id": "a", "created": "x"}}, "created", "$.data.created"),
        ({"created": "x", "data": {"id": "a"}}, "created", "$.created"),
        ({"actualDuration": "x"}, "actual_duration", "$.actualDuration"),
    ],
)
def test_the_path_is_where_the_value_stands(answer: dict[str, Any], field: str, path: str) -> None:
    assert path_of(answer, field) == path
