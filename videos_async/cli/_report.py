"""Tells the progress of a command: plain lines, or JSON lines; `_display` has the live one."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Protocol, Self

import attrs

from videos_async import (
    Download,
    DownloadProgress,
    Transition,
    VideosError,
    VideoTask,
    task_to_json,
)
from videos_async.cli._escape import without_key
from videos_async.cli._lines import saved_line, task_lines, transition_line
from videos_async.cli._output import Output

__all__ = ["JsonReport", "PlainReport", "Report"]


class Report(Protocol):
    """Is told what happens and shows it in its own way.

    A completed task whose video is to be saved is told in two steps, `completed` and then
    `saved` or `unsaved`; everything else is a `transition`.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody reads it any more."""
        ...

    def phase(self, doing: str) -> None:
        """What the command is at; of interest only while it lasts."""
        ...

    def transition(self, change: Transition) -> None:
        """One transition of one task."""
        ...

    def task(self, change: Transition) -> None:
        """How one task stands, which was all that was asked."""
        ...

    def completed(self, change: Transition) -> None:
        """A task is completed and its video is fetched next."""
        ...

    def progress(self, progress: DownloadProgress) -> None:
        """How far the download has come; of interest only while it lasts."""
        ...

    def saved(self, change: Transition, download: Download) -> None:
        """The video of a completed task is saved."""
        ...

    def unsaved(self, change: Transition, error: VideosError | None) -> None:
        """The video of a task was not saved; without an error it was an interruption."""
        ...


@attrs.frozen(eq=False)
class PlainReport:
    """One line a transition, for logs and pipes."""

    out: Output

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    @property
    def is_abandoned(self) -> bool:
        return self.out.is_abandoned

    def phase(self, doing: str) -> None: ...

    def transition(self, change: Transition) -> None:
        self.out.line(transition_line(change))

    def task(self, change: Transition) -> None:
        if change.task is not None:
            self.out.line("\n".join(task_lines(change.task)))

    def completed(self, change: Transition) -> None:
        self.transition(change)

    def progress(self, progress: DownloadProgress) -> None: ...

    def saved(self, change: Transition, download: Download) -> None:
        self.out.line(saved_line(change, download))

    def unsaved(self, change: Transition, error: VideosError | None) -> None: ...


@attrs.frozen(eq=False)
class JsonReport:
    """One JSON object a transition, for programs; see `transition_record` for its shape.

    A completed task's object waits for the end of the download, to hold what was saved.
    """

    out: Output

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    @property
    def is_abandoned(self) -> bool:
        return self.out.is_abandoned

    def phase(self, doing: str) -> None: ...

    def transition(self, change: Transition) -> None:
        self._write(transition_record(change))

    def task(self, change: Transition) -> None:
        self._write(transition_record(change))

    def completed(self, change: Transition) -> None: ...

    def progress(self, progress: DownloadProgress) -> None: ...

    def saved(self, change: Transition, download: Download) -> None:
        self._write(transition_record(change, saved=download))

    def unsaved(self, change: Transition, error: VideosError | None) -> None:
        self._write(transition_record(attrs.evolve(change, error=change.error or error)))

    def _write(self, record: dict[str, object]) -> None:
        # ASCII only, so that no reader of any encoding trips over it and no terminal obeys it; the
        # one control character that JSON does not escape is DEL.
        text = json.dumps(record, ensure_ascii=True).replace("\x7f", r"\u007f")
        self.out.line(without_key(text))


def transition_record(change: Transition, *, saved: Download | None = None) -> dict[str, object]:
    """Make the JSON object of a transition. Every key is there every time.

    ::

        {"key": 0, "task_id": "…", "previous": "queued" | null, "status": "processing" | null,
         "elapsed": 12.3, "error": null | {"type": "WaitTimeout", "message": "…"},
         "task": null | {…the service's own names…},
         "saved": null | {"path": "…", "size_bytes": 1, "sha256": "…", "is_verified": true}}
    """
    error = change.error
    return {
        "key": change.key,
        "task_id": change.task_id,
        "previous": change.previous,
        "status": change.status,
        "elapsed": round(change.elapsed, 3),
        "error": error and {"type": type(error).__name__, "message": str(error)},
        "task": _task_record(change.task),
        "saved": saved
        and {
            "path": str(saved.path),
            "size_bytes": saved.size_bytes,
            "sha256": saved.sha256,
            "is_verified": saved.is_verified,
        },
    }


def _task_record(task: VideoTask | None) -> dict[str, object] | None:
    return None if task is None else task_to_json(task)
