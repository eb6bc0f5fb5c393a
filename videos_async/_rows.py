"""An entry of a journal as the columns of its row, both ways.

Nothing that opens a door is written: a task's `video_url` is a credential for a day, and its
`extra` may hold others, so neither is kept; URLs in what the service said lose their queries.
A request is kept as it is, for it is to be sent as it is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import attrs

from videos_async._states import JournalEntry, KeyState, SavedFile
from videos_async.errors import (
    AccountRefused,
    GenerationFailed,
    InvalidRequest,
    Key,
    SubmissionError,
    SubmissionRefused,
    SubmissionUncertain,
    VideoExpired,
    VideosError,
    Violation,
    shorten,
    without_signatures,
)
from videos_async.models import Status, VideoRequest, VideoTask

__all__ = [
    "COLUMNS",
    "Row",
    "changeable_of",
    "entry_from_row",
    "is_writable",
    "key_from_text",
    "key_to_text",
    "request_to_text",
    "row_of",
]

Row: TypeAlias = tuple[Any, ...]

COLUMNS: Final = (
    "position",
    "key",
    "request",
    "state",
    "planned_at",
    "intent_at",
    "changed_at",
    "task_id",
    "task",
    "error",
    "file",
    "rearmed",
    "idempotency",
)
"""The columns of a row, in the order in which they are read and written."""

# Beyond these digits Python refuses to write a number down in decimal.
_DECIMAL_LIMIT_BITS: Final = 4096
# Longer texts stand in the request, whole.
_VALUE_LIMIT: Final = 120

_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def row_of(entry: JournalEntry) -> Row:
    """Write an entry as the values of `COLUMNS`.

    Raises:
        ValueError: The request is nothing that JSON can hold.
    """
    return (
        entry.position,
        key_to_text(entry.key),
        request_to_text(entry.request),
        *changeable_of(entry),
    )


def changeable_of(entry: JournalEntry) -> Row:
    """Write what can change of an entry: all columns from ``state`` on."""
    return (
        entry.state.value,
        entry.planned_at,
        entry.intent_at,
        entry.changed_at,
        entry.task_id,
        None if entry.task is None else _task_to_text(entry.task),
        None if entry.error is None else _error_to_text(entry.error),
        None if entry.file is None else _encode(attrs.asdict(entry.file)),
        entry.rearmed,
        entry.idempotency,
    )


def entry_from_row(
    row: Row, given: Mapping[Key, VideoRequest] = MappingProxyType({})
) -> JournalEntry:
    """Read an entry from the values of `COLUMNS`.

    Args:
        row: The values.
        given: Requests that are at hand, and need not be read.

    Raises:
        ValueError: The row is nothing that this library wrote.
    """
    fields = dict(zip(COLUMNS, row, strict=True))
    try:
        key, task_id = key_from_text(fields["key"]), fields["task_id"]
        request = given.get(key) or _request_from_text(fields["request"])
        task = None if fields["task"] is None else _task_from_text(task_id, fields["task"])
        error, file = fields["error"], fields["file"]
        return JournalEntry(
            position=fields["position"],
            key=key,
            request=request,
            state=KeyState(fields["state"]),
            planned_at=fields["planned_at"],
            intent_at=fields["intent_at"],
            changed_at=fields["changed_at"],
            task_id=task_id,
            task=task,
            error=None if error is None else _error_from_text(error, key, request, task_id, task),
            file=None if file is None else SavedFile(**json.loads(file)),
            rearmed=fields["rearmed"],
            idempotency=fields["idempotency"],
        )
    except (TypeError, KeyError, AttributeError, RecursionError) as flaw:
        raise ValueError(f"{type(flaw).__name__}: {flaw}") from None


# --- the key and the request ---------------------------------------------------------------


def key_to_text(key: Key) -> str:
    """Write a key; the number 7 and the text "7" are two."""
    if isinstance(key, str):
        return _encode(key)
    return f"{key:d}" if key.bit_length() <= _DECIMAL_LIMIT_BITS else _encode([f"{key:#x}"])


def key_from_text(text: str) -> Key:
    """Read what `key_to_text` wrote.

    Raises:
        ValueError: It is something else.
    """
    match json.loads(text):
        case str() as name:
            return name
        case int() as number if not isinstance(number, bool):
            return number
        case [str() as digits]:
            return int(digits, 16)
        case _:
            pass
    raise ValueError(f"a key is text or a number, not {text}")


_DEFAULTS: Final[Mapping[str, Any]] = {
    field.name: getattr(VideoRequest(prompt="", duration=0), field.name)
    for field in attrs.fields(VideoRequest)
}
_ALWAYS: Final = frozenset({"prompt", "duration"})


def request_to_text(request: VideoRequest) -> str:
    """Write a request whole, under the Python names.

    Raises:
        ValueError: It is nothing that JSON can hold.
    """
    given = {name: getattr(request, name) for name in _DEFAULTS}
    told = {
        name: value for name, value in given.items() if name in _ALWAYS or value != _DEFAULTS[name]
    }
    try:
        return _encode(told)
    except (TypeError, RecursionError) as flaw:
        raise ValueError(f"the request cannot be written as JSON: {flaw}") from None


def is_writable(request: VideoRequest) -> bool:
    """Tell whether a request can be written down; one that cannot breaks rules as well."""
    try:
        request_to_text(request)
    except ValueError:
        return False
    return True


def _request_from_text(text: str) -> VideoRequest:
    return VideoRequest(**json.loads(text))


# --- the task ------------------------------------------------------------------------------


def _task_to_text(task: VideoTask) -> str:
    told: dict[str, Any] = {"status": str(task.status), "created": task.created}
    if task.model is not None:
        told["model"] = task.model
    if task.actual_duration is not None:
        told["actual_duration"] = task.actual_duration
    if task.progress is not None:
        told["progress"] = task.progress
    if task.error is not None:
        told["error"] = without_signatures(task.error)
    return _encode(told)


def _task_from_text(task_id: str, text: str) -> VideoTask:
    told: dict[str, Any] = json.loads(text)
    return VideoTask(id=task_id, status=Status(told.pop("status")), **told)


# --- the error -----------------------------------------------------------------------------

_SUBMISSION_ERRORS: Final[Mapping[str, type[SubmissionError]]] = {
    kind.__name__: kind for kind in (AccountRefused, SubmissionRefused, SubmissionUncertain)
}


def _error_to_text(error: VideosError) -> str:
    told: dict[str, Any] = {"kind": type(error).__name__}
    match error:
        case SubmissionError():
            told |= {
                "reason": without_signatures(error.reason),
                "http_status": error.http_status,
                "service_message": _told(error.service_message),
                "task_id": error.task_id,
                "attempts": error.attempts,
            }
        case InvalidRequest():
            told["violations"] = [
                [violation.field, violation.rule, _value_to_tell(violation.value)]
                for violation in error.violations
            ]
        case GenerationFailed():
            told["reason"] = _told(error.reason)
        case VideoExpired():
            told |= {
                "target": error.target,
                "reason": without_signatures(error.reason),
                "age_s": error.age_s,
                "http_status": error.http_status,
            }
        case _:
            raise TypeError(f"a {told['kind']} ends no key of a journal")
    return _encode(told)


def _error_from_text(
    text: str, key: Key, request: VideoRequest, task_id: str | None, task: VideoTask | None
) -> VideosError:
    told: dict[str, Any] = json.loads(text)
    kind = told.pop("kind")
    if kind in _SUBMISSION_ERRORS:
        return _SUBMISSION_ERRORS[kind](request=request, key=key, **told)
    if kind == InvalidRequest.__name__:
        violations = tuple(
            Violation(field=field, rule=rule, value=value)
            for field, rule, value in told["violations"]
        )
        return InvalidRequest(violations=violations, key=key)
    if task_id is None:
        raise ValueError(f"a {kind} has a task")
    if kind == GenerationFailed.__name__:
        return GenerationFailed(task_id=task_id, task=task, key=key, reason=told["reason"])
    if kind == VideoExpired.__name__:
        return VideoExpired(task_id=task_id, **told)
    raise ValueError(f"a {kind} ends no key of a journal")


def _value_to_tell(value: object) -> object:
    """Keep of a value what its error's text says of it."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and value.bit_length() < _DECIMAL_LIMIT_BITS:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, str) and len(value) <= _VALUE_LIMIT:
        return without_signatures(value)
    return shorten(value)


def _told(text: str | None) -> str | None:
    return None if text is None else without_signatures(text)
