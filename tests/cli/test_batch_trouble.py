"""The command ``batch`` where not all goes well: limits, refusals, doubts, lost files."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.batch_files import AsRead, prompts, results
from tests.cli.command import environment, of, run_command
from tests.raw_server import Line, RawServer, Script, answer, close_after_body, head, raw
from videos_async.emulator import Media, VideosEmulator

KEY = "sk-canary-0123456789"


@pytest.fixture
async def emulator() -> AsyncIterator[VideosEmulator]:
    async with VideosEmulator(speed=100_000, media=Media.SAMPLE) as emulator:
        yield emulator


async def test_no_more_is_sent_than_may_be_billed(emulator: VideosEmulator, tmp_path: Path) -> None:
    name = prompts(tmp_path, *"abcdef")

    ended = await run_command(
        *(
            "batch",
            name,
            "-o",
            "out",
            "--max-submissions",
            "2",
            "--concurrency",
            "3",
            "--timeout",
            "0.5",
        ),
        env=of(emulator),
        cwd=tmp_path,
    )

    assert ended.code == 4
    assert emulator.ledger.billed == 2
    ends = Counter(line["end"] for line in results(tmp_path / "out/results.jsonl"))
    assert ends == {"completed": 2, "not submitted": 4}
    assert "2 completed, 4 not submitted; 2 may be billed;" in ended.err


async def test_deadline_leaves_the_ids_with_the_way_to_go_on(tmp_path: Path) -> None:
    async with VideosEmulator(media=Media.SAMPLE) as emulator:
        arguments = ("batch", prompts(tmp_path, "a", "b"), "--timeout", "0.1")
        ended = await run_command(*arguments, env=of(emulator), cwd=tmp_path)
        ids = list(emulator.tasks)

    assert ended.code == 4
    assert "2 tasks go on at the service, take up again with: videos-async watch " in ended.err
    assert all(task_id in ended.err for task_id in ids)


def by_prompt(**scripts: Script) -> Script:
    """Serve each create call by its prompt; any query tells that its task is completed."""

    async def script(line: Line) -> None:
        asked = (await line.peek_headers()).decode()
        if asked.startswith("GET /files/"):
            await scripts["file"](line)
        elif asked.startswith("GET"):
            task_id = asked.split(" ")[1].rpartition("/")[2]
            host = next(one for one in asked.split("\r\n") if one.lower().startswith("host:"))
            url = f"http://{host[5:].strip()}/files/{task_id}"
            completed = {"id": task_id, "status": "completed", "video_url": url}
            await answer(200, completed)(line)
        else:
            request = await line.read_request()
            await scripts[json.loads(request.body)["prompt"]](AsRead(line))

    return script


ACCEPTED = answer(200, {"id": "video_1", "status": "queued"})
VIDEO = raw(head(200, ("Content-Type", "video/mp4"), ("Content-Length", "5")) + b"video")
NO = answer(422, {"message": "no such style"})


async def against(
    script: Script, tmp_path: Path, *arguments: str, lines: tuple[str, ...]
) -> tuple[int, str, list[dict[str, Any]], RawServer]:
    async with RawServer(script) as server:
        env = environment(VIDEOS_API_KEY=KEY, VIDEOS_BASE_URL=server.url)
        name = prompts(tmp_path, *lines)
        ended = await run_command("batch", name, "-o", "out", *arguments, env=env, cwd=tmp_path)
        return ended.code, ended.err, results(tmp_path / "out/results.jsonl"), server


async def test_doubt_is_named_counted_and_worse_than_all_else(tmp_path: Path) -> None:
    script = by_prompt(good=ACCEPTED, bad=NO, lost=close_after_body, file=VIDEO)
    code, err, lines, server = await against(
        script, tmp_path, "--timeout", "0.5", lines=("good", "bad", "lost")
    )

    assert code == 3
    assert server.posts == 3
    ends = {line["key"]: line["end"] for line in lines}
    assert ends == {"0001": "completed", "0002": "refused", "0003": "uncertain"}
    assert "1 submission may have been accepted, and brought no id: 0003. Look them up" in err
    assert "; 2 may be billed (1 of them uncertain); " in err
    assert (tmp_path / "out/0001.mp4").read_bytes() == b"video"


async def test_refused_request_is_exit_code_1(tmp_path: Path) -> None:
    script = by_prompt(good=ACCEPTED, bad=NO, file=VIDEO)
    code, _, lines, _ = await against(script, tmp_path, "--timeout", "0.5", lines=("good", "bad"))

    assert code == 1
    refused = next(line for line in lines if line["end"] == "refused")
    assert refused["error"]["type"] == "SubmissionRefused"
    assert "no such style" in refused["error"]["message"]


async def test_wrong_key_stops_the_batch_and_is_exit_code_2(tmp_path: Path) -> None:
    script = answer(401, {"message": f"wrong key {KEY}"})
    code, err, lines, server = await against(
        script, tmp_path, "--concurrency", "1", lines=("a", "b", "c")
    )

    assert code == 2
    assert server.posts == 1
    assert [line["end"] for line in lines] == ["refused", "not submitted", "not submitted"]
    assert "; 0 may be billed; " in err
    assert KEY not in err + json.dumps(lines)


async def test_video_that_cannot_be_fetched_is_an_end_of_its_own_kind(tmp_path: Path) -> None:
    script = by_prompt(good=ACCEPTED, file=answer(451))
    code, err, [line], _ = await against(script, tmp_path, "--timeout", "0.5", lines=("good",))

    assert code == 4
    assert (line["end"], line["status"], line["saved"]) == ("not saved", "completed", None)
    assert line["error"]["type"] == "DownloadError"
    assert "1 video can still be had, within about a day" in err
    assert ": the same command again goes on from here\n" in err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full disk to write to")  # noqa: PTH110
async def test_results_that_cannot_be_written_stop_the_batch_and_the_ids_are_told(
    emulator: VideosEmulator, tmp_path: Path
) -> None:
    name = prompts(tmp_path, *(f"{n}" for n in range(20)))
    arguments = ("--results", "/dev/full", "--replace", "--concurrency", "1", "--timeout", "0.3")

    ended = await run_command(
        *("batch", name, "--submit-rate", "10", *arguments), env=of(emulator), cwd=tmp_path
    )

    assert ended.code == 4
    assert 0 < emulator.ledger.billed < 20
    assert "the results could not be written: No space left on device" in ended.err
    assert "results in" not in ended.err
    told = ended.out + ended.err
    assert all(entry.task_id in told for entry in emulator.ledger.entries)
