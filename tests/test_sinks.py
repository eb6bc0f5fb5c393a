"""Sinks: what the caller writes to gets the bytes in order, once, at its own pace."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from aiohttp import ClientSession, web
from anyio import open_file

from tests.file_server import VIDEO, cut_off, file_session, finished, mp4, ranges_of, serve
from tests.raw_server import Line, RawServer, Script, answer, hang, head
from videos_async import (
    ConfigurationError,
    Download,
    DownloadError,
    DownloadIncomplete,
    DownloadPolicy,
    DownloadProgress,
    RetryPolicy,
    VideoUnavailable,
)

OTHER = mp4(300_000, salt=1)
ONE_TRY = RetryPolicy(max_attempts=1)


class Collector:
    """A sink that keeps what it is given, and how it was given."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    async def write(self, data: bytes, /) -> None:
        assert type(data) is bytes
        await anyio.lowlevel.checkpoint()
        self.pieces.append(data)

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)


def closing(body: bytes) -> Script:
    """Send a body whose end nothing but the end of the connection tells."""

    async def script(line: Line) -> None:
        await line.read_request()
        await line.send(head(200, ("Content-Type", "video/mp4")) + body)
        line.close()

    return script


async def fetch(sink: Collector, *scripts: Script, **options: Any) -> Download:
    async with RawServer(*scripts) as server, file_session(**options) as session:
        return await session.download(finished(server), sink)


async def test_a_sink_gets_the_file_and_its_facts_come_back() -> None:
    sink = Collector()
    got = await fetch(sink, serve())
    assert sink.data == VIDEO
    assert got == Download(
        size_bytes=len(VIDEO),
        sha256=hashlib.sha256(VIDEO).hexdigest(),
        media_type="video/mp4",
        is_verified=True,
    )


async def test_a_connection_that_breaks_goes_on_where_it_broke_and_no_byte_comes_twice() -> None:
    sink = Collector()
    async with RawServer(cut_off(70_000), cut_off(120_000), serve()) as server:
        async with file_session() as session:
            got = await session.download(finished(server), sink)
        assert ranges_of(server) == [None, "bytes=70000-", "bytes=190000-"]
    assert sink.data == VIDEO
    assert got.sha256 == hashlib.sha256(VIDEO).hexdigest()


async def test_another_version_after_a_break_ends_the_download_with_what_was_given_told() -> None:
    sink = Collector()
    with pytest.raises(DownloadIncomplete, match="first 70000 bytes, which cannot be") as caught:
        await fetch(sink, cut_off(70_000), serve(OTHER, etag='"version-2"'))
    assert sink.data == VIDEO[:70_000]
    assert (caught.value.received_bytes, caught.value.expected_bytes) == (70_000, len(VIDEO))
    assert caught.value.target == "a Collector"


async def test_a_server_without_validators_cannot_go_on() -> None:
    sink = Collector()
    with pytest.raises(DownloadIncomplete, match="cannot go on"):
        await fetch(sink, serve(etag=None, stops_after=70_000), serve(etag=None))
    assert sink.data == VIDEO[:70_000]


async def test_a_download_that_fails_has_given_the_first_bytes_and_no_others() -> None:
    sink = Collector()
    with pytest.raises(DownloadIncomplete) as caught:
        await fetch(sink, cut_off(50_000), retry=ONE_TRY)
    assert sink.data == VIDEO[:50_000]
    assert caught.value.received_bytes == 50_000


async def test_an_error_page_never_reaches_the_sink() -> None:
    sink = Collector()
    page = answer(200, b"<html>gone", ("Content-Type", "text/html"))
    with pytest.raises(VideoUnavailable):
        await fetch(sink, page)
    assert sink.pieces == []


async def test_a_body_that_ended_by_close_is_verified_by_its_boxes() -> None:
    sink = Collector()
    async with RawServer(closing(VIDEO)) as server, file_session() as session:
        assert (await session.download(finished(server), sink)).is_verified
    assert sink.data == VIDEO


async def test_a_body_cut_by_close_is_told_by_its_boxes() -> None:
    sink = Collector()
    with pytest.raises(DownloadIncomplete, match="first 299999 bytes"):
        await fetch(sink, closing(VIDEO[:-1]), serve(etag=None))


async def test_a_slow_sink_slows_the_server_down() -> None:
    # Far more than all the buffers between: the server can only be done when the sink is.
    large = mp4(24 << 20)
    open_gate, sent = anyio.Event(), anyio.Event()
    calls = 0

    class Slow(Collector):
        async def write(self, data: bytes, /) -> None:
            nonlocal calls
            calls += 1
            if not self.pieces:
                await open_gate.wait()
                assert not sent.is_set()
                assert calls == 1, "it was written to while it was writing"
            await super().write(data)

    async def serve_large(line: Line) -> None:
        await serve(large)(line)
        sent.set()

    sink = Slow()
    async with (
        RawServer(serve_large) as server,
        file_session() as session,
        anyio.create_task_group() as group,
    ):
        group.start_soon(session.download, finished(server), sink)
        with anyio.move_on_after(0.5):
            await sent.wait()
        assert not sent.is_set()
        open_gate.set()
    assert sink.data == large


async def test_what_a_sink_raises_comes_out_as_it_is() -> None:
    class Broken(Collector):
        async def write(self, data: bytes, /) -> None:
            await super().write(data)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await fetch(Broken(), serve())


async def test_a_sink_that_takes_some_is_given_the_rest() -> None:
    class Partial(Collector):
        async def write(self, data: bytes, /) -> int:  # type: ignore[override]
            taken = min(len(data), 1000)
            await super().write(data[:taken])
            return taken

    sink = Partial()
    await fetch(sink, serve())
    assert sink.data == VIDEO


async def test_a_sink_that_takes_nothing_ends_the_download() -> None:
    class Full(Collector):
        async def write(self, data: bytes, /) -> int:  # type: ignore[override]
            await super().write(b"")
            return 0

    with pytest.raises(DownloadError, match="it took 0 of"):
        await fetch(Full(), serve())


async def test_a_cancelled_download_does_not_wait_for_its_sink() -> None:
    class Stuck(Collector):
        async def write(self, data: bytes, /) -> None:
            await super().write(data)
            reached.set()
            await anyio.sleep_forever()

    reached = anyio.Event()
    async with (
        RawServer(serve()) as server,
        file_session() as session,
        anyio.create_task_group() as group,
    ):
        group.start_soon(session.download, finished(server), Stuck())
        await reached.wait()
        group.cancel_scope.cancel()


async def test_what_came_before_a_cancellation_is_not_pressed_on_the_sink() -> None:
    sink = Collector()
    came = anyio.Event()

    async def some_then_nothing(line: Line) -> None:
        await line.read_request()
        await line.send(head(200, ("Content-Length", str(len(VIDEO)))) + VIDEO[:9000])
        came.set()
        await hang(line)

    async with (
        RawServer(some_then_nothing) as server,
        file_session() as session,
        anyio.create_task_group() as group,
    ):
        group.start_soon(session.download, finished(server), sink)
        await came.wait()
        group.cancel_scope.cancel()
    assert sink.data in (b"", VIDEO[:9000])


async def test_progress_is_told_for_a_sink_as_well() -> None:
    seen: list[DownloadProgress] = []
    async with RawServer(serve()) as server, file_session() as session:
        await session.download(finished(server), Collector(), on_progress=seen.append)
    assert seen[-1].received_bytes == len(VIDEO)


async def test_the_limit_of_bytes_holds_for_a_sink_as_well() -> None:
    sink = Collector()
    with pytest.raises(DownloadError, match="longer than 100000 bytes"):
        await fetch(sink, serve(), downloads=DownloadPolicy(limit_bytes=100_000))
    assert sink.pieces == []


async def test_a_file_of_anyio_is_a_sink(tmp_path: Path) -> None:
    async with (
        RawServer(serve()) as server,
        file_session() as session,
        await open_file(tmp_path / "a.mp4", "wb") as file,
    ):
        got = await session.download(finished(server), file)
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO
    assert got.path is None


async def test_an_unbuffered_file_is_a_sink(tmp_path: Path) -> None:
    async with (
        RawServer(serve()) as server,
        file_session() as session,
        await open_file(tmp_path / "a.mp4", "wb", buffering=0) as file,
    ):
        await session.download(finished(server), file)
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO


async def test_a_web_response_is_a_sink() -> None:
    async def proxy(asked: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(asked)
        await session.download(finished(server), response)
        return response

    app = web.Application()
    app.router.add_get("/", proxy)
    runner = web.AppRunner(app)
    async with RawServer(serve()) as server, file_session() as session:
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            async with ClientSession() as client, client.get(f"http://{host}:{port}/") as answered:
                assert await answered.read() == VIDEO
        finally:
            await runner.cleanup()


class _NotAsync:
    def write(self, data: bytes, /) -> int:
        return len(data)


async def test_a_write_that_is_not_asynchronous_is_told() -> None:
    async with RawServer(serve()) as server, file_session() as session:
        with pytest.raises(DownloadError, match="must be asynchronous"):
            await session.download(finished(server), _NotAsync())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "target",
    [io.BytesIO(), object(), 3, None, ["a.mp4"], b"a.mp4"],
    ids=["file of Python's", "object", "number", "nothing", "list", "bytes"],
)
async def test_what_cannot_be_written_to_is_refused_before_anything_is_asked(
    target: object,
) -> None:
    async with RawServer(serve()) as server, file_session() as session:
        with pytest.raises(ConfigurationError, match=r"target must be a path.*write\(bytes\), got"):
            await session.download(finished(server), target)  # type: ignore[arg-type]
        assert server.requests == []


async def test_many_sinks_at_a_time_each_get_their_own() -> None:
    sinks: Sequence[Collector] = [Collector() for _ in range(12)]
    policy = DownloadPolicy(parallel=12)
    scripts = [serve() for _ in sinks]
    async with RawServer(*scripts) as server, file_session(downloads=policy) as session:
        await asyncio.gather(*(session.download(finished(server), sink) for sink in sinks))
    assert {sink.data for sink in sinks} == {VIDEO}
