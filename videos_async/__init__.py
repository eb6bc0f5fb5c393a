"""Asyncio-native client for the Videos API: pay once, lose nothing, watch thousands at a time.

::

    async with VideosSession() as session:
        task = await session.generate(VideoRequest(prompt="A kitten on a meadow", duration=5))
        await session.download(task, "kitten.mp4")
"""

from __future__ import annotations

from videos_async._converter import (
    request_from_json,
    request_to_json,
    task_from_json,
    task_to_json,
)
from videos_async._download import Download, OnExisting
from videos_async._limiter import RateLimit
from videos_async._retry import RetryPolicy
from videos_async._schedule import PollPolicy
from videos_async._transport import Timeouts
from videos_async._version import __version__
from videos_async._watch import Watch
from videos_async.errors import (
    AccountRefused,
    ConfigurationError,
    DownloadError,
    DownloadIncomplete,
    GenerationFailed,
    InvalidRequest,
    InvalidResponse,
    Key,
    NotSubmitted,
    QueryFailed,
    QueryRefused,
    SessionClosed,
    SubmissionError,
    SubmissionRefused,
    SubmissionUncertain,
    TargetExists,
    TaskError,
    TaskNotFound,
    VideosError,
    VideoUnavailable,
    Violation,
    WaitTimeout,
)
from videos_async.models import Mode, Status, Transition, VideoRequest, VideoTask
from videos_async.session import VideosSession
from videos_async.specs import BUILTIN_MODELS, ModelSpec, validate

__all__ = [
    "BUILTIN_MODELS",
    "AccountRefused",
    "ConfigurationError",
    "Download",
    "DownloadError",
    "DownloadIncomplete",
    "GenerationFailed",
    "InvalidRequest",
    "InvalidResponse",
    "Key",
    "Mode",
    "ModelSpec",
    "NotSubmitted",
    "OnExisting",
    "PollPolicy",
    "QueryFailed",
    "QueryRefused",
    "RateLimit",
    "RetryPolicy",
    "SessionClosed",
    "Status",
    "SubmissionError",
    "SubmissionRefused",
    "SubmissionUncertain",
    "TargetExists",
    "TaskError",
    "TaskNotFound",
    "Timeouts",
    "Transition",
    "VideoRequest",
    "VideoTask",
    "VideoUnavailable",
    "VideosError",
    "VideosSession",
    "Violation",
    "WaitTimeout",
    "Watch",
    "__version__",
    "request_from_json",
    "request_to_json",
    "task_from_json",
    "task_to_json",
    "validate",
]
