"""The table "what a POST's outcome means", row by row, and its free counterpart."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, Final

import pytest

from videos_async import QueryFailed, QueryRefused, RetryPolicy, Status, TaskNotFound, VideoTask
from videos_async._retry import (
    Accepted,
    Outcome,
    Refused,
    Resend,
    RetryBudget,
    Seen,
    Trouble,
    Uncertain,
    judge_query,
    judge_submission,
    query_error,
)

POLICY: Final = RetryPolicy()
GOOD: Final = {"id": "video_1", "created": 5, "model": "videos", "status": "queued"}
FAR: Final = 10**6


def judged(answer: object = None, **outcome: Any) -> Accepted | Resend | Refused | Uncertain:
    given: dict[str, Any] = {"sent": True, "status": 200, "answer": answer, **outcome}
    return judge_submission(Outcome(**given), POLICY)


def polled(answer: object = None, **outcome: Any) -> Seen | Trouble:
    given: dict[str, Any] = {"sent": True, "status": 200, "answer": answer, **outcome}
    return judge_query(Outcome(**given), task_id="video_1", policy=POLICY)


def highest() -> float:
    return 1.0


def lowest() -> float:
    return 0.0


# --- a create call -------------------------------------------------------------------------


def test_whatever_went_wrong_before_a_byte_left_may_be_sent_again() -> None:
    verdict = judged(sent=False, status=None, trouble="connection refused")
    assert verdict == Resend(reason="connection refused")


def test_whatever_went_wrong_after_a_byte_left_is_uncertain() -> None:
    verdict = judged(sent=True, status=None, trouble="connection reset")
    assert verdict == Uncertain(reason="connection reset")


@pytest.mark.parametrize(("sent", "kind"), [(False, Resend), (True, Uncertain)])
def test_no_answer_and_no_trouble_is_judged_by_what_left(sent: bool, kind: type) -> None:  # noqa: FBT001
    assert isinstance(judged(sent=sent, status=None), kind)


def test_being_asked_to_slow_down_is_sent_again_when_asked_to() -> None:
    verdict = judged({"message": "busy"}, status=429, retry_after_s=7.0)
    assert isinstance(verdict, Resend)
    assert (verdict.http_status, verdict.message, verdict.retry_after_s) == (429, "busy", 7.0)


@pytest.mark.parametrize("status", [400, 404, 405, 413, 415, 422])
def test_a_refusing_status_refuses_the_request(status: int) -> None:
    verdict = judged({"error": {"message": "no"}}, status=status)
    assert isinstance(verdict, Refused)
    assert (verdict.http_status, verdict.is_account, verdict.message) == (status, False, "no")


@pytest.mark.parametrize("status", [404, 405])
def test_a_missing_endpoint_points_to_the_base_url(status: int) -> None:
    verdict = judged({"message": "No handler found for GET /v1"}, status=status)
    assert isinstance(verdict, Refused)
    assert "check the base URL" in verdict.reason


@pytest.mark.parametrize("status", [401, 402, 403])
def test_an_account_status_refuses_the_account(status: int) -> None:
    verdict = judged(status=status)
    assert isinstance(verdict, Refused)
    assert verdict.is_account


@pytest.mark.parametrize(
    "status",
    [100, 101, 300, 301, 302, 307, 308, 304, 408, 409, 410, 418, 425, 500, 502, 503, 504, 599],
)
def test_every_other_status_is_uncertain(status: int) -> None:
    verdict = judged({"message": "hm"}, status=status)
    assert isinstance(verdict, Uncertain)
    assert (verdict.http_status, verdict.message) == (status, "hm")


def test_an_id_in_an_answer_of_another_status_is_no_acceptance() -> None:
    assert isinstance(judged(GOOD, status=500), Uncertain)


def test_a_redirect_says_that_it_is_not_followed() -> None:
    verdict = judged(status=307)
    assert isinstance(verdict, Uncertain)
    assert "never followed: check the base URL" in verdict.reason


@pytest.mark.parametrize("status", [200, 201, 202, 206, 299])
def test_2xx_with_an_id_is_accepted(status: int) -> None:
    verdict = judged(GOOD, status=status)
    assert isinstance(verdict, Accepted)
    assert (verdict.task.id, verdict.task.status) == ("video_1", Status.QUEUED)


@pytest.mark.parametrize(
    "answer",
    [
        {"task_id": "video_1"},
        {"taskId": "video_1", "status": ""},
        {"data": {"id": "video_1"}},
        {"code": "0", "msg": None, "data": {"projectId": "video_1"}},
        {"code": 0, "data": {"projectId": "video_1", "status": "queued"}},
        {"code": "200", "id": "video_1"},
    ],
    ids=repr,
)
def test_an_id_under_any_name_is_accepted_as_queued(answer: object) -> None:
    verdict = judged(answer)
    assert isinstance(verdict, Accepted)
    assert (verdict.task.id, verdict.task.status) == ("video_1", Status.QUEUED)


@pytest.mark.parametrize(
    "flaw",
    [
        {"created": "yesterday"},
        {"status": 5},
        {"status": ["queued"]},
        {"model": {}},
        {"actualDuration": "long"},
        {"video_url": 5},
    ],
    ids=repr,
)
def test_one_bad_field_does_not_cost_an_id_that_is_paid_for(flaw: dict[str, Any]) -> None:
    verdict = judged({**GOOD, **flaw})
    assert isinstance(verdict, Accepted)
    assert (verdict.task.id, verdict.task.status) == ("video_1", Status.QUEUED)


def test_an_id_salvaged_from_a_body_beyond_reading_is_accepted() -> None:
    verdict = judged(None, salvage="video_1", trouble="the body is too large")
    assert isinstance(verdict, Accepted)
    assert verdict.task.id == "video_1"


@pytest.mark.parametrize(
    "answer",
    [
        {"id": "video_1", "status": "failed", "error": "policy"},
        {"id": "video_1", "status": "failed", "error": {"detail": "policy"}},
        {
            "code": "0",
            "msg": "success",
            "data": {"id": "video_1", "status": "failed", "msg": "policy"},
        },
    ],
    ids=repr,
)
def test_2xx_that_failed_at_once_is_refused_and_keeps_the_id(answer: object) -> None:
    verdict = judged(answer)
    assert isinstance(verdict, Refused)
    assert (verdict.http_status, verdict.message, verdict.task_id) == (200, "policy", "video_1")


@pytest.mark.parametrize("code", ["1001", 1001, "-1", "", [], 1.5])
def test_an_envelope_whose_code_is_not_zero_refuses(code: object) -> None:
    verdict = judged({"code": code, "msg": "no balance", "data": None})
    assert isinstance(verdict, Refused)
    assert verdict.message == "no balance"


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        "video_1",
        {},
        {"status": "queued"},
        {"message": "accepted"},
        {"id": None},
        {"id": 5},
        {"id": ""},
        {"id": ".."},
        {"id": "a\nb"},
        {"id": ["video_1"]},
        {"id": "x" * 600},
        {"code": "0", "msg": None, "data": None},
        {"code": "0", "data": {"projectId": 5}},
    ],
    ids=lambda value: repr(value)[:30],
)
def test_2xx_without_a_usable_id_is_uncertain(answer: object) -> None:
    verdict = judged(answer)
    assert isinstance(verdict, Uncertain)
    assert "the answer brought no usable id" in verdict.reason


def test_what_the_service_said_is_kept_with_the_doubt() -> None:
    verdict = judged({"message": "accepted"})
    assert isinstance(verdict, Uncertain)
    assert verdict.message == "accepted"


def test_why_the_answer_could_not_be_read_is_told() -> None:
    verdict = judged(trouble="the body is cut")
    assert isinstance(verdict, Uncertain)
    assert verdict.reason == "the answer brought no usable id: the body is cut"


def test_which_statuses_refuse_is_data() -> None:
    policy = RetryPolicy(refused_statuses=frozenset({409}), account_statuses=frozenset({418}))
    conflict, teapot, bad = (
        judge_submission(Outcome(sent=True, status=status), policy) for status in (409, 418, 400)
    )
    assert isinstance(conflict, Refused)
    assert isinstance(teapot, Refused)
    assert teapot.is_account
    assert isinstance(bad, Uncertain)


# --- a result call -------------------------------------------------------------------------


def test_a_good_answer_is_seen() -> None:
    verdict = polled(GOOD)
    assert isinstance(verdict, Seen)
    assert verdict.task.id == "video_1"


def test_an_answer_that_leaves_the_id_out_is_about_the_task_that_was_asked_for() -> None:
    verdict = polled({"status": "processing"})
    assert isinstance(verdict, Seen)
    assert verdict.task.id == "video_1"


@pytest.mark.parametrize(
    "answer",
    [None, [], {}, {"id": "video_1"}, {"id": "video_2", "status": "completed"}, {"status": 5}],
    ids=repr,
)
def test_an_answer_that_is_none_is_trouble_and_no_verdict(answer: object) -> None:
    verdict = polled(answer)
    assert isinstance(verdict, Trouble)
    assert (verdict.is_refusal, verdict.is_throttle) == (False, False)


@pytest.mark.parametrize("status", [None, 200, 301, 408, 409, 418, 500, 502, 503, 504])
def test_weather_is_no_refusal(status: int | None) -> None:
    verdict = polled(status=status, trouble="the line died" if status in (None, 200) else None)
    assert isinstance(verdict, Trouble)
    assert (verdict.is_refusal, verdict.is_throttle, verdict.http_status) == (False, False, status)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 413, 415, 422])
def test_a_refusing_status_is_a_refusal_to_tell(status: int) -> None:
    verdict = polled({"message": "no"}, status=status)
    assert isinstance(verdict, Trouble)
    assert (verdict.is_refusal, verdict.message) == (True, "no")


def test_being_asked_to_slow_down_is_no_refusal() -> None:
    verdict = polled(status=429, retry_after_s=9.0)
    assert isinstance(verdict, Trouble)
    assert (verdict.is_throttle, verdict.is_refusal, verdict.retry_after_s) == (True, False, 9.0)


def test_a_503_that_says_when_is_heard() -> None:
    verdict = polled(status=503, retry_after_s=9.0)
    assert isinstance(verdict, Trouble)
    assert verdict.retry_after_s == 9.0


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (Trouble(reason="no answer came"), QueryFailed),
        (Trouble(reason="in trouble", http_status=503), QueryFailed),
        (Trouble(reason="slow down", http_status=429, is_throttle=True), QueryFailed),
        (Trouble(reason="no", http_status=403, is_refusal=True), QueryRefused),
        (Trouble(reason="no", http_status=404, is_refusal=True), TaskNotFound),
        (Trouble(reason="gone", http_status=404), QueryFailed),
    ],
    ids=lambda value: str(getattr(value, "http_status", "")),
)
def test_a_task_that_is_given_up_ends_by_what_came_last(trouble: Trouble, kind: type) -> None:
    task = VideoTask(id="video_1", status=Status.PROCESSING)
    error = query_error(trouble, task_id="video_1", task=task, key="meadow", attempts=3)
    assert type(error) is kind
    facts = (error.task_id, error.task, error.key, error.reason, error.http_status)
    assert facts == ("video_1", task, "meadow", trouble.reason, trouble.http_status)


# --- pauses --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempt", "longest_s"), [(1, 1), (2, 2), (3, 4), (5, 16), (6, 30), (FAR, 30)]
)
@pytest.mark.parametrize(("random", "share"), [(lowest, 0.0), (lambda: 0.5, 0.5), (highest, 1.0)])
def test_a_pause_is_drawn_from_zero_to_a_bound_that_doubles(
    attempt: int, longest_s: float, random: Callable[[], float], share: float
) -> None:
    pause_s = POLICY.pause_s(attempt, retry_after_s=None, random=random)
    assert pause_s == share * longest_s


@pytest.mark.parametrize("random", [lowest, highest])
@pytest.mark.parametrize("attempt", [1, 5, FAR])
def test_what_the_service_asks_for_is_obeyed_with_a_little_jitter(
    attempt: int, random: Callable[[], float]
) -> None:
    pause_s = POLICY.pause_s(attempt, retry_after_s=20.0, random=random)
    assert 20.0 <= pause_s <= 21.0


def test_a_retry_after_beyond_the_cap_is_obeyed_up_to_it() -> None:
    assert POLICY.pause_s(1, retry_after_s=86_400.0, random=lowest) == 300.0


# --- the budget ----------------------------------------------------------------------------


def test_a_full_budget_pays_for_as_many_retries_as_it_has_tokens() -> None:
    budget = RetryBudget(3)
    assert [budget.spend() for _ in range(4)] == [True, True, True, False]


def test_ten_good_answers_pay_for_one_retry() -> None:
    budget = RetryBudget(1)
    budget.spend()
    paid: list[bool] = []
    for _ in range(20):
        budget.refill()
        paid.append(budget.spend())
    assert paid == ([False] * 9 + [True]) * 2


def test_a_budget_never_holds_more_than_at_first() -> None:
    budget = RetryBudget(2)
    for _ in range(1000):
        budget.refill()
    assert [budget.spend() for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(
    "verdict", [judged(GOOD), judged(status=500), polled(GOOD), polled(status=429)]
)
def test_a_verdict_survives_pickling(verdict: object) -> None:
    assert pickle.loads(pickle.dumps(verdict)) == verdict
