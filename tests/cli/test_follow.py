from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.cli.command import Start, environment, of, run_command, running, unread_pipe
from tests.raw_server import RawServer, answer
from videos_async import VideoRequest, VideosSession
from videos_async.emulator import ManualClock, Media, VideosEmulator

ALL_ENDED_S = 36_000
HOSTILE = "\x1b]0;owned\x07\x1b[2J[bold red]tilt[/] \u202eesrever\u2066\n\x9b31m\x7f"
MADE_VISIBLE = r"\x1b]0;owned\x07\x1b[2J[bold red]tilt[/] \u202eesrever\u2066\n\x9b31m\x7f"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def emulator(clock: ManualClock) -> AsyncIterator[VideosEmulator]:
    async with VideosEmulator(clock=clock, media=Media.SAMPLE) as emulator:
        yield emulator


async def submitted(emulator: VideosEmulator, *prompts: str) -> list[str]:
    async with VideosSession(emulator.api_key, base_url=emulator.base_url) as session:
        requests = [VideoRequest(prompt=prompt, duration=5) for prompt in prompts]
        return [(await session.submit(request)).id for request in requests]


async def test_watch_shows_what_is_known_at_once_and_the_worst_end_counts(
    emulator: VideosEmulator, clock: ManualClock
) -> None:
    good, bad = await submitted(emulator, "good", "bad [fail]")
    clock.advance(ALL_ENDED_S)

    ended = await run_command("watch", good, bad, good, "--json", env=of(emulator))

    assert ended.code == 1
    ends = {one["task_id"]: one["status"] for one in ended.objects}
    assert ends == {good: "completed", bad: "failed"}
    assert len(ended.objects) == 2
    assert f"task {bad} failed: generation failed" in ended.err


async def test_watch_goes_on_when_one_id_is_unknown(
    emulator: VideosEmulator, clock: ManualClock
) -> None:
    [good] = await submitted(emulator, "good")
    clock.advance(ALL_ENDED_S)

    ended = await run_command("watch", "unheard-of", good, env=of(emulator))

    assert ended.code == 4
    lines = [line.split("  ")[-2:] for line in ended.out.splitlines()]
    assert lines == [["unheard-of", "unknown, given up (TaskNotFound)"], [good, "completed"]]


async def test_interrupted_watch_names_only_the_tasks_that_go_on(emulator: VideosEmulator) -> None:
    refused, one, two = await submitted(emulator, "[refuse]", "one", "two")
    base_url = emulator.base_url
    env = environment(VIDEOS_API_KEY=emulator.api_key)
    arguments = ("watch", one, refused, two, "--base-url", base_url)
    async with running(*arguments, env=env, start=Start.FRESH) as command:
        for _ in range(3):
            await command.line()
        command.process.send_signal(signal.SIGINT)
        ended = await command.end()

    assert ended.code == 130
    assert ended.err == (
        "videos-async: interrupted: the tasks go on at the service, take up again with: "
        f"videos-async watch --base-url {base_url} {one} {two}\n"
    )


async def test_watch_ends_quietly_when_its_reader_goes(emulator: VideosEmulator) -> None:
    [task_id] = await submitted(emulator, "x")
    with unread_pipe() as out:
        ended = await run_command("watch", task_id, env=of(emulator), out=out)

    assert (ended.code, ended.err) == (0, "")


async def test_query_tells_how_a_task_stands(emulator: VideosEmulator, clock: ManualClock) -> None:
    [task_id] = await submitted(emulator, "x")
    clock.advance(ALL_ENDED_S)

    ended = await run_command("query", task_id, env=of(emulator))

    assert (ended.code, ended.err) == (0, "")
    told = dict(line.split(": ", 1) for line in ended.out.splitlines())
    assert told["id"] == task_id
    assert told["status"] == "completed"
    assert told["created"] == "2026-03-30 02:12:04 UTC"
    assert "signature" not in ended.out


async def test_query_of_a_failed_task_is_exit_code_1(emulator: VideosEmulator) -> None:
    [task_id] = await submitted(emulator, "[refuse]")

    ended = await run_command("query", task_id, "--json", env=of(emulator))

    assert ended.code == 1
    [told] = ended.objects
    assert (told["status"], told["error"]["type"]) == ("failed", "GenerationFailed")


async def test_download_saves_the_video(
    emulator: VideosEmulator, clock: ManualClock, tmp_path: Path
) -> None:
    [task_id] = await submitted(emulator, "x")
    clock.advance(ALL_ENDED_S)
    (tmp_path / "there.mp4").touch()

    ended = await run_command(
        *("download", task_id, "-o", "there.mp4", "--replace", "--json"),
        env=of(emulator),
        cwd=tmp_path,
        start=Start.FRESH,
    )

    assert ended.code == 0, ended.err
    [told] = ended.objects
    assert told["saved"]["size_bytes"] == (tmp_path / "there.mp4").stat().st_size > 0


async def test_download_of_an_unfinished_task_says_to_watch_it(
    emulator: VideosEmulator, tmp_path: Path
) -> None:
    [task_id] = await submitted(emulator, "x")

    ended = await run_command("download", task_id, env=of(emulator), cwd=tmp_path)

    assert ended.code == 4
    assert ended.err.endswith(f"wait for it first: videos-async watch {task_id}\n")
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - names are all that is wanted


async def test_download_that_breaks_off_is_told_in_the_task_s_object(tmp_path: Path) -> None:
    async with (
        RawServer(answer(451, b"Not in your country")) as files,
        RawServer(
            answer(200, {"id": "v", "status": "completed", "video_url": f"{files.url}/v.mp4"})
        ) as server,
    ):
        env = environment(VIDEOS_API_KEY="a-key", VIDEOS_BASE_URL=server.url)
        ended = await run_command("download", "v", "--json", env=env, cwd=tmp_path)

    assert ended.code == 4
    [told] = ended.objects
    assert (told["status"], told["saved"]) == ("completed", None)
    assert told["error"]["type"] == "DownloadError"
    assert ended.err.endswith(": videos-async download v\n")


async def test_text_of_the_service_cannot_reach_the_terminal_as_it_is() -> None:
    failed = {"id": "v", "status": "failed", "model": HOSTILE, "error": HOSTILE}
    async with RawServer(answer(200, failed)) as server:
        env = environment(VIDEOS_API_KEY="a-key", VIDEOS_BASE_URL=server.url)
        ended = await run_command("query", "v", env=env)

    assert ended.code == 1
    assert f"model: {MADE_VISIBLE}" in ended.out
    assert MADE_VISIBLE in ended.err
    assert all(one.isprintable() or one == "\n" for one in ended.out + ended.err)


async def test_json_keeps_hostile_text_as_data_in_plain_ascii() -> None:
    async with RawServer(answer(200, {"id": "v", "status": HOSTILE})) as server:
        env = environment(VIDEOS_API_KEY="a-key", VIDEOS_BASE_URL=server.url)
        ended = await run_command("query", "v", "--json", env=env)

    assert ended.out.isascii()
    assert all(one.isprintable() for one in ended.out.removesuffix("\n"))
    [told] = ended.objects
    assert told["status"] == HOSTILE
