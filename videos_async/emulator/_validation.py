"""The check of a request body against the rules of its model.

Pure: a decoded JSON value goes in, a normalised request or every violation at once comes out.
Fields nobody documented are tolerated and kept, as a live service would.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeGuard, cast

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ._rules import ModelRules

__all__ = ["ALIASES", "FRAMES", "URL_PATTERN", "GenerationRequest", "Violation", "validate"]

URL_PATTERN: Final = (
    r"^[Hh][Tt][Tt][Pp][Ss]?://"
    r"([^\x00-\x20/?#@\[\]]*@)?"
    r"([^\x00-\x20/?#@:\[\]]+|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?"
    r"([/?#][^\x00-\x20]*)?$"
)
"""An absolute http or https URL: user, host, port, and the rest without blanks.

In the words that Python and JSON Schema have in common, because the document quotes it.
"""

ALIASES: Final = (("image", "first_image"), ("lastFrameImage", "last_image"))
"""The legacy names, each with the name it stands for."""

FRAMES: Final = ("first_image", "last_image")
"""The fields of the first and the last frame."""

_PLAIN_FIELDS: Final = ("model", "prompt", "duration", "ratio", "resolution", *FRAMES)
_SHOWN_CHARACTERS: Final = 80
_URL: Final = re.compile(URL_PATTERN)


@attrs.frozen(kw_only=True)
class Violation:
    """One rule that a request body breaks.

    Attributes:
        field: The name of the field in the JSON; ``$`` for the body as a whole.
        message: Field, rule and value in a sentence.
    """

    field: str
    message: str


@attrs.frozen(kw_only=True)
class GenerationRequest:
    """A request that was accepted: defaults filled in, aliases resolved.

    Attributes:
        model: The model's name.
        prompt: What to show.
        duration_s: The duration asked for, in seconds.
        ratio: Width to height, such as ``"16:9"``.
        resolution: Such as ``"720p"``.
        first_image: URL of the first frame, if any.
        last_image: URL of the last frame, if any.
        references: The URLs of each reference field that was used.
        extra: Fields that no document knows, as they came.
    """

    model: str
    prompt: str
    duration_s: int
    ratio: str
    resolution: str
    first_image: str | None
    last_image: str | None
    references: Mapping[str, tuple[str, ...]]
    extra: Mapping[str, object]


def validate(
    body: object, models: Mapping[str, ModelRules]
) -> GenerationRequest | tuple[Violation, ...]:
    """Check a decoded request body.

    Args:
        body: The JSON value as it came.
        models: The rules by model name.

    Returns:
        The normalised request, or every violation at once.
    """
    if not isinstance(body, dict):
        return (Violation(field="$", message="the body must be a JSON object"),)
    fields = cast("dict[str, object]", body)
    # null says "not given" to most servers, and several clients send it for what they leave out.
    given = {name: value for name, value in fields.items() if value is not None}
    violations = list(_resolve_aliases(given))
    model = given.get("model")
    rules = models.get(model) if isinstance(model, str) else None
    if rules is None:
        violations.append(_unknown_model(given, models))
        # Which limits hold is unknown, so only what holds for every model is checked.
        violations += [*_check_required(given), *_check_frames(given, ())]
        return tuple(violations)
    violations += _check_required(given)
    violations += _check_prompt(given, rules)
    violations += _check_duration(given, rules)
    violations += _check_choices(given, rules)
    violations += _check_frames(given, tuple(rules.reference_limits))
    for field in rules.reference_limits:
        violations += _check_references(field, given, rules)
    if violations:
        return tuple(violations)
    return _normalise(given, rules)


def _resolve_aliases(given: dict[str, object]) -> Iterator[Violation]:
    for alias, name in ALIASES:
        if alias not in given:
            continue
        value = given.pop(alias)
        if given.setdefault(name, value) != value:
            yield Violation(
                field=alias,
                message=f"parameter conflict: {alias!r} is an alias of {name!r} and both are"
                " given with different values",
            )


def _unknown_model(given: Mapping[str, object], models: Mapping[str, ModelRules]) -> Violation:
    if "model" not in given:
        return Violation(field="model", message="model is required")
    known = ", ".join(models)
    return Violation(
        field="model", message=f"model must be one of {known}, got {_shown(given['model'])}"
    )


def _check_required(given: Mapping[str, object]) -> Iterator[Violation]:
    for field in ("prompt", "duration"):
        if field not in given:
            yield Violation(field=field, message=f"{field} is required")


def _check_prompt(given: Mapping[str, object], rules: ModelRules) -> Iterator[Violation]:
    if "prompt" not in given:
        return
    prompt, limit = given["prompt"], rules.prompt_limit_characters
    length = len(prompt) if isinstance(prompt, str) else 0
    if not length or (limit is not None and length > limit):
        reach = "at least 1" if limit is None else f"1 to {limit}"
        got = f"{length} characters" if isinstance(prompt, str) else _shown(prompt)
        message = (
            f"prompt must be a string of {reach} characters for model {rules.name!r}, got {got}"
        )
        yield Violation(field="prompt", message=message)
    elif not _is_unicode(str(prompt)):
        yield Violation(field="prompt", message="prompt must be Unicode, got a lone surrogate")


def _check_duration(given: Mapping[str, object], rules: ModelRules) -> Iterator[Violation]:
    if "duration" not in given:
        return
    duration = given["duration"]
    # bool is an int to Python; true is not a duration to anybody.
    if type(duration) is not int or duration not in rules.durations_s:
        message = (
            f"duration must be an integer, {_reach(rules.durations_s)} seconds"
            f" for model {rules.name!r}, got {_shown(duration)}"
        )
        yield Violation(field="duration", message=message)


def _check_choices(given: Mapping[str, object], rules: ModelRules) -> Iterator[Violation]:
    for field, allowed in (("ratio", rules.ratios), ("resolution", rules.resolutions)):
        if field in given and given[field] not in allowed:
            message = (
                f"{field} must be one of {', '.join(allowed)} for model {rules.name!r},"
                f" got {_shown(given[field])}"
            )
            yield Violation(field=field, message=message)


def _check_frames(
    given: Mapping[str, object], reference_fields: tuple[str, ...]
) -> Iterator[Violation]:
    frames = [field for field in FRAMES if field in given]
    for field in frames:
        if not _is_absolute_url(given[field]):
            yield _not_a_url(field, given[field])
    if len(frames) == 1:
        missing = FRAMES[1 - FRAMES.index(frames[0])]
        message = f"first_image and last_image must be given together, {missing} is missing"
        yield Violation(field=missing, message=message)
    used = [field for field in reference_fields if given.get(field)]
    if frames and used:
        message = f"{' and '.join(frames)} must not be given together with {' and '.join(used)}"
        yield Violation(field=frames[0], message=message)


def _check_references(
    field: str, given: Mapping[str, object], rules: ModelRules
) -> Iterator[Violation]:
    urls = given.get(field, [])
    if not isinstance(urls, list):
        message = f"{field} must be an array of URLs, got {_shown(urls)}"
        yield Violation(field=field, message=message)
        return
    urls = cast("list[object]", urls)
    limit = rules.reference_limits[field]
    if len(urls) > limit:
        message = f"{field} must hold at most {limit} for model {rules.name!r}, got {len(urls)}"
        yield Violation(field=field, message=message)
    for index, url in enumerate(urls):
        if not _is_absolute_url(url):
            yield _not_a_url(f"{field}[{index}]", url)
    companion = rules.companions.get(field)
    if urls and companion is not None and not given.get(companion):
        message = f"{field} must come together with {companion} for model {rules.name!r}"
        yield Violation(field=field, message=message)


def _normalise(given: Mapping[str, object], rules: ModelRules) -> GenerationRequest:
    # The checks above have seen every type that is cast here.
    return GenerationRequest(
        model=rules.name,
        prompt=cast("str", given["prompt"]),
        duration_s=cast("int", given["duration"]),
        ratio=cast("str", given.get("ratio", rules.default_ratio)),
        resolution=cast("str", given.get("resolution", rules.default_resolution)),
        first_image=cast("str | None", given.get("first_image")),
        last_image=cast("str | None", given.get("last_image")),
        references={
            field: tuple(cast("list[str]", given[field]))
            for field in rules.reference_limits
            if given.get(field)
        },
        extra={
            field: value
            for field, value in given.items()
            if field not in _PLAIN_FIELDS and field not in rules.reference_limits
        },
    )


def _is_absolute_url(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and _URL.fullmatch(value) is not None


def _not_a_url(field: str, value: object) -> Violation:
    message = f"{field} must be an absolute http or https URL, got {_shown(value)}"
    return Violation(field=field, message=message)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _reach(durations_s: tuple[int, ...]) -> str:
    shortest, longest = min(durations_s), max(durations_s)
    if len(set(durations_s)) == longest - shortest + 1:
        return f"{shortest} to {longest}"
    return " or ".join(str(duration_s) for duration_s in durations_s)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
