"""Batches on the emulator and against hostile answers: every request ends exactly once."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.raw_server import Line, RawServer, Request, Script, head
from tests.service import QUICK_POLLS, QUICK_RETRIES, quick_service, quick_session, request
from videos_async import (
    AccountRefused,
    Batch,
    BatchCounts,
    ConfigurationError,
    End,
    GenerationFailed,
    InvalidRequest,
    Key,
    NotSent,
    RateLimit,
    Status,
    SubmissionRefused,
    SubmissionUncertain,
    Transition,
    VideoRequest,
    VideosSession,
    VideoTask,
    WaitTimeout,
    WatchLeft,
)
from videos_async.emulator import FAIL_MARK, REFUSE_MARK, ManualClock, VideosEmulator


async def completed_or(answer: dict[str, Any], sent: Request) -> tuple[int, dict[str, Any]]:
    """Complete every task that is asked for; answer a create call as given."""
    if sent.method == "GET":
        return 200, {"status": "completed", "video_url": "https://example.com/v"}
    return 200, answer


def serving(
    respond: Callable[[Request], Awaitable[tuple[int, dict[str, Any]]]],
) -> Script:
    """Answer each request with the status and the JSON that `respond` makes of it."""

    async def script(line: Line) -> None:
        status, body = await respond(await line.read_request())
        content = json.dumps(body).encode()
        length = ("Content-Length", str(len(content)))
        await line.send(head(status, ("Content-Type", "application/json"), length) + content)

    return script


def raw_session(server: RawServer, **options: Any) -> VideosSession:
    settings: dict[str, Any] = {"poll": QUICK_POLLS, "retry": QUICK_RETRIES, **options}
    return VideosSession("k" * 20, base_url=server.url, **settings)


def assert_adds_up(counts: BatchCounts) -> None:
    waiting = (counts.submitting, counts.unseen, counts.downloading)
    parts = (*waiting, *counts.in_progress.values(), *counts.ended.values())
    assert min(parts) >= 0
    assert sum(parts) == counts.pulled


async def ends_of(batch: Any) -> dict[Any, Transition]:
    """Follow a batch to its end; every key must end exactly once."""
    ends: dict[Any, Transition] = {}
    async for change in batch:
        assert_adds_up(batch.counts)
        assert change.key not in ends
        if change.is_end:
            ends[change.key] = change
    return ends


async def test_every_request_ends_once_with_its_key_its_request_and_its_task() -> None:
    requests = [request(f"prompt {number}") for number in range(100)]
    async with quick_service() as (emulator, session), session.batch(requests) as batch:
        ends = await ends_of(batch)
        assert emulator.ledger.billed == 100
        assert batch.counts == BatchCounts(
            pulled=100, submitting=0, in_progress={}, ended={End.COMPLETED: 100}
        )
    assert sorted(ends) == list(range(100))
    for key, end in ends.items():
        assert end.request is requests[key]
        assert end.task is not None
        assert end.task.id == end.task_id
        assert (end.end, end.error) == (End.COMPLETED, None)
    assert batch.unfinished == ()


async def test_transitions_of_a_request_come_once_and_in_order() -> None:
    stories: dict[Any, list[Transition]] = {}
    async with (
        quick_service() as (_, session),
        session.batch(request(f"{number}") for number in range(50)) as batch,
    ):
        async for change in batch:
            stories.setdefault(change.key, []).append(change)
    for story in stories.values():
        assert [change.previous for change in story] == [
            None,
            *(change.status for change in story[:-1]),
        ]
        assert len({change.status for change in story}) == len(story)


async def test_keys_of_the_callers_own_name_the_outcomes() -> None:
    async with (
        quick_service() as (_, session),
        session.batch([("cat", request("a")), ("dog", request("b"))]) as batch,
    ):
        ends = await ends_of(batch)
    assert set(ends) == {"cat", "dog"}


async def test_an_asynchronous_input_is_pulled_as_submitters_get_free() -> None:
    pulled = 0

    async def endless() -> AsyncIterator[VideoRequest]:
        nonlocal pulled
        while True:
            pulled += 1
            yield request(f"{pulled}")

    limit = RateLimit(submits_in_flight=3)
    async with (
        VideosEmulator(clock=ManualClock()) as emulator,
        quick_session(emulator, limit=limit) as session,
    ):
        async with session.batch(endless(), grace_s=5) as batch:
            first = await anext(batch)
            assert first.status == Status.QUEUED
        # What was buffered, what three submitters held, and no more.
        assert pulled <= 64 + 2 * 3 + 1
        assert emulator.ledger.billed <= pulled


async def test_a_consumer_that_stops_listening_stops_the_pulling() -> None:
    pulled = 0

    def counted() -> Iterator[VideoRequest]:
        nonlocal pulled
        for number in range(10_000):
            pulled += 1
            yield request(f"{number}")

    async with (
        VideosEmulator(clock=ManualClock()) as emulator,
        quick_session(emulator) as session,
        session.batch(counted()) as batch,
    ):
        await anext(batch)
        before = -1
        while before != pulled:  # until it pulls no more
            before = pulled
            for _ in range(20):
                await session.query(emulator.ledger.entries[0].task_id)
        assert pulled < 200


async def test_failures_of_every_kind_end_their_own_request_and_no_other() -> None:
    requests = [
        request("good"),
        request(f"{FAIL_MARK} late"),
        request(f"{REFUSE_MARK} at once"),
        request("", duration=99),
        "no request at all",
        request("good as well"),
    ]
    async with quick_service() as (emulator, session), session.batch(requests) as batch:  # type: ignore[arg-type]
        ends = await ends_of(batch)
        assert emulator.ledger.billed == 4
    assert [ends[key].end for key in range(6)] == [
        End.COMPLETED,
        End.FAILED,
        End.FAILED,
        End.INVALID,
        End.INVALID,
        End.COMPLETED,
    ]
    assert isinstance(ends[1].error, GenerationFailed)
    assert isinstance(ends[3].error, InvalidRequest)
    assert len(ends[3].error.violations) == 2
    assert "VideoRequest" in str(ends[4].error)


async def test_a_key_that_is_used_twice_is_told_and_the_first_goes_on() -> None:
    items = [("same", request("a")), ("same", request("b")), (True, request("c"))]
    async with quick_service() as (emulator, session), session.batch(items) as batch:  # type: ignore[arg-type]
        story = [change async for change in batch if change.is_end]
        assert emulator.ledger.billed == 1
    assert Counter(change.end for change in story) == {End.COMPLETED: 1, End.INVALID: 2}
    assert any("unique" in str(change.error) for change in story)


async def test_a_number_and_its_digits_are_one_key_as_they_name_one_file() -> None:
    items: list[tuple[Key, VideoRequest]] = [(7, request("a")), ("7", request("b"))]
    async with quick_service() as (emulator, session), session.batch(items) as batch:
        story = [change async for change in batch if change.is_end]
        assert emulator.ledger.billed == 1
    assert Counter(change.end for change in story) == {End.COMPLETED: 1, End.INVALID: 1}


async def test_an_input_that_breaks_raises_once_what_was_paid_for_has_ended() -> None:
    def broken() -> Iterator[VideoRequest]:
        yield request("one")
        yield request("two")
        raise LookupError("the input broke")

    ends: list[Transition] = []

    async def follow(session: VideosSession) -> None:
        async with session.batch(broken()) as batch:
            async for change in batch:
                if change.is_end:
                    ends.append(change)  # noqa: PERF401 - the loop raises half-way

    async with quick_service() as (_, session):
        with pytest.raises(LookupError, match="the input broke"):
            await follow(session)
    assert [change.end for change in ends] == [End.COMPLETED] * 2


# --- guards --------------------------------------------------------------------------------


async def test_no_create_call_is_made_beyond_the_allowed_number() -> None:
    async with (
        quick_service() as (emulator, session),
        session.batch((request(f"{n}") for n in range(30)), max_submissions=7) as batch,
    ):
        ends = await ends_of(batch)
        assert emulator.ledger.billed == 7
    assert Counter(end.end for end in ends.values()) == {End.COMPLETED: 7, End.NOT_SUBMITTED: 23}
    errors = [end.error for end in ends.values() if end.error is not None]
    assert all(isinstance(error, NotSent) for error in errors)
    assert "max_submissions=7" in str(errors[0])


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_a_refused_account_stops_submitting_and_paid_tasks_are_watched_to_their_end(
    status: int,
) -> None:
    accepted = 5

    async def respond(sent: Request) -> tuple[int, dict[str, Any]]:
        if sent.method == "POST" and server.posts > accepted:
            return status, {"message": "no credit"}
        return await completed_or({"id": f"video_{server.posts}", "status": "queued"}, sent)

    server = RawServer(serving(respond))
    limit = RateLimit(submits_in_flight=1)
    async with (
        server,
        raw_session(server, limit=limit) as session,
        session.batch(request(f"{n}") for n in range(20)) as batch,
    ):
        ends = await ends_of(batch)
        assert server.posts == accepted + 1
    kinds = Counter(end.end for end in ends.values())
    assert kinds == {End.COMPLETED: 5, End.REFUSED: 1, End.NOT_SUBMITTED: 14}
    assert isinstance(ends[5].error, AccountRefused)


async def test_a_refusal_of_one_request_does_not_stop_the_others() -> None:
    async def respond(sent: Request) -> tuple[int, dict[str, Any]]:
        if sent.method == "POST" and server.posts == 2:
            return 422, {"message": "bad image"}
        return await completed_or({"id": f"video_{server.posts}", "status": "queued"}, sent)

    server = RawServer(serving(respond))
    limit = RateLimit(submits_in_flight=1)
    async with (
        server,
        raw_session(server, limit=limit) as session,
        session.batch(request(f"{n}") for n in range(4)) as batch,
    ):
        ends = await ends_of(batch)
    assert isinstance(ends[1].error, SubmissionRefused)
    assert [ends[key].end for key in (0, 2, 3)] == [End.COMPLETED] * 3


async def test_a_deadline_of_a_request_leaves_its_id_in_hand() -> None:
    async with (
        VideosEmulator(clock=ManualClock()) as emulator,
        quick_session(emulator) as session,
        session.batch([request()], timeout=0.2) as batch,
    ):
        ends = await ends_of(batch)
    assert isinstance(ends[0].error, WaitTimeout)
    assert ends[0].task_id in emulator.tasks
    assert ends[0].end is End.TIMED_OUT


async def test_the_deadline_of_the_batch_leaves_ids_in_hand_and_the_rest_unsent() -> None:
    async with (
        VideosEmulator(clock=ManualClock()) as emulator,
        quick_session(emulator, limit=RateLimit(submits_per_s=20)) as session,
        session.batch((request(f"{n}") for n in range(200)), batch_timeout=0.5) as batch,
    ):
        ends = await ends_of(batch)
    kinds = Counter(end.end for end in ends.values())
    assert set(kinds) == {End.TIMED_OUT, End.NOT_SUBMITTED}
    assert kinds[End.TIMED_OUT] == emulator.ledger.billed >= 1
    assert sum(kinds.values()) == 200


async def test_a_dry_run_reports_per_key_and_sends_nothing() -> None:
    async with quick_service() as (emulator, session):
        report = await session.dry_run(
            [("good", request()), ("bad", request(duration=1)), ("worse", request("", ratio="1:2"))]
        )
        assert emulator.requests.total == 0
    assert report.pulled == 3
    assert report.valid == 1
    assert {key: len(error.violations) for key, error in report.invalid.items()} == {
        "bad": 1,
        "worse": 2,
    }


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("timeout", 0),
        ("batch_timeout", -1),
        ("max_submissions", -1),
        ("max_submissions", 2.5),
        ("max_submissions", True),
        ("grace_s", -1),
        ("on_transition", "print"),
    ],
)
async def test_a_wrong_option_is_refused_by_name(option: str, value: Any) -> None:
    async with quick_service() as (_, session):
        with pytest.raises(ConfigurationError) as caught:
            session.batch([], **{option: value})
    assert option in caught.value.setting


# --- leaving -------------------------------------------------------------------------------


async def test_leaving_early_brings_home_the_ids_of_calls_whose_bytes_have_left() -> None:
    held, release = anyio.Event(), anyio.Event()

    async def respond(_: Request) -> tuple[int, dict[str, Any]]:
        held.set()
        await release.wait()
        return 200, {"id": "video_1", "status": "queued"}

    server = RawServer(serving(respond))
    async with server, raw_session(server) as session:
        batch = session.batch([("mine", request())])

        async def leave_at_once() -> None:
            async with batch:
                await held.wait()

        async with anyio.create_task_group() as group:
            group.start_soon(leave_at_once)
            await held.wait()
            for _ in range(20):  # the batch is being left meanwhile
                await anyio.lowlevel.checkpoint()
            release.set()
        assert server.posts == 1
    (change,) = batch.unfinished
    assert isinstance(change.error, WatchLeft)
    assert (change.key, change.task_id, change.end) == ("mine", "video_1", End.LEFT)
    assert_adds_up(batch.counts)


async def test_a_call_that_outlasts_the_grace_time_is_uncertain_and_never_lost() -> None:
    held = anyio.Event()

    async def respond(_: Request) -> tuple[int, dict[str, Any]]:
        held.set()
        await anyio.sleep_forever()
        raise AssertionError

    server = RawServer(serving(respond))
    async with server, raw_session(server) as session:
        async with session.batch([request("doubt")], grace_s=0.1) as batch:
            await held.wait()
        assert [doubt.request.prompt for doubt in session.uncertain] == ["doubt"]
    (change,) = batch.unfinished
    assert isinstance(change.error, SubmissionUncertain)
    assert_adds_up(batch.counts)


async def leave_by_break(batch: Batch, delivered: list[Transition]) -> None:
    async with batch:
        async for change in batch:
            delivered.append(change)
            if len(delivered) == 30:
                break


async def leave_by_error(batch: Batch, delivered: list[Transition]) -> None:
    async def fail() -> None:
        async with batch:
            async for change in batch:
                delivered.append(change)
                if len(delivered) == 30:
                    raise LookupError

    with pytest.raises(LookupError):
        await fail()


async def listen_for_a_while(batch: Batch, delivered: list[Transition]) -> None:
    async with batch:
        async for change in batch:
            delivered.append(change)
            if len(delivered) == 30:
                await anyio.sleep_forever()


async def leave_by_cancellation(batch: Batch, delivered: list[Transition]) -> None:
    task = asyncio.create_task(listen_for_a_while(batch, delivered))
    while len(delivered) < 30:
        await anyio.lowlevel.checkpoint()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def leave_by_scope(batch: Batch, delivered: list[Transition]) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(listen_for_a_while, batch, delivered)
        while len(delivered) < 30:
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()


@pytest.mark.parametrize(
    "leave", [leave_by_break, leave_by_error, leave_by_cancellation, leave_by_scope]
)
async def test_however_a_batch_is_left_every_pulled_request_is_accounted_for(
    leave: Callable[[Batch, list[Transition]], Awaitable[None]],
) -> None:
    delivered: list[Transition] = []
    async with VideosEmulator(clock=ManualClock()) as emulator, quick_session(emulator) as session:
        batch = session.batch(request(f"{n}") for n in range(500))
        await leave(batch, delivered)
        billed = {entry.task_id for entry in emulator.ledger.entries}
    assert_adds_up(batch.counts)
    assert batch.counts.submitting == 0
    assert batch.counts.in_progress == {}
    ended = [change.key for change in (*delivered, *batch.unfinished) if change.is_end]
    assert len(ended) == len(set(ended)) == batch.counts.pulled
    assert {change.task_id for change in batch.unfinished if change.task_id} == billed


# --- conveniences --------------------------------------------------------------------------


async def test_generate_many_gives_results_in_input_order_errors_in_place() -> None:
    async with quick_service() as (_, session):
        results = await session.generate_many(
            [request("a"), request(f"{FAIL_MARK} b"), request("", duration=1), request("d")]
        )
    assert isinstance(results[0], VideoTask)
    assert isinstance(results[1], GenerationFailed)
    assert isinstance(results[2], InvalidRequest)
    assert isinstance(results[3], VideoTask)


async def test_what_a_cancelled_generate_many_paid_for_is_left_in_the_session(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with quick_service(processing_slots=1) as (emulator, session):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await session.generate_many([request(f"{number}") for number in range(60)])
        billed = [entry.task_id for entry in emulator.ledger.entries]
        assert billed
        assert sorted(task.id for task in session.unclaimed) == sorted(billed)
        assert all(task_id in caplog.text for task_id in billed)


async def test_completed_iterates_over_finished_tasks_alone() -> None:
    prompts = ["a", f"{FAIL_MARK} b", "c"]
    async with quick_service() as (_, session), session.batch(map(request, prompts)) as batch:
        done = [task async for task in batch.completed()]
    assert [task.status for task in done] == [Status.COMPLETED] * 2


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_hook_sees_every_transition_and_its_failures_end_nothing(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Transition] = []

    def note(change: Transition) -> None:
        seen.append(change)
        if change.is_end:
            raise ValueError("a metric broke")

    async def note_later(change: Transition) -> None:
        await anyio.lowlevel.checkpoint()
        note(change)

    hook = note if kind == "sync" else note_later
    with caplog.at_level(logging.ERROR, logger="videos_async"):
        async with (
            quick_service() as (_, session),
            session.batch((request(f"{n}") for n in range(10)), on_transition=hook) as batch,
        ):
            story = [change async for change in batch]
    assert seen == story
    assert batch.hook_failures == 10
    assert "a metric broke" in caplog.text


async def test_closing_the_session_under_a_batch_ends_it_and_keeps_the_ids() -> None:
    async with VideosEmulator(clock=ManualClock()) as emulator:
        session = quick_session(emulator)
        batch = session.batch(request(f"{n}") for n in range(5))

        async def follow() -> None:
            async with batch:
                async for change in batch:
                    if change.status == Status.PROCESSING:
                        await session.aclose()

        with pytest.raises(Exception, match="closed"):
            await follow()
    ids = {change.task_id for change in batch.unfinished}
    assert ids == {entry.task_id for entry in emulator.ledger.entries}
