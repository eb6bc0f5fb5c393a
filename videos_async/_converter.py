"""The one cattrs converter: requests and tasks to JSON and back, strict on types.

Out, a request carries the service's own names, its defaults said explicitly and its absent
fields left out. In, a request may use the service's names, the Python names or the legacy
aliases. An answer is read as every published revision of the service writes it: flat or in an
envelope, the id and the URL under any of their names, an error as text or as an object.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

import attrs
import cattrs
from cattrs.gen import (
    make_dict_structure_fn,
    make_dict_unstructure_fn,
    override,
)

from videos_async._answers import (
    OBJECT,
    TASK_NAMES,
    fields_of_task,
    find_message,
    find_task_id,
    ids_in,
    is_absent,
    path_of,
)
from videos_async._json import JsonFlaw, Names, loads
from videos_async._scalars import (
    kind_of,
    read_id,
    read_number,
    read_status,
    read_text,
    read_time,
)
from videos_async.errors import InvalidRequest, InvalidResponse, Violation, shorten
from videos_async.models import Status, VideoRequest, VideoTask
from videos_async.specs import (
    API_NAMES,
    BUILTIN_MODELS,
    LEGACY_ALIASES,
    ModelSpec,
    by_name,
    violations,
)

__all__ = [
    "find_message",
    "find_task_id",
    "request_from_json",
    "request_to_json",
    "task_from_answer",
    "task_from_json",
    "task_to_json",
]

# --- the converter -------------------------------------------------------------------------


def _as_it_is(value: Any, _: Any = None) -> Any:
    return value


def _read_model(value: Any, _: Any = None) -> str | None:
    # Of all that a task says, its model is the one text that thousands share.
    text = read_text(value)
    return None if text is None else sys.intern(text)


# cattrs coerces by default: int("5"), str(5). On a wire both are somebody's mistake.
_TASK_HOOKS: Final = {
    "id": read_id,
    "status": read_status,
    "model": _read_model,
    "created": read_time,
    "video_url": read_text,
    "actual_duration": read_number,
    "error": read_text,
    "progress": read_number,
}


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    as_it_is = override(struct_hook=_as_it_is)
    # The values of a request pass as they are, both ways: `specs.violations` judges them all.
    _register(
        converter,
        VideoRequest,
        structure=dict.fromkeys((*API_NAMES, "extra"), as_it_is),
        unstructure={
            name: override(rename=api, unstruct_hook=_as_it_is) for name, api in API_NAMES.items()
        },
    )
    _register(
        converter,
        VideoTask,
        structure={
            **{
                name: override(rename=TASK_NAMES[name], struct_hook=hook)
                for name, hook in _TASK_HOOKS.items()
            },
            "extra": as_it_is,
        },
        unstructure={name: override(rename=api) for name, api in TASK_NAMES.items()},
    )
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
# Every poll and every submission comes by here, so the converter is asked for its hooks once.
_STRUCTURE_TASK: Final = _CONVERTER.get_structure_hook(VideoTask)
_UNSTRUCTURE_REQUEST: Final = _CONVERTER.get_unstructure_hook(VideoRequest)

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
    body: dict[str, Any] = _UNSTRUCTURE_REQUEST(request)
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
    found: list[Violation] = []
    fields = _fields_of_request(given, _declared_extras(given, table), found)
    request = _CONVERTER.structure(fields, VideoRequest)
    found.extend(violations(request, table))
    if found:
        raise InvalidRequest(violations=tuple(found))
    return request


def _fields_of_request(
    given: Mapping[str, Any], declared: frozenset[str], found: list[Violation]
) -> dict[str, Any]:
    """Bring every value under its Python name; what fits nowhere is added to `found`."""
    extra = given.get("extra")
    extras = dict(cast("Mapping[str, Any]", extra)) if isinstance(extra, Mapping) else {}
    fields: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name, value in given.items():
        if value is None or name == "extra":
            continue
        target, into = _PYTHON_NAMES.get(name), fields
        if target is None and name in declared:
            target, into = name, extras
        if target is None:
            found.append(_unknown_field(name, value))
        elif target not in into:
            into[target] = value
            sources[target] = name
        elif not _is_same(into[target], value):
            rule = (
                f"is a parameter conflict with {sources.get(target, 'extra')}: "
                f"two names of one field have different values"
            )
            found.append(Violation(field=name, rule=rule, value=value))
    is_mapping = extra is None or isinstance(extra, Mapping)
    return {"prompt": None, "duration": None, **fields, "extra": extras if is_mapping else extra}


def _parsed(data: bytes | str | Mapping[str, Any]) -> Mapping[str, Any]:
    value: object = data
    if isinstance(data, (bytes, str)):
        try:
            # Of a field given twice, the value that would not count may be the one that was meant.
            value = loads(data, names=Names.UNIQUE)
        except JsonFlaw as flaw:
            broken = Violation(field=flaw.path, rule=flaw.problem, value=data)
            raise InvalidRequest(violations=(broken,)) from None
    if not isinstance(value, Mapping):
        rule = "must be a JSON object with the fields of a request"
        raise InvalidRequest(violations=(Violation(field="$", rule=rule, value=value),))
    return cast("Mapping[str, Any]", value)


def _declared_extras(given: Mapping[str, Any], table: Mapping[str, ModelSpec]) -> frozenset[str]:
    model = given.get("model") or "videos"
    spec = table.get(model) if isinstance(model, str) else None
    return frozenset() if spec is None else spec.extra_fields


def _unknown_field(name: Any, value: object) -> Violation:
    # A misspelled option would be billed at its default, so what is not known is not guessed.
    near = difflib.get_close_matches(name, _PYTHON_NAMES, n=1) if isinstance(name, str) else []
    hint = f" (did you mean {near[0]}?)" if near else ""
    rule = f"is not a field of a request{hint}; undocumented fields go under extra"
    is_plain = isinstance(name, str) and name.isidentifier() and len(name) <= _NAME_LIMIT
    return Violation(field=name if is_plain else shorten(name), rule=rule, value=value)


_NAME_LIMIT: Final = 40


def _is_same(one: object, other: object) -> bool:
    try:
        return type(one) is type(other) and bool(one == other)
    except Exception:  # noqa: BLE001 - nested too deep, or a value's own comparison
        return False


# --- tasks ---------------------------------------------------------------------------------


def task_to_json(task: VideoTask) -> dict[str, Any]:
    """Write a task under the service's names; undocumented fields stand beside the others."""
    body: dict[str, Any] = _CONVERTER.unstructure(task)
    if task.progress is None:
        del body["progress"]
    # What was no text or no number as it came stands under `extra`, and is written as it came.
    originals = {name: task.extra[name] for name in ("error", "progress") if name in task.extra}
    return {"object": OBJECT, **task.extra, **body, **originals}


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
    elif isinstance(data, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        answer = dict(data)
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
        raise InvalidResponse(path="$", problem=f"must be an object, got {kind_of(answer)}")
    whole = cast("dict[str, Any]", answer)
    fields = fields_of_task(whole)
    if task_id is not None and is_absent(fields.get("id")):
        fields["id"] = task_id
    if default_status is not None and is_absent(fields.get("status")):
        fields["status"] = default_status.value
    for name in ("id", "status"):
        if is_absent(fields.get(name)):
            raise InvalidResponse(path=path_of(whole, name), problem="is missing")
    try:
        task: VideoTask = _STRUCTURE_TASK(fields, VideoTask)
    except cattrs.ClassValidationError as group:
        raise _first_problem(group, whole) from None
    if task_id is None or task.id == task_id:
        return task
    if task_id in ids_in(whole):
        # A revision may have more than one name for a task; the one that was asked for counts.
        return attrs.evolve(task, id=task_id)
    raise InvalidResponse(path=path_of(whole, "id"), problem=f"is another task's: {task.id}")


def _first_problem(group: cattrs.ClassValidationError, answer: dict[str, Any]) -> InvalidResponse:
    with_notes, without_notes = group.group_exceptions()
    for error, note in with_notes:
        return InvalidResponse(path=path_of(answer, note.name), problem=str(error))
    return InvalidResponse(path="$", problem=f"cannot be read: {without_notes[0]}")
