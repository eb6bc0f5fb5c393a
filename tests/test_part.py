"""The ``.part`` on a real file system: locked, never led astray, never too much believed."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.file_server import ETAG, VIDEO, file_session, finished, mp4, serve, url_of
from tests.raw_server import Line, RawServer, Script, head, raw
from videos_async import DownloadError, OnExisting, TargetBusy
from videos_async._lock import lock_file
from videos_async._part import Part, PartBusy
from videos_async._ranges import Source

SOURCE = Source(validator='"1"', length_bytes=10)


def part_at(target: Path, *, task_id: str = "video_1", replaces: bool = False) -> Part:
    on_existing = OnExisting.REPLACE if replaces else OnExisting.REFUSE
    return Part(target, task_id=task_id, on_existing=on_existing)


def opened(target: Path, *, task_id: str = "video_1", replaces: bool = False) -> Part:
    part = part_at(target, task_id=task_id, replaces=replaces)
    part.open()
    while not part.hash_some():
        pass
    return part


def leave(target: Path, data: bytes, *, task_id: str = "video_1") -> None:
    """Leave a part behind, closed in order."""
    part = opened(target, task_id=task_id)
    part.begin(SOURCE)
    part.write([data])
    part.close()


def kept(target: Path, *, task_id: str = "video_1") -> int:
    """Tell how much of what is there is taken up."""
    part = opened(target, task_id=task_id)
    part.close()
    return part.contents.size_bytes


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "a.mp4"


# --- taken up ------------------------------------------------------------------------------


def test_what_was_left_is_taken_up(target: Path) -> None:
    leave(target, b"01234")
    part = opened(target)
    assert (part.contents.size_bytes, part.source) == (5, SOURCE)
    part.write([b"56", b"789"])
    part.finish()
    assert target.read_bytes() == b"0123456789"
    assert names(target.parent) == ["a.mp4"]


def test_a_part_without_a_byte_is_not_left(target: Path) -> None:
    opened(target).close()
    assert names(target.parent) == []
    part = opened(target)
    part.begin(SOURCE)
    part.close()
    assert names(target.parent) == []


def test_closing_twice_is_fine(target: Path) -> None:
    part = opened(target)
    part.close()
    part.close()


def test_nothing_is_written_to_a_part_that_was_closed(target: Path) -> None:
    part = opened(target)
    part.begin(SOURCE)
    part.write([b"01234"])
    part.close()
    # As a thread does whose download was cancelled while it waited for its turn.
    with pytest.raises(OSError, match="closed"):
        part.write([b"56789"])
    assert part.path.read_bytes() == b"01234"


def test_another_tasks_part_stays_until_something_better_comes(target: Path) -> None:
    leave(target, b"01234")
    assert kept(target, task_id="video_2") == 0
    assert kept(target) == 5


def note_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.part.json")


def reboot(target: Path) -> None:
    """Make the note tell of another boot of the machine."""
    first, *more = filter(None, note_of(target).read_text().splitlines())
    note = {**json.loads(first), "boot": "another"}
    note_of(target).write_text("\n".join([json.dumps(note), *more]))


def test_after_a_reboot_only_what_had_reached_the_disk_is_taken_up(target: Path) -> None:
    leave(target, b"01234")
    with target.with_name("a.mp4.part").open("ab") as file:
        file.write(b"\0\0\0")
    reboot(target)
    assert kept(target) == 5


def test_after_a_power_cut_in_the_first_run_nothing_is_taken_up(target: Path) -> None:
    leave(target, b"01234")
    note_of(target).write_text(note_of(target).read_text().splitlines()[0])
    reboot(target)
    assert kept(target) == 0


def test_within_one_boot_what_a_killed_process_wrote_is_taken_up(target: Path) -> None:
    leave(target, b"01234")
    note_of(target).write_text(note_of(target).read_text().splitlines()[0])
    assert kept(target) == 5


def test_a_line_of_the_note_that_was_cut_is_made_up_for_by_the_next(target: Path) -> None:
    leave(target, b"01234")
    note = note_of(target).read_text()
    note_of(target).write_text(note[:-20])
    assert kept(target) == 5
    reboot(target)
    assert kept(target) == 5


def test_a_part_shorter_than_its_note_says_is_not_taken_up(target: Path) -> None:
    leave(target, b"01234")
    os.truncate(target.with_name("a.mp4.part"), 4)
    assert kept(target) == 0


# --- alone ---------------------------------------------------------------------------------


def test_a_part_is_locked_against_another_one_in_this_process(target: Path) -> None:
    part = opened(target)
    with pytest.raises(PartBusy):
        part_at(target).open()
    part.close()
    opened(target).close()


def test_a_part_is_locked_against_another_process(target: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from videos_async._download import OnExisting;"
        "from videos_async._part import Part;"
        "part = Part(Path(sys.argv[1]), task_id='1', on_existing=OnExisting.REFUSE);"
        "part.open(); print('locked', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(PartBusy):
            part_at(target).open()
        other.kill()
    # The system frees what a dead process held.
    opened(target).close()


def test_a_part_that_lost_its_name_while_it_was_opened_is_opened_anew(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(target)
    first.begin(SOURCE)
    first.write([b"first"])

    def finish_first(descriptor: int) -> bool:
        """Let the other one finish, and one more begin, between the opening and the locking."""
        monkeypatch.undo()
        first.finish()
        first.path.touch()
        return lock_file(descriptor)

    monkeypatch.setattr("videos_async._part.lock_file", finish_first)
    second = opened(target, replaces=True)
    second.begin(SOURCE)
    second.write([b"second"])
    assert target.read_bytes() == b"first"
    second.finish()
    assert target.read_bytes() == b"second"


def test_a_part_that_is_a_target_as_well_is_left_to_the_target(target: Path) -> None:
    # As a kill between the two names of a finished file leaves it.
    target.write_bytes(b"whole")
    part_path = target.with_name("a.mp4.part")
    os.link(target, part_path)
    part = opened(target, replaces=True)
    part.begin(SOURCE)
    part.write([b"other"])
    assert target.read_bytes() == b"whole"
    part.finish()
    assert target.read_bytes() == b"other"


def test_a_name_that_was_taken_meanwhile_is_left_alone_and_the_part_kept(target: Path) -> None:
    part = opened(target)
    part.begin(SOURCE)
    part.write([b"0123456789"])
    target.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        part.finish()
    part.close()
    assert target.read_bytes() == b"mine"
    assert part.path.read_bytes() == b"0123456789"


# --- led astray ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.mp4.part", "a.mp4.part.json"])
def test_a_link_planted_beside_the_target_is_not_followed(target: Path, name: str) -> None:
    victim = target.with_name("victim")
    victim.write_bytes(b"mine")
    target.with_name(name).symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        opened(target).begin(SOURCE)
    assert victim.read_bytes() == b"mine"


def test_a_pipe_planted_beside_the_target_does_not_hold_things_up(target: Path) -> None:
    os.mkfifo(target.with_name("a.mp4.part"))
    with pytest.raises(OSError, match="is no file"):
        part_at(target).open()


def test_a_link_at_the_target_is_something_that_is_there(target: Path) -> None:
    target.symlink_to(target.with_name("nowhere"))
    with pytest.raises(FileExistsError):
        part_at(target).open()


# --- seen from a session -------------------------------------------------------------------


async def test_of_two_downloads_to_one_target_the_second_is_refused(target: Path) -> None:
    async def held(line: Line) -> None:
        await line.read_request()
        await line.send(head(200, ("Content-Length", str(len(VIDEO)))) + VIDEO[:5000])
        async with file_session() as other:
            with pytest.raises(TargetBusy, match="another download is writing it"):
                await other.download(finished(server), target)
        await line.send(VIDEO[5000:])

    async with RawServer(held) as server, file_session() as session:
        saved = await session.download(finished(server), target)
    assert saved.sha256 == hashlib.sha256(VIDEO).hexdigest()
    assert len(server.requests) == 1


async def test_a_name_too_long_for_its_part_is_refused_before_a_connection(tmp_path: Path) -> None:
    async with RawServer(serve()) as server, file_session() as session:
        with pytest.raises(DownloadError, match="File name too long"):
            await session.download(finished(server), tmp_path / ("a" * 250 + ".mp4"))
        assert server.accepted == 0


# --- a full disk ---------------------------------------------------------------------------

# In a mount namespace of its own, where it may mount a disk of a megabyte.
SMALL_DISK = """
import asyncio, json, sys
from pathlib import Path
from videos_async import DiskFull, Status, VideosSession, VideoTask

async def main(url, target):
    async with VideosSession("key", base_url="http://127.0.0.1:9") as session:
        task = VideoTask(id="video_1", status=Status.COMPLETED, video_url=url)
        try:
            await session.download(task, target)
        except DiskFull as error:
            part = Path(f"{target}.part")
            print(json.dumps({
                "text": str(error), "needed": error.needed_bytes, "free": error.free_bytes,
                "kept": part.stat().st_size if part.exists() else None,
                "target": Path(target).exists(),
            }))

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""
BIG = mp4(2_000_000)
IN_OWN_NAMESPACE = ("unshare", "--map-root-user", "--mount", "sh", "-c")
MOUNTED = 'mount -t tmpfs -o size=1m none "$1" && exec "$2" -c "$3" "$4" "$1/a.mp4"'


@pytest.fixture(scope="module")
def _mounts() -> None:
    try:
        subprocess.run([*IN_OWN_NAMESPACE, "mount -t tmpfs none /mnt"], check=True, timeout=10)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"no small disk can be mounted here: {error}")


async def download_to_a_small_disk(tmp_path: Path, script: Script) -> dict[str, Any]:
    async with RawServer(script) as server:
        process = await asyncio.create_subprocess_exec(
            *(*IN_OWN_NAMESPACE, MOUNTED, "sh", str(tmp_path)),
            *(sys.executable, SMALL_DISK, url_of(server)),
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
    told: dict[str, Any] = json.loads(out)
    return told


@pytest.mark.usefixtures("_mounts")
async def test_a_file_longer_than_the_disk_has_room_is_refused_unwritten(tmp_path: Path) -> None:
    told = await download_to_a_small_disk(tmp_path, serve(BIG))
    assert told["needed"] == len(BIG)
    assert 0 < told["free"] <= 1 << 20
    assert (told["kept"], told["target"]) == (None, False)
    assert f"{len(BIG)} bytes are still to be written" in told["text"]
    assert str(tmp_path / "a.mp4") in told["text"]


@pytest.mark.usefixtures("_mounts")
async def test_a_disk_that_gets_full_leaves_the_part_and_says_how_much_it_is(
    tmp_path: Path,
) -> None:
    chunk = b"%x\r\n" % len(BIG) + BIG + b"\r\n0\r\n\r\n"
    chunked = raw(head(200, ("Transfer-Encoding", "chunked"), ("ETag", ETAG)) + chunk)
    told = await download_to_a_small_disk(tmp_path, chunked)
    assert "No space left on device" in told["text"]
    assert 900_000 < told["kept"] <= 1 << 20
    assert f"{told['kept']} of unknown bytes are kept in" in told["text"]
    assert "the next call goes on from there" in told["text"]
    assert told["target"] is False
