"""The rules a request must keep, as data: one `ModelSpec` a model, and the judge of them all.

Revisions of the service differ in their models and limits, so a limit is never code: register a
further model, or replace a built-in one, by handing the session a longer table::

    VIDEOS_STABLE = ModelSpec(
        name="videos_stable", prompt_limit=5000, extra_fields=frozenset({"referenceAudios"})
    )
    VideosSession(models=[*BUILTIN_MODELS, VIDEOS_STABLE])

Source of the built-in rows: the create call of the Videos API.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, TypeAlias, cast
from urllib.parse import urlsplit

import attrs

from videos_async.errors import InvalidRequest, Violation
from videos_async.models import VideoRequest

__all__ = ["BUILTIN_MODELS", "ModelSpec", "validate", "violations"]

API_NAMES: Mapping[str, str] = {
    "model": "model",
    "prompt": "prompt",
    "duration": "duration",
    "ratio": "ratio",
    "resolution": "resolution",
    "first_image": "first_image",
    "last_image": "last_image",
    "reference_images": "referenceImages",
    "reference_videos": "referenceVideos",
}
"""Python names to the service's own, in the order they are sent."""

LEGACY_ALIASES: Mapping[str, str] = {"image": "first_image", "lastFrameImage": "last_image"}
"""The service's old names to the Python names."""

_EXTRA_DEPTH_LIMIT = 32


@attrs.frozen(kw_only=True)
class ModelSpec:
    """What one model takes. The defaults are those of the contract's two models.

    Attributes:
        name: The value of the request's ``model``.
        durations: Allowed lengths in seconds; any collection of whole numbers.
        ratios: Allowed ratios, the first one being usual.
        resolutions: Allowed resolutions.
        prompt_limit: Most characters in a prompt, or None for no limit.
        reference_image_limit: Most reference images.
        reference_video_limit: Most reference videos.
        extra_fields: Undocumented fields that requests given as JSON may carry by name; code
            may send any through `VideoRequest.extra`.
    """

    name: str
    durations: Collection[int] = range(4, 16)
    ratios: tuple[str, ...] = attrs.field(default=("16:9", "9:16", "1:1"), converter=tuple)
    resolutions: tuple[str, ...] = attrs.field(default=("720p",), converter=tuple)
    prompt_limit: int | None = 1500
    reference_image_limit: int = 4
    reference_video_limit: int = 3
    extra_fields: frozenset[str] = attrs.field(default=frozenset(), converter=frozenset)


BUILTIN_MODELS: tuple[ModelSpec, ...] = (ModelSpec(name="videos"), ModelSpec(name="videos_fast"))
"""The two models of the contract."""

ModelTable: TypeAlias = Iterable[ModelSpec]


def by_name(models: ModelTable) -> dict[str, ModelSpec]:
    """Index a table by name; of two rows of one name the later one counts."""
    return {spec.name: spec for spec in models}


def validate(request: VideoRequest, models: ModelTable = BUILTIN_MODELS) -> None:
    """Judge a request without sending it.

    Args:
        request: The request, built with whatever values.
        models: The models it may name.

    Raises:
        InvalidRequest: With every violation at once.
    """
    found = violations(request, by_name(models))
    if found:
        raise InvalidRequest(violations=found)


def violations(request: VideoRequest, models: Mapping[str, ModelSpec]) -> tuple[Violation, ...]:
    """List every rule the request breaks, in the order of its fields; empty when it is valid."""
    spec = _known(models, request.model)
    return tuple(
        _all(
            _model(request.model, models),
            _prompt(request.prompt, spec),
            _duration(request.duration, spec),
            _choice("ratio", request.ratio, spec),
            _choice("resolution", request.resolution, spec),
            _frames(request),
            _references("reference_images", request.reference_images, spec),
            _references("reference_videos", request.reference_videos, spec),
            _extra(request.extra),
        )
    )


def _all(*groups: Iterable[Violation]) -> Iterator[Violation]:
    for group in groups:
        yield from group


def _known(models: Mapping[str, ModelSpec], name: object) -> ModelSpec | None:
    return models.get(name) if isinstance(name, str) else None


def _model(name: object, models: Mapping[str, ModelSpec]) -> Iterator[Violation]:
    if not isinstance(name, str):
        yield Violation(field="model", rule="must be text", value=name)
    elif name not in models:
        known = ", ".join(map(repr, models)) or "none"
        rule = (
            f"must be one of the models the session knows ({known}); register another with "
            "VideosSession(models=[*BUILTIN_MODELS, ModelSpec(name=…)])"
        )
        yield Violation(field="model", rule=rule, value=name)


def _prompt(prompt: object, spec: ModelSpec | None) -> Iterator[Violation]:
    flaw = _text_flaw(prompt)
    if flaw is not None:
        yield Violation(field="prompt", rule=flaw, value=prompt)
    text = prompt if isinstance(prompt, str) else ""
    if spec is not None and spec.prompt_limit is not None and len(text) > spec.prompt_limit:
        rule = (
            f"must be 1 to {spec.prompt_limit} characters for model {spec.name!r}, "
            f"is {len(text)} characters"
        )
        yield Violation(field="prompt", rule=rule, value=prompt)


def _duration(duration: object, spec: ModelSpec | None) -> Iterator[Violation]:
    if not isinstance(duration, int) or isinstance(duration, bool):
        yield Violation(field="duration", rule="must be a whole number of seconds", value=duration)
    elif spec is None:
        if duration < 1:
            yield Violation(field="duration", rule="must be at least 1 second", value=duration)
    elif duration not in spec.durations:
        rule = f"must be {_span(spec.durations)} seconds for model {spec.name!r}"
        yield Violation(field="duration", rule=rule, value=duration)


def _span(durations: Collection[int]) -> str:
    ordered = sorted(durations)
    if len(ordered) > 1 and all(later - earlier == 1 for earlier, later in pairwise(ordered)):
        return f"between {ordered[0]} and {ordered[-1]}"
    return " or ".join(map(str, ordered))


def _choice(field: str, value: object, spec: ModelSpec | None) -> Iterator[Violation]:
    flaw = _text_flaw(value)
    if flaw is not None:
        yield Violation(field=field, rule=flaw, value=value)
    elif spec is not None:
        allowed = spec.ratios if field == "ratio" else spec.resolutions
        if value not in allowed:
            rule = f"must be {' or '.join(map(repr, allowed))} for model {spec.name!r}"
            yield Violation(field=field, rule=rule, value=value)


def _frames(request: VideoRequest) -> Iterator[Violation]:
    frames = {"first_image": request.first_image, "last_image": request.last_image}
    given = {field: url for field, url in frames.items() if url is not None}
    for field, url in given.items():
        yield from _url(field, url)
    if len(given) == 1:
        missing = next(iter(frames.keys() - given.keys()))
        rule = f"must be given together with {next(iter(given))}: both frames or neither"
        yield Violation(field=missing, rule=rule, value=None)
    for field in ("reference_images", "reference_videos"):
        urls = getattr(request, field)
        if given and urls:
            rule = f"must be empty beside {' and '.join(given)}: frames exclude references"
            yield Violation(field=field, rule=rule, value=urls)


def _references(field: str, urls: object, spec: ModelSpec | None) -> Iterator[Violation]:
    if not isinstance(urls, tuple):
        yield Violation(field=field, rule="must be a list of URLs", value=urls)
        return
    items = cast("tuple[object, ...]", urls)
    if spec is not None:
        images = field == "reference_images"
        limit = spec.reference_image_limit if images else spec.reference_video_limit
        if len(items) > limit:
            rule = f"must be at most {limit} URLs for model {spec.name!r}, is {len(items)}"
            yield Violation(field=field, rule=rule, value=items)
    for index, url in enumerate(items):
        yield from _url(f"{field}[{index}]", url)


def _url(field: str, url: object) -> Iterator[Violation]:
    flaw = _text_flaw(url) or _url_flaw(cast("str", url))
    if flaw is not None:
        yield Violation(field=field, rule=flaw, value=url)


def _url_flaw(url: str) -> str | None:
    rule = "must be an absolute http or https URL"
    if any(character.isspace() or not character.isprintable() for character in url):
        return f"{rule} without spaces or control characters"
    try:
        parts = urlsplit(url)
        reachable = bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        return f"{rule} ({error})"
    return None if parts.scheme in ("http", "https") and reachable else rule


def _text_flaw(value: object) -> str | None:
    """Tell what keeps a value from being text that JSON and the service can carry."""
    if not isinstance(value, str):
        return "must be text"
    if not value:
        return "must not be empty"
    if "\0" in value:
        return "must not contain the NUL character"
    if _has_lone_surrogate(value):
        return "must be valid Unicode without lone surrogates"
    return None


def _has_lone_surrogate(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def _extra(extra: object) -> Iterator[Violation]:
    if not isinstance(extra, Mapping):
        yield Violation(field="extra", rule="must be a mapping of field names to JSON", value=extra)
        return
    taken = {*API_NAMES.values(), *API_NAMES, *LEGACY_ALIASES}
    for name, value in cast("Mapping[object, object]", extra).items():
        field = f"extra[{name!r}]"
        flaw = _text_flaw(name)
        if flaw is not None:
            yield Violation(field="extra", rule=f"must have names, but a name {flaw}", value=name)
        elif name in taken:
            rule = "must not repeat a documented field: give it under its own name"
            yield Violation(field=field, rule=rule, value=value)
        flaw = _json_flaw(value)
        if flaw is not None:
            yield Violation(field=field, rule=flaw, value=value)


def _json_flaw(root: object) -> str | None:
    """Tell what keeps a value from being JSON; iterative, so that no depth can overflow."""
    pending: list[tuple[object, int]] = [(root, 1)]
    while pending:
        value, depth = pending.pop()
        if depth > _EXTRA_DEPTH_LIMIT:
            return f"must not be nested deeper than {_EXTRA_DEPTH_LIMIT} levels"
        if isinstance(value, Mapping):
            entries = cast("Mapping[object, object]", value)
            if not all(isinstance(name, str) for name in entries):
                return "must be JSON: names of fields are text"
            pending.extend((item, depth + 1) for pair in entries.items() for item in pair)
        elif isinstance(value, (list, tuple)):
            pending.extend((item, depth + 1) for item in cast("Iterable[Any]", value))
        else:
            flaw = _scalar_flaw(value)
            if flaw is not None:
                return flaw
    return None


def _scalar_flaw(value: object) -> str | None:
    if isinstance(value, str):
        return (
            "must be valid Unicode without lone surrogates" if _has_lone_surrogate(value) else None
        )
    if isinstance(value, float) and not math.isfinite(value):
        return "must be JSON: a number is finite"
    if isinstance(value, int) and value.bit_length() > 1024:
        return "must be JSON that others can read: a whole number has at most 1024 bits"
    if value is None or isinstance(value, (bool, int, float)):
        return None
    return "must be JSON: text, numbers, true, false, null, lists and mappings"
