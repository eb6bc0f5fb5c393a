"""The journal as its users meet it: what it holds, what it refuses, how doubt is resolved."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
import pytest

from tests.cli.batch_files import AsRead
from tests.hostile import fill_up, hostile, make_room, needs_no_locks, needs_prlimit
from tests.journal_faults import FAULTS, Fault
from tests.journals import accepted, driven, holder, intended, planned, snapshot
from tests.raw_server import Line, RawServer, answer
from tests.service import quick_service, request
from videos_async import (
    InvalidRequest,
    Journal,
    JournalError,
    JournalLocked,
    Key,
    KeyConflict,
    KeyState,
    KeyStateError,
    VideoRequest,
)
from videos_async._driver_lock import DriverLock

KEY: Final = "sk-canary-0123456789"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.sqlite"


def keyed(count: int) -> list[tuple[Key, VideoRequest]]:
    return [(f"k{n}", request(prompt=f"prompt {n}")) for n in range(count)]


# --- what it holds -------------------------------------------------------------------------


async def test_no_file_of_a_journal_ever_holds_the_key_or_a_signed_url(
    path: Path, tmp_path: Path
) -> None:
    seen: set[str] = set()
    files: list[bytes] = []
    wanted = [*keyed(3), ("no", request(prompt="never [refuse]"))]
    async with quick_service(api_keys=KEY) as (emulator, session):
        batch = session.batch(wanted, journal=path, download_to=tmp_path / "out", timeout=20)
        async with batch as transitions:
            async for change in transitions:
                if change.task is not None and change.task.video_url is not None:
                    seen.add(change.task.video_url)
                files += snapshot(path).values()
        again = session.resume(path)
        async with again as transitions:
            async for change in transitions:
                assert change.task is None or change.task.video_url is None
        assert emulator.ledger.billed == 4
    files += snapshot(path).values()

    assert len(seen) == 3
    secrets = {url.partition("?")[2] for url in seen}
    assert all(secret.startswith(("expires=", "signature=")) for secret in secrets)
    parts = {part.partition("=")[2] for secret in secrets for part in secret.split("&")}
    for secret in {KEY, *secrets, *(part for part in parts if len(part) > 12)}:
        assert not any(secret.encode() in data for data in files), secret


async def test_a_journal_tells_how_its_batch_stands(path: Path) -> None:
    with driven(path, accepted("a"), planned("b"), planned(7)):
        pass
    async with Journal(path) as journal:
        assert repr(journal) == f"<Journal {path} open>"
        assert await journal.counts() == {KeyState.PLANNED: 2, KeyState.QUEUED: 1}
        assert [entry.key async for entry in journal.entries()] == ["a", "b", 7]
        assert [entry.key async for entry in journal.entries([KeyState.PLANNED])] == ["b", 7]
        assert await journal.find("7") is None
        found = await journal.find(7)
        assert found is not None
        assert found.request.prompt == "prompt of 7"
        assert (await journal.is_input_complete(), await journal.driver()) == (False, None)
    assert repr(journal) == f"<Journal {path} closed>"
    with pytest.raises(RuntimeError, match="enter the journal first"):
        await journal.counts()


async def test_entries_beyond_one_page_come_once_and_in_order(path: Path) -> None:
    async with quick_service() as (_, session):
        batch = session.batch(keyed(700), journal=path, max_submissions=0)
        async with batch as transitions:
            async for _ in transitions:
                pass
    async with Journal(path) as journal:
        keys = [entry.key async for entry in journal.entries()]
        assert await journal.is_input_complete()
    assert keys == [f"k{n}" for n in range(700)]


async def test_an_intent_of_a_driver_that_lives_is_no_doubt(path: Path) -> None:
    with driven(path, intended("a")):
        async with Journal(path) as journal:
            assert await journal.counts() == {KeyState.INTENT: 1}
            assert await journal.uncertain() == []
            driver = await journal.driver()
            assert isinstance(driver, JournalLocked)
            assert driver.pid == os.getpid()
    async with Journal(path) as journal:
        assert [entry.key for entry in await journal.uncertain()] == ["a"]


async def test_opening_that_is_called_off_leaves_neither_a_lock_nor_a_connection(
    path: Path,
) -> None:
    with driven(path, intended("a")):
        pass
    for _ in range(20):
        opening = asyncio.ensure_future(Journal(path).__aenter__())
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
    # Nobody waits for what they have begun, and they settle the intent one after the other.
    for thread in threading.enumerate():
        if thread.name.startswith("videos-async-journal"):
            await anyio.to_thread.run_sync(thread.join)
    async with Journal(path) as journal:
        assert [entry.key for entry in await journal.uncertain()] == ["a"]
        await journal.abandon(["a"])
    assert DriverLock(path).held_by() is None


async def test_a_journal_is_entered_once(path: Path) -> None:
    with driven(path, planned("a")):
        pass
    journal = Journal(path)
    async with journal:
        pass
    with pytest.raises(RuntimeError, match="entered once"):
        async with journal:
            pass


# --- resolving -----------------------------------------------------------------------------


async def test_doubt_is_resolved_one_way_or_the_other(path: Path) -> None:
    with driven(path, *map(intended, "abc")):
        pass
    async with Journal(path) as journal:
        (again,) = await journal.rearm(["a"])
        found = await journal.adopt("b", "video_9")
        (closed,) = await journal.abandon(["c"])
        assert [entry.state for entry in (again, found, closed)] == [
            KeyState.PLANNED,
            KeyState.ACCEPTED,
            KeyState.ABANDONED,
        ]
        assert await journal.find("b") == found
        assert await journal.uncertain() == []


async def test_a_change_is_made_of_all_keys_or_of_none(path: Path) -> None:
    with driven(path, intended("a"), accepted("b")):
        pass
    async with Journal(path) as journal:
        with pytest.raises(KeyStateError, match="key 'b' is queued and cannot be re-armed"):
            await journal.rearm(["a", "b"])
        with pytest.raises(JournalError, match=r"does not know the key 0: a number and its text"):
            await journal.rearm(["a", 0])
        with pytest.raises(TypeError, match=r"a list of keys .* write \['a'\]"):
            await journal.rearm("a")
        with pytest.raises(KeyStateError, match="cannot give its task video_b to another key"):
            await journal.adopt("a", "video_b")
        with pytest.raises(InvalidRequest, match="task_id must not be empty"):
            await journal.adopt("a", "")
        assert [entry.key for entry in await journal.uncertain()] == ["a"]


async def test_nothing_is_changed_under_a_driver(path: Path) -> None:
    with holder(path) as process:
        async with Journal(path) as journal:
            with pytest.raises(JournalLocked) as caught:
                await journal.abandon([0])
    assert caught.value.pid == process.pid


# --- nothing is sent -----------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_with_a_journal_that_cannot_be_trusted_nothing_is_sent(
    path: Path, fault: Fault
) -> None:
    fault.make(path)
    async with quick_service() as (emulator, session):
        with pytest.raises(fault.kind, match=fault.text):
            async with session.batch(keyed(3), journal=path):
                pass
        with pytest.raises(JournalError):
            await session.generate(request(), journal=path, key="a")
        assert emulator.requests.total == 0


async def test_a_journal_that_is_driven_is_refused_within_the_session_too(path: Path) -> None:
    async with quick_service() as (emulator, session):
        async with session.batch(iter(()), journal=path):
            with pytest.raises(JournalLocked, match="is driven by another batch of this session"):
                async with session.batch(keyed(1), journal=path):
                    pass
        assert emulator.requests.total == 0


async def test_another_request_under_a_known_key_is_refused_before_anything_is_sent(
    path: Path,
) -> None:
    with driven(path, accepted("k1")):
        pass
    before = snapshot(path)
    async with quick_service() as (emulator, session):
        with pytest.raises(KeyConflict, match="holds another request under the key 'k1'"):
            async with session.batch(keyed(3), journal=path):
                pass
        assert emulator.requests.total == 0
    assert snapshot(path) == before


BATCH: Final = """
import asyncio, logging, sys
from tests.service import QUICK_POLLS
from videos_async import VideoRequest, VideosSession

async def main(url, path):
    logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
    async with VideosSession("a-key", base_url=url, poll=QUICK_POLLS) as session:
        requests = [("fox", VideoRequest(prompt="A fox", duration=5))]
        async with session.batch(requests, journal=path, timeout=20) as transitions:
            async for change in transitions:
                print(change.end, change.task_id, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@needs_prlimit
async def test_an_id_that_found_no_room_is_written_when_there_is_some(path: Path) -> None:
    is_full, is_seen = anyio.Event(), anyio.Event()
    queued = {"id": "video_paid", "status": "queued"}

    async def service(line: Line) -> None:
        asked = await line.read_request()
        if asked.method == "POST":
            await is_full.wait()
        status = "completed" if is_seen.is_set() else "queued"
        told = answer(200, {**queued, "status": status})
        await told(AsRead(line))

    async with RawServer(service) as server:
        command = [sys.executable, "-c", BATCH, server.url, str(path)]
        async with await anyio.open_process(command, stderr=None) as child:
            assert child.stdout is not None
            out = ""
            await server.until(lambda: server.posts == 1)
            fill_up(child.pid, path)
            is_full.set()
            while "could not be written (disk I/O error)" not in out:
                out += (await child.stdout.receive()).decode()
            make_room(child.pid)
            while True:
                async with Journal(path) as journal:
                    entry = await journal.find("fox")
                if entry is not None and entry.task_id == "video_paid":
                    break
                await anyio.sleep(0.05)
            is_seen.set()
            async for piece in child.stdout:
                out += piece.decode()
            await child.wait()

    assert "End.COMPLETED video_paid" in out
    async with Journal(path) as journal:
        assert await journal.counts() == {KeyState.COMPLETED: 1}


@needs_no_locks
async def test_without_locks_nothing_is_sent(path: Path) -> None:
    script = path.with_name("batch_without_locks.py")
    script.write_text(BATCH)
    async with RawServer(answer(200, {"id": "video_1", "status": "queued"})) as server:
        command = hostile("no-locks", "batch_without_locks", server.url, str(path))
        env = {**os.environ, "PYTHONPATH": f"{os.getcwd()}:{path.parent}"}  # noqa: PTH109
        done = await anyio.run_process(command, check=False, env=env)
        assert server.posts == 0
    assert b"cannot be locked (No locks available)" in done.stderr
