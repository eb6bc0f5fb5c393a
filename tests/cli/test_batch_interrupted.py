"""Ctrl-C in a batch: every id that was paid for is brought home, told and written down."""

from __future__ import annotations

import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from tests.cli.batch_files import AsRead, prompts, results
from tests.cli.command import Running, environment, of, running
from tests.cli.test_terminal import on_terminal
from tests.raw_server import Line, RawServer, answer, hang_after_body
from videos_async.emulator import ManualClock, Media, VideosEmulator

_ANSI = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|\([A-Z0-9])")


@pytest.fixture
async def emulator() -> AsyncIterator[VideosEmulator]:
    async with VideosEmulator(clock=ManualClock(), media=Media.SAMPLE) as emulator:
        yield emulator


def numbered(tmp_path: Path, count: int) -> str:
    return prompts(tmp_path, *(f"prompt {n}" for n in range(count)))


async def note_of(command: Running) -> str:
    """Wait until the command says that it has heard."""
    return (await command.err.receive_until(b"\n", 1 << 16)).decode()


@pytest.mark.parametrize(("count", "how"), [(3, signal.SIGINT), (30, signal.SIGTERM)])
async def test_ctrl_c_loses_no_id_and_says_how_to_take_them_up(
    emulator: VideosEmulator, tmp_path: Path, count: int, how: signal.Signals
) -> None:
    (tmp_path / "out").mkdir()
    results_file = ("--results", "out/results.jsonl")
    arguments = ("batch", numbered(tmp_path, count), *results_file, "--json")
    async with running(*arguments, env=of(emulator), cwd=tmp_path) as command:
        for _ in range(count):
            await command.line()
        command.process.send_signal(how)
        ended = await command.end()

    assert ended.code == 130
    lines = results(tmp_path / "out/results.jsonl")
    assert {line["end"] for line in lines} == {"left"}
    ids = [line["task_id"] for line in lines]
    assert sorted(ids) == sorted(emulator.tasks)
    assert [one["end"] for one in ended.objects] == ["left"] * count
    hint, summary = ended.err.splitlines()
    go_on = f"videos-async: {count} tasks go on at the service, take up again with: "
    if count == 3:
        assert hint == f"{go_on}videos-async watch {' '.join(ids)}"
    else:
        chosen = '.end == "left" or .end == "timed out" or .end == "lost sight of"'
        query = f"jq -r 'select({chosen}).task_id' out/results.jsonl"
        assert hint == f"{go_on}videos-async watch $({query})"
    assert summary.startswith(f"videos-async: interrupted: {count} of {count} requests in 0:0")
    assert f": {count} left; {count} may be billed; " in summary


async def test_ctrl_c_stops_new_submissions_and_tells_all_ids_without_a_results_file(
    emulator: VideosEmulator, tmp_path: Path
) -> None:
    arguments = ("batch", numbered(tmp_path, 500), "--json", "--submit-rate", "50")
    async with running(*arguments, env=of(emulator), cwd=tmp_path) as command:
        for _ in range(30):
            await command.line()
        command.process.send_signal(signal.SIGINT)
        ended = await command.end()

    assert ended.code == 130
    assert 30 <= emulator.ledger.billed < 100
    assert all(task_id in ended.err for task_id in emulator.tasks)
    assert " were never begun; " in ended.err


async def test_call_under_way_gets_its_time_to_bring_the_id_home(tmp_path: Path) -> None:
    release = anyio.Event()

    async def late(line: Line) -> None:
        await line.read_request()
        await release.wait()
        await answer(200, {"id": "video_late", "status": "queued"})(AsRead(line))

    async with RawServer(late) as server:
        env = environment(VIDEOS_API_KEY="a-key", VIDEOS_BASE_URL=server.url)
        arguments = ("batch", numbered(tmp_path, 3), "-o", "out", "--concurrency", "1")
        async with running(*arguments, env=env, cwd=tmp_path) as command:
            await server.until(lambda: server.posts == 1)
            command.process.send_signal(signal.SIGINT)
            note = await note_of(command)
            release.set()
            ended = await command.end()

    assert note == (
        "videos-async: stopping: 1 submission under way may take 10 s to bring its id home; "
        "Ctrl-C again stops at once"
    )
    assert ended.code == 130
    assert server.posts == 1
    [line] = results(tmp_path / "out/results.jsonl")
    assert (line["key"], line["task_id"], line["end"]) == ("0001", "video_late", "left")
    assert ended.err.splitlines()[0] == (
        "videos-async: 1 task goes on at the service, 2 requests were not submitted: "
        "the same command again goes on from here"
    )


@pytest.mark.parametrize("presses", [2, 3])
async def test_second_ctrl_c_stops_at_once_and_names_what_is_uncertain(
    tmp_path: Path, presses: int
) -> None:
    async with RawServer(hang_after_body) as server:
        env = environment(VIDEOS_API_KEY="a-key", VIDEOS_BASE_URL=server.url)
        # Far longer than this test may take: only the second Ctrl-C can end it.
        arguments = ("batch", numbered(tmp_path, 9), "-o", "out", "--grace", "600")
        async with running(*arguments, "--concurrency", "2", env=env, cwd=tmp_path) as command:
            await server.until(lambda: server.posts == 2)
            command.process.send_signal(signal.SIGINT)
            await note_of(command)
            for _ in range(presses - 1):
                command.process.send_signal(signal.SIGINT)
            ended = await command.end()

    assert ended.code == 130
    assert server.posts == 2
    lines = results(tmp_path / "out/results.jsonl")
    assert {line["key"]: line["end"] for line in lines} == {
        "0001": "uncertain",
        "0002": "uncertain",
    }
    doubts, onwards, summary = ended.err.splitlines()
    assert "2 submissions may have been accepted, and brought no id: " in doubts
    assert re.search(
        r"attach the id you found: videos-async journal adopt out/journal\.sqlite (0001|0002) "
        r"TASK_ID - or submit once more what is not there: videos-async journal rearm "
        r"out/journal\.sqlite (0001 0002|0002 0001) - or close it: videos-async journal abandon ",
        doubts,
    )
    assert onwards == (
        "videos-async: 7 requests were not submitted: the same command again goes on from here"
    )
    assert "2 uncertain; 7 were never begun; 2 may be billed (2 of them uncertain)" in summary


async def test_download_that_was_cut_off_leaves_no_part_and_its_id_in_the_results(
    tmp_path: Path,
) -> None:
    async def service(line: Line) -> None:
        asked = (await line.peek_headers()).decode()
        if asked.startswith("GET /files/"):
            await hang_after_body(line)
        elif asked.startswith("GET"):
            url = f"{server.url}/files/v"
            await answer(200, {"id": "v", "status": "completed", "video_url": url})(line)
        else:
            await answer(200, {"id": "v", "status": "queued"})(line)

    async with RawServer(service) as server:
        env = environment(VIDEOS_API_KEY="a-key", VIDEOS_BASE_URL=server.url)
        arguments = ("batch", numbered(tmp_path, 1), "-o", "out", "--timeout", "0.5")
        async with running(*arguments, env=env, cwd=tmp_path) as command:
            await server.until(lambda: any("/files/" in one.target for one in server.requests))
            command.process.send_signal(signal.SIGINT)
            ended = await command.end()

    assert ended.code == 130
    [line] = results(tmp_path / "out/results.jsonl")
    assert (line["task_id"], line["end"]) == ("v", "not saved")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "journal.sqlite",
        "results.jsonl",
    }
    assert (
        "1 video can still be had, within about a day: the same command again goes on from here"
    ) in ended.err


async def test_job_in_the_background_of_a_script_stays_deaf_to_ctrl_c(tmp_path: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    async with VideosEmulator(speed=100_000, media=Media.SAMPLE) as emulator:
        arguments = ("batch", numbered(tmp_path, 1), "--json", "--timeout", "0.5")
        async with running(*arguments, env=of(emulator), cwd=tmp_path) as command:
            await command.line()
            command.process.send_signal(signal.SIGINT)
            ended = await command.end()

    assert (ended.code, ended.objects[-1]["end"]) == (0, "completed")


# --- on a terminal -------------------------------------------------------------------------


def test_live_display_counts_by_state_and_shows_pace_and_failures(tmp_path: Path) -> None:
    arguments = ("batch", prompts(tmp_path, "a", "b [refuse]", "c"), "-o", "out", "--emulator")
    code, screen = on_terminal(*arguments, env=environment(), cwd=tmp_path)

    assert code == 1
    assert screen.rindex("\x1b[?25h") > screen.rindex("\x1b[?25l")
    text = _ANSI.sub("", screen)
    assert re.search(r"1 of 3 ended  0:0\d · \d+ ends a minute, about \d:\d\d left", text)
    assert re.search(r"\d (queued|processing) · 1 failed", text)
    assert "0002  failed: content policy violation: the prompt was refused" in text
    assert "3 of 3 ended" in text
    assert "2 completed · 1 failed" in text
    assert "results in out/results.jsonl" in text


async def test_ctrl_c_on_the_terminal_keeps_the_last_picture_and_says_how_to_go_on(
    emulator: VideosEmulator, tmp_path: Path
) -> None:
    arguments = ("batch", numbered(tmp_path, 5), "-o", "out")
    env = of(emulator)
    code, screen = await anyio.to_thread.run_sync(
        lambda: on_terminal(*arguments, env=env, cwd=tmp_path, keys="\x03", after="5 queued")
    )

    assert code == 130
    assert screen.rindex("\x1b[?25h") > screen.rindex("\x1b[?25l")
    text = _ANSI.sub("", screen)
    assert "0 of 5 ended" in text
    assert "5 left" in text
    assert "5 tasks go on at the service: the same command again goes on from here" in text
