"""What of an input stands in the journal, while several submitters pull it."""

# It is driven below the public face.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

from videos_async import Journal, VideoRequest
from videos_async._journal_recorder import JournalRecorder
from videos_async._open_journals import JournalWriters
from videos_async.errors import Key


def foxes(count: int) -> Iterator[tuple[Key, VideoRequest]]:
    """Yield requests one by one: nobody knows how many there will be."""
    for number in range(count):
        yield f"fox{number}", VideoRequest(prompt=f"A fox, take {number}", duration=5)


def recorder_of(path: Path, count: int) -> JournalRecorder:
    return JournalRecorder(foxes(count), path=path, writers=JournalWriters(), may_create=True)


async def is_complete(path: Path) -> bool:
    async with Journal(path) as journal:
        return await journal.is_input_complete()


async def test_an_input_is_complete_once_all_that_was_pulled_stands_in_the_journal(
    tmp_path: Path,
) -> None:
    path = tmp_path / "run.sqlite"
    recorder = recorder_of(path, 1)
    await recorder.open()
    assert await recorder.pull() is not None
    await recorder.declare("fox0")
    recorder.retract("fox0")
    assert await recorder.aclose() is None

    recorder = recorder_of(path, 2)
    await recorder.open()
    assert await recorder.pull() is not None
    # While two submitters wait to hear whether their keys are known, a third one finds the end.
    pulling = [asyncio.ensure_future(recorder.pull()) for _ in range(2)]
    await asyncio.sleep(0)
    assert await recorder.pull() is None
    assert not any(each.done() for each in pulling)
    await recorder._writer.sync()
    assert not await is_complete(path)

    known, pulled = await asyncio.gather(*pulling)
    assert known is None
    assert pulled is not None
    await recorder.declare(pulled.key)
    assert await recorder.aclose() is None
    assert await is_complete(path)
