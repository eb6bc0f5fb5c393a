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

from collections.abc import Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import islice, pairwise
from typing import Any, NoReturn, TypeAlias, cast

import attrs

from videos_async._settings import whole_at_least
from videos_async._values import json_flaw, text_flaw, url_flaw
from videos_async.errors import ConfigurationError, InvalidRequest, Violation, shorten
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

DOCUMENTED_NAMES = frozenset({*API_NAMES, *API_NAMES.values(), *LEGACY_ALIASES})
"""Every name a documented field goes by."""

# Far beyond any model, and short enough to look at one by one.
_DURATION_COUNT_LIMIT = 10_000


# The three below leave what cannot be frozen as it is, for the checks to complain about.


def _durations(value: Collection[int]) -> Collection[int]:
    return tuple(value) if isinstance(value, (list, set, frozenset)) else value


def _choices(value: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, list) else value


def _names(value: AbstractSet[str] | list[str] | tuple[str, ...]) -> frozenset[str]:
    given = cast("object", value)
    return (
        frozenset(value) if isinstance(given, (set, list, tuple)) else cast("frozenset[str]", given)
    )


def _refuse(spec: ModelSpec, attribute: attrs.Attribute[Any], rule: str, value: object) -> NoReturn:
    owner = "" if attribute.name == "name" else f" of {spec.name!r}"
    raise ConfigurationError(
        setting=f"ModelSpec.{attribute.name}{owner}", problem=f"{rule}, got {shorten(value)}"
    )


def _check_name(spec: ModelSpec, attribute: attrs.Attribute[Any], value: object) -> None:
    flaw = text_flaw(value)
    if flaw is not None:
        _refuse(spec, attribute, flaw, value)


def _check_durations(spec: ModelSpec, attribute: attrs.Attribute[Any], value: object) -> None:
    durations = _items(value)
    if not 0 < len(durations) <= _DURATION_COUNT_LIMIT:
        rule = f"must be a list or a range of 1 to {_DURATION_COUNT_LIMIT} durations"
        _refuse(spec, attribute, rule, value)
    for seconds in durations:
        if not isinstance(seconds, int) or isinstance(seconds, bool) or seconds < 1:
            _refuse(spec, attribute, "must hold whole numbers of seconds, each above 0", value)


def _items(value: object) -> tuple[object, ...]:
    """Give the members of a tuple or a range; nothing else has any."""
    members = cast("Iterable[object]", value) if isinstance(value, (range, tuple)) else ()
    return tuple(islice(members, _DURATION_COUNT_LIMIT + 1))


def _check_choices(spec: ModelSpec, attribute: attrs.Attribute[Any], value: object) -> None:
    choices = _items(value)
    if not choices or any(map(text_flaw, choices)):
        _refuse(spec, attribute, "must be a list of texts, one at least", value)


def _check_names(spec: ModelSpec, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, frozenset):
        _refuse(spec, attribute, "must be a set of names of fields", value)
    for name in cast("frozenset[object]", value):
        if text_flaw(name) or name in DOCUMENTED_NAMES or name == "extra":
            _refuse(spec, attribute, "must hold names that no documented field has", name)


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

    Raises:
        ConfigurationError: When one of them cannot be the rule of a model.
    """

    name: str = attrs.field(validator=_check_name)
    durations: Collection[int] = attrs.field(
        default=range(4, 16), converter=_durations, validator=_check_durations
    )
    ratios: tuple[str, ...] = attrs.field(
        default=("16:9", "9:16", "1:1"), converter=_choices, validator=_check_choices
    )
    resolutions: tuple[str, ...] = attrs.field(
        default=("720p",), converter=_choices, validator=_check_choices
    )
    prompt_limit: int | None = attrs.field(
        default=1500, validator=whole_at_least(1, optional="for no limit")
    )
    reference_image_limit: int = attrs.field(default=4, validator=whole_at_least(0))
    reference_video_limit: int = attrs.field(default=3, validator=whole_at_least(0))
    extra_fields: frozenset[str] = attrs.field(
        default=frozenset[str](), converter=_names, validator=_check_names
    )


BUILTIN_MODELS: tuple[ModelSpec, ...] = (ModelSpec(name="videos"), ModelSpec(name="videos_fast"))
"""The two models of the contract."""

ModelTable: TypeAlias = Iterable[ModelSpec]


def by_name(models: ModelTable) -> dict[str, ModelSpec]:
    """Index a table by name; of two rows of one name the later one counts.

    Raises:
        ConfigurationError: When it is no table.
    """
    if not isinstance(cast("object", models), Iterable):
        problem = f"must be a list of ModelSpec, got {shorten(models)}"
        raise ConfigurationError(setting="models", problem=problem)
    table: dict[str, ModelSpec] = {}
    for spec in models:
        if not isinstance(cast("object", spec), ModelSpec):
            problem = f"must hold nothing but ModelSpec, got {shorten(spec)}"
            raise ConfigurationError(setting="models", problem=problem)
        table[spec.name] = spec
    return table


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
    flaw = text_flaw(prompt)
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
    ordered = sorted(set(durations))
    if len(ordered) > 1 and all(later - earlier == 1 for earlier, later in pairwise(ordered)):
        return f"between {ordered[0]} and {ordered[-1]}"
    return " or ".join(map(str, ordered))


def _choice(field: str, value: object, spec: ModelSpec | None) -> Iterator[Violation]:
    flaw = text_flaw(value)
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
        urls: object = getattr(request, field)
        if given and _is_given(urls):
            rule = f"must be empty beside {' and '.join(given)}: frames exclude references"
            yield Violation(field=field, rule=rule, value=urls)


def _is_given(urls: object) -> bool:
    # What is no list is not empty either: its own violation is told beside the exclusion.
    return not (urls is None or (isinstance(urls, tuple) and not urls))


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
    flaw = url_flaw(url)
    if flaw is not None:
        yield Violation(field=field, rule=flaw, value=url)


def _extra(extra: object) -> Iterator[Violation]:
    if not isinstance(extra, Mapping):
        yield Violation(field="extra", rule="must be a mapping of field names to JSON", value=extra)
        return
    for name, value in cast("Mapping[object, object]", extra).items():
        flaw = text_flaw(name)
        if flaw is not None:
            yield Violation(field="extra", rule=f"must have names, but a name {flaw}", value=name)
        field = f"extra[{shorten(name) if isinstance(name, str) else '…'}]"
        if name in DOCUMENTED_NAMES:
            rule = "must not repeat a documented field: give it under its own name"
            yield Violation(field=field, rule=rule, value=value)
        flaw = json_flaw(value)
        if flaw is not None:
            yield Violation(field=field, rule=flaw, value=value)
