"""The one cattrs converter: requests and tasks to JSON and back, strict on types.

Out, a request carries the service's own names, its defaults said explicitly and its absent
fields left out. In, a request may use the service's names, the Python names or the legacy
aliases. An answer is read as every published revision of the service writes it: flat or in an
envelope, the id and the URL under any of their names, an error as text or as an object.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

import cattrs
from cattrs.gen import (
    make_dict_structure_fn,
    make_dict_unstructure_fn,
    override,
)

from videos_async._json import JsonFlaw, loads
from videos_async.errors import InvalidRequest, InvalidResponse, Violation
from videos_async.models import Status, VideoRequest, VideoTask, task_id_flaw
from videos_async.specs import (
    API_NAMES,
    BUILTIN_MODELS,
    LEGACY_ALIASES,
    ModelSpec,
    by_name,
    violations,
)

__all__ = [
    "find_task_id",
    "request_from_json",
    "request_to_json",
    "task_from_answer",
    "task_from_json",
    "task_to_json",
]

# --- values --------------------------------------------------------------------------------


class _WrongType(Exception):
    """A value that is not of its field's type; the text follows the field's path."""


def _strict_text(value: Any, _: Any = None) -> str:
    if not isinstance(value, str):
        raise _WrongType(f"must be text, got {_kind(value)}")
    # JSON can spell half a surrogate pair, which no terminal, log or file can hold.
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")


def _strict_id(value: Any, _: Any = None) -> str:
    if not isinstance(value, str):
        raise _WrongType(f"must be text, got {_kind(value)}")
    flaw = task_id_flaw(value)
    if flaw is not None:
        raise _WrongType(flaw)
    return value


def _strict_int(value: Any, _: Any = None) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 12:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _WrongType(f"must be a whole number, got {_kind(value)}")
    if not 0 <= value <= _LAST_SECOND:
        raise _WrongType("must be a Unix time in seconds")
    return value


_LAST_SECOND: Final = 253_402_300_799  # the end of the year 9999


def _strict_float(value: Any, _: Any = None) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise _WrongType(f"must be a number, got {_kind(value)}")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise _WrongType("must be a finite number")
    return number


def _status(value: Any, _: Any = None) -> Status:
    text = _strict_text(value)
    if not text:
        raise _WrongType("must not be empty")
    return Status(text)


def _as_it_is(value: Any, _: Any = None) -> Any:
    return value


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names: dict[type, str] = {bool: "a boolean", str: "text", dict: "an object", list: "a list"}
    return names.get(type(value), "a number")


# --- the converter -------------------------------------------------------------------------

_TASK_NAMES: Final = {
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


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    # cattrs coerces by default: int("5"), str(5). On a wire both are somebody's mistake.
    converter.register_structure_hook(str, _strict_text)
    converter.register_structure_hook(int, _strict_int)
    converter.register_structure_hook(float, _strict_float)
    converter.register_structure_hook(Status, _status)
    as_it_is = override(struct_hook=_as_it_is)
    # The values of a request pass as they are: `specs.violations` judges them all at once.
    _register(
        converter,
        VideoRequest,
        structure=dict.fromkeys((*API_NAMES, "extra"), as_it_is),
        unstructure={name: override(rename=api) for name, api in API_NAMES.items()},
    )
    renames = {name: override(rename=api) for name, api in _TASK_NAMES.items()}
    strict = {"id": override(struct_hook=_strict_id), "extra": as_it_is}
    _register(converter, VideoTask, structure={**renames, **strict}, unstructure=renames)
    return converter


def _register(
    converter: cattrs.Converter,
    kind: type[VideoRequest | VideoTask],
    *,
    structure: Mapping[str, Any],
    unstructure: Mapping[str, Any],
) -> None:
    """Register both directions of a class; `extra` is spread over the object by its writer."""
    # The generators take overrides as keyword arguments beside options of other types.
    overrides: dict[str, Any] = dict(structure)
    converter.register_structure_hook(kind, make_dict_structure_fn(kind, converter, **overrides))
    overrides = {**unstructure, "extra": override(omit=True)}
    converter.register_unstructure_hook(
        kind, make_dict_unstructure_fn(kind, converter, **overrides)
    )


_CONVERTER: Final = _make_converter()

# --- requests ------------------------------------------------------------------------------

_PYTHON_NAMES: Final = {
    **{name: name for name in API_NAMES},
    **{api: name for name, api in API_NAMES.items()},
    **LEGACY_ALIASES,
}
"""Every name a request's field may come under, to its Python name."""


def request_to_json(request: VideoRequest) -> dict[str, Any]:
    """Write a request as the body of the create call.

    Defaults are said explicitly, absent optional fields are left out, and `extra` stands
    beside the documented fields under its own names. Nothing is validated here.
    """
    body: dict[str, Any] = _CONVERTER.unstructure(request)
    # The only values of a valid request that are empty are those that were not given.
    return {**{name: value for name, value in body.items() if value}, **request.extra}


def request_from_json(
    data: bytes | str | Mapping[str, Any], *, models: Iterable[ModelSpec] = BUILTIN_MODELS
) -> VideoRequest:
    """Read a request from JSON and judge it.

    Args:
        data: JSON text, its UTF-8 bytes, or the parsed object. Fields may stand under the
            service's names (``referenceImages``), the Python names (``reference_images``) or the
            legacy aliases (``image``, ``lastFrameImage``); null means absent. Undocumented
            fields stand under ``extra``, or beside the others where the model's spec names them.
        models: The models it may name.

    Raises:
        InvalidRequest: With every violation at once; a field given twice under two names with
            different values is a parameter conflict.
    """
    table = by_name(models)
    given = _parsed(data)
    fields: dict[str, Any] = {"prompt": None, "duration": None, "extra": {}}
    sources: dict[str, str] = {}
    found: list[Violation] = []
    declared = _declared_extras(given, table)
    for name, value in given.items():
        python_name = _PYTHON_NAMES.get(name)
        if value is None:
            continue
        if name == "extra":
            fields["extra"] = {**value, **fields["extra"]} if isinstance(value, Mapping) else value
        elif python_name is None and name in declared and isinstance(fields["extra"], dict):
            fields["extra"][name] = value
        elif python_name is None:
            found.append(_unknown_field(name, value))
        elif python_name not in sources:
            fields[python_name] = value
            sources[python_name] = name
        elif not _same(fields[python_name], value):
            rule = (
                f"is a parameter conflict with {sources[python_name]}: "
                f"two names of one field have different values"
            )
            found.append(Violation(field=name, rule=rule, value=value))
    request = _CONVERTER.structure(fields, VideoRequest)
    found.extend(violations(request, table))
    if found:
        raise InvalidRequest(violations=tuple(found))
    return request


def _parsed(data: bytes | str | Mapping[str, Any]) -> Mapping[str, Any]:
    value: object = data
    if isinstance(data, (bytes, str)):
        try:
            value = loads(data)
        except JsonFlaw as flaw:
            broken = Violation(field=flaw.path, rule=f"is no JSON: {flaw.problem}", value=data)
            raise InvalidRequest(violations=(broken,)) from None
    if not isinstance(value, Mapping):
        rule = "must be a JSON object with the fields of a request"
        raise InvalidRequest(violations=(Violation(field="$", rule=rule, value=value),))
    return cast("Mapping[str, Any]", value)


def _declared_extras(given: Mapping[str, Any], table: Mapping[str, ModelSpec]) -> frozenset[str]:
    model = given.get("model", "videos")
    spec = table.get(model) if isinstance(model, str) else None
    return frozenset() if spec is None else spec.extra_fields


def _unknown_field(name: object, value: object) -> Violation:
    # A misspelled option would be billed at its default, so what is not known is not guessed.
    near = difflib.get_close_matches(name, _PYTHON_NAMES, n=1) if isinstance(name, str) else []
    hint = f" (did you mean {near[0]}?)" if near else ""
    rule = f"is not a field of a request{hint}; undocumented fields go under extra"
    return Violation(field=str(name), rule=rule, value=value)


def _same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other


# --- tasks ---------------------------------------------------------------------------------

_ID_NAMES: Final = ("id", "task_id", "taskId", "projectId")
_URL_NAMES: Final = ("video_url", "url", "result_url")
_MESSAGE_NAMES: Final = ("error", "message", "msg")
_DETAIL_NAMES: Final = ("message", "detail", "msg", "code")


def task_to_json(task: VideoTask) -> dict[str, Any]:
    """Write a task under the service's names; undocumented fields stand beside the others."""
    body: dict[str, Any] = _CONVERTER.unstructure(task)
    if task.progress is None:
        del body["progress"]
    return {**task.extra, **body}


def task_from_json(data: bytes | str | Mapping[str, Any]) -> VideoTask:
    """Read a task from an answer of the service, or from what `task_to_json` wrote.

    Raises:
        InvalidResponse: With the JSON path of what is wrong.
    """
    answer: object = data
    if isinstance(data, (bytes, str)):
        try:
            answer = loads(data)
        except JsonFlaw as flaw:
            raise InvalidResponse(path=flaw.path, problem=flaw.problem) from None
    return task_from_answer(answer)


def task_from_answer(
    answer: object, *, task_id: str | None = None, default_status: Status | None = None
) -> VideoTask:
    """Read a task from a parsed answer.

    Args:
        answer: The parsed body.
        task_id: The id that was asked for; stands in for one the answer leaves out, and an
            answer that names another one is not about this task.
        default_status: What to take for a status the answer leaves out; without it, such an
            answer is an error.

    Raises:
        InvalidResponse: With the JSON path of what is wrong.
    """
    if not isinstance(answer, dict):
        raise InvalidResponse(path="$", problem=f"must be an object, got {_kind(answer)}")
    whole = cast("dict[str, Any]", answer)
    paths: dict[str, str] = {}
    fields = _fields_of_task(whole, paths)
    if task_id is not None:
        fields.setdefault("id", task_id)
    if default_status is not None:
        fields.setdefault("status", default_status.value)
    for name in ("id", "status"):
        if name not in fields:
            raise InvalidResponse(path=f"$.{name}", problem="is missing")
    try:
        task = _CONVERTER.structure(fields, VideoTask)
    except cattrs.ClassValidationError as group:
        raise _first_problem(group, paths) from None
    if task_id is not None and task.id != task_id:
        raise InvalidResponse(path=paths.get("id", "$.id"), problem=f"is another task's: {task.id}")
    return task


def find_task_id(answer: object) -> str | None:
    """Find a usable id in an answer whose other fields may be beyond reading."""
    if not isinstance(answer, dict):
        return None
    whole = cast("dict[str, Any]", answer)
    nested = whole.get("data")
    for fields in (whole, cast("dict[str, Any]", nested) if isinstance(nested, dict) else {}):
        for name in _ID_NAMES:
            value = fields.get(name)
            if task_id_flaw(value) is None:
                return cast("str", value)
    return None


def find_message(answer: object) -> str | None:
    """Find what the service says about a failure, under any of its names."""
    if not isinstance(answer, dict):
        return None
    whole = cast("dict[str, Any]", answer)
    for name in _MESSAGE_NAMES:
        message = _message(whole.get(name))
        if message:
            return message
    nested = whole.get("data")
    return find_message(cast("object", nested)) if isinstance(nested, dict) else None


def _fields_of_task(answer: dict[str, Any], paths: dict[str, str]) -> dict[str, Any]:
    """Bring an answer of any revision into the flat shape of the contract.

    Args:
        answer: The parsed body; left as it is.
        paths: Filled with the JSON path of each field that does not stand under its own name.
    """
    body, prefix = _unwrapped(answer)
    fields: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, value in body.items():
        (fields if name in _KNOWN else extra)[name] = value
    if body is not answer:
        extra = {**{name: value for name, value in answer.items() if name != "data"}, **extra}
    for target, names in (("id", _ID_NAMES), ("video_url", _URL_NAMES)):
        _take_first(target, names, fields, extra)
    if prefix or "id" not in body:
        for target in fields:
            paths[target] = f"${prefix}.{target}"
    _take_error(fields, extra)
    _take_progress(fields, extra)
    fields["extra"] = extra
    return fields


_KNOWN: Final = frozenset(_TASK_NAMES.values())


def _unwrapped(answer: dict[str, Any]) -> tuple[dict[str, Any], str]:
    nested = answer.get("data")
    if isinstance(nested, dict) and "status" not in answer:
        inner = cast("dict[str, Any]", nested)
        named = any(name in inner for name in _ID_NAMES)
        if "status" in inner or (named and not any(name in answer for name in _ID_NAMES)):
            return inner, ".data"
    return answer, ""


def _take_first(
    target: str, names: tuple[str, ...], fields: dict[str, Any], extra: dict[str, Any]
) -> None:
    if fields.get(target) is not None:
        return
    for name in names:
        if extra.get(name) is not None:
            fields[target] = extra.pop(name)
            return


def _take_error(fields: dict[str, Any], extra: dict[str, Any]) -> None:
    error = fields.get("error")
    if isinstance(error, str) and error:
        return
    if error is not None and not isinstance(error, str):
        extra["error"] = error
    message = _message(error)
    if not message and fields.get("status") == Status.FAILED:
        message = find_message(extra)
    fields["error"] = message


def _message(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, dict):
        details = cast("dict[str, object]", value)
        for name in _DETAIL_NAMES:
            found = _message(details.get(name))
            if found:
                return found
    return json.dumps(value) if value else None


def _take_progress(fields: dict[str, Any], extra: dict[str, Any]) -> None:
    """Read a number or ``"42%"``; it is undocumented, so what is neither is kept and no error."""
    progress = fields.pop("progress", None)
    if progress is None:
        return
    try:
        fields["progress"] = _strict_float(
            progress.removesuffix("%") if isinstance(progress, str) else progress
        )
    except _WrongType:
        extra["progress"] = progress


def _first_problem(group: cattrs.ClassValidationError, paths: dict[str, str]) -> InvalidResponse:
    with_notes, without_notes = group.group_exceptions()
    for error, note in with_notes:
        name = _TASK_NAMES.get(note.name, note.name)
        path = paths.get(name, f"$.{name}")
        return InvalidResponse(path=path, problem=str(error))
    return InvalidResponse(path="$", problem=f"cannot be read: {without_notes[0]}")
