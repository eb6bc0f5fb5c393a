"""The journal's file: made whole, refused when it is not, migrated or left, full or not."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.hostile import hostile, mounted, needs_mounts
from tests.journal_faults import FAULTS, READ_FAULTS, Fault
from tests.journals import (
    NOTED,
    accepted,
    driven,
    holder,
    intended,
    killed_journal,
    planned,
    snapshot,
)
from tests.service import request
from videos_async import (
    JournalCorrupt,
    JournalError,
    JournalLocked,
    JournalWriteFailed,
    Key,
    KeyConflict,
    KeyState,
    KeyStateError,
    SubmissionUncertain,
    VideoRequest,
)
from videos_async._database import Database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.sqlite"


def keys(database: Database) -> list[object]:
    return [entry.key for entry in database.entries()]


def reading(path: Path, **options: Any) -> closing[Database]:
    return closing(Database.read(path, **options))


# --- made ----------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o277, 0o777])
def test_every_file_of_a_journal_is_private_whatever_the_umask(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with driven(path, accepted("a")):
            modes = {each.name: each.stat().st_mode & 0o7777 for each in path.parent.iterdir()}
    finally:
        os.umask(before)
    names = ("run.sqlite", "run.sqlite-shm", "run.sqlite-wal", "run.sqlite.lock")
    assert modes == dict.fromkeys(names, 0o600)


def test_a_journal_that_ended_well_is_one_file(path: Path) -> None:
    with driven(path, accepted("a")):
        pass
    assert [each.name for each in path.parent.iterdir()] == ["run.sqlite"]
    with driven(path, may_create=False) as database:
        assert keys(database) == ["a"]


def test_an_empty_file_becomes_a_journal_where_one_may_be_made(path: Path) -> None:
    path.touch(0o600)
    with driven(path, accepted("a")) as database:
        assert keys(database) == ["a"]


@pytest.mark.parametrize("is_there", [True, False])
def test_where_none_may_be_made_none_is(path: Path, is_there: bool) -> None:  # noqa: FBT001
    if is_there:
        path.touch(0o600)
    text = "is empty, no batch was written to it" if is_there else "does not exist"
    with pytest.raises(JournalError, match=text):
        Database.drive(path, may_create=False, now=0)
    with pytest.raises(JournalError, match=text):
        Database.read(path)
    assert snapshot(path) == ({"run.sqlite": b""} if is_there else {})


def test_what_is_left_of_a_making_that_was_killed_is_in_nobody_s_way(path: Path) -> None:
    for suffix in (".new", ".new-wal", ".new-shm", ".new-journal"):
        path.with_name(path.name + suffix).write_bytes(b"half of it")
    with driven(path, accepted("a")) as database:
        assert keys(database) == ["a"]
    assert [each.name for each in path.parent.iterdir()] == ["run.sqlite"]


def test_making_one_follows_no_link(path: Path) -> None:
    victim = path.with_name("victim")
    victim.write_bytes(b"not yours")
    path.with_name("run.sqlite.new").symlink_to(victim)
    with driven(path, accepted("a")):
        pass
    assert victim.read_bytes() == b"not yours"


def test_two_journals_are_two_batches(tmp_path: Path) -> None:
    with driven(tmp_path / "a") as one, driven(tmp_path / "b") as other:
        assert one.bearings()[0] != other.bearings()[0]


# --- refused -------------------------------------------------------------------------------


def every(faults: tuple[Fault, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("fault", faults, ids=lambda fault: fault.name)


@every(FAULTS)
def test_what_cannot_be_trusted_is_refused_and_left_as_it_is(path: Path, fault: Fault) -> None:
    fault.make(path)
    before = snapshot(path) if path.is_file() else {}

    with pytest.raises(fault.kind, match=fault.text) as caught:
        Database.drive(path, may_create=True, now=0)

    assert type(caught.value) is fault.kind
    assert caught.value.path == f"{path}{fault.suffix}"
    if path.is_file():
        after = snapshot(path)
        # Of the lock, the holder is another; the witness in it is what counts.
        locks = [found.pop("run.sqlite.lock", b"")[:20] for found in (before, after)]
        assert locks[0] == locks[1]
        assert after == before


@every(READ_FAULTS)
def test_what_cannot_be_trusted_is_not_shown_either(path: Path, fault: Fault) -> None:
    fault.make(path)
    before = snapshot(path) if path.is_file() else {}
    with pytest.raises(fault.kind, match=fault.text):
        Database.read(path)
    assert not path.is_file() or snapshot(path) == before


@every(tuple(fault for fault in FAULTS if not fault.is_read))
def test_what_others_could_have_written_can_be_looked_at(path: Path, fault: Fault) -> None:
    fault.make(path)
    with reading(path) as database:
        assert len(keys(database)) == 300


def test_a_log_that_is_brought_back_makes_the_journal_whole(path: Path) -> None:
    killed_journal(path, count=20)
    log = path.with_name("run.sqlite-wal")
    whole = log.read_bytes()
    for cut in (len(whole) - 4120, len(whole) - 9, 32, 0):
        os.truncate(log, cut)
        with pytest.raises(JournalCorrupt, match="has lost"):
            Database.drive(path, may_create=True, now=0)
        log.write_bytes(whole)
    with driven(path) as database:
        assert keys(database) == list(range(20))


def test_a_row_that_is_none_of_ours_is_told_when_it_is_met(path: Path) -> None:
    with driven(path, accepted("a")):
        pass
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE entries SET state = 'lost'")
        connection.commit()
    with (
        reading(path) as database,
        pytest.raises(JournalCorrupt, match="holds a row that this library did not write"),
    ):
        database.find("a")


def test_what_breaks_while_it_is_read_is_an_error_of_the_journal(path: Path) -> None:
    with driven(path, accepted("a")):
        pass
    with reading(path) as database:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("DROP TABLE entries")
        with pytest.raises(JournalError, match="no such table: entries"):
            database.counts()
        with pytest.raises(JournalError, match="no such table: entries"):
            database.find("a")


# --- after a death -------------------------------------------------------------------------


def test_what_was_committed_is_there_after_the_process_was_killed(path: Path) -> None:
    killed_journal(path, count=5)
    with driven(path, may_create=False) as database:
        assert keys(database) == list(range(5))
        assert database.bearings()[1] == 5


def test_an_intent_whose_driver_died_is_in_doubt(path: Path) -> None:
    with driven(path, intended("a"), accepted("b"), planned("c")):
        pass
    with driven(path, now=77.0) as database:
        entry = database.find("a")
        assert entry is not None
        assert (entry.state, entry.changed_at) == (KeyState.UNCERTAIN, 77.0)
        assert isinstance(entry.error, SubmissionUncertain)
        assert "the process that sent it ended before its answer was written down" in str(
            entry.error
        )
        assert database.counts() == {
            KeyState.PLANNED: 1,
            KeyState.QUEUED: 1,
            KeyState.UNCERTAIN: 1,
        }


def test_a_journal_can_be_read_while_it_is_driven(path: Path) -> None:
    with holder(path, count=4):
        with reading(path) as database:
            assert database.counts() == {KeyState.QUEUED: 4}
        with pytest.raises(JournalLocked):
            Database.drive(path, may_create=True, now=0)


def test_a_reader_keeps_no_driver_from_ending_well(path: Path) -> None:
    with driven(path, accepted("a")):
        reader = Database.read(path)
    with closing(reader):
        assert keys(reader) == ["a"]
        assert not path.with_name("run.sqlite.lock").exists()
    with driven(path, may_create=False) as database:
        assert keys(database) == ["a"]


# --- older versions ------------------------------------------------------------------------

BROKEN = attrs.evolve(NOTED, migrations={**NOTED.migrations, 2: ("DROP TABLE no_such",)})


def old_journal(path: Path) -> bytes:
    with driven(path, accepted("a"), accepted("b")):
        pass
    return path.read_bytes()


def test_an_older_journal_is_brought_up_to_date_beside_a_private_backup(path: Path) -> None:
    old_journal(path)
    with driven(path, schema=NOTED) as database:
        assert keys(database) == ["a", "b"]
        assert database.facts()["migrated"] is True

    backup = path.with_name("run.sqlite.v1.bak")
    assert sorted(each.name for each in path.parent.iterdir()) == ["run.sqlite", backup.name]
    assert backup.stat().st_mode & 0o7777 == 0o600
    with reading(backup) as database:
        assert keys(database) == ["a", "b"]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT note FROM entries").fetchall() == [
            ('old "a"',),
            ('old "b"',),
        ]
    with driven(path, schema=NOTED):
        pass
    assert len(list(path.parent.glob("*.bak*"))) == 1


def test_a_backup_that_is_there_is_never_overwritten(path: Path) -> None:
    old_journal(path)
    for name in ("run.sqlite.v1.bak", "run.sqlite.v1.bak2"):
        path.with_name(name).write_bytes(b"kept")
    with driven(path, schema=NOTED):
        pass
    assert path.with_name("run.sqlite.v1.bak").read_bytes() == b"kept"
    assert path.with_name("run.sqlite.v1.bak2").read_bytes() == b"kept"
    with reading(path.with_name("run.sqlite.v1.bak3")) as database:
        assert keys(database) == ["a", "b"]


def test_an_older_journal_is_not_migrated_by_looking_at_it(path: Path) -> None:
    before = old_journal(path)
    with pytest.raises(JournalError, match="is of version 1: resume it once, which brings it to 3"):
        Database.read(path, schema=NOTED)
    assert path.read_bytes() == before


def test_a_migration_that_fails_leaves_the_old_journal(path: Path) -> None:
    old_journal(path)
    with pytest.raises(
        JournalError, match=r"could not be brought from version 1 to 3 .* and is as it was"
    ):
        Database.drive(path, may_create=True, now=0, schema=BROKEN)
    with driven(path, may_create=False) as database:
        assert keys(database) == ["a", "b"]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        columns = [row[1] for row in connection.execute("PRAGMA table_info(entries)")]
    assert "note" not in columns


KILLED_IN_A_MIGRATION = """
import os, signal, sys
from pathlib import Path
from tests.journals import NOTED
from videos_async import _journal_file
from videos_async._database import Database

connect = _journal_file._connect

def connect_and_die(path, how):
    connection = connect(path, how)
    def step(statement):
        if statement.startswith(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
    connection.set_trace_callback(step)
    return connection

_journal_file._connect = connect_and_die
Database.drive(Path(sys.argv[1]), may_create=True, now=0, schema=NOTED)
"""


@pytest.mark.parametrize(
    "at", ["VACUUM INTO", "BEGIN", "UPDATE", "PRAGMA user_version = 3", "COMMIT"]
)
def test_a_crash_in_a_migration_leaves_the_old_journal_and_the_next_goes_on(
    path: Path, at: str
) -> None:
    old_journal(path)
    done = subprocess.run([sys.executable, "-c", KILLED_IN_A_MIGRATION, str(path), at], check=False)
    assert done.returncode == -9

    with reading(path) as database:
        assert keys(database) == ["a", "b"]
    with driven(path, schema=NOTED) as database:
        assert keys(database) == ["a", "b"]
        assert database.facts()["migrated"] is True
    for backup in path.parent.glob("*.bak*"):
        with reading(backup) as database:
            assert keys(database) == ["a", "b"]


# --- planning ------------------------------------------------------------------------------


def _under_a(one: VideoRequest) -> dict[Key, VideoRequest]:
    return {"a": one}


def plan(database: Database, **prompts: str) -> None:
    requests: Any = {key: request(prompt=prompt) for key, prompt in prompts.items()}
    database.plan(requests, now=5.0, facts={"is_input_complete": True})


def test_an_input_is_planned_whole_and_once(path: Path) -> None:
    with driven(path, accepted("a")) as database:
        plan(database, a="prompt of a", b="rain")
        plan(database, a="prompt of a", b="rain", c="snow")
        assert keys(database) == ["a", "b", "c"]
        assert database.counts() == {KeyState.PLANNED: 2, KeyState.QUEUED: 1}
        assert database.facts()["is_input_complete"] is True


def test_another_request_under_a_known_key_is_refused_showing_both_and_plans_nothing(
    path: Path,
) -> None:
    with driven(path, accepted("a")) as database:
        with pytest.raises(KeyConflict) as caught:
            plan(database, new="rain", a="Something else")
        assert keys(database) == ["a"]
        assert database.facts()["is_input_complete"] is False
    error = caught.value
    assert (error.key, error.recorded.prompt, error.given.prompt) == (
        "a",
        "prompt of a",
        "Something else",
    )
    assert str(error) == (
        f"journal {path} holds another request under the key 'a': prompt is 'prompt of a' there "
        "and 'Something else' now. Nothing was sent for the new one: give it a key of its own"
    )


def test_the_error_of_a_conflict_shows_no_signature(path: Path) -> None:
    signed = [f"https://a.example/{n}.png?sig=s3cr3t{n}" for n in (1, 2)]
    first, second = [_under_a(request(reference_images=(url,))) for url in signed]
    with driven(path) as database:
        database.plan(first, now=5.0, facts={})
        with pytest.raises(KeyConflict, match=r"1\.png.*2\.png") as caught:
            database.plan(second, now=5.0, facts={})
    assert "s3cr3t" not in str(caught.value)


def test_what_means_the_same_to_the_service_is_the_same_request(path: Path) -> None:
    with driven(path) as database:
        for field in ([1, 2], (1, 2)):
            requests: Any = {"a": request(extra={"field": field})}
            database.plan(requests, now=5.0, facts={})
        assert keys(database) == ["a"]


def test_a_task_has_one_key(path: Path) -> None:
    with driven(path, accepted("a", "video_1")) as database:
        with pytest.raises(KeyStateError) as caught:
            database.check_adoptable("video_1")
        database.check_adoptable("video_2")
    assert str(caught.value) == "key 'a' is queued and cannot give its task video_1 to another key"


# --- a disk that is full -------------------------------------------------------------------

FILLED = """
import sys
from contextlib import closing
from pathlib import Path
from tests.journals import accepted
from videos_async._database import Database
from videos_async.errors import JournalWriteFailed

path, ballast = Path(sys.argv[1]), Path(sys.argv[2])
with closing(Database.drive(path, may_create=True, now=0)) as database:
    written = 0
    try:
        while True:
            database.write([accepted(written)])
            written += 1
    except JournalWriteFailed as failure:
        print(failure)
    assert database.bearings()[1] == written > 0
    print(written)
    ballast.unlink()
    database.write([accepted(written)])
    assert len(database.entries()) == written + 1
"""


@needs_mounts
def test_a_full_disk_takes_nothing_away_and_room_is_used_again(path: Path, tmp_path: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()
    journal, ballast = room / "run.sqlite", room / "ballast"
    script = 'mount -t tmpfs -o size=900k tmpfs "$1"; head -c 500000 /dev/zero > "$1/ballast"'
    command = mounted(room, script, [sys.executable, "-c", FILLED, str(journal), str(ballast)])

    done = subprocess.run(command, check=False, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == (
        f"journal {journal} could not be written (database or disk is full), so nothing more is "
        "sent: make room on its disk, then go on with it"
    )


@pytest.mark.parametrize("limit_bytes", [10, 100, 5000, 20_000])
def test_a_journal_that_finds_no_room_is_not_made(path: Path, limit_bytes: int) -> None:
    command = hostile(f"file-limit={limit_bytes}", "tests.journals", str(path), "1")
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"videos_async.errors.JournalError: journal {path}"), last
    assert "nothing is sent without a journal" in last
    assert snapshot(path) == {}


@needs_mounts
def test_a_journal_in_a_directory_that_cannot_be_written_can_be_looked_at(
    path: Path, tmp_path: Path
) -> None:
    with driven(path, accepted("a")):
        pass
    script = 'mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"'
    look = (
        "import sys; from pathlib import Path; from videos_async._database import Database\n"
        "database = Database.read(Path(sys.argv[1]))\n"
        "print([entry.key for entry in database.entries()]); database.close()\n"
        "Database.drive(Path(sys.argv[1]), may_create=True, now=0)"
    )
    command = mounted(tmp_path, script, [sys.executable, "-c", look, str(path)])
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stdout == "['a']\n", done.stderr
    assert done.stderr.splitlines()[-1] == (
        f"videos_async.errors.JournalError: journal {path}.lock may not be opened (Read-only file "
        "system): nothing is sent without a journal"
    )


def test_a_write_that_fails_leaves_all_as_it_was(path: Path) -> None:
    with driven(path, accepted("a")) as database:
        before = database.bearings()
        connection = database._connection  # pyright: ignore[reportPrivateUsage]
        connection.execute("PRAGMA query_only = ON")
        with pytest.raises(JournalWriteFailed, match=r"readonly.*: see to its disk, then go on"):
            database.write([accepted("b")])
        connection.execute("PRAGMA query_only = OFF")
        assert (database.bearings(), keys(database)) == (before, ["a"])
        database.write([accepted("c")])
        assert database.bearings()[1] == before[1] + 1


def test_closing_twice_is_fine(path: Path) -> None:
    with driven(path, accepted("a")) as database:
        database.close()
    with suppress(JournalError):
        Database.read(path).close()
    assert [each.name for each in path.parent.glob("*.lock")] == []
