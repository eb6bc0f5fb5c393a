"""The files of a batch: a request whose video is to be saved ends when it is, or could not be."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
from pathlib import Path

import pytest

from tests.raw_server import Line, RawServer, head
from tests.service import QUICK_POLLS, QUICK_RETRIES, quick_service, quick_session, request
from videos_async import (
    BatchCounts,
    ConfigurationError,
    DownloadPolicy,
    End,
    Journal,
    Key,
    KeyState,
    OnExisting,
    TargetExists,
    Transition,
    VideoExpired,
    VideosSession,
)
from videos_async.emulator import FAIL_MARK, Media, VideosEmulator

REQUESTS = [(f"scene-{number}", request(f"scene {number}")) for number in range(12)]


def assert_adds_up(counts: BatchCounts) -> None:
    parts = (
        counts.submitting,
        counts.unseen,
        counts.downloading,
        *counts.in_progress.values(),
        *counts.ended.values(),
    )
    assert min(parts) >= 0
    assert sum(parts) == counts.pulled


def hasty_session(url: str) -> VideosSession:
    return VideosSession("k" * 20, base_url=url, poll=QUICK_POLLS, retry=QUICK_RETRIES)


def files(directory: Path, pattern: str = "*.mp4") -> list[Path]:
    return sorted(directory.glob(pattern))


async def test_each_request_ends_with_its_file_under_the_name_of_its_key(tmp_path: Path) -> None:
    ends: list[Transition] = []
    async with (
        quick_service() as (_, session),
        session.batch(REQUESTS, download_to=tmp_path / "new" / "out") as batch,
    ):
        async for change in batch:
            assert_adds_up(batch.counts)
            if change.is_end:
                ends.append(change)
    assert {change.end for change in ends} == {End.COMPLETED}
    assert sorted(change.key for change in ends) == sorted(key for key, _ in REQUESTS)
    for change in ends:
        assert change.download is not None
        assert change.download.path == tmp_path / "new" / "out" / f"{change.key}.mp4"
        content = (tmp_path / "new" / "out" / f"{change.key}.mp4").read_bytes()
        assert hashlib.sha256(content).hexdigest() == change.download.sha256
    assert len(files(tmp_path / "new" / "out", "*")) == len(REQUESTS)


async def test_what_failed_ends_without_a_download(tmp_path: Path) -> None:
    requests = [request("well"), request(FAIL_MARK)]
    async with (
        quick_service() as (_, session),
        session.batch(requests, download_to=tmp_path) as batch,
    ):
        ends = {change.key: change async for change in batch if change.is_end}
    assert ends[1].end is End.FAILED
    assert ends[1].download is None
    assert [path.name for path in files(tmp_path, "*")] == ["0.mp4"]


async def test_a_file_that_is_there_already_is_left_and_told(tmp_path: Path) -> None:
    (tmp_path / "0.mp4").write_bytes(b"mine")
    async with (
        quick_service() as (_, session),
        session.batch([request(), request()], download_to=tmp_path) as batch,
    ):
        ends = {change.key: change async for change in batch if change.is_end}
    assert ends[0].end is End.NOT_SAVED
    assert isinstance(ends[0].error, TargetExists)
    assert ends[0].task is not None
    assert ends[1].end is End.COMPLETED
    assert batch.counts.ended == {End.NOT_SAVED: 1, End.COMPLETED: 1}
    assert (tmp_path / "0.mp4").read_bytes() == b"mine"


async def test_a_file_that_is_there_already_is_replaced_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "0.mp4").write_bytes(b"mine")
    async with (
        quick_service() as (_, session),
        session.batch([request()], download_to=tmp_path, on_existing=OnExisting.REPLACE) as batch,
    ):
        ends = [change.end async for change in batch if change.is_end]
    assert ends == [End.COMPLETED]
    assert (tmp_path / "0.mp4").read_bytes() != b"mine"


async def test_a_directory_that_cannot_be_made_is_told_before_anything_is_sent(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_bytes(b"")
    async with quick_service() as (emulator, session):
        with pytest.raises(ConfigurationError, match=r"download_to .* cannot be made"):
            async with session.batch([request()], download_to=tmp_path / "file" / "out"):
                pytest.fail("entered")
        assert emulator.ledger.billed == 0


async def test_no_more_downloads_than_asked_for_are_under_way(tmp_path: Path) -> None:
    async with VideosEmulator(speed=400.0, media=Media.SAMPLE) as emulator:
        policy = DownloadPolicy(parallel=2)
        async with (
            quick_session(emulator, downloads=policy) as session,
            session.batch(REQUESTS, download_to=tmp_path) as batch,
        ):
            seen = [len(files(tmp_path, "*.part")) async for _ in batch]
    assert max(seen) <= 2
    assert len(files(tmp_path)) == len(REQUESTS)


async def test_leaving_early_lists_what_was_completed_and_not_saved(tmp_path: Path) -> None:
    async with (
        quick_service() as (_, session),
        session.batch(REQUESTS, download_to=tmp_path) as batch,
    ):
        told: set[Key] = set()
        async for change in batch:
            if change.end is End.COMPLETED:
                told.add(change.key)
                break
    assert_adds_up(batch.counts)
    told |= {change.key for change in batch.unfinished}
    assert told == {key for key, _ in REQUESTS}


async def test_a_resumed_journal_saves_what_was_completed_and_not_saved(tmp_path: Path) -> None:
    journal, out = tmp_path / "run.sqlite", tmp_path / "out"
    async with quick_service() as (emulator, session):
        async with session.batch(REQUESTS, journal=journal) as batch:
            ends = [change.end async for change in batch if change.is_end]
        assert ends == [End.COMPLETED] * len(REQUESTS)
        async with session.resume(journal, download_to=out) as batch:
            saved = [change async for change in batch if change.is_end]
        assert_adds_up(batch.counts)
        assert emulator.ledger.billed == len(REQUESTS)
    assert {change.end for change in saved} == {End.COMPLETED}
    assert not any(change.is_replayed for change in saved)
    assert len(files(out)) == len(REQUESTS)
    async with Journal(journal) as opened:
        assert await opened.counts() == {KeyState.DOWNLOADED: len(REQUESTS)}


async def test_what_was_saved_is_told_again_and_not_fetched_again(tmp_path: Path) -> None:
    journal, out = tmp_path / "run.sqlite", tmp_path / "out"
    async with quick_service() as (emulator, session):
        async with session.batch(REQUESTS, journal=journal, download_to=out) as batch:
            first = {change.key: change.download async for change in batch if change.is_end}
        fetched = emulator.requests.downloads
        async with session.resume(journal, download_to=out) as batch:
            again = {change.key: change async for change in batch}
        assert emulator.requests.downloads == fetched
    assert all(change.is_replayed for change in again.values())
    assert {key: change.download for key, change in again.items()} == first


async def gone(line: Line) -> None:
    """Complete every task with a URL that does not work any more."""
    sent = await line.read_request()
    url = f"http://{sent.headers['host']}/video.mp4"
    status = "queued" if sent.method == "POST" else "completed"
    body = json.dumps({"id": "video_1", "status": status, "video_url": url}).encode()
    is_file = sent.target.endswith(".mp4")
    length = ("Content-Length", str(len(body)))
    await line.send(head(410 if is_file else 200, ("Content-Type", "application/json"), length))
    await line.send(body)


async def test_a_video_that_is_gone_ends_as_expired_once_and_for_all(tmp_path: Path) -> None:
    journal, out = tmp_path / "run.sqlite", tmp_path / "out"
    async with RawServer(gone) as server, hasty_session(server.url) as session:
        async with session.batch([("a", request())], journal=journal, download_to=out) as batch:
            ends = [change async for change in batch if change.is_end]
        assert [change.end for change in ends] == [End.EXPIRED]
        assert isinstance(ends[0].error, VideoExpired)
        async with session.resume(journal, download_to=out) as batch:
            again = [change async for change in batch]
    assert [(change.end, change.is_replayed) for change in again] == [(End.EXPIRED, True)]
    async with Journal(journal) as opened:
        assert await opened.counts() == {KeyState.EXPIRED: 1}


async def test_a_file_that_got_its_name_just_before_the_end_is_recognised(tmp_path: Path) -> None:
    journal, out = tmp_path / "run.sqlite", tmp_path / "out"
    async with quick_service() as (emulator, session):
        async with session.batch([("a", request())], journal=journal, download_to=out) as batch:
            saved = [change.download async for change in batch if change.is_end]
        # As a process leaves it that ends between the renaming and the note of it.
        await asyncio.to_thread(_forget_saving, journal)
        fetched = emulator.requests.downloads
        async with session.resume(journal, download_to=out) as batch:
            ends = [change async for change in batch if change.is_end]
        assert emulator.requests.downloads == fetched
    assert [(change.end, change.download) for change in ends] == [(End.COMPLETED, saved[0])]


async def test_another_file_under_the_name_is_not_taken_for_ours(tmp_path: Path) -> None:
    journal, out = tmp_path / "run.sqlite", tmp_path / "out"
    async with quick_service() as (_, session):
        async with session.batch([("a", request())], journal=journal, download_to=out) as batch:
            async for _change in batch:
                pass
        await asyncio.to_thread(_forget_saving, journal)
        size = (out / "a.mp4").stat().st_size
        (out / "a.mp4").write_bytes(b"x" * size)
        async with session.resume(journal, download_to=out) as batch:
            ends = [change.end async for change in batch if change.is_end]
    assert ends == [End.NOT_SAVED]
    assert (out / "a.mp4").read_bytes() == b"x" * size


def _forget_saving(journal: Path) -> None:
    with sqlite3.connect(journal) as connection:
        connection.execute("UPDATE entries SET state = 'completed'")
    connection.close()
