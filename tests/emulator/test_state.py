from __future__ import annotations

import errno
import json
import os
import stat
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import aiohttp
import pytest

from tests.emulator.standalone import standalone
from tests.emulator.wire import KITTEN, LIFETIME_S, Wire
from videos_async.emulator import Lifetimes, ManualClock, Media, StateFileError, VideosEmulator
from videos_async.emulator._clock import ResumedClock

if TYPE_CHECKING:
    from pathlib import Path

    from tests.emulator.standalone import Standalone

_LIFETIMES = Lifetimes(medians_s={}, default_median_s=LIFETIME_S, sigma=0)


def emulator_on(path: Path, **options: Any) -> VideosEmulator:
    settings: dict[str, Any] = {
        "clock": ManualClock(),
        "lifetimes": _LIFETIMES,
        "processing_slots": 2,
        "media": Media.SAMPLE,
        "seed": 7,
        **options,
    }
    return VideosEmulator(state=path, **settings)


def wire_to(emulator: VideosEmulator, http: aiohttp.ClientSession) -> Wire:
    clock = emulator.clock
    assert isinstance(clock, ResumedClock)
    assert isinstance(clock.clock, ManualClock)
    return Wire(emulator=emulator, clock=clock.clock, http=http)


async def statuses(wire: Wire, ids: list[str]) -> list[str]:
    return [(await wire.query(task_id)).json["status"] for task_id in ids]


async def test_tasks_go_on_where_they_stood(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    path = tmp_path / "state.jsonl"
    async with emulator_on(path) as emulator:
        wire = wire_to(emulator, http)
        prompts = ["first", "a [refuse]", "second", "third"]
        ids = [(await wire.submit({**KITTEN, "prompt": prompt})).json["id"] for prompt in prompts]
        wire.clock.advance(LIFETIME_S - 1)
        before = [await wire.query(task_id) for task_id in ids]

    async with emulator_on(path) as emulator:
        wire = wire_to(emulator, http)
        assert [(await wire.query(task_id)).json for task_id in ids] == [one.json for one in before]
        assert await statuses(wire, ids) == ["processing", "failed", "processing", "queued"]
        # One second was left of the first ones, however long nobody ran on the file.
        wire.clock.advance(1)
        assert await statuses(wire, ids) == ["completed", "failed", "completed", "processing"]
        wire.clock.advance(LIFETIME_S)
        assert await statuses(wire, ids) == ["completed", "failed", "completed", "completed"]


async def test_the_ledger_and_the_counters_go_on(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    path = tmp_path / "state.jsonl"
    async with emulator_on(path) as emulator:
        wire = wire_to(emulator, http)
        await wire.submit(**{"Idempotency-Key": "k-1"})
        await wire.submit({**KITTEN, "duration": 3})
        await wire.query("nobody")
        await wire.send("GET", f"{emulator.page_url}elsewhere")
        before = (emulator.ledger.entries, repr(emulator.ledger), repr(emulator.requests))

    async with emulator_on(path) as emulator:
        after = (emulator.ledger.entries, repr(emulator.ledger), repr(emulator.requests))
        assert after == before
        await wire_to(emulator, http).submit()
        assert (emulator.ledger.billed_for("a kitten"), emulator.requests.submits) == (2, 3)


async def test_time_is_moved_by_hand_beside_a_state_file_as_well(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    path = tmp_path / "state.jsonl"
    async with emulator_on(path) as emulator:
        await emulator.advance(1000)
        task_id = (await wire_to(emulator, http).submit()).json["id"]
    async with emulator_on(path) as emulator:
        # The clock that was given starts anew, the emulator does not.
        assert emulator.clock.now_s() == ManualClock().now_s() + 1000
        await emulator.advance(LIFETIME_S)
        assert emulator.tasks[task_id].status == "completed"


async def test_a_file_link_outlives_a_restart(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    path = tmp_path / "state.jsonl"
    async with emulator_on(path) as emulator:
        done = await wire_to(emulator, http).completed()
        port = emulator.port

    async with emulator_on(path, port=port) as emulator:
        reply = await wire_to(emulator, http).send("GET", done["video_url"], headers={})
    assert reply.status == 200


async def test_what_a_request_held_is_kept_to_the_letter(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    path = tmp_path / "state.jsonl"
    body = {
        **KITTEN,
        "prompt": "Zwölf\n\u202eKätzchen\u2028 🐈 \x00",
        "model": "videos_fast",
        "ratio": "9:16",
        "referenceImages": ["https://a.example/1"],
        "unknown": {"deep": [1.5, None, True, "\ud800"], "large": 10**400},
    }
    async with emulator_on(path) as emulator:
        task_id = (await wire_to(emulator, http).submit(body)).json["id"]
        before = emulator.tasks[task_id].request

    async with emulator_on(path) as emulator:
        assert emulator.tasks[task_id].request == before


async def test_an_emulator_closed_and_started_again_goes_on_with_its_file(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    emulator = emulator_on(tmp_path / "state.jsonl")
    for _ in range(2):
        async with emulator:
            await wire_to(emulator, http).submit()
    async with emulator_on(tmp_path / "state.jsonl") as later:
        assert list(later.tasks) == list(emulator.tasks)
        assert later.ledger.billed == 2


async def test_an_emulator_does_not_go_on_with_a_file_that_another_one_changed(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    path = tmp_path / "state.jsonl"
    first = emulator_on(path)
    async with first:
        await wire_to(first, http).submit()
    async with emulator_on(path) as second:
        await wire_to(second, http).submit()
    with pytest.raises(StateFileError, match="was changed while this emulator was closed"):
        await first.start()


async def test_the_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.jsonl"
    path.touch(mode=0o644)
    async with emulator_on(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_file_in_use_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.jsonl"
    async with emulator_on(path):
        with pytest.raises(StateFileError, match="is in use by another emulator"):
            await emulator_on(path).start()
    async with emulator_on(path) as after:
        assert after.port


async def test_a_port_that_cannot_be_had_lets_go_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "state.jsonl"
    async with VideosEmulator() as taken:
        with pytest.raises(OSError, match="choose another port"):
            await emulator_on(path, port=taken.port).start()
    async with emulator_on(path) as after:
        assert after.port


HEADER = '{"format": "videos_async emulator state", "version": 1, "seed": 7}\n'
COUNTERS = '{"clock_s": 5.0, "submits": 1}'.ljust(511) + "\n"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "is not a state file of this emulator"),
        (b"My diary", "is not a state file of this emulator"),
        (b"[]\n", "is not a state file of this emulator"),
        (b'{"prompt": "a fox"}\n', "is not a state file of this emulator"),
        (HEADER.replace('"version": 1', '"version": 2'), "is of version 2"),
        (HEADER.replace('"seed": 7', '"seed": 8'), "was made with seed 8, not 7"),
        (HEADER, "is damaged in line 1"),
        (HEADER + COUNTERS.strip() + "\n", "is damaged in line 2"),
        (HEADER + '{"clock_s": "late"}\n', "is damaged in line 2"),
        (HEADER + COUNTERS + "{}\n", "is damaged in line 3"),
        (HEADER + COUNTERS + '{"ended": "video_1", "at_s": 1, "error": null}\n', "in line 3"),
        (HEADER + COUNTERS + '{"accepted": "video_1", "at_s": 1\n', "is damaged in line 3"),
        (HEADER + COUNTERS + '{"accepted": "video_1", "at_s": NaN}\n', "is damaged in line 3"),
        (HEADER + COUNTERS + "[" * 100_000 + "\n", "is damaged in line 3"),
    ],
)
async def test_a_foreign_or_damaged_file_is_refused_and_left_alone(
    tmp_path: Path, content: bytes | str, problem: str
) -> None:
    path = tmp_path / "state.jsonl"
    raw = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(raw)
    path.chmod(0o640)
    with pytest.raises(StateFileError, match=problem) as refused:
        await emulator_on(path).start()
    assert str(path) in str(refused.value)
    assert path.read_bytes() == raw
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


async def test_a_task_accepted_twice_is_damage(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    path = tmp_path / "state.jsonl"
    async with emulator_on(path) as emulator:
        await wire_to(emulator, http).submit()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines, lines[2]]))
    with pytest.raises(StateFileError, match=r"in line 5 .*accepted for the second time"):
        await emulator_on(path).start()


@pytest.mark.parametrize("name", ["", "no such folder/state.jsonl"])
async def test_a_path_that_cannot_be_a_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StateFileError, match=r"cannot be opened .*choose another file"):
        await emulator_on(tmp_path / name).start()


async def test_what_is_not_a_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StateFileError, match="is not a regular file"):
        await emulator_on(tmp_path / "pipe").start()


async def test_a_last_line_without_its_end_was_never_answered(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    path = tmp_path / "state.jsonl"
    async with emulator_on(path) as emulator:
        task_id = (await wire_to(emulator, http).submit()).json["id"]
    with path.open("ab") as file:
        file.write(b'{"accepted": "video_9999999999999999", "at_s": 17')
    async with emulator_on(path) as emulator:
        wire = wire_to(emulator, http)
        assert list(emulator.tasks) == [task_id]
        await wire.submit()
    async with emulator_on(path) as emulator:
        assert emulator.ledger.billed == 2


def test_what_cannot_be_written_is_not_accepted(tmp_path: Path) -> None:
    path = str(tmp_path / "state.jsonl")
    ids: list[str] = []

    def submit_many(emulator: Standalone) -> None:
        ids.extend(emulator.submit(f"prompt {number}")["id"] for number in range(100))

    with standalone("--state", path, file_limit_bytes=2000) as emulator:
        with pytest.raises(HTTPError) as refused:
            submit_many(emulator)
        answer = json.load(refused.value)
        assert refused.value.code == 503
        assert f"cannot be written ({os.strerror(errno.EFBIG)})" in answer["message"]
        refused.value.close()
        # It goes on with what it has.
        assert emulator.query(ids[0])["id"] == ids[0]
    assert ids
    with standalone("--state", path) as emulator:
        assert f"{len(ids)} tasks" in emulator.page()
        assert [emulator.query(task_id)["id"] for task_id in ids] == ids
        emulator.submit()


def test_what_goes_on_is_told_where_it_cannot_be_written(tmp_path: Path) -> None:
    path = str(tmp_path / "state.jsonl")
    ids: list[str] = []

    def submit_many(emulator: Standalone) -> None:
        ids.extend(emulator.submit(f"prompt {number}")["id"] for number in range(100))

    with standalone("--state", path, "--speed", "300", file_limit_bytes=6000) as emulator:
        with pytest.raises(HTTPError) as refused:
            submit_many(emulator)
        refused.value.close()
        # What is left has not room for one task more, and for the ends of four of these.
        assert len(ids) > 5
        for task_id in ids:
            while emulator.query(task_id)["status"] != "completed":
                pass


def test_kill_9_loses_neither_tasks_nor_counters(tmp_path: Path) -> None:
    path = str(tmp_path / "state.jsonl")
    ids: list[str] = []
    for run in range(3):
        with standalone("--state", path, "--seed", "7") as emulator:
            for task_id in ids:
                assert emulator.query(task_id)["status"] == "processing"
            ids += [emulator.submit(f"prompt {run} {number}")["id"] for number in range(5)]
            emulator.kill()
    kept = (tmp_path / "state.jsonl").read_text("utf-8").splitlines()
    counters = json.loads(kept[1])
    assert (counters["submits"], counters["queries"]) == (15, 15)
    assert [record["accepted"] for record in map(json.loads, kept) if "accepted" in record] == ids
