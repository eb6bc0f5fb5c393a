"""Long bodies, read past aiohttp: every byte and no other, whatever the connection does."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from tests.file_server import VIDEO, file_session, finished, mp4, ranges_of, serve
from tests.raw_server import Line, RawServer, Script, hang, head
from videos_async import DownloadIncomplete, DownloadProgress, RetryPolicy, Timeouts, VideosSession
from videos_async._body import Body
from videos_async._files import FileAnswer, TransportTrouble

# Not like itself anywhere: bytes that were moved or came twice would show.
LARGE = mp4(9_000_001)[:200] + random.Random(7).randbytes(9_000_001 - 200)
ONE_TRY = RetryPolicy(max_attempts=1)


class Collector:
    def __init__(self) -> None:
        self.data = bytearray()

    async def write(self, data: bytes, /) -> None:
        self.data += data


@asynccontextmanager
async def answering(session: VideosSession, script: Script) -> AsyncGenerator[FileAnswer]:
    """Ask the session's file servers for what a script sends."""
    async with RawServer(script) as server:
        files = cast("Any", session)._open_transport.files
        async with files.open(f"{server.url}/video.mp4", {}) as answer:
            yield answer


def declared(*pieces: bytes, size: int = len(LARGE), then: Script | None = None) -> Script:
    """Declare a length and send pieces, a turn of the loop apart."""

    async def script(line: Line) -> None:
        await line.read_request()
        await line.send(head(200, ("Content-Length", str(size)), ("Content-Type", "video/mp4")))
        for piece in pieces:
            await line.send(piece)
            await asyncio.sleep(0)
        if then is not None:
            await then(line)

    return script


async def take(
    answer: FileAnswer, data: bytearray, *, then: Callable[[], object] = lambda: None
) -> None:
    """Read a body, calling something after each piece."""
    async for piece in answer.chunks:
        data += piece
        then()


async def close(line: Line) -> None:
    line.close()


async def reset(line: Line) -> None:
    line.reset()


async def test_a_long_body_is_read_past_aiohttp_and_a_short_one_is_not() -> None:
    async with file_session() as session:
        for video, kind in ((LARGE, memoryview), (VIDEO, bytes)):
            async with answering(session, serve(video)) as answer:
                pieces = [(type(piece), bytes(piece)) async for piece in answer.chunks]
            assert b"".join(data for _, data in pieces) == video
            # The first ones came with the headers.
            assert pieces[-1][0] is kind


@pytest.mark.parametrize("seed", range(12))
async def test_every_byte_arrives_however_the_body_is_cut(seed: int) -> None:
    dice = random.Random(seed)
    rest, pieces = memoryview(LARGE), list[bytes]()
    while rest:
        length = int(2 ** dice.uniform(0, 21))
        pieces.append(bytes(rest[:length]))
        rest = rest[length:]
    sink = Collector()
    async with RawServer(declared(*pieces, then=hang)) as server, file_session() as session:
        got = await session.download(finished(server), sink)
    assert sink.data == LARGE
    assert got.is_verified


async def test_pieces_grow_where_bytes_come_fast_and_share_their_room_among_many_bodies() -> None:
    async def longest_piece(session: VideosSession, *, last: anyio.Event | None = None) -> int:
        longest = 0
        async with answering(session, serve(LARGE)) as answer:
            async for piece in answer.chunks:
                longest = max(longest, len(piece))
                if last is not None and isinstance(piece, memoryview):
                    if files.room.bodies == many:
                        last.set()
                    await last.wait()
        return longest

    many = 32
    async with file_session() as session:
        files = cast("Any", session)._open_transport.files
        alone = await longest_piece(session)
        are_there = anyio.Event()
        together = await asyncio.gather(
            *(longest_piece(session, last=are_there) for _ in range(many))
        )
        assert files.room.bodies == 0
    assert 1 << 20 <= alone <= 1 << 21
    assert max(together) <= 1 << 18


async def test_a_reader_that_takes_its_time_gets_every_byte() -> None:
    # The connection is paused and resumed over and over, also before it is taken over.
    async with (
        file_session() as session,
        answering(session, serve(LARGE)) as answer,
    ):
        data = bytearray()
        async for piece in answer.chunks:
            await asyncio.sleep(0.002)
            data += piece
    assert data == LARGE


async def test_a_body_behind_a_pause_is_taken_over_without_a_gap() -> None:
    # Nothing is asked for until aiohttp has read all that it wants and stopped.
    async with (
        file_session() as session,
        answering(session, serve(LARGE)) as answer,
    ):
        await asyncio.sleep(0.2)
        pieces = [(type(piece), bytes(piece)) async for piece in answer.chunks]
    assert b"".join(data for _, data in pieces) == LARGE
    assert pieces[-1][0] is memoryview


@pytest.mark.parametrize("end", [close, reset], ids=["closed", "reset"])
async def test_what_came_before_a_connection_broke_is_given_before_the_trouble(
    end: Script,
) -> None:
    is_taken = anyio.Event()

    async def end_once_taken(line: Line) -> None:
        await is_taken.wait()
        await end(line)

    def note() -> None:
        if len(data) > 4_000_000:
            is_taken.set()

    script = declared(LARGE[:5_000_000], then=end_once_taken)
    data = bytearray()
    async with file_session() as session, answering(session, script) as answer:
        with pytest.raises(TransportTrouble):
            await take(answer, data, then=note)
    assert data == LARGE[: len(data)]
    # A reset may take with it what is still on its way.
    assert len(data) == 5_000_000 or (end is reset and len(data) > 4_000_000)


async def test_a_break_is_resumed_at_the_very_byte() -> None:
    sink = Collector()
    async with RawServer(serve(LARGE, stops_after=5_000_000), serve(LARGE)) as server:
        async with file_session() as session:
            await session.download(finished(server), sink)
        assert ranges_of(server) == [None, "bytes=5000000-"]
    assert sink.data == LARGE


async def test_silence_breaks_the_body_off() -> None:
    script = declared(LARGE[:5_000_000], then=hang)
    timeouts = Timeouts(download_stall_s=0.3)
    async with (
        file_session(timeouts=timeouts) as session,
        answering(session, script) as answer,
    ):
        data = bytearray()
        with pytest.raises(TransportTrouble, match="no answer within the time allowed"):
            await take(answer, data)
    assert data == LARGE[:5_000_000]


async def test_a_reader_that_does_not_ask_is_no_silence_of_the_servers() -> None:
    timeouts = Timeouts(download_stall_s=0.2)
    async with (
        file_session(timeouts=timeouts) as session,
        answering(session, serve(LARGE)) as answer,
    ):
        data = bytearray()
        async for piece in answer.chunks:
            if not data:
                await asyncio.sleep(0.5)
            data += piece
    assert data == LARGE


async def test_more_than_was_declared_is_not_taken() -> None:
    script = declared(LARGE, b"and more" * 10_000, size=len(LARGE), then=hang)
    sink = Collector()
    async with RawServer(script) as server, file_session() as session:
        await session.download(finished(server), sink)
    assert sink.data == LARGE


async def test_a_drip_is_handed_on_as_it_comes(tmp_path: Path) -> None:
    # Not a buffer at a time: a kill would lose what is in it.
    seen = anyio.Event()

    async def wait_until_seen(line: Line) -> None:
        await seen.wait()
        await line.send(LARGE[2_000_100:])
        await hang(line)

    def note(progress: DownloadProgress) -> None:
        if progress.received_bytes == 2_000_100:
            seen.set()

    script = declared(LARGE[:2_000_000], LARGE[2_000_000:2_000_100], then=wait_until_seen)
    async with RawServer(script) as server, file_session() as session:
        await session.download(finished(server), tmp_path / "a.mp4", on_progress=note)
    assert (tmp_path / "a.mp4").read_bytes() == LARGE


async def test_a_cancelled_download_leaves_no_connection_and_no_buffers() -> None:
    reached = anyio.Event()

    class Reached(Collector):
        async def write(self, data: bytes, /) -> None:
            await super().write(data)
            if len(self.data) > 2_000_000:
                reached.set()

    script = declared(LARGE[:5_000_000], then=hang)
    async with RawServer(script) as server, file_session() as session:
        async with anyio.create_task_group() as group:
            group.start_soon(session.download, finished(server), Reached())
            await reached.wait()
            group.cancel_scope.cancel()
        await server.until(lambda: server.open_connections == 0)
    gc.collect()
    assert not [found for found in gc.get_objects() if type(found) is Body]


async def test_closing_the_session_ends_a_long_body() -> None:
    reached = anyio.Event()

    class Reached(Collector):
        async def write(self, data: bytes, /) -> None:
            await super().write(data)
            if len(self.data) > 2_000_000:
                reached.set()

    script = declared(LARGE[:5_000_000], then=hang)
    async with RawServer(script) as server, file_session(retry=ONE_TRY) as session:
        downloading = asyncio.ensure_future(session.download(finished(server), Reached()))
        await reached.wait()
        await session.aclose()
        with pytest.raises(Exception, match=r"session is closed|not saved"):
            await downloading


async def test_the_bytes_of_a_cut_body_are_counted() -> None:
    async with (
        RawServer(serve(LARGE, etag=None, stops_after=5_000_000), serve(LARGE)) as server,
        file_session(retry=ONE_TRY) as session,
    ):
        with pytest.raises(DownloadIncomplete) as caught:
            await session.download(finished(server), Collector())
    assert caught.value.received_bytes == 5_000_000


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_long_body_over_tls_is_read_past_aiohttp_as_well(tmp_path: Path, loop: str) -> None:
    pytest.importorskip(loop)
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is not installed")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    make += ["-nodes", "-days", "1", "-subj", "/CN=localhost", "-keyout", str(key)]
    make += ["-out", str(certificate), "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(make, check=True, capture_output=True, timeout=20)
    done = subprocess.run(
        [sys.executable, "-m", "tests.tls_download", loop, str(certificate), str(key)],
        check=False,
        capture_output=True,
        text=True,
        timeout=25,
        env={**os.environ, "SSL_CERT_FILE": str(certificate)},
    )
    assert done.stdout == "taken over 1 times, same bytes", done.stderr
