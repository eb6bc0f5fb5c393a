from __future__ import annotations

import copy
import math
import pickle
from typing import Any, Final

import pytest

from videos_async import (
    AdaptivePolling,
    ConfigurationError,
    PollPolicy,
    RateLimit,
    RetryPolicy,
    Timeouts,
)
from videos_async._settings import (
    DEFAULT_BASE_URL,
    ApiKey,
    api_root,
    find_api_key,
    is_finite,
    is_loopback,
    timeout_flaw,
)

KEY: Final = "sk-CANARY-0123456789"


def the_problem(base_url: object, **arguments: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        api_root(base_url, **arguments)
    return str(caught.value)


# --- the address ---------------------------------------------------------------------------


@pytest.mark.parametrize("tail", ["", "/", "//", "/v1", "/v1/", "/v1//"])
@pytest.mark.parametrize(
    "root",
    ["https://api.example", "https://api.example/kyyReactApiServer", "http://[::1]:8080/a/b"],
)
def test_a_base_url_comes_with_or_without_slash_and_version(root: str, tail: str) -> None:
    assert api_root(root + tail) == root


def test_the_default_base_url_is_in_its_final_form() -> None:
    assert api_root(DEFAULT_BASE_URL) == DEFAULT_BASE_URL


def test_white_space_around_a_base_url_is_dropped() -> None:
    assert api_root(" https://api.example/v1\n") == "https://api.example"


def test_a_path_that_only_looks_like_the_version_is_kept() -> None:
    assert api_root("https://api.example/av1/v10") == "https://api.example/av1/v10"


@pytest.mark.parametrize("host", ["localhost", "api.localhost", "127.0.0.1", "127.9.9.9", "[::1]"])
def test_plain_http_is_fine_on_loopback(host: str) -> None:
    assert api_root(f"http://{host}:8080/v1") == f"http://{host}:8080"


@pytest.mark.parametrize(
    "host", ["api.example", "localhost.example", "128.0.0.1", "192.168.0.1", "0x7f000001", "127.1"]
)
def test_plain_http_off_loopback_is_refused(host: str) -> None:
    text = the_problem(f"http://{host}/v1")
    assert "must be https, or the API key crosses the network in the clear" in text
    assert f"plain_http_hosts=['{host}']" in text


def test_plain_http_is_fine_for_a_host_that_is_named() -> None:
    assert api_root("http://API.example/", plain_http_hosts=["api.example"]) == "http://API.example"


def test_plain_http_for_one_host_is_not_for_another() -> None:
    assert "must be https" in the_problem("http://b.example", plain_http_hosts=["a.example"])


def test_the_hosts_of_plain_http_are_a_list() -> None:
    text = the_problem("http://api", plain_http_hosts="api.example")
    assert text == "plain_http_hosts must be a list of hosts, got 'api.example'"


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        " ",
        None,
        5,
        b"https://api.example",
        "api.example",
        "/v1",
        "//api.example/v1",
        "ftp://api.example",
        "https:",
        "https://",
        "https:///v1",
        "https://:8080/v1",
        "https://api.example:0",
        "https://api.example:99999",
        "https://api.example:port",
        "https://[::1",
    ],
    ids=repr,
)
def test_what_is_no_absolute_url_is_refused(base_url: object) -> None:
    assert the_problem(base_url).startswith("base_url must be an absolute http or https URL")


@pytest.mark.parametrize(
    "base_url",
    ["https://api.exa mple", "https://api.exa\nmple", "https://api.example/\tv1", "https://a\x7fb"],
    ids=repr,
)
def test_a_base_url_with_spaces_or_control_characters_is_refused(base_url: str) -> None:
    assert "must not hold spaces or control characters" in the_problem(base_url)


@pytest.mark.parametrize("tail", ["?a=b", "/v1?key=SECRET", "#part", "/v1#SECRET"])
def test_a_base_url_with_query_or_fragment_is_refused_and_its_query_not_shown(tail: str) -> None:
    text = the_problem(f"https://api.example{tail}")
    assert "must not have a query or a fragment" in text
    assert "SECRET" not in text


@pytest.mark.parametrize(
    "base_url",
    [
        "https://user:SECRET@api.example",
        "https://SECRET@api.example",
        "https://:SECRET@api.example",
        "//user:SECRET@api.example",
        "user:SECRET@api.example/v1",
        "https:user:SECRET@api.example",
        "https://user:SECRET@[bad",
        "ftp://user:SECRET@api.example",
    ],
)
def test_a_base_url_with_a_password_is_refused_and_not_shown(base_url: str) -> None:
    text = the_problem(base_url)
    assert "must not hold a user or a password" in text
    assert "SECRET" not in text


def test_the_setting_that_was_wrong_is_named() -> None:
    assert the_problem("", setting="VIDEOS_BASE_URL").startswith("VIDEOS_BASE_URL must ")


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("::1", True), ("127.0.0.1", True), ("", False), ("::", False)],
)
def test_loopback_is_told_by_name_alone(host: str, expected: bool) -> None:  # noqa: FBT001
    assert is_loopback(host) is expected


# --- the key -------------------------------------------------------------------------------


def test_a_good_key_is_taken_as_it_is() -> None:
    key, flaw = find_api_key(KEY, {"VIDEOS_API_KEY": "another"})
    assert (key, flaw) == (KEY, None)


def test_without_a_given_key_the_environments_is_taken() -> None:
    key, flaw = find_api_key(None, {"VIDEOS_API_KEY": KEY})
    assert (key, flaw) == (KEY, None)


def test_a_missing_key_is_told_with_both_places_to_put_it() -> None:
    _, flaw = find_api_key(None, {})
    assert flaw is not None
    assert "VideosSession" in str(flaw)
    assert "VIDEOS_API_KEY" in str(flaw)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (5, "must be text, got int"),
        (KEY.encode(), "must be text, got bytes"),
        ("", "must not be empty"),
        (f" {KEY}", "must not begin or end with white space"),
        (f"{KEY}\n", "must not begin or end with white space"),
        (f"{KEY} {KEY}", "printable ASCII without spaces"),
        (f"{KEY}\r\nX-Injected: 1", "printable ASCII without spaces"),
        (f"{KEY}\0", "printable ASCII without spaces"),
        (f"{KEY}ä", "printable ASCII without spaces"),
        (f"{KEY}\ud800", "printable ASCII without spaces"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_key_no_header_can_hold_is_refused_without_showing_it(
    value: object, problem: str
) -> None:
    key, flaw = find_api_key(value, {})
    assert key == ""
    assert flaw is not None
    assert str(flaw).startswith("api_key must ")
    assert problem in str(flaw)
    assert "CANARY" not in str(flaw) + repr(flaw)


def test_the_repr_of_a_key_does_not_show_it() -> None:
    assert "CANARY" not in repr({"headers": [ApiKey(KEY)]})


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_key_is_never_pickled(protocol: int) -> None:
    with pytest.raises(TypeError, match="an API key is never pickled"):
        pickle.dumps(ApiKey(KEY), protocol)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_key_is_never_copied(copied: Any) -> None:
    with pytest.raises(TypeError, match="an API key is never pickled"):
        copied(ApiKey(KEY))


# --- the numbers ---------------------------------------------------------------------------

NO_NUMBERS: Final[list[Any]] = [True, "5", math.nan, math.inf, -math.inf, -1, [], 10**400]
ANY_NUMBER: Final = {
    AdaptivePolling: [
        "min_interval_s",
        "mean_interval_s",
        "max_interval_s",
        "max_queued_interval_s",
    ],
    PollPolicy: ["min_interval_s", "max_interval_s"],
    RateLimit: ["submits_per_s", "queries_per_s"],
    RetryPolicy: ["base_s", "cap_s", "retry_after_cap_s"],
}
WHOLE_NUMBER: Final = {
    AdaptivePolling: ["max_failures", "max_refusals"],
    PollPolicy: ["max_failures", "max_refusals"],
    RateLimit: ["submits_in_flight", "queries_in_flight", "burst"],
    RetryPolicy: ["max_attempts"],
}


def _fields(table: dict[Any, list[str]]) -> list[tuple[Any, str]]:
    return [(policy, field) for policy, fields in table.items() for field in fields]


def _refused(policy: Any, field: str, value: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        policy(**{field: value})
    return str(caught.value)


@pytest.mark.parametrize(("policy", "field"), _fields(ANY_NUMBER))
@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: repr(value)[:10])
def test_a_number_that_is_none_is_refused_by_name(policy: Any, field: str, value: object) -> None:
    text = _refused(policy, field, value)
    assert text.startswith(f"{policy.__name__}.{field} must be a number of at least ")
    assert ", got " in text


@pytest.mark.parametrize(("policy", "field"), _fields(WHOLE_NUMBER))
@pytest.mark.parametrize("value", [*NO_NUMBERS, 0, 1.5, None], ids=lambda value: repr(value)[:10])
def test_a_count_that_is_none_is_refused_by_name(policy: Any, field: str, value: object) -> None:
    text = _refused(policy, field, value)
    assert text.startswith(f"{policy.__name__}.{field} must be a whole number of at least 1")
    assert ", got " in text


@pytest.mark.parametrize("field", ["submits_per_s", "queries_per_s"])
def test_none_is_no_limit_of_the_rate(field: str) -> None:
    assert getattr(RateLimit(**dict[str, Any]({field: None})), field) is None


@pytest.mark.parametrize("field", ["submits_per_s", "queries_per_s"])
def test_a_rate_of_zero_is_refused_with_what_to_say_instead(field: str) -> None:
    assert "or None for no limit, got 0" in _refused(RateLimit, field, 0)


@pytest.mark.parametrize("field", ["min_interval_s", "max_interval_s"])
def test_an_interval_is_never_none(field: str) -> None:
    assert ", got None" in _refused(PollPolicy, field, None)


def test_the_longest_interval_is_not_below_the_shortest() -> None:
    with pytest.raises(ConfigurationError, match=r"at least min_interval_s \(30\), got 29"):
        PollPolicy(max_interval_s=29)


@pytest.mark.parametrize("policy", [AdaptivePolling, PollPolicy, RateLimit, RetryPolicy, Timeouts])
def test_every_policy_has_defaults_and_can_be_a_key(policy: Any) -> None:
    assert {policy(): 1}[policy()] == 1


@pytest.mark.parametrize("policy", [AdaptivePolling, PollPolicy, RateLimit, RetryPolicy, Timeouts])
def test_every_policy_survives_pickling(policy: Any) -> None:
    assert pickle.loads(pickle.dumps(policy())) == policy()


def test_the_default_interval_is_the_advice_of_the_service() -> None:
    policy = PollPolicy()
    assert (policy.min_interval_s, policy.max_interval_s) == (30, 60)


# --- a time to wait ------------------------------------------------------------------------


@pytest.mark.parametrize("timeout_s", [None, 0.001, 1, 1800, 1e300])
def test_a_time_to_wait_is_above_zero_or_none(timeout_s: object) -> None:
    assert timeout_flaw(timeout_s) is None


@pytest.mark.parametrize(
    "timeout_s",
    [0, -1, True, math.nan, math.inf, "5", [], 10**400],
    ids=lambda value: repr(value)[:10],
)
def test_what_is_no_time_to_wait_is_told(timeout_s: object) -> None:
    flaw = timeout_flaw(timeout_s) or ""
    assert flaw.startswith("must be a number of seconds above 0, or None to wait for ever, got ")


@pytest.mark.parametrize("value", [0, -5, 1.5, 10**300])
def test_a_number_a_clock_can_reckon_with_is_finite(value: object) -> None:
    assert is_finite(value)
