from __future__ import annotations

import os
import signal
from pathlib import Path

import anyio
import av
import pytest

from tests.cli.command import Start, environment, of, run_command, running, unread_pipe
from tests.raw_server import RawServer, answer, close_after_body, closed_port, hang_after_body
from videos_async.emulator import ManualClock, Media, VideosEmulator

KEY = "sk-canary-0123456789"
# The deadline's last look comes long before the first regular poll.
SOON = ("--timeout", "0.5")


def size_and_length(video: Path) -> tuple[int, int, float]:
    with av.open(str(video)) as opened:
        stream = opened.streams.video[0]
        assert opened.duration is not None
        return stream.width, stream.height, opened.duration / av.time_base


async def test_emulator_needs_no_key_and_leaves_a_playable_file(tmp_path: Path) -> None:
    ended = await run_command(
        *("generate", "A kitten", "--emulator", "-o", "kitten.mp4"),
        env=environment(),
        cwd=tmp_path,
        start=Start.FRESH,
    )

    assert (ended.code, ended.out.count("\x1b")) == (0, 0)
    steps = [line.split("  ")[-1] for line in ended.out.splitlines()]
    assert steps[:3] == ["queued", "queued -> processing", "processing -> completed"]
    assert steps[3].startswith("saved kitten.mp4 (")
    assert "5.0625 s of video" in steps[3]
    assert ended.err.splitlines() == [
        "This is the emulator: nothing is sent anywhere, nothing is billed."
    ]
    width, height, length_s = size_and_length(tmp_path / "kitten.mp4")
    assert width / height == pytest.approx(16 / 9, rel=0.01)
    assert length_s == pytest.approx(5, abs=0.2)


async def test_json_is_one_object_a_transition_and_the_last_says_what_was_saved(
    tmp_path: Path,
) -> None:
    ended = await run_command(
        *("generate", "A kitten", "--emulator", "--json", "--ratio", "9:16", "--duration", "4"),
        env=environment(),
        cwd=tmp_path,
    )

    assert ended.code == 0
    keys = ["key", "task_id", "previous", "status", "elapsed", "error", "task", "saved"]
    assert [list(one) for one in ended.objects] == [keys] * 3
    moves = [(one["previous"], one["status"]) for one in ended.objects]
    assert moves == [(None, "queued"), ("queued", "processing"), ("processing", "completed")]
    *earlier, last = ended.objects
    assert [one["saved"] for one in earlier] == [None, None]
    assert last["task"]["actualDuration"] == 4.0625
    assert last["saved"]["path"] == f"{last['task_id']}.mp4"
    video = tmp_path / last["saved"]["path"]
    assert last["saved"]["size_bytes"] == video.stat().st_size
    width, height, _ = size_and_length(video)
    assert width / height == pytest.approx(9 / 16, rel=0.01)


async def test_service_is_paid_once_and_the_file_is_named_after_the_task(tmp_path: Path) -> None:
    async with VideosEmulator(speed=100_000, media=Media.SAMPLE) as emulator:
        ended = await run_command("generate", "A kitten", *SOON, env=of(emulator), cwd=tmp_path)
        assert ended.code == 0, ended.err
        assert emulator.ledger.billed == 1
        assert os.listdir(tmp_path) == [f"{next(iter(emulator.tasks))}.mp4"]  # noqa: PTH208 - names


async def test_failed_generation_is_exit_code_1() -> None:
    ended = await run_command("generate", "A [refuse] kitten", "--emulator", env=environment())

    assert ended.code == 1
    assert ended.out.splitlines()[-1].endswith(
        "queued -> failed: content policy violation: the prompt was refused"
    )
    assert "Change the prompt or the media" in ended.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--duration", "99", "--ratio", "3:2"], "ratio must be"),
        (["--duration", "5.7"], "--duration: must be a whole number of seconds, got '5.7'"),
        (["--timeout", "nan"], "must be a number of seconds above 0, got nan"),
        (["--extra", "style=noir"], """as in style='"text"'"""),
        (["--no-such-option"], "--no-such-option"),
        (["-o", "missing/kitten.mp4"], "its directory does not exist"),
        (["-o", "there.mp4"], "choose another name or add --replace"),
        (["-o", f"{'k' * 252}.mp4"], "File name too long"),
        (["--base-url", "ftp://127.0.0.1"], "must be an absolute http or https URL"),
    ],
)
async def test_bad_input_is_exit_code_2_and_costs_nothing(
    tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    (tmp_path / "there.mp4").touch()
    async with VideosEmulator() as emulator:
        ended = await run_command("generate", "x", *arguments, env=of(emulator), cwd=tmp_path)

        assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
        assert complaint in ended.err
        assert emulator.requests.submits == 0


async def test_missing_key_is_one_sentence_with_both_ways_on() -> None:
    ended = await run_command("generate", "x", env=environment())

    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "VIDEOS_API_KEY" in ended.err
    assert "--emulator" in ended.err


async def test_wrong_key_is_exit_code_2() -> None:
    async with VideosEmulator(api_keys="another-key") as emulator:
        env = {**of(emulator), "VIDEOS_API_KEY": KEY}
        ended = await run_command("generate", "x", env=env)

    assert (ended.code, ended.out) == (2, "")
    assert "HTTP 401" in ended.err
    assert KEY not in ended.err


async def test_key_echoed_by_the_service_stays_off_the_screen() -> None:
    async with RawServer(answer(400, {"message": f"the key {KEY} may not do this"})) as server:
        env = environment(VIDEOS_API_KEY=KEY, VIDEOS_BASE_URL=server.url)
        ended = await run_command("generate", "x", "--json", env=env)

    assert ended.code == 2
    assert "the key [api key] may not do this" in ended.err
    assert KEY not in ended.out + ended.err


async def test_uncertain_submission_is_exit_code_3_and_not_sent_again() -> None:
    async with RawServer(close_after_body) as server:
        env = environment(VIDEOS_API_KEY=KEY, VIDEOS_BASE_URL=server.url)
        ended = await run_command("generate", "x", env=env)

        assert (ended.code, ended.out) == (3, "")
        assert "may have been accepted and billed" in ended.err
        assert server.posts == 1


async def test_refused_connection_is_exit_code_4() -> None:
    with closed_port() as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        env = environment(VIDEOS_API_KEY=KEY, VIDEOS_BASE_URL=url)
        # Some seconds pass between its tries.
        ended = await run_command("generate", "x", env=env, speed=20)

    assert (ended.code, ended.out) == (4, "")
    assert "Nothing is billed" in ended.err


async def test_deadline_is_exit_code_4_and_says_how_to_go_on() -> None:
    async with VideosEmulator(clock=ManualClock()) as emulator:
        ended = await run_command("generate", "x", "--timeout", "0.2", "--json", env=of(emulator))
        task_id = next(iter(emulator.tasks))

    assert ended.code == 4
    assert ended.objects[-1]["error"]["type"] == "WaitTimeout"
    assert ended.err.endswith(f": videos-async watch {task_id}\n")


@pytest.mark.parametrize("presses", [1, 3])
async def test_ctrl_c_while_waiting_is_exit_code_130_and_says_how_to_go_on(presses: int) -> None:
    async with (
        VideosEmulator(clock=ManualClock()) as emulator,
        running("generate", "x", env=of(emulator)) as command,
    ):
        await command.line()
        for _ in range(presses):
            command.process.send_signal(signal.SIGINT)
        ended = await command.end()
        task_id = next(iter(emulator.tasks))

    assert ended.code == 130
    assert ended.err == (
        "videos-async: interrupted: the task goes on at the service, "
        f"take up again with: videos-async watch {task_id}\n"
    )


async def test_ctrl_c_during_the_paid_call_is_an_uncertain_submission() -> None:
    async with RawServer(hang_after_body) as server:
        env = environment(VIDEOS_API_KEY=KEY, VIDEOS_BASE_URL=server.url)
        async with running("generate", "x", env=env) as command:
            await server.until(lambda: server.posts == 1)
            command.process.send_signal(signal.SIGINT)
            ended = await command.end()

    assert ended.code == 3
    assert "may have been accepted and billed" in ended.err


async def test_video_is_saved_although_nobody_reads_the_output_any_more(tmp_path: Path) -> None:
    async with VideosEmulator(speed=100_000, media=Media.SAMPLE) as emulator:
        with unread_pipe() as out:
            ended = await run_command(
                *("generate", "x", "-o", "x.mp4", *SOON), env=of(emulator), cwd=tmp_path, out=out
            )

    assert (ended.code, ended.err) == (0, "")
    assert await anyio.Path(tmp_path, "x.mp4").exists()
