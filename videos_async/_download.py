"""A finished video becomes a whole file or none.

It is streamed to a ``.part`` beside the target, held against the declared length, flushed to the
disk and only then given its name, so a reader never meets half a file.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from enum import Enum
from io import BufferedWriter
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
import attrs

from videos_async._files import FileAnswer, FileServers, TransportTrouble
from videos_async.errors import DownloadError, DownloadIncomplete, TargetExists, VideoUnavailable

__all__ = ["Download", "OnExisting", "download_file"]

_WRITE_BYTES: Final = 1 << 20
# What a signed URL answers once it has run out.
_GONE: Final = frozenset({401, 403, 404, 410})


class OnExisting(Enum):
    """What to do where the target is there already."""

    REFUSE = "refuse"
    REPLACE = "replace"


@attrs.frozen(kw_only=True)
class Download:
    """A file that was saved.

    Attributes:
        path: Where it stands.
        size_bytes: How long it is.
        sha256: The digest of its bytes, in hex.
        media_type: What the file server called it.
        is_verified: Whether its end could be told from a broken connection: a declared length
            that matched, or a complete chunked body.
    """

    path: Path
    size_bytes: int
    sha256: str
    media_type: str
    is_verified: bool


class UrlExpired(Exception):
    """The URL does not work any more; a fresh one may. Never leaves the library."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


async def download_file(
    servers: FileServers, url: str, *, task_id: str, target: Path, on_existing: OnExisting
) -> Download:
    """Fetch one file.

    Args:
        servers: Makes the connections.
        url: Where the video is.
        task_id: Whose video it is, for the errors.
        target: The final name.
        on_existing: What to do where the target is there already.

    Raises:
        UrlExpired: When the URL does not work any more.
        DownloadError: When the file could not be brought here whole; see its subclasses.
    """
    failure: DownloadError | None = None
    part = target.with_name(f"{target.name}.part")
    try:
        _check_target(target, task_id=task_id, on_existing=on_existing)
        async with servers.open(url) as answer:
            _check_answer(answer, task_id=task_id, target=target)
            writer = _PartWriter(part)
            with writer:
                await _receive(answer, writer, task_id=task_id, target=target)
                await anyio.to_thread.run_sync(writer.finish)
        await anyio.to_thread.run_sync(_put_in_place, part, target, on_existing)
        return Download(
            path=target,
            size_bytes=writer.size_bytes,
            sha256=writer.digest.hexdigest(),
            media_type=answer.media_type,
            is_verified=answer.is_delimited,
        )
    except TransportTrouble as trouble:
        failure = DownloadError(task_id=task_id, target=str(target), reason=str(trouble))
    except FileExistsError as error:
        if isinstance(error, TargetExists):
            raise
        failure = _target_exists(target, task_id)
    except OSError as error:
        reason = f"{error.strerror or error}; what had arrived was removed"
        failure = DownloadError(task_id=task_id, target=str(target), reason=reason)
    raise failure


def _target_exists(target: Path, task_id: str) -> TargetExists:
    reason = (
        "the file is there already and was left as it is; "
        "to replace it say on_existing=OnExisting.REPLACE"
    )
    return TargetExists(task_id=task_id, target=str(target), reason=reason)


def _check_target(target: Path, *, task_id: str, on_existing: OnExisting) -> None:
    if target.is_dir():
        reason = "it is a directory: give the name of the file as well"
        raise DownloadError(task_id=task_id, target=str(target), reason=reason)
    if on_existing is OnExisting.REFUSE and target.exists():
        raise _target_exists(target, task_id)


def _check_answer(answer: FileAnswer, *, task_id: str, target: Path) -> None:
    if answer.status in _GONE:
        raise UrlExpired(answer.status)
    if answer.status != 200:
        reason = f"the file server answered HTTP {answer.status}"
        raise DownloadError(task_id=task_id, target=str(target), reason=reason)
    if answer.media_type in ("text/html", "application/json"):
        reason = f"the file server sent {answer.media_type} in place of a video"
        raise VideoUnavailable(task_id=task_id, target=str(target), reason=reason)


async def _receive(answer: FileAnswer, writer: _PartWriter, *, task_id: str, target: Path) -> None:
    trouble: str | None = None
    pending: list[bytes] = []
    pending_bytes = received_bytes = 0
    try:
        async for chunk in answer.chunks:
            pending.append(chunk)
            pending_bytes += len(chunk)
            received_bytes += len(chunk)
            if pending_bytes >= _WRITE_BYTES:
                # Hashing and writing block, so both are done off the loop, a megabyte at a time.
                await anyio.to_thread.run_sync(writer.write, b"".join(pending))
                pending, pending_bytes = [], 0
        await anyio.to_thread.run_sync(writer.write, b"".join(pending))
    except TransportTrouble as error:
        trouble = str(error)
    expected_bytes = answer.length_bytes
    if trouble is None and expected_bytes is not None and received_bytes != expected_bytes:
        trouble = "the body ended early"
    if trouble is None and not received_bytes:
        trouble = "the file server sent an empty body"
    if trouble is not None:
        raise DownloadIncomplete(
            task_id=task_id,
            target=str(target),
            reason=f"{trouble} after {received_bytes} of {expected_bytes or 'unknown'} bytes",
            received_bytes=received_bytes,
            expected_bytes=expected_bytes,
        )


class _PartWriter:
    """Writes the ``.part``, and removes it again unless it was finished."""

    def __init__(self, path: Path) -> None:
        self.size_bytes = 0
        self.digest = hashlib.sha256()
        self._path = path
        self._is_finished = False
        # A link planted beside the target must not send the bytes elsewhere.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
        self._file: BufferedWriter = os.fdopen(os.open(path, flags, 0o666), "wb")

    def __enter__(self) -> None:
        """Nothing to do: the file is open."""

    def __exit__(self, *_: object) -> None:
        if not self._is_finished:
            with suppress(OSError):  # a full disk fails again when the buffer is flushed
                self._file.close()
            self._path.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.digest.update(data)
        self.size_bytes += len(data)

    def finish(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._is_finished = True


def _put_in_place(part: Path, target: Path, on_existing: OnExisting) -> None:
    if on_existing is OnExisting.REPLACE:
        part.replace(target)
    else:
        try:
            # Unlike a rename, a link fails where something took the name meanwhile.
            os.link(part, target)
        except FileExistsError:
            part.unlink()
            raise
        except OSError:
            # A file system without links: a look and a rename is the best there is.
            if target.exists():
                part.unlink()
                raise FileExistsError(str(target)) from None
            part.rename(target)
        else:
            part.unlink()
    _sync_directory(target.parent)


def _sync_directory(directory: Path) -> None:
    """Make the new name survive a power cut, where the system lets a directory be opened."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
