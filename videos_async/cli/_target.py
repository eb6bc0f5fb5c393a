"""The file a video goes to, judged before anything is paid for."""

from __future__ import annotations

import os
from pathlib import Path

from videos_async import OnExisting, file_name
from videos_async.cli._escape import shown
from videos_async.cli._exit import BadInput

__all__ = ["check_target", "default_target"]


def default_target(task_id: str) -> Path:
    """Name the file after the task, in the current directory."""
    return Path(file_name(task_id))


def check_target(target: Path, on_existing: OnExisting) -> None:
    """Make sure the video can be saved there, as far as that can be told beforehand.

    Raises:
        BadInput: When it cannot.
    """
    problem = _problem(target, on_existing)
    if problem is not None:
        raise BadInput(f"the video cannot be saved as {shown(target)}: {problem}")


def check_current_directory() -> None:
    """Make sure that a file can be made where the default name puts it.

    Raises:
        BadInput: When it cannot.
    """
    check_target(default_target(""), OnExisting.REPLACE)


def _problem(target: Path, on_existing: OnExisting) -> str | None:
    try:
        # A download has a note beside it until it is whole, under this longer name.
        target.with_name(f"{target.name}.part.json").exists()
        if target.is_dir():
            return "that is a directory, name the file as well"
        if not target.parent.is_dir():
            return "its directory does not exist, make it first"
        if on_existing is OnExisting.REFUSE and target.exists():
            return "the file is there already, choose another name or add --replace"
    except (OSError, ValueError) as error:
        return error.strerror or str(error) if isinstance(error, OSError) else str(error)
    if not os.access(target.parent, os.W_OK | os.X_OK):
        return "its directory may not be written to"
    return None
