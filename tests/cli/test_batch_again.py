"""The command ``batch``, stopped and run again with the same line: it goes on where it was."""

from __future__ import annotations

import os
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import anyio
import pytest

from tests.cli.batch_files import AsRead, prompts, results
from tests.cli.command import Ended, environment, of, run_command, running
from tests.hostile import (
    fill_up,
    hostile,
    mounted,
    needs_mounts,
    needs_no_locks,
    needs_prlimit,
)
from tests.journal_faults import FAULTS, Fault
from tests.raw_server import Line, RawServer, answer, close_after_body
from videos_async import Journal, KeyState
from videos_async.emulator import ManualClock, Media, VideosEmulator

COUNT: Final = 6
# Each task's last look comes at its deadline, long before its first regular poll.
SOON: Final = ("--timeout", "0.5")


@pytest.fixture
async def quick() -> AsyncIterator[VideosEmulator]:
    async with VideosEmulator(speed=100_000, media=Media.SAMPLE) as emulator:
        yield emulator


def line(tmp_path: Path, *more: str, count: int = COUNT) -> tuple[str, ...]:
    name = prompts(tmp_path, *(f"prompt {n}" for n in range(1, count + 1)))
    return "batch", name, "-o", "out", *more


async def states(path: Path) -> Counter[KeyState]:
    async with Journal(path) as journal:
        return Counter(await journal.counts())


def billed_once(emulator: VideosEmulator, count: int = COUNT) -> bool:
    prompts_billed = Counter(entry.prompt for entry in emulator.ledger.entries)
    return prompts_billed == Counter(f"prompt {n}" for n in range(1, count + 1))


# --- the same line -------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_a_batch_that_was_stopped_goes_on_and_pays_for_nothing_twice(
    tmp_path: Path, how: signal.Signals
) -> None:
    clock = ManualClock()
    async with VideosEmulator(clock=clock, media=Media.SAMPLE) as emulator:
        arguments = line(tmp_path)
        async with running(*arguments, "--json", env=of(emulator), cwd=tmp_path) as command:
            for _ in range(COUNT):
                await command.line()
            command.process.send_signal(how)
            stopped = await command.end()
        assert stopped.code == (-9 if how is signal.SIGKILL else 130)

        clock.advance(3600.0)
        again = await run_command(*arguments, *SOON, env=of(emulator), cwd=tmp_path)

        assert again.code == 0, again.err
        assert again.err.splitlines()[0] == (
            "videos-async: going on with out/journal.sqlite: 0 done, 0 to be downloaded, "
            f"{COUNT} in progress, 0 planned, 0 uncertain"
        ).replace("0 to be downloaded, ", "")
        assert billed_once(emulator)
        assert emulator.requests.submits == COUNT
        assert len(list((tmp_path / "out").glob("*.mp4"))) == COUNT
        last = {one["key"]: one["end"] for one in results(tmp_path / "out/results.jsonl")}
        assert Counter(last.values()) == {"completed": COUNT}

        downloads = emulator.requests.downloads
        third = await run_command(*arguments, env=of(emulator), cwd=tmp_path)
        assert (third.code, third.out) == (0, "")
        assert third.err.splitlines()[0] == (
            f"videos-async: going on with out/journal.sqlite: {COUNT} done, 0 in progress, "
            "0 planned, 0 uncertain"
        )
        assert emulator.requests.downloads == downloads
        assert billed_once(emulator)


async def test_what_was_told_before_is_told_again_as_such_and_written_once(
    quick: VideosEmulator, tmp_path: Path
) -> None:
    arguments = line(tmp_path, "--json", *SOON)
    first = await run_command(*arguments, env=of(quick), cwd=tmp_path)
    before = (tmp_path / "out/results.jsonl").read_bytes()
    again = await run_command(*arguments, env=of(quick), cwd=tmp_path)

    assert (first.code, again.code) == (0, 0)
    assert {one["replayed"] for one in first.objects} == {False}
    assert [one["end"] for one in again.objects] == ["completed"] * COUNT
    assert {one["replayed"] for one in again.objects} == {True}
    assert all(one["saved"]["size_bytes"] for one in again.objects)
    assert (tmp_path / "out/results.jsonl").read_bytes() == before


async def test_results_that_were_not_written_in_time_are_written_by_the_next_run(
    quick: VideosEmulator, tmp_path: Path
) -> None:
    arguments = line(tmp_path, *SOON)
    await run_command(*arguments, env=of(quick), cwd=tmp_path)
    path = tmp_path / "out/results.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]) + lines[2][:20])

    await run_command(*arguments, env=of(quick), cwd=tmp_path)

    whole = [one for one in path.read_text().splitlines() if one.endswith("}")]
    assert len(whole) == COUNT


async def test_new_lines_of_the_input_are_added(quick: VideosEmulator, tmp_path: Path) -> None:
    await run_command(*line(tmp_path, *SOON, count=2), env=of(quick), cwd=tmp_path)
    again = await run_command(*line(tmp_path, *SOON), env=of(quick), cwd=tmp_path)
    assert again.code == 0, again.err
    assert again.err.startswith(
        "videos-async: going on with out/journal.sqlite: 2 done, 0 in progress, 4 planned, "
        "0 uncertain\n"
    )
    assert billed_once(quick)


async def test_what_was_left_unsent_is_sent_by_the_next_run(
    quick: VideosEmulator, tmp_path: Path
) -> None:
    arguments = line(tmp_path, *SOON, "--max-submissions", "3")
    for run in range(2):
        ended = await run_command(*arguments, env=of(quick), cwd=tmp_path)
        left = max(0, COUNT - 3 * (run + 1))
        assert ended.code == (4 if left else 0)
        is_told = f"{left} requests were not submitted: the same command again" in ended.err
        assert is_told == bool(left)
    assert billed_once(quick)


async def test_a_key_that_means_another_prompt_now_is_refused_before_anything_is_sent(
    quick: VideosEmulator, tmp_path: Path
) -> None:
    await run_command(*line(tmp_path, *SOON), env=of(quick), cwd=tmp_path)
    name = prompts(tmp_path, "prompt 1", "another", "prompt 3", "new")
    submits = quick.requests.submits

    ended = await run_command("batch", name, "-o", "out", env=of(quick), cwd=tmp_path)

    assert ended.code == 2
    assert (
        "holds another request under the key '0002': prompt is 'prompt 2' there and 'another' now"
    ) in ended.err
    assert quick.requests.submits == submits


async def test_what_is_planned_and_no_longer_asked_for_is_not_paid_for(
    quick: VideosEmulator, tmp_path: Path
) -> None:
    await run_command(*line(tmp_path, "--max-submissions", "0"), env=of(quick), cwd=tmp_path)
    arguments = line(tmp_path, *SOON, count=4)

    ended = await run_command(*arguments, env=of(quick), cwd=tmp_path)

    assert ended.code == 2
    assert ended.err == (
        "videos-async: nothing was sent: the journal out/journal.sqlite has planned keys that are "
        "not in prompts.txt: 0005, 0006. Give the same prompts again, or close them with: "
        "videos-async journal abandon out/journal.sqlite 0005 0006\n"
    )
    assert quick.requests.total == 0
    closed = ended.err.rpartition(": videos-async ")[2].split()
    assert (await run_command(*closed, env=environment(), cwd=tmp_path)).code == 0
    again = await run_command(*arguments, env=of(quick), cwd=tmp_path)
    assert again.code == 1, again.err
    assert "4 completed, 2 abandoned; 4 may be billed" in again.err
    assert billed_once(quick, 4)


async def test_doubt_is_held_and_told_with_the_commands_that_resolve_it(tmp_path: Path) -> None:
    name = prompts(tmp_path, "prompt 1")
    async with RawServer(close_after_body) as server:
        env = environment(VIDEOS_API_KEY="a-key", VIDEOS_BASE_URL=server.url)
        await run_command("batch", name, "-o", "out", env=env, cwd=tmp_path)
        again = await run_command("batch", name, "-o", "out", env=env, cwd=tmp_path)
        assert server.posts == 1

    assert again.code == 3
    first, hint, summary = again.err.splitlines()
    going_on = "videos-async: going on with out/journal.sqlite: "
    assert first == f"{going_on}0 done, 0 in progress, 0 planned, 1 uncertain"
    assert hint == (
        "videos-async: 1 submission may have been accepted, and brought no id: 0001. Look them up "
        "at the service, then attach the id you found: videos-async journal adopt "
        "out/journal.sqlite 0001 TASK_ID - or submit once more what is not there: videos-async "
        "journal rearm out/journal.sqlite 0001 - or close it: videos-async journal abandon "
        "out/journal.sqlite 0001"
    )
    assert "1 uncertain; 1 may be billed (1 of them uncertain)" in summary


async def test_the_emulator_of_the_command_leaves_no_journal(tmp_path: Path) -> None:
    # One that is refused has ended when it is first looked at.
    arguments = ("batch", prompts(tmp_path, "x [refuse]"), "-o", "out", "--emulator")
    ended = await run_command(*arguments, env=environment(), cwd=tmp_path)
    assert (ended.code, "1 failed" in ended.err) == (1, True), ended.err
    assert (tmp_path / "out/results.jsonl").exists()
    assert not (tmp_path / "out/journal.sqlite").exists()


async def test_without_a_directory_there_is_a_journal_only_where_one_is_named(
    quick: VideosEmulator, tmp_path: Path
) -> None:
    name = prompts(tmp_path, "prompt 1")
    for more in ((), ("--journal", "mine")):
        ended = await run_command("batch", name, *SOON, *more, env=of(quick), cwd=tmp_path)
        assert ended.code == 0, ended.err
        assert (tmp_path / "mine").exists() == bool(more)
    again = await run_command(
        *("batch", name, *SOON, "--journal", "mine"), env=of(quick), cwd=tmp_path
    )
    assert again.err.startswith("videos-async: going on with mine: 1 done, 0 in progress")
    assert quick.ledger.billed == 2


@pytest.mark.parametrize("left", ["journal.sqlite", "journal.sqlite.lock", "journal.sqlite.new"])
async def test_what_a_first_run_left_that_died_at_once_is_in_nobody_s_way(
    quick: VideosEmulator, tmp_path: Path, left: str
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / left).touch(0o600)
    ended = await run_command(*line(tmp_path, *SOON, count=1), env=of(quick), cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert "going on" not in ended.err
    assert quick.ledger.billed == 1


# --- refused -------------------------------------------------------------------------------


async def test_a_second_command_on_the_same_journal_is_refused_by_the_name_of_the_first(
    tmp_path: Path,
) -> None:
    async with VideosEmulator(clock=ManualClock(), media=Media.SAMPLE) as emulator:
        arguments = line(tmp_path)
        async with running(*arguments, "--json", env=of(emulator), cwd=tmp_path) as command:
            for _ in range(COUNT):
                await command.line()
            second = await run_command(*arguments, env=of(emulator), cwd=tmp_path)
            shown = await run_command(
                *("journal", "show", "out/journal.sqlite"), env=environment(), cwd=tmp_path
            )
            changed = await run_command(
                *("journal", "abandon", "out/journal.sqlite", "0001"),
                env=environment(),
                cwd=tmp_path,
            )
            host, pid = socket.gethostname(), command.process.pid
        assert emulator.requests.submits == COUNT

    for refused in (second, changed):
        assert (refused.code, refused.out) == (2, "")
        assert f"is driven by process {pid} on {host} now: wait for its end" in refused.err
    assert (shown.code, shown.out.count(" queued ")) == (0, COUNT)
    assert f"; driven now by process {pid} on {host}\n" in shown.err


SOME_FAULTS: Final = [
    fault
    for fault in FAULTS
    if fault.name
    in {
        "a symlink",
        "a bad page",
        "a log that was removed",
        "a newer version",
        "a database of somebody else",
        "a file that others can write",
    }
]


@pytest.mark.parametrize("fault", SOME_FAULTS, ids=lambda fault: fault.name)
async def test_a_journal_that_cannot_be_trusted_is_told_and_nothing_is_sent(
    quick: VideosEmulator, tmp_path: Path, fault: Fault
) -> None:
    (tmp_path / "out").mkdir()
    fault.make(tmp_path / "out/journal.sqlite")
    before = (tmp_path / "out/journal.sqlite").read_bytes()

    ended = await run_command(*line(tmp_path), env=of(quick), cwd=tmp_path)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("videos-async: journal ")
    assert quick.requests.total == 0
    assert (tmp_path / "out/journal.sqlite").read_bytes() == before


async def _child(command: list[str], emulator: VideosEmulator, cwd: Path) -> Ended:
    env = {**of(emulator), "PYTHONPATH": os.getcwd()}  # noqa: PTH109 - the root of the tests
    with anyio.fail_after(25):
        done = await anyio.run_process(command, check=False, env=env, cwd=cwd)
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


@needs_no_locks
async def test_a_disk_without_locks_is_told_and_nothing_is_sent(
    quick: VideosEmulator, tmp_path: Path
) -> None:
    command = hostile("no-locks", "videos_async.cli", *line(tmp_path))
    ended = await _child(command, quick, tmp_path)
    assert ended.code == 2
    assert "cannot be locked (No locks available), so two programs could pay" in ended.err
    assert quick.requests.total == 0


@needs_mounts
async def test_a_directory_that_cannot_be_written_is_told_and_nothing_is_sent(
    quick: VideosEmulator, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    script = 'mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"'
    command = hostile("file-limit=1000000", "videos_async.cli", *line(tmp_path))
    ended = await _child(mounted(tmp_path / "out", script, command), quick, tmp_path)
    assert ended.code == 2
    assert "Read-only file system" in ended.err
    assert quick.requests.total == 0


# --- a disk that fills up ------------------------------------------------------------------


async def test_an_intent_that_finds_no_room_is_not_sent_and_the_rest_goes_on_later(
    quick: VideosEmulator, tmp_path: Path
) -> None:
    arguments = line(tmp_path, *SOON, count=300)
    # The plan of it fits, and so do the first of what follows.
    command = hostile("file-limit=400000", "videos_async.cli", *arguments, "--results", "/dev/null")
    ended = await _child([*command, "--replace"], quick, tmp_path)

    assert ended.code == 4, ended.err
    billed = quick.ledger.billed
    assert 0 < billed < 300
    assert "so nothing more is sent: see to its disk, then go on with it" in ended.err
    told = ended.err
    known = await states(tmp_path / "out/journal.sqlite")
    assert known.total() == 300

    again = await run_command(*arguments, env=of(quick), cwd=tmp_path)
    assert quick.ledger.billed <= 300, told
    assert Counter(entry.prompt for entry in quick.ledger.entries).most_common(1)[0][1] == 1
    assert again.err.startswith("videos-async: going on with out/journal.sqlite: ")


@needs_prlimit
async def test_an_id_that_cannot_be_written_to_the_last_is_printed(tmp_path: Path) -> None:
    """The disk fills up while the service answers, and nobody makes room."""
    is_full = anyio.Event()

    async def late(line: Line) -> None:
        await line.read_request()
        await is_full.wait()
        await answer(200, {"id": "video_paid", "status": "queued"})(AsRead(line))

    name = prompts(tmp_path, '{"key": "fox", "prompt": "A fox"}', name="p.jsonl")
    arguments = ("batch", name, "--journal", "mine", "--timeout", "0.2")
    async with RawServer(late) as server:
        env = environment(VIDEOS_API_KEY="a-key", VIDEOS_BASE_URL=server.url)
        async with running(*arguments, env=env, cwd=tmp_path) as command:
            await server.until(lambda: server.posts == 1)
            fill_up(command.process.pid, tmp_path / "mine")
            is_full.set()
            ended = await command.end()

    assert ended.code == 4
    assert ended.err.splitlines()[-2:] == [
        "videos-async: these ids are paid for and stand nowhere else, by key:",
        "videos-async: fox: video_paid",
    ]
    # What the journal knows of it is true, and keeps it from being sent again.
    again = await run_command(*arguments, env=env, cwd=tmp_path)
    assert again.code == 3
    assert again.err.splitlines()[0].endswith("0 in progress, 0 planned, 1 uncertain")
