"""Durable submits without a service: ``python -m benchmarks.durable raw|grouped|ours --submits …``.

A submit is two entries that must be on the disk: its intent before it is sent, then its id.
``raw`` writes them with SQLite alone, a commit for each; ``grouped`` likewise, with eight in one
commit; ``ours`` is the recorder as a batch drives it with eight create calls in flight. Table,
rows, statements and pragmas are the same. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks import ours
from videos_async import JournalEntry, Status, VideoTask
from videos_async._database import Database
from videos_async._journal_recorder import JournalRecorder
from videos_async._open_journals import JournalWriters
from videos_async._rows import COLUMNS, changeable_of, key_to_text, row_of

__all__ = ["IN_FLIGHT"]

IN_FLIGHT: Final = 8
_WARM_UP: Final = 80
_INSERT: Final = (
    f"INSERT INTO entries ({', '.join(COLUMNS)}, revision) "
    f"VALUES ({', '.join('?' * (len(COLUMNS) + 1))})"
)
_CHANGEABLE: Final = COLUMNS[COLUMNS.index("state") :]
_UPDATE: Final = (
    f"UPDATE entries SET {', '.join(f'{name} = ?' for name in _CHANGEABLE)}, revision = ? "
    "WHERE key = ?"
)


def _task(number: int) -> VideoTask:
    return VideoTask(id=f"video_{number:010}", status=Status.QUEUED, created=1774836724)


# --- SQLite alone --------------------------------------------------------------------------


def _raw(path: Path, submits: int, *, at_once: int) -> float:
    """Write the rows of so many submits; return the seconds that took."""
    intents: list[tuple[Any, ...]] = []
    ids: list[tuple[Any, ...]] = []
    for number, request in enumerate(ours.requests(submits)):
        planned = JournalEntry(key=number, request=request, planned_at=1.0, changed_at=1.0)
        intent = planned.intend(2.0)
        accepted = intent.accept(_task(number), 3.0)
        intents.append((*row_of(intent), number))
        ids.append((*changeable_of(accepted), number, key_to_text(number)))
    # A journal like any other, but for whoever writes it.
    Database.drive(path, may_create=True, now=0.0).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        began_s = time.perf_counter()
        for start in range(0, submits, at_once):
            for statement, rows in ((_INSERT, intents), (_UPDATE, ids)):
                connection.execute("BEGIN IMMEDIATE")
                for row in rows[start : start + at_once]:
                    connection.execute(statement, row)
                connection.execute("COMMIT")
        return time.perf_counter() - began_s


# --- the recorder --------------------------------------------------------------------------


async def _ours(path: Path, submits: int) -> float:
    recorder = JournalRecorder(
        ours.requests(submits), path=path, writers=JournalWriters(), may_create=True
    )
    await recorder.open()

    async def submit_in_turn() -> None:
        while (pulled := await recorder.pull()) is not None:
            await recorder.declare(pulled.key)
            recorder.accepted(pulled.key, _task(int(pulled.key)))

    began_s = time.perf_counter()
    await asyncio.gather(*(submit_in_turn() for _ in range(IN_FLIGHT)))
    # The last ids as well.
    await recorder.aclose()
    return time.perf_counter() - began_s


_WAYS: Final[dict[str, Callable[[Path, int], float]]] = {
    "raw": lambda path, submits: _raw(path, submits, at_once=1),
    "grouped": lambda path, submits: _raw(path, submits, at_once=IN_FLIGHT),
    "ours": lambda path, submits: asyncio.run(_ours(path, submits)),
}


def main() -> None:
    """Measure one way and print what a submit took."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("way", choices=_WAYS)
    parser.add_argument("--submits", type=int, required=True)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        _WAYS[options.way](Path(folder, "warm-up.sqlite"), _WARM_UP)
        spent_s = _WAYS[options.way](Path(folder, "run.sqlite"), options.submits)
    print(json.dumps({"submit_us": spent_s / options.submits * 1e6}))


if __name__ == "__main__":
    main()
