"""The states of a key: every arrow of the table, and no other."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, Final

import pytest

from tests.service import request
from videos_async import (
    GenerationFailed,
    InvalidRequest,
    JournalEntry,
    KeyState,
    KeyStateError,
    SavedFile,
    Status,
    SubmissionRefused,
    SubmissionUncertain,
    VideoExpired,
    VideoTask,
    Violation,
)
from videos_async._states import ENDED, IN_DOUBT, IN_PROGRESS

REQUEST: Final = request()
FILE: Final = SavedFile(
    path="a.mp4", size_bytes=1, sha256="00", media_type="video/mp4", is_verified=True
)
REFUSAL: Final = SubmissionRefused(request=REQUEST, key="a", reason="no", http_status=400)
FLAW: Final = InvalidRequest(
    violations=(Violation(field="ratio", rule="must be text", value=1),), key="a"
)
GONE: Final = VideoExpired(task_id="video_1", target="a.mp4", reason="gone")


def doubt(http_status: int | None = None) -> SubmissionUncertain:
    return SubmissionUncertain(request=REQUEST, key="a", reason="reset", http_status=http_status)


def task(status: Status = Status.QUEUED, task_id: str = "video_1", **facts: Any) -> VideoTask:
    return VideoTask(id=task_id, status=status, **facts)


def entry(state: KeyState = KeyState.PLANNED, **facts: Any) -> JournalEntry:
    known: dict[str, Any] = {"planned_at": 1.0, "changed_at": 2.0, **facts}
    if state in IN_PROGRESS | {KeyState.COMPLETED, KeyState.DOWNLOADED}:
        known.setdefault("task_id", "video_1")
    return JournalEntry(key="a", request=REQUEST, state=state, **known)


Arrow = Callable[[JournalEntry], JournalEntry]

# Written down here once more, on purpose: every arrow, where it begins and where it leads.
ANYWHERE_ABOVE: Final = ("accepted", "queued", "processing")
ARROWS: Final[dict[str, tuple[Arrow, dict[str, str]]]] = {
    "intend": (lambda one: one.intend(9.0), {"planned": "intent"}),
    "retract": (lambda one: one.retract(9.0), {"intent": "planned"}),
    "accept queued": (lambda one: one.accept(task(), 9.0), {"intent": "queued"}),
    "accept processing": (
        lambda one: one.accept(task(Status.PROCESSING), 9.0),
        {"intent": "processing"},
    ),
    "accept unknown": (
        lambda one: one.accept(task(Status("cooking")), 9.0),
        {"intent": "accepted"},
    ),
    "accept completed": (
        lambda one: one.accept(task(Status.COMPLETED), 9.0),
        {"intent": "completed"},
    ),
    "accept failed": (lambda one: one.accept(task(Status.FAILED), 9.0), {"intent": "failed"}),
    "observe queued": (
        lambda one: one.observe(task(), 9.0),
        dict.fromkeys(ANYWHERE_ABOVE, "queued"),
    ),
    "observe processing": (
        lambda one: one.observe(task(Status.PROCESSING), 9.0),
        dict.fromkeys(ANYWHERE_ABOVE, "processing"),
    ),
    "observe unknown": (
        lambda one: one.observe(task(Status("cooking")), 9.0),
        {state: state for state in ANYWHERE_ABOVE},
    ),
    "observe completed": (
        lambda one: one.observe(task(Status.COMPLETED), 9.0),
        dict.fromkeys(ANYWHERE_ABOVE, "completed"),
    ),
    "observe failed": (
        lambda one: one.observe(task(Status.FAILED), 9.0),
        dict.fromkeys(ANYWHERE_ABOVE, "failed"),
    ),
    "refuse": (lambda one: one.refuse(REFUSAL, 9.0), {"intent": "refused"}),
    "reject": (lambda one: one.reject(FLAW, 9.0), {"planned": "invalid"}),
    "doubt": (lambda one: one.doubt(doubt(), 9.0), {"intent": "uncertain"}),
    "doubt after 500": (lambda one: one.doubt(doubt(500), 9.0), {"intent": "uncertain"}),
    "doubt after 200": (lambda one: one.doubt(doubt(200), 9.0), {"intent": "id-lost"}),
    "doubt after 299": (lambda one: one.doubt(doubt(299), 9.0), {"intent": "id-lost"}),
    "save": (lambda one: one.save(FILE, 9.0), {"completed": "downloaded"}),
    "expire": (lambda one: one.expire(GONE, 9.0), {"completed": "expired"}),
    "rearm": (
        lambda one: one.rearm(9.0),
        dict.fromkeys(
            ("uncertain", "id-lost", "refused", "invalid", "failed", "expired", "abandoned"),
            "planned",
        ),
    ),
    "adopt": (
        lambda one: one.adopt("video_2", 9.0),
        dict.fromkeys(("uncertain", "id-lost", "abandoned"), "accepted"),
    ),
    "abandon": (
        lambda one: one.abandon(9.0),
        dict.fromkeys((*ANYWHERE_ABOVE, "planned", "uncertain", "id-lost"), "abandoned"),
    ),
}
EVERY: Final = [(name, state) for name in ARROWS for state in KeyState]
LEGAL: Final = [(name, state) for name, state in EVERY if state.value in ARROWS[name][1]]
ILLEGAL: Final = [pair for pair in EVERY if pair not in LEGAL]


@pytest.mark.parametrize(("name", "state"), LEGAL)
def test_an_arrow_of_the_table_leads_where_it_is_drawn(name: str, state: KeyState) -> None:
    arrow, leads = ARROWS[name]
    after = arrow(entry(state))
    assert after.state == KeyState(leads[state.value])
    assert after.changed_at == 9.0
    assert (after.key, after.request, after.planned_at) == ("a", REQUEST, 1.0)


@pytest.mark.parametrize(("name", "state"), ILLEGAL)
def test_any_other_arrow_changes_nothing_and_says_where_it_may_begin(
    name: str, state: KeyState
) -> None:
    arrow, leads = ARROWS[name]
    before = entry(state, task_id="video_0")
    copy = pickle.loads(pickle.dumps(before))

    with pytest.raises(KeyStateError) as caught:
        arrow(before)

    assert before == copy
    assert (caught.value.key, caught.value.state) == ("a", state.value)
    assert set(caught.value.allowed) == set(leads)
    assert f"key 'a' is {state.value} and cannot " in str(caught.value)
    assert all(allowed in str(caught.value) for allowed in leads)


def test_every_state_can_be_reached() -> None:
    reached = {state for _, leads in ARROWS.values() for state in leads.values()}
    assert reached == {state.value for state in KeyState}


def test_an_entry_cannot_be_changed_in_place() -> None:
    with pytest.raises(AttributeError):
        entry().state = KeyState.COMPLETED  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


# --- what an arrow takes along -------------------------------------------------------------


def test_an_intent_tells_when_it_was_sent() -> None:
    assert entry().intend(5.0).intent_at == 5.0


def test_acceptance_keeps_the_id_and_what_was_said() -> None:
    after = entry(KeyState.INTENT).accept(task(), 9.0)
    assert (after.task_id, after.task, after.error) == ("video_1", task(), None)


@pytest.mark.parametrize("state", [KeyState.INTENT, KeyState.ACCEPTED])
def test_a_failure_says_why_whoever_tells_it(state: KeyState) -> None:
    failed = task(Status.FAILED, error="policy")
    before = entry(state)
    after = before.accept(failed, 9.0) if state is KeyState.INTENT else before.observe(failed, 9.0)
    assert isinstance(after.error, GenerationFailed)
    assert (after.error.reason, after.error.task_id, after.error.key) == ("policy", "video_1", "a")


def test_the_reason_that_is_known_better_is_kept() -> None:
    known = GenerationFailed(task_id="video_1", reason="blood")
    assert entry(KeyState.QUEUED).observe(task(Status.FAILED), 9.0, known).error is known


def test_a_task_that_goes_on_has_no_error() -> None:
    assert entry(KeyState.QUEUED).observe(task(Status.PROCESSING), 9.0, GONE).error is None


@pytest.mark.parametrize("state", sorted(IN_DOUBT))
def test_one_more_call_for_what_is_in_doubt_is_the_same_call_to_the_service(
    state: KeyState,
) -> None:
    after = entry(state, error=doubt(), intent_at=3.0).rearm(9.0)
    assert (after.rearmed, after.idempotency) == (1, 0)
    assert (after.error, after.task_id, after.task) == (None, None, None)


@pytest.mark.parametrize("state", [KeyState.FAILED, KeyState.REFUSED, KeyState.EXPIRED])
def test_one_more_call_for_what_came_to_an_end_is_a_new_one(state: KeyState) -> None:
    after = entry(state, task_id="video_1", task=task(), rearmed=2, idempotency=1).rearm(9.0)
    assert (after.rearmed, after.idempotency) == (3, 2)
    assert (after.task_id, after.task) == (None, None)


@pytest.mark.parametrize(("task_id", "idempotency"), [(None, 0), ("video_1", 1)])
def test_a_doubt_that_was_closed_by_hand_is_a_doubt_still_where_it_is_re_armed(
    task_id: str | None, idempotency: int
) -> None:
    after = entry(KeyState.ABANDONED, task_id=task_id).rearm(9.0)
    assert after.idempotency == idempotency


def test_what_is_adopted_is_the_given_task_and_nothing_else() -> None:
    before = entry(KeyState.ABANDONED, task_id="video_1", task=task(), error=doubt())
    after = before.adopt("video_2", 9.0)
    assert (after.task_id, after.task, after.error) == ("video_2", None, None)


def test_what_is_abandoned_keeps_its_id() -> None:
    assert entry(KeyState.QUEUED).abandon(9.0).task_id == "video_1"


@pytest.mark.parametrize(
    ("facts", "elapsed_s"),
    [
        ({"planned_at": 1.0, "changed_at": 3.0}, 2.0),
        ({"planned_at": 1.0, "intent_at": 2.5, "changed_at": 3.0}, 0.5),
        # The clock of a machine may be set back.
        ({"planned_at": 9.0, "changed_at": 3.0}, 0.0),
    ],
)
def test_the_time_is_told_from_when_it_was_sent(facts: dict[str, Any], elapsed_s: float) -> None:
    assert entry(**facts).elapsed_s == elapsed_s


def test_each_state_is_open_or_ended() -> None:
    open_states = {KeyState.PLANNED, KeyState.INTENT} | IN_PROGRESS
    assert open_states | ENDED == set(KeyState)
    assert not open_states & ENDED
    assert {state for state in KeyState if entry(state, task_id="x").is_ended} == ENDED
