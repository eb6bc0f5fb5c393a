"""What a result call's outcome means: free, so tried again, and never a verdict on the task."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any
from urllib.parse import unquote

import anyio
import pytest

from tests.raw_server import (
    Line,
    RawServer,
    Script,
    answer,
    arrival,
    close_after_body,
    closed_port,
    drip,
    hang,
    hang_after_body,
    head,
    raw,
    reset_after_body,
    reset_at_once,
)
from tests.scaled_clock import on_scaled_time
from videos_async import (
    InvalidRequest,
    PollPolicy,
    QueryFailed,
    QueryRefused,
    RateLimit,
    RetryPolicy,
    SessionClosed,
    Status,
    TaskNotFound,
    Timeouts,
    VideoRequest,
    VideosSession,
)

KEY = "sk-outcomes"
TASK_ID = "video_1234567890"
PROCESSING = {"id": TASK_ID, "object": "video", "model": "videos", "status": "processing"}
COMPLETED = {**PROCESSING, "status": "completed", "video_url": "https://files.example/v.mp4?sig=1"}
QUICK = RetryPolicy(max_attempts=3, base_s=0.001, cap_s=0.001)
OFTEN = PollPolicy(min_interval_s=0.001, max_interval_s=0.002)


def open_session(server: RawServer, **settings: Any) -> VideosSession:
    settings.setdefault("retry", QUICK)
    return VideosSession(KEY, base_url=server.url, **settings)


async def close_line(line: Line) -> None:
    line.close()


# --- weather -------------------------------------------------------------------------------

WEATHER = {
    "reset before the headers are read": reset_at_once,
    "reset after the request": reset_after_body,
    "close after the request": close_after_body,
    "no answer in time": hang_after_body,
    "garbage": raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "9,000-byte header": raw(head(200, ("X", "y" * 9000))),
    "408": answer(408),
    "409": answer(409),
    "418": answer(418),
    "500": answer(500, {"message": "oh"}),
    "502": answer(502, b"<html>bad gateway</html>"),
    "503": answer(503, b"", ("Retry-After", "0")),
    "504": answer(504),
    "600": answer(600),
    "429": answer(429),
    "HTML page with 200": answer(200, b"<html>maintenance</html>"),
    "empty body": answer(200),
    "204": answer(204),
    "cut body": raw(head(200, ("Content-Length", "99")) + b'{"id": "vid', then=close_line),
    "body drips": drip(head(200, ("Content-Length", "99")) + b"{", b" ", interval_s=0.01),
    "over the cap": answer(200, b" " * (1 << 20) + b"{}"),
    "gzip uninvited": answer(
        200, gzip.compress(b'{"status": "completed"}'), ("Content-Encoding", "gzip")
    ),
    "another task's answer": answer(200, {**COMPLETED, "id": "video_2"}),
    "no status": answer(200, {"id": TASK_ID}),
    "redirect": answer(302, {}, ("Location", "/elsewhere")),
    "permanent redirect": answer(308, {}, ("Location", "/elsewhere")),
}


@pytest.mark.parametrize("script", WEATHER.values(), ids=WEATHER.keys())
async def test_bad_answer_is_followed_by_another_try(script: Script) -> None:
    async with (
        RawServer(script, answer(200, PROCESSING)) as server,
        open_session(server, timeouts=Timeouts(query_s=0.2)) as session,
    ):
        task = await session.query(TASK_ID)

    assert (task.id, task.status) == (TASK_ID, Status.PROCESSING)
    assert {request.target for request in server.requests} == {f"/v1/result/{TASK_ID}"}
    assert server.posts == 0


@pytest.mark.parametrize("script", WEATHER.values(), ids=WEATHER.keys())
async def test_long_run_of_bad_answers_ends_with_the_id_in_hand(script: Script) -> None:
    async with (
        RawServer(script) as server,
        open_session(server, timeouts=Timeouts(query_s=0.05)) as session,
    ):
        with pytest.raises(QueryFailed, match="The id stays valid") as caught:
            await session.query(TASK_ID)

    assert caught.value.task_id == TASK_ID
    assert caught.value.attempts == 3
    # aiohttp makes a GET anew by itself where the connection drops.
    assert server.gets <= 6


async def test_server_that_is_down_is_tried_until_it_is_up() -> None:
    with closed_port() as port:
        server = RawServer(answer(200, PROCESSING), on=port)
        patient = RetryPolicy(max_attempts=10_000, base_s=0.01, cap_s=0.01)
        async with open_session(server, retry=patient) as session:
            query = asyncio.create_task(session.query(TASK_ID))
            await arrival()
            assert not query.done()
            async with server:
                assert (await query).status is Status.PROCESSING


async def test_server_that_stays_down_ends_as_query_failed() -> None:
    with closed_port() as port:
        async with open_session(RawServer(hang, on=port)) as session:
            with pytest.raises(QueryFailed, match="Connect") as caught:
                await session.query(TASK_ID)

    assert (caught.value.attempts, caught.value.http_status) == (3, None)


async def test_answer_that_is_whole_counts_though_the_connection_broke_behind_it() -> None:
    body = b'{"id": "video_1234567890", "status": "processing"}'
    cut = raw(head(200, ("Content-Length", "999")) + body, then=close_line)
    async with RawServer(cut) as server, open_session(server) as session:
        assert (await session.query(TASK_ID)).status is Status.PROCESSING

    assert server.gets == 1


async def test_retry_after_of_a_503_is_obeyed() -> None:
    busy = answer(503, b"", ("Retry-After", "0.2"))
    async with RawServer(busy, answer(200, PROCESSING)) as server, open_session(server) as session:
        await session.query(TASK_ID)

    first, second = server.requests
    assert second.at_s - first.at_s >= 0.2


@on_scaled_time(20)
async def test_429_pauses_every_call_of_the_session() -> None:
    slow_down = answer(429, {}, ("Retry-After", "0.2"))
    created = {**PROCESSING, "status": "queued"}
    async with (
        RawServer(slow_down, answer(200, created)) as server,
        open_session(server, limit=RateLimit(queries_in_flight=1)) as session,
        anyio.create_task_group() as group,
    ):
        for _ in range(3):
            group.start_soon(session.query, TASK_ID)
        await server.until(lambda: server.gets == 1)
        await arrival()
        group.start_soon(session.submit, VideoRequest(prompt="A kitten", duration=5))

    first, *later = server.requests
    assert len(later) == 4
    assert server.posts == 1
    assert all(request.at_s - first.at_s >= 0.2 for request in later)


async def test_retry_budget_bounds_the_retries_of_all_calls_together() -> None:
    stubborn = RetryPolicy(max_attempts=1000, base_s=0, cap_s=0)
    async with RawServer(answer(503)) as server, open_session(server, retry=stubborn) as session:
        with pytest.raises(QueryFailed) as first:
            await session.query(TASK_ID)
        with pytest.raises(QueryFailed) as second:
            await session.query(TASK_ID)

    assert first.value.attempts == 51
    assert second.value.attempts == 1
    assert server.gets == 52


async def test_good_answers_earn_retries_back() -> None:
    stubborn = RetryPolicy(max_attempts=1000, base_s=0, cap_s=0)
    plan = [answer(503)] * 51 + [answer(200, PROCESSING)] * 10 + [answer(503)]
    async with RawServer(*plan) as server, open_session(server, retry=stubborn) as session:
        with pytest.raises(QueryFailed):
            await session.query(TASK_ID)
        for _ in range(10):
            await session.query(TASK_ID)
        with pytest.raises(QueryFailed) as caught:
            await session.query(TASK_ID)

    assert caught.value.attempts == 2


async def test_query_in_its_pause_ends_with_the_session() -> None:
    async with RawServer(answer(503, b"", ("Retry-After", "60"))) as server:
        session = open_session(server)
        query = asyncio.create_task(session.query(TASK_ID))
        await server.until(lambda: server.gets == 1)
        await arrival()
        await session.aclose()
        with pytest.raises(SessionClosed):
            await query


async def test_query_under_way_ends_with_the_session() -> None:
    async with RawServer(hang_after_body) as server:
        session = open_session(server)
        query = asyncio.create_task(session.query(TASK_ID))
        await server.until(lambda: server.gets == 1)
        await session.aclose()
        with pytest.raises(SessionClosed):
            await query
        await server.settle()


async def test_cancelled_query_frees_its_connection_and_leaves_no_doubt() -> None:
    async with RawServer(hang_after_body) as server, open_session(server) as session:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(session.query, TASK_ID)
                await server.until(lambda: server.gets == 1)
                scope.cancel()
        await server.settle()

        assert scope.cancelled_caught
        assert session.uncertain == ()


# --- the service will not tell -------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 402, 403, 405, 422])
async def test_refusal_is_an_error_at_once(status: int) -> None:
    async with (
        RawServer(answer(status, {"error": "not for you"})) as server,
        open_session(server) as session,
    ):
        with pytest.raises(QueryRefused, match="not for you") as caught:
            await session.query(TASK_ID)

    assert not isinstance(caught.value, TaskNotFound)
    assert caught.value.task_id == TASK_ID
    assert caught.value.http_status == status
    assert caught.value.service_message == "not for you"
    assert server.gets == 1


@pytest.mark.parametrize(
    "message",
    ["no such task", "No handler found for GET /kyyReactApiServer/v1/result/video_1234567890"],
)
async def test_404_is_task_not_found_and_says_what_to_check(message: str) -> None:
    async with (
        RawServer(answer(404, {"message": message})) as server,
        open_session(server) as session,
    ):
        with pytest.raises(TaskNotFound, match="Check the id and the base URL") as caught:
            await session.query(TASK_ID)

    assert caught.value.service_message == message
    assert message in str(caught.value)
    assert server.gets == 1


# --- what goes out -------------------------------------------------------------------------


async def test_result_call_is_the_contracts() -> None:
    async with RawServer(answer(200, PROCESSING)) as server, open_session(server) as session:
        await session.query(TASK_ID)

    (sent,) = server.requests
    assert (sent.method, sent.target) == ("GET", f"/v1/result/{TASK_ID}")
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.headers["accept-encoding"] == "identity"
    assert "cookie" not in sent.headers
    assert sent.body == b""


@pytest.mark.parametrize(
    "task_id",
    [
        "a/b",
        "../../admin",
        "..%2f..",
        "%2e%2e",
        "...",
        "two words",
        "数字-кот-🐈",
        "?x#y",
        "a&b=c;d",
        "id+plus",
        "\\..\\admin",
        "http://other.example/",
        "proj_1234567890",
        "6f9619ff-8b86-d011-b42d-00cf4fc964ff",
        "x" * 512,
    ],
)
async def test_id_travels_as_one_segment_of_the_path(task_id: str) -> None:
    async with (
        RawServer(answer(200, {**PROCESSING, "id": task_id})) as server,
        open_session(server) as session,
    ):
        task = await session.query(task_id)

    assert task.id == task_id
    ((_, v1, result, segment),) = (request.target.split("/") for request in server.requests)
    assert (v1, result, unquote(segment)) == ("v1", "result", task_id)
    assert not set(segment) & set("?#;\\ +&=")
    assert segment.isascii()


@pytest.mark.parametrize(
    "task_id",
    [".", "..", "", "a\0b", "\r\nX-Evil: 1", "x" * 513, "\ud800", None, 7],
    ids=["dot", "dot dot", "empty", "NUL", "line break", "too long", "surrogate", "None", "number"],
)
async def test_id_that_could_be_no_segment_is_refused_before_anything_is_sent(task_id: Any) -> None:
    async with RawServer(answer(200, PROCESSING)) as server, open_session(server) as session:
        with pytest.raises(InvalidRequest, match="task_id"):
            await session.query(task_id)
        with pytest.raises(InvalidRequest, match="task_id"):
            await session.wait(task_id)
        await server.settle()

    assert server.accepted == 0


# --- in a watch ----------------------------------------------------------------------------


async def test_bad_polls_of_one_task_never_end_the_others() -> None:
    """One task gets each kind of weather in turn, one is refused, one is not known."""
    bad = iter([*WEATHER.values(), answer(200, COMPLETED)])

    async def script(line: Line) -> None:
        # The request is read twice over: here to see whose it is, there by what answers it.
        headers = await line.peek_headers()
        if f"/{TASK_ID} ".encode() in headers:
            await next(bad)(line)
        elif b"/refused " in headers:
            await answer(403, {"message": "not yours"})(line)
        elif b"/unknown " in headers:
            await answer(404)(line)
        else:
            await answer(200, {"status": "completed", "video_url": "https://x.example/v"})(line)

    good = [f"good-{number}" for number in range(20)]
    ends: dict[str | None, str] = {}
    async with (
        RawServer(script) as server,
        open_session(
            server,
            poll=PollPolicy(min_interval_s=0.001, max_interval_s=0.002, max_failures=100),
            timeouts=Timeouts(query_s=0.1),
        ) as session,
        session.watch([TASK_ID, "refused", *good, "unknown"], timeout=20) as transitions,
    ):
        async for change in transitions:
            assert change.is_end
            assert change.task_id not in ends
            ends[change.task_id] = type(change.error).__name__

    assert ends == {
        TASK_ID: "NoneType",
        "refused": "QueryRefused",
        "unknown": "TaskNotFound",
        **dict.fromkeys(good, "NoneType"),
    }


async def test_watch_gives_up_a_task_that_never_answers_well_and_keeps_its_last_snapshot() -> None:
    async with (
        RawServer(answer(200, PROCESSING), answer(502)) as server,
        open_session(
            server, poll=PollPolicy(min_interval_s=0.001, max_interval_s=0.002, max_failures=4)
        ) as session,
    ):
        with pytest.raises(QueryFailed) as caught:
            await session.wait(TASK_ID, timeout=20)

    assert (caught.value.task_id, caught.value.attempts) == (TASK_ID, 4)
    assert caught.value.http_status == 502
    assert caught.value.task is not None
    assert caught.value.task.status is Status.PROCESSING
    assert server.gets == 5


async def test_poll_never_outlasts_the_deadline_of_the_watch() -> None:
    async with (
        RawServer(hang_after_body) as server,
        open_session(server, poll=OFTEN) as session,
    ):
        began_s = anyio.current_time()
        with pytest.raises(TimeoutError):
            await session.wait(TASK_ID, timeout=0.2)
        took_s = anyio.current_time() - began_s

    assert 0.2 <= took_s < 10
    assert server.gets >= 1
