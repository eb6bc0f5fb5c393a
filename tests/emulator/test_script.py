from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.emulator.wire import KITTEN, Wire
from videos_async.emulator import (
    Delay,
    Dialect,
    Fault,
    FaultScript,
    HostileId,
    LoseId,
    NoUrl,
    Phase,
    RateLimit,
    Refuse,
    Reset,
    Slow,
    Status,
    TaskStatus,
    VideosEmulator,
)

HARE = {**KITTEN, "prompt": "a hare"}


@pytest.fixture
def script() -> FaultScript:
    return FaultScript(seed=7, on_refuse=lambda _: None)


def strikes(
    script: FaultScript,
    phase: Phase = Phase.QUERY,
    *,
    prompt: str | None = "a kitten",
    task_id: str | None = "video_1",
    now_s: float = 0,
) -> list[Fault]:
    task_id = None if phase is Phase.SUBMIT else task_id
    return script.strike(phase, prompt=prompt, task_id=task_id, now_s=now_s)


def pattern(script: FaultScript, calls: int, **about: Any) -> list[bool]:
    return [bool(strikes(script, **about)) for _ in range(calls)]


# --- the choice of calls -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "phases"),
    [
        (Status(503), "submit query download"),
        (Status(503, on="query"), "query"),
        (LoseId(), "submit"),
        (NoUrl(), "query"),
        (Dialect("envelope"), "submit query"),
        (Dialect("envelope", on="submit"), "submit"),
    ],
    ids=str,
)
def test_a_fault_strikes_in_its_phases(script: FaultScript, fault: Fault, phases: str) -> None:
    script.add(fault)
    assert [phase for phase in Phase if strikes(script, phase)] == phases.split()


def test_nth_counts_the_calls_that_fit_from_when_the_fault_was_added(script: FaultScript) -> None:
    strikes(script)
    script.add(Status(503, on="query", prompt="kitten", nth=(2, 4)))
    assert not strikes(script, Phase.SUBMIT)
    assert not strikes(script, prompt="a hare", task_id="video_2")
    assert pattern(script, 5) == [False, True, False, True, False]


def test_nth_of_task_counts_for_each_task_and_phase_alone(script: FaultScript) -> None:
    script.add(Status(503, nth_of_task=2))
    assert pattern(script, 3, task_id="video_1") == [False, True, False]
    assert pattern(script, 3, task_id="video_2") == [False, True, False]
    assert pattern(script, 3, phase=Phase.DOWNLOAD) == [False, True, False]
    assert pattern(script, 3, phase=Phase.SUBMIT) == [False, True, False]
    assert pattern(script, 3, phase=Phase.SUBMIT, prompt="a hare") == [False, True, False]


def test_prompt_is_a_part_of_it_and_task_is_the_whole_id(script: FaultScript) -> None:
    script.add(Status(503, prompt="kit"))
    script.add(Status(504, task="video_1", on="query"))
    assert len(strikes(script)) == 2
    assert strikes(script, prompt="a hare") == [Status(504, task="video_1", on="query")]
    assert strikes(script, task_id="video_12") == [Status(503, prompt="kit")]
    assert not strikes(script, prompt=None, task_id="unknown")


def test_times_is_how_often_at_most(script: FaultScript) -> None:
    script.add(Status(503, times=2))
    assert pattern(script, 4) == [True, True, False, False]


def test_what_strikes_together_comes_in_the_order_of_the_script(script: FaultScript) -> None:
    faults = [Delay(1), Status(503), Reset()]
    script.extend(faults)
    assert strikes(script) == faults


def test_a_rate_limit_strikes_what_is_beyond_it(script: FaultScript) -> None:
    script.add(RateLimit(2, burst=3))
    assert [bool(strikes(script, now_s=0)) for _ in range(5)] == [False] * 3 + [True] * 2
    assert not strikes(script, now_s=0.5)
    assert strikes(script, now_s=0.5)
    # What is saved up is the burst and no more.
    assert [bool(strikes(script, now_s=100)) for _ in range(4)] == [False] * 3 + [True]


# --- dice ----------------------------------------------------------------------------------


def drawn(script: FaultScript, order: list[tuple[str, int]]) -> Counter[tuple[str, int]]:
    """Make calls about tasks in an order; gives which call of which task was struck."""
    counts: Counter[str] = Counter()
    struck: Counter[tuple[str, int]] = Counter()
    for task_id, _ in order:
        counts[task_id] += 1
        found = strikes(script, task_id=task_id)
        struck[task_id, counts[task_id]] += Status(503, probability=0.5) in found
    return struck


@given(st.permutations([(f"video_{task}", call) for task in range(4) for call in range(5)]))
def test_what_is_drawn_does_not_depend_on_the_order_nor_on_other_faults(
    order: list[tuple[str, int]],
) -> None:
    first = FaultScript(seed=7, on_refuse=lambda _: None)
    first.add(Status(503, probability=0.5))
    second = FaultScript(seed=7, on_refuse=lambda _: None)
    second.extend([Status(502, probability=0.3), Status(503, probability=0.5)])
    assert drawn(first, sorted(order)) == drawn(second, order)


def test_another_seed_draws_otherwise() -> None:
    patterns: set[tuple[bool, ...]] = set()
    for seed in range(5):
        script = FaultScript(seed=seed, on_refuse=lambda _: None)
        script.add(Status(503, probability=0.5))
        patterns.add(tuple(pattern(script, 30)))
    assert len(patterns) == 5


def test_the_same_fault_twice_draws_twice(script: FaultScript) -> None:
    script.extend([Status(503, probability=0.5)] * 2)
    assert {len(strikes(script)) for _ in range(50)} == {0, 1, 2}


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_the_share_is_about_the_probability(script: FaultScript, probability: float) -> None:
    script.add(Status(503, probability=probability))
    struck = sum(bool(strikes(script, task_id=f"video_{n}")) for n in range(2000))
    assert abs(struck / 2000 - probability) < 0.05


def test_nothing_strikes_with_probability_0(script: FaultScript) -> None:
    script.add(Status(503, probability=0))
    assert not any(pattern(script, 100))


# --- the script as a sequence --------------------------------------------------------------


def test_faults_are_added_as_they_are_as_text_and_as_json(script: FaultScript) -> None:
    script.add(Slow(600))
    script.add("status 503 on=query")
    script.add({"fault": "no_url"})
    expected = [Slow(600), Status(503, on="query"), NoUrl()]
    assert list(script) == expected
    assert (len(script), script[1], script[1:], NoUrl() in script) == (
        3,
        expected[1],
        expected[1:],
        True,
    )


def test_faults_are_taken_out_one_at_a_time_or_all(script: FaultScript) -> None:
    added = script.add("status 503")
    script.extend(["status 503", "no_url"])
    script.remove(added)
    assert list(script) == [Status(503), NoUrl()]
    script.remove("no_url")
    with pytest.raises(ValueError, match=r"^the script has no fault 'no_url'"):
        script.remove(NoUrl())
    script.clear()
    assert (list(script), strikes(script)) == ([], [])


def test_several_are_added_all_or_none(script: FaultScript) -> None:
    with pytest.raises(ValueError, match="fault must be one of"):
        script.extend(["no_url", "nonsense"])
    assert not script


def test_it_tells_how_often_a_fault_has_struck(script: FaultScript) -> None:
    script.extend(["status 503 nth=2", "status 504"])
    pattern(script, 3)
    assert (script.struck("status 503 nth=2"), script.struck("status 504")) == (1, 3)
    assert repr(script) == "<FaultScript ['status code=503 nth=2', 'status code=504']>"


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("refuse 20", [20]),
        ("refuse 20 nth=1", [20]),
        ("refuse 20 nth=3", []),
        ("refuse 20 probability=0.5", []),
    ],
)
def test_a_refusal_begins_at_once_unless_it_is_for_later(fault: str, told: list[float]) -> None:
    heard: list[float] = []
    FaultScript(seed=0, on_refuse=heard.append).add(fault)
    assert heard == told


def test_a_refusal_of_the_nth_call_begins_after_the_one_before() -> None:
    heard: list[float] = []
    script = FaultScript(seed=0, on_refuse=heard.append)
    script.add(Refuse(20, nth=3, on="submit"))
    taken = [script.taken_up(phase) for phase in (Phase.SUBMIT, Phase.QUERY, Phase.SUBMIT)]
    assert (taken, heard) == ([False, False, True], [20])
    script.clear()
    assert not script.taken_up(Phase.SUBMIT)


# --- on the emulator -----------------------------------------------------------------------


async def test_a_change_holds_from_the_next_call_on(wire: Wire) -> None:
    assert (await wire.submit()).status == 200
    fault = wire.emulator.faults.add("status 503")
    assert (await wire.submit()).status == 503
    wire.emulator.faults.remove(fault)
    assert (await wire.submit()).status == 200


async def test_queries_and_downloads_are_chosen_by_the_prompt_of_their_task(wire: Wire) -> None:
    kitten, hare = await wire.completed(), await wire.completed(HARE)
    wire.emulator.faults.extend(["status 503 on=query prompt=hare", "status 502 prompt=kitten"])
    assert [(await wire.query(task["id"])).status for task in (kitten, hare)] == [502, 503]
    urls = [task["video_url"] for task in (kitten, hare)]
    assert [(await wire.send("GET", url)).status for url in urls] == [502, 200]


async def test_a_head_of_a_file_is_spared(wire: Wire) -> None:
    url = (await wire.completed())["video_url"]
    wire.emulator.faults.add("status 503 on=download")
    assert (await wire.send("HEAD", url)).status == 200
    assert (await wire.send("GET", url)).status == 503


async def test_the_log_tells_what_struck_and_what_was_answered(wire: Wire) -> None:
    wire.emulator.faults.add("status 503 on=query")
    task_id = (await wire.submit()).json["id"]
    await wire.query(task_id)
    await wire.send("GET", "/nowhere")
    submit, query, other = wire.emulator.requests.recent
    assert (submit.kind, submit.method, submit.prompt, submit.task_id, submit.status) == (
        "submit",
        "POST",
        "a kitten",
        task_id,
        200,
    )
    assert (query.kind, query.task_id, query.prompt, query.status, query.faults) == (
        "query",
        task_id,
        "a kitten",
        503,
        ("status code=503 on=query",),
    )
    assert (other.kind, other.path, other.status) == ("other", "/kyyReactApiServer/nowhere", 404)


async def test_a_call_that_was_cut_off_has_no_status_in_the_log(wire: Wire) -> None:
    wire.emulator.faults.add("lose_id")
    wire.emulator.faults.add("reset after=acceptance on=query")
    await wire.submit()
    (task_id,) = wire.emulator.tasks
    with pytest.raises(OSError, match="reset"):
        await wire.query(task_id)
    assert wire.emulator.requests.recent[-1].status is None


async def test_the_log_keeps_the_last_thousand(wire: Wire) -> None:
    for _ in range(1010):
        await wire.query("unknown")
    assert (len(wire.emulator.requests.recent), wire.emulator.requests.queries) == (1000, 1010)


# --- what tasks do -------------------------------------------------------------------------


async def test_a_slow_task_takes_as_long_as_is_said(wire: Wire) -> None:
    wire.emulator.faults.add(Slow(600, prompt="kitten"))
    await wire.submit()
    await wire.submit(HARE)
    wire.clock.advance(599)
    kitten, hare = wire.emulator.tasks.values()
    assert (kitten.status, hare.status) == (TaskStatus.PROCESSING, TaskStatus.COMPLETED)
    wire.clock.advance(1)
    assert next(iter(wire.emulator.tasks.values())).status is TaskStatus.COMPLETED


@pytest.mark.parametrize(
    ("kind", "begins"),
    [
        ("traversal", "../../admin/video_"),
        ("control", "video\r\n"),
        ("long", "v" * 100_000),
        ("query", "video?status=completed#"),
        ("markup", "<img"),
    ],
)
async def test_a_hostile_id_is_the_tasks_own(wire: Wire, kind: str, begins: str) -> None:
    wire.emulator.faults.add(HostileId(kind))
    ids = [(await wire.submit()).json["id"] for _ in range(2)]
    assert list(wire.emulator.tasks) == ids
    assert ids[0].startswith(begins)
    assert ids[0] != ids[1]


@pytest.mark.parametrize(
    ("fault", "fields"),
    [
        ("unknown_status archiving", {"status": "archiving", "video_url": None}),
        ("no_url", {"status": "completed", "video_url": None}),
        ("dialect url", {"url": "FILE"}),
        ("dialect result_url", {"result_url": "FILE"}),
        ("dialect progress", {"progress": 100, "video_url": "FILE"}),
        ("dialect progress_text", {"progress": "100%"}),
        ("dialect extra", {"amount": 1.25, "status": "completed"}),
        ("dialect envelope", {"code": "0", "msg": None, "data.status": "completed"}),
        ("hostile_url file", {"video_url": "file:///etc/passwd"}),
        ("hostile_url redirect", {"video_url": "FILE"}),
    ],
)
async def test_what_a_completed_task_is_said_to_be(
    wire: Wire, fault: str, fields: dict[str, Any]
) -> None:
    task = await wire.completed()
    wire.emulator.faults.add(fault)
    answer = (await wire.query(task["id"])).json
    flat = {**answer, **{f"data.{name}": value for name, value in answer.get("data", {}).items()}}
    told = {name: "FILE" if flat[name] == task["video_url"] else flat[name] for name in fields}
    assert told == fields
    # What stands elsewhere does not stand in its own place as well.
    assert ("video_url" in answer) == (not {"url", "result_url", "code"} & set(fields))


async def test_a_url_with_a_user_is_that_of_the_file_behind_another_host(wire: Wire) -> None:
    task = await wire.completed()
    wire.emulator.faults.add("hostile_url userinfo")
    url: str = (await wire.query(task["id"])).json["video_url"]
    assert url.replace("files.example:secret@", "") == task["video_url"] != url


@pytest.mark.parametrize(
    ("dialect", "error"),
    [
        ("error_object", {"error": {"message": "generation failed"}}),
        ("error_detail", {"error": {"detail": "generation failed"}}),
        ("error_code", {"error": {"code": "generation failed"}}),
        ("message", {"message": "generation failed"}),
        ("msg", {"msg": "generation failed"}),
    ],
)
async def test_where_the_reason_of_a_failure_stands(
    wire: Wire, dialect: str, error: dict[str, Any]
) -> None:
    task = await wire.completed({**KITTEN, "prompt": "a kitten [fail]"})
    assert task["status"] == "failed"
    wire.emulator.faults.add(Dialect(dialect))
    answer = (await wire.query(task["id"])).json
    reason = "generation failed: the prompt asked for a failure"
    told = {name: answer[name] for name in ("error", "message", "msg") if name in answer}
    assert json.dumps(told) == json.dumps(error).replace("generation failed", reason)


async def test_a_202_is_for_submits_alone(wire: Wire) -> None:
    wire.emulator.faults.add("dialect accepted")
    accepted = await wire.submit()
    assert (accepted.status, (await wire.query(accepted.json["id"])).status) == (202, 200)


async def test_links_run_out_where_they_are_handed_out_or_where_they_are_used(
    wire: Wire,
) -> None:
    task = await wire.completed()
    wire.emulator.faults.add("expire_urls on=query times=1")
    dead = (await wire.query(task["id"])).json["video_url"]
    assert (await wire.send("GET", dead)).status == 403
    fresh = (await wire.query(task["id"])).json["video_url"]
    assert (await wire.send("GET", fresh)).status == 200
    wire.emulator.faults.add("expire_urls on=download times=1")
    refused = await wire.send("GET", fresh)
    assert (refused.status, "expired" in refused.message) == (403, True)
    assert (await wire.send("GET", fresh)).status == 200


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("redirect", "http://169.254.169.254/latest/meta-data/iam"),
        ("redirect_loop", ""),
    ],
)
async def test_a_file_server_that_leads_astray(wire: Wire, kind: str, target: str) -> None:
    url = (await wire.completed())["video_url"]
    wire.emulator.faults.add(f"hostile_url {kind}")
    answer = await wire.send("GET", url, allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (302, target)


# --- profiles ------------------------------------------------------------------------------


def test_faults_that_were_given_come_before_those_of_the_profile() -> None:
    emulator = VideosEmulator(faults=["no_url"], profile="field")
    assert emulator.faults[0] == NoUrl()
    assert len(emulator.faults) > 30


def test_hostile_is_field_and_more() -> None:
    field, hostile = VideosEmulator(profile="field"), VideosEmulator(profile="hostile")
    assert set(map(str, field.faults)) < set(map(str, hostile.faults))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"profile": "nice"}, "profile must be one of field, hostile, got 'nice'"),
        ({"faults": ["nonsense"]}, "fault must be one of refuse, .*, got 'nonsense'"),
        ({"faults": "no_url"}, "faults must be a list of faults, got 'no_url'"),
    ],
)
def test_a_wrong_script_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        VideosEmulator(**arguments)
