"""What becomes of the connections, and what a client session that was handed in may change."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import anyio
import pytest

from tests.raw_server import (
    Line,
    RawServer,
    Script,
    answer,
    arrival,
    hang,
    hang_after_body,
    head,
    raw,
    reset_after_headers,
)
from videos_async import (
    NotSubmitted,
    PollPolicy,
    RetryPolicy,
    SessionClosed,
    Status,
    SubmissionError,
    SubmissionUncertain,
    Timeouts,
    VideoRequest,
    VideosSession,
    _connections,
)
from videos_async._version import __version__
from videos_async.emulator import VirtualClock

KEY = "sk-connections"
REQUEST = VideoRequest(prompt="A kitten on a meadow", duration=5)
ACCEPTED = {"id": "video_1", "object": "video", "status": "queued"}
PROCESSING = {**ACCEPTED, "status": "processing"}
QUICK = RetryPolicy(max_attempts=3, base_s=0.001, cap_s=0.001)
OFTEN = PollPolicy(min_interval_s=0.001, max_interval_s=0.002)


def open_session(server: RawServer, **settings: Any) -> VideosSession:
    settings.setdefault("retry", QUICK)
    return VideosSession(KEY, base_url=server.url, **settings)


# --- our own connections -------------------------------------------------------------------


async def test_closed_session_leaves_no_connection_open() -> None:
    async with RawServer(answer(200, ACCEPTED)) as server:
        async with open_session(server) as session:
            async with anyio.create_task_group() as group:
                for _ in range(8):
                    group.start_soon(session.submit, REQUEST)
                    group.start_soon(session.query, "video_1")
            assert server.open_connections > 0
        await server.settle()

    assert (server.posts, server.gets) == (8, 8)


async def test_session_closed_over_calls_under_way_leaves_no_connection_open() -> None:
    async with RawServer(hang_after_body) as server:
        session = open_session(server)
        calls = [
            *[asyncio.create_task(session.submit(REQUEST)) for _ in range(3)],
            *[asyncio.create_task(session.query("video_1")) for _ in range(3)],
        ]
        await server.until(lambda: len(server.requests) == 6)
        await session.aclose()
        await asyncio.wait(calls)
        await server.settle()

    endings = [type(call.exception()) for call in calls]
    assert endings == [SubmissionUncertain] * 3 + [SessionClosed] * 3
    assert len(session.uncertain) == 3


async def test_watch_that_is_left_leaves_no_poll_under_way() -> None:
    async with RawServer(hang_after_body) as server, open_session(server, poll=OFTEN) as session:
        async with session.watch(["video_1", "video_2"], timeout=60):
            await server.until(lambda: server.gets == 2)
        # Before the session is closed: the watch itself owns its polls.
        await server.settle()


async def test_polls_share_their_connection() -> None:
    async with RawServer(answer(200, PROCESSING)) as server, open_session(server) as session:
        for _ in range(5):
            await session.query("video_1")

    assert (server.gets, server.accepted) == (5, 1)


def pool_of(session: VideosSession, kind: str) -> dict[str, Any]:
    """Look into the connector of one kind of call."""
    transport: object = vars(session)["_transport"]
    clients: dict[str, Any] = vars(transport)["_owned"]
    connector: object = clients[kind].connector
    return vars(connector)


async def test_a_create_call_does_not_follow_one_whose_connection_was_closed_behind_it() -> None:
    async def answer_and_close(line: Line) -> None:
        await line.read_request()
        body = json.dumps(ACCEPTED).encode()
        await line.send_last(head(200, ("Content-Length", str(len(body)))) + body)
        line.close()

    async with RawServer(answer_and_close) as server, open_session(server) as session:
        for _ in range(20):
            await session.submit(REQUEST)

    assert (server.posts, server.accepted) == (20, 20)


def hang_up_after(request: Script) -> Script:
    """Answer the first call, and close the connection in the middle of the second one."""

    async def script(line: Line) -> None:
        await request(line)
        await line.read_headers()
        line.close()

    return script


async def test_poll_that_meets_a_close_in_flight_is_made_again_at_once() -> None:
    async with (
        RawServer(hang_up_after(answer(200, PROCESSING)), answer(200, PROCESSING)) as server,
        open_session(server, retry=RetryPolicy(max_attempts=1)) as session,
    ):
        for _ in range(2):
            assert (await session.query("video_1")).status is Status.PROCESSING

    assert server.accepted == 2


async def test_create_call_that_meets_a_close_in_flight_is_never_made_again() -> None:
    async with (
        RawServer(hang_up_after(answer(200, ACCEPTED)), answer(200, ACCEPTED)) as server,
        open_session(server) as session,
    ):
        await session.submit(REQUEST)
        with pytest.raises(SubmissionUncertain):
            await session.submit(REQUEST)

    assert server.accepted == 1


async def test_calls_of_our_own_take_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    async def detour(*_: object, **__: object) -> None:
        raise AssertionError("the session's own way was taken")

    # The steps of the short way are in no manual; this is what tells when they are not taken.
    monkeypatch.setattr(aiohttp.ClientSession, "_request", detour)
    async with RawServer(answer(200, ACCEPTED)) as server, open_session(server) as session:
        await session.submit(REQUEST)
        await session.query("video_1")

    assert (server.posts, server.gets) == (1, 1)


@pytest.mark.parametrize("aiohttp_is", ["of a known series", "of another series"])
async def test_requests_are_the_same_whichever_way_they_take(
    aiohttp_is: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_connections, "_IS_KNOWN_SERIES", aiohttp_is == "of a known series")
    task = {**ACCEPTED, "id": "vidéo/1?x"}
    async with RawServer(answer(200, task)) as server:
        host = f"localhost:{server.port}"
        base_url = f"http://{host}/some/where"
        async with VideosSession(KEY, base_url=base_url) as session:
            await session.submit(REQUEST)
            await session.query(task["id"])

    post, get = server.requests
    assert (post.method, post.target) == ("POST", "/some/where/v1/videos/videos")
    assert (get.method, get.target) == ("GET", "/some/where/v1/result/vid%C3%A9o%2F1%3Fx")
    common = {
        "host": host,
        "authorization": f"Bearer {KEY}",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": f"videos-async/{__version__}",
    }
    assert get.headers == common
    assert post.headers.pop("idempotency-key").isalnum()
    framing = {"content-type": "application/json", "content-length": str(len(post.body))}
    assert post.headers == common | framing
    assert json.loads(post.body)["prompt"] == REQUEST.prompt


async def test_interim_answers_are_read_over() -> None:
    async def think_aloud(line: Line) -> None:
        await line.read_headers()
        await line.send(head(100) + head(103, ("Link", "</style.css>")))
        await arrival()
        body = json.dumps(PROCESSING).encode()
        await line.send(head(200, ("Content-Length", str(len(body)))) + body)

    async with RawServer(think_aloud) as server, open_session(server) as session:
        for _ in range(2):
            assert (await session.query("video_1")).status is Status.PROCESSING

    assert server.accepted == 1


async def test_connection_whose_request_was_answered_before_it_was_read_is_not_used_again() -> None:
    async def answer_early(line: Line) -> None:
        await line.read_headers()
        await line.send(head(413, ("Content-Length", "0")))
        await line.until_peer_closes()

    # Far more than the buffers of two sockets hold.
    long = VideoRequest(prompt="A kitten", duration=5, extra={"note": "x" * (32 << 20)})
    async with (
        RawServer(answer_early, answer(200, ACCEPTED)) as server,
        open_session(server) as session,
    ):
        with pytest.raises(SubmissionError) as caught:
            await session.submit(long)
        assert (await session.submit(REQUEST)).id == "video_1"

    assert caught.value.http_status == 413
    assert server.accepted == 2


async def test_create_calls_in_a_row_share_a_connection_of_their_own() -> None:
    async with (
        RawServer(answer(200, ACCEPTED), answer(200, PROCESSING), answer(200, ACCEPTED)) as server,
        open_session(server) as session,
    ):
        await session.submit(REQUEST)
        await session.query("video_1")
        for _ in range(3):
            await session.submit(REQUEST)

    assert [request.method for request in server.requests] == ["POST", "GET", *["POST"] * 3]
    assert [request.connection for request in server.requests] == [1, 2, 1, 1, 1]


async def test_a_connection_for_create_calls_is_not_kept_for_longer_than_a_second() -> None:
    # No server is known to close a connection this young: a later one could meet the close.
    async with RawServer(answer(200, ACCEPTED)) as server, open_session(server) as session:
        await session.submit(REQUEST)
        assert pool_of(session, "submit")["_keepalive_timeout"] <= 1.0


def test_connections_are_let_go_on_a_loop_whose_time_jumps() -> None:
    async def lie_idle() -> int:
        async with RawServer(answer(200, ACCEPTED)) as server, open_session(server) as session:
            await session.submit(REQUEST)
            await session.query("video_1")
            open_before = server.open_connections
            await asyncio.sleep(300)
            await arrival()
            assert server.open_connections == 0
        return open_before

    with asyncio.Runner(loop_factory=VirtualClock().new_event_loop) as runner:
        assert runner.run(lie_idle()) == 2


async def test_reads_are_of_a_size_the_allocator_keeps_at_hand() -> None:
    async with RawServer(answer(200, PROCESSING)) as server, open_session(server) as session:
        await session.query("video_1")
        ((kept, _),) = next(iter(pool_of(session, "query")["_conns"].values()))
        # The lever is private; this is what tells when it is gone.
        assert kept.transport.max_size == 1 << 16


async def test_second_answer_to_one_create_call_is_not_taken_for_the_next_ones() -> None:
    """A gateway that answers early may read the rest as another request, and answer that too."""

    async def answer_twice(line: Line) -> None:
        await line.read_request()
        reply = head(429, ("Content-Length", "0"), ("Retry-After", "0.1"))
        await line.send(reply)
        await arrival()
        await line.send(reply)

    async with (
        RawServer(answer_twice, reset_after_headers) as server,
        open_session(server, retry=RetryPolicy(base_s=0.001, max_attempts=3)) as session,
    ):
        with pytest.raises(SubmissionUncertain) as caught:
            await session.submit(REQUEST)

    assert caught.value.attempts == 2
    assert server.accepted == 2


async def test_body_that_is_not_read_to_its_end_frees_its_connection() -> None:
    endless = raw(head(200, ("Content-Length", str(1 << 30))), b" " * (2 << 20), then=hang)
    async with RawServer(endless) as server, open_session(server) as session:
        with pytest.raises(SubmissionUncertain, match="larger than"):
            await session.submit(REQUEST)
        await server.settle()


async def test_closed_session_takes_no_call() -> None:
    async with RawServer(answer(200, ACCEPTED)) as server:
        session = open_session(server)
        await session.aclose()
        with pytest.raises(SessionClosed):
            await session.submit(REQUEST)
        with pytest.raises(SessionClosed):
            await session.query("video_1")
        await server.settle()

    assert server.accepted == 0


# --- a client session that was handed in ---------------------------------------------------


async def test_client_that_was_handed_in_is_used_and_stays_open() -> None:
    async with (
        RawServer(answer(200, ACCEPTED)) as server,
        aiohttp.ClientSession(headers={"X-From": "the owner"}) as client,
    ):
        async with open_session(server, client_session=client) as session:
            await session.submit(REQUEST)
            await session.query("video_1")
        assert not client.closed
        async with client.get(server.url) as response:
            assert response.status == 200

    assert [request.headers["x-from"] for request in server.requests] == ["the owner"] * 3
    assert "authorization" not in server.requests[2].headers


async def test_closed_session_takes_no_call_though_the_client_is_open() -> None:
    async with (
        RawServer(hang_after_body) as server,
        aiohttp.ClientSession() as client,
    ):
        session = open_session(server, client_session=client)
        submission = asyncio.create_task(session.submit(REQUEST))
        await server.until(lambda: server.posts == 1)
        await session.aclose()
        with pytest.raises(SubmissionUncertain, match="the session was closed"):
            await submission
        with pytest.raises(SessionClosed):
            await session.submit(REQUEST)
        # Its own calls are ended, their connections gone; the client itself is as it was.
        await server.settle()
        assert not client.closed
        assert server.accepted == 1


async def test_client_closed_by_its_owner_is_session_closed() -> None:
    async with RawServer(answer(200, ACCEPTED)) as server:
        client = aiohttp.ClientSession()
        async with open_session(server, client_session=client) as session:
            await session.submit(REQUEST)
            await client.close()
            with pytest.raises(SessionClosed):
                await session.submit(REQUEST)
            with pytest.raises(SessionClosed):
                await session.query("video_1")

    assert server.posts == 1


Handler = Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]]


async def resend(request: aiohttp.ClientRequest, handler: Handler) -> aiohttp.ClientResponse:
    """Send everything three times over, as a retrying middleware does on an error."""
    for _ in range(2):
        (await handler(request)).close()
    return await handler(request)


async def refuse_everything(response: aiohttp.ClientResponse) -> None:
    raise PermissionError(response.status)


STUBBORN_CLIENTS: dict[str, dict[str, Any]] = {
    "raise_for_status": {"raise_for_status": True},
    "raise_for_status of its own": {"raise_for_status": refuse_everything},
    "middleware that retries": {"middlewares": [resend]},
    "automatic decompression": {"auto_decompress": True},
    "a time-out of its own": {"timeout": aiohttp.ClientTimeout(total=1e-9)},
    "default headers": {
        "headers": {
            "Authorization": "Bearer someone-else",
            "Accept-Encoding": "gzip",
            "Content-Type": "text/plain",
            "Idempotency-Key": "always the same",
        }
    },
    "no automatic content type": {"skip_auto_headers": ["Content-Type"]},
    "100-continue": {"headers": {"Expect": "100-continue"}},
    "HTTP/1.0": {"version": aiohttp.HttpVersion10},
    "a base URL": {"base_url": "http://127.0.0.1:9/"},
}


@pytest.mark.parametrize("options", STUBBORN_CLIENTS.values(), ids=STUBBORN_CLIENTS.keys())
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, None),
        (400, SubmissionError),
        (307, SubmissionUncertain),
        (500, SubmissionUncertain),
    ],
)
async def test_settings_of_the_client_change_no_outcome(
    options: dict[str, Any], status: int, kind: type[SubmissionError] | None
) -> None:
    there = ("Location", "/v1/videos/videos")
    async with (
        RawServer(answer(status, ACCEPTED, there), answer(200, ACCEPTED)) as server,
        aiohttp.ClientSession(**options) as client,
        open_session(server, client_session=client) as session,
    ):
        if kind is None:
            assert (await session.submit(REQUEST)).id == "video_1"
        else:
            with pytest.raises(kind) as caught:
                await session.submit(REQUEST)
            assert caught.value.http_status == status

    (sent,) = server.requests
    assert sent.method == "POST"
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.headers["accept-encoding"] == "identity"
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["idempotency-key"] != "always the same"


async def test_gzip_stays_undecoded_in_a_client_that_would_decode_it() -> None:
    async with (
        RawServer(
            answer(200, b"\x1f\x8b\x08\x00", ("Content-Encoding", "gzip")), answer(200, PROCESSING)
        ) as server,
        aiohttp.ClientSession(auto_decompress=True) as client,
        open_session(server, client_session=client) as session,
    ):
        assert (await session.query("video_1")).status is Status.PROCESSING

    assert server.gets == 2


async def test_reset_while_the_service_thinks_about_100_continue_was_not_accepted() -> None:
    # Not a byte of the body has left yet, and without one nothing can be accepted.
    async with (
        RawServer(reset_after_headers) as server,
        aiohttp.ClientSession(headers={"Expect": "100-continue"}) as client,
        open_session(server, client_session=client) as session,
    ):
        with pytest.raises(NotSubmitted):
            await session.submit(REQUEST)

    assert (server.begun, server.posts) == (3, 0)
    assert session.uncertain == ()


async def test_final_answer_in_place_of_100_continue_is_taken_at_once() -> None:
    async def refuse(line: Line) -> None:
        await line.read_headers()
        await line.send(head(413, ("Content-Length", "0")))
        await hang(line)

    async with (
        RawServer(refuse) as server,
        aiohttp.ClientSession(headers={"Expect": "100-continue"}) as client,
        open_session(server, client_session=client) as session,
    ):
        with anyio.fail_after(10), pytest.raises(SubmissionError) as caught:
            await session.submit(REQUEST)
        await server.settle()

    assert caught.value.http_status == 413


async def test_calls_share_the_few_connections_of_a_client() -> None:
    async with (
        RawServer(answer(200, ACCEPTED)) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=2)) as client,
        open_session(server, client_session=client) as session,
        anyio.create_task_group() as group,
    ):
        for _ in range(20):
            group.start_soon(session.submit, REQUEST)
            group.start_soon(session.query, "video_1")

    assert (server.posts, server.gets) == (20, 20)
    assert server.accepted <= 2


# --- a proxy -------------------------------------------------------------------------------


@pytest.mark.parametrize("client_is", ["our own", "handed in"])
async def test_proxy_that_refuses_was_no_submission_and_never_saw_the_key(client_is: str) -> None:
    async with (
        RawServer(answer(407)) as proxy,
        aiohttp.ClientSession() as client,
        VideosSession(
            KEY,
            base_url="https://videos.invalid",
            proxy=proxy.url,
            retry=QUICK,
            client_session=client if client_is == "handed in" else None,
        ) as session,
    ):
        with pytest.raises(NotSubmitted, match="the proxy refused the connection: HTTP 407"):
            await session.submit(REQUEST)

    assert [request.method for request in proxy.requests] == ["CONNECT"] * 3
    assert not any(KEY.encode() in request.raw_headers for request in proxy.requests)


async def test_create_call_through_a_proxy_is_marked_like_any_other() -> None:
    async with (
        RawServer(hang_after_body) as proxy,
        VideosSession(
            KEY,
            base_url="http://localhost:9",
            proxy=proxy.url,
            retry=QUICK,
            timeouts=Timeouts(submit_s=0.2),
        ) as session,
    ):
        with pytest.raises(SubmissionUncertain, match="no answer within the time allowed"):
            await session.submit(REQUEST)

    (sent,) = proxy.requests
    assert (sent.method, sent.target) == ("POST", "http://localhost:9/v1/videos/videos")
