"""Journals as the tests make, hold and damage them.

As a module, ``python -m tests.journals PATH COUNT``, it drives a journal, writes so many entries,
says so and waits until it is killed or its input ends.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from videos_async import JournalEntry, Key, KeyState, Status, VideoRequest, VideoTask
from videos_async._database import Database
from videos_async._journal_file import SCHEMA, Schema

__all__ = [
    "NOTED",
    "accepted",
    "driven",
    "holder",
    "intended",
    "killed_journal",
    "planned",
    "snapshot",
]

NOW = 1000.0

# Two versions ahead of what there is: what is there is the older one.
NOTED = Schema(
    version=3,
    statements=SCHEMA.statements,
    migrations={
        1: (
            "ALTER TABLE entries ADD COLUMN note TEXT",
            "UPDATE entries SET note = 'old ' || key",
        ),
        2: ("INSERT INTO facts VALUES ('migrated', 'true')",),
    },
)


def planned(key: Key, prompt: str | None = None, **facts: Any) -> JournalEntry:
    # Not by way of the service of the tests, which a child would load half a second for.
    told = VideoRequest(prompt=prompt or f"prompt of {key}", duration=5)
    return JournalEntry(key=key, request=told, planned_at=NOW, changed_at=NOW, **facts)


def intended(key: Key) -> JournalEntry:
    return planned(key).intend(NOW + 1)


def accepted(key: Key, task_id: str | None = None) -> JournalEntry:
    task = VideoTask(id=task_id or f"video_{key}", status=Status.QUEUED)
    return intended(key).accept(task, NOW + 2)


@contextmanager
def driven(path: Path, *entries: JournalEntry, **options: Any) -> Generator[Database]:
    """Drive a journal, made if it is not there, and write these entries, a commit each."""
    settings: dict[str, Any] = {"may_create": True, "now": NOW + 9, **options}
    with closing(Database.drive(path, **settings)) as database:
        for entry in entries:
            database.write([entry])
        yield database


@contextmanager
def holder(path: Path, count: int = 3) -> Generator[subprocess.Popen[str]]:
    """Let another process drive a journal and write ``count`` entries, until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.journals", str(path), str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def killed_journal(path: Path, count: int = 3) -> None:
    """Leave a journal as a process does that was killed while it drove it."""
    with holder(path, count) as process:
        process.kill()
        process.wait()


def snapshot(path: Path) -> dict[str, bytes]:
    """Read a journal and all that lies beside it under its name, but for what SQLite's readers do.

    Readers leave notes in memory that is shared as a file (``-shm``), and make an empty log.
    """
    found = {each.name: each.read_bytes() for each in path.parent.glob(f"{path.name}*")}
    return {
        name: data
        for name, data in found.items()
        if not name.endswith("-shm") and (data or not name.endswith("-wal"))
    }


def _main(path: str, count: str) -> None:
    entries = [accepted(key) for key in range(int(count))]
    with driven(Path(path), *entries) as database:
        assert database.counts().get(KeyState.QUEUED, 0) == int(count)
        print("held", flush=True)  # noqa: T201 - it is what the parent waits for
        sys.stdin.read()


if __name__ == "__main__":
    _main(*sys.argv[1:])
