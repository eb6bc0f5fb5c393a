"""Downloads: the whole file under its name, or none."""

from __future__ import annotations

import asyncio
import hashlib
import os
import resource
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio.lowlevel
import pytest

from tests.service import QUICK_RETRIES, quick_service, request
from videos_async import (
    Download,
    DownloadError,
    DownloadIncomplete,
    OnExisting,
    Status,
    TargetExists,
    VideosSession,
    VideoTask,
    VideoUnavailable,
)
from videos_async.emulator import FAIL_MARK, ManualClock

VIDEO = bytes(range(256)) * 8192  # 2 MiB, so that it is written in several pieces


@asynccontextmanager
async def file_server(
    reply: bytes, *, keep_open: bool = False
) -> AsyncGenerator[tuple[str, list[bytes]]]:
    """Serve one raw answer to every request, then close; note what was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(reply)
        await writer.drain()
        if keep_open:
            with suppress(ConnectionResetError):  # the client leaves while bytes are on the way
                await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}/video.mp4?signature=secret", asked


def answer(
    body: bytes, *headers: str, status: str = "200 OK", media_type: str = "video/mp4"
) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Type: {media_type}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


def whole(body: bytes = VIDEO) -> bytes:
    return answer(body, f"Content-Length: {len(body)}", "Connection: close")


def finished(url: str) -> VideoTask:
    return VideoTask(id="video_1", status=Status.COMPLETED, video_url=url)


@pytest.fixture
async def session() -> AsyncIterator[VideosSession]:
    """A session with a service on loopback that is not there: only files are fetched."""
    async with VideosSession(
        "some-key", base_url="http://127.0.0.1:9", retry=QUICK_RETRIES
    ) as session:
        yield session


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def test_a_video_is_saved_whole_and_told_about(
    session: VideosSession, tmp_path: Path
) -> None:
    async with file_server(whole()) as (url, _):
        saved = await session.download(finished(url), tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO
    assert saved == Download(
        path=tmp_path / "a.mp4",
        size_bytes=len(VIDEO),
        sha256=hashlib.sha256(VIDEO).hexdigest(),
        media_type="video/mp4",
        is_verified=True,
    )
    assert names(tmp_path) == ["a.mp4"]


async def test_a_complete_chunked_body_is_verified(session: VideosSession, tmp_path: Path) -> None:
    body = b"5\r\nhello\r\n0\r\n\r\n"
    async with file_server(answer(body, "Transfer-Encoding: chunked")) as (url, _):
        saved = await session.download(finished(url), tmp_path / "a.mp4")
    assert (saved.size_bytes, saved.is_verified) == (5, True)


async def test_a_body_that_only_ended_by_close_is_kept_but_not_called_verified(
    session: VideosSession, tmp_path: Path
) -> None:
    async with file_server(answer(b"hello world", "Connection: close")) as (url, _):
        saved = await session.download(finished(url), tmp_path / "a.mp4")
    assert (saved.size_bytes, saved.is_verified) == (11, False)


@pytest.mark.parametrize(
    "cut",
    [
        answer(VIDEO[:1000], f"Content-Length: {len(VIDEO)}", "Connection: close"),
        answer(VIDEO[:-1], f"Content-Length: {len(VIDEO)}", "Connection: close"),
        answer(b"5\r\nhello\r\n", "Transfer-Encoding: chunked"),
        answer(b"", "Content-Length: 0"),
    ],
    ids=["early", "one byte short", "chunk missing", "empty"],
)
async def test_a_cut_body_leaves_no_file(
    session: VideosSession, tmp_path: Path, cut: bytes
) -> None:
    async with file_server(cut) as (url, _):
        with pytest.raises(DownloadIncomplete, match="video_1") as caught:
            await session.download(finished(url), tmp_path / "a.mp4")
    assert caught.value.received_bytes < len(VIDEO)
    assert not (tmp_path / "a.mp4").exists()


@pytest.mark.parametrize(
    "unwanted",
    [
        answer(b"<html>sorry", "Content-Length: 11", media_type="text/html"),
        answer(b"{}", "Content-Encoding: gzip", "Content-Length: 2"),
        answer(b"oops", "Content-Length: 4", status="500 Oops"),
        b"garbage\r\n\r\n",
        b"",
    ],
    ids=["error page", "encoded uninvited", "server error", "not HTTP", "closed at once"],
)
async def test_what_is_no_video_leaves_no_file_and_no_signature_in_the_error(
    session: VideosSession, tmp_path: Path, unwanted: bytes
) -> None:
    async with file_server(unwanted) as (url, _):
        with pytest.raises(DownloadError) as caught:
            await session.download(finished(url), tmp_path / "a.mp4")
    assert "secret" not in str(caught.value)
    assert names(tmp_path) == []


async def test_an_existing_file_is_left_alone_unless_replacing_is_asked_for(
    session: VideosSession, tmp_path: Path
) -> None:
    target = tmp_path / "a.mp4"
    target.write_bytes(b"mine")
    async with file_server(whole()) as (url, asked):
        with pytest.raises(TargetExists, match="REPLACE"):
            await session.download(finished(url), target)
        assert target.read_bytes() == b"mine"
        assert asked == []
        await session.download(finished(url), target, on_existing=OnExisting.REPLACE)
    assert target.read_bytes() == VIDEO
    assert names(tmp_path) == ["a.mp4"]


async def test_a_target_that_is_a_directory_is_refused(
    session: VideosSession, tmp_path: Path
) -> None:
    async with file_server(whole()) as (url, asked):
        with pytest.raises(DownloadError, match="directory"):
            await session.download(finished(url), tmp_path)
    assert asked == []


async def test_a_directory_that_is_not_there_is_named(
    session: VideosSession, tmp_path: Path
) -> None:
    async with file_server(whole()) as (url, _):
        with pytest.raises(DownloadError, match="No such file or directory"):
            await session.download(finished(url), tmp_path / "missing" / "a.mp4")


async def test_a_link_planted_at_the_part_is_not_followed(
    session: VideosSession, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (tmp_path / "a.mp4.part").symlink_to(victim)
    async with file_server(whole()) as (url, _):
        with pytest.raises(DownloadError):
            await session.download(finished(url), tmp_path / "a.mp4")
    assert victim.read_bytes() == b"mine"


async def test_a_full_disk_leaves_no_file_and_says_so(
    session: VideosSession, tmp_path: Path
) -> None:
    # The size limit of the process stands in for the disk: the kernel refuses the write.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with file_server(whole()) as (url, _):
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
        try:
            with pytest.raises(DownloadError, match="File too large"):
                await session.download(finished(url), tmp_path / "a.mp4")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "a.mp4.part").stat().st_size == 1 << 20
    assert not (tmp_path / "a.mp4").exists()


async def test_a_cancelled_download_leaves_no_file(session: VideosSession, tmp_path: Path) -> None:
    head = answer(VIDEO, f"Content-Length: {2 * len(VIDEO)}")
    async with file_server(head, keep_open=True) as (url, _):
        download = asyncio.create_task(session.download(finished(url), tmp_path / "a.mp4"))
        while not names(tmp_path):
            await anyio.lowlevel.checkpoint()
        download.cancel()
        with pytest.raises(asyncio.CancelledError):
            await download
    assert names(tmp_path) == []


async def test_redirects_are_followed_and_no_key_goes_anywhere(
    session: VideosSession, tmp_path: Path
) -> None:
    async with file_server(whole()) as (url, asked_second):
        moved = answer(b"", f"Location: {url}", "Content-Length: 0", status="302 Found")
        async with file_server(moved) as (first, asked_first):
            await session.download(finished(first), tmp_path / "a.mp4")
    asked = b"".join(asked_first + asked_second).lower()
    assert len(asked_first) == len(asked_second) == 1
    assert b"authorization" not in asked
    assert b"some-key" not in asked


async def test_a_redirect_loop_ends(session: VideosSession, tmp_path: Path) -> None:
    loop = answer(b"", "Location: /again", "Content-Length: 0", status="302 Found")
    async with file_server(loop) as (url, asked):
        with pytest.raises(DownloadError, match="redirects"):
            await session.download(finished(url), tmp_path / "a.mp4")
    assert len(asked) == 6


@pytest.mark.parametrize(
    "url", ["http://files.example.com/a.mp4", "ftp://127.0.0.1/a.mp4", "/a.mp4", "http://[bad/a"]
)
async def test_a_url_that_is_not_safe_to_fetch_is_refused(
    session: VideosSession, tmp_path: Path, url: str
) -> None:
    with pytest.raises(DownloadError, match=r"TLS|http or https|cannot be read"):
        await session.download(finished(url), tmp_path / "a.mp4")


# --- with the service ----------------------------------------------------------------------


async def test_a_url_that_has_run_out_is_asked_for_anew(tmp_path: Path) -> None:
    clock = ManualClock()
    async with quick_service(clock=clock, speed=1, url_ttl_s=60) as (_, session):
        task = await session.submit(request())
        clock.advance(3600)
        task = await session.wait(task)
        clock.advance(3600)
        saved = await session.download(task, tmp_path / "a.mp4")
        assert saved.size_bytes == (tmp_path / "a.mp4").stat().st_size > 0


async def test_a_download_by_id_asks_for_the_url(tmp_path: Path) -> None:
    async with quick_service() as (emulator, session):
        task = await session.generate(request())
        await session.download(task.id, tmp_path / "a.mp4")
        assert emulator.requests.downloads_with_authorization == 0
    assert os.listdir(tmp_path) == ["a.mp4"]  # noqa: PTH208 - the name alone


async def test_a_task_without_a_video_says_why(tmp_path: Path) -> None:
    clock = ManualClock()
    async with quick_service(clock=clock, speed=1) as (_, session):
        task = await session.submit(request(f"{FAIL_MARK} this"))
        with pytest.raises(VideoUnavailable, match="wait for it first"):
            await session.download(task, tmp_path / "a.mp4")
        clock.advance(3600)
        with pytest.raises(VideoUnavailable, match="the task failed"):
            await session.download(task, tmp_path / "a.mp4")
