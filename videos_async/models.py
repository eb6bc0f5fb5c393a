"""What is said to the service and what it says: requests, tasks and their transitions.

Plain frozen data. Nothing here holds a client, reads a clock or sends a byte; the rules that a
request must keep are data too and live in `videos_async.specs`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum
from typing import Any, NoReturn, cast

import attrs

from videos_async._download import Download
from videos_async.errors import (
    GenerationFailed,
    InvalidRequest,
    Key,
    KeyAbandoned,
    NotSubmitted,
    SubmissionRefused,
    SubmissionUncertain,
    VideoExpired,
    VideosError,
    WaitTimeout,
    WatchLeft,
)

__all__ = ["End", "Mode", "Status", "Transition", "VideoRequest", "VideoTask"]


class Status(StrEnum):
    """Where a task stands, in the service's own words.

    The enum is open: a status that is in no document is a legal member that keeps its text, is
    not terminal, and equals every other member (and string) of the same text::

        >>> Status("upscaling").is_terminal
        False
    """

    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"

    @classmethod
    def _missing_(cls, value: object) -> Status | None:
        if not isinstance(value, str):
            return None
        # Not kept in the enum's own table: a service that makes words up must not fill memory.
        member = str.__new__(cls, value)
        member._name_ = value.upper()
        member._value_ = value
        return member

    # By value, as strings do: two unknown members of one text are different objects.
    __hash__ = str.__hash__

    def __repr__(self) -> str:
        return f"Status({self.value!r})"

    @property
    def is_terminal(self) -> bool:
        """Whether the service has ended the task: ``completed`` or ``failed``."""
        return self in _TERMINAL


_TERMINAL = frozenset({Status.COMPLETED, Status.FAILED})


class Mode(Enum):
    """What a request makes the video from."""

    TEXT = "text-to-video"
    FRAMES = "first/last frame"
    IMAGES = "image reference"
    VIDEOS = "video reference"
    IMAGES_AND_VIDEOS = "image and video reference"


def _sequence(value: Iterable[str]) -> tuple[str, ...]:
    """Freeze a list; leave what is none as it is, for the rules to complain about."""
    return tuple(value) if isinstance(value, (list, tuple)) else cast("tuple[str, ...]", value)


class _Nothing(dict[str, Any]):
    """The empty mapping that all who have no extra share: one each would cost 64 bytes a task."""

    def __reduce__(self) -> str:
        return "_NOTHING"


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise TypeError("requests and tasks are frozen: make another with attrs.evolve")


for _writer in ("__setitem__", "__ior__", "update", "setdefault"):
    setattr(_Nothing, _writer, _refuse)

_NOTHING = _Nothing()


def _mapping(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Copy a mapping, so that the caller's later changes do not reach a frozen object."""
    if not isinstance(cast("object", value), Mapping):
        return value
    return dict(value) if value else _NOTHING


def without_query(url: str) -> str:
    """Cut the query and the fragment of a URL: what is signed there is a credential."""
    for mark in "?#":
        head, found, _ = url.partition(mark)
        if found:
            url = f"{head}{mark}…"
    return url


def _shown_url(url: object) -> str:
    return repr(without_query(url) if isinstance(url, str) else url)


def _shown_urls(urls: object) -> str:
    if not isinstance(urls, tuple):
        return _shown_url(urls)
    return "(" + ", ".join(map(_shown_url, cast("tuple[object, ...]", urls))) + ")"


def _shown_names(extra: object) -> str:
    # Undocumented fields can hold signed URLs as well: the repr names them and no more.
    if not isinstance(extra, Mapping):
        return f"<{type(extra).__name__}>"
    return "{" + ", ".join(f"{name!r}: …" for name in cast("Mapping[object, object]", extra)) + "}"


# Without weak references: eight bytes each, of which thousands wait.
@attrs.frozen(kw_only=True, weakref_slot=False)
class VideoRequest:
    """One video to be made: the fields of the create call under Python names.

    A request is plain data and may be built with any values. It is judged as a whole, with
    every violation listed at once, by `videos_async.validate` and by every method of the
    session that would send it, against the models that session knows.

    Source: the create call of the Videos API.

    Attributes:
        prompt: What to show; 1 to 1500 characters for the built-in models.
        duration: Length of the video in whole seconds; 4 to 15 for the built-in models.
        model: ``videos`` (standard quality) or ``videos_fast`` (turnaround).
        ratio: Width to height: ``16:9``, ``9:16`` or ``1:1``.
        resolution: ``720p``, the only value of the built-in models.
        first_image: URL of the first frame; goes with ``last_image`` and without references.
        last_image: URL of the last frame; goes with ``first_image`` and without references.
        reference_images: URLs of at most 4 images, each under 20 MB.
        reference_videos: URLs of at most 3 videos; together at most 15 s and 200 MB.
        extra: Undocumented fields under the service's own names, sent as they are.
    """

    prompt: str
    duration: int
    model: str = "videos"
    ratio: str = "16:9"
    resolution: str = "720p"
    first_image: str | None = attrs.field(default=None, repr=_shown_url)
    last_image: str | None = attrs.field(default=None, repr=_shown_url)
    reference_images: tuple[str, ...] = attrs.field(
        default=(), converter=_sequence, repr=_shown_urls
    )
    reference_videos: tuple[str, ...] = attrs.field(
        default=(), converter=_sequence, repr=_shown_urls
    )
    extra: Mapping[str, Any] = attrs.field(
        default=_NOTHING, converter=_mapping, hash=False, repr=_shown_names
    )

    @property
    def mode(self) -> Mode:
        """What the video is made from, told by the fields that are set."""
        if self.first_image is not None or self.last_image is not None:
            return Mode.FRAMES
        if self.reference_images and self.reference_videos:
            return Mode.IMAGES_AND_VIDEOS
        if self.reference_images:
            return Mode.IMAGES
        return Mode.VIDEOS if self.reference_videos else Mode.TEXT


_TASK_ID_LIMIT = 512


def task_id_flaw(task_id: object) -> str | None:
    """Tell what keeps a value from being a task's id, or None when it can be one.

    An id is opaque text that travels as one percent-encoded segment of a path, so the two
    segments that mean a direction rather than a name can be none.
    """
    if not isinstance(task_id, str):
        return f"must be text, got {type(task_id).__name__}"
    if not task_id:
        return "must not be empty"
    if len(task_id) > _TASK_ID_LIMIT:
        return f"must be at most {_TASK_ID_LIMIT} characters, is {len(task_id)}"
    if task_id in (".", ".."):
        return f"must not be a path segment with a meaning of its own, got {task_id!r}"
    if not task_id.isprintable():
        # Lone surrogates are not printable either.
        return f"must not contain control characters, got {task_id!a}"
    return None


@attrs.frozen(kw_only=True, weakref_slot=False)
class VideoTask:
    """What the service last said of one task; a snapshot that never changes.

    Source: the create and result answers of the Videos API.

    Attributes:
        id: The only handle on what was paid for; opaque text.
        status: Where the task stands.
        model: The model's name, or None where the answer had none.
        created: When the task was made, Unix time in seconds, or None.
        video_url: A temporary download URL (about 24 hours), only when completed. Its query
            is a credential, so the repr leaves it out.
        actual_duration: Length of the finished video in seconds, may be fractional.
        error: Why the task failed, in the service's words, or None.
        progress: Progress in per cent where the service tells it (it is undocumented).
        extra: Every other field of the answer, as it came.
    """

    id: str
    status: Status
    model: str | None = None
    created: int | None = None
    video_url: str | None = attrs.field(default=None, repr=_shown_url)
    actual_duration: float | None = None
    error: str | None = None
    progress: float | None = None
    extra: Mapping[str, Any] = attrs.field(
        default=_NOTHING, converter=_mapping, hash=False, repr=_shown_names
    )

    @property
    def created_at(self) -> datetime | None:
        """`created` as an aware UTC time, or None where it is none of the years 1 to 9999."""
        if self.created is None:
            return None
        try:
            # By addition: `fromtimestamp` depends on what the platform's C library takes.
            return _EPOCH + timedelta(seconds=self.created)
        except OverflowError:
            return None


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class End(Enum):
    """How a request or a task ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    REFUSED = "refused"
    INVALID = "invalid"
    NOT_SUBMITTED = "not submitted"
    UNCERTAIN = "uncertain"
    TIMED_OUT = "timed out"
    LOST_SIGHT = "lost sight of"
    LEFT = "left"
    NOT_SAVED = "not saved"
    EXPIRED = "expired"
    ABANDONED = "abandoned"


_END_OF_ERROR: tuple[tuple[type[VideosError], End], ...] = (
    (GenerationFailed, End.FAILED),
    (SubmissionRefused, End.REFUSED),
    (InvalidRequest, End.INVALID),
    (NotSubmitted, End.NOT_SUBMITTED),
    (SubmissionUncertain, End.UNCERTAIN),
    (WaitTimeout, End.TIMED_OUT),
    (WatchLeft, End.LEFT),
    (KeyAbandoned, End.ABANDONED),
    # Any other trouble with a task: its id is known and nobody would tell how it stands.
    (VideosError, End.LOST_SIGHT),
)


@attrs.frozen(kw_only=True)
class Transition:
    """One step of one task, as it was observed.

    A step that was not observed is not made up: ``queued`` may be followed by ``completed``.
    Exactly one transition of each task has `is_end`, and it is the last one.

    Attributes:
        key: The caller's own name for the task; by default its index in the input.
        task_id: The task's id, or None where a batch's request brought none.
        previous: The status before, or None at the first observation.
        status: The status now, or None where the task ended before any was observed.
        task: The latest snapshot, or None where there is none.
        elapsed: Seconds since the task was first followed here; in a batch, since its request
            was pulled.
        error: Why the task ended without a video; None at every other transition.
        request: In a batch, what was asked for; None elsewhere.
        download: The file that the video was saved to, where a batch was told to; else None.
        is_replayed: Whether this was not observed now but told by the journal of an earlier run.
    """

    key: Key
    task_id: str | None
    previous: Status | None
    status: Status | None
    task: VideoTask | None
    elapsed: float
    error: VideosError | None = None
    request: VideoRequest | None = None
    download: Download | None = None
    is_replayed: bool = False

    @property
    def is_end(self) -> bool:
        """Whether this is the task's last transition: completed, or ended by `error`."""
        return self.error is not None or self.status == Status.COMPLETED

    @property
    def end(self) -> End | None:
        """How the task ended, or None while it has not."""
        is_completed = self.status == Status.COMPLETED
        if self.error is None:
            return End.COMPLETED if is_completed else None
        if is_completed:
            return End.EXPIRED if isinstance(self.error, VideoExpired) else End.NOT_SAVED
        return next(end for kind, end in _END_OF_ERROR if isinstance(self.error, kind))
