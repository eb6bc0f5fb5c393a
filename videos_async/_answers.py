"""Answers of every published revision, brought into the one flat shape of the contract.

A body may be flat or in an envelope, the id and the URL may stand under other names, an error may
be text or an object. Nothing is judged here but what stands where; `videos_async._converter`
reads the values.
"""

from __future__ import annotations

import json
from typing import Any, Final, cast

from videos_async._scalars import WrongType, encodable, read_number
from videos_async.errors import shorten
from videos_async.models import Status, task_id_flaw

__all__ = [
    "TASK_NAMES",
    "fields_of_task",
    "find_message",
    "find_task_id",
    "ids_in",
    "is_absent",
    "path_of",
]

TASK_NAMES: Final = {
    "id": "id",
    "status": "status",
    "model": "model",
    "created": "created",
    "video_url": "video_url",
    "actual_duration": "actualDuration",
    "error": "error",
    "progress": "progress",
}
"""Python names of a task's fields to the service's own."""

_ID_NAMES: Final = ("id", "task_id", "taskId", "projectId")
_URL_NAMES: Final = ("video_url", "url", "result_url")
_MESSAGE_NAMES: Final = ("error", "message", "msg")
_DETAIL_NAMES: Final = ("message", "detail", "msg", "code")


def find_task_id(answer: object) -> str | None:
    """Find a usable id in an answer whose other fields may be beyond reading."""
    if not isinstance(answer, dict):
        return None
    found = ids_in(cast("dict[str, Any]", answer))
    return next((value for value in found if task_id_flaw(value) is None), None)


def ids_in(answer: dict[str, Any]) -> list[Any]:
    """List what stands under the names of an id, the task's own first."""
    body, _ = _unwrapped(answer)
    nested = answer.get("data")
    scopes = (body, answer, cast("dict[str, Any]", nested) if isinstance(nested, dict) else {})
    return [scope[name] for scope in scopes for name in _ID_NAMES if name in scope]


def find_message(answer: object) -> str | None:
    """Find what the service says about a failure, under any of its names."""
    # An envelope in an envelope is in no document; a hostile one may have no end.
    for _ in range(_MESSAGE_DEPTH):
        if not isinstance(answer, dict):
            return None
        whole = cast("dict[str, Any]", answer)
        answer = whole.get("data")
        # "success" on the outside is no reason for the failure inside.
        if isinstance(answer, dict) and whole.get("code") in _SUCCESS_CODES:
            continue
        for name in _MESSAGE_NAMES:
            message = _message(whole.get(name))
            if message:
                return message
    return None


_MESSAGE_DEPTH: Final = 3
_SUCCESS_CODES: Final = ("0", 0)


def _message(value: object) -> str | None:
    """Read a message that is text, or an object that holds it under one of its names."""
    for _ in range(_MESSAGE_DEPTH):
        if not isinstance(value, dict):
            break
        details = cast("dict[str, object]", value)
        value = next((details[name] for name in _DETAIL_NAMES if details.get(name)), None)
        if value is None:
            return _written(details)
    return encodable(value) if isinstance(value, str) else _written(value)


def _written(value: object) -> str | None:
    if not value:
        return None
    try:
        return json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        # Only what was no JSON to begin with.
        return shorten(value)


def fields_of_task(answer: dict[str, Any]) -> dict[str, Any]:
    """Bring an answer of any revision into the flat shape of the contract; it stays as it is."""
    body, _ = _unwrapped(answer)
    if body is not answer:
        # The id of an envelope is the call's where the task within has one of its own.
        left_out = ("data", "id") if _has_id(body) else ("data",)
        outside = {name: value for name, value in answer.items() if name not in left_out}
        given = {name: value for name, value in body.items() if value is not None}
        body = {**body, **outside, **given}
    fields = dict(body)
    extra = {name: value for name, value in body.items() if name not in _KNOWN}
    if extra.get("object") == OBJECT:
        # The contract's constant: it says nothing of the task, and a dictionary costs 200 bytes.
        del extra["object"]
    status = fields.get("status")
    if is_absent(fields.get("id")):
        _take_first("id", _ID_NAMES, fields, extra)
    # Before that, a URL under another name is not the video's.
    if is_absent(fields.get("video_url")):
        fields["video_url"] = None
        if status == Status.COMPLETED:
            _take_first("video_url", _URL_NAMES, fields, extra)
    if fields.get("error") is not None or status == Status.FAILED:
        _take_error(answer, fields, extra)
    if "progress" in fields:
        _take_progress(fields, extra)
    fields["extra"] = extra
    return fields


_KNOWN: Final = frozenset(TASK_NAMES.values())

OBJECT: Final = "video"
"""What every answer of the contract says under ``object``."""


def is_absent(value: object) -> bool:
    """Tell whether an answer says nothing here: null and the empty text count as left out."""
    return value is None or value == ""


def _unwrapped(answer: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Find the object that tells of the task, and its path within the answer."""
    nested = answer.get("data")
    if isinstance(nested, dict) and is_absent(answer.get("status")):
        inner = cast("dict[str, Any]", nested)
        if not is_absent(inner.get("status")) or (_has_id(inner) and not _has_id(answer)):
            return inner, ".data"
    return answer, ""


def _has_id(fields: dict[str, Any]) -> bool:
    return not all(is_absent(fields.get(name)) for name in _ID_NAMES)


def _take_first(
    target: str, names: tuple[str, ...], fields: dict[str, Any], extra: dict[str, Any]
) -> None:
    for name in names:
        if not is_absent(extra.get(name)):
            fields[target] = extra.pop(name)
            return


def _take_error(answer: dict[str, Any], fields: dict[str, Any], extra: dict[str, Any]) -> None:
    error = fields.get("error")
    if isinstance(error, str) and error:
        return
    message = _message(error)
    if message:
        extra["error"] = error
    elif fields.get("status") == Status.FAILED:
        message = find_message(answer)
    fields["error"] = message


def _take_progress(fields: dict[str, Any], extra: dict[str, Any]) -> None:
    """Read a number or ``"42%"``; it is undocumented, so what is neither is kept and no error."""
    progress = fields["progress"]
    try:
        fields["progress"] = read_number(
            progress.removesuffix("%").strip() if isinstance(progress, str) else progress
        )
    except WrongType:
        extra["progress"] = progress
        fields["progress"] = None


def path_of(answer: dict[str, Any], field: str) -> str:
    """Find where in the answer a task's field stands, or would have to stand."""
    name = TASK_NAMES.get(field, field)
    body, prefix = _unwrapped(answer)
    for scope, where in ((body, prefix), (answer, "")):
        for candidate in _OTHER_NAMES.get(name, (name,)):
            if not is_absent(scope.get(candidate)):
                return f"${where}.{candidate}"
    return f"${prefix}.{name}"


_OTHER_NAMES: Final = {"id": _ID_NAMES, "video_url": _URL_NAMES}
