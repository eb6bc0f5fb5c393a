"""What the outcome of a call means, and when to try again.

A create call is billed the moment the service accepts it, and a repeated one is billed again.
So its outcome is judged by what can be known, not by the exception that happens to be raised:

===================================================  ==================  =====================
outcome                                              meaning             verdict
===================================================  ==================  =====================
anything before a byte of the body could leave       not accepted        `Resend`
429                                                  not accepted        `Resend`, all slow down
a refusing status, an envelope that refuses,
2xx with status ``failed``                           refused             `Refused`
401, 402, 403                                        account refused     `Refused`, account
2xx with an id                                       accepted            `Accepted`
2xx without a usable id                              accepted, id lost   `Uncertain`
everything else once bytes left: reset, time-out,
408, 409, 5xx, a redirect, an unknown status         maybe accepted      `Uncertain`
===================================================  ==================  =====================

A result call is free and repeatable: a bad answer is `Trouble` and never a verdict on the task.
Which statuses refuse is data: see `RetryPolicy`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias, cast

import attrs

from videos_async._converter import find_message, find_task_id, task_from_answer
from videos_async._settings import at_least, whole_at_least
from videos_async.errors import InvalidResponse, Key, QueryFailed, QueryRefused, TaskNotFound
from videos_async.models import Status, VideoTask

__all__ = [
    "Accepted",
    "Outcome",
    "Refused",
    "Resend",
    "RetryBudget",
    "RetryPolicy",
    "Seen",
    "Trouble",
    "Uncertain",
    "judge_query",
    "judge_submission",
    "query_error",
]


def _statuses(value: Iterable[int]) -> frozenset[int]:
    """Freeze a set; a plain ``converter=frozenset`` would not type-check for whoever gives one."""
    return frozenset(value)


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How calls are tried again, and which answers are a refusal.

    Attributes:
        max_attempts: Most tries of one call, the first included. Only a create call that was
            certainly not accepted is tried again. A poll that has failed so often in a row is
            from then on made at its regular interval.
        base_s: Longest pause before the second try, in seconds; it doubles with every try and
            the pause is drawn uniformly from zero to it (full jitter).
        cap_s: Longest pause between two tries, in seconds.
        retry_after_cap_s: Longest ``Retry-After`` that is obeyed in full, in seconds.
        refused_statuses: HTTP statuses by which the service refuses one request.
        account_statuses: HTTP statuses by which it refuses the account.
    """

    max_attempts: int = attrs.field(default=6, validator=whole_at_least(1))
    base_s: float = attrs.field(default=1.0, validator=at_least(0))
    cap_s: float = attrs.field(default=30.0, validator=at_least(0))
    retry_after_cap_s: float = attrs.field(default=300.0, validator=at_least(0))
    refused_statuses: frozenset[int] = attrs.field(
        default=frozenset({400, 404, 405, 413, 415, 422}), converter=_statuses
    )
    account_statuses: frozenset[int] = attrs.field(
        default=frozenset({401, 402, 403}), converter=_statuses
    )

    def pause_s(
        self, attempt: int, *, retry_after_s: float | None, random: Callable[[], float]
    ) -> float:
        """Tell how long to pause after the given try (1 is the first).

        Args:
            attempt: The try that just went wrong.
            retry_after_s: What the service asked for; obeyed up to the cap.
            random: Draws from 0 to 1.
        """
        pause_s = random() * min(self.cap_s, self.base_s * 2.0 ** min(attempt - 1, 60))
        if retry_after_s is not None:
            # The jitter goes on top: all that were told the same second must not return in it.
            return min(retry_after_s, self.retry_after_cap_s) + min(pause_s, self.base_s)
        return pause_s


class RetryBudget:
    """What keeps free retries from doubling the load on a service that is down.

    A retry takes a token and a good answer gives a tenth of one back, so that in the long run at
    most one call in ten is a retry.

    Source: the retry throttling of gRPC (gRFC A6).
    """

    __slots__ = ("_capacity_tenths", "_tenths")

    def __init__(self, capacity: int = 50) -> None:
        # In tenths of a token, as ten times 0.1 is not quite 1.
        self._tenths = self._capacity_tenths = 10 * capacity

    def spend(self) -> bool:
        """Take a token for a retry; False when there is none."""
        if self._tenths < 10:
            return False
        self._tenths -= 10
        return True

    def refill(self) -> None:
        """Give back a tenth of a token for a good answer."""
        self._tenths = min(self._capacity_tenths, self._tenths + 1)


# Not frozen: it lives for a moment, and freezing would double its price.
@attrs.define(kw_only=True)
class Outcome:
    """What is known of one exchange with the service.

    Attributes:
        sent: Whether a byte of the request's body may have left this machine.
        status: The HTTP status, or None where no answer came.
        answer: The parsed body, or None where there is none that can be read.
        salvage: An id seen in a body that could not be read in full, or None.
        retry_after_s: What the service asked to wait, in seconds, or None.
        trouble: What went wrong on the way, in words, or None where all was well.
    """

    sent: bool
    status: int | None = None
    answer: object = None
    salvage: str | None = None
    retry_after_s: float | None = None
    trouble: str | None = None


# --- a create call -------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Accepted:
    """Billed, and its id is in hand."""

    task: VideoTask


@attrs.frozen(kw_only=True)
class Resend:
    """Certainly not accepted; the same request may go out again."""

    reason: str
    http_status: int | None = None
    message: str | None = None
    retry_after_s: float | None = None


@attrs.frozen(kw_only=True)
class Refused:
    """Certainly not accepted, and it would not be the next time either."""

    reason: str
    http_status: int
    is_account: bool = False
    message: str | None = None
    task_id: str | None = None


@attrs.frozen(kw_only=True)
class Uncertain:
    """May be billed, and no id came back."""

    reason: str
    http_status: int | None = None
    message: str | None = None


SubmissionVerdict: TypeAlias = Accepted | Resend | Refused | Uncertain


def judge_submission(outcome: Outcome, policy: RetryPolicy) -> SubmissionVerdict:
    """Judge a create call by the table at the top of this file."""
    status = outcome.status
    if status is None:
        reason = outcome.trouble or "no answer came"
        return Uncertain(reason=reason) if outcome.sent else Resend(reason=reason)
    if 200 <= status < 300 and status not in policy.refused_statuses:
        return _judge_accepted(outcome, status)
    message = find_message(outcome.answer)
    if status == 429:
        return Resend(
            reason="the service asks to slow down",
            http_status=status,
            message=message,
            retry_after_s=outcome.retry_after_s,
        )
    if status in policy.account_statuses:
        reason = "the service refuses the account"
        return Refused(reason=reason, http_status=status, is_account=True, message=message)
    if status in policy.refused_statuses:
        reason = _REASONS.get(status, "the service refuses the request")
        return Refused(reason=reason, http_status=status, message=message)
    return Uncertain(
        reason=outcome.trouble or _status_reason(status), http_status=status, message=message
    )


_REASONS: Final[Mapping[int, str]] = {
    404: "the service has no such endpoint: check the base URL",
    405: "the service does not take this call: check the base URL",
}


def _judge_accepted(outcome: Outcome, status: int) -> Accepted | Refused | Uncertain:
    answer = outcome.answer
    if _says_failed(answer):
        reason = "the service failed it at once"
        return Refused(
            reason=reason,
            http_status=status,
            message=find_message(answer),
            task_id=find_task_id(answer),
        )
    if _envelope_refuses(answer) and find_task_id(answer) is None:
        reason = "the service refuses the request"
        return Refused(reason=reason, http_status=status, message=find_message(answer))
    try:
        # The contract: the status at creation is queued. Revisions that answer with an
        # envelope leave it out.
        task = task_from_answer(answer, default_status=Status.QUEUED)
    except InvalidResponse as flaw:
        problem = f"{flaw.path} {flaw.problem}"
    else:
        return Accepted(task=task)
    task_id = find_task_id(answer) or outcome.salvage
    if task_id is not None:
        # Paid for, and its id can be read: no flaw elsewhere in the answer may cost it.
        return Accepted(task=VideoTask(id=task_id, status=Status.QUEUED))
    reason = f"the answer brought no usable id: {outcome.trouble or problem}"
    return Uncertain(reason=reason, http_status=status, message=find_message(answer))


def _says_failed(answer: object) -> bool:
    whole = _object(answer)
    return Status.FAILED in (whole.get("status"), _object(whole.get("data")).get("status"))


def _envelope_refuses(answer: object) -> bool:
    code = _object(answer).get("code")
    return code is not None and code not in ("0", 0)


def _object(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def _status_reason(status: int) -> str:
    if 300 <= status < 400:
        return "the service redirects the call, which is never followed: check the base URL"
    if status >= 500:
        return "the service or a proxy before it is in trouble"
    return "the service gave an answer that is in no document"


# --- a result call -------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Seen:
    """The task was seen.

    Attributes:
        task: What the answer says of it.
        fingerprint: Tells the answer's bytes from others; see `Unchanged`.
    """

    task: VideoTask
    fingerprint: int | None = None


@attrs.frozen
class Unchanged:
    """The answer is byte for byte the one before: nothing new, so it is not read again."""


UNCHANGED: Final = Unchanged()


@attrs.frozen(kw_only=True)
class Trouble:
    """The task was not seen; nothing is known of it that was not known before.

    Attributes:
        reason: What came instead, in words.
        http_status: The status of the answer, or None where none came.
        message: What the service said, or None.
        retry_after_s: What the service asked to wait, in seconds, or None.
        is_throttle: Whether the service asked to slow down, which is no failure.
        is_refusal: Whether the service refused to tell, which trying again rarely mends.
    """

    reason: str
    http_status: int | None = None
    message: str | None = None
    retry_after_s: float | None = None
    is_throttle: bool = False
    is_refusal: bool = False


QueryVerdict: TypeAlias = Seen | Unchanged | Trouble


def judge_query(
    outcome: Outcome, *, task_id: str, policy: RetryPolicy, fingerprint: int | None = None
) -> Seen | Trouble:
    """Judge a result call: the task, or trouble that is not held against it."""
    status = outcome.status
    if status is None:
        return Trouble(reason=outcome.trouble or "no answer came")
    if 200 <= status < 300 and outcome.trouble is None:
        try:
            return Seen(
                task=task_from_answer(outcome.answer, task_id=task_id), fingerprint=fingerprint
            )
        except InvalidResponse as flaw:
            reason = f"{flaw.path} {flaw.problem}"
        message = find_message(outcome.answer)
        return Trouble(reason=reason, http_status=status, message=message)
    message = find_message(outcome.answer)
    return Trouble(
        reason=outcome.trouble or _query_reason(status),
        http_status=status,
        message=message,
        retry_after_s=outcome.retry_after_s,
        is_throttle=status == 429,
        is_refusal=status in policy.account_statuses or status in policy.refused_statuses,
    )


def query_error(
    trouble: Trouble, *, task_id: str, task: VideoTask | None, key: Key | None, attempts: int
) -> QueryFailed | QueryRefused:
    """Make the error with which a task is given up; its id stays in hand."""
    if not trouble.is_refusal or trouble.http_status is None:
        return QueryFailed(
            task_id=task_id,
            task=task,
            key=key,
            reason=trouble.reason,
            attempts=attempts,
            http_status=trouble.http_status,
        )
    kind = TaskNotFound if trouble.http_status == 404 else QueryRefused
    return kind(
        task_id=task_id,
        task=task,
        key=key,
        reason=trouble.reason,
        http_status=trouble.http_status,
        service_message=trouble.message,
    )


def _query_reason(status: int) -> str:
    reasons = {
        401: "the service does not accept the API key",
        403: "the service does not accept the API key",
        404: "the service does not know the id, or the base URL is wrong",
        429: "the service asks to slow down",
    }
    return reasons.get(status) or _status_reason(status)
