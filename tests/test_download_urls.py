"""Temporary URLs: a fresh one is asked for, and what is signed stays hidden."""

from __future__ import annotations

import asyncio
import logging
import pickle
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import pytest

from tests.file_server import (
    SECRET,
    VIDEO,
    cut_off,
    file_session,
    finished,
    ranges_of,
    serve,
    url_of,
)
from tests.raw_server import Line, RawServer, Request, Script, answer, close_after_body, head, raw
from tests.service import QUICK_RETRIES
from tests.test_key_stays_home import chain_of
from videos_async import (
    DownloadError,
    QueryFailed,
    RetryPolicy,
    VideoExpired,
    VideosSession,
    VideoUnavailable,
)

DAY_S = 86_400


def told(**fields: Any) -> dict[str, Any]:
    """Write what the service says of a completed task."""
    return {"id": "video_1", "status": "completed", **fields}


@attrs.frozen
class Servers:
    """A raw service, and a raw file server whose URLs it gives out."""

    api: RawServer
    files: RawServer

    @property
    def names(self) -> list[str]:
        """The files that were asked for, in order."""
        return [one.target.partition("?")[0] for one in self.files.requests]


Api: TypeAlias = Callable[[RawServer], list[Script]]


async def save(target: Path, *, files: list[Script], api: Api, query: str | None = None) -> Servers:
    """Download the video of a task from servers that play these scripts."""
    async with (
        RawServer(*files) as file_server,
        RawServer(*api(file_server)) as server,
        VideosSession("key", base_url=server.url, retry=QUICK_RETRIES) as session,
    ):
        url = url_of(file_server) if query is None else f"{file_server.url}/old.mp4?{query}"
        await session.download(finished(file_server, video_url=url), target)
        return Servers(server, file_server)


async def error_of(target: Path, *scripts: Script, **options: Any) -> DownloadError:
    """Download from a server that plays these scripts, in vain."""
    async with RawServer(*scripts) as server, file_session(**options) as session:
        with pytest.raises(DownloadError) as caught:
            await session.download(finished(server), target)
    return caught.value


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def fresh(*names: str, **fields: Any) -> Api:
    """Make a service that answers each query with the URL of the next of these files."""
    return lambda files: [
        answer(200, told(video_url=url_of(files, name), **fields)) for name in names
    ]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_a_url_that_is_refused_is_asked_for_anew(tmp_path: Path, status: int) -> None:
    done = await save(
        tmp_path / "a.mp4", files=[answer(status, b""), serve()], api=fresh("fresh.mp4")
    )
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO
    assert done.names == ["/video.mp4", "/fresh.mp4"]
    assert done.api.gets == 1


async def test_a_url_that_runs_out_in_the_middle_is_replaced_and_the_download_goes_on(
    tmp_path: Path,
) -> None:
    files = [cut_off(), answer(403, b""), serve()]
    done = await save(tmp_path / "a.mp4", files=files, api=fresh("fresh.mp4"))
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO
    assert ranges_of(done.files) == [None, "bytes=100000-", "bytes=100000-"]
    assert done.names[-1] == "/fresh.mp4"


async def test_urls_may_run_out_as_often_as_they_bring_bytes(tmp_path: Path) -> None:
    refusal = answer(403, b"")
    part = serve(stops_after=70_000)
    files = [part, refusal, part, refusal, part, refusal, serve()]
    done = await save(tmp_path / "a.mp4", files=files, api=fresh("2.mp4", "3.mp4", "4.mp4"))
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO
    assert done.api.gets == 3


async def test_a_fresh_url_with_another_version_behind_it_starts_over(tmp_path: Path) -> None:
    files = [cut_off(), answer(410, b""), serve(VIDEO[::-1], etag='"other"')]
    await save(tmp_path / "a.mp4", files=files, api=fresh("fresh.mp4"))
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO[::-1]


@pytest.mark.parametrize(
    "query",
    [
        "X-Amz-Date=20200101T000000Z&X-Amz-Expires=3600&X-Amz-Signature=abc",
        "x-oss-date=20200101T000000Z&x-oss-expires=3600&x-oss-signature=abc",
        "Expires=1577840400&Signature=abc",
        "sv=2020&se=2020-01-01T00%3A00%3A00Z&sig=abc",
        "q-sign-time=1577836800;1577840400&q-signature=abc",
    ],
)
async def test_a_url_that_says_it_has_run_out_is_asked_for_anew_before_it_is_tried(
    tmp_path: Path, query: str
) -> None:
    done = await save(tmp_path / "a.mp4", files=[serve()], api=fresh("fresh.mp4"), query=query)
    assert done.names == ["/fresh.mp4"]


async def test_a_fresh_url_is_tried_even_if_it_says_it_has_run_out(tmp_path: Path) -> None:
    # This machine's clock may be what is wrong.
    def api(files: RawServer) -> list[Script]:
        return [answer(200, told(video_url=f"{files.url}/fresh.mp4?Expires=1577840400"))]

    query = "Expires=1577840400"
    done = await save(tmp_path / "a.mp4", files=[serve()], api=api, query=query)
    assert done.names == ["/fresh.mp4"]
    assert done.api.gets == 1


async def test_a_video_whose_fresh_url_is_refused_too_is_expired(tmp_path: Path) -> None:
    created = int(time.time()) - 3 * DAY_S
    refusal = answer(403, b"<Code>AccessDenied</Code>")
    api = fresh("fresh.mp4", created=created)
    with pytest.raises(VideoExpired, match="3 days old") as caught:
        await save(tmp_path / "a.mp4", files=[refusal], api=api)
    error = caught.value
    assert (error.task_id, error.http_status) == ("video_1", 403)
    assert error.age_s is not None
    assert 3 * DAY_S <= error.age_s < 3 * DAY_S + 60
    assert "AccessDenied" in str(error)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "said",
    [answer(404, {"message": "no such task"}), answer(200, told(video_url=None))],
    ids=["the task is unknown", "there is no URL"],
)
async def test_a_video_that_the_service_has_dropped_is_expired(
    tmp_path: Path, said: Script
) -> None:
    with pytest.raises(VideoExpired, match="any more"):
        await save(tmp_path / "a.mp4", files=[answer(404, b"")], api=lambda _: [said])


async def test_a_service_that_cannot_be_asked_leaves_the_part(tmp_path: Path) -> None:
    with pytest.raises(QueryFailed):
        await save(
            tmp_path / "a.mp4",
            files=[cut_off(), answer(403, b"")],
            api=lambda _: [close_after_body],
        )
    assert (tmp_path / "a.mp4.part").stat().st_size == 100_000


# --- pages in place of videos --------------------------------------------------------------


def page(body: bytes, media_type: str, status: int = 200) -> Script:
    framing = [("Content-Type", media_type), ("Content-Length", str(len(body)))]
    return raw(head(status, *framing) + body)


@pytest.mark.parametrize(
    ("script", "line"),
    [
        (page(b"<!doctype html>\n<title>Link expired</title>", "text/html"), "Link expired"),
        (page(b'{"error": "gone away"}', "application/json"), '{"error": "gone away"}'),
        (page(b"<html><body><p>Sign in first", "video/mp4"), "Sign in first"),
        (page(b'\n {"code": 404}', "application/octet-stream"), '{"code": 404}'),
        (page(b"quota used up\nsorry", "text/plain"), "quota used up"),
        (page(b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code>', "video/mp4"), "NoSuchKey"),
    ],
)
async def test_a_page_with_status_200_is_an_error_with_its_first_line(
    tmp_path: Path, script: Script, line: str
) -> None:
    error = await error_of(tmp_path / "a.mp4", script)
    assert isinstance(error, VideoUnavailable)
    assert str(error).endswith(f"which begins: {line}")
    assert names(tmp_path) == []


async def test_a_page_does_not_cost_the_part_that_is_here(tmp_path: Path) -> None:
    error = await error_of(tmp_path / "a.mp4", cut_off(50_000), page(b"<html>Sorry", "text/html"))
    assert isinstance(error, VideoUnavailable)
    assert (tmp_path / "a.mp4.part").read_bytes() == VIDEO[:50_000]


async def test_a_video_that_a_server_calls_text_is_a_video(tmp_path: Path) -> None:
    async with RawServer(page(VIDEO, "text/plain")) as server, file_session() as session:
        saved = await session.download(finished(server), tmp_path / "a.mp4")
    assert saved.is_verified


async def test_an_error_status_is_told_with_the_first_line_of_its_page(tmp_path: Path) -> None:
    said = page(b"<html><h1>Not here</h1>", "text/html", 451)
    error = await error_of(tmp_path / "a.mp4", said)
    assert "HTTP 451, which says: Not here" in str(error)


@pytest.mark.parametrize("encoding", ["gzip", "br", "x-unheard-of"])
async def test_a_body_that_is_encoded_uninvited_is_refused(tmp_path: Path, encoding: str) -> None:
    error = await error_of(tmp_path / "a.mp4", serve(VIDEO, ("Content-Encoding", encoding)))
    assert f"encoded as {encoding!r}, uninvited" in str(error)
    assert names(tmp_path) == []


async def test_nothing_is_asked_for_encoded(tmp_path: Path) -> None:
    done = await save(tmp_path / "a.mp4", files=[serve()], api=fresh("fresh.mp4"))
    assert done.files.requests[0].headers["accept-encoding"] == "identity"


# --- signatures ----------------------------------------------------------------------------


async def echo(line: Line) -> None:
    """Answer with a page that shows the URL and the bare signature, as some do."""
    request: Request = await line.read_request()
    said = f"<p>{request.target} http://{request.headers['host']}{request.target} {SECRET}"
    await line.send(head(403, ("Content-Length", str(len(said)))) + said.encode())


async def echo_as_video(line: Line) -> None:
    request = await line.read_request()
    said = f"<html>{request.target} signature: {SECRET}"
    await line.send(head(200, ("Content-Length", str(len(said)))) + said.encode())


async def echo_in_location(line: Line) -> None:
    request = await line.read_request()
    await line.send(
        head(302, ("Location", f"ftp://files{request.target}"), ("Content-Length", "0"))
    )


async def bad_header(line: Line) -> None:
    request = await line.read_request()
    await line.send(f"HTTP/1.1 200 OK\r\n{request.target}\r\n\r\n".encode())


LEAKY = {
    "page that echoes": echo,
    "page with status 200": echo_as_video,
    "redirect": echo_in_location,
    "garbage": bad_header,
    "cut": cut_off(2000),
    "closed": close_after_body,
    "encoded": serve(VIDEO, ("Content-Encoding", "gzip")),
    "refused": answer(400, b""),
    "overloaded": answer(503, b""),
}


@pytest.fixture
async def everything_logged(caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """Search what every logger said at DEBUG, asyncio's debug mode included."""
    caplog.set_level(logging.DEBUG)
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    slow_s, loop.slow_callback_duration = loop.slow_callback_duration, 0
    yield
    loop.slow_callback_duration = slow_s
    loop.set_debug(False)
    records = caplog.get_records("call")
    assert any(record.name == "asyncio" for record in records)
    assert not [one for one in records if SECRET in one.getMessage() + repr(vars(one))]


def shown_by(error: BaseException) -> Iterator[str]:
    """Everything an error shows, the variables of the library's frames included."""
    yield pickle.dumps(error).decode("latin-1")
    for one in chain_of(error):
        yield from (str(one), repr(one), repr(vars(one)), repr(one.args))
        for frame, _ in traceback.walk_tb(one.__traceback__):
            # What the test itself holds is no leak.
            if "tests" not in Path(frame.f_code.co_filename).parts:
                yield f"{frame.f_code.co_qualname}: {frame.f_locals!r}"


@pytest.mark.usefixtures("everything_logged")
@pytest.mark.parametrize("leaky", LEAKY.values(), ids=LEAKY)
async def test_no_error_and_no_log_line_shows_the_signature(tmp_path: Path, leaky: Script) -> None:
    once = RetryPolicy(max_attempts=2, base_s=0.001)
    async with (
        RawServer(leaky) as files,
        RawServer(answer(200, told(video_url=url_of(files)))) as api,
        VideosSession("key", base_url=api.url, retry=once) as session,
    ):
        with pytest.raises(DownloadError) as caught:
            await session.download(finished(files), tmp_path / "a.mp4")
    assert [text for text in shown_by(caught.value) if SECRET in text] == []


async def test_the_search_for_signatures_finds_one_that_is_there() -> None:
    error = DownloadError(task_id="1", target="a.mp4", reason=f"at /?signature={SECRET}")
    assert [text for text in shown_by(error) if SECRET in text]
