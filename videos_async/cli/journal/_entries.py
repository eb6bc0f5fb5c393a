"""How an entry of a journal reads: as a row of a table, and as a JSON object."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from videos_async import JournalEntry, request_to_json, task_to_json
from videos_async.cli._escape import shown, without_key

__all__ = ["DOUBT_COLUMNS", "ENTRY_COLUMNS", "doubt_row", "entry_line", "entry_row", "table"]

ENTRY_COLUMNS: Final = ("KEY", "STATE", "SINCE (UTC)", "TASK", "")
DOUBT_COLUMNS: Final = ("KEY", "STATE", "SENT (UTC)", "PROMPT", "")

_PROMPT_LIMIT: Final = 60
_WIDEST: Final = 40


def entry_row(entry: JournalEntry) -> tuple[str, ...]:
    """Write an entry as the cells of `ENTRY_COLUMNS`."""
    told = entry.file.path if entry.file is not None else _reason(entry)
    return (
        shown(entry.key),
        entry.state.value,
        _moment(entry.changed_at),
        "-" if entry.task_id is None else shown(entry.task_id),
        shown(told),
    )


def doubt_row(entry: JournalEntry) -> tuple[str, ...]:
    """Write an entry in doubt as the cells of `DOUBT_COLUMNS`."""
    # What may be anything where nobody judged it.
    prompt = str(entry.request.prompt)
    head = prompt if len(prompt) <= _PROMPT_LIMIT else f"{prompt[:_PROMPT_LIMIT]}…"
    return (
        shown(entry.key),
        entry.state.value,
        _moment(entry.intent_at),
        shown(head),
        shown(_reason(entry)),
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Align rows under their headings; the last column is as wide as it likes."""
    lines = [columns, *rows]
    widths = [
        min(_WIDEST, max(len(line[column]) for line in lines)) for column in range(len(columns) - 1)
    ]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        yield "  ".join([*cells, line[-1]]).rstrip()


def entry_line(entry: JournalEntry) -> str:
    """Write an entry as a line of JSON. Every key is there every time.

    ::

        {"key": "fox" | 7, "state": "uncertain", "task_id": "…" | null, "planned_at": 1774836724.5,
         "sent_at": 1774836725.1 | null, "changed_at": 1774836785.0, "rearmed": 0,
         "error": null | {"type": "SubmissionUncertain", "message": "…"},
         "request": {…the service's own names…}, "task": null | {…the service's own names…},
         "file": null | {"path": "…", "size_bytes": 1, "sha256": "…", "is_verified": true}}
    """
    error, file = entry.error, entry.file
    record = {
        "key": entry.key,
        "state": entry.state.value,
        "task_id": entry.task_id,
        "planned_at": entry.planned_at,
        "sent_at": entry.intent_at,
        "changed_at": entry.changed_at,
        "rearmed": entry.rearmed,
        "error": error and {"type": type(error).__name__, "message": str(error)},
        "request": request_to_json(entry.request),
        "task": entry.task and task_to_json(entry.task),
        "file": file
        and {
            "path": file.path,
            "size_bytes": file.size_bytes,
            "sha256": file.sha256,
            "is_verified": file.is_verified,
        },
    }
    return without_key(json.dumps(record, ensure_ascii=True).replace("\x7f", r"\u007f"))


def _reason(entry: JournalEntry) -> str:
    error = entry.error
    if error is None:
        return ""
    reason = getattr(error, "reason", None)
    return reason if isinstance(reason, str) else str(error)


def _moment(at: float | None) -> str:
    if at is None:
        return "-"
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"
