"""Batches in the field: crowds, storms of refusals, faults everywhere, and every way to leave."""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import sys
import textwrap
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from enum import Enum
from types import TracebackType
from typing import Any, Self, TypeAlias

import anyio
import anyio.lowlevel
import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.service import open_descriptors, other_tasks, request
from videos_async import (
    Batch,
    BatchCounts,
    End,
    InvalidRequest,
    PollPolicy,
    RateLimit,
    RetryPolicy,
    SessionClosed,
    Status,
    Transition,
    VideoRequest,
    VideosSession,
)
from videos_async._stream import TransitionStream
from videos_async.emulator import VirtualClock

# --- the service ---------------------------------------------------------------------------


@attrs.frozen
class Reply:
    """What is answered; no status means that the connection is dropped instead."""

    status: int | None = 200
    body: dict[str, Any] = attrs.field(factory=dict[str, Any])
    retry_after_s: int | None = None

    def encode(self) -> bytes:
        content = json.dumps(self.body).encode()
        pause = "" if self.retry_after_s is None else f"Retry-After: {self.retry_after_s}\r\n"
        head = (
            f"HTTP/1.1 {self.status} Whatever\r\nContent-Type: application/json\r\n"
            f"{pause}Content-Length: {len(content)}\r\n\r\n"
        )
        return head.encode() + content


DROPPED = Reply(None)
THROTTLED = Reply(429)
COMPLETED = Reply(body={"status": "completed", "video_url": "https://example.com/v.mp4"})

Behaviour: TypeAlias = Callable[["Service", str], Reply]


def accept(service: Service, prompt: str) -> Reply:
    return Reply(body={"id": service.bill(prompt), "status": "queued"})


def complete(service: Service, task_id: str) -> Reply:
    return COMPLETED


class Service:
    """A service in the loop of the test, cheap enough for ten thousand tasks.

    Args:
        on_submit: Answers a create call, given its prompt.
        on_poll: Answers a result call, given its id.
    """

    def __init__(self, *, on_submit: Behaviour = accept, on_poll: Behaviour = complete) -> None:
        self.billed: dict[str, str] = {}
        """The ledger: the prompt that was paid for, by the id it was given."""
        self.posts = 0
        self._changed = anyio.Event()
        self._answers = {"POST": on_submit, "GET": on_poll}
        self._held: list[tuple[asyncio.Transport, bytes]] | None = None
        self._lines: set[asyncio.Transport] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def session(self, **options: Any) -> VideosSession:
        """Open a session with it that polls and retries as fast as it can."""
        given: dict[str, Any] = {
            "poll": PollPolicy(min_interval_s=0, max_interval_s=0.01),
            "retry": RetryPolicy(base_s=0.001, cap_s=0.01),
            **options,
        }
        return VideosSession("k" * 20, base_url=self.url, **given)

    def bill(self, prompt: str) -> str:
        task_id = f"video_{len(self.billed)}"
        self.billed[task_id] = prompt
        return task_id

    def hold(self) -> None:
        """Accept create calls from now on, and keep the answers back."""
        self._held = []

    def release(self) -> None:
        held, self._held = self._held or [], None
        for line, answer in held:
            line.write(answer)

    async def until_posts(self, count: int) -> None:
        await self._until(lambda: self.posts >= count)

    async def until_held(self, count: int) -> None:
        """Wait until so many create calls were accepted and not answered."""
        await self._until(lambda: self._held is not None and len(self._held) == count)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed = anyio.Event()
            await self._changed.wait()

    def took(self, line: asyncio.Transport, method: str, subject: str) -> None:
        reply = self._answers[method](self, subject)
        self.posts += method == "POST"
        if reply.status is None:
            line.abort()
        elif method == "POST" and self._held is not None:
            self._held.append((line, reply.encode()))
        else:
            line.write(reply.encode())
        self._changed.set()

    def connected(self, line: asyncio.Transport) -> None:
        self._lines.add(line)

    def lost(self, line: asyncio.Transport) -> None:
        self._lines.discard(line)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Line(self), "127.0.0.1", 0, backlog=1024)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for line in self._lines:
            line.abort()
        while self._lines:
            await anyio.lowlevel.checkpoint()


class _Line(asyncio.Protocol):
    """One connection: reads requests to their ends, nothing more."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._service.connected(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._service.lost(self._transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, blank, rest = self._buffer.partition(b"\r\n\r\n")
        if not blank:
            return
        method, target, _ = head.partition(b"\r\n")[0].decode().split(" ")
        if method == "GET":
            self._buffer = rest
            self._service.took(self._transport, method, target.rpartition("/")[2])
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(rest) >= length:
            self._buffer = rest[length:]
            self._service.took(self._transport, method, json.loads(rest[:length])["prompt"])


def assert_adds_up(counts: BatchCounts) -> None:
    parts = (counts.submitting, *counts.in_progress.values(), *counts.ended.values())
    assert min(parts) >= 0
    assert sum(parts) == counts.pulled


async def ends_of(batch: Batch) -> dict[Any, Transition]:
    """Follow a batch to its end; every key must end exactly once, and every count add up."""
    ends: dict[Any, Transition] = {}
    async for change in batch:
        assert_adds_up(batch.counts)
        assert change.key not in ends
        if change.is_end:
            ends[change.key] = change
    assert batch.counts.submitting == 0
    assert batch.counts.in_progress == {}
    return ends


def assert_nothing_is_lost(
    batch: Batch, delivered: list[Transition], billed: dict[str, str]
) -> None:
    """Every pulled key ended once, here or there, and every id that was paid for is in hand."""
    assert_adds_up(batch.counts)
    assert batch.counts.submitting == 0
    assert batch.counts.in_progress == {}
    ends = [change for change in (*delivered, *batch.unfinished) if change.is_end]
    assert len({change.key for change in ends}) == len(ends) == batch.counts.pulled
    assert Counter(change.end for change in ends) == batch.counts.ended
    assert {change.task_id for change in ends if change.task_id is not None} == set(billed)


# --- a crowd -------------------------------------------------------------------------------

# What happens to each prompt, by its number modulo 20; the others simply complete.
CROWD_ENDS = {
    "refused": End.REFUSED,
    "failed at once": End.REFUSED,
    "failed": End.FAILED,
    "dropped when accepted": End.UNCERTAIN,
    "": End.INVALID,
}
CROWD_KINDS = (*CROWD_ENDS, "polls dropped", "polls in trouble", *["good"] * 13)
ACCEPTED_KINDS = {"failed", "dropped when accepted", "polls dropped", "polls in trouble", "good"}


@pytest.mark.timeout(90)
async def test_ten_thousand_prompts_among_all_kinds_of_trouble_end_once_each() -> None:
    count = 10_000
    polls: Counter[str] = Counter()
    refused_for_pace = 0

    def on_submit(service: Service, prompt: str) -> Reply:
        nonlocal refused_for_pace
        if service.posts in (5000, 7000, 8000, 9000):
            refused_for_pace += 1
            return THROTTLED
        kind = prompt.partition("/")[0]
        if kind == "refused":
            return Reply(422, {"message": "bad image"})
        if kind == "failed at once":
            return Reply(body={"status": "failed", "error": "content policy"})
        task_id = service.bill(prompt)
        if kind == "dropped when accepted":
            return DROPPED
        return Reply(body={"id": task_id, "status": "queued"})

    def on_poll(service: Service, task_id: str) -> Reply:
        nonlocal refused_for_pace
        polls[task_id] += 1
        if polls[task_id] == 1 and task_id.endswith("6000"):
            refused_for_pace += 1
            return THROTTLED
        kind = service.billed[task_id].partition("/")[0]
        if polls[task_id] <= 2 and kind == "polls dropped":
            return DROPPED
        if polls[task_id] == 1:
            return Reply(503) if kind == "polls in trouble" else Reply(body={"status": "queued"})
        return Reply(body={"status": "failed"}) if kind == "failed" else COMPLETED

    kinds = [CROWD_KINDS[number % len(CROWD_KINDS)] for number in range(count)]
    prompts = (request(kind and f"{kind}/{number}") for number, kind in enumerate(kinds))
    async with (
        Service(on_submit=on_submit, on_poll=on_poll) as service,
        service.session() as session,
        session.batch(prompts) as batch,
    ):
        ends = await ends_of(batch)
    assert len(ends) == count
    assert refused_for_pace == 5
    assert [ends[number].end for number in range(count)] == [
        CROWD_ENDS.get(kind, End.COMPLETED) for kind in kinds
    ]
    # Paid for once each, and none that is not told of.
    assert max(Counter(service.billed.values()).values()) == 1
    assert len(service.billed) == sum(kind in ACCEPTED_KINDS for kind in kinds)
    uncertain = batch.counts.ended[End.UNCERTAIN]
    assert len({end.task_id for end in ends.values()} - {None}) == len(service.billed) - uncertain


def test_a_service_that_counts_is_used_well_and_rarely_refuses() -> None:
    """A minute of calls in six seconds, on real sockets."""
    allowed_per_s, first_s, all_s = 50.0, 15.0, 60.0
    tokens, then_s, started_s = 1.0, 0.0, 0.0
    calls: list[bool] = []

    def is_allowed() -> bool:
        nonlocal tokens, then_s
        now_s = anyio.current_time()
        tokens = min(allowed_per_s / 10, tokens + (now_s - then_s) * allowed_per_s)
        then_s = now_s
        is_in_time = tokens >= 1
        tokens -= is_in_time
        if now_s > started_s + first_s:
            calls.append(is_in_time)
        return is_in_time

    def on_submit(service: Service, prompt: str) -> Reply:
        return accept(service, prompt) if is_allowed() else THROTTLED

    def on_poll(service: Service, task_id: str) -> Reply:
        return complete(service, task_id) if is_allowed() else THROTTLED

    def endless() -> Iterator[VideoRequest]:
        while True:
            yield request()

    async def run() -> None:
        nonlocal started_s
        started_s = anyio.current_time()
        async with (
            Service(on_submit=on_submit, on_poll=on_poll) as service,
            service.session(retry=RetryPolicy(base_s=0.5)) as session,
            session.batch(endless(), grace_s=60) as batch,
        ):
            with anyio.move_on_after(all_s):
                async for _ in batch:
                    pass

    with asyncio.Runner(loop_factory=VirtualClock().new_event_loop) as runner:
        runner.run(run())
    assert calls.count(False) / len(calls) < 0.02
    assert calls.count(True) / ((all_s - first_s) * allowed_per_s) >= 0.85


async def test_what_is_still_to_come_costs_nothing() -> None:
    made = 0

    def two_hundred_thousand() -> Iterator[VideoRequest]:
        nonlocal made
        for _ in range(200_000):
            made += 1
            yield request()

    def alive() -> int:
        gc.collect()
        kinds = (VideoRequest, Transition)
        return sum(isinstance(one, kinds) for one in gc.get_objects())

    async with Service() as service, service.session() as session:
        async with session.batch(two_hundred_thousand()) as batch:
            ended, alive_after = 0, dict[int, int]()
            async for change in batch:
                ended += change.is_end
                if ended in (300, 3000) and change.is_end:
                    alive_after[ended] = alive()
                if ended == 3000:
                    break
            assert batch.counts.pulled == made < 3000 + 300
        # Buffers and workers are the same, however many have gone through.
        assert alive_after[3000] < alive_after[300] + 200
        assert_adds_up(batch.counts)


# --- faults --------------------------------------------------------------------------------


class OnSubmit(Enum):
    ACCEPT = "accept"
    NO_ID = "accept and forget the id"
    DROP = "drop"
    REFUSE = "refuse"
    FAIL = "fail at once"
    OUTAGE = "503"
    THROTTLE = "429, then accept"
    INVALID = "never sent"


class OnPoll(Enum):
    QUEUED = "queued"
    PROCESSING = "processing"
    DROP = "drop"
    OUTAGE = "503"
    THROTTLE = "429"
    UNKNOWN = "404"
    GARBAGE = "no status"


POLL_REPLIES = {
    OnPoll.QUEUED: Reply(body={"status": "queued"}),
    OnPoll.PROCESSING: Reply(body={"status": "processing"}),
    OnPoll.DROP: DROPPED,
    OnPoll.OUTAGE: Reply(503),
    OnPoll.THROTTLE: THROTTLED,
    OnPoll.UNKNOWN: Reply(404, {"message": "no such task"}),
    OnPoll.GARBAGE: Reply(body={"hello": "world"}),
}
SUBMIT_REPLIES = {
    OnSubmit.NO_ID: Reply(body={"message": "fine"}),
    OnSubmit.DROP: DROPPED,
    OnSubmit.REFUSE: Reply(422),
    OnSubmit.FAIL: Reply(body={"status": "failed"}),
    OnSubmit.OUTAGE: Reply(503),
}
SUBMIT_ENDS = {
    OnSubmit.NO_ID: End.UNCERTAIN,
    OnSubmit.DROP: End.UNCERTAIN,
    OnSubmit.OUTAGE: End.UNCERTAIN,
    OnSubmit.REFUSE: End.REFUSED,
    OnSubmit.FAIL: End.REFUSED,
    OnSubmit.INVALID: End.INVALID,
}
FATES = st.tuples(
    st.sampled_from(OnSubmit), st.lists(st.sampled_from(OnPoll), max_size=5), st.booleans()
)


def expected_end(fate: OnSubmit, polls: list[OnPoll], is_good: bool) -> End:  # noqa: FBT001 - as drawn
    if fate in SUBMIT_ENDS:
        return SUBMIT_ENDS[fate]
    refusals = 0
    for poll in polls:
        if poll is OnPoll.UNKNOWN:
            refusals += 1
        elif poll in (OnPoll.QUEUED, OnPoll.PROCESSING):
            refusals = 0
        if refusals == 3:
            return End.LOST_SIGHT
    return End.COMPLETED if is_good else End.FAILED


@settings(max_examples=100, deadline=None)
@given(st.lists(FATES, min_size=1, max_size=25))
def test_no_failure_ends_anything_but_its_own_request(
    fates: list[tuple[OnSubmit, list[OnPoll], bool]],
) -> None:
    left = {str(number): list(polls) for number, (_, polls, _) in enumerate(fates)}
    throttled: set[str] = set()

    def on_submit(service: Service, prompt: str) -> Reply:
        fate = fates[int(prompt)][0]
        if fate is OnSubmit.THROTTLE and prompt not in throttled:
            throttled.add(prompt)
            return THROTTLED
        return SUBMIT_REPLIES.get(fate) or accept(service, prompt)

    def on_poll(service: Service, task_id: str) -> Reply:
        prompt = service.billed[task_id]
        if left[prompt]:
            return POLL_REPLIES[left[prompt].pop(0)]
        return COMPLETED if fates[int(prompt)][2] else Reply(body={"status": "failed"})

    async def run() -> dict[Any, Transition]:
        prompts = [
            request(str(number), duration=99 if fate is OnSubmit.INVALID else 5)
            for number, (fate, _, _) in enumerate(fates)
        ]
        async with (
            Service(on_submit=on_submit, on_poll=on_poll) as service,
            service.session(poll=PollPolicy(min_interval_s=1, max_interval_s=2)) as session,
            session.batch(prompts) as batch,
        ):
            return await ends_of(batch)

    with asyncio.Runner(loop_factory=VirtualClock().new_event_loop) as runner:
        ends = runner.run(run())
    assert {key: end.end for key, end in ends.items()} == {
        number: expected_end(*fate) for number, fate in enumerate(fates)
    }


# --- leaving while create calls are under way ----------------------------------------------


async def follow(batch: Batch, delivered: list[Transition]) -> None:
    async with batch:
        async for change in batch:
            delivered.append(change)  # noqa: PERF401 - it is cut off half-way


async def cancel_natively(
    batch: Batch, delivered: list[Transition], leave: Callable[[], Awaitable[None]]
) -> None:
    task = asyncio.create_task(follow(batch, delivered))
    await leave()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def cancel_by_scope(
    batch: Batch, delivered: list[Transition], leave: Callable[[], Awaitable[None]]
) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(follow, batch, delivered)
        await leave()
        group.cancel_scope.cancel()


async def cancel_by_timeout(
    batch: Batch, delivered: list[Transition], leave: Callable[[], Awaitable[None]]
) -> None:
    async def run_out() -> None:
        async with asyncio.timeout(None) as limit, anyio.create_task_group() as group:
            group.start_soon(leave_and_tell, limit)
            await follow(batch, delivered)

    async def leave_and_tell(limit: asyncio.Timeout) -> None:
        await leave()
        limit.reschedule(0)

    with pytest.raises(TimeoutError):
        await run_out()


@pytest.mark.parametrize("cut_off", [cancel_natively, cancel_by_scope, cancel_by_timeout])
async def test_no_id_is_lost_and_nothing_left_behind_when_calls_under_way_are_cut_off(
    cut_off: Callable[[Batch, list[Transition], Callable[[], Awaitable[None]]], Awaitable[None]],
) -> None:
    posts = 0
    delivered: list[Transition] = []
    tasks_before, sockets_before = other_tasks(), open_descriptors()
    async with Service() as service, service.session() as session:
        batch = session.batch(request(f"{number}") for number in range(100))

        async def until_under_way() -> None:
            nonlocal posts
            await service.until_posts(20)
            service.hold()
            await service.until_held(8)
            # Once the batch is being left: nothing is submitted any more meanwhile.
            posts = service.posts
            asyncio.get_running_loop().call_later(0.05, service.release)

        await cut_off(batch, delivered, until_under_way)
        assert_nothing_is_lost(batch, delivered, service.billed)
        assert service.posts == posts
        assert session.uncertain == ()
        assert other_tasks() == tasks_before
    with anyio.fail_after(5):
        while open_descriptors() - sockets_before:
            await anyio.lowlevel.checkpoint()


INTERRUPTED = """
    import asyncio, json, sys
    from videos_async import PollPolicy, VideoRequest, VideosSession

    ended, batch, session = [], None, None

    async def main():
        global batch, session
        polls = PollPolicy(min_interval_s=0, max_interval_s=0.01)
        requests = (VideoRequest(prompt=str(n), duration=5) for n in range(100))
        async with VideosSession("k" * 20, base_url=sys.argv[1], poll=polls) as session:
            async with session.batch(requests, grace_s=60) as batch:
                try:
                    async for change in batch:
                        ended.extend([change] if change.is_end else [])
                finally:
                    # Said once the loop has nothing to do but wait: an interrupt that falls
                    # into a finalizer is lost, whoever wrote the program.
                    asyncio.get_running_loop().call_later(0.2, lambda: print("left", flush=True))

    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        ends = [*ended, *batch.unfinished]
        print(json.dumps({
            "pulled": batch.counts.pulled,
            "counted": sum(batch.counts.ended.values()),
            "doubts": [int(doubt.request.prompt) for doubt in session.uncertain],
            "ends": [[change.key, change.end.value, change.task_id] for change in ends],
        }))
"""


async def interrupted(service: Service) -> Process:
    """Start a program that runs a batch, and interrupt it while eight calls are under way."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "dev", "-W", "error", "-c", textwrap.dedent(INTERRUPTED)),
        service.url,
        stdout=PIPE,
        stderr=PIPE,
    )
    assert process.stdout is not None
    await service.until_posts(20)
    service.hold()
    await service.until_held(8)
    process.send_signal(signal.SIGINT)
    assert await process.stdout.readline() == b"left\n"
    return process


async def report_of(process: Process) -> dict[str, Any]:
    """Wait for the program's last words; it must not have complained of anything else."""
    with anyio.fail_after(10):
        said, complaints = await process.communicate()
    assert b"Traceback" not in complaints
    assert b"Warning" not in complaints
    assert b"never" not in complaints.replace(b"never send", b"")
    report: dict[str, Any] = json.loads(said)
    keys = [key for key, _, _ in report["ends"]]
    assert len(keys) == len(set(keys)) == report["pulled"] == report["counted"]
    return report


async def test_an_interrupted_program_brings_the_ids_of_calls_under_way_home() -> None:
    async with Service() as service:
        process = await interrupted(service)
        posts = service.posts
        service.release()
        report = await report_of(process)
    assert {task_id for _, _, task_id in report["ends"]} - {None} == {*service.billed}
    assert report["doubts"] == []
    assert service.posts == posts


async def test_a_second_interrupt_stops_at_once_and_the_doubts_are_in_hand() -> None:
    async with Service() as service:
        process = await interrupted(service)
        process.send_signal(signal.SIGINT)
        report = await report_of(process)
    uncertain = sorted(key for key, end, _ in report["ends"] if end == "uncertain")
    assert len(uncertain) == 8
    assert sorted(report["doubts"]) == uncertain
    known = {task_id for _, _, task_id in report["ends"]} - {None}
    assert {int(service.billed[task_id]) for task_id in {*service.billed} - known} == {*uncertain}


@pytest.mark.parametrize("steps", range(6))
async def test_a_cancellation_that_meets_a_transition_on_its_way_loses_neither(
    steps: int,
) -> None:
    delivered: list[Transition] = []

    def cancel_after(more: int) -> None:
        if more:
            asyncio.get_running_loop().call_soon(cancel_after, more - 1)
        else:
            task.cancel()

    def strike(change: Transition) -> None:
        if change.is_end and change.key == 3:
            cancel_after(steps)

    async with Service() as service, service.session() as session:
        prompts = [request(f"{number}") for number in range(6)]
        batch = session.batch(prompts, on_transition=strike)
        task = asyncio.create_task(follow(batch, delivered))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert_nothing_is_lost(batch, delivered, service.billed)


async def test_transitions_that_wait_for_a_slow_hook_are_not_lost() -> None:
    delivered: list[Transition] = []

    async def slow(_: Transition) -> None:
        for _turn in range(50):
            await anyio.lowlevel.checkpoint()

    async with Service() as service, service.session() as session:
        prompts = (request(f"{n}", duration=5 if n % 2 else 99) for n in range(100))
        batch = session.batch(prompts, on_transition=slow)
        async with batch:
            async for change in batch:
                delivered.append(change)
                if len(delivered) == 20:
                    break
        assert_nothing_is_lost(batch, delivered, service.billed)


async def test_requests_that_wait_for_their_turn_within_the_budget_are_not_lost() -> None:
    async with Service() as service, service.session() as session:
        service.hold()
        batch = session.batch(
            (request(f"{number}") for number in range(20)), max_submissions=1, grace_s=0
        )
        async with batch:
            await service.until_posts(1)
    assert_adds_up(batch.counts)
    assert batch.counts.ended == {End.UNCERTAIN: 1, End.NOT_SUBMITTED: 7}
    assert Counter(change.end for change in batch.unfinished) == batch.counts.ended


async def test_a_session_that_is_closed_under_a_batch_is_one_error_and_no_key_is_lost() -> None:
    delivered: list[Transition] = []

    async def close_in_the_block(session: VideosSession, batch: Batch) -> None:
        async with batch:
            async for change in batch:
                delivered.append(change)
                if len(delivered) == 100:
                    await session.aclose()
        raise AssertionError("the loop came to a quiet end")

    def keep_busy(service: Service, task_id: str) -> Reply:
        return Reply(body={"status": "queued"})

    async with Service(on_poll=keep_busy) as service:
        session = service.session()
        batch = session.batch(request(f"{number}") for number in range(500))
        with pytest.raises(SessionClosed):
            await close_in_the_block(session, batch)
        assert_adds_up(batch.counts)
        ended = [change.key for change in (*delivered, *batch.unfinished) if change.is_end]
        assert len(ended) == len(set(ended)) == batch.counts.pulled
        # The answer of a call that was cut off may be on its way; its key is in doubt then.
        doubts = batch.counts.ended.get(End.UNCERTAIN, 0)
        known = {change.task_id for change in batch.unfinished} - {None}
        assert len(service.billed) - doubts <= len(known) <= len(service.billed)


async def test_what_the_service_refused_for_pace_is_not_sent_again_once_the_batch_is_left() -> None:
    def refuse(service: Service, prompt: str) -> Reply:
        return accept(service, prompt) if service.posts else THROTTLED

    async with Service(on_submit=refuse) as service, service.session() as session:
        service.hold()
        batch = session.batch([request()])
        async with anyio.create_task_group() as group:
            left = anyio.Event()

            async def leave() -> None:
                async with batch:
                    await service.until_held(1)
                    left.set()

            group.start_soon(leave)
            await left.wait()
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
            service.release()
        assert service.posts == 1
    assert [change.end for change in batch.unfinished] == [End.NOT_SUBMITTED]


class BreaksWhenLeft(TransitionStream):
    async def _drive(self) -> None:
        await anyio.sleep_forever()

    async def _leave(self) -> None:
        raise LookupError("broke while leaving")


async def test_what_breaks_while_a_stream_is_left_is_raised() -> None:
    async def leave() -> None:
        async with BreaksWhenLeft():
            await anyio.lowlevel.checkpoint()

    with pytest.raises(LookupError, match="broke while leaving"):
        await leave()


class Breaks(TransitionStream):
    async def _drive(self) -> None:
        raise LookupError("broke")


async def test_an_error_of_the_block_is_told_beside_that_of_the_work() -> None:
    async def fail() -> None:
        async with Breaks():
            try:
                await anyio.sleep_forever()
            finally:
                raise ValueError("of the block")

    with pytest.raises(LookupError, match="broke") as caught:
        await fail()
    assert isinstance(caught.value.__cause__, ValueError)


# --- guards --------------------------------------------------------------------------------


@pytest.mark.parametrize("allowed", [1, 2, 5])
async def test_a_budget_smaller_than_the_number_of_submitters_comes_to_its_end(
    allowed: int,
) -> None:
    async with (
        Service() as service,
        service.session(limit=RateLimit(submits_in_flight=8)) as session,
        session.batch((request(f"{n}") for n in range(40)), max_submissions=allowed) as batch,
    ):
        with anyio.fail_after(10):
            ends = await ends_of(batch)
        assert len(service.billed) == allowed
    assert Counter(end.end for end in ends.values()) == {
        End.COMPLETED: allowed,
        End.NOT_SUBMITTED: 40 - allowed,
    }


async def test_a_call_that_was_refused_gives_its_place_in_the_budget_back() -> None:
    def refuse_odd(service: Service, prompt: str) -> Reply:
        return Reply(422) if int(prompt) % 2 else accept(service, prompt)

    async with (
        Service(on_submit=refuse_odd) as service,
        service.session() as session,
        session.batch((request(f"{n}") for n in range(60)), max_submissions=10) as batch,
    ):
        with anyio.fail_after(10):
            ends = await ends_of(batch)
    assert len(ends) == 60
    assert batch.counts.ended[End.COMPLETED] == len(service.billed) == 10


async def test_a_refused_account_stops_the_others_before_anyone_hears_of_it() -> None:
    async def slow(_: Transition) -> None:
        for _turn in range(200):
            await anyio.lowlevel.checkpoint()

    def refuse_late(service: Service, prompt: str) -> Reply:
        return Reply(402) if service.posts >= 5 else accept(service, prompt)

    async with (
        Service(on_submit=refuse_late) as service,
        service.session(limit=RateLimit(submits_in_flight=2)) as session,
        session.batch((request(f"{n}") for n in range(20)), on_transition=slow) as batch,
    ):
        await ends_of(batch)
        # One more may have been under way.
        assert service.posts <= 7


async def test_a_pause_of_the_session_does_not_outlast_the_deadline_of_a_task() -> None:
    def slow_down(service: Service, task_id: str) -> Reply:
        return Reply(429, retry_after_s=60)

    async with (
        Service(on_poll=slow_down) as service,
        service.session() as session,
        session.batch([request()], timeout=0.3) as batch,
    ):
        with anyio.fail_after(10):
            ends = await ends_of(batch)
    assert ends[0].end is End.TIMED_OUT


async def test_a_task_accepted_after_the_deadline_of_the_batch_ends_with_its_id() -> None:
    async with (
        Service() as service,
        service.session() as session,
        session.batch([request()], batch_timeout=0.05) as batch,
    ):
        service.hold()
        await service.until_posts(1)
        asyncio.get_running_loop().call_later(0.1, service.release)
        ends = await ends_of(batch)
    assert (ends[0].end, ends[0].task_id) == (End.TIMED_OUT, "video_0")
    assert "-" not in str(ends[0].error).partition(" s ")[0].partition("within")[2]


async def test_a_hook_that_waits_for_a_cancelled_task_has_failed_and_no_worker_with_it() -> None:
    cancelled = asyncio.create_task(anyio.sleep_forever())
    cancelled.cancel()

    async def hook(_: Transition) -> None:
        await cancelled

    async with (
        Service() as service,
        service.session() as session,
        session.batch((request(f"{n}") for n in range(50)), on_transition=hook) as batch,
    ):
        with anyio.fail_after(10):
            assert len(await ends_of(batch)) == 50
    assert batch.hook_failures == 100


async def test_the_loop_turns_during_a_dry_run() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with Service() as service, service.session() as session, anyio.create_task_group() as one:
        one.start_soon(count)
        await session.dry_run(request() for _ in range(2000))
        one.cancel_scope.cancel()
    assert turns > 20


# --- inputs --------------------------------------------------------------------------------


@attrs.define
class Source:
    """An input that tells whether it was closed."""

    is_closed: bool = False

    async def requests(self) -> AsyncGenerator[VideoRequest]:
        try:
            while True:
                yield request()
        finally:
            await anyio.lowlevel.checkpoint()
            self.is_closed = True


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_an_asynchronous_input_is_closed_when_the_batch_is_left_early(
    is_cancelled: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    source = Source()
    # Held on to here, so that it is not closed for want of an owner.
    requests = source.requests()
    async with Service() as service, service.session() as session:
        with anyio.CancelScope() as scope:
            async with session.batch(requests) as batch:
                await anext(batch)
                if is_cancelled:
                    scope.cancel()
                    await anyio.sleep_forever()
        assert source.is_closed


async def test_a_dry_run_closes_its_input_whatever_happens() -> None:
    source = Source()

    async def broken() -> AsyncIterator[VideoRequest]:
        async with aclosing(source.requests()) as requests:
            yield await anext(requests)
            yield request(duration=99)
            raise LookupError("the input broke")

    async with Service() as service, service.session() as session:
        with pytest.raises(LookupError, match="the input broke"):
            await session.dry_run(broken())
    assert source.is_closed


async def test_an_input_that_cannot_be_closed_costs_nothing_but_a_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def stubborn() -> AsyncIterator[VideoRequest]:
        try:
            while True:
                yield request()
        finally:
            raise OSError("the file would not close")

    async with Service() as service, service.session() as session:
        batch = session.batch(stubborn())
        async with batch:
            first = await anext(batch)
        assert_nothing_is_lost(batch, [first], service.billed)
    assert "the file would not close" in caplog.text


async def test_an_asynchronous_input_that_breaks_raises_once_the_paid_ones_have_ended() -> None:
    async def broken() -> AsyncIterator[VideoRequest]:
        for number in range(20):
            await anyio.lowlevel.checkpoint()
            yield request(f"{number}")
        raise LookupError("the input broke")

    ended: list[Transition] = []

    async def collect(session: VideosSession) -> None:
        async with session.batch(broken()) as batch:
            async for change in batch:
                if change.is_end:
                    ended.append(change)  # noqa: PERF401 - the loop raises at its end

    async with Service() as service, service.session() as session:
        with pytest.raises(LookupError, match="the input broke"):
            await collect(session)
    assert [change.end for change in ended] == [End.COMPLETED] * 20


async def test_an_input_that_waits_does_not_hold_the_watching_up() -> None:
    resume = anyio.Event()

    async def hesitant() -> AsyncIterator[VideoRequest]:
        yield request("first")
        await resume.wait()
        yield request("second")

    async with (
        Service() as service,
        service.session() as session,
        session.batch(hesitant()) as batch,
    ):
        async for change in batch:
            if change.is_end and change.key == 0:
                assert service.posts == 1
                resume.set()
    assert batch.counts.ended == {End.COMPLETED: 2}


async def test_an_input_that_never_comes_back_does_not_outlast_the_deadline_of_the_batch() -> None:
    async def stuck() -> AsyncIterator[VideoRequest]:
        yield request()
        await anyio.sleep_forever()

    def stay_queued(service: Service, task_id: str) -> Reply:
        return Reply(body={"status": "queued"})

    async with (
        Service(on_poll=stay_queued) as service,
        service.session() as session,
        session.batch(stuck(), batch_timeout=0.1, grace_s=0.1) as batch,
    ):
        with anyio.fail_after(5):
            ends = await ends_of(batch)
    assert {key: end.end for key, end in ends.items()} == {0: End.TIMED_OUT}


async def test_a_batch_may_run_inside_the_loop_of_another() -> None:
    inner_ends: list[End | None] = []
    async with Service() as service, service.session() as session:
        async with session.batch(request(f"{n}") for n in range(5)) as outer:
            async for change in outer:
                if not change.is_end:
                    continue
                async with session.batch([request(f"again {change.key}")]) as inner:
                    inner_ends += [end.end for end in (await ends_of(inner)).values()]
        assert len(service.billed) == 10
    assert inner_ends == [End.COMPLETED] * 5


async def test_batches_of_one_session_share_its_limits() -> None:
    limit = RateLimit(submits_in_flight=3)
    async with Service() as service, service.session(limit=limit) as session:
        service.hold()
        ends: list[dict[Any, Transition]] = []

        async def run(name: str) -> None:
            async with session.batch(request(f"{name} {n}") for n in range(10)) as batch:
                ends.append(await ends_of(batch))

        async with anyio.create_task_group() as group:
            group.start_soon(run, "one")
            group.start_soon(run, "two")
            await service.until_posts(3)
            for _ in range(100):
                await anyio.lowlevel.checkpoint()
            assert service.posts == 3
            service.release()
    assert [len(one) for one in ends] == [10, 10]


async def test_an_item_that_is_none_of_the_batchs_business_has_its_place_in_the_results() -> None:
    async with Service() as service, service.session() as session:
        items: Any = [request("a"), "no request", request("b"), ("key", request("c"))]
        results = await session.generate_many(items)
    assert [isinstance(result, InvalidRequest) for result in results] == [False, True, False, True]
    assert [getattr(result, "status", None) for result in results] == [
        Status.COMPLETED,
        None,
        Status.COMPLETED,
        None,
    ]
