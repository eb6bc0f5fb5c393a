"""SIGKILL at any instant: no file or the whole file, and the next run takes up what is there."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.file_server import ETAG, file_session, finished, mp4, part_head, url_of
from tests.raw_server import Line, RawServer, head

VIDEO = mp4(3_000_000)
PIECE_BYTES = 1 << 16
PIECE_S = 0.004
KILLS = 20

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")


async def slow(line: Line) -> None:
    """Serve the file within a fifth of a second, ranges included."""
    request = await line.read_request()
    asked = request.headers.get("range", "")
    start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
    tag = ("ETag", ETAG)
    length = ("Content-Length", str(len(VIDEO)))
    await line.send(part_head(VIDEO, start, tag) if start else head(200, length, tag))
    for offset in range(start, len(VIDEO), PIECE_BYTES):
        await line.send(VIDEO[offset : offset + PIECE_BYTES])
        await asyncio.sleep(PIECE_S)


# Loads the library once; then each line on its input makes a fork that downloads.
NURSERY = """
import asyncio, os, sys
from videos_async import Status, VideosSession, VideoTask

async def download(url, target):
    async with VideosSession("key", base_url="http://127.0.0.1:9") as session:
        task = VideoTask(id="video_1", status=Status.COMPLETED, video_url=url)
        await session.download(task, target)

VideosSession("key")  # whatever is loaded late is loaded now
for line in sys.stdin:
    url, target = line.split()
    child = os.fork()
    if not child:
        asyncio.run(download(url, target))
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


@asynccontextmanager
async def nursery() -> AsyncGenerator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", NURSERY, stdin=PIPE, stdout=PIPE
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


async def read_number(process: Process) -> int:
    assert process.stdout is not None
    return int(await process.stdout.readline())


async def run_and_kill(process: Process, url: str, target: Path, after_s: float) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{url} {target}\n".encode())
    child = await read_number(process)
    ended = asyncio.create_task(read_number(process))
    await asyncio.wait([ended], timeout=after_s)
    if not ended.done():
        # It may end just now.
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    status = await ended
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0


async def test_a_kill_leaves_no_file_or_the_whole_and_the_next_run_goes_on(tmp_path: Path) -> None:
    dice = random.Random(5)
    target = tmp_path / "0.mp4"
    was_continued = False
    async with RawServer(slow) as server, nursery() as process:
        for kill in range(KILLS):
            await run_and_kill(process, url_of(server), target, dice.uniform(0, 0.3))
            if target.exists():
                assert target.read_bytes() == VIDEO
                target = tmp_path / f"{kill + 1}.mp4"
            else:
                part = target.with_name(f"{target.name}.part")
                kept = part.read_bytes() if part.exists() else b""
                assert VIDEO.startswith(kept)
        was_continued = any("range" in one.headers for one in server.requests)
        async with file_session() as session:
            if not target.exists():
                await session.download(finished(server), target)
    assert target.read_bytes() == VIDEO
    assert was_continued
    assert not target.with_name(f"{target.name}.part").exists()


# --- at each step on the disk --------------------------------------------------------------

# Kills itself at the n-th thing that is done to the file system, as the audit hooks of Python
# tell it, for each n until one gets through; then looks at what is left and runs once more.
STEPS = """
import json, os, signal, sys
from pathlib import Path
from videos_async._download import OnExisting
from videos_async._part import Part
from videos_async._ranges import Source

DIRECTORY, POLICY = Path(sys.argv[1]), OnExisting(sys.argv[2])
TARGET = DIRECTORY / "a.mp4"
BODY = bytes(range(256)) * 40
SOURCE = Source(validator='"1"', length_bytes=len(BODY))
STEPPING = {"open", "os.truncate", "os.remove", "os.rename", "os.link", "fcntl.flock"}
left = None

def watch(event, args):
    global left
    if left is not None and event in STEPPING:
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(watch)

def run():
    part = Part(TARGET, task_id="video_1", on_existing=POLICY)
    part.open()
    while not part.hash_some():
        pass
    if not part.contents.size_bytes:
        part.begin(SOURCE)
        part.write([BODY[:5000]])
    taken_up = part.contents.size_bytes
    part.write([BODY[part.contents.size_bytes:]])
    part.finish()
    part.close()
    return taken_up

def look():
    return {path.name: path.read_bytes() == BODY for path in sorted(DIRECTORY.iterdir())}

for step in range(100):
    for path in DIRECTORY.iterdir():
        path.unlink()
    if POLICY is OnExisting.REPLACE:
        TARGET.write_bytes(b"old")
    child = os.fork()
    if not child:
        left = step
        run()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    found = look()
    old = TARGET.exists() and TARGET.read_bytes() == b"old"
    try:
        run()
        again = None
    except FileExistsError:
        again = "exists"
    print(json.dumps({"step": step, "killed": os.WIFSIGNALED(status), "found": found,
                      "old": old, "again": again, "left": look()}))
    if not os.WIFSIGNALED(status):
        break
"""


@pytest.mark.parametrize("on_existing", ["refuse", "replace"])
def test_a_kill_before_any_step_on_the_disk_is_made_up_for(
    tmp_path: Path, on_existing: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STEPS, str(tmp_path), on_existing],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    told: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(told) > 8
    assert [one["killed"] for one in told] == [True] * (len(told) - 1) + [False]
    for one in told:
        # Nothing under the final name but the whole file, or what was there before.
        assert one["found"].get("a.mp4", True) or one["old"], one
        # The next run either finds the file done, or does it; and nothing else is left.
        assert one["left"] == {"a.mp4": True}, one
        assert (one["again"] == "exists") == (on_existing == "refuse" and "a.mp4" in one["found"])
