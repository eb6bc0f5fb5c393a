"""Asyncio-native client for the Videos API: pay once, lose nothing, watch thousands at a time.

::

    async with VideosSession() as session:
        task = await session.generate(VideoRequest(prompt="A kitten on a meadow", duration=5))
        await session.download(task, "kitten.mp4")

Importing the package costs next to nothing: a name is loaded when it is first used, and aiohttp
with the first one that needs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from videos_async._version import __version__

if TYPE_CHECKING:
    from videos_async._batch import Batch
    from videos_async._converter import (
        request_from_json,
        request_to_json,
        task_from_json,
        task_to_json,
    )
    from videos_async._download import Download, OnExisting
    from videos_async._download_policy import DownloadPolicy, DownloadProgress
    from videos_async._filenames import file_name
    from videos_async._limiter import RateLimit
    from videos_async._object_store import ObjectTarget
    from videos_async._plan import BatchCounts, DryRun
    from videos_async._polling import AdaptivePolling, PollPolicy
    from videos_async._retry import RetryPolicy
    from videos_async._sink import Sink
    from videos_async._states import JournalEntry, KeyState, SavedFile
    from videos_async._transport import Timeouts
    from videos_async._video_check import VideoCheck
    from videos_async._watch import Watch
    from videos_async.errors import (
        AccountRefused,
        ConfigurationError,
        DiskFull,
        DownloadError,
        DownloadIncomplete,
        GenerationFailed,
        InvalidRequest,
        InvalidResponse,
        JournalCorrupt,
        JournalError,
        JournalLocked,
        JournalWriteFailed,
        Key,
        KeyAbandoned,
        KeyConflict,
        KeyStateError,
        NotSent,
        NotSubmitted,
        QueryFailed,
        QueryRefused,
        SessionClosed,
        SubmissionError,
        SubmissionRefused,
        SubmissionUncertain,
        TargetBusy,
        TargetExists,
        TaskError,
        TaskNotFound,
        VideoExpired,
        VideoMismatch,
        VideosError,
        VideoUnavailable,
        Violation,
        WaitTimeout,
        WatchLeft,
    )
    from videos_async.journal import Journal
    from videos_async.models import End, Mode, Status, Transition, VideoRequest, VideoTask
    from videos_async.session import VideosSession
    from videos_async.specs import BUILTIN_MODELS, ModelSpec, validate

__all__ = [
    "BUILTIN_MODELS",
    "AccountRefused",
    "AdaptivePolling",
    "Batch",
    "BatchCounts",
    "ConfigurationError",
    "DiskFull",
    "Download",
    "DownloadError",
    "DownloadIncomplete",
    "DownloadPolicy",
    "DownloadProgress",
    "DryRun",
    "End",
    "GenerationFailed",
    "InvalidRequest",
    "InvalidResponse",
    "Journal",
    "JournalCorrupt",
    "JournalEntry",
    "JournalError",
    "JournalLocked",
    "JournalWriteFailed",
    "Key",
    "KeyAbandoned",
    "KeyConflict",
    "KeyState",
    "KeyStateError",
    "Mode",
    "ModelSpec",
    "NotSent",
    "NotSubmitted",
    "ObjectTarget",
    "OnExisting",
    "PollPolicy",
    "QueryFailed",
    "QueryRefused",
    "RateLimit",
    "RetryPolicy",
    "SavedFile",
    "SessionClosed",
    "Sink",
    "Status",
    "SubmissionError",
    "SubmissionRefused",
    "SubmissionUncertain",
    "TargetBusy",
    "TargetExists",
    "TaskError",
    "TaskNotFound",
    "Timeouts",
    "Transition",
    "VideoCheck",
    "VideoExpired",
    "VideoMismatch",
    "VideoRequest",
    "VideoTask",
    "VideoUnavailable",
    "VideosError",
    "VideosSession",
    "Violation",
    "WaitTimeout",
    "Watch",
    "WatchLeft",
    "__version__",
    "file_name",
    "request_from_json",
    "request_to_json",
    "task_from_json",
    "task_to_json",
    "validate",
]

_ROOMS = {
    "_batch": ("Batch",),
    "_converter": (
        "request_from_json",
        "request_to_json",
        "task_from_json",
        "task_to_json",
    ),
    "_download": (
        "Download",
        "OnExisting",
    ),
    "_download_policy": (
        "DownloadPolicy",
        "DownloadProgress",
    ),
    "_filenames": ("file_name",),
    "_limiter": ("RateLimit",),
    "_object_store": ("ObjectTarget",),
    "_plan": (
        "BatchCounts",
        "DryRun",
    ),
    "_polling": (
        "AdaptivePolling",
        "PollPolicy",
    ),
    "_retry": ("RetryPolicy",),
    "_sink": ("Sink",),
    "_states": (
        "JournalEntry",
        "KeyState",
        "SavedFile",
    ),
    "_transport": ("Timeouts",),
    "_video_check": ("VideoCheck",),
    "_watch": ("Watch",),
    "errors": (
        "AccountRefused",
        "ConfigurationError",
        "DiskFull",
        "DownloadError",
        "DownloadIncomplete",
        "GenerationFailed",
        "InvalidRequest",
        "InvalidResponse",
        "JournalCorrupt",
        "JournalError",
        "JournalLocked",
        "JournalWriteFailed",
        "Key",
        "KeyAbandoned",
        "KeyConflict",
        "KeyStateError",
        "NotSent",
        "NotSubmitted",
        "QueryFailed",
        "QueryRefused",
        "SessionClosed",
        "SubmissionError",
        "SubmissionRefused",
        "SubmissionUncertain",
        "TargetBusy",
        "TargetExists",
        "TaskError",
        "TaskNotFound",
        "VideoExpired",
        "VideoMismatch",
        "VideosError",
        "VideoUnavailable",
        "Violation",
        "WaitTimeout",
        "WatchLeft",
    ),
    "journal": ("Journal",),
    "models": (
        "End",
        "Mode",
        "Status",
        "Transition",
        "VideoRequest",
        "VideoTask",
    ),
    "session": ("VideosSession",),
    "specs": (
        "BUILTIN_MODELS",
        "ModelSpec",
        "validate",
    ),
}
"""The module that each public name lives in, as the imports for type checkers say."""


def __getattr__(name: str) -> object:
    for room, names in _ROOMS.items():
        if name in names:
            value: object = getattr(import_module(f"videos_async.{room}"), name)
            # Kept, so that the next look does not come here.
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
