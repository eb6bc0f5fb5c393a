"""The session on the emulator: what a service that uses the library sees of it."""

from __future__ import annotations

import asyncio
import gc
import pickle
import warnings
from collections import defaultdict
from typing import Any

import aiohttp
import anyio
import anyio.lowlevel
import pytest

from tests.service import (
    QUICK_POLLS,
    open_descriptors,
    other_tasks,
    quick_service,
    quick_session,
    request,
)
from videos_async import (
    BUILTIN_MODELS,
    AccountRefused,
    ConfigurationError,
    GenerationFailed,
    InvalidRequest,
    ModelSpec,
    NotSubmitted,
    PollPolicy,
    QueryRefused,
    RetryPolicy,
    SessionClosed,
    Status,
    TaskNotFound,
    Transition,
    VideosSession,
    WaitTimeout,
)
from videos_async.emulator import (
    CONTRACT_MODELS,
    FAIL_MARK,
    REFUSE_MARK,
    ManualClock,
    ModelRules,
    VideosEmulator,
    VirtualClock,
)

ORDER = [Status.QUEUED, Status.PROCESSING, Status.COMPLETED]


async def test_two_hundred_tasks_give_each_transition_once_in_order_and_one_end_each() -> None:
    async with quick_service() as (emulator, session):
        submissions = [session.submit(request(f"prompt {number}")) for number in range(200)]
        tasks = await asyncio.gather(*submissions)
        stories: dict[int, list[Transition]] = defaultdict(list)
        async with session.watch(tasks) as transitions:
            async for change in transitions:
                stories[int(change.key)].append(change)
        assert emulator.ledger.billed == 200
    assert set(stories) == set(range(200))
    for key, story in stories.items():
        statuses = [change.status for change in story]
        assert statuses == sorted(set(statuses), key=ORDER.index)  # type: ignore[arg-type]
        assert [change.previous for change in story] == [None, *statuses[:-1]]
        assert [change.is_end for change in story] == [False] * (len(story) - 1) + [True]
        assert {change.task_id for change in story} == {tasks[key].id}
        assert story[-1].task is not None
        assert story[-1].task.video_url is not None


async def test_generate_brings_the_finished_task() -> None:
    async with quick_service() as (emulator, session):
        task = await session.generate(request("A kitten", duration=7))
        assert task.status == Status.COMPLETED
        assert task.actual_duration == pytest.approx(7, abs=0.2)
        assert emulator.ledger.billed_for("A kitten") == 1


async def test_a_failed_generation_raises_with_the_services_reason_and_the_task() -> None:
    async with quick_service() as (_, session):
        task = await session.submit(request(f"{REFUSE_MARK} something"))
        with pytest.raises(GenerationFailed) as caught:
            await session.wait(task)
    assert caught.value.task_id == task.id
    assert caught.value.reason
    assert caught.value.task is not None
    assert caught.value.task.status == Status.FAILED


async def test_one_failed_task_does_not_end_the_others() -> None:
    async with quick_service() as (_, session):
        prompts = ["one", f"two {FAIL_MARK}", f"three {REFUSE_MARK}", "four"]
        tasks = [await session.submit(request(prompt)) for prompt in prompts]
        async with session.watch([*tasks, "unknown"]) as transitions:
            ends = {change.key: change async for change in transitions if change.is_end}
    assert [ends[key].status for key in range(4)] == [
        Status.COMPLETED,
        Status.FAILED,
        Status.FAILED,
        Status.COMPLETED,
    ]
    assert isinstance(ends[1].error, GenerationFailed)
    assert isinstance(ends[4].error, TaskNotFound)
    assert ends[4].status is None


async def test_a_wait_that_runs_out_keeps_the_id_and_the_last_snapshot() -> None:
    async with (
        VideosEmulator(clock=ManualClock()) as emulator,
        quick_session(emulator) as session,
    ):
        task = await session.submit(request())
        with pytest.raises(WaitTimeout) as caught:
            await session.wait(task, timeout=0.2)
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.task_id == task.id
        assert caught.value.task is not None
        # With one slot free the task went straight to processing, and the last look saw it.
        assert caught.value.task.status == Status.PROCESSING
        assert emulator.ledger.billed == 1


async def test_the_task_of_a_wait_that_ran_out_can_be_waited_for_again() -> None:
    clock = ManualClock()
    async with VideosEmulator(clock=clock) as emulator, quick_session(emulator) as session:
        task = await session.submit(request())
        with pytest.raises(WaitTimeout):
            await session.wait(task, timeout=0.1)
        clock.advance(3600)
        assert (await session.wait(task.id)).status == Status.COMPLETED


async def test_leaving_a_watch_by_break_leaves_no_task_and_no_connection() -> None:
    async with VideosEmulator(clock=ManualClock()) as emulator:
        before = open_descriptors()
        tasks_before = other_tasks()
        async with quick_session(emulator) as session:
            tasks = [await session.submit(request(f"{number}")) for number in range(20)]
            async with session.watch(tasks) as transitions:
                async for change in transitions:
                    if change.status == Status.PROCESSING:
                        break
            assert other_tasks() - tasks_before <= _server_tasks()
        await _connections_closed(before)


async def test_an_exception_in_the_block_comes_out_as_it_is_and_leaves_nothing_behind() -> None:
    async with VideosEmulator(clock=ManualClock()) as emulator:
        before = open_descriptors()
        async with quick_session(emulator) as session:
            tasks = [await session.submit(request(f"{number}")) for number in range(20)]

            async def fail_in_the_block() -> None:
                async with session.watch(tasks) as transitions:
                    async for change in transitions:
                        if change.status == Status.PROCESSING:
                            raise LookupError("an error of the caller")

            with pytest.raises(LookupError, match="of the caller") as caught:
                await fail_in_the_block()
            assert caught.value.__cause__ is None
        await _connections_closed(before)


async def test_a_cancelled_watch_closes_every_connection() -> None:
    async with VideosEmulator(clock=ManualClock()) as emulator:
        before = open_descriptors()
        async with quick_session(emulator) as session:
            tasks = [await session.submit(request(f"{number}")) for number in range(20)]
            watching = asyncio.Event()

            async def follow() -> None:
                async with session.watch(tasks) as transitions:
                    async for change in transitions:
                        if change.status == Status.PROCESSING:
                            watching.set()

            follower = asyncio.create_task(follow())
            await watching.wait()
            follower.cancel()
            with pytest.raises(asyncio.CancelledError):
                await follower
        await _connections_closed(before)


@pytest.mark.parametrize("limit", ["anyio", "asyncio"])
async def test_a_watch_inside_a_time_limit_is_cut_off_by_it(limit: str) -> None:
    async with (
        VideosEmulator(clock=ManualClock()) as emulator,
        quick_session(emulator) as session,
    ):
        task = await session.submit(request())
        if limit == "anyio":
            with anyio.move_on_after(0.1) as scope:
                await session.wait(task)
            assert scope.cancelled_caught
        else:
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(0.1):
                    await session.wait(task)
            assert not isinstance(caught.value, WaitTimeout)
        assert (await session.query(task)).status == Status.PROCESSING


async def test_what_a_generate_paid_for_that_ran_out_of_time_is_left_in_the_session(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        VideosEmulator(clock=ManualClock()) as emulator,
        quick_session(emulator) as session,
    ):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await session.generate(request(), key="kitten")
        (task,) = session.unclaimed
        assert [entry.task_id for entry in emulator.ledger.entries] == [task.id]
        assert f"task {task.id} of 'kitten' is paid for" in caplog.text
        await emulator.advance(600)
        assert (await session.wait(task)).status == Status.COMPLETED


async def test_a_generate_that_failed_has_nothing_left_to_claim() -> None:
    async with quick_service() as (_, session):
        with pytest.raises(GenerationFailed):
            await session.generate(request(FAIL_MARK))
        assert session.unclaimed == ()


async def test_a_watch_is_polled_no_more_once_it_was_left() -> None:
    polls = PollPolicy(min_interval_s=0.02, max_interval_s=0.04)
    async with (
        VideosEmulator(clock=ManualClock()) as emulator,
        quick_session(emulator, poll=polls) as session,
    ):
        task = await session.submit(request())
        async with session.watch([task]) as transitions:
            async for _ in transitions:
                break
        before = emulator.requests.queries
        # Ten intervals of another watch go by, and all polls are its own.
        with pytest.raises(WaitTimeout):
            await session.wait(await session.submit(request("other")), timeout=0.3)
        assert emulator.tasks[task.id].id == task.id
        own = emulator.requests.queries - before
        assert 5 <= own <= 16


async def test_a_mapping_gives_keys_of_the_callers_own() -> None:
    async with quick_service() as (_, session):
        tasks = {name: await session.submit(request(name)) for name in ("cat", "dog")}
        async with session.watch(tasks) as transitions:
            ends = {change.key: change async for change in transitions if change.is_end}
    assert {key: end.task_id for key, end in ends.items()} == {
        name: task.id for name, task in tasks.items()
    }


async def test_an_id_given_twice_is_followed_once() -> None:
    async with quick_service() as (_, session):
        task = await session.submit(request())
        async with session.watch([task, task.id, task]) as transitions:
            story = [change async for change in transitions]
    assert [change.key for change in story] == [0] * len(story)
    assert [change.is_end for change in story].count(True) == 1


async def test_a_task_that_has_ended_is_told_without_a_poll() -> None:
    async with quick_service() as (emulator, session):
        done = await session.generate(request())
        polls = emulator.requests.queries
        async with session.watch([done]) as transitions:
            story = [change async for change in transitions]
        assert [(change.previous, change.status) for change in story] == [(None, Status.COMPLETED)]
        assert emulator.requests.queries == polls


async def test_watching_nothing_ends_at_once() -> None:
    async with quick_service() as (_, session), session.watch([]) as transitions:
        assert [change async for change in transitions] == []


async def test_two_tasks_of_a_program_may_watch_through_one_session() -> None:
    async with quick_service() as (_, session):
        first, second = await session.submit(request("a")), await session.submit(request("b"))
        done = await asyncio.gather(session.wait(first), session.wait(second), session.wait(first))
    assert [task.id for task in done] == [first.id, second.id, first.id]


async def test_a_slow_consumer_holds_the_polls_up_and_loses_nothing() -> None:
    async with quick_service() as (_, session):
        tasks = [await session.submit(request(f"{number}")) for number in range(100)]
        ends = 0
        async with session.watch(tasks) as transitions:
            first = await anext(transitions)
            # The last one is finished and nobody has listened meanwhile.
            await session.wait(tasks[-1])
            async for change in transitions:
                ends += change.is_end
    assert not first.is_end
    assert ends == 100


async def test_a_watch_must_be_entered_and_only_once() -> None:
    async with quick_service() as (_, session):
        watch = session.watch(["some"])
        with pytest.raises(RuntimeError, match="async with"):
            await anext(watch)
        async with watch:
            with pytest.raises(RuntimeError, match="entered once"):
                await watch.__aenter__()
        with pytest.raises(RuntimeError, match="inside its async with block"):
            await anext(watch)


async def test_a_single_task_in_place_of_several_is_told_apart() -> None:
    async with quick_service() as (_, session):
        with pytest.raises(TypeError, match=r"session\.wait"):
            session.watch("video_1")


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), True, "5"])
async def test_a_timeout_that_is_no_time_is_refused_before_any_poll(timeout: Any) -> None:
    async with quick_service() as (emulator, session):
        with pytest.raises(ConfigurationError, match="seconds above 0, or None"):
            await session.wait("video_1", timeout=timeout)
        assert emulator.requests.queries == 0


# --- time ----------------------------------------------------------------------------------


def test_on_a_timer_a_task_is_polled_every_thirty_to_sixty_seconds_first_poll_included() -> None:
    async def watch_ten_minutes() -> tuple[float, int]:
        async with (
            VideosEmulator(clock=ManualClock()) as emulator,
            VideosSession(
                emulator.api_key, base_url=emulator.base_url, poll=PollPolicy()
            ) as session,
        ):
            task = await session.submit(request())
            async with session.watch([task], timeout=600) as transitions:
                story = [change async for change in transitions]
            return story[1].elapsed, emulator.requests.queries

    with asyncio.Runner(loop_factory=VirtualClock().new_event_loop) as runner:
        first_poll_s, polls = runner.run(watch_ten_minutes())
    assert 30 <= first_poll_s <= 75
    # 600 s hold 10 to 20 intervals; the last look is one more.
    assert 8 <= polls <= 21


# --- opening and closing -------------------------------------------------------------------


async def test_closing_twice_is_fine_and_calls_after_it_say_so() -> None:
    async with VideosEmulator() as emulator:
        session = quick_session(emulator)
        task = await session.submit(request())
        await session.aclose()
        await session.aclose()
        with pytest.raises(SessionClosed, match="open a new"):
            await session.submit(request())
        with pytest.raises(SessionClosed):
            await session.query(task)
        assert emulator.ledger.billed == 1


async def test_closing_under_a_watch_ends_it_with_an_error_of_its_own_name() -> None:
    async with VideosEmulator(clock=ManualClock()) as emulator:
        session = quick_session(emulator)
        task = await session.submit(request())

        async def close_in_the_block() -> None:
            async with session.watch([task]) as transitions:
                async for _ in transitions:
                    await session.aclose()

        with pytest.raises(SessionClosed):
            await close_in_the_block()


async def test_a_session_left_open_is_warned_about() -> None:
    async with VideosEmulator() as emulator:
        session = quick_session(emulator)
        await session.query((await session.submit(request())).id)
        transport = session._open_transport  # pyright: ignore[reportPrivateUsage]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del session
            gc.collect()
        await transport.aclose()
    ours = [str(one.message) for one in caught if one.category is ResourceWarning]
    assert any("VideosSession" in text and "aclose" in text for text in ours)


async def test_a_session_that_was_never_used_needs_no_closing() -> None:
    async with VideosEmulator() as emulator:
        session = quick_session(emulator)
        del session
        gc.collect()


async def test_an_injected_client_session_is_used_and_not_closed() -> None:
    async with VideosEmulator() as emulator, aiohttp.ClientSession() as client:
        async with quick_session(emulator, client_session=client) as session:
            await session.submit(request())
        assert not client.closed
        assert emulator.ledger.billed == 1


def test_a_session_works_under_uvloop_and_inside_anyio_run() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def generate() -> Status:
        async with quick_service() as (_, session):
            return (await session.generate(request())).status

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(generate()) == Status.COMPLETED
    assert anyio.run(generate) == Status.COMPLETED


def test_a_session_cannot_be_pickled() -> None:
    session = VideosSession("some-key", base_url="http://127.0.0.1:9")
    with pytest.raises(TypeError, match="each process"):
        pickle.dumps(session)


# --- settings ------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
async def test_a_base_url_works_with_and_without_slash_and_version(ending: str) -> None:
    async with (
        VideosEmulator() as emulator,
        VideosSession(emulator.api_key, base_url=emulator.base_url + ending) as session,
    ):
        task = await session.submit(request())
        assert (await session.query(task)).id == task.id


async def test_key_and_base_url_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with VideosEmulator() as emulator:
        monkeypatch.setenv("VIDEOS_API_KEY", emulator.api_key)
        monkeypatch.setenv("VIDEOS_BASE_URL", emulator.base_url)
        async with VideosSession() as session:
            await session.submit(request())
        assert emulator.ledger.billed == 1


@pytest.mark.parametrize(
    ("setting", "value", "rule"),
    [
        ("poll", 30, r"must be an AdaptivePolling\(…\) or a PollPolicy\(…\), got 30"),
        ("timeouts", 30, r"must be a Timeouts"),
        ("retry", {"max_attempts": 1}, r"must be a RetryPolicy"),
        ("limit", 8, r"must be a RateLimit"),
        ("models", ModelSpec(name="one"), r"must be a list of ModelSpec"),
        ("models", ["videos"], r"must be a list of ModelSpec"),
        ("models", [], r"must be a list of ModelSpec"),
        ("proxy", "socks5://127.0.0.1:1", r"must be an http or https URL"),
        ("plain_http_hosts", "internal", r"must be a list of host names"),
        ("base_url", "http://videos.example.com", r"plain_http_hosts=\['videos.example.com'\]"),
        ("api_key", "two words", r"printable ASCII"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(setting: str, value: Any, rule: str) -> None:
    settings: dict[str, Any] = {"api_key": "some-key", setting: value}
    with pytest.raises(ConfigurationError, match=rule) as caught:
        VideosSession(**settings)
    assert caught.value.setting == setting


def test_a_missing_key_is_told_with_both_places_to_put_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIDEOS_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="VIDEOS_API_KEY"):
        VideosSession()


async def test_a_wrong_key_is_refused_by_name_and_bills_nothing() -> None:
    async with (
        VideosEmulator() as emulator,
        VideosSession("wrong", base_url=emulator.base_url) as session,
    ):
        with pytest.raises(AccountRefused, match="API key"):
            await session.submit(request())
        with pytest.raises(QueryRefused, match="API key"):
            await session.query("video_1")
        assert emulator.ledger.billed == 0


async def test_a_wrong_base_url_is_told_from_an_unknown_task() -> None:
    async with VideosEmulator() as emulator:
        root = emulator.base_url.rsplit("/", 1)[0]
        async with VideosSession(emulator.api_key, base_url=root) as session:
            with pytest.raises(TaskNotFound, match="No handler found"):
                await session.query("video_1")


async def test_a_service_that_is_not_there_leaves_a_request_unsubmitted() -> None:
    async with VideosEmulator() as emulator:
        base_url = emulator.base_url
    async with VideosSession(
        "some-key",
        base_url=base_url,
        poll=QUICK_POLLS,
        retry=RetryPolicy(max_attempts=2, base_s=0.001),
    ) as session:
        with pytest.raises(NotSubmitted, match="tried 2 times"):
            await session.submit(request())
        assert session.uncertain == ()


async def test_an_invalid_request_is_refused_before_anything_is_sent() -> None:
    async with quick_service() as (emulator, session):
        with pytest.raises(InvalidRequest) as caught:
            await session.submit(request("", duration=3), key="mine")
        assert {violation.field for violation in caught.value.violations} == {"prompt", "duration"}
        assert caught.value.key == "mine"
        assert emulator.requests.total == 0


async def test_a_registered_model_is_accepted_with_its_own_limits_and_fields() -> None:
    stable = ModelSpec(name="videos_stable", prompt_limit=5000)
    rules = ModelRules(name="videos_stable", prompt_limit_characters=5000)
    async with VideosEmulator(models=[*CONTRACT_MODELS, rules]) as emulator:
        async with quick_session(emulator, models=[*BUILTIN_MODELS, stable]) as session:
            audio = {"referenceAudios": ["https://example.com/a.mp3"]}
            task = await session.submit(request("x" * 4000, model="videos_stable", extra=audio))
            assert task.model == "videos_stable"
        async with quick_session(emulator) as session:
            with pytest.raises(InvalidRequest, match="register another"):
                await session.submit(request(model="videos_stable"))


def _server_tasks() -> set[asyncio.Task[Any]]:
    return {task for task in asyncio.all_tasks() if "RequestHandler" in repr(task)}


async def _connections_closed(before: set[str]) -> None:
    """Wait until the server, too, has seen the connections go."""
    with anyio.fail_after(10):
        while open_descriptors() - before:
            await anyio.lowlevel.checkpoint()
