from __future__ import annotations

import copy
import pickle
import re
from typing import Any, Final, cast

import attrs
import pytest

import videos_async
from videos_async import (
    AccountRefused,
    ConfigurationError,
    DiskFull,
    DownloadError,
    DownloadIncomplete,
    GenerationFailed,
    InvalidRequest,
    InvalidResponse,
    JournalCorrupt,
    JournalError,
    JournalLocked,
    JournalWriteFailed,
    KeyAbandoned,
    KeyConflict,
    KeyStateError,
    NotSent,
    NotSubmitted,
    QueryFailed,
    QueryRefused,
    SessionClosed,
    Status,
    SubmissionError,
    SubmissionRefused,
    SubmissionUncertain,
    TargetBusy,
    TargetExists,
    TaskError,
    TaskNotFound,
    VideoExpired,
    VideoMismatch,
    VideoRequest,
    VideosError,
    VideoTask,
    VideoUnavailable,
    Violation,
    WaitTimeout,
    WatchLeft,
    errors,
)

REQUEST: Final = VideoRequest(prompt="A kitten on a meadow", duration=5)
TASK: Final = VideoTask(id="video_1", status=Status("upscaling"), extra={"progress": ["?"]})
SUBMISSION: Final[dict[str, Any]] = {
    "request": REQUEST,
    "reason": "the line died",
    "http_status": 503,
    "service_message": "try later",
    "task_id": "video_1",
    "key": "meadow",
    "attempts": 2,
}
TROUBLE: Final[dict[str, Any]] = {"task_id": "video_1", "task": TASK, "key": "meadow"}
FILE: Final[dict[str, Any]] = {"task_id": "video_1", "target": "out.mp4", "reason": "no space"}

JOURNAL: Final[dict[str, Any]] = {"path": "run.sqlite", "problem": "cannot be used: look at it"}

EXAMPLES: Final = (
    ConfigurationError(setting="api_key", problem="is missing: give one"),
    InvalidRequest(violations=(Violation(field="ratio", rule="must be text", value=1),), key=3),
    InvalidResponse(path="$.id", problem="is missing", http_status=200, task_id="video_1"),
    SessionClosed(),
    NotSubmitted(**SUBMISSION),
    NotSent(**SUBMISSION),
    SubmissionRefused(**SUBMISSION),
    AccountRefused(**SUBMISSION),
    SubmissionUncertain(**SUBMISSION),
    GenerationFailed(**TROUBLE, reason="policy"),
    WaitTimeout(**TROUBLE, timeout_s=1800.0, last_error="HTTP 503"),
    WatchLeft(**TROUBLE),
    QueryFailed(**TROUBLE, reason="no answer came", attempts=20, http_status=503),
    QueryRefused(**TROUBLE, reason="no", http_status=403, service_message="who are you"),
    TaskNotFound(**TROUBLE, reason="unknown id", http_status=404),
    DownloadError(**FILE),
    TargetExists(**FILE),
    TargetBusy(**FILE),
    VideoUnavailable(**FILE),
    VideoExpired(**FILE, age_s=200_000.0, http_status=403),
    DownloadIncomplete(**FILE, received_bytes=10, expected_bytes=20),
    JournalError(**JOURNAL),
    JournalLocked(**JOURNAL, pid=4711, host="studio"),
    JournalCorrupt(**JOURNAL),
    JournalWriteFailed(**JOURNAL, unwritten={"meadow": "video_1"}),
    KeyConflict(**JOURNAL, key="meadow", recorded=REQUEST, given=REQUEST),
    KeyStateError(key="meadow", state="completed", action="be re-armed", allowed=("failed",)),
    KeyAbandoned(key="meadow", task_id="video_1"),
    DiskFull(**FILE, needed_bytes=20, free_bytes=10),
    VideoMismatch(**FILE, flaws=("it is 4 s long, the service says 5 s",)),
)
ABSTRACT: Final = {VideosError, SubmissionError, TaskError}


def _name(error: object) -> str:
    return type(error).__name__


def _facts(error: VideosError) -> dict[str, Any]:
    fields: Any = attrs.fields(cast("Any", type(error)))
    return {field.name: getattr(error, field.name) for field in fields}


def _tree(kind: type[VideosError]) -> set[type[VideosError]]:
    return {kind}.union(*(_tree(child) for child in kind.__subclasses__()))


every_error = pytest.mark.parametrize("error", EXAMPLES, ids=_name)


def test_the_examples_here_are_every_error_there_is() -> None:
    assert {type(error) for error in EXAMPLES} | ABSTRACT == _tree(VideosError)


def test_every_error_is_a_public_name() -> None:
    assert {kind.__name__ for kind in _tree(VideosError)} <= set(videos_async.__all__)


def test_every_public_name_of_the_module_is_one_of_the_package() -> None:
    assert set(errors.__all__) <= set(videos_async.__all__)


def _drawn() -> dict[str, tuple[str, str | None]]:
    """Read the drawing: each name to the name above it and the built-in beside it."""
    drawn: dict[str, tuple[str, str | None]] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(
            r"^    (?P<branch>[│├└─ ]*)(?P<name>[A-Z]\w+)(?: \((?P<built_in>\w+)\))?", line
        )
        if found:
            depth = len(found["branch"]) // 4
            above[depth:] = [found["name"]]
            drawn[found["name"]] = above[depth - 1] if depth else "", found["built_in"]
    return drawn


def test_the_tree_that_is_drawn_is_the_tree_that_exists() -> None:
    existing = {
        kind.__name__: "" if kind is VideosError else kind.__bases__[0].__name__
        for kind in _tree(VideosError)
    }
    assert {name: parent for name, (parent, _) in _drawn().items()} == existing


@every_error
def test_an_error_is_the_built_in_that_is_drawn_beside_it(error: VideosError) -> None:
    built_ins = {
        kind.__name__
        for kind in type(error).__mro__
        if kind.__module__ == "builtins" and kind not in (Exception, BaseException, object, OSError)
    }
    inherited = {
        built_in
        for kind in type(error).__mro__
        if (built_in := _drawn().get(kind.__name__, ("", None))[1]) is not None
    }
    assert built_ins == inherited


@every_error
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_survives_pickling(error: VideosError, protocol: int) -> None:
    again = pickle.loads(pickle.dumps(error, protocol))
    assert (type(again), str(again), _facts(again)) == (type(error), str(error), _facts(error))


@every_error
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_an_error_survives_copying(error: VideosError, copied: Any) -> None:
    again = copied(error)
    assert (type(again), str(again), _facts(again)) == (type(error), str(error), _facts(error))


@every_error
def test_the_repr_of_an_error_names_its_kind_and_says_its_text(error: VideosError) -> None:
    assert repr(error) == f"{type(error).__name__}({str(error)!r})"


@every_error
def test_errors_are_compared_by_identity(error: VideosError) -> None:
    assert error != copy.copy(error)


NEXT_STEPS: Final[dict[type[VideosError], str]] = {
    ConfigurationError: "give one",
    InvalidRequest: "must be text",
    SessionClosed: "open a new VideosSession",
    NotSubmitted: "submit again",
    SubmissionRefused: "Change the request",
    AccountRefused: "Check the API key and the account's balance",
    SubmissionUncertain: "look the task up at the service before you submit it once more",
    GenerationFailed: "Change the prompt or the media",
    WaitTimeout: "wait for the same id again",
    QueryFailed: "query it again when the service is well",
    QueryRefused: "Check the API key, then query the same id again",
    TaskNotFound: "Check the id and the base URL",
}


@pytest.mark.parametrize("error", [e for e in EXAMPLES if type(e) in NEXT_STEPS], ids=_name)
def test_an_error_says_what_to_do_next(error: VideosError) -> None:
    assert NEXT_STEPS[type(error)] in str(error)


@pytest.mark.parametrize("error", [e for e in EXAMPLES if isinstance(e, TaskError)], ids=_name)
def test_an_error_of_a_task_has_its_id_in_hand(error: TaskError) -> None:
    assert error.task_id == "video_1"
    assert "video_1" in str(error)


@pytest.mark.parametrize(
    "error", [e for e in EXAMPLES if isinstance(e, SubmissionError)], ids=_name
)
@pytest.mark.parametrize(
    "fact", ["'meadow'", "the line died", "HTTP 503", "the service said: try later", "video_1"]
)
def test_an_error_of_a_submission_tells_every_fact(error: SubmissionError, fact: str) -> None:
    assert fact in str(error)


def test_an_uncertain_submission_never_advises_to_send_again_at_once() -> None:
    text = str(SubmissionUncertain(**SUBMISSION))
    assert "may have been accepted and billed" in text
    assert "It was not sent again" in text


def test_a_wait_that_timed_out_tells_what_was_seen_last() -> None:
    text = str(WaitTimeout(**TROUBLE, timeout_s=1800.0))
    assert "did not end within 1800 s (last seen upscaling)" in text


def test_a_wait_that_never_had_an_answer_says_so() -> None:
    error = WaitTimeout(task_id="video_1", timeout_s=0.5, last_error="no answer came")
    assert "within 0.5 s (never answered for, last poll: no answer came)" in str(error)


def test_a_failure_without_a_reason_says_so() -> None:
    assert "the service gave no reason" in str(GenerationFailed(task_id="video_1"))


def test_a_refused_file_is_told_by_our_text_and_not_by_the_built_in() -> None:
    assert str(TargetExists(**FILE)) == str(DownloadError(**FILE))


def test_a_submission_that_was_tried_once_says_once() -> None:
    assert "tried once" in str(NotSubmitted(request=REQUEST, reason="refused"))


# --- violations ----------------------------------------------------------------------------


def test_a_violation_names_field_rule_and_value() -> None:
    violation = Violation(field="duration", rule="must be between 4 and 15 seconds", value=20)
    assert str(violation) == "duration must be between 4 and 15 seconds, got 20 (int)"


def test_every_violation_is_in_the_text() -> None:
    found = tuple(Violation(field=f"field_{n}", rule="is wrong", value=n) for n in range(5))
    text = str(InvalidRequest(violations=found))
    assert all(str(violation) in text for violation in found)


def test_the_text_of_ten_thousand_violations_can_be_read() -> None:
    found = tuple(Violation(field="f", rule="is wrong", value=n) for n in range(10_000))
    error = InvalidRequest(violations=found)
    assert "and 9980 more" in str(error)
    assert len(error.violations) == 10_000


def test_the_request_that_was_wrong_is_named() -> None:
    violation = Violation(field="ratio", rule="must be text", value=1)
    assert "request 'meadow' was not sent" in str(
        InvalidRequest(violations=(violation,), key="meadow")
    )


def test_a_long_value_is_shortened_in_the_text_and_whole_as_a_fact() -> None:
    violation = Violation(field="prompt", rule="is too long", value="x" * 5000)
    assert len(str(violation)) < 250
    assert "5000 long" in str(violation)
    assert violation.value == "x" * 5000


def test_the_text_of_a_violation_can_always_be_encoded() -> None:
    str(Violation(field="prompt", rule="is odd", value="\ud800\x00")).encode()


def test_a_signed_url_is_not_given_away_by_the_text() -> None:
    value = ("https://bucket.example/a.png?X-Signature=SECRET", "https://b.example/?t=SECRET")
    text = str(Violation(field="reference_images", rule="are too many", value=value))
    assert "SECRET" not in text
    assert "https://bucket.example/a.png?…" in text


class _Rude:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def _shared(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value, value]
    return value


def _nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


ODD: Final = {
    "a repr that raises": _Rude(),
    "5,000 digits": 10**5000,
    "nesting": _nested(100_000),
    "a list that holds itself 2**60 times over": _shared(60),
    "a function": lambda: None,
}


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
def test_any_value_can_be_shown(value: object) -> None:
    assert len(str(Violation(field="prompt", rule="must be text", value=value))) < 250


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
def test_a_report_on_any_value_can_be_pickled(value: object) -> None:
    error = InvalidRequest(violations=(Violation(field="prompt", rule="is odd", value=value),))
    again = pickle.loads(pickle.dumps(error))
    assert again.violations[0].field == "prompt"


def test_a_violation_can_be_hashed_whatever_the_value() -> None:
    violations = {Violation(field="prompt", rule="must be text", value=[]) for _ in range(2)}
    assert len(violations) == 1
