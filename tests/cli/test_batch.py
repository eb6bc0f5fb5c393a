"""The command ``batch`` as its users run it: what is sent, saved, told and written down."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import av
import pytest

from tests.cli.batch_files import prompts, results
from tests.cli.command import Start, environment, of, run_command
from tests.raw_server import (
    closed_port,
)
from videos_async.cli import main
from videos_async.emulator import Media, VideosEmulator

KEY = "sk-canary-0123456789"
LONG = "long " * 60
# Each task's last look comes at its deadline, long before the first regular poll 30 s away.
SOON = ("--timeout", "0.5")
FIELDS = ["key", "task_id", "end", "status", "elapsed", "error", "request", "task", "saved"]


@pytest.fixture
async def emulator() -> AsyncIterator[VideosEmulator]:
    async with VideosEmulator(speed=100_000, media=Media.SAMPLE) as emulator:
        yield emulator


# --- a whole run ---------------------------------------------------------------------------


async def test_every_request_ends_once_and_each_video_is_saved_whole(
    emulator: VideosEmulator, tmp_path: Path
) -> None:
    requests = [
        {"prompt": "plain", "key": "fox", "duration": 4, "ratio": "9:16"},
        {"prompt": "another case", "key": "Fox"},
        {"prompt": "no key"},
        {"prompt": "up", "key": "../../up"},
        {"prompt": "unicode", "key": "猫"},
        {"prompt": "long", "key": LONG},
        {"prompt": "never [refuse]", "key": "refused"},
        {"prompt": "later [fail]", "key": "failed"},
    ]
    name = prompts(tmp_path, *map(json.dumps, requests), name="prompts.jsonl")

    ended = await run_command(
        *("batch", name, "-o", "a/out", "--json", "--duration", "6", *SOON),
        env=of(emulator),
        cwd=tmp_path,
    )

    assert ended.code == 1, ended.err
    lines = {line["key"]: line for line in results(tmp_path / "a/out/results.jsonl")}
    assert {key: line["end"] for key, line in lines.items()} == {
        **dict.fromkeys(["fox", "Fox", "0003", "../../up", "猫", LONG], "completed"),
        **dict.fromkeys(["refused", "failed"], "failed"),
    }
    assert {line["task_id"] for line in lines.values()} == set(emulator.tasks)
    assert emulator.ledger.billed == len(requests)
    assert [line["request"]["duration"] for line in lines.values()].count(6) == 7
    assert all(list(line) == FIELDS for line in lines.values())
    assert "signature" not in json.dumps(list(lines.values()))
    assert lines["failed"]["error"]["type"] == "GenerationFailed"
    videos = {tmp_path / line["saved"]["path"] for line in lines.values() if line["saved"]}
    assert {tmp_path / "a/out/fox.mp4", tmp_path / "a/out/0003.mp4"} < videos
    others = {tmp_path / "a/out/results.jsonl", tmp_path / "a/out/journal.sqlite"}
    assert videos | others == set((tmp_path / "a/out").iterdir())
    for line in lines.values():
        if line["saved"]:
            content = (tmp_path / line["saved"]["path"]).read_bytes()
            assert len(content) == line["saved"]["size_bytes"]
            assert sha256(content).hexdigest() == line["saved"]["sha256"]

    told = Counter((one["key"], one["end"]) for one in ended.objects if one["end"] is not None)
    assert told == Counter((line["key"], line["end"]) for line in lines.values())
    begun = [one for one in ended.objects if one["end"] is None]
    assert {(one["previous"], one["status"]) for one in begun} == {(None, "queued")}
    hint, summary = ended.err.splitlines()
    assert hint == (
        "videos-async: 2 requests ended without a video. To submit anew what is worth it: "
        "videos-async journal rearm a/out/journal.sqlite --state failed - and then the same "
        "command again"
    )
    assert summary == (
        f"videos-async: 8 of 8 requests in {summary.partition(' in ')[2][:4]}: 6 completed, "
        "2 failed; 8 may be billed; videos in a/out; results in a/out/results.jsonl"
    )


async def test_emulator_needs_no_key_and_leaves_playable_files(tmp_path: Path) -> None:
    name = prompts(tmp_path, "key,prompt", "one,A kitten", "two,A puppy", name="prompts.csv")

    ended = await run_command(
        *("batch", name, "-o", "out", "--emulator"),
        env=environment(),
        cwd=tmp_path,
        start=Start.FRESH,
    )

    assert ended.code == 0, ended.err
    for key in ("one", "two"):
        assert f"  {key}  video_" in ended.out
        assert f"completed, saved out/{key}.mp4 (" in ended.out
        with av.open(str(tmp_path / f"out/{key}.mp4")) as video:
            assert video.duration == pytest.approx(5 * av.time_base, rel=0.05)
    assert ended.out.count("\n") == 2
    assert "nothing is billed by the emulator" in ended.err


async def test_prompts_on_standard_input_are_sent_and_nothing_is_downloaded_unasked(
    emulator: VideosEmulator, tmp_path: Path
) -> None:
    ended = await run_command(
        *("batch", "-", *SOON), env=of(emulator), cwd=tmp_path, stdin=b"eins\r\n\r\nzwei"
    )

    assert ended.code == 0, ended.err
    assert [entry.prompt for entry in emulator.ledger.entries] == ["eins", "zwei"]
    assert sorted(line.split("  ")[-3:][0] for line in ended.out.splitlines()) == ["0001", "0003"]
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - names are all that is wanted


# --- nothing is sent -----------------------------------------------------------------------


async def test_all_bad_lines_are_told_before_anything_is_sent(
    emulator: VideosEmulator, tmp_path: Path
) -> None:
    lines = ['{"prompt": "good"}', "{", '{"prompt": "good"}', '{"prompt": "x", "duration": 20}']
    name = prompts(tmp_path, *lines, name="prompts.jsonl")

    ended = await run_command("batch", name, "-o", "out", env=of(emulator), cwd=tmp_path)

    assert (ended.code, ended.out) == (2, "")
    first, second, last = ended.err.splitlines()
    assert first.startswith("prompts.jsonl:2: is not JSON: ")
    assert second == (
        "prompts.jsonl:4: duration must be between 4 and 15 seconds for model 'videos', "
        "got 20 (int)"
    )
    assert last == "videos-async: nothing was sent: 2 lines are to be corrected first"
    assert emulator.requests.submits == 0
    assert not (tmp_path / "out").exists()


async def test_dry_run_needs_no_key_and_leaves_no_trace(tmp_path: Path) -> None:
    name = prompts(tmp_path, "one", "two")
    arguments = ("batch", name, "-o", "out", "--duration", "4", "--dry-run")

    told = await run_command(*arguments, env=environment(), cwd=tmp_path)
    as_json = await run_command(*arguments, "--json", env=environment(), cwd=tmp_path)

    assert (told.code, told.err) == (0, "")
    assert told.out == "2 requests are valid (2 videos; 8 s of video in all); nothing was sent\n"
    assert as_json.objects == [{"valid": 2, "seconds": 8, "models": {"videos": 2}}]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["missing.txt"], "missing.txt cannot be read: No such file or directory"),
        (["."], ". cannot be read: Is a directory"),
        (["prompts.txt", "-o", "there"], "there/0002.mp4 is there already, choose another"),
        (["prompts.txt", "-o", "dirs", "--replace"], "dirs/0001.MP4 is there already"),
        (["prompts.txt", "-o", "prompts.txt"], "saved in prompts.txt: Not a directory"),
        (["prompts.txt", "-o", "prompts.txt/x"], "saved in prompts.txt/x: Not a directory"),
        (["prompts.txt", "--results", "old.jsonl"], "old.jsonl is there already and holds what"),
        (["prompts.txt", "--results", "no/r"], "no/r cannot be written: No such file or dir"),
        (["prompts.txt", "--ratio", "3:2"], "prompts.txt:1: ratio must be"),
        (["prompts.txt", "--concurrency", "0"], "must be 1 or more, got 0"),
        (["prompts.txt", "--max-submissions", "1.5"], "must be a whole number, got '1.5'"),
        (["prompts.txt", "--submit-rate", "0"], "a number of calls a second, 0.001 or more, got 0"),
        (["prompts.txt", "--grace", "nan"], "a number of seconds, 0 or more, got nan"),
        (["prompts.txt", "--emulator", "--base-url", "http://127.0.0.1:1"], "exclude each other"),
        (["prompts.txt", "--emulator", "--journal", "j"], "--emulator and --journal exclude each"),
        (["prompts.txt", "--journal", "prompts.txt"], "prompts.txt is no journal, or one whose"),
        (["prompts.txt", "--journal", "no/j"], "has no directory to be in (No such file or"),
    ],
)
def test_bad_input_is_exit_code_2_and_nothing_is_sent(
    tmp_path: Path,
    arguments: list[str],
    complaint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    prompts(tmp_path, "one", "two")
    (tmp_path / "there").mkdir()
    (tmp_path / "there/0002.mp4").touch()
    (tmp_path / "dirs/0001.MP4").mkdir(parents=True)
    (tmp_path / "old.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VIDEOS_API_KEY", KEY)
    with closed_port() as closed:
        # What is sent comes to exit code 4 here.
        monkeypatch.setenv("VIDEOS_BASE_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        code = main(["batch", *arguments])

    told = capsys.readouterr()
    assert (code, told.out) == (2, "")
    assert complaint in told.err


async def test_replacing_takes_videos_but_adds_to_the_results_of_an_earlier_run(
    emulator: VideosEmulator, tmp_path: Path
) -> None:
    name = prompts(tmp_path, "one")
    out = tmp_path / "out"
    out.mkdir()
    (out / "0001.mp4").write_bytes(b"old")
    (out / "results.jsonl").write_text('{"key": "of old"}\n{"half a li')
    arguments = ("batch", name, "-o", "out", "--replace", *SOON)

    ended = await run_command(*arguments, env=of(emulator), cwd=tmp_path)

    assert ended.code == 0, ended.err
    first, half, last = (out / "results.jsonl").read_text().splitlines()
    assert (first, half) == ('{"key": "of old"}', '{"half a li')
    assert json.loads(last)["saved"]["size_bytes"] == (out / "0001.mp4").stat().st_size > 3
