"""Batches and single requests with a journal: what stays planned, what is taken up, who drives."""

# What a crash leaves and a disk refuses is brought about below the public face.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio.lowlevel
import pytest

from tests.raw_server import RawServer, Request
from tests.service import quick_service, quick_session, request
from tests.test_batch import completed_or, ends_of, raw_session, serving
from videos_async import (
    Batch,
    ConfigurationError,
    End,
    Journal,
    JournalEntry,
    JournalLocked,
    JournalWriteFailed,
    KeyConflict,
    KeyState,
    RateLimit,
    Transition,
    VideoRequest,
    VideosSession,
    WaitTimeout,
)
from videos_async._driver_lock import DriverLock
from videos_async.emulator import FAIL_MARK, ManualClock, VideosEmulator

ONE_BY_ONE = RateLimit(submits_in_flight=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.sqlite"


def keyed(*keys: str) -> list[tuple[str, VideoRequest]]:
    return [(key, request(key)) for key in keys]


def numbered(count: int) -> Iterator[tuple[str, VideoRequest]]:
    yield from keyed(*(f"{number}" for number in range(count)))


async def entries_of(path: Path) -> dict[Any, JournalEntry]:
    async with Journal(path) as journal:
        return {entry.key: entry async for entry in journal.entries()}


async def states_of(path: Path) -> Counter[KeyState]:
    return Counter(entry.state for entry in (await entries_of(path)).values())


def assert_free(path: Path) -> None:
    """Somebody else may drive the journal now."""
    lock = DriverLock(path)
    lock.take()
    lock.release(is_settled=False)


def assert_paid_once(emulator: VideosEmulator) -> None:
    billed = Counter(entry.prompt for entry in emulator.ledger.entries)
    assert set(billed.values()) <= {1}


# --- runs that follow each other -----------------------------------------------------------


async def test_a_batch_that_came_to_its_end_ends_again_without_a_call(path: Path) -> None:
    requests = [*keyed("a", "b"), ("c", request(f"{FAIL_MARK} c")), ("d", request("", duration=99))]
    async with quick_service() as (emulator, session):
        async with session.batch(requests, journal=path) as batch:
            first = await ends_of(batch)
        calls = emulator.requests.total
        async with session.batch(requests, journal=path) as batch:
            again = await ends_of(batch)
        assert emulator.requests.total == calls
    assert all(end.is_replayed for end in again.values())
    for key, end in first.items():
        assert (again[key].end, again[key].task_id) == (end.end, end.task_id)
        assert type(again[key].error) is type(end.error)


async def test_what_is_not_sent_stays_planned_and_is_sent_when_resumed(path: Path) -> None:
    async with quick_service() as (emulator, session):
        async with session.batch(numbered(10), journal=path, max_submissions=4) as batch:
            kinds = Counter(end.end for end in (await ends_of(batch)).values())
        assert kinds == {End.COMPLETED: 4, End.NOT_SUBMITTED: 6}
        assert await states_of(path) == {KeyState.COMPLETED: 4, KeyState.PLANNED: 6}
        async with session.resume(path) as batch:
            ends = await ends_of(batch)
        assert emulator.ledger.billed == 10
        assert_paid_once(emulator)
    assert Counter(end.is_replayed for end in ends.values()) == {True: 4, False: 6}


async def test_what_a_refused_account_kept_from_being_sent_stays_planned(path: Path) -> None:
    is_funded = False

    async def respond(sent: Request) -> tuple[int, dict[str, Any]]:
        if sent.method == "POST" and server.posts > 2 and not is_funded:
            return 402, {"message": "no credit"}
        return await completed_or({"id": f"video_{server.posts}", "status": "queued"}, sent)

    server = RawServer(serving(respond))
    async with server, raw_session(server, limit=ONE_BY_ONE) as session:
        async with session.batch(list(numbered(6)), journal=path) as batch:
            await ends_of(batch)
        before = await states_of(path)
        assert before == {KeyState.COMPLETED: 2, KeyState.PLANNED: 4}
        is_funded = True
        async with session.resume(path) as batch:
            await ends_of(batch)
    assert await states_of(path) == {KeyState.COMPLETED: 6}


async def test_a_task_given_up_by_its_deadline_is_watched_on_by_the_next_run(path: Path) -> None:
    clock = ManualClock()
    async with VideosEmulator(clock=clock) as emulator, quick_session(emulator) as session:
        async with session.batch(keyed("a"), journal=path, timeout=0.1) as batch:
            first = await ends_of(batch)
        assert isinstance(first["a"].error, WaitTimeout)
        clock.advance(10_000)
        async with session.batch(keyed("a"), journal=path) as batch:
            second = await ends_of(batch)
        assert emulator.ledger.billed == 1
    assert second["a"].end is End.COMPLETED
    assert second["a"].task_id == first["a"].task_id


async def test_the_deadline_of_a_batch_leaves_a_journal_to_resume(path: Path) -> None:
    clock = ManualClock()
    limit = RateLimit(submits_per_s=20)
    async with (
        VideosEmulator(clock=clock) as emulator,
        quick_session(emulator, limit=limit) as session,
    ):
        async with session.batch(list(numbered(12)), journal=path, batch_timeout=0.2) as batch:
            await ends_of(batch)
        states = await states_of(path)
        assert states[KeyState.PLANNED] + emulator.ledger.billed == 12
        assert KeyState.UNCERTAIN not in states
        clock.advance(100_000)
        async with session.resume(path) as batch:
            clock.advance(100_000)
            async for change in batch:
                clock.advance(10_000)
                assert change.error is None
        assert_paid_once(emulator)
    assert await states_of(path) == {KeyState.COMPLETED: 12}


async def test_an_input_that_raises_leaves_what_it_gave_in_the_journal(path: Path) -> None:
    def broken() -> Iterator[tuple[str, VideoRequest]]:
        yield from keyed("a", "b")
        raise LookupError("the input broke")

    async with quick_service() as (emulator, session):
        with pytest.raises(LookupError, match="the input broke"):
            async with session.batch(broken(), journal=path) as batch:
                await ends_of(batch)
        assert await states_of(path) == {KeyState.COMPLETED: 2}
        async with Journal(path) as journal:
            assert not await journal.is_input_complete()
        async with session.batch(keyed("a", "b", "c"), journal=path) as batch:
            await ends_of(batch)
        assert emulator.ledger.billed == 3
        assert_paid_once(emulator)


@pytest.mark.parametrize("given", [list, iter], ids=["list", "iterator"])
async def test_a_journal_knows_when_it_holds_the_whole_input(
    given: Callable[[Any], Any], path: Path
) -> None:
    async with quick_service() as (_, session):
        await follow(session.batch(given(list(numbered(5))), journal=path))
    async with Journal(path) as journal:
        assert await journal.is_input_complete()


async def test_a_journal_of_an_input_that_was_left_half_way_is_not_complete(path: Path) -> None:
    async with quick_service() as (_, session):
        async with session.batch(numbered(500), journal=path) as batch:
            await anext(batch)
        async with session.resume(path) as batch:
            await ends_of(batch)
    async with Journal(path) as journal:
        assert not await journal.is_input_complete()


@pytest.mark.parametrize("given", [list, iter], ids=["list", "iterator"])
async def test_a_key_given_twice_harms_nothing_of_the_first(
    given: Callable[[Any], Any], path: Path
) -> None:
    twins = [("same", request("a")), *(("same", request(f"{n}")) for n in range(20))]
    async with quick_service() as (emulator, session):
        for _ in range(2):
            async with session.batch(given(twins), journal=path) as batch:
                kinds = Counter([change.end async for change in batch if change.is_end])
            assert kinds == {End.COMPLETED: 1, End.INVALID: 20}
        assert emulator.ledger.billed == 1
    assert await states_of(path) == {KeyState.COMPLETED: 1}


@pytest.mark.parametrize("given", [list, iter], ids=["list", "iterator"])
async def test_a_request_that_no_json_holds_is_told_and_not_written_down(
    given: Callable[[Any], Any], path: Path
) -> None:
    requests = [("odd", request("a", extra={"what": object()})), *keyed("b")]
    async with quick_service() as (emulator, session):
        for _ in range(2):
            async with session.batch(given(requests), journal=path) as batch:
                ends = await ends_of(batch)
            assert {key: end.end for key, end in ends.items()} == {
                "odd": End.INVALID,
                "b": End.COMPLETED,
            }
        assert emulator.ledger.billed == 1
    assert await states_of(path) == {KeyState.COMPLETED: 1}
    async with Journal(path) as journal:
        assert await journal.is_input_complete()


# --- a batch that is left ------------------------------------------------------------------


@pytest.mark.parametrize("given", [list, iter], ids=["list", "iterator"])
async def test_whatever_was_billed_when_a_batch_is_left_has_its_id_in_the_journal(
    given: Callable[[Any], Any], path: Path
) -> None:
    async with quick_service() as (emulator, session):
        batch = session.batch(given(list(numbered(60))), journal=path)
        async with batch:
            async for _ in batch:
                if emulator.ledger.billed > 12:
                    break
        entries = await entries_of(path)
        billed = {entry.task_id for entry in emulator.ledger.entries}
        assert {entry.task_id for entry in entries.values() if entry.task_id} == billed
        async with session.batch(given(list(numbered(60))), journal=path) as again:
            await ends_of(again)
        assert_paid_once(emulator)
    assert await states_of(path) == {KeyState.COMPLETED: 60}


def cancel_at(nth: int, work: asyncio.Task[None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancel a task at the nth step that anything takes in its loop from now on."""
    loop = asyncio.get_running_loop()
    schedule, step = loop.call_soon, 0

    def call_soon(*args: Any, **options: Any) -> asyncio.Handle:
        nonlocal step
        step += 1
        if step == nth:
            schedule(work.cancel)
        return schedule(*args, **options)

    monkeypatch.setattr(loop, "call_soon", call_soon)


async def journal_threads_ended() -> None:
    """Wait until every journal that was let go of is closed."""
    for thread in threading.enumerate():
        if thread.name.startswith("videos-async-journal"):
            await asyncio.to_thread(thread.join, 10)


@pytest.mark.parametrize("offset", [0, 1])
async def test_a_cancellation_at_any_step_leaves_a_journal_to_resume(
    offset: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with quick_service(speed=4000) as (emulator, session):
        for nth in range(1 + 11 * offset, 440, 22):
            path = tmp_path / f"{nth}.sqlite"
            before = emulator.ledger.billed
            requests = [(f"{n}", request(f"{nth} {n}")) for n in range(2)]
            with monkeypatch.context() as patch:
                work = asyncio.create_task(follow(session.batch(iter(requests), journal=path)))
                cancel_at(nth, work, patch)
                await asyncio.wait([work])
            assert work.cancelled() or work.exception() is None
            was_cancelled = work.cancelled()
            await journal_threads_ended()
            assert_free(path)
            await follow(session.batch(iter(requests), journal=path))
            states = await states_of(path)
            assert sum(states.values()) == 2
            doubts = states.pop(KeyState.UNCERTAIN, 0)
            assert states[KeyState.COMPLETED] == 2 - doubts
            assert 2 - doubts <= emulator.ledger.billed - before <= 2
            assert_paid_once(emulator)
            if not was_cancelled:
                break
        else:
            pytest.fail("it has more steps than were tried")
        assert nth > 100


async def follow(batch: Batch) -> None:
    async with batch:
        async for _ in batch:
            pass


async def billed_for(emulator: VideosEmulator, prompt: str) -> None:
    """Wait until a prompt is paid for."""
    while not emulator.ledger.billed_for(prompt):
        await anyio.lowlevel.checkpoint()


async def test_an_id_that_is_told_is_on_the_disk(path: Path) -> None:
    async with quick_service() as (_, session), session.batch(numbered(20), journal=path) as batch:
        async for change in batch:
            if change.previous is None:
                # Over a connection of its own: what is not committed is not seen.
                entries = await entries_of(path)
                assert entries[change.key].task_id == change.task_id is not None


# --- single requests that share a journal --------------------------------------------------


async def test_a_request_with_a_journal_is_paid_for_once_however_often_it_is_made(
    path: Path,
) -> None:
    async with quick_service() as (emulator, session):
        first = await session.generate(request("a"), key="a", journal=path)
        again = await session.generate(request("a"), key="a", journal=path)
        assert emulator.ledger.billed == 1
        assert again.id == first.id
        # Links are not kept, and can be asked for.
        assert first.video_url is not None
        assert again.video_url is None
        assert (await session.query(again)).video_url is not None


async def test_the_same_key_twice_at_once_is_paid_for_once(path: Path) -> None:
    async with quick_service() as (emulator, session):
        tasks = await asyncio.gather(
            *(session.generate(request("a"), key="a", journal=path) for _ in range(5))
        )
        assert emulator.ledger.billed == 1
    assert len({task.id for task in tasks}) == 1


async def test_who_waits_for_a_key_takes_it_up_where_it_was_cancelled(path: Path) -> None:
    clock = ManualClock()
    async with VideosEmulator(clock=clock) as emulator, quick_session(emulator) as session:
        # Somebody else who keeps the journal open.
        other = asyncio.create_task(session.generate(request("b"), key="b", journal=path))
        first = asyncio.create_task(session.generate(request("a"), key="a", journal=path))
        await billed_for(emulator, "a")
        await billed_for(emulator, "b")
        second = asyncio.create_task(session.generate(request("a"), key="a", journal=path))
        await anyio.lowlevel.checkpoint()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        clock.advance(10_000)
        assert (await second).status == "completed"
        assert (await other).status == "completed"
        assert emulator.ledger.billed == 2
    assert await states_of(path) == {KeyState.COMPLETED: 2}


async def test_another_request_under_a_key_is_refused_at_once_and_shows_both(path: Path) -> None:
    clock = ManualClock()
    async with VideosEmulator(clock=clock) as emulator, quick_session(emulator) as session:
        first = asyncio.create_task(session.generate(request("a"), key="a", journal=path))
        await billed_for(emulator, "a")
        with pytest.raises(KeyConflict) as caught:
            await session.generate(request("another"), key="a", journal=path)
        assert (caught.value.recorded.prompt, caught.value.given.prompt) == ("a", "another")
        assert not first.done()
        clock.advance(10_000)
        await first
        assert emulator.ledger.billed == 1


async def test_many_requests_share_a_journal_and_its_commits(path: Path) -> None:
    async with quick_service() as (emulator, session):
        tasks = await asyncio.gather(
            *(session.generate(request(f"{n}"), key=n, journal=path) for n in range(30))
        )
        assert emulator.ledger.billed == 30
    assert len({task.id for task in tasks}) == 30
    assert await states_of(path) == {KeyState.COMPLETED: 30}


async def test_a_request_that_timed_out_is_waited_for_by_the_next_call(path: Path) -> None:
    clock = ManualClock()
    async with VideosEmulator(clock=clock) as emulator, quick_session(emulator) as session:
        with pytest.raises(WaitTimeout) as caught:
            await session.generate(request("a"), key="a", journal=path, timeout=0.1)
        clock.advance(10_000)
        task = await session.generate(request("a"), key="a", journal=path)
        assert task.id == caught.value.task_id
        assert emulator.ledger.billed == 1


async def test_a_whole_batch_and_a_single_request_cannot_drive_one_journal(path: Path) -> None:
    clock = ManualClock()
    async with VideosEmulator(clock=clock) as emulator, quick_session(emulator) as session:
        async with session.batch(keyed("a"), journal=path):
            with pytest.raises(JournalLocked, match="another batch of this session"):
                await session.generate(request("b"), key="b", journal=path)
            async with quick_session(emulator) as another:
                with pytest.raises(JournalLocked) as caught:
                    await another.generate(request("b"), key="b", journal=path)
                assert caught.value.pid == os.getpid()
        single = asyncio.create_task(session.generate(request("b"), key="b", journal=path))
        await billed_for(emulator, "b")
        with pytest.raises(JournalLocked, match="another batch of this session"):
            async with session.batch(keyed("a"), journal=path):
                pass
        clock.advance(10_000)
        await single


async def test_a_request_with_a_journal_needs_a_key(path: Path) -> None:
    async with quick_service() as (emulator, session):
        with pytest.raises(ConfigurationError, match="key"):
            await session.generate(request(), journal=path)
        assert emulator.requests.total == 0


# --- a disk that fails ---------------------------------------------------------------------


class Disk:
    """Makes the journal of a batch fail at will: SQLite itself refuses to write then."""

    def __init__(self, session: VideosSession) -> None:
        self._session = session

    async def fail(self, *, is_failing: bool = True) -> None:
        (opened,) = self._session._journals._opened.values()
        connection = opened.writer.database._connection
        await opened.writer.call(connection.execute, f"PRAGMA query_only = {is_failing:d}")


async def test_nothing_is_sent_once_the_journal_cannot_be_written(path: Path) -> None:
    ends: list[Transition] = []
    async with quick_service() as (emulator, session):
        disk = Disk(session)

        async def run() -> None:
            async with session.batch(numbered(40), journal=path) as batch:
                async for change in batch:
                    if not ends:
                        await disk.fail()
                    if change.is_end:
                        ends.append(change)
                    if len(ends) == 39:
                        await disk.fail(is_failing=False)

        with pytest.raises(JournalWriteFailed, match="nothing more is sent") as caught:
            await run()
        assert caught.value.unwritten == {}
        sent = emulator.ledger.billed
        assert sent < 40
        assert len(ends) == 40
        kinds = Counter(end.end for end in ends)
        assert kinds == {End.COMPLETED: sent, End.NOT_SUBMITTED: 40 - sent}
        # The disk came back before the end: what was paid for is on it.
        billed = {entry.task_id for entry in emulator.ledger.entries}
        entries = await entries_of(path)
        assert {entry.task_id for entry in entries.values() if entry.task_id} == billed
        async with session.batch(numbered(40), journal=path) as batch:
            await ends_of(batch)
        assert emulator.ledger.billed == 40
        assert_paid_once(emulator)
    assert await states_of(path) == {KeyState.COMPLETED: 40}


async def test_ids_that_could_not_be_written_to_the_last_are_told(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = RawServer(serving(answer_when_the_disk_is_full))
    async with server, raw_session(server, limit=ONE_BY_ONE) as session:
        disk = Disk(session)
        server_side.append(disk.fail)
        batch = session.batch(keyed("a"), journal=path)
        with pytest.raises(JournalWriteFailed):
            async with batch:
                await ends_of(batch)
    critical = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert "'a': video_1" in critical[0].getMessage()
    assert await states_of(path) == {KeyState.UNCERTAIN: 1}


server_side: list[Callable[[], Any]] = []


async def answer_when_the_disk_is_full(sent: Request) -> tuple[int, dict[str, Any]]:
    if sent.method == "POST":
        await server_side.pop()()
    return await completed_or({"id": "video_1", "status": "queued"}, sent)
