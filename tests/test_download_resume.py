"""Broken connections: what is asked for next, and that no two versions ever meet in one file."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.file_server import (
    ETAG,
    VIDEO,
    cut_off,
    file_session,
    finished,
    mp4,
    part_head,
    ranges_of,
    serve,
)
from tests.raw_server import (
    Line,
    RawServer,
    Script,
    answer,
    close_after_body,
    drip,
    hang,
    head,
    raw,
    reset_at_once,
)
from videos_async import (
    DownloadIncomplete,
    DownloadPolicy,
    DownloadProgress,
    OnExisting,
    RetryPolicy,
    Timeouts,
)

OTHER = mp4(300_000, salt=1)
ONE_TRY = RetryPolicy(max_attempts=1)
# Too little to count as progress, so that one try is all.
KEPT = 50_000


async def fetch(server: RawServer, target: Path, **options: Any) -> bytes:
    """Download to the end, and see that nothing else is left."""
    async with file_session(**options) as session:
        saved = await session.download(finished(server), target)
    data = saved_bytes(target)
    assert saved.size_bytes == len(data)
    assert saved.sha256 == hashlib.sha256(data).hexdigest()
    return data


def saved_bytes(target: Path) -> bytes:
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    return target.read_bytes()


async def leave_part(target: Path, *first: Script, task_id: str = "video_1") -> None:
    """Download until the connection breaks, in a session that tries once."""
    scripts = first or (cut_off(KEPT),)
    async with RawServer(*scripts) as server, file_session(retry=ONE_TRY) as session:
        with pytest.raises(DownloadIncomplete):
            await session.download(finished(server, id=task_id), target)


async def close(line: Line) -> None:
    line.close()


async def reset(line: Line) -> None:
    line.reset()


def part(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


# --- within one call -----------------------------------------------------------------------

CHUNK = b"10000\r\n" + VIDEO[: 1 << 16] + b"\r\n"
CHUNKED = (("Transfer-Encoding", "chunked"), ("ETag", ETAG))
WHOLE = ("Content-Length", str(len(VIDEO)))
BROKEN = {
    "closed in the body": cut_off(),
    "reset in the body": raw(head(200, WHOLE, ("ETag", ETAG)), VIDEO[:100_000], then=reset),
    "closed one byte early": cut_off(len(VIDEO) - 1),
    "closed between chunks": raw(head(200, *CHUNKED) + CHUNK, then=close),
    "closed in a chunk": raw(head(200, *CHUNKED) + CHUNK[:-9000], then=close),
    "closed before the last chunk ends": raw(head(200, *CHUNKED) + CHUNK + b"0\r\n", then=close),
    "closed without a length": raw(head(200, ("ETag", ETAG)) + VIDEO[:-1], then=close),
    "closed in the headers": raw(b"HTTP/1.1 200 OK\r\nContent-Le", then=close),
    "closed after the headers": raw(head(200, WHOLE, ("ETag", ETAG)), then=close),
    "closed at once": close_after_body,
    "reset at once": reset_at_once,
    "no HTTP": raw(b"garbage\r\n\r\n", then=close),
    "bad chunk": raw(head(200, *CHUNKED) + b"xyz\r\n" + VIDEO[:1000], then=close),
    "server error": answer(503, b"<h1>Overloaded</h1>"),
    "too many requests": answer(429, b"", ("Retry-After", "0")),
    "uninvited part": raw(part_head(VIDEO, 1000) + VIDEO[1000:]),
    "empty": raw(head(200, ("Content-Length", "0"))),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
async def test_a_try_that_breaks_is_made_up_for(tmp_path: Path, broken: Script) -> None:
    async with RawServer(broken, serve()) as server:
        assert await fetch(server, tmp_path / "a.mp4") == VIDEO


async def test_a_broken_connection_is_resumed_where_it_broke(tmp_path: Path) -> None:
    async with RawServer(cut_off(100_000), serve()) as server:
        await fetch(server, tmp_path / "a.mp4")
    assert ranges_of(server) == [None, "bytes=100000-"]
    assert server.requests[1].headers["if-range"] == ETAG


async def test_progress_wins_the_tries_back(tmp_path: Path) -> None:
    some, trouble = serve(stops_after=70_000), answer(503)
    scripts = [some, trouble, some, trouble, some, trouble, serve()]
    async with RawServer(*scripts) as server:
        two_tries = RetryPolicy(max_attempts=2, base_s=0.001)
        assert await fetch(server, tmp_path / "a.mp4", retry=two_tries) == VIDEO
    assert len(server.requests) == len(scripts)


async def test_progress_that_was_made_once_does_not_count_twice(tmp_path: Path) -> None:
    async with RawServer(cut_off(100_000), serve(stops_after=10)) as server:
        three_tries = RetryPolicy(max_attempts=3, base_s=0.001)
        async with file_session(retry=three_tries) as session:
            with pytest.raises(DownloadIncomplete, match="tried 3 times"):
                await session.download(finished(server), tmp_path / "a.mp4")
    assert len(server.requests) == 4


async def test_a_server_that_gives_little_at_a_time_is_given_up(tmp_path: Path) -> None:
    async with RawServer(serve(stops_after=2000)) as server, file_session() as session:
        with pytest.raises(DownloadIncomplete, match="tried 6 times") as caught:
            await session.download(finished(server), tmp_path / "a.mp4")
    assert len(server.requests) == 6
    assert (caught.value.received_bytes, caught.value.expected_bytes) == (12_000, len(VIDEO))


async def test_a_server_that_gives_less_than_was_asked_for_is_asked_for_the_rest(
    tmp_path: Path,
) -> None:
    def some(start: int, stop: int) -> bytes:
        stated = ("Content-Range", f"bytes {start}-{stop - 1}/{len(VIDEO)}")
        return head(206, stated, ("Content-Length", str(stop - start)), ("ETag", ETAG))

    middle = raw(some(100_000, 200_000) + VIDEO[100_000:200_000])
    async with RawServer(cut_off(100_000), middle, serve()) as server:
        assert await fetch(server, tmp_path / "a.mp4") == VIDEO
    assert ranges_of(server) == [None, "bytes=100000-", "bytes=200000-"]


async def test_a_connection_that_falls_silent_is_resumed(tmp_path: Path) -> None:
    silent = raw(head(200, WHOLE, ("ETag", ETAG)) + VIDEO[:100_000], then=hang)
    async with RawServer(silent, serve()) as server:
        timeouts = Timeouts(download_stall_s=0.1)
        assert await fetch(server, tmp_path / "a.mp4", timeouts=timeouts) == VIDEO
    assert ranges_of(server) == [None, "bytes=100000-"]


async def test_a_connection_that_drips_is_broken_off_and_resumed(tmp_path: Path) -> None:
    start = head(200, WHOLE, ("ETag", ETAG)) + VIDEO[:100_000]
    dripping = drip(start, VIDEO[100_000:100_001], interval_s=0.01)
    async with RawServer(dripping, serve()) as server:
        # Far above what drips, far below what loopback brings in the first window.
        policy = DownloadPolicy(minimum_bytes_per_s=100_000, window_s=0.3)
        data = await fetch(server, tmp_path / "a.mp4", downloads=policy)
    assert len(data) == len(VIDEO)
    assert len(server.requests) == 2


async def test_headers_that_never_come_are_waited_for_no_longer_than_allowed(
    tmp_path: Path,
) -> None:
    async with RawServer(hang, serve()) as server:
        timeouts = Timeouts(download_stall_s=0.1)
        assert await fetch(server, tmp_path / "a.mp4", timeouts=timeouts) == VIDEO


async def test_a_file_that_changed_meanwhile_is_fetched_from_its_start(tmp_path: Path) -> None:
    async with RawServer(cut_off(), serve(OTHER, etag='"version-2"')) as server:
        assert await fetch(server, tmp_path / "a.mp4") == OTHER
    assert len(server.requests) == 2


async def test_a_server_without_ranges_is_asked_for_the_whole_file_again(tmp_path: Path) -> None:
    async with RawServer(cut_off(), serve(knows_ranges=False)) as server:
        assert await fetch(server, tmp_path / "a.mp4") == VIDEO
    assert len(server.requests) == 2


REST = VIDEO[100_000:]
SAME = ("ETag", ETAG)
ODD_PARTS = {
    "another start": part_head(VIDEO, 99_999, SAME) + VIDEO[99_999:],
    "another length": part_head(VIDEO, 100_000, SAME, claim="bytes 100000-299999/300001") + REST,
    "beyond the end": part_head(VIDEO, 100_000, SAME, claim="bytes 100000-299999/299999") + REST,
    "ends before it starts": part_head(VIDEO, 100_000, SAME, claim="bytes 100000-1/300000") + REST,
    "another size": part_head(VIDEO, 100_000, SAME, claim="bytes 100000-100009/300000") + REST,
    "another unit": part_head(VIDEO, 100_000, SAME, claim="frames 100000-299999/300000") + REST,
    "no number": part_head(VIDEO, 100_000, SAME, claim="bytes ?-?/300000") + REST,
    "several parts": head(
        206, ("Content-Type", "multipart/byteranges; boundary=x"), ("Content-Length", "4"), SAME
    )
    + b"--x-",
    "another version": part_head(OTHER, 100_000, ("ETag", '"version-2"')) + OTHER[100_000:],
    "a weak tag": part_head(OTHER, 100_000, ("ETag", f"W/{ETAG}")) + OTHER[100_000:],
    "no version": part_head(OTHER, 100_000) + OTHER[100_000:],
    "no such bytes": head(416, ("Content-Range", "bytes */100"), ("Content-Length", "0")),
}


@pytest.mark.parametrize("odd", ODD_PARTS.values(), ids=ODD_PARTS)
async def test_a_part_that_is_not_the_one_asked_for_is_not_used(tmp_path: Path, odd: bytes) -> None:
    async with RawServer(cut_off(100_000), raw(odd), serve()) as server:
        assert await fetch(server, tmp_path / "a.mp4") == VIDEO
    assert ranges_of(server) == [None, "bytes=100000-", None]


async def test_a_part_without_a_validator_is_not_continued(tmp_path: Path) -> None:
    weak = serve(etag=f"W/{ETAG}", stops_after=100_000)
    async with RawServer(weak, serve(OTHER, etag=f"W/{ETAG}")) as server:
        assert await fetch(server, tmp_path / "a.mp4") == OTHER
    assert ranges_of(server) == [None, None]


def dates(age_s: float) -> Iterator[tuple[str, str]]:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    yield "Date", format_datetime(now, usegmt=True)
    yield "Last-Modified", format_datetime(now - timedelta(seconds=age_s), usegmt=True)


@pytest.mark.parametrize(("age_s", "asked"), [(60, "bytes=100000-"), (59, None)])
async def test_a_date_is_a_validator_only_when_it_is_old_enough(
    tmp_path: Path, age_s: float, asked: str | None
) -> None:
    dated = serve(VIDEO, *dates(age_s), etag=None, stops_after=100_000)
    async with RawServer(dated, serve(VIDEO, *dates(age_s), etag=None)) as server:
        assert await fetch(server, tmp_path / "a.mp4") == VIDEO
    assert ranges_of(server) == [None, asked]


async def test_more_bytes_than_the_range_has_are_not_kept(tmp_path: Path) -> None:
    # Without a length of its own, the body ends with its last chunk: after too many bytes here.
    chunk = b"%x\r\n" % (len(REST) + 5) + REST + b"extra" + b"\r\n0\r\n\r\n"
    stated = ("Content-Range", f"bytes 100000-{len(VIDEO) - 1}/{len(VIDEO)}")
    long = raw(head(206, stated, ("Transfer-Encoding", "chunked"), SAME) + chunk)
    async with RawServer(cut_off(100_000), long, serve()) as server:
        assert await fetch(server, tmp_path / "a.mp4") == VIDEO


# --- from one call to the next -------------------------------------------------------------


async def test_what_arrived_is_kept_and_the_next_call_goes_on(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    await leave_part(target)
    assert not target.exists()
    assert part(target).read_bytes() == VIDEO[:KEPT]
    async with RawServer(serve()) as server:
        assert await fetch(server, target) == VIDEO
    assert ranges_of(server) == [f"bytes={KEPT}-"]


async def test_the_error_says_how_much_is_kept_and_that_the_next_call_goes_on(
    tmp_path: Path,
) -> None:
    async with RawServer(cut_off(KEPT)) as server, file_session(retry=ONE_TRY) as session:
        with pytest.raises(DownloadIncomplete) as caught:
            await session.download(finished(server), tmp_path / "a.mp4")
    assert f"{KEPT} of {len(VIDEO)} bytes are kept in {tmp_path / 'a.mp4.part'}" in str(
        caught.value
    )
    assert "the next call goes on from there" in str(caught.value)


async def test_a_cancelled_download_keeps_what_arrived(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    progress: list[DownloadProgress] = []
    begun = asyncio.Event()

    def note(step: DownloadProgress) -> None:
        progress.append(step)
        begun.set()

    # A slow one is written as it comes.
    dripping = drip(head(200, WHOLE, SAME), VIDEO[:50_000], interval_s=0.14)
    async with RawServer(dripping) as server, file_session() as session:
        download = asyncio.create_task(session.download(finished(server), target, on_progress=note))
        await begun.wait()
        download.cancel()
        with pytest.raises(asyncio.CancelledError):
            await download
        await server.settle()
    assert not target.exists()
    assert part(target).stat().st_size >= progress[-1].received_bytes > 0
    kept = part(target).stat().st_size
    async with RawServer(serve(VIDEO[:50_000] * 6)) as server:
        assert await fetch(server, target) == VIDEO[:50_000] * 6
    assert ranges_of(server) == [f"bytes={kept}-"]


async def test_a_whole_part_is_asked_for_its_last_byte_only(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    await leave_part(target)
    # As a kill between the last byte and the rename leaves it.
    with part(target).open("ab") as file:
        file.write(VIDEO[KEPT:])
    async with RawServer(serve()) as server:
        assert await fetch(server, target) == VIDEO
    assert ranges_of(server) == [f"bytes={len(VIDEO) - 1}-"]


async def test_a_part_longer_than_the_file_is_not_continued(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    await leave_part(target)
    with part(target).open("ab") as file:
        file.write(VIDEO)
    async with RawServer(serve()) as server:
        assert await fetch(server, target) == VIDEO
    assert ranges_of(server) == [None]


async def test_a_part_of_another_version_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    await leave_part(target)
    async with RawServer(serve(OTHER, etag='"version-2"')) as server:
        assert await fetch(server, target) == OTHER


async def test_a_part_of_another_task_is_not_continued(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    # Both servers call their file by the same tag, which says nothing across files.
    await leave_part(target, task_id="video_0")
    async with RawServer(serve(OTHER)) as server:
        assert await fetch(server, target) == OTHER
    assert ranges_of(server) == [None]


async def test_a_part_stays_when_the_next_call_gets_no_answer(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    await leave_part(target)
    await leave_part(target, answer(503))
    assert part(target).read_bytes() == VIDEO[:KEPT]
    async with RawServer(serve()) as server:
        assert await fetch(server, target) == VIDEO
    assert ranges_of(server) == [f"bytes={KEPT}-"]


async def test_a_part_that_was_changed_on_disk_is_not_continued(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    await leave_part(target)
    data = bytearray(part(target).read_bytes())
    data[1000] ^= 1
    part(target).write_bytes(data)
    async with RawServer(serve()) as server:
        assert await fetch(server, target) == VIDEO
    assert ranges_of(server) == [None]


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b'{"task_id": 1}', b"\xff\0" * 100])
async def test_a_part_whose_note_says_nothing_is_not_continued(tmp_path: Path, note: bytes) -> None:
    target = tmp_path / "a.mp4"
    await leave_part(target)
    (tmp_path / "a.mp4.part.json").write_bytes(note)
    async with RawServer(serve()) as server:
        assert await fetch(server, target) == VIDEO
    assert ranges_of(server) == [None]


async def test_a_part_without_a_note_is_not_continued(tmp_path: Path) -> None:
    (tmp_path / "a.mp4.part").write_bytes(VIDEO[:1000])
    async with RawServer(serve()) as server:
        assert await fetch(server, tmp_path / "a.mp4") == VIDEO
    assert ranges_of(server) == [None]


async def test_replacing_leaves_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    target.write_bytes(b"mine")
    async with RawServer(cut_off(KEPT)) as server, file_session(retry=ONE_TRY) as session:
        with pytest.raises(DownloadIncomplete):
            await session.download(finished(server), target, on_existing=OnExisting.REPLACE)
    assert target.read_bytes() == b"mine"
    async with RawServer(serve()) as server, file_session() as session:
        await session.download(finished(server), target, on_existing=OnExisting.REPLACE)
    assert target.read_bytes() == VIDEO
    assert ranges_of(server) == [f"bytes={KEPT}-"]


# --- progress ------------------------------------------------------------------------------


async def test_progress_is_told_in_bytes_and_ends_with_the_whole(tmp_path: Path) -> None:
    steps: list[DownloadProgress] = []
    async with RawServer(cut_off(), serve()) as server, file_session() as session:
        await session.download(finished(server), tmp_path / "a.mp4", on_progress=steps.append)
    assert all(one.received_bytes <= other.received_bytes for one, other in pairwise(steps))
    assert steps[-1] == DownloadProgress(
        task_id="video_1", received_bytes=len(VIDEO), expected_bytes=len(VIDEO)
    )


async def test_a_progress_hook_that_raises_does_not_cost_the_video(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: DownloadProgress) -> None:
        raise ZeroDivisionError

    async with RawServer(serve()) as server, file_session() as session:
        await session.download(finished(server), tmp_path / "a.mp4", on_progress=broken)
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO
    assert "the progress hook of a download failed" in caplog.text
