"""The JSON Schemas of the emulated API's bodies."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ._validation import ALIASES, FRAMES, URL_PATTERN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._rules import ModelRules

__all__ = ["BAD_REQUEST", "MESSAGE", "NEW_TASK", "TASK", "VIDEO_ID", "create_request"]

_Json: TypeAlias = dict[str, Any]

VIDEO_ID: Final[_Json] = {
    "type": "string",
    "minLength": 1,
    "description": "Exactly the `id` of the create answer.",
    "examples": ["video_1234567890123456"],
}
MESSAGE: Final[_Json] = {
    "title": "Why not",
    "type": "object",
    "required": ["message"],
    "properties": {"message": {"type": "string"}},
    "additionalProperties": False,
}
BAD_REQUEST: Final[_Json] = {
    "title": "What is wrong with a request",
    "type": "object",
    "required": ["message"],
    "properties": {
        "message": {"type": "string", "description": "All of it in a line."},
        "errors": {
            "type": "array",
            "minItems": 1,
            "description": "The rules that are broken; missing where the body is not JSON.",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {
                    "field": {"type": "string", "description": "`$` is the body as a whole."},
                    "message": {"type": "string"},
                },
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}

_HEAD: Final[_Json] = {
    "id": {"type": "string", "pattern": "^video_[0-9]{16}$"},
    "object": {"const": "video"},
    "created": {"type": "integer", "description": "Unix time in seconds."},
    "model": {"type": "string"},
}
_NULL: Final[_Json] = {"type": "null"}
NEW_TASK: Final[_Json] = {
    "title": "A task that was just accepted",
    "type": "object",
    "required": [*_HEAD, "status", "error"],
    "properties": {**_HEAD, "status": {"const": "queued"}, "error": _NULL},
    "additionalProperties": False,
}


def _task(title: str, status: _Json, **rest: _Json) -> _Json:
    return {
        "title": title,
        "type": "object",
        "required": [*_HEAD, "status", *rest],
        "properties": {**_HEAD, "status": status, **rest},
        "additionalProperties": False,
    }


TASK: Final[_Json] = {
    "title": "A task as it stands",
    "oneOf": [
        _task(
            "Waiting or in work",
            {"enum": ["queued", "processing"]},
            video_url=_NULL,
            error=_NULL,
        ),
        _task(
            "Completed",
            {"const": "completed"},
            video_url={
                "type": "string",
                "format": "uri",
                "pattern": "^https?://.+/files/.+[.]mp4[?]expires=[0-9]+&signature=[0-9a-f]{64}$",
                "description": "Temporary, and open to whoever has it.",
            },
            actualDuration={"type": "number", "exclusiveMinimum": 0, "description": "Seconds."},
            error=_NULL,
        ),
        _task(
            "Failed",
            {"const": "failed"},
            video_url=_NULL,
            error={"type": "string", "description": "Why."},
        ),
    ],
}


def create_request(models: Sequence[tuple[Sequence[str], ModelRules]]) -> _Json:
    """Describe the body of the create call.

    Args:
        models: Names of models, together with the rules that they share.

    Returns:
        A JSON Schema.
    """
    schemas = [_of_models(names, rules) for names, rules in models]
    return schemas[0] if len(schemas) == 1 else {"oneOf": schemas}


def _of_models(names: Sequence[str], rules: ModelRules) -> _Json:
    prompt: _Json = {"type": "string", "minLength": 1}
    if rules.prompt_limit_characters is not None:
        prompt["maxLength"] = rules.prompt_limit_characters
    frames = {
        name: {
            **_or_null({"type": "string", "pattern": URL_PATTERN}),
            "description": f"URL of the {name.split('_')[0]} frame.",
        }
        for name in FRAMES
    }
    aliases = {
        alias: {
            **frames[name],
            "deprecated": True,
            "description": f"Legacy name of `{name}`; beside it, it must have the same value.",
        }
        for alias, name in ALIASES
    }
    return {
        "title": f"A request for {' or '.join(names)}",
        "type": "object",
        "required": ["model", "prompt", "duration"],
        "properties": {
            "model": {"enum": list(names)},
            "prompt": {**prompt, "examples": ["A cute kitten playing on a sunlit meadow"]},
            "duration": {
                "type": "integer",
                "enum": sorted(set(rules.durations_s)),
                "description": "Seconds, written without a fraction: `5`, not `5.0`.",
            },
            "ratio": {"enum": [*rules.ratios, None], "default": rules.default_ratio},
            "resolution": {"enum": [*rules.resolutions, None], "default": rules.default_resolution},
            **frames,
            **aliases,
            **{name: _references(most) for name, most in rules.reference_limits.items()},
        },
        "anyOf": [_without_frames(), *_with_frames(rules)],
        **_companions(rules),
    }


def _without_frames() -> _Json:
    absent = (*FRAMES, *(alias for alias, _ in ALIASES))
    return {
        "title": "From text, or from references as well",
        "properties": dict.fromkeys(absent, _NULL),
    }


def _with_frames(rules: ModelRules) -> list[_Json]:
    """Both frames, each under its name or its alias, and no references."""
    alias_of = {name: alias for alias, name in ALIASES}
    pairs = product(*([name, alias_of[name]] for name in FRAMES))
    everywhere = {*FRAMES, *alias_of.values()}
    return [
        {
            "title": f"From {first} to {last}",
            "required": [first, last],
            "properties": {
                **{name: {"type": "string"} for name in (first, last)},
                **dict.fromkeys(sorted(everywhere - {first, last}), _NULL),
                **{name: {"maxItems": 0} for name in rules.reference_limits},
            },
        }
        for first, last in pairs
    ]


def _references(most: int) -> _Json:
    items = {"type": "string", "pattern": URL_PATTERN}
    return {
        **_or_null({"type": "array", "items": items, "maxItems": most}),
        "description": "URLs. They exclude first and last frame.",
    }


def _companions(rules: ModelRules) -> _Json:
    some = {"type": "array", "minItems": 1}
    conditions = [
        {
            "if": {"required": [name], "properties": {name: some}},
            "then": {"required": [needed], "properties": {needed: some}},
        }
        for name, needed in rules.companions.items()
    ]
    return {"allOf": conditions} if conditions else {}


def _or_null(schema: _Json) -> _Json:
    # null says "not given" in every optional field.
    return {**schema, "type": [schema["type"], "null"]}
