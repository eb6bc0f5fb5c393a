"""Group commits: what goes into one commit, and who waits for whom."""

# It is driven below the public face.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import anyio
import anyio.to_thread
import pytest

from tests.journals import NOW, planned
from tests.scaled_clock import on_scaled_time
from videos_async import JournalEntry, JournalWriteFailed, KeyState, SavedFile, Status, VideoTask
from videos_async._database import Database
from videos_async._journal_thread import JournalThread
from videos_async._journal_writer import JournalWriter

# Of the loop: more than it takes to hand something to the thread.
_MANY_TURNS = 20

QUEUED = VideoTask(id="video_1", status=Status.QUEUED)
COMPLETED = VideoTask(id="video_1", status=Status.COMPLETED)

# So slow that five milliseconds last a quarter of a minute.
on_a_clock_that_hardly_moves = on_scaled_time(1 / 3000)


class Counting(Database):
    """A journal that remembers what each commit held."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.commits: list[set[tuple[object, KeyState]]] = []
        self.committed = threading.Event()

    def write(
        self,
        new: Sequence[JournalEntry] = (),
        changed: Sequence[JournalEntry] = (),
        facts: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        super().write(new, changed, facts)
        self.commits.append({(entry.key, entry.state) for entry in (*new, *changed)})
        self.committed.set()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.sqlite"


@asynccontextmanager
async def writing(
    path: Path, kind: type[Counting] = Counting
) -> AsyncGenerator[tuple[JournalWriter, Counting]]:
    thread = JournalThread()
    database = await thread.call(kind.drive, path, may_create=True, now=NOW)
    assert isinstance(database, Counting)
    writer = JournalWriter(database, thread, path)
    try:
        yield writer, database
    finally:
        await writer.aclose()


async def declared(writer: JournalWriter, key: str) -> None:
    await writer.add(planned(key).intend(NOW), is_new=True, is_intent=True).waiter


@on_a_clock_that_hardly_moves
async def test_an_intent_with_nobody_else_under_way_is_committed_at_once(path: Path) -> None:
    async with writing(path) as (writer, database):
        await declared(writer, "a")
        assert database.commits == [{("a", KeyState.INTENT)}]


@on_a_clock_that_hardly_moves
async def test_intents_wait_for_the_id_of_a_call_that_is_under_way(path: Path) -> None:
    async with writing(path) as (writer, database):
        await declared(writer, "a")
        async with asyncio.TaskGroup() as group:
            group.create_task(declared(writer, "b"))
            group.create_task(declared(writer, "c"))
            for _ in range(_MANY_TURNS):
                await asyncio.sleep(0)
            assert len(database.commits) == 1
            writer.write_at_once(planned("a").intend(NOW).accept(QUEUED, NOW))
        together = {("a", KeyState.QUEUED), ("b", KeyState.INTENT), ("c", KeyState.INTENT)}
        assert database.commits[1:] == [together]


@on_a_clock_that_hardly_moves
async def test_a_call_that_was_not_accepted_is_no_more_waited_for(path: Path) -> None:
    async with writing(path) as (writer, database):
        await declared(writer, "a")
        writer.write(planned("a").intend(NOW).retract(NOW))
        await declared(writer, "b")
        assert database.commits[1:] == [{("a", KeyState.PLANNED), ("b", KeyState.INTENT)}]


async def test_an_intent_does_not_wait_long_for_a_call_that_hangs(path: Path) -> None:
    async with writing(path) as (writer, database):
        await declared(writer, "hanging")
        await declared(writer, "b")
        assert len(database.commits) == 2


@on_a_clock_that_hardly_moves
async def test_a_file_that_is_whole_waits_for_what_comes_soon(path: Path) -> None:
    done = planned("a").intend(NOW).accept(COMPLETED, NOW)
    file = SavedFile(
        path="/a.mp4", size_bytes=1, sha256="00", media_type="video/mp4", is_verified=True
    )
    async with writing(path) as (writer, database):
        await writer.add(done, is_new=True, is_intent=True).waiter
        writer.write(done)
        await writer.sync()
        async with asyncio.TaskGroup() as group:
            group.create_task(writer.commit(done.stage(file)))
            for _ in range(_MANY_TURNS):
                await asyncio.sleep(0)
            assert len(database.commits) == 2
            group.create_task(declared(writer, "b"))
        together = {("a", KeyState.COMPLETED), ("b", KeyState.INTENT)}
        assert database.commits[2:] == [together]


class FullAtFirst(Counting):
    """A journal that finds no room the first time."""

    is_full = True

    def write(self, *arguments: Any, **options: Any) -> None:
        if self.is_full:
            self.is_full = False
            raise JournalWriteFailed(path="run.sqlite", problem="finds no room")
        super().write(*arguments, **options)


# So slow that a tenth of a second is a second.
@on_scaled_time(1 / 10)
async def test_once_there_is_room_again_nothing_waits_as_long_as_for_room(path: Path) -> None:
    async with writing(path, FullAtFirst) as (writer, database):
        with pytest.raises(JournalWriteFailed):
            await writer.add(planned("b"), is_new=True).waiter
        await declared(writer, "a")
        database.committed.clear()
        writer.write(planned("c"), is_new=True)
        with anyio.fail_after(0.5):
            await anyio.to_thread.run_sync(database.committed.wait, abandon_on_cancel=True)
        assert database.commits[1:] == [{("c", KeyState.PLANNED)}]


async def test_what_comes_after_the_journal_was_closed_is_not_waited_for(path: Path) -> None:
    async with writing(path) as (writer, _):
        pass
    with pytest.raises(JournalWriteFailed, match="the journal is closed"):
        await writer.commit(planned("a"))
