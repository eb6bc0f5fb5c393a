"""One driver per journal: taken, refused by name, freed by death, and never by accident."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.hostile import hostile, needs_no_locks
from tests.journals import holder, killed_journal, snapshot
from videos_async import JournalCorrupt, JournalError, JournalLocked
from videos_async._driver_lock import DriverLock, open_private


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "run.sqlite"


@pytest.fixture
def lock_file(journal: Path) -> Path:
    return journal.with_name("run.sqlite.lock")


# --- taken and given up --------------------------------------------------------------------


def test_a_lock_that_was_given_up_after_a_good_end_leaves_no_file(
    journal: Path, lock_file: Path
) -> None:
    lock = DriverLock(journal)
    assert lock.take() == 0
    assert lock_file.exists()
    lock.release(is_settled=True)
    assert not lock_file.exists()
    lock.release(is_settled=True)


def test_the_witness_is_told_to_the_next_driver_unless_the_end_was_good(
    journal: Path, lock_file: Path
) -> None:
    lock = DriverLock(journal)
    lock.take()
    lock.witness(41)
    lock.witness(42)
    lock.release(is_settled=False)

    after = DriverLock(journal)
    assert (after.witnessed, after.take()) == (42, 42)
    after.release(is_settled=True)
    assert DriverLock(journal).take() == 0


def test_a_witness_that_finds_no_room_is_no_accident(journal: Path) -> None:
    lock = DriverLock(journal)
    lock.take()
    descriptor = lock._descriptor  # pyright: ignore[reportPrivateUsage]
    assert descriptor is not None
    spare = os.open("/dev/full", os.O_RDWR)
    os.dup2(spare, descriptor)
    os.close(spare)
    lock.witness(7)
    lock.release(is_settled=True)


# --- held ----------------------------------------------------------------------------------


def test_a_second_driver_of_the_same_process_is_refused(journal: Path) -> None:
    first = DriverLock(journal)
    first.take()
    with pytest.raises(JournalLocked) as caught:
        DriverLock(journal).take()
    assert (caught.value.pid, caught.value.host) == (os.getpid(), socket.gethostname())
    first.release(is_settled=False)
    assert DriverLock(journal).take() == 0


def test_a_second_process_is_refused_with_the_pid_and_the_host_of_the_first(
    journal: Path,
) -> None:
    with holder(journal) as process:
        with pytest.raises(JournalLocked) as caught:
            DriverLock(journal).take()
        told = DriverLock(journal).held_by()

    assert (caught.value.pid, caught.value.host) == (process.pid, socket.gethostname())
    assert str(caught.value) == (
        f"journal {journal} is driven by process {process.pid} on {socket.gethostname()} now: "
        "wait for its end, or stop it first"
    )
    assert str(told) == str(caught.value)


def test_a_driver_that_was_killed_holds_nothing(journal: Path) -> None:
    killed_journal(journal, count=3)
    lock = DriverLock(journal)
    assert lock.held_by() is None
    assert lock.take() == 3
    lock.release(is_settled=False)


def test_a_driver_that_has_not_said_yet_who_it_is_is_a_driver(
    journal: Path, lock_file: Path
) -> None:
    lock_file.touch(0o600)
    with lock_file.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(JournalLocked, match="is driven by another batch now") as caught:
            DriverLock(journal).take()
    assert (caught.value.pid, caught.value.host) == (None, None)


def test_nobody_drives_what_has_no_lock_file(journal: Path) -> None:
    assert DriverLock(journal).held_by() is None
    assert DriverLock(journal).witnessed == 0


def test_whoever_only_asks_does_not_keep_a_driver_out(journal: Path, lock_file: Path) -> None:
    before = DriverLock(journal)
    before.take()
    before.witness(5)
    before.release(is_settled=False)
    with lock_file.open() as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        threading.Timer(0.015, fcntl.flock, (asking.fileno(), fcntl.LOCK_UN)).start()
        lock = DriverLock(journal)
        assert lock.take() == 5
    lock.release(is_settled=True)


def test_drivers_that_come_and_go_are_never_two_at_a_time(journal: Path) -> None:
    """Each takes its lock file away, while others have opened it and wait for its lock."""
    inside: list[int] = []
    most: list[int] = []

    def come_and_go(number: int) -> None:
        taken = 0
        while taken < 100:
            lock = DriverLock(journal)
            with suppress(JournalLocked):
                lock.take()
                taken += 1
                inside.append(number)
                time.sleep(0)
                most.append(len(inside))
                inside.remove(number)
                lock.release(is_settled=True)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(come_and_go, range(4)))

    assert (len(most), max(most)) == (400, 1)


COME_AND_GO = """
import os, sys
print(flush=True)
while True:
    try:
        os.close(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        pass
    try:
        os.unlink(sys.argv[1])
    except FileNotFoundError:
        pass
"""


def test_a_file_that_goes_while_it_is_opened_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    command = [sys.executable, "-S", "-c", COME_AND_GO, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            other.stdout.readline()
            for _ in range(20_000):
                descriptor, _ = open_private(path)
                os.close(descriptor)
        finally:
            other.kill()


# --- refused -------------------------------------------------------------------------------


def make_link(path: Path) -> None:
    path.symlink_to(path.with_name("elsewhere"))


def make_shared(path: Path) -> None:
    path.touch()
    path.chmod(0o620)


def make_foreign(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("gives a file to another user, which takes root")
    path.touch(0o600)
    os.chown(path, 65534, 65534)


REFUSED = [
    (make_link, "is a symbolic link, which could lead anywhere: name the file itself"),
    (make_shared, r"can be written by others \(mode 0620\): make it yours with chmod 600"),
    (make_foreign, r"belongs to another user \(uid 65534\): run as that user, or chown it"),
    (Path.mkdir, r"cannot be opened \(Is a directory\): nothing is sent without a journal"),
    (os.mkfifo, "is no regular file: name one, or one that does not exist yet"),
]


@pytest.mark.parametrize(("make", "text"), REFUSED)
def test_a_lock_file_that_is_not_ours_alone_is_refused(
    journal: Path, lock_file: Path, make: object, text: str
) -> None:
    assert callable(make)
    make(lock_file)
    with pytest.raises(JournalError, match=text) as caught:
        DriverLock(journal).take()
    assert caught.value.path == str(lock_file)
    assert not lock_file.with_name("elsewhere").exists()


@pytest.mark.parametrize(
    "told", [b"1", b"x" * 20, b"12345678901234567\n\n\n", b"-0000000000000000001"]
)
def test_a_lock_file_with_something_else_in_it_is_refused_and_left(
    journal: Path, lock_file: Path, told: bytes
) -> None:
    lock_file.write_bytes(told)
    lock_file.chmod(0o600)
    with pytest.raises(JournalCorrupt, match=re.escape(f"has a lock file {lock_file}")):
        DriverLock(journal).take()
    with pytest.raises(JournalCorrupt):
        _ = DriverLock(journal).witnessed
    assert lock_file.read_bytes() == told


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("missing/run.sqlite", r"has no directory to be in \(No such file or directory\): make it"),
        ("file/run.sqlite", r"has no directory to be in \(Not a directory\)"),
        ("nul\0.sqlite", r"can be no file \(.*embedded null .*\): give it another name"),
        ("x" * 300, r"cannot be opened \(File name too long\)"),
    ],
)
def test_a_place_that_can_hold_no_file_is_told_with_what_to_do(
    tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match=text):
        DriverLock(tmp_path / name).take()


@needs_no_locks
def test_a_file_system_without_locks_is_refused(journal: Path) -> None:
    done = subprocess.run(
        hostile("no-locks", "tests.journals", str(journal), "3"),
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"videos_async.errors.JournalError: journal {journal} cannot be locked (No locks "
        "available), so two programs could pay for the same request: put it on a file system "
        "with locks, a local disk say"
    )
    assert snapshot(journal) == {}


# --- private -------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o277, 0o777])
def test_a_file_is_made_for_its_owner_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        descriptor, is_made = open_private(tmp_path / "new")
    finally:
        os.umask(before)
    os.close(descriptor)
    assert is_made
    assert (tmp_path / "new").stat().st_mode & 0o7777 == 0o600


def test_a_file_that_is_there_is_opened_and_kept(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"kept")
    descriptor, is_made = open_private(tmp_path / "there")
    assert not is_made
    assert os.read(descriptor, 9) == b"kept"
    os.close(descriptor)
