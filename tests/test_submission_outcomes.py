"""What a create call's outcome means, row by row, and how many of them the service read.

The rule the counts are held against: never two POSTs where the first may have been accepted.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import logging
import socket
import time
from typing import Any

import aiohttp
import anyio
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

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
    reset_after_headers,
    reset_at_once,
)
from tests.scaled_clock import on_scaled_time
from videos_async import (
    AccountRefused,
    NotSubmitted,
    RateLimit,
    RetryPolicy,
    SessionClosed,
    Status,
    SubmissionRefused,
    SubmissionUncertain,
    Timeouts,
    VideoRequest,
    VideosSession,
    VideoTask,
)
from videos_async._calls import Calls
from videos_async._guard import Guard
from videos_async._settings import ApiKey
from videos_async._transport import Transport
from videos_async._wire import Endpoints

KEY = "sk-outcomes"
REQUEST = VideoRequest(prompt="A kitten on a meadow", duration=5)
ACCEPTED = {
    "id": "video_1234567890",
    "object": "video",
    "created": 1774836724,
    "model": "videos",
    "status": "queued",
    "error": None,
}
QUICK = RetryPolicy(max_attempts=3, base_s=0.001, cap_s=0.001)


def open_session(server: RawServer, **settings: Any) -> VideosSession:
    settings.setdefault("retry", QUICK)
    return VideosSession(KEY, base_url=server.url, **settings)


def close_line(*pieces: bytes) -> Script:
    """Answer with bytes and close the connection behind them."""

    async def close(line: Line) -> None:
        line.close()

    return raw(*pieces, then=close)


def reset_line(*pieces: bytes) -> Script:
    async def reset(line: Line) -> None:
        line.reset()

    return raw(*pieces, then=reset)


def answer_early(status: int, body: bytes = b'{"message": "too soon"}') -> Script:
    """Answer as soon as the headers are in, and leave the body unread."""

    async def script(line: Line) -> None:
        await line.read_headers()
        await line.send(head(status, ("Content-Length", str(len(body)))) + body)
        await hang(line)

    return script


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


def seconds_between(server: RawServer, first: int, second: int) -> float:
    return server.requests[second].at_s - server.requests[first].at_s


# --- certainly not accepted: sent again ----------------------------------------------------


async def test_refused_connection_is_tried_again_and_ends_as_not_submitted() -> None:
    with closed_port() as port:
        async with VideosSession(
            KEY, base_url=f"http://127.0.0.1:{port.getsockname()[1]}", retry=QUICK
        ) as session:
            with pytest.raises(NotSubmitted, match="Connect") as caught:
                await session.submit(REQUEST, key="kitten")

    assert caught.value.attempts == 3
    assert caught.value.http_status is None
    assert caught.value.key == "kitten"
    assert caught.value.request is REQUEST
    assert session.uncertain == ()


async def test_submission_goes_through_once_a_server_comes_up_on_the_port() -> None:
    refused = asyncio.Event()

    class FirstTry(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            refused.set()

    logger, handler = logging.getLogger("videos_async"), FirstTry()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    patient = RetryPolicy(max_attempts=10_000, base_s=0.01, cap_s=0.01)
    try:
        with closed_port() as port:
            server = RawServer(answer(200, ACCEPTED), on=port)
            async with open_session(server, retry=patient) as session:
                submission = asyncio.create_task(session.submit(REQUEST))
                await refused.wait()
                async with server:
                    task = await submission
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)

    assert task.id == "video_1234567890"
    assert server.posts == 1


async def test_connection_that_takes_too_long_was_not_accepted() -> None:
    # The TLS handshake belongs to the connecting, and this one is never answered.
    async with RawServer(hang) as server:
        async with VideosSession(
            KEY,
            base_url=server.url.replace("http:", "https:"),
            retry=QUICK,
            timeouts=Timeouts(connect_s=0.05),
        ) as session:
            with pytest.raises(NotSubmitted, match=r"no connection within 0\.05 s") as caught:
                await session.submit(REQUEST)
        await server.settle()

    assert caught.value.attempts == 3
    assert server.accepted == 3
    assert server.begun == 0
    assert session.uncertain == ()


async def test_failed_tls_handshake_was_not_accepted() -> None:
    async def speak_plainly(line: Line) -> None:
        await line.send(head(200, ("Content-Length", "0")))
        await hang(line)

    async with (
        RawServer(speak_plainly) as server,
        VideosSession(KEY, base_url=server.url.replace("http:", "https:"), retry=QUICK) as session,
    ):
        with pytest.raises(NotSubmitted) as caught:
            await session.submit(REQUEST)

    assert caught.value.attempts == 3
    assert server.posts == 0


async def test_unresolved_host_was_not_accepted() -> None:
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=NoNames())) as client,
        VideosSession(
            KEY, base_url="https://videos.invalid", retry=QUICK, client_session=client
        ) as session,
    ):
        with pytest.raises(NotSubmitted, match="no such name") as caught:
            await session.submit(REQUEST)

    assert caught.value.attempts == 3


class NoNames(AbstractResolver):
    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    async def close(self) -> None:
        """Nothing is held."""


async def test_time_out_in_the_connection_pool_was_not_accepted() -> None:
    async with (
        RawServer(hang_after_body) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as client,
        open_session(server, client_session=client, timeouts=Timeouts(connect_s=0.05)) as session,
    ):
        first = asyncio.create_task(session.submit(REQUEST))
        await server.until(lambda: server.posts == 1)
        with pytest.raises(NotSubmitted, match="no connection within"):
            await session.submit(REQUEST)
        assert session.uncertain == ()

        first.cancel()
        await asyncio.wait([first])
        await server.settle()
        assert server.posts == 1


@pytest.mark.parametrize(
    ("headers", "least_s"),
    [
        pytest.param([("Retry-After", "0.2")], 0.2, id="seconds"),
        pytest.param(
            [("Retry-After", email.utils.formatdate(time.time() + 3600, usegmt=True))],
            0.3,
            id="HTTP date",
        ),
        pytest.param([("Retry-After", "86400")], 0.3, id="seconds over the cap"),
        pytest.param([], 0.0, id="without"),
        pytest.param([("Retry-After", "soon")], 0.0, id="words"),
    ],
)
async def test_429_is_sent_again_after_the_pause_it_asks_for(
    headers: list[tuple[str, str]], least_s: float
) -> None:
    policy = RetryPolicy(base_s=0.001, cap_s=0.001, retry_after_cap_s=0.3)
    async with (
        RawServer(answer(429, {}, *headers), answer(200, ACCEPTED)) as server,
        open_session(server, retry=policy) as session,
    ):
        task = await session.submit(REQUEST)

    assert task.id == "video_1234567890"
    assert server.posts == 2
    assert seconds_between(server, 0, 1) >= least_s


async def test_429_with_a_cut_body_is_still_a_429() -> None:
    cut = close_line(head(429, ("Content-Length", "100")) + b'{"mess')
    async with RawServer(cut, answer(200, ACCEPTED)) as server, open_session(server) as session:
        assert (await session.submit(REQUEST)).id == "video_1234567890"

    assert server.posts == 2


@on_scaled_time(20)
async def test_429_to_the_end_of_the_tries_is_not_submitted_with_what_the_service_said() -> None:
    async with (
        RawServer(answer(429, {"message": "too many"})) as server,
        open_session(server) as session,
    ):
        with pytest.raises(NotSubmitted, match="the service said: too many") as caught:
            await session.submit(REQUEST)

    assert caught.value.http_status == 429
    assert caught.value.service_message == "too many"
    assert caught.value.attempts == server.posts == 3
    assert session.uncertain == ()


@on_scaled_time(20)
async def test_429_holds_up_the_submissions_of_others() -> None:
    slow_down = answer(429, {}, ("Retry-After", "0.2"))
    async with (
        RawServer(slow_down, answer(200, ACCEPTED)) as server,
        open_session(server, limit=RateLimit(submits_in_flight=1)) as session,
        anyio.create_task_group() as group,
    ):
        for _ in range(3):
            group.start_soon(session.submit, REQUEST)

    assert server.posts == 4
    assert all(seconds_between(server, 0, later) >= 0.2 for later in (1, 2, 3))


@on_scaled_time(20)
async def test_tries_of_one_submission_share_an_idempotency_key_and_two_submissions_do_not() -> (
    None
):
    scripts = (answer(429), answer(429), answer(200, ACCEPTED), answer(200, ACCEPTED))
    async with RawServer(*scripts) as server, open_session(server) as session:
        await session.submit(REQUEST)
        await session.submit(REQUEST)

    keys = [request.headers["idempotency-key"] for request in server.requests]
    assert keys[0] == keys[1] == keys[2] != keys[3]
    assert len({request.body for request in server.requests}) == 1


# --- accepted ------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202])
async def test_2xx_with_an_id_is_accepted(status: int) -> None:
    async with RawServer(answer(status, ACCEPTED)) as server, open_session(server) as session:
        task = await session.submit(REQUEST)

    assert task.id == "video_1234567890"
    assert task.status is Status.QUEUED
    assert task.created == 1774836724
    assert server.posts == 1


@pytest.mark.parametrize(
    ("body", "task_id"),
    [
        pytest.param({"task_id": "t-1"}, "t-1", id="task_id"),
        pytest.param({"taskId": "t-2"}, "t-2", id="taskId"),
        pytest.param({"data": {"id": "t-3"}}, "t-3", id="data.id"),
        pytest.param(
            {"code": "0", "msg": None, "data": {"projectId": "proj_1234567890"}},
            "proj_1234567890",
            id="envelope",
        ),
        pytest.param({"id": "t-4", "created": "yesterday"}, "t-4", id="another field is wrong"),
        pytest.param(b'{"id": "t-5", "created": NaN}', "t-5", id="a number no JSON has"),
    ],
)
async def test_id_is_found_wherever_a_revision_puts_it(body: object, task_id: str) -> None:
    async with RawServer(answer(200, body)) as server, open_session(server) as session:
        task = await session.submit(REQUEST)

    assert (task.id, task.status, server.posts) == (task_id, Status.QUEUED, 1)


ID_ONLY = b'{"id": "video_1"}'


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(close_line(head(200) + ID_ONLY), id="ended by the connection's close"),
        pytest.param(close_line(head(200, ("Content-Length", "999")) + ID_ONLY), id="cut behind"),
        pytest.param(
            reset_line(head(200, ("Content-Length", "999")) + ID_ONLY), id="reset behind it"
        ),
        pytest.param(
            close_line(head(200, ("Transfer-Encoding", "chunked")) + chunked(ID_ONLY)),
            id="last chunk missing",
        ),
        pytest.param(
            raw(head(200, ("Transfer-Encoding", "chunked")) + chunked(ID_ONLY), then=hang),
            id="last chunk never comes",
        ),
        pytest.param(raw(head(100), head(103), head(200) + ID_ONLY, then=hang), id="after 1xx"),
        pytest.param(
            answer(200, ID_ONLY, ("Content-Encoding", "utf-8")), id="a charset for an encoding"
        ),
        pytest.param(answer_early(200, ID_ONLY), id="before the body was read"),
    ],
)
async def test_id_that_arrived_whole_is_never_lost_to_what_is_wrong_around_it(
    script: Script,
) -> None:
    async with (
        RawServer(script) as server,
        open_session(server, timeouts=Timeouts(submit_s=0.3)) as session,
    ):
        task = await session.submit(REQUEST)

    assert task.id == "video_1"
    assert server.accepted == 1


def small_socket(address: Any) -> socket.socket:
    """Make a socket that holds so little that a large body cannot leave while nobody reads."""
    small = socket.socket(*address[:3])
    small.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return small


@pytest.mark.parametrize("task_is", ["fresh", "cancelled before"])
async def test_answer_before_a_large_body_was_read_is_taken_at_once(task_is: str) -> None:
    large = VideoRequest(prompt="A kitten", duration=5, extra={"note": "x" * 900_000})
    with closed_port() as port:
        port.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connector = aiohttp.TCPConnector(socket_factory=small_socket)
        async with (
            RawServer(answer_early(200, ID_ONLY), on=port) as server,
            aiohttp.ClientSession(connector=connector) as client,
            open_session(server, client_session=client) as session,
        ):

            async def submit_in_a_clean_up() -> VideoTask:
                try:
                    await done.wait()
                finally:
                    task = await session.submit(large)
                return task

            done = asyncio.Event()
            submission = asyncio.create_task(submit_in_a_clean_up())
            await arrival()
            if task_is == "cancelled before":
                submission.cancel()
            else:
                done.set()
            await server.until(lambda: server.begun == 1)
            await asyncio.wait([submission])
            # The rest of the body is given up, and its connection with it.
            await server.settle()

    assert session.uncertain == ()
    assert (server.accepted, server.posts) == (1, 0)
    if task_is == "fresh":
        assert submission.result().id == "video_1"


# --- refused -------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 404, 405, 413, 415, 422])
async def test_refusing_status_is_terminal_for_the_request(status: int) -> None:
    async with (
        RawServer(answer(status, {"error": {"message": "not like this"}})) as server,
        open_session(server) as session,
    ):
        with pytest.raises(SubmissionRefused, match="not like this") as caught:
            await session.submit(REQUEST, key=7)

    assert not isinstance(caught.value, AccountRefused)
    assert caught.value.http_status == status
    assert caught.value.service_message == "not like this"
    assert (caught.value.attempts, caught.value.key, server.posts) == (1, 7, 1)
    assert session.uncertain == ()


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_account_refusal_is_told_apart(status: int) -> None:
    async with (
        RawServer(answer(status, {"msg": "no credit"})) as server,
        open_session(server) as session,
    ):
        with pytest.raises(AccountRefused, match="no credit") as caught:
            await session.submit(REQUEST)

    assert (caught.value.http_status, caught.value.attempts, server.posts) == (status, 1, 1)
    assert session.uncertain == ()


async def test_wrong_base_url_is_named_where_no_handler_is_found() -> None:
    body = {"message": "No handler found for POST /kyyReactApiServer/v1/videos/videos"}
    async with RawServer(answer(404, body)) as server, open_session(server) as session:
        with pytest.raises(SubmissionRefused, match="check the base URL") as caught:
            await session.submit(REQUEST)

    assert caught.value.service_message == body["message"]


@pytest.mark.parametrize(
    ("body", "message", "task_id"),
    [
        pytest.param({**ACCEPTED, "status": "failed", "error": "policy"}, "policy", ACCEPTED["id"]),
        pytest.param({"status": "failed", "error": {"detail": "policy"}}, "policy", None),
        pytest.param({"code": "1001", "msg": "policy", "data": None}, "policy", None),
        pytest.param({"code": 500, "msg": "policy"}, "policy", None),
    ],
    ids=["failed", "failed without an id", "envelope", "envelope with a number"],
)
async def test_200_that_says_no_is_a_refusal(
    body: object, message: str, task_id: str | None
) -> None:
    async with RawServer(answer(200, body)) as server, open_session(server) as session:
        with pytest.raises(SubmissionRefused) as caught:
            await session.submit(REQUEST)

    assert caught.value.http_status == 200
    assert caught.value.service_message == message
    assert caught.value.task_id == task_id
    assert server.posts == 1
    assert session.uncertain == ()


@pytest.mark.parametrize("status", [400, 401])
async def test_refusal_before_the_body_was_read_is_a_refusal(status: int) -> None:
    async with RawServer(answer_early(status)) as server, open_session(server) as session:
        with pytest.raises(SubmissionRefused, match="too soon") as caught:
            await session.submit(REQUEST)

    assert caught.value.http_status == status
    assert (server.begun, server.posts) == (1, 0)


async def test_refusing_statuses_are_data_of_the_policy() -> None:
    policy = RetryPolicy(refused_statuses={409}, account_statuses={418})
    async with (
        RawServer(answer(409), answer(418), answer(400)) as server,
        open_session(server, retry=policy) as session,
    ):
        with pytest.raises(SubmissionRefused):
            await session.submit(REQUEST)
        with pytest.raises(AccountRefused):
            await session.submit(REQUEST)
        with pytest.raises(SubmissionUncertain):
            await session.submit(REQUEST)

    assert server.posts == 3


# --- maybe accepted: held ------------------------------------------------------------------


async def held(server: RawServer, **settings: Any) -> SubmissionUncertain:
    """Submit once, and show that the doubt is kept and nothing goes out again."""
    async with open_session(server, **settings) as session:
        with pytest.raises(SubmissionUncertain, match="look the task up at the service") as caught:
            await session.submit(REQUEST, key="kitten")
    await server.settle()
    doubt = caught.value
    assert session.uncertain == (doubt,)
    assert (doubt.attempts, doubt.key, doubt.request) == (1, "kitten", REQUEST)
    assert server.accepted == 1
    assert server.posts <= 1
    return doubt


@pytest.mark.parametrize(
    ("script", "posts", "reason"),
    [
        pytest.param(reset_at_once, 0, "", id="reset before the headers are read"),
        pytest.param(reset_after_headers, 0, "reset", id="reset after the headers"),
        pytest.param(reset_after_body, 1, "reset", id="reset after the body"),
        pytest.param(close_after_body, 1, "closed before an answer", id="close after the body"),
        pytest.param(raw(b"SSH-2.0-OpenSSH_9.6\r\n"), 1, "not HTTP", id="garbage"),
        pytest.param(raw(head(200, ("X", "y" * 9000))), 1, "8190 bytes", id="9,000-byte header"),
        pytest.param(raw(b"HTTP/1.1 400 " + b"y" * 9000), 1, "8190 bytes", id="9,000-byte reason"),
        pytest.param(raw(b"HTTP/1.1 2x0 OK\r\n\r\n"), 1, "not HTTP", id="status is no number"),
        pytest.param(
            close_line(b"HTTP/1.1 400 Bad\r\nContent-Le"), 1, "closed before", id="cut headers"
        ),
        pytest.param(
            raw(head(200, ("Content-Length", "2"), ("Content-Length", "3")) + b"{}"),
            1,
            "not HTTP",
            id="two lengths",
        ),
        pytest.param(raw(head(100), then=hang), 1, "within the time", id="nothing after 100"),
        pytest.param(hang_after_body, 1, "within the time allowed", id="no answer in time"),
        pytest.param(
            drip(b"HTTP/1.1 200 OK\r\nX: ", b"y", interval_s=0.01),
            1,
            "within the time allowed",
            id="headers that drip",
        ),
    ],
)
async def test_no_answer_after_bytes_left_is_held(script: Script, posts: int, reason: str) -> None:
    async with RawServer(script) as server:
        doubt = await held(server, timeouts=Timeouts(submit_s=0.2))

    assert reason in doubt.reason
    assert doubt.http_status is None
    assert server.posts == posts


CUT = head(200, ("Content-Length", "100"))
CHUNKS = head(200, ("Transfer-Encoding", "chunked"))


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        pytest.param(close_line(CUT + b'{"id": "video_1'), "cut short", id="cut body"),
        pytest.param(reset_line(CUT + b'{"id": "video_1'), "cut short", id="reset in the body"),
        pytest.param(close_line(CHUNKS + chunked(b'{"id": "vi')), "cut short", id="cut chunks"),
        pytest.param(close_line(head(200) + b'{"id": "video_1'), "JSON", id="cut without length"),
        pytest.param(raw(CUT + b'{"id":', then=hang), "within the time", id="body stalls"),
        pytest.param(
            drip(CUT + b'{"id":', b" ", interval_s=0.01), "within the time", id="body drips"
        ),
        pytest.param(
            answer(200, b" " * (1 << 20) + ID_ONLY), "larger than 1048576", id="over the cap"
        ),
        pytest.param(
            raw(CHUNKS, *[chunked(b" " * 65_536)] * 17, then=hang),
            "larger than 1048576",
            id="chunks over the cap",
        ),
        pytest.param(answer(200, b"<html>welcome</html>"), "<html>welcome", id="not JSON"),
        pytest.param(answer(200), "is empty", id="empty"),
        pytest.param(answer(204), "is empty", id="204"),
        pytest.param(answer(299, {"ok": True}), "$.id is missing", id="299"),
        pytest.param(answer(200, []), "must be an object", id="a list"),
        pytest.param(answer(200, {"id": 7}), "$.id must be text", id="an id that is a number"),
        pytest.param(answer(200, {"id": ".."}), "$.id", id="an id that is a direction"),
        pytest.param(
            answer(200, b"\x1f\x8b\x08\x00", ("Content-Encoding", "gzip")),
            "compressed",
            id="gzip uninvited",
        ),
    ],
)
async def test_2xx_without_a_usable_id_is_held(script: Script, reason: str) -> None:
    async with RawServer(script) as server:
        doubt = await held(server, timeouts=Timeouts(submit_s=0.2))

    assert reason in doubt.reason
    assert doubt.http_status is not None
    assert doubt.http_status // 100 == 2
    assert server.posts == 1


async def test_200_without_an_id_is_held_with_the_message() -> None:
    async with RawServer(answer(200, {"message": "come back later"})) as server:
        doubt = await held(server)

    assert doubt.service_message == "come back later"
    assert "the service said: come back later" in str(doubt)


@pytest.mark.parametrize("status", [101, 300, 301, 302, 303, 307, 308, 406, 408, 409, 418, 451])
async def test_status_that_does_not_say_refused_is_held(status: int) -> None:
    async with RawServer(answer(status, {"message": "hm"})) as server:
        doubt = await held(server)

    assert doubt.http_status == status
    assert server.posts == 1


@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 520, 600, 999])
async def test_trouble_of_the_service_is_held(status: int) -> None:
    page = answer(status, b"<html>bad gateway</html>", ("Retry-After", "0"))
    async with RawServer(page) as server:
        doubt = await held(server)

    assert doubt.http_status == status
    assert server.posts == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_never_followed(status: int) -> None:
    there = ("Location", "/v1/videos/videos")
    async with RawServer(answer(status, {}, there), answer(200, ACCEPTED)) as server:
        doubt = await held(server)

    assert "redirect" in doubt.reason
    assert [request.method for request in server.requests] == ["POST"]


async def test_doubt_is_logged_as_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    async with RawServer(reset_after_body) as server:
        await held(server)

    (record,) = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert record.name == "videos_async"
    assert "'kitten' may have been accepted and billed" in record.getMessage()


async def test_session_closed_while_the_answer_is_awaited_leaves_a_doubt() -> None:
    async with RawServer(hang_after_body) as server:
        session = open_session(server)
        submission = asyncio.create_task(session.submit(REQUEST))
        await server.until(lambda: server.posts == 1)
        await session.aclose()
        with pytest.raises(SubmissionUncertain, match="the session was closed"):
            await submission

        assert len(session.uncertain) == 1
        await server.settle()
        assert server.accepted == 1


async def test_answer_that_breaks_its_reader_leaves_a_doubt() -> None:
    def broken_clock() -> float:
        raise ZeroDivisionError

    async with RawServer(answer(200, ACCEPTED)) as server:
        transport = Transport(
            endpoints=Endpoints(server.url),
            key=ApiKey(KEY),
            timeouts=Timeouts(),
            proxy=None,
            guard=Guard(api_host="127.0.0.1"),
            client_session=None,
        )
        calls = Calls(
            transport=transport,
            retry=QUICK,
            limit=RateLimit(),
            random=lambda: 0.0,
            unix_clock=broken_clock,
        )
        with pytest.raises(ZeroDivisionError) as caught:
            await calls.submit(REQUEST, key=None)
        await transport.aclose()

    (doubt,) = calls.uncertain
    assert doubt.reason == "the call broke off with ZeroDivisionError"
    assert caught.value.__cause__ is doubt
    assert server.posts == 1


# --- closed before anything was sent -------------------------------------------------------


async def test_submission_that_waits_for_its_turn_ends_with_the_session() -> None:
    async with RawServer(hang_after_body) as server:
        session = open_session(server, limit=RateLimit(submits_in_flight=1))
        first = asyncio.create_task(session.submit(REQUEST))
        await server.until(lambda: server.posts == 1)
        second = asyncio.create_task(session.submit(REQUEST))
        await session.aclose()
        await asyncio.wait([first, second])

    assert isinstance(first.exception(), SubmissionUncertain)
    assert isinstance(second.exception(), SessionClosed)
    assert session.uncertain == (first.exception(),)
    assert server.accepted == 1


async def test_submission_in_its_pause_ends_with_the_session() -> None:
    async with RawServer(answer(429, {}, ("Retry-After", "60"))) as server:
        session = open_session(server)
        submission = asyncio.create_task(session.submit(REQUEST))
        await server.until(lambda: server.posts == 1)
        await arrival()
        await session.aclose()
        with pytest.raises(SessionClosed):
            await submission

    assert session.uncertain == ()
    assert server.posts == 1


async def test_closing_while_connecting_is_no_doubt() -> None:
    async with RawServer(hang) as server:
        session = VideosSession(KEY, base_url=server.url.replace("http:", "https:"), retry=QUICK)
        submission = asyncio.create_task(session.submit(REQUEST))
        await server.until(lambda: server.accepted == 1)
        await session.aclose()
        with pytest.raises(SessionClosed):
            await submission
        await server.settle()

    assert session.uncertain == ()
    assert server.begun == 0


class StuckNames(AbstractResolver):
    """Answers no name until it is cancelled."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def close(self) -> None:
        """Nothing is held."""


async def test_client_closed_during_name_resolution_is_session_closed_and_no_cancellation() -> None:
    names = StuckNames()
    client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=names))
    async with VideosSession(
        KEY, base_url="https://videos.invalid", retry=QUICK, client_session=client
    ) as session:
        submission = asyncio.create_task(session.submit(REQUEST))
        query = asyncio.create_task(session.query("video_1"))
        await names.asked.wait()
        await client.close()
        await asyncio.wait([submission, query])

    assert not submission.cancelled()
    assert not query.cancelled()
    assert isinstance(submission.exception(), SessionClosed)
    assert isinstance(query.exception(), SessionClosed)


async def test_client_closed_while_a_call_queues_for_a_connection_is_session_closed() -> None:
    client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1))
    async with (
        RawServer(hang_after_body) as server,
        open_session(server, client_session=client) as session,
    ):
        first = asyncio.create_task(session.submit(REQUEST))
        await server.until(lambda: server.posts == 1)
        second = asyncio.create_task(session.submit(REQUEST))
        await anyio.wait_all_tasks_blocked()
        await client.close()
        await asyncio.wait([first, second])

        assert isinstance(first.exception(), SubmissionUncertain)
        assert not second.cancelled()
        assert isinstance(second.exception(), SessionClosed)
        assert len(session.uncertain) == 1
        assert server.posts == 1


# --- cancelled -----------------------------------------------------------------------------


async def test_cancelled_in_the_queue_was_never_sent() -> None:
    async with RawServer(hang_after_body) as server:
        async with open_session(server, limit=RateLimit(submits_in_flight=1)) as session:
            first = asyncio.create_task(session.submit(REQUEST))
            await server.until(lambda: server.posts == 1)
            queued = asyncio.create_task(session.submit(REQUEST))
            await anyio.wait_all_tasks_blocked()
            queued.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await queued
            doubts = session.uncertain
            first.cancel()
            await asyncio.wait([first])
        await server.settle()

    assert caught.value.__cause__ is None
    assert (doubts, len(session.uncertain)) == ((), 1)
    assert (server.accepted, server.posts) == (1, 1)


async def test_cancelled_in_the_pause_after_a_429_is_no_doubt() -> None:
    async with (
        RawServer(answer(429, {}, ("Retry-After", "60"))) as server,
        open_session(server) as session,
    ):
        submission = asyncio.create_task(session.submit(REQUEST))
        await server.until(lambda: server.posts == 1)
        await arrival()
        submission.cancel()
        await asyncio.wait([submission])

    assert submission.cancelled()
    assert session.uncertain == ()
    assert server.posts == 1


async def test_cancelled_after_sending_stays_a_cancellation_and_keeps_the_doubt(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with RawServer(hang_after_body) as server:
        async with open_session(server) as session:
            submission = asyncio.create_task(session.submit(REQUEST, key="kitten"))
            await server.until(lambda: server.posts == 1)
            submission.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await submission
        await server.settle()

    doubt = caught.value.__cause__
    assert isinstance(doubt, SubmissionUncertain)
    assert session.uncertain == (doubt,)
    assert (doubt.key, doubt.request) == ("kitten", REQUEST)
    assert [one.levelname for one in caplog.records if one.levelno > logging.INFO] == ["WARNING"]
    assert server.accepted == 1


async def test_cancelled_while_the_body_is_read_keeps_the_doubt() -> None:
    got_status = asyncio.Event()

    async def stall(line: Line) -> None:
        got_status.set()
        await hang(line)

    async with (
        RawServer(raw(CUT + b'{"id": "vid', then=stall)) as server,
        open_session(server) as session,
    ):
        submission = asyncio.create_task(session.submit(REQUEST))
        await got_status.wait()
        await arrival()
        submission.cancel()
        await asyncio.wait([submission])
        # The connection is gone at once, not when the session is closed.
        await server.settle()

    assert submission.cancelled()
    assert len(session.uncertain) == 1


async def test_cancel_scope_of_anyio_works_around_a_submission() -> None:
    async with RawServer(hang_after_body) as server, open_session(server) as session:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(session.submit, REQUEST)
                await server.until(lambda: server.posts == 1)
                scope.cancel()
        assert scope.cancelled_caught

        with anyio.move_on_after(0.1) as late:
            await session.submit(REQUEST)
        assert late.cancelled_caught

        with pytest.raises(TimeoutError):
            with anyio.fail_after(0.1):
                await session.submit(REQUEST)

        assert len(session.uncertain) == server.posts == 3
        # No cancellation is left over for what comes next.
        await anyio.lowlevel.checkpoint()


async def test_asyncio_timeout_works_around_a_submission() -> None:
    async with RawServer(hang_after_body) as server, open_session(server) as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await session.submit(REQUEST)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(session.submit(REQUEST), 0.1)

        assert len(session.uncertain) == server.posts == 2
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0


async def test_sibling_that_fails_cancels_a_submission_and_its_doubt_is_kept() -> None:
    async with RawServer(hang_after_body) as server, open_session(server) as session:

        async def fail() -> None:
            await server.until(lambda: server.posts == 1)
            raise LookupError

        async def both() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(session.submit(REQUEST))
                group.create_task(fail())

        with pytest.raises(ExceptionGroup) as caught:
            await both()

        assert [type(one) for one in caught.value.exceptions] == [LookupError]
        assert len(session.uncertain) == 1


async def test_wherever_a_cancellation_strikes_what_the_service_read_is_never_forgotten() -> None:
    outcomes: list[str] = []
    for turns in range(60):
        async with RawServer(answer(200, ACCEPTED)) as server:
            session = open_session(server)
            submission = asyncio.create_task(session.submit(REQUEST))
            for _ in range(turns):
                await anyio.lowlevel.cancel_shielded_checkpoint()
            submission.cancel()
            await asyncio.wait([submission])
            await session.aclose()
            await server.settle()
        if not submission.cancelled():
            outcomes.append("accepted")
            assert (submission.result().id, server.posts) == (ACCEPTED["id"], 1)
            assert session.uncertain == ()
        elif session.uncertain:
            outcomes.append("uncertain")
            assert server.posts <= 1
        else:
            outcomes.append("never sent")
            assert (server.begun, server.posts) == (0, 0)

    # The strikes fell before the first byte, between it and the answer, and after.
    assert set(outcomes) == {"never sent", "uncertain", "accepted"}


# --- what goes out -------------------------------------------------------------------------


async def test_create_call_is_the_contracts() -> None:
    async with RawServer(answer(200, ACCEPTED)) as server, open_session(server) as session:
        await session.submit(REQUEST)

    (sent,) = server.requests
    assert (sent.method, sent.target) == ("POST", "/v1/videos/videos")
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["accept-encoding"] == "identity"
    assert json.loads(sent.body) == {
        "model": "videos",
        "prompt": "A kitten on a meadow",
        "duration": 5,
        "ratio": "16:9",
        "resolution": "720p",
    }


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
async def test_base_url_works_with_and_without_slash_and_v1(suffix: str) -> None:
    async with (
        RawServer(answer(200, ACCEPTED)) as server,
        VideosSession(KEY, base_url=f"{server.url}/kyy{suffix}") as session,
    ):
        await session.submit(REQUEST)

    assert server.requests[0].target == "/kyy/v1/videos/videos"
