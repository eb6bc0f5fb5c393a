"""The emulated API as an OpenAPI 3.1 document: pure, and made from the rules that are in force.

It describes the service as it answers without faults; a fault that is switched on is there to
break it. Two rules of the create call do not fit into JSON Schema and stand in descriptions: an
alias beside its new name needs the same value, and a duration is written without a fraction.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from ._schemas import BAD_REQUEST, MESSAGE, NEW_TASK, TASK, VIDEO_ID, create_request

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._rules import ModelRules

__all__ = ["describe"]

_Json: TypeAlias = dict[str, Any]

_RANGE_HEADERS: Final = {
    "Accept-Ranges": ("The unit that ranges are asked for in.", {"const": "bytes"}),
    "ETag": ("The strong entity tag of the file.", {"type": "string", "pattern": '^"[0-9a-f]+"$'}),
    "Last-Modified": ("When the task was completed.", {"type": "string"}),
}
_RANGE: Final = "^bytes=([0-9]+-[0-9]*|-[0-9]+)$"
_CONTENT_RANGE: Final = "^bytes ([0-9]+-[0-9]+/[0-9]+|\\*/[0-9]+)$"
_RANGES: Final = ("bytes=0-99", "bytes=100-", "bytes=-100", "bytes=999999999-")
# What of these headers cannot be read is passed over, as RFC 9110 has it: any text is valid.
_CONDITIONS: Final = {
    "Range": (
        "One range of bytes; a request for several gets the whole file.",
        {"anyOf": [{"type": "string", "pattern": _RANGE}, {"type": "string"}], "examples": _RANGES},
    ),
    "If-Range": (
        "The entity tag or date that the range is valid for; else the whole file comes.",
        {"type": "string"},
    ),
    "If-Match": (
        "Entity tags, one of which the file must have.",
        {"type": "string", "examples": ["*"]},
    ),
    "If-None-Match": (
        "Entity tags that are known already.",
        {"type": "string", "examples": ["*", '"0123456789abcdef"']},
    ),
    "If-Modified-Since": (
        "The date of what is known already.",
        {"type": "string", "examples": ["Tue, 01 Dec 2020 00:00:00 GMT"]},
    ),
}


def describe(models: Iterable[ModelRules], *, base_path: str, version: str) -> _Json:
    """Describe the API.

    Args:
        models: The rules of the models there are.
        base_path: What the paths of the API start with.
        version: The version of the document.

    Returns:
        The document, as JSON values.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Videos API, emulated",
            "version": version,
            "summary": "One billed POST starts a video, free GETs tell how it ended.",
            "description": "True of the emulator while no fault is switched on.",
        },
        "servers": [{"url": "/", "description": "Where this document came from"}],
        "security": [{"key": []}],
        "tags": [{"name": "videos"}, {"name": "files"}],
        "paths": {
            f"{base_path}/v1/videos/videos": {"post": _create()},
            f"{base_path}/v1/result/{{id}}": {"get": _query(f"{base_path}/v1/result/{{id}}")},
            "/files/{id}.mp4": {
                "parameters": _file_parameters(),
                "get": _file("get", "Download the video of a completed task"),
                "head": _file("head", "Ask for the headers of a download"),
            },
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "CreateRequest": create_request(_alike(models)),
                "NewTask": NEW_TASK,
                "Task": TASK,
                "BadRequest": BAD_REQUEST,
                "Message": MESSAGE,
            },
        },
    }


def _alike(models: Iterable[ModelRules]) -> list[tuple[list[str], ModelRules]]:
    """Put models of the same rules together."""
    groups: defaultdict[str, list[ModelRules]] = defaultdict(list)
    for rules in models:
        groups[repr(attrs.evolve(rules, name="any"))].append(rules)
    return [([rules.name for rules in group], group[0]) for group in groups.values()]


def _create() -> _Json:
    return {
        "operationId": "createVideo",
        "tags": ["videos"],
        "summary": "Start a video; accepted means billed",
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "Written into the ledger; nothing is deduplicated by it.",
                "schema": {"type": "string"},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _schema("CreateRequest")}},
        },
        "responses": {
            "200": {
                **_json("The task, accepted and billed.", "NewTask"),
                "links": {
                    "result": {
                        "operationId": "queryResult",
                        "parameters": {"id": "$response.body#/id"},
                        "description": "How the task stands.",
                    }
                },
            },
            "400": _json(
                "The body is not JSON or breaks rules, every one of them told.", "BadRequest"
            ),
            "401": _unauthorized(),
            "413": _json("The body is larger than a mebibyte.", "Message"),
            "503": _json("The state file takes no more; nothing was accepted.", "Message"),
        },
    }


def _query(path: str) -> _Json:
    return {
        "operationId": "queryResult",
        "tags": ["videos"],
        "summary": "Ask how a task stands; free and repeatable",
        "description": "The service advises to ask every 30 to 60 seconds.",
        "parameters": [{"name": "id", "in": "path", "required": True, "schema": VIDEO_ID}],
        "responses": {
            "200": _json("The task as it stands.", "Task"),
            "401": _unauthorized(),
            "404": _json(f"There is no such task, or the path is not `{path}`.", "Message"),
        },
    }


def _file_parameters() -> list[_Json]:
    signed = {
        "expires": ("When the link expires, in seconds since the Unix epoch.", "^[0-9]+$"),
        "signature": ("The signature of id and expiry.", "^[0-9a-f]{64}$"),
    }
    return [
        {"name": "id", "in": "path", "required": True, "schema": VIDEO_ID},
        *(
            {
                "name": name,
                "in": "query",
                "required": True,
                "description": f"{description} Comes with `video_url`.",
                "schema": {"type": "string", "pattern": pattern},
            }
            for name, (description, pattern) in signed.items()
        ),
        *(
            {"name": name, "in": "header", "description": text, "schema": schema}
            for name, (text, schema) in _CONDITIONS.items()
        ),
    ]


def _file(method: str, summary: str) -> _Json:
    # In OpenAPI 3.1 raw bytes are a media type without a schema.
    whole: _Json = {"video/mp4": {}}
    described = {"404": "The task has no file.", "403": "The link is not signed, or has expired."}
    return {
        "operationId": f"{method}File",
        "tags": ["files"],
        "summary": summary,
        "description": "The address comes whole, as the `video_url` of a completed task.",
        # The signature opens the file, a key does not.
        "security": [],
        "responses": {
            "200": {"description": "The whole file.", "headers": _headers(), "content": whole},
            "206": {
                "description": "The range that was asked for.",
                "headers": _headers(_CONTENT_RANGE),
                "content": whole,
            },
            "304": {"description": "What is known is still valid.", "headers": _headers()},
            **{status: _json(text, "Message") for status, text in described.items()},
            "412": {**_json("The file has another entity tag.", "Message"), "headers": _headers()},
            "416": {
                **_json("The range starts behind the end of the file.", "Message"),
                "headers": _headers(_CONTENT_RANGE),
            },
        },
    }


def _headers(content_range: str | None = None) -> _Json:
    known = dict(_RANGE_HEADERS)
    if content_range is not None:
        known["Content-Range"] = (
            "Which bytes these are, and of how many.",
            {"type": "string", "pattern": content_range},
        )
    return {
        name: {"description": text, "required": True, "schema": schema}
        for name, (text, schema) in known.items()
    }


def _unauthorized() -> _Json:
    return {
        **_json("The key is missing or not known.", "Message"),
        "headers": {"WWW-Authenticate": {"required": True, "schema": {"const": "Bearer"}}},
    }


def _json(description: str, schema: str) -> _Json:
    content = {"application/json": {"schema": _schema(schema)}}
    return {"description": description, "content": content}


def _schema(name: str) -> _Json:
    return {"$ref": f"#/components/schemas/{name}"}
