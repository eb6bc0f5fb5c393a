from __future__ import annotations

from typing import Any, Final

import attrs
import pytest

from videos_async import (
    BUILTIN_MODELS,
    ConfigurationError,
    InvalidRequest,
    ModelSpec,
    VideoRequest,
    Violation,
    validate,
)
from videos_async.specs import by_name

IMAGE: Final = "https://a.example/1.png"
VIDEO: Final = "https://a.example/1.mp4"
STABLE: Final = ModelSpec(
    name="videos_stable", prompt_limit=5000, extra_fields=frozenset({"referenceAudios"})
)


PLAIN: Final[dict[str, Any]] = {"prompt": "A kitten on a meadow", "duration": 5}


def a_request(**fields: Any) -> VideoRequest:
    return VideoRequest(**PLAIN | fields)


def found_in(*models: ModelSpec, **fields: Any) -> list[Violation]:
    try:
        validate(a_request(**fields), models or BUILTIN_MODELS)
    except InvalidRequest as error:
        return list(error.violations)
    return []


def the_violation(*models: ModelSpec, **fields: Any) -> str:
    (violation,) = found_in(*models, **fields)
    return str(violation)


# --- what is valid -------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["videos", "videos_fast"])
@pytest.mark.parametrize("duration", range(4, 16))
def test_every_duration_of_the_contract_is_valid(model: str, duration: int) -> None:
    assert not found_in(model=model, duration=duration)


@pytest.mark.parametrize("ratio", ["16:9", "9:16", "1:1"])
def test_every_ratio_of_the_contract_is_valid(ratio: str) -> None:
    assert not found_in(ratio=ratio)


@pytest.mark.parametrize(
    "prompt", ["x", "x" * 1500, "視" * 1500, "🐈" * 1500, " ", "a\nb\tc", "\x01"]
)
def test_a_prompt_of_1_to_1500_code_points_is_valid(prompt: str) -> None:
    assert not found_in(prompt=prompt)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"first_image": IMAGE, "last_image": IMAGE},
        {"reference_images": [IMAGE] * 4},
        {"reference_videos": [VIDEO] * 3},
        {"reference_images": [IMAGE] * 4, "reference_videos": [VIDEO] * 3},
    ],
    ids=["text", "frames", "images", "videos", "images and videos"],
)
def test_every_mode_of_the_contract_is_valid(fields: dict[str, Any]) -> None:
    assert not found_in(**fields)


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example/1.png",
        "http://a.example",
        "HTTPS://A.EXAMPLE/1.PNG",
        "https://a.example:8443/1.png?X-Signature=a%2Fb#part",
        "http://192.0.2.1:1/1.png",
        "http://[2001:db8::1]:8080/1.png",
        "https://user:password@a.example/1.png",
        "https://bücher.example/視.png",
        "https://a.example:65535/",
        "https://a.example/" + "x" * 10_000,
    ],
)
@pytest.mark.parametrize("field", ["first_image", "reference_images", "reference_videos"])
def test_every_absolute_http_url_is_valid(field: str, url: str) -> None:
    fields = {"first_image": url, "last_image": url} if field == "first_image" else {field: [url]}
    assert not found_in(**fields)


@pytest.mark.parametrize(
    "value",
    [
        True,
        None,
        0,
        -1.5,
        10**308,
        "",
        "視",
        [],
        {},
        [1, [2, [3]]],
        {"a": {"b": [None]}},
        ("a", "b"),
    ],
    ids=repr,
)
def test_any_json_may_be_sent_under_an_undocumented_name(value: object) -> None:
    assert not found_in(extra={"autoFace": value})


# --- prompt --------------------------------------------------------------------------------


@pytest.mark.parametrize("character", ["x", "視", "🐈"])
def test_a_prompt_of_1501_code_points_is_refused(character: str) -> None:
    text = the_violation(prompt=character * 1501)
    assert "prompt must be 1 to 1500 characters for model 'videos', is 1501 characters" in text


@pytest.mark.parametrize(
    ("prompt", "rule"),
    [
        ("", "must not be empty"),
        (None, "must be text"),
        (5, "must be text"),
        (True, "must be text"),
        (b"kitten", "must be text"),
        (["kitten"], "must be text"),
        ("kit\0ten", "must not contain the NUL character"),
        ("\0", "must not contain the NUL character"),
        ("kit\ud83dten", "must be valid Unicode without lone surrogates"),
        ("\udc08", "must be valid Unicode without lone surrogates"),
    ],
    ids=repr,
)
def test_a_prompt_that_is_no_plain_text_is_refused(prompt: object, rule: str) -> None:
    assert the_violation(prompt=prompt).startswith(f"prompt {rule}, got ")


def test_a_prompt_may_break_two_rules_at_once() -> None:
    rules = [violation.rule for violation in found_in(prompt="\0" * 1501)]
    assert rules == [
        "must not contain the NUL character",
        "must be 1 to 1500 characters for model 'videos', is 1501 characters",
    ]


# --- duration ------------------------------------------------------------------------------


@pytest.mark.parametrize("duration", [3, 16, 0, -5, 10**400], ids=lambda n: str(n)[:5])
def test_a_duration_out_of_range_is_refused(duration: int) -> None:
    rule = "duration must be between 4 and 15 seconds for model 'videos', got "
    assert the_violation(duration=duration).startswith(rule)


@pytest.mark.parametrize("duration", [True, 5.0, 4.5, float("nan"), "5", "", None, [5]], ids=repr)
def test_a_duration_that_is_no_whole_number_is_refused(duration: object) -> None:
    assert the_violation(duration=duration).startswith("duration must be a whole number of seconds")


@pytest.mark.parametrize(
    ("durations", "rule"),
    [
        ([10, 15], "must be 10 or 15 seconds"),
        ([15, 10, 10], "must be 10 or 15 seconds"),
        ({6, 5, 4}, "must be between 4 and 6 seconds"),
        (range(2, 10, 2), "must be 2 or 4 or 6 or 8 seconds"),
        ([7], "must be 7 seconds"),
    ],
)
def test_the_rule_names_the_durations_of_the_model(durations: Any, rule: str) -> None:
    spec = ModelSpec(name="videos", durations=durations)
    assert the_violation(spec, duration=100).startswith(f"duration {rule} for model 'videos'")


# --- ratio and resolution ------------------------------------------------------------------


def test_an_unknown_ratio_is_refused_with_those_there_are() -> None:
    rule = "ratio must be '16:9' or '9:16' or '1:1' for model 'videos', got '4:3'"
    assert the_violation(ratio="4:3") == rule


def test_an_unknown_resolution_is_refused_with_the_one_there_is() -> None:
    rule = "resolution must be '720p' for model 'videos', got '1080p'"
    assert the_violation(resolution="1080p") == rule


@pytest.mark.parametrize("field", ["ratio", "resolution"])
@pytest.mark.parametrize(
    "value", [None, 5, True, "", "16:9\0", "\ud800", " 16:9", "16:9\n"], ids=repr
)
def test_a_choice_that_is_none_is_refused(field: str, value: object) -> None:
    assert the_violation(**{field: value}).startswith(f"{field} must ")


# --- model ---------------------------------------------------------------------------------


def test_an_unknown_model_is_refused_with_the_known_ones_and_the_way_to_register_it() -> None:
    text = the_violation(model="videos_pro")
    assert "'videos', 'videos_fast'" in text
    assert "VideosSession(models=[*BUILTIN_MODELS, ModelSpec(name=…)])" in text


@pytest.mark.parametrize("model", [None, 5, True, ["videos"]], ids=repr)
def test_a_model_that_is_no_text_is_refused(model: object) -> None:
    assert the_violation(model=model).startswith("model must be text")


def test_rules_that_need_no_model_are_judged_beside_an_unknown_one() -> None:
    violations = found_in(model="videos_pro", prompt="", duration=0, ratio="")
    fields = [violation.field for violation in violations]
    assert fields == ["model", "prompt", "duration", "ratio"]


def test_rules_that_need_the_model_are_left_alone_beside_an_unknown_one() -> None:
    violations = found_in(model="videos_pro", prompt="x" * 5000, duration=100, ratio="21:9")
    assert [violation.field for violation in violations] == ["model"]


# --- frames --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "missing"), [("first_image", "last_image"), ("last_image", "first_image")]
)
def test_one_frame_asks_for_the_other(given: str, missing: str) -> None:
    rule = f"{missing} must be given together with {given}: both frames or neither"
    assert the_violation(**{given: IMAGE}).startswith(rule)


@pytest.mark.parametrize("field", ["reference_images", "reference_videos"])
def test_frames_exclude_references(field: str) -> None:
    text = the_violation(first_image=IMAGE, last_image=IMAGE, **{field: [IMAGE]})
    assert text.startswith(f"{field} must be empty beside first_image and last_image")


def test_frames_exclude_both_kinds_of_references_at_once() -> None:
    fields = {"reference_images": [IMAGE], "reference_videos": [VIDEO]}
    violations = found_in(first_image=IMAGE, last_image=IMAGE, **fields)
    assert [violation.field for violation in violations] == ["reference_images", "reference_videos"]


def test_a_lone_frame_beside_references_breaks_two_rules() -> None:
    violations = found_in(first_image=IMAGE, reference_images=[IMAGE])
    assert [violation.field for violation in violations] == ["last_image", "reference_images"]


# --- references ----------------------------------------------------------------------------


@pytest.mark.parametrize(("field", "limit"), [("reference_images", 4), ("reference_videos", 3)])
def test_one_reference_too_many_is_refused(field: str, limit: int) -> None:
    text = the_violation(**{field: [IMAGE] * (limit + 1)})
    assert text.startswith(
        f"{field} must be at most {limit} URLs for model 'videos', is {limit + 1}"
    )


@pytest.mark.parametrize("field", ["reference_images", "reference_videos"])
@pytest.mark.parametrize("value", [None, IMAGE, 5, {"a": IMAGE}, {IMAGE}, range(2)], ids=repr)
def test_references_that_are_no_list_are_refused(field: str, value: object) -> None:
    assert the_violation(**{field: value}).startswith(f"{field} must be a list of URLs")


def test_each_wrong_url_is_named_by_its_place() -> None:
    violations = found_in(reference_images=[IMAGE, "", IMAGE, 5])
    fields = [violation.field for violation in violations]
    assert fields == ["reference_images[1]", "reference_images[3]"]


# --- URLs ----------------------------------------------------------------------------------

NOT_URLS: Final = [
    "",
    "a.png",
    "/a.png",
    "//a.example/a.png",
    "a.example/a.png",
    "ftp://a.example/a.png",
    "file:///etc/passwd",
    "data:image/png;base64,AAAA",
    "javascript:alert(1)",
    "https:",
    "https://",
    "https:///a.png",
    "https:/a.example/a.png",
    "https:\\\\a.example\\a.png",
    "https://:443/a.png",
    "https://user@/a.png",
    "https://a.example:0/a.png",
    "https://a.example:99999/a.png",
    "https://a.example:-1/a.png",
    "https://a.example:port/a.png",
    "https://[2001:db8::1/a.png",
    "https://[nothing]/a.png",
    "https://a.example/a b.png",
    " https://a.example/a.png",
    "https://a.example/a.png\n",
    "https://a.exa\nmple/a.png",
    "https://a.example/\ta.png",
    "https://a.example/a\x7f.png",
    "https://a.example/a\u200b.png",
    "https://a.example/a\u00a0.png",
    "https://a.example/a\0.png",
    "https://a.example/a\ud800.png",
]


@pytest.mark.parametrize("url", [*NOT_URLS, 5, True, b"https://a.example/a.png", [IMAGE]], ids=repr)
@pytest.mark.parametrize("field", ["first_image", "last_image", "reference_images[0]"])
def test_what_is_no_absolute_http_url_is_refused(field: str, url: object) -> None:
    frames = {"first_image": IMAGE, "last_image": IMAGE}
    fields = {"reference_images": [url]} if field.endswith("]") else {**frames, field: url}
    assert [violation.field for violation in found_in(**fields)] == [field]


def test_the_port_that_cannot_be_is_named() -> None:
    text = the_violation(reference_images=["https://a.example:99999/a.png"])
    assert "Port out of range" in text


# --- extra ---------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, [], "autoFace", 5], ids=repr)
def test_an_extra_that_is_no_mapping_is_refused(value: object) -> None:
    assert the_violation(extra=value).startswith("extra must be a mapping of field names to JSON")


@pytest.mark.parametrize(
    "name",
    [
        "model",
        "prompt",
        "first_image",
        "reference_images",
        "referenceImages",
        "image",
        "lastFrameImage",
    ],
)
def test_an_extra_cannot_repeat_a_documented_field(name: str) -> None:
    text = the_violation(extra={name: "x"})
    assert text.startswith(f"extra['{name}'] must not repeat a documented field")


@pytest.mark.parametrize("name", [5, None, True, ("a",), b"a", "", "a\0b", "\ud800"], ids=repr)
def test_a_name_that_is_no_text_is_refused(name: object) -> None:
    assert the_violation(extra={name: 1}).startswith("extra must have names, but a name must")


def _cycle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def _shared() -> list[Any]:
    value: list[Any] = []
    for _ in range(30):
        value = [value, value]
    return value


def _nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


NOT_JSON: Final = {
    "NaN": (float("nan"), "a number is finite"),
    "infinity": ({"a": [float("inf")]}, "a number is finite"),
    "a number of 1025 bits": (1 << 1024, "at most 1024 bits"),
    "bytes": (b"x", "text, numbers, true, false, null, lists and mappings"),
    "a set": ({1}, "text, numbers, true, false, null, lists and mappings"),
    "an object": (object(), "text, numbers, true, false, null, lists and mappings"),
    "a lone surrogate": (["\ud800"], "without lone surrogates"),
    "a lone surrogate in a name": ({"\ud800": 1}, "without lone surrogates"),
    "a name that is a number": ({"a": {1: 2}}, "names of fields are text"),
    "33 levels": (_nested(33), "deeper than 32 levels"),
    "100,000 levels": (_nested(100_000), "deeper than 32 levels"),
    "a list that holds itself": (_cycle(), "deeper than 32 levels"),
    "a list that holds one list 2**30 times over": (_shared(), "more than 10000 values"),
    "a long list": ([0] * 10_001, "more than 10000 values"),
}


@pytest.mark.parametrize(("value", "rule"), NOT_JSON.values(), ids=NOT_JSON)
def test_what_cannot_be_sent_as_json_is_refused(value: object, rule: str) -> None:
    text = the_violation(extra={"autoFace": value})
    assert text.startswith("extra['autoFace'] must ")
    assert rule in text


@pytest.mark.parametrize(
    "value", [_nested(32), [0] * 9_999, (1 << 1024) - 1], ids=["deep", "long", "big"]
)
def test_what_can_just_be_sent_is_valid(value: object) -> None:
    assert not found_in(extra={"autoFace": value})


# --- all at once ---------------------------------------------------------------------------


def test_every_violation_is_listed_at_once_in_the_order_of_the_fields() -> None:
    violations = found_in(
        model=5,
        prompt="",
        duration="5",
        ratio=None,
        resolution="",
        first_image="a.png",
        reference_images=IMAGE,
        reference_videos=["", "b.mp4"],
        extra={"model": float("nan")},
    )
    assert [violation.field for violation in violations] == [
        "model",
        "prompt",
        "duration",
        "ratio",
        "resolution",
        "first_image",
        "last_image",
        "reference_images",
        "reference_videos",
        "reference_images",
        "reference_videos[0]",
        "reference_videos[1]",
        "extra['model']",
        "extra['model']",
    ]


# --- models are data -----------------------------------------------------------------------


def test_a_registered_model_has_its_own_limits() -> None:
    request = a_request(
        model="videos_stable",
        prompt="x" * 5000,
        extra={"referenceAudios": ["https://a.example/1.mp3"]},
    )
    validate(request, [*BUILTIN_MODELS, STABLE])


def test_a_registered_model_leaves_the_others_as_they_are() -> None:
    text = the_violation(*BUILTIN_MODELS, STABLE, prompt="x" * 5000)
    assert "1 to 1500 characters for model 'videos'" in text


def test_a_built_in_model_is_replaced_by_a_later_row_of_its_name() -> None:
    wider = ModelSpec(
        name="videos",
        ratios=["21:9", "16:9", "4:3", "1:1", "3:4", "9:16"],
        prompt_limit=None,
        reference_image_limit=9,
        extra_fields={"referenceAudios", "autoFace"},
    )
    request = a_request(prompt="x" * 100_000, ratio="21:9", reference_images=[IMAGE] * 9)
    validate(request, [*BUILTIN_MODELS, wider])


def test_a_model_may_take_no_references_at_all() -> None:
    spec = ModelSpec(name="videos", reference_video_limit=0)
    assert "at most 0 URLs" in the_violation(spec, reference_videos=[VIDEO])


def test_no_model_at_all_is_said() -> None:
    with pytest.raises(InvalidRequest, match=r"the models the session knows \(none\)"):
        validate(a_request(), [])


@pytest.mark.parametrize("spec", [*BUILTIN_MODELS, STABLE, ModelSpec(name="x", durations=[10, 15])])
def test_a_spec_is_frozen_and_can_be_a_key(spec: ModelSpec) -> None:
    assert {spec: 1}[attrs.evolve(spec)] == 1


def test_a_spec_does_not_change_with_what_it_was_built_from() -> None:
    durations = [10, 15]
    spec = ModelSpec(name="x", durations=durations)
    durations.append(20)
    assert 20 not in spec.durations


WRONG_SPECS: Final[list[tuple[str, Any, str]]] = [
    ("name", "", "must not be empty"),
    ("name", None, "must be text"),
    ("name", 5, "must be text"),
    ("name", "a\0", "NUL"),
    ("durations", [], "list or a range"),
    ("durations", range(0), "list or a range"),
    ("durations", 5, "list or a range"),
    ("durations", "10", "list or a range"),
    ("durations", None, "list or a range"),
    ("durations", range(1, 10**12), "list or a range of 1 to 10000 durations"),
    ("durations", range(4), "each above 0"),
    ("durations", [10, -15], "each above 0"),
    ("durations", [10.0], "whole numbers"),
    ("durations", [True], "whole numbers"),
    ("durations", ["10"], "whole numbers"),
    ("ratios", "16:9", "list of texts"),
    ("ratios", [], "list of texts"),
    ("ratios", [16], "list of texts"),
    ("ratios", [""], "list of texts"),
    ("ratios", None, "list of texts"),
    ("resolutions", "720p", "list of texts"),
    ("resolutions", (), "list of texts"),
    ("prompt_limit", 0, "at least 1, or None for no limit"),
    ("prompt_limit", -1, "at least 1"),
    ("prompt_limit", 1.5, "whole number"),
    ("prompt_limit", True, "whole number"),
    ("reference_image_limit", -1, "at least 0"),
    ("reference_image_limit", None, "at least 0"),
    ("reference_video_limit", "3", "at least 0"),
    ("extra_fields", "referenceAudios", "set of names"),
    ("extra_fields", None, "set of names"),
    ("extra_fields", {5}, "names that no documented field has"),
    ("extra_fields", {""}, "names that no documented field has"),
    ("extra_fields", {"prompt"}, "names that no documented field has, got 'prompt'"),
    ("extra_fields", ["lastFrameImage"], "names that no documented field has"),
    ("extra_fields", ["extra"], "names that no documented field has"),
]


@pytest.mark.parametrize(("field", "value", "rule"), WRONG_SPECS, ids=repr)
def test_a_spec_that_can_be_no_models_is_refused(field: str, value: Any, rule: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ModelSpec(**dict[str, Any](name="videos_pro") | {field: value})
    assert f"ModelSpec.{field}" in str(caught.value)
    assert rule in str(caught.value)


@pytest.mark.parametrize(
    "models", [STABLE, 5, ["videos"], "videos", {"videos": STABLE}, [None]], ids=repr
)
def test_what_is_no_table_of_models_is_refused(models: Any) -> None:
    with pytest.raises(ConfigurationError, match="models must "):
        by_name(models)
