from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videos_async.emulator import EmulatedTask, GenerationRequest, Lifetimes, TaskStatus
from videos_async.emulator._rules import CONTRACT_MODELS
from videos_async.emulator._service import VideoService
from videos_async.emulator._validation import validate

MODELS = {rules.name: rules for rules in CONTRACT_MODELS}
ALWAYS_100_S = Lifetimes(medians_s={}, default_median_s=100, sigma=0)


def request(prompt: str = "a kitten", **fields: object) -> GenerationRequest:
    found = validate({"model": "videos", "prompt": prompt, "duration": 5, **fields}, MODELS)
    assert isinstance(found, GenerationRequest)
    return found


def service(*, slots: int = 20, seed: int = 0, lifetimes: Lifetimes = ALWAYS_100_S) -> VideoService:
    return VideoService(seed=seed, processing_slots=slots, lifetimes=lifetimes)


def status(video_service: VideoService, task: EmulatedTask, now_s: float) -> TaskStatus:
    found = video_service.find(task.id, now_s=now_s)
    assert found is not None
    assert found is task
    return found.status


def test_a_task_is_processed_for_its_lifetime_and_then_completed() -> None:
    videos = service()
    task = videos.accept(request(), now_s=1000)
    assert status(videos, task, 1000) is TaskStatus.PROCESSING
    assert status(videos, task, 1099.9) is TaskStatus.PROCESSING
    assert status(videos, task, 1100) is TaskStatus.COMPLETED
    assert (task.accepted_at_s, task.started_at_s, task.ended_at_s) == (1000, 1000, 1100)
    assert task.error is None


def test_only_so_many_tasks_as_there_are_slots_are_processed() -> None:
    videos = service(slots=2)
    tasks = [videos.accept(request(str(n)), now_s=0) for n in range(5)]
    assert [status(videos, task, 50) for task in tasks] == (
        [TaskStatus.PROCESSING] * 2 + [TaskStatus.QUEUED] * 3
    )
    assert [status(videos, task, 250) for task in tasks] == (
        [TaskStatus.COMPLETED] * 4 + [TaskStatus.PROCESSING]
    )


def test_the_queue_is_served_in_order_of_acceptance() -> None:
    videos = service(slots=1)
    tasks = [videos.accept(request(str(n)), now_s=n) for n in range(4)]
    videos.advance(10_000)
    assert [task.started_at_s for task in tasks] == [0, 100, 200, 300]


def test_a_slot_is_taken_over_when_it_comes_free_and_not_when_somebody_asks() -> None:
    videos = service(slots=1)
    _, second = (videos.accept(request(str(n)), now_s=0) for n in range(2))
    assert status(videos, second, 200) is TaskStatus.COMPLETED
    assert second.started_at_s == 100
    assert second.ended_at_s == 200


def test_asking_for_an_earlier_time_does_not_turn_time_back() -> None:
    videos = service()
    task = videos.accept(request(), now_s=0)
    videos.advance(500)
    assert status(videos, task, 1) is TaskStatus.COMPLETED
    assert videos.accept(request(), now_s=2).accepted_at_s == 500


def test_an_unknown_id_finds_nothing() -> None:
    assert service().find("video_1", now_s=0) is None


def test_a_refused_prompt_is_billed_and_failed_at_once_without_a_slot() -> None:
    videos = service(slots=1)
    refused = videos.accept(request("x [refuse]"), now_s=0)
    other = videos.accept(request(), now_s=0)
    assert status(videos, refused, 0) is TaskStatus.FAILED
    assert refused.error == "content policy violation: the prompt was refused"
    assert status(videos, other, 0) is TaskStatus.PROCESSING
    assert videos.ledger.billed == 2


def test_a_prompt_that_asks_to_fail_does_so_when_its_processing_ends() -> None:
    videos = service()
    task = videos.accept(request("x [fail]"), now_s=0)
    assert status(videos, task, 99) is TaskStatus.PROCESSING
    assert status(videos, task, 100) is TaskStatus.FAILED
    assert task.error == "generation failed: the prompt asked for a failure"
    assert task.ended_at_s == 100


def test_the_actual_duration_is_fractional_and_close_to_the_asked_one() -> None:
    assert service().accept(request(duration=7), now_s=0).actual_duration_s == 7.0625


def test_the_ledger_counts_every_accepted_call_and_deduplicates_none() -> None:
    videos = service()
    first = videos.accept(request("twice"), now_s=1, idempotency_key="k")
    second = videos.accept(request("twice"), now_s=2, idempotency_key="k")
    videos.accept(request("once", model="videos_fast"), now_s=3)
    videos.ledger.record_refusal()
    ledger = videos.ledger
    assert (ledger.billed, ledger.refused) == (3, 1)
    assert [ledger.billed_for(prompt) for prompt in ("twice", "once", "never")] == [2, 1, 0]
    assert first.id != second.id
    assert [(e.task_id, e.idempotency_key, e.accepted_at_s) for e in ledger.entries[:2]] == [
        (first.id, "k", 1),
        (second.id, "k", 2),
    ]
    assert (ledger.entries[2].model, ledger.entries[2].idempotency_key) == ("videos_fast", None)
    assert repr(ledger) == "<Ledger billed=3 refused=1>"


def lives(seed: int, prompts: list[str]) -> dict[str, list[tuple[str, float]]]:
    videos = service(seed=seed, lifetimes=Lifetimes())
    found: dict[str, list[tuple[str, float]]] = {}
    for prompt in prompts:
        task = videos.accept(request(prompt), now_s=0)
        found.setdefault(prompt, []).append((task.id, task.lifetime_s))
    return found


def test_the_seed_decides_ids_and_lifetimes_whatever_the_order_of_arrival() -> None:
    assert lives(7, ["a", "b", "b", "c"]) == lives(7, ["b", "c", "a", "b"])


def test_another_seed_gives_other_ids_and_lifetimes() -> None:
    assert lives(7, ["a"]) != lives(8, ["a"])


def test_ids_are_unique_and_look_as_documented() -> None:
    videos = service()
    for n in range(2000):
        videos.accept(request(str(n % 3)), now_s=0)
    assert len(videos.tasks) == 2000
    assert all(i.startswith("video_") and len(i) == 22 and i[6:].isdigit() for i in videos.tasks)


def test_an_id_that_is_taken_is_not_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("videos_async.emulator._service._IDS", 10)
    videos = service()
    for n in range(10):
        videos.accept(request(str(n)), now_s=0)
    assert len(videos.tasks) == 10


@pytest.mark.parametrize(("model", "median_s"), [("videos", 150), ("videos_fast", 90)])
def test_lifetimes_are_log_normal_around_the_median_of_the_model(
    model: str, median_s: float
) -> None:
    videos = service(lifetimes=Lifetimes())
    drawn = [videos.accept(request(str(n), model=model), now_s=0).lifetime_s for n in range(3000)]
    assert statistics.median(drawn) == pytest.approx(median_s, rel=0.03)
    quartiles = statistics.quantiles(drawn, n=4)
    # Quartiles of a log-normal lie a factor exp(0.6745 * sigma) from the median.
    assert quartiles[2] / quartiles[1] == pytest.approx(1.224, rel=0.03)
    assert quartiles[1] / quartiles[0] == pytest.approx(1.224, rel=0.03)


def test_the_default_lifetimes_are_those_that_are_documented() -> None:
    lifetimes = Lifetimes()
    assert lifetimes.lifetime_s(request(), 0.5) == 150
    assert lifetimes.lifetime_s(request(model="videos_fast"), 0.5) == 90
    # One standard deviation up: a factor of exp(0.3).
    assert lifetimes.lifetime_s(request(), 0.841344746) == pytest.approx(150 * 1.349859)


def test_reference_media_take_longer() -> None:
    plain = service().accept(request(), now_s=0)
    heavy = service().accept(request(referenceImages=["https://media.example/a.png"]), now_s=0)
    assert heavy.lifetime_s == 1.5 * plain.lifetime_s


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sigma": -1}, "sigma must be a finite number of at least 0, got -1"),
        ({"sigma": float("nan")}, "sigma must be a finite number of at least 0, got nan"),
        ({"default_median_s": 0}, "default_median_s must be a finite number above 0, got 0"),
        ({"references_factor": True}, "references_factor must be a finite number above 0"),
        ({"medians_s": {"videos": 0}}, r"medians_s\['videos'\] must be a finite number above 0"),
    ],
)
def test_lifetimes_that_make_no_sense_are_refused(
    arguments: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Lifetimes(**arguments)  # type: ignore[arg-type] # wrong on purpose


steps = st.lists(
    st.tuples(st.floats(0, 300), st.sampled_from(["a", "b", "c [fail]", "d [refuse]"])),
    min_size=1,
    max_size=40,
)


@given(steps, st.integers(1, 4), st.lists(st.floats(0, 5000), max_size=20))
def test_polling_changes_nothing_and_slots_are_never_exceeded(
    arrivals: list[tuple[float, str]], slots: int, polls: list[float]
) -> None:
    quiet = service(slots=slots, lifetimes=Lifetimes())
    polled = service(slots=slots, lifetimes=Lifetimes())
    now_s = 0.0
    for gap_s, prompt in arrivals:
        for poll_s in sorted(polls):
            if now_s < poll_s < now_s + gap_s:
                polled.advance(poll_s)
        now_s += gap_s
        quiet.accept(request(prompt), now_s=now_s)
        polled.accept(request(prompt), now_s=now_s)
    quiet.advance(1e9)
    polled.advance(1e9)

    def history(videos: VideoService) -> list[tuple[str, float | None, float | None, TaskStatus]]:
        return [(t.id, t.started_at_s, t.ended_at_s, t.status) for t in videos.tasks.values()]

    assert history(quiet) == history(polled)
    spans = [
        (task.started_at_s, task.ended_at_s)
        for task in quiet.tasks.values()
        if task.started_at_s is not None and task.ended_at_s is not None
    ]
    starts = [start for start, _ in spans]
    assert starts == sorted(starts)
    for start in starts:
        assert sum(begun <= start < ended for begun, ended in spans) <= slots
