"""A batch with a journal whose process is killed: nothing is paid for twice, nothing is lost.

The service, its ledger and the wire are in the test's process; the client is a process of its
own that SIGKILL really ends, at a point that has a name or at a random instant, and that is
started again with the same line until it comes to its end.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest

from tests.killing.child import prompt_of
from tests.killing.proxy import Stage
from tests.killing.stage import KILLED, Clients, Death, Kill, Theatre, theatre
from videos_async import JournalEntry, KeyState

DECLARE: Final = "videos_async._journal_recorder:JournalRecorder.declare"
ACCEPTED: Final = "videos_async._journal_recorder:JournalRecorder.accepted"
STAGE: Final = "videos_async._journal_recorder:JournalRecorder._stage"
SAVED: Final = "videos_async._journal_recorder:JournalRecorder.saved"
WRITE: Final = "videos_async._database:Database.write"
PUT: Final = "videos_async._database:Database._put"

# Where a kill leaves nothing in doubt, and where what is in flight is.
CERTAIN: Final[dict[str, Death | Kill]] = {
    "while the journal is created": Death("videos_async._journal_file:_sync", "before", 1),
    "while the input is planned": Death(PUT, "after", 1),
    "after the input is planned": Death("videos_async._database:Database.plan", "after", 1),
    "before the first intent": Death(DECLARE, "before", 1),
    "while the first intent is committed": Death(PUT, "after", 2),
}
DOUBTFUL: Final[dict[str, Death | Kill]] = {
    "before a later intent": Death(DECLARE, "before", 12),
    "after the first intent": Death(DECLARE, "after", 1),
    "after an intent's commit, before anybody knows of it": Death(WRITE, "after", 1),
    "after a later intent": Death(DECLARE, "after", 11),
    "after the first bytes left": Kill("POST", "/v1/videos/videos", Stage.ARRIVED, 1),
    "after the bytes of many left": Kill("POST", "/v1/videos/videos", Stage.ARRIVED, 13),
    "after a 2xx, before it is read": Kill("POST", "/v1/videos/videos", Stage.ANSWERED, 5),
    "in the middle of a 2xx": Kill("POST", "/v1/videos/videos", Stage.HALF_WAY, 5),
    "after a 2xx, before the id is written": Death(ACCEPTED, "before", 5),
    "after an id went on its way to the disk": Death(ACCEPTED, "after", 5),
    "between an id's commit and the next intent's": Death(WRITE, "after", 3),
    "mid-poll": Kill("GET", "/v1/result/", Stage.ARRIVED, 7),
    "before a poll's answer is read": Kill("GET", "/v1/result/", Stage.ANSWERED, 7),
}
POINTS: Final = CERTAIN | DOUBTFUL


@pytest.fixture(scope="module")
def clients() -> Iterator[Clients]:
    made = Clients()
    yield made
    made.close()


async def settle(stage: Theatre, given: str, count: int) -> None:
    """Run what was killed once more, to its end, and hold the ledger against the journal."""
    await stage.live(given, count)
    entries = await stage.entries()
    assert len(entries) == count
    states = Counter(entry.state for entry in entries.values())
    done = KeyState.COMPLETED if stage.download_to is None else KeyState.DOWNLOADED
    assert set(states) <= {done, KeyState.UNCERTAIN}
    # Only what was announced and not settled when a process was killed can be in doubt.
    assert states[KeyState.UNCERTAIN] <= stage.in_doubt_at_most
    for key, entry in entries.items():
        billed = stage.billed_for(key)
        assert len(billed) <= 1
        if entry.state is done:
            assert billed == [entry.task_id]
    # Nothing was paid for that the journal does not know of.
    known = {prompt_of(key) for key in entries}
    assert {entry.prompt for entry in stage.emulator.ledger.entries} <= known


@pytest.mark.parametrize("point", POINTS)
async def test_a_batch_killed_at_a_named_point_pays_once_and_loses_nothing(
    point: str, clients: Clients, tmp_path: Path
) -> None:
    async with theatre(clients, tmp_path) as stage:
        assert await stage.live("list", 20, dies=POINTS[point]) == KILLED
        if point in CERTAIN:
            assert stage.in_doubt_at_most == 0
        await settle(stage, "list", 20)


PART: Final = "videos_async._part:Part"
FILES: Final[dict[str, Death | Kill]] = {
    "mid-download": Kill("GET", "/files/", Stage.HALF_WAY, 3),
    "while a file is written": Death(f"{PART}.write", "after", 3),
    "before the journal knows of a whole file": Death(STAGE, "before", 3),
    "after the journal knows of a whole file": Death(STAGE, "after", 3),
    "before a file gets its name": Death(f"{PART}._put_in_place", "before", 3),
    "after a file got its name": Death(f"{PART}._put_in_place", "after", 3),
    "before the journal knows that a file has its name": Death(SAVED, "before", 3),
}


@pytest.mark.parametrize("point", FILES)
async def test_a_batch_killed_over_its_files_saves_each_whole_and_pays_once(
    point: str, clients: Clients, tmp_path: Path
) -> None:
    async with theatre(clients, tmp_path) as stage:
        stage.download_to = tmp_path / "videos"
        assert await stage.live("list", 12, dies=FILES[point]) == KILLED
        await settle(stage, "list", 12)
        entries = await stage.entries()
    assert_whole_and_alone(stage.download_to, entries.values())


def assert_whole_and_alone(folder: Path, entries: Iterable[JournalEntry]) -> None:
    """Find the files that the journal knows, each whole, and nothing beside them."""
    saved = {entry.file for entry in entries if entry.file is not None}
    assert {file.path for file in saved} == set(map(str, folder.iterdir()))
    for file in saved:
        assert sha256(Path(file.path).read_bytes()).hexdigest() == file.sha256


def random_kill(dice: random.Random) -> Kill:
    """Draw an instant: in the first moments of a life, or a little after a create call.

    However fast the machine is, a life brings home a few ids and no more, so that there is
    something left to be killed for the next.
    """
    stage = dice.choice([Stage.ARRIVED, Stage.ANSWERED])
    nth, delay_s = dice.randrange(1, 7), dice.uniform(0, 0.005)
    if dice.random() < 0.5:
        nth, delay_s = 0, dice.uniform(0, 0.1)
    most = nth + dice.randrange(1, 7)
    return Kill("POST", "/v1/videos/videos", stage, nth, delay_s=delay_s, most=most)


async def kill_often(stage: Theatre, inputs: list[str], count: int, kills: int) -> None:
    """Kill a batch again and again at random instants, then let it come to its end."""
    dice = random.Random(count)
    for _ in range(2 * kills):
        given = dice.choice(inputs) if stage.journal.exists() else inputs[0]
        # It may come to an end before it is killed, without its input above all.
        await stage.live(given, count, dies=random_kill(dice))
        if stage.kills == kills:
            break
    assert stage.kills == kills
    await settle(stage, inputs[0], count)


@pytest.mark.parametrize("inputs", [["list"], ["generator"], ["list", "resume"]], ids="-".join)
async def test_a_batch_killed_at_random_instants_pays_once_and_loses_nothing(
    inputs: list[str], clients: Clients, tmp_path: Path
) -> None:
    async with theatre(clients, tmp_path) as stage:
        await kill_often(stage, inputs, count=120, kills=8)


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize("inputs", [["list"], ["generator"], ["generator", "resume"]], ids="-".join)
async def test_a_long_batch_killed_fifty_times_pays_once_and_loses_nothing(
    inputs: list[str], clients: Clients, tmp_path: Path
) -> None:
    async with theatre(clients, tmp_path) as stage:
        await kill_often(stage, inputs, count=500, kills=50)


@pytest.mark.soak
@pytest.mark.timeout(300)
async def test_a_long_batch_killed_fifty_times_saves_each_file_whole(
    clients: Clients, tmp_path: Path
) -> None:
    async with theatre(clients, tmp_path) as stage:
        stage.download_to = tmp_path / "videos"
        await kill_often(stage, ["list", "resume"], count=500, kills=50)
        assert_whole_and_alone(stage.download_to, (await stage.entries()).values())
