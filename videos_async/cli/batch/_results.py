"""The results: one line of JSON for each end, whole or not there."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, cast

import attrs

from videos_async import Download, End, Key, Transition, VideosError, request_to_json
from videos_async.cli._escape import shown, without_key
from videos_async.cli._exit import BadInput
from videos_async.cli._report import transition_record

__all__ = [
    "NOT_SAVED",
    "Outcome",
    "ResultsFile",
    "check_results",
    "end_record",
    "result_record",
    "told_ends",
]

NOT_SAVED: Final = End.NOT_SAVED.value
"""The end of a task that was completed and whose video could not be brought home."""

_URL_QUERY: Final = re.compile(r"(https?://[^\s?#]*)[?#]\S*", re.IGNORECASE)


@attrs.frozen(kw_only=True)
class Outcome:
    """How one request of the input ended, its file included.

    Attributes:
        change: The end of its task.
        failure: Why its file was not saved, where the task's end does not know.
    """

    change: Transition
    failure: VideosError | None = None

    @property
    def saved(self) -> Download | None:
        """Its file, where one was saved."""
        return self.change.download

    @property
    def is_replayed(self) -> bool:
        """Whether it ended in an earlier run."""
        return self.change.is_replayed

    @property
    def end(self) -> str:
        """How it ended: `NOT_SAVED`, or the value of an `End`."""
        if self.failure is not None:
            return NOT_SAVED
        return (self.change.end or End.LEFT).value

    @property
    def error(self) -> VideosError | None:
        """Why there is no video, or None where there is one."""
        return self.change.error or self.failure


def end_record(outcome: Outcome) -> dict[str, object]:
    """Make the JSON object of an end for standard output."""
    change = attrs.evolve(outcome.change, error=outcome.error)
    record = transition_record(change, saved=outcome.saved)
    return {**record, "end": outcome.end, "replayed": outcome.is_replayed}


def result_record(outcome: Outcome) -> dict[str, object]:
    """Make the line of an end. Every key is there every time.

    ::

        {"key": "fox", "task_id": "…" | null, "end": "completed", "status": "completed" | null,
         "elapsed": 12.3, "error": null | {"type": "WaitTimeout", "message": "…"},
         "request": {…the service's own names…}, "task": null | {…the service's own names…},
         "saved": null | {"path": "…", "size_bytes": 1, "sha256": "…", "is_verified": true}}

    The file may be kept and shown around, so the URLs in ``task`` are without their queries,
    which are credentials and expire within a day: the id is what leads to the video.
    """
    record = end_record(outcome)
    request = outcome.change.request
    names = ("key", "task_id", "end", "status", "elapsed", "error")
    return {
        **{name: record[name] for name in names},
        "request": None if request is None else request_to_json(request),
        "task": _without_queries(record["task"]),
        "saved": record["saved"],
    }


class ResultsFile:
    """Takes the lines, each in one piece and at once.

    A file that is there already holds the ids of what was paid for before, so it is never
    emptied: it is refused, or added to where `is_continued`. What ended in an earlier run and
    stands in it is not told twice.

    Args:
        path: The file.
        is_continued: Whether to add to it where it is there already.

    Raises:
        BadInput: When it cannot be written, or is there already.
    """

    def __init__(self, path: Path, *, is_continued: bool) -> None:
        self.path = path
        self._told = told_ends(path) if is_continued else {}
        try:
            self._file = self._opened(path, is_continued=is_continued)
        except OSError as error:
            raise BadInput(_problem(path, error)) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def write(self, outcome: Outcome) -> None:
        """Add the line of an end.

        Raises:
            OSError: When it could not be written; then nothing of it was.
        """
        if outcome.is_replayed and self._told.get(outcome.change.key) == outcome.end:
            return
        text = json.dumps(result_record(outcome), ensure_ascii=True)
        self._write(f"{without_key(text)}\n".encode())

    def _write(self, data: bytes) -> None:
        rest = data
        try:
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
        except OSError:
            with suppress(OSError):  # a pipe has no length
                self._file.truncate(self._size_bytes)
            raise
        self._size_bytes += len(data)

    def _opened(self, path: Path, *, is_continued: bool) -> FileIO:
        # Unbuffered: a line is handed to the system as one piece.
        file = path.open("ab+" if is_continued else "xb", buffering=0)
        self._file, self._size_bytes = file, os.fstat(file.fileno()).st_size
        if self._size_bytes:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                # A power cut may have left half a line: it must not swallow the first of ours.
                self._write(b"\n")
        return file


def check_results(path: Path | None, *, is_continued: bool) -> None:
    """Say before anything is paid for that the results file is there already.

    Raises:
        BadInput: When it is.
    """
    if path is not None and path.exists() and not is_continued:
        raise BadInput(_problem(path, FileExistsError()))


def told_ends(path: Path) -> dict[Key, str]:
    """Read which end a results file told last of each key."""
    return dict(_told(path))


def _told(path: Path) -> Iterator[tuple[Key, str]]:
    try:
        if not path.is_file():
            # A pipe or a device tells nothing, or no end of it.
            return
        file = path.open(encoding="utf-8", errors="replace")
    except OSError:
        # Whoever opens it for writing says why.
        return
    with file:
        for line in file:
            try:
                record = json.loads(line)
                key, end = record["key"], record["end"]
            except (ValueError, TypeError, KeyError, RecursionError):
                # Half a line of a run that was killed, say.
                continue
            if isinstance(key, (str, int)) and isinstance(end, str):
                yield key, end


def _problem(path: Path, error: OSError) -> str:
    if isinstance(error, FileExistsError):
        return (
            f"nothing was sent: the results file {shown(path)} is there already and holds what was "
            "paid for before; choose another with --results, or add to it with --replace"
        )
    reason = error.strerror or error
    return f"nothing was sent: the results file {shown(path)} cannot be written: {reason}"


def _without_queries(value: object) -> object:
    if isinstance(value, str):
        return _URL_QUERY.sub(r"\1?…", value)
    if isinstance(value, dict):
        named = cast("dict[str, Any]", value)
        return {name: _without_queries(item) for name, item in named.items()}
    if isinstance(value, (list, tuple)):
        return [_without_queries(item) for item in cast("list[Any]", value)]
    return value
