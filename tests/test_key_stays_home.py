"""A planted key, searched for in everything that leaves the library but the call itself."""

from __future__ import annotations

import asyncio
import base64
import copy
import gc
import json
import logging
import pickle
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias, cast
from urllib.parse import quote

import aiohttp
import anyio
import pytest

from tests.raw_server import (
    Line,
    RawServer,
    Script,
    answer,
    arrival,
    closed_port,
    hang,
    hang_after_body,
    head,
    raw,
    reset_after_body,
)
from videos_async import (
    ConfigurationError,
    PollPolicy,
    QueryRefused,
    RetryPolicy,
    SubmissionRefused,
    SubmissionUncertain,
    Timeouts,
    VideoRequest,
    VideosError,
    VideosSession,
    WaitTimeout,
)
from videos_async._settings import ApiKey

# Letters and digits are never escaped, so a torn or half escaped key is found by this part too.
CANARY = "c4n4ry0c4n4ry"
KEY = f"sk-not-a-real-key-{CANARY}/+='\\"
TRACES = (
    CANARY.encode(),
    base64.b64encode(KEY.encode()).rstrip(b"="),
    base64.b64encode(f"Bearer {KEY}".encode()).rstrip(b"="),
)
REQUEST = VideoRequest(prompt="A kitten on a meadow", duration=5)
ACCEPTED = {"id": "video_1", "object": "video", "status": "queued"}
QUICK = RetryPolicy(max_attempts=2, base_s=0.001, cap_s=0.001)
OFTEN = PollPolicy(min_interval_s=0.001, max_interval_s=0.002, max_failures=2)


def open_session(server: RawServer, **settings: Any) -> VideosSession:
    settings.setdefault("retry", QUICK)
    settings.setdefault("poll", OFTEN)
    return VideosSession(KEY, base_url=server.url, **settings)


# --- the search ----------------------------------------------------------------------------


def holds_the_key(text: str | bytes) -> bool:
    data = text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace")
    return any(trace in data for trace in TRACES)


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """Walk causes, contexts and groups, hidden ones included."""
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        pending += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            pending += cast("BaseExceptionGroup[BaseException]", one).exceptions


def locals_of(trace: TracebackType | None) -> Iterator[str]:
    while trace is not None:
        for name, value in trace.tb_frame.f_locals.items():
            yield f"{trace.tb_frame.f_code.co_qualname}.{name} = {value!r}"
        trace = trace.tb_next


def everything_told_by(error: BaseException) -> Iterator[str | bytes]:
    yield from traceback.format_exception(error)
    yield from traceback.TracebackException.from_exception(error, capture_locals=True).format()
    for one in chain_of(error):
        yield str(one)
        yield repr(one)
        yield repr(vars(one))
        yield repr(one.args)
        yield from locals_of(one.__traceback__)
        if isinstance(one, VideosError):
            yield pickle.dumps(one)
            yield repr(pickle.loads(pickle.dumps(one)))


def assert_no_key_in(*told: str | bytes) -> None:
    assert [one for one in told if holds_the_key(one)] == []


@pytest.fixture(autouse=True, scope="module")
def _collected_is_what_is_new() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    """Spare each collection below all that other tests left, which takes half a second."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
async def everything_logged(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> AsyncIterator[None]:
    """Search what every logger said at DEBUG, asyncio's debug mode included, after each test."""
    caplog.set_level(logging.DEBUG)
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    slow_s, loop.slow_callback_duration = loop.slow_callback_duration, 0
    yield
    gc.collect()
    loop.slow_callback_duration = slow_s
    loop.set_debug(False)
    assert any(record.name == "asyncio" for record in caplog.records)
    for record in caplog.records:
        assert_no_key_in(record.getMessage(), repr(vars(record)))
        if record.exc_info is not None and record.exc_info[1] is not None:
            assert_no_key_in(*everything_told_by(record.exc_info[1]))
    assert_no_key_in(*capfd.readouterr())


async def test_search_finds_a_key_that_is_there() -> None:
    def leak() -> None:
        header = f"Bearer {KEY}"
        raise RuntimeError(len(header))

    def leak_by_cause() -> None:
        raise RuntimeError from LookupError(base64.b64encode(KEY.encode()))

    for leaking in (leak, leak_by_cause):
        with pytest.raises(RuntimeError) as caught:
            leaking()
        assert any(map(holds_the_key, everything_told_by(caught.value)))


def inside(part: object) -> dict[str, Any]:
    """Open an object that has no door: a dump of variables does not ask either."""
    return part.__dict__


# --- what the session shows ----------------------------------------------------------------


async def test_no_object_shows_the_key() -> None:
    async with RawServer(answer(200, ACCEPTED)) as server, open_session(server) as session:
        await session.submit(REQUEST)
        transport, calls = (inside(session)[name] for name in ("_transport", "_calls"))
        for part in (session, transport, calls, session.watch(["video_1"])):
            assert_no_key_in(str(part), repr(part), repr(inside(part)))
        for client in inside(transport)["_owned"].values():
            assert_no_key_in(repr(client), repr(inside(client)), repr(inside(client.connector)))
        assert_no_key_in(repr(ApiKey(KEY)), f"{[ApiKey(KEY)]}")


async def test_nothing_that_holds_the_key_can_be_pickled_or_copied() -> None:
    async with RawServer(answer(200, ACCEPTED)) as server, open_session(server) as session:
        transport, calls = (inside(session)[name] for name in ("_transport", "_calls"))
        for part in (
            session,
            transport,
            calls,
            ApiKey(KEY),
            inside(transport)["_where"]["headers"],
        ):
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
                with pytest.raises(TypeError, match=r"pickle|key"):
                    pickle.dumps(part, protocol)
            with pytest.raises(TypeError, match=r"pickle|key"):
                copy.deepcopy(part)


@pytest.mark.parametrize(
    "setting",
    [
        {"api_key": f" {KEY}"},
        {"api_key": f"{KEY}\n"},
        {"api_key": f"{KEY} {KEY}"},
        {"api_key": f"{KEY}é"},
        {"api_key": [KEY]},
        {"api_key": KEY, "base_url": "http://videos.example"},
        {"api_key": KEY, "base_url": "nowhere"},
    ],
)
async def test_setting_that_is_refused_does_not_show_the_key(setting: dict[str, Any]) -> None:
    await asyncio.sleep(0)
    with pytest.raises(ConfigurationError) as caught:
        VideosSession(**setting)

    error = caught.value
    assert_no_key_in(
        str(error), repr(error), pickle.dumps(error), *traceback.format_exception(error)
    )


# --- errors, provoked for real -------------------------------------------------------------

Call: TypeAlias = Callable[[VideosSession], Awaitable[object]]


async def submit(session: VideosSession) -> object:
    return await session.submit(REQUEST)


async def query(session: VideosSession) -> object:
    return await session.query("video_1")


async def wait(session: VideosSession) -> object:
    return await session.wait("video_1", timeout=0.2)


def said(form: str) -> Script:
    """Echo the Authorization header in an answer, written as some JSON library would."""
    return answer(400, f'{{"message": "You sent Bearer {form}"}}'.encode())


PHP = json.dumps(KEY)[1:-1].replace("/", "\\/")
DOTNET = "".join(one if one.isalnum() or one == "-" else f"\\u{ord(one):04X}" for one in KEY)
GSON = "".join(one if one.isalnum() or one in "-/+" else f"\\u{ord(one):04x}" for one in KEY)
ECHOES = {
    "plain JSON": json.dumps(KEY)[1:-1],
    "JSON of PHP": PHP,
    "JSON of .NET": DOTNET,
    "JSON of Java": GSON,
    "in a URL": quote(KEY, safe=""),
    "in a URL, lower case": quote(KEY, safe="").lower(),
}


async def cut_line(line: Line) -> None:
    line.close()


GARBAGE = {
    "status line": raw(f"HTTP/1.1 4x0 {KEY}\r\n\r\n".encode()),
    "no HTTP": raw(f"{KEY} SSH-2.0\r\n".encode()),
    "torn by the packet's end": raw(KEY[:-4].encode(), then=hang),
    "bad header": raw(f"HTTP/1.1 200 OK\r\nbad {KEY}\r\n\r\n".encode()),
    "reason": raw(f"HTTP/1.1 500 {KEY}\r\nContent-Length: 0\r\n\r\n".encode()),
    "long header": raw(head(200, ("X", "y" * 90 + KEY + "y" * 9000))),
    # The parser shows the first hundred bytes.
    "torn by the parser": raw(head(200, ("X", "y" * (104 - len(KEY)) + KEY + "y" * 9000))),
    "header": answer(500, b"", ("X-You-Sent", KEY)),
    "cookie": answer(500, b"", ("Set-Cookie", f"you={KEY}")),
    "bad cookie": answer(500, b"", ("Set-Cookie", f"{KEY}; {KEY}=;=")),
    "encoding": answer(200, b"x", ("Content-Encoding", KEY)),
    "Retry-After": answer(503, b"", ("Retry-After", KEY)),
    "redirect": answer(302, b"", ("Location", f"/?{KEY}")),
    "page": answer(200, f"<html>{KEY}".encode()),
    "page of trouble": answer(502, f"<html>{KEY}".encode()),
    "cut body": raw(head(200, ("Content-Length", "999")) + KEY.encode(), then=cut_line),
    "bad chunk": raw(head(200, ("Transfer-Encoding", "chunked")) + f"{KEY}\r\n".encode()),
    "reset": reset_after_body,
    "silence": hang_after_body,
}


@pytest.mark.parametrize("call", [submit, query, wait])
@pytest.mark.parametrize("script", GARBAGE.values(), ids=GARBAGE.keys())
async def test_error_over_an_answer_with_the_key_in_it_does_not_hold_it(
    script: Script, call: Call
) -> None:
    short = Timeouts(submit_s=0.1, query_s=0.05)
    async with RawServer(script) as server, open_session(server, timeouts=short) as session:
        with pytest.raises(VideosError) as caught:
            await call(session)
        doubts = session.uncertain

    assert_no_key_in(*everything_told_by(caught.value))
    for doubt in doubts:
        assert_no_key_in(*everything_told_by(doubt))


@pytest.mark.parametrize("call", [submit, query, wait])
@pytest.mark.parametrize("writer", ECHOES)
async def test_message_of_the_service_comes_without_the_key_it_echoes(
    writer: str, call: Call
) -> None:
    async with RawServer(said(ECHOES[writer])) as server, open_session(server) as session:
        with pytest.raises((SubmissionRefused, QueryRefused)) as caught:
            await call(session)

    assert vars(caught.value)["service_message"] == "You sent Bearer [api key]"
    assert_no_key_in(*everything_told_by(caught.value))


@pytest.mark.parametrize("writer", ECHOES)
async def test_snapshot_of_a_task_comes_without_the_key_the_service_echoes(writer: str) -> None:
    body = '{"id": "video_1", "status": "failed", "error": "%s", "you": {"sent": ["%s"]}}'
    async with (
        RawServer(answer(200, (body % ((ECHOES[writer],) * 2)).encode())) as server,
        open_session(server) as session,
    ):
        task = await session.query("video_1")
        with pytest.raises(VideosError) as caught:
            await session.wait("video_1")

    assert task.error == "[api key]"
    assert_no_key_in(pickle.dumps(task), repr(task), repr(task.extra), *map(repr, [task.error]))
    assert_no_key_in(*everything_told_by(caught.value))


async def test_error_over_a_connection_that_never_was_does_not_hold_the_key() -> None:
    with closed_port() as port:
        async with open_session(RawServer(hang, on=port)) as session:
            for call in (submit, query):
                with pytest.raises(VideosError) as caught:
                    await call(session)
                assert_no_key_in(*everything_told_by(caught.value))


async def test_error_of_a_closed_session_does_not_hold_the_key() -> None:
    async with RawServer(hang_after_body) as server:
        session = open_session(server, timeouts=Timeouts())
        calls = [asyncio.ensure_future(call(session)) for call in (submit, query, wait)]
        await server.until(lambda: len(server.requests) == 3)
        await session.aclose()
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(outcome, VideosError)
            assert_no_key_in(*everything_told_by(outcome))


async def test_wait_timeout_does_not_hold_the_key_its_last_poll_brought() -> None:
    page = answer(502, f"<html>{KEY}".encode())
    patient = PollPolicy(min_interval_s=0.001, max_interval_s=0.002, max_failures=10**6)
    async with RawServer(page) as server, open_session(server, poll=patient) as session:
        with pytest.raises(WaitTimeout) as caught:
            await session.wait("video_1", timeout=0.1)

    assert caught.value.last_error is not None
    assert_no_key_in(*everything_told_by(caught.value))


# --- cancellation --------------------------------------------------------------------------


def stalls() -> tuple[Script, asyncio.Event]:
    """Echo the key in a header and in half a body, then say nothing."""
    is_stalling = asyncio.Event()

    async def stall(line: Line) -> None:
        is_stalling.set()
        await hang(line)

    echo = head(200, ("Content-Length", "999"), ("X-You-Sent", KEY)) + KEY.encode()
    return raw(echo, then=stall), is_stalling


@pytest.mark.parametrize("call", [submit, query, wait])
async def test_cancellation_does_not_hold_the_key(call: Call) -> None:
    for script, is_reached in (stalls(), (hang_after_body, None)):
        async with (
            RawServer(script) as server,
            open_session(server, timeouts=Timeouts()) as session,
        ):
            running = asyncio.ensure_future(call(session))
            await server.until(lambda: len(server.requests) == 1)
            if is_reached is not None:
                await is_reached.wait()
                await arrival()
            running.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await running
            doubts = session.uncertain

        assert_no_key_in(*everything_told_by(caught.value))
        assert len(doubts) == (call is submit)
        if call is submit:
            assert isinstance(caught.value.__cause__, SubmissionUncertain)


async def test_cancellation_while_connecting_does_not_hold_the_key() -> None:
    async with (
        RawServer(hang) as server,
        VideosSession(KEY, base_url=server.url.replace("http:", "https:")) as session,
    ):
        running = asyncio.create_task(session.submit(REQUEST))
        await server.until(lambda: server.accepted == 1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await running

    assert_no_key_in(*everything_told_by(caught.value))


async def test_time_out_of_the_caller_does_not_hold_the_key() -> None:
    async with (
        RawServer(hang_after_body) as server,
        open_session(server, timeouts=Timeouts()) as session,
    ):
        with pytest.raises(TimeoutError) as caught:
            await asyncio.wait_for(session.submit(REQUEST), 0.1)
        with pytest.raises(TimeoutError) as scoped, anyio.fail_after(0.1):
            await session.submit(REQUEST)

    assert any(isinstance(one, SubmissionUncertain) for one in chain_of(caught.value))
    assert_no_key_in(*everything_told_by(caught.value))
    assert_no_key_in(*everything_told_by(scoped.value))


FILM = b"\0\0\0\x18ftypmp42"
SEND_FILM = raw(head(200, ("Content-Type", "video/mp4"), ("Content-Length", "12")) + FILM)


# --- where it goes -------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_key_follows_no_redirect_of_the_api(status: int) -> None:
    async with RawServer(answer(200, ACCEPTED)) as elsewhere:
        there = ("Location", f"{elsewhere.url}/v1/videos/videos")
        async with RawServer(answer(status, {}, there)) as server, open_session(server) as session:
            for call in (submit, query):
                with pytest.raises(VideosError):
                    await call(session)
        await elsewhere.settle()

    assert elsewhere.accepted == 0


async def test_key_goes_to_no_file_server_and_to_none_it_redirects_to(tmp_path: Path) -> None:
    async with RawServer(SEND_FILM) as second:
        onward = answer(302, b"", ("Location", f"{second.url}/film.mp4"))
        async with RawServer(onward) as first:
            done = {**ACCEPTED, "status": "completed", "video_url": f"{first.url}/film?sig=1"}
            async with RawServer(answer(200, done)) as server, open_session(server) as session:
                await session.download("video_1", tmp_path / "film.mp4")

    assert (tmp_path / "film.mp4").read_bytes() == FILM
    for request in (*first.requests, *second.requests):
        assert "authorization" not in request.headers
        assert "cookie" not in request.headers
        assert_no_key_in(request.raw_headers, request.body)
    assert [len(one.requests) for one in (first, second, server)] == [1, 1, 1]


async def test_key_goes_with_no_file_even_from_the_host_of_the_api(tmp_path: Path) -> None:

    async def script(line: Line) -> None:
        headers = await line.peek_headers()
        done = {**ACCEPTED, "status": "completed", "video_url": f"{server.url}/film.mp4"}
        await (SEND_FILM if b" /film.mp4 " in headers else answer(200, done))(line)

    server = RawServer(script)
    async with server, open_session(server) as session:
        await session.download("video_1", tmp_path / "film.mp4")

    call, file = server.requests
    assert KEY.encode() in call.raw_headers
    assert_no_key_in(file.raw_headers)


async def test_error_of_a_download_does_not_hold_the_key(tmp_path: Path) -> None:
    scripts = [answer(500), answer(200, b""), reset_after_body, answer(302), GARBAGE["status line"]]
    for script in scripts:
        async with RawServer(script) as files:
            done = {**ACCEPTED, "status": "completed", "video_url": f"{files.url}/film.mp4"}
            async with RawServer(answer(200, done)) as server, open_session(server) as session:
                with pytest.raises(VideosError) as caught:
                    await session.download("video_1", tmp_path / "film.mp4")
        assert_no_key_in(*everything_told_by(caught.value))


async def test_client_that_was_handed_in_keeps_no_key() -> None:
    async with (
        RawServer(answer(200, ACCEPTED)) as server,
        aiohttp.ClientSession() as client,
    ):
        async with open_session(server, client_session=client) as session:
            await session.submit(REQUEST)
        async with client.get(f"{server.url}/other") as response:
            assert response.status == 200
        assert_no_key_in(repr(inside(client)))

    _, other = server.requests
    assert_no_key_in(other.raw_headers)
