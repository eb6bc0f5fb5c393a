"""Downloads: the whole file under its name, or none."""

from __future__ import annotations

import asyncio
import hashlib
import os
import resource
from pathlib import Path

import pytest

from tests.file_server import ETAG, VIDEO, cut_off, file_session, finished, mp4, serve
from tests.raw_server import Line, RawServer, Script, hang, head, raw
from tests.service import QUICK_RETRIES, quick_service, request
from videos_async import (
    DiskFull,
    Download,
    DownloadError,
    DownloadIncomplete,
    DownloadPolicy,
    OnExisting,
    RetryPolicy,
    SessionClosed,
    TargetExists,
    VideosSession,
    VideoUnavailable,
)
from videos_async.emulator import FAIL_MARK, ManualClock

ONE_TRY = RetryPolicy(max_attempts=1)


async def close(line: Line) -> None:
    line.close()


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def save(tmp_path: Path, script: Script) -> Download:
    """Download in one try from a server that plays a script."""
    async with RawServer(script) as server, file_session(retry=ONE_TRY) as session:
        return await session.download(finished(server), tmp_path / "a.mp4")


async def test_a_video_is_saved_whole_and_told_about(tmp_path: Path) -> None:
    body = mp4(5_000_000)  # written in several pieces
    saved = await save(tmp_path, serve(body))
    assert (tmp_path / "a.mp4").read_bytes() == body
    assert saved == Download(
        path=tmp_path / "a.mp4",
        size_bytes=len(body),
        sha256=hashlib.sha256(body).hexdigest(),
        media_type="video/mp4",
        is_verified=True,
    )
    assert names(tmp_path) == ["a.mp4"]


# --- verified or not -----------------------------------------------------------------------


async def test_a_complete_chunked_body_is_verified(tmp_path: Path) -> None:
    chunked = head(200, ("Transfer-Encoding", "chunked"))
    saved = await save(tmp_path, raw(chunked + b"5\r\nhello\r\n0\r\n\r\n"))
    assert (saved.size_bytes, saved.is_verified) == (5, True)


async def test_a_body_that_only_ended_by_close_is_verified_by_its_boxes(tmp_path: Path) -> None:
    saved = await save(tmp_path, raw(head(200) + VIDEO, then=close))
    assert (saved.size_bytes, saved.is_verified) == (len(VIDEO), True)


@pytest.mark.parametrize("cut", [1, 1000, len(VIDEO) - 2000])
async def test_a_body_that_was_closed_inside_a_box_is_not_saved(tmp_path: Path, cut: int) -> None:
    with pytest.raises(DownloadIncomplete, match="as an MP4, "):
        await save(tmp_path, raw(head(200) + VIDEO[:-cut], then=close))
    assert not (tmp_path / "a.mp4").exists()


async def test_a_body_without_boxes_that_only_ended_by_close_is_saved_unverified(
    tmp_path: Path,
) -> None:
    saved = await save(tmp_path, raw(head(200) + b"hello world", then=close))
    assert (saved.size_bytes, saved.is_verified) == (11, False)


async def test_what_was_continued_is_verified_from_its_first_byte(tmp_path: Path) -> None:
    tag = ("ETag", ETAG)
    await leave_part(tmp_path, raw(head(200, tag) + VIDEO[:50_000], then=close))
    # The rest comes without any length, so the boxes of the whole have to tell.
    part = head(206, ("Content-Range", f"bytes 50000-{len(VIDEO) - 1}/*"), tag)
    saved = await save(tmp_path, raw(part + VIDEO[50_000:], then=close))
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO
    assert saved.is_verified


async def leave_part(tmp_path: Path, script: Script) -> None:
    with pytest.raises(DownloadIncomplete):
        await save(tmp_path, script)


# --- the target ----------------------------------------------------------------------------


async def test_an_existing_file_is_left_alone_unless_replacing_is_asked_for(
    tmp_path: Path,
) -> None:
    target = tmp_path / "a.mp4"
    target.write_bytes(b"mine")
    async with RawServer(serve()) as server, file_session() as session:
        with pytest.raises(TargetExists, match="REPLACE"):
            await session.download(finished(server), target)
        assert target.read_bytes() == b"mine"
        assert server.accepted == 0
        await session.download(finished(server), target, on_existing=OnExisting.REPLACE)
    assert target.read_bytes() == VIDEO
    assert names(tmp_path) == ["a.mp4"]


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (".", "directory"),
        ("/", "directory"),
        ("missing/a.mp4", "No such file or directory"),
    ],
)
async def test_a_target_that_can_be_no_file_is_refused_before_a_connection(
    tmp_path: Path, target: str, reason: str
) -> None:
    async with RawServer(serve()) as server, file_session() as session:
        with pytest.raises(DownloadError, match=reason):
            await session.download(finished(server), tmp_path / target)
        assert server.accepted == 0


async def test_a_file_that_may_grow_no_more_leaves_the_part_and_says_so(tmp_path: Path) -> None:
    # The kernel refuses the write as a quota does.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(DiskFull, match="File too large, 200000 bytes") as caught:
            await save(tmp_path, serve())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.needed_bytes == 200_000
    assert (tmp_path / "a.mp4.part").read_bytes() == VIDEO[:100_000]
    await save(tmp_path, serve())
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO


# --- connections ---------------------------------------------------------------------------


async def test_a_download_that_is_cancelled_before_a_byte_came_leaves_nothing(
    tmp_path: Path,
) -> None:
    async with RawServer(hang) as server, file_session() as session:
        download = asyncio.create_task(session.download(finished(server), tmp_path / "a.mp4"))
        await server.until(lambda: server.accepted == 1)
        download.cancel()
        with pytest.raises(asyncio.CancelledError):
            await download
        await server.settle()
    assert names(tmp_path) == []


async def test_no_key_goes_to_a_file_server(tmp_path: Path) -> None:
    moved = raw(head(302, ("Location", "/elsewhere.mp4"), ("Content-Length", "0")))
    async with RawServer(moved, serve()) as server, file_session() as session:
        await session.download(finished(server), tmp_path / "a.mp4")
    asked = b"".join(one.raw_headers for one in server.requests).lower()
    assert len(server.requests) == 2
    assert b"authorization" not in asked
    assert b"some-key" not in asked


async def test_no_more_downloads_than_allowed_are_under_way(tmp_path: Path) -> None:
    most = under_way = 0

    async def slow(line: Line) -> None:
        nonlocal most, under_way
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.02)
        under_way -= 1
        await serve()(line)

    policy = DownloadPolicy(parallel=2)
    async with (
        RawServer(slow) as server,
        file_session(downloads=policy) as session,
        asyncio.TaskGroup() as group,
    ):
        for number in range(6):
            download = session.download(finished(server), tmp_path / f"{number}.mp4")
            group.create_task(download)
    assert most == 2
    assert len(names(tmp_path)) == 6


async def test_closing_the_session_ends_a_download_and_keeps_what_arrived(tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def stuck(line: Line) -> None:
        await line.read_request()
        await line.send(head(200, ("Content-Length", str(len(VIDEO))), ("ETag", ETAG)))
        await line.send(VIDEO[:100_000])
        begun.set()
        await hang(line)

    async with RawServer(stuck) as server:
        session = VideosSession("key", base_url="http://127.0.0.1:9", retry=QUICK_RETRIES)
        download = asyncio.create_task(session.download(finished(server), tmp_path / "a.mp4"))
        await begun.wait()
        await asyncio.sleep(0.05)  # for the bytes to cross over
        await session.aclose()
        with pytest.raises(SessionClosed):
            await download
        await server.settle()
    assert (tmp_path / "a.mp4.part").read_bytes() == VIDEO[:100_000]


async def test_a_download_on_a_closed_session_is_refused(tmp_path: Path) -> None:
    async with RawServer(cut_off()) as server:
        async with file_session() as session:
            pass
        with pytest.raises(SessionClosed):
            await session.download(finished(server), tmp_path / "a.mp4")
    assert names(tmp_path) == []


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
