"""What a journal tells of a key that ended before, as it was told then."""

from __future__ import annotations

from pathlib import Path

from videos_async._download import Download
from videos_async._states import JournalEntry, KeyState, SavedFile
from videos_async.errors import KeyAbandoned, VideosError
from videos_async.models import Transition

__all__ = ["download_of", "file_of", "replayed"]


def replayed(entry: JournalEntry) -> Transition:
    """Make the end of a key that had ended before once more."""
    status = None if entry.task is None else entry.task.status
    error: VideosError | None = entry.error
    is_saved = entry.state is KeyState.DOWNLOADED
    if entry.state is KeyState.ABANDONED:
        error = KeyAbandoned(key=entry.key, task_id=entry.task_id)
    return Transition(
        key=entry.key,
        task_id=entry.task_id,
        previous=None,
        status=status,
        task=entry.task,
        elapsed=entry.elapsed_s,
        error=error,
        request=entry.request,
        download=download_of(entry.file) if is_saved and entry.file is not None else None,
        is_replayed=True,
    )


def file_of(download: Download) -> SavedFile:
    """Write down of a file what is told again by `download_of`."""
    assert download.path is not None  # noqa: S101 - a batch saves files
    return SavedFile(
        # As it is found from wherever a later run is started.
        path=str(download.path.absolute()),
        size_bytes=download.size_bytes,
        sha256=download.sha256,
        media_type=download.media_type,
        is_verified=download.is_verified,
    )


def download_of(file: SavedFile) -> Download:
    """Tell of a file what was told when it was saved."""
    return Download(
        path=Path(file.path),
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        media_type=file.media_type,
        is_verified=file.is_verified,
    )
