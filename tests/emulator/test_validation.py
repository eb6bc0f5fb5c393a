from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videos_async.emulator import CONTRACT_MODELS, GenerationRequest, ModelRules
from videos_async.emulator._validation import Violation, validate

URL = "https://media.example/a.png"
VIDEOS = "model 'videos'"
OTHER_URL = "https://media.example/b.png"
MODELS = {rules.name: rules for rules in CONTRACT_MODELS}
STABLE = ModelRules(
    name="videos_stable",
    prompt_limit_characters=5000,
    durations_s=(10, 15),
    reference_limits={"referenceImages": 4, "referenceVideos": 0, "referenceAudios": 1},
    companions={"referenceAudios": "referenceImages"},
)


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "videos", "prompt": "a kitten", "duration": 5, **fields}


def without(field: str) -> dict[str, Any]:
    fields = body()
    del fields[field]
    return fields


def accepted(value: object, models: dict[str, ModelRules] | None = None) -> GenerationRequest:
    found = validate(value, MODELS if models is None else models)
    assert isinstance(found, GenerationRequest), found
    return found


def messages(value: object, models: dict[str, ModelRules] | None = None) -> list[str]:
    found = validate(value, MODELS if models is None else models)
    assert isinstance(found, tuple), found
    return [violation.message for violation in found]


def test_minimal_request_gets_the_documented_defaults() -> None:
    assert accepted(body()) == GenerationRequest(
        model="videos",
        prompt="a kitten",
        duration_s=5,
        ratio="16:9",
        resolution="720p",
        first_image=None,
        last_image=None,
        references={},
        extra={},
    )


@pytest.mark.parametrize(
    ("fields", "attribute", "value"),
    [
        ({"model": "videos_fast"}, "model", "videos_fast"),
        ({"prompt": "x"}, "prompt", "x"),
        ({"prompt": "é" * 1500}, "prompt", "é" * 1500),
        ({"duration": 4}, "duration_s", 4),
        ({"duration": 15}, "duration_s", 15),
        ({"ratio": "9:16"}, "ratio", "9:16"),
        ({"ratio": "1:1"}, "ratio", "1:1"),
        ({"ratio": None}, "ratio", "16:9"),
        ({"resolution": "720p"}, "resolution", "720p"),
        ({"first_image": URL, "last_image": OTHER_URL}, "first_image", URL),
        ({"first_image": URL, "last_image": OTHER_URL}, "last_image", OTHER_URL),
        ({"image": URL, "lastFrameImage": OTHER_URL}, "first_image", URL),
        ({"image": URL, "lastFrameImage": OTHER_URL}, "last_image", OTHER_URL),
        ({"image": URL, "first_image": URL, "last_image": URL}, "first_image", URL),
        ({"referenceImages": [URL] * 4}, "references", {"referenceImages": (URL,) * 4}),
        ({"referenceVideos": [URL] * 3}, "references", {"referenceVideos": (URL,) * 3}),
        ({"referenceVideos": []}, "references", {}),
        (
            {"referenceImages": [URL], "referenceVideos": [OTHER_URL]},
            "references",
            {"referenceImages": (URL,), "referenceVideos": (OTHER_URL,)},
        ),
        (
            {"first_image": "http://[::1]:80/a", "last_image": URL},
            "first_image",
            "http://[::1]:80/a",
        ),
        ({"first_image": f"{URL}!", "last_image": URL}, "first_image", f"{URL}!"),
        ({"autoFace": True, "x": [1]}, "extra", {"autoFace": True, "x": [1]}),
    ],
)
def test_what_the_contract_allows_is_accepted(
    fields: dict[str, Any], attribute: str, value: object
) -> None:
    assert getattr(accepted(body(**fields)), attribute) == value


@pytest.mark.parametrize("field", ["model", "prompt", "duration"])
def test_a_required_field_is_missed_when_absent_or_null(field: str) -> None:
    assert messages(without(field)) == [f"{field} is required"]
    assert messages(body(**{field: None})) == [f"{field} is required"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "sora"}, "model must be one of videos, videos_fast, got 'sora'"),
        ({"model": ["videos"]}, "model must be one of videos, videos_fast, got ['videos']"),
        (
            {"prompt": ""},
            "prompt must be a string of 1 to 1500 characters for model 'videos', got 0 characters",
        ),
        (
            {"prompt": "é" * 1501},
            f"prompt must be a string of 1 to 1500 characters for {VIDEOS}, got 1501 characters",
        ),
        (
            {"prompt": 7},
            "prompt must be a string of 1 to 1500 characters for model 'videos', got 7",
        ),
        ({"prompt": "\ud800"}, "prompt must be Unicode, got a lone surrogate"),
        ({"ratio": "4:3"}, "ratio must be one of 16:9, 9:16, 1:1 for model 'videos', got '4:3'"),
        ({"ratio": 1}, "ratio must be one of 16:9, 9:16, 1:1 for model 'videos', got 1"),
        ({"resolution": "4k"}, "resolution must be one of 720p for model 'videos', got '4k'"),
        (
            {"first_image": URL},
            "first_image and last_image must be given together, last_image is missing",
        ),
        (
            {"lastFrameImage": URL},
            "first_image and last_image must be given together, first_image is missing",
        ),
        (
            {"first_image": URL, "last_image": URL, "referenceImages": [URL]},
            "first_image and last_image must not be given together with referenceImages",
        ),
        (
            {"image": URL, "last_image": URL, "referenceVideos": [URL]},
            "first_image and last_image must not be given together with referenceVideos",
        ),
        (
            {"referenceImages": [URL] * 5},
            "referenceImages must hold at most 4 for model 'videos', got 5",
        ),
        (
            {"referenceVideos": [URL] * 4},
            "referenceVideos must hold at most 3 for model 'videos', got 4",
        ),
        ({"referenceImages": URL}, f"referenceImages must be an array of URLs, got {URL!r}"),
        (
            {"referenceImages": [URL, None]},
            "referenceImages[1] must be an absolute http or https URL, got None",
        ),
    ],
)
def test_what_the_contract_forbids_is_refused_with_field_rule_and_value(
    fields: dict[str, Any], message: str
) -> None:
    assert messages(body(**fields)) == [message]


@pytest.mark.parametrize("duration", [3, 16, 0, -5, 10**30, 5.0, "5", True, [5]])
def test_a_duration_outside_4_to_15_whole_seconds_is_refused(duration: object) -> None:
    assert messages(body(duration=duration)) == [
        f"duration must be an integer, 4 to 15 seconds for model 'videos', got {duration!r}"
    ]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.png",
        "/a.png",
        "//host/a.png",
        "ftp://host/a",
        "file:///a",
        "https://",
        "http://[",
        "https://host/a b",
        "https://host/\n",
        "data:image/png;base64,AA==",
        5,
    ],
)
def test_only_absolute_http_urls_are_accepted(url: object) -> None:
    assert messages(body(first_image=url, last_image=URL)) == [
        f"first_image must be an absolute http or https URL, got {url!r}"
    ]


@pytest.mark.parametrize(
    ("alias", "name", "partner"),
    [("image", "first_image", "last_image"), ("lastFrameImage", "last_image", "first_image")],
)
def test_an_alias_that_differs_from_its_new_name_is_a_parameter_conflict(
    alias: str, name: str, partner: str
) -> None:
    (message,) = messages(body(**{alias: OTHER_URL, name: URL, partner: URL}))
    assert message.startswith(f"parameter conflict: {alias!r} is an alias of {name!r} and both")


def test_every_violation_is_reported_at_once() -> None:
    found = validate(
        {"model": "videos", "duration": 3, "ratio": "2:1", "referenceImages": ["x"], "image": URL},
        MODELS,
    )
    assert isinstance(found, tuple)
    assert [violation.field for violation in found] == [
        "prompt",
        "duration",
        "ratio",
        "last_image",
        "first_image",
        "referenceImages[0]",
    ]


def test_an_unknown_model_does_not_hide_the_other_violations() -> None:
    found = messages({"model": "sora", "duration": 99, "first_image": "x", "last_image": URL})
    assert found == [
        "model must be one of videos, videos_fast, got 'sora'",
        "prompt is required",
        "first_image must be an absolute http or https URL, got 'x'",
    ]


@pytest.mark.parametrize("value", [None, [], "text", 5, True])
def test_a_body_that_is_no_object_is_refused(value: object) -> None:
    assert validate(value, MODELS) == (
        Violation(field="$", message="the body must be a JSON object"),
    )


def test_a_long_value_is_shortened_in_the_message() -> None:
    (message,) = messages(body(duration="9" * 100_000))
    assert len(message) < 200


def test_another_model_brings_its_own_rules() -> None:
    models = {STABLE.name: STABLE}
    request = accepted(
        body(
            model="videos_stable",
            prompt="x" * 5000,
            duration=15,
            referenceImages=[URL],
            referenceAudios=[OTHER_URL],
        ),
        models,
    )
    assert request.references == {"referenceImages": (URL,), "referenceAudios": (OTHER_URL,)}
    assert messages(
        body(
            model="videos_stable",
            duration=12,
            referenceVideos=[URL],
            referenceAudios=[URL],
        ),
        models,
    ) == [
        "duration must be an integer, 10 or 15 seconds for model 'videos_stable', got 12",
        "referenceVideos must hold at most 0 for model 'videos_stable', got 1",
        "referenceAudios must come together with referenceImages for model 'videos_stable'",
    ]


texts = st.text(st.sampled_from("a9: /\\[\x00\ud800é"), max_size=4)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.just(URL),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
field_names = st.sampled_from(
    [
        "model",
        "prompt",
        "duration",
        "ratio",
        "resolution",
        "first_image",
        "last_image",
        "image",
        "lastFrameImage",
        "referenceImages",
        "referenceVideos",
        "autoFace",
    ]
)


@given(st.dictionaries(field_names, json_values | st.sampled_from(["videos", 5, [URL]])))
def test_any_json_object_is_either_accepted_or_refused_with_a_reason(value: object) -> None:
    found = validate(value, MODELS)
    assert isinstance(found, GenerationRequest) or all(json.dumps(v.message) for v in found)


def test_rules_may_go_to_their_limits() -> None:
    rules = ModelRules(
        name="mine", prompt_limit_characters=1, durations_s=(1,), ratios=("8:1", "1:8", "16:9")
    )
    models = {"mine": rules}
    smallest = body(model="mine", prompt="x", duration=1, ratio="8:1")
    assert accepted(smallest, models).ratio == "8:1"
    assert messages({**smallest, "prompt": "xy"}, models) == [
        "prompt must be a string of 1 to 1 characters for model 'mine', got 2 characters"
    ]


def test_a_model_without_a_prompt_limit_takes_any_length_but_none() -> None:
    models = {"mine": ModelRules(name="mine", prompt_limit_characters=None)}
    accepted(body(model="mine", prompt="x" * 100_000), models)
    assert messages(body(model="mine", prompt=""), models) == [
        "prompt must be a string of at least 1 characters for model 'mine', got 0 characters"
    ]
