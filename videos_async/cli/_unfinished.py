"""What a command leaves behind if it stops now, and how to take it up again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import attrs

from videos_async import (
    DownloadError,
    GenerationFailed,
    Key,
    TaskError,
    TaskNotFound,
    VideoUnavailable,
)
from videos_async.cli._escape import shown
from videos_async.cli._exit import ExitCode

__all__ = ["Unfinished"]


@attrs.define(eq=False, kw_only=True)
class Unfinished:
    """The tasks a command is after.

    Attributes:
        base_url: The address that was given as an option, to be given again.
        is_emulated: Whether the tasks end with this very process.
        watched: The ids whose end is not known yet, by key.
        unsaved: The id whose video is being downloaded, if one is.
        doubts: Submissions that may have been accepted but brought no id.
    """

    base_url: str | None = None
    is_emulated: bool = False
    watched: dict[Key, str] = attrs.field(factory=dict[Key, str])
    unsaved: str | None = None
    doubts: Sequence[Exception] = ()

    def parting(self) -> tuple[str, ExitCode]:
        """What to say on an interruption, and what the command then comes to."""
        if self.doubts and not self.is_emulated:
            # Worth more than "interrupted": there is no id to take up, and it may be billed.
            return f"interrupted: {shown(self.doubts[-1])}", ExitCode.UNCERTAIN
        if self.is_emulated:
            text = "interrupted: the emulator and its task are gone, nothing was billed"
        elif self.unsaved is not None:
            text = (
                f"interrupted: the video can still be had: {self._again('download', self.unsaved)}"
            )
        elif self.watched:
            goes_on = "the task goes on" if len(self.watched) == 1 else "the tasks go on"
            again = self._again("watch", *self.watched.values())
            text = f"interrupted: {goes_on} at the service, take up again with: {again}"
        else:
            text = "interrupted: nothing was left behind at the service"
        return text, ExitCode.INTERRUPTED

    def next_step(self, error: BaseException) -> str | None:
        """The command that goes on from an error, where one does."""
        if self.is_emulated:
            return None
        match error:
            case GenerationFailed() | TaskNotFound():
                return None
            case VideoUnavailable():
                is_early = error.task_id in self.watched.values()
                return self._again("watch", error.task_id) if is_early else None
            case DownloadError():
                return self._again("download", error.task_id)
            case TaskError():
                return self._again("watch", error.task_id)
            case _:
                return None

    def _again(self, command: str, *task_ids: str) -> str:
        words = ["videos-async", command]
        if self.base_url is not None:
            words += ["--base-url", self.base_url]
        if any(task_id.startswith("-") for task_id in task_ids):
            words.append("--")
        return shlex.join(shown(word) for word in (*words, *task_ids))
