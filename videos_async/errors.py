"""Everything that can go wrong, in one tree.

::

    VideosError
    ├── ConfigurationError (ValueError)   a setting of the session; nothing was sent
    ├── InvalidRequest (ValueError)       the request breaks rules, all listed; nothing was sent
    ├── InvalidResponse                   an answer that is not the contract's, with its JSON path
    ├── SessionClosed (RuntimeError)      the session was closed before or during the call
    ├── SubmissionError                   one POST, and what became of it
    │   ├── NotSubmitted                  never accepted, not billed: safe to submit again
    │   │   └── NotSent                   not even tried: the batch had stopped
    │   ├── SubmissionRefused             the service said no: not billed
    │   │   └── AccountRefused            … and would say no to the next one too (401, 402, 403)
    │   └── SubmissionUncertain           may be billed, brought no id: never resent by itself
    ├── TaskError                         a task whose id is known; the id is always in hand
    │   ├── GenerationFailed              the service ended it as failed
    │   ├── WaitTimeout (TimeoutError)    the deadline came first; the task goes on
    │   ├── WatchLeft                     the batch was left first; the task goes on
    │   ├── QueryFailed                   too many bad answers in a row
    │   └── QueryRefused                  the service will not tell
    │       └── TaskNotFound              it does not know the id
    ├── DownloadError                     the file of a completed task
    │   ├── TargetExists (FileExistsError)
    │   ├── TargetBusy                    another download is writing it
    │   ├── VideoUnavailable              no URL, or nothing of a video behind it
    │   │   └── VideoExpired              its URLs work no more: gone for good
    │   ├── DownloadIncomplete            what arrived is not the whole file; it is kept
    │   ├── DiskFull                      there is no room for it; what arrived is kept
    │   └── VideoMismatch                 it is whole, and not what `check` was given for
    ├── JournalError                      the journal of a batch; what it holds is left as it is
    │   ├── JournalLocked                 another batch drives it now
    │   ├── JournalCorrupt                the file is damaged, or parts of it are missing
    │   ├── JournalWriteFailed            nothing more is sent; holds the ids it does not
    │   └── KeyConflict                   the key stands for another request in it
    ├── KeyStateError                     what was asked for a key is not possible in its state
    └── KeyAbandoned                      the key was closed by hand

Every error keeps its facts as attributes, builds its text from them, says what to do next and
survives pickling. None ever holds the API key.
"""

from __future__ import annotations

import pickle
import re
import reprlib
from collections.abc import Mapping, Sized
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast, dataclass_transform

import attrs

if TYPE_CHECKING:
    from videos_async.models import VideoRequest, VideoTask

__all__ = [
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
    "VideoUnavailable",
    "VideosError",
    "Violation",
    "WaitTimeout",
    "WatchLeft",
]

Key: TypeAlias = str | int
"""The caller's own name for a request or task; by default its index."""

_VALUE_LIMIT = 120
_LISTED_LIMIT = 20

_T = TypeVar("_T")


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(attrs.field,))
def _error(cls: type[_T]) -> type[_T]:
    """Make an error out of its facts: keyword-only, compared by identity.

    No slots: errors mix with built-in exceptions, whose memory layout does not allow them.
    """
    return attrs.define(cls, kw_only=True, eq=False, slots=False, repr=False)


@_error
class VideosError(Exception):
    """The root of everything this library raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        # mypy knows a class made by our own decorator as plain.
        fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(cast("Any", type(self)))
        return _rebuild, (type(self), {field.name: getattr(self, field.name) for field in fields})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


def _rebuild(kind: type[VideosError], facts: dict[str, Any]) -> VideosError:
    return kind(**facts)


@attrs.frozen(kw_only=True)
class Violation:
    """One rule that one field of a request breaks.

    Attributes:
        field: The field's name, with an index for items (``reference_images[2]``).
        rule: What must hold, as a phrase that follows the field's name.
        value: The value that was given; shortened in texts, whole here.
    """

    field: str
    rule: str
    value: object = attrs.field(hash=False)

    def __str__(self) -> str:
        return f"{self.field} {self.rule}, got {shorten(self.value)}"

    def __reduce__(self) -> tuple[Any, ...]:
        # What was given may be anything, a lambda included: the report travels all the same.
        return _rebuild_violation, (self.field, self.rule, _portable(self.value))


def _rebuild_violation(field: str, rule: str, value: object) -> Violation:
    return Violation(field=field, rule=rule, value=value)


def _portable(value: object) -> object:
    try:
        pickle.dumps(value)
    except Exception:  # noqa: BLE001 - a value's own pickling may do anything
        return shorten(value)
    return value


@_error
class ConfigurationError(VideosError, ValueError):
    """A setting of the session is wrong; nothing was sent.

    Attributes:
        setting: The argument or environment variable.
        problem: What is wrong with it and what to do, as a phrase that follows its name.
    """

    setting: str
    problem: str

    def __str__(self) -> str:
        return f"{self.setting} {self.problem}"


@_error
class InvalidRequest(VideosError, ValueError):
    """The request breaks one or more rules; nothing was sent.

    Attributes:
        violations: Every rule that is broken, in the order of the fields.
        key: The caller's name for the request, where it has one.
    """

    violations: tuple[Violation, ...]
    key: Key | None = None

    def __str__(self) -> str:
        listed = "; ".join(map(str, self.violations[:_LISTED_LIMIT]))
        left_out = len(self.violations) - _LISTED_LIMIT
        more = f"; and {left_out} more, see `violations`" if left_out > 0 else ""
        name = "" if self.key is None else f" {self.key!r}"
        return f"request{name} was not sent: {listed}{more}"


@_error
class InvalidResponse(VideosError):
    """An answer that is not what the contract promises.

    Attributes:
        path: Where in the body, as a JSON path (``$.created``).
        problem: What is wrong there.
        http_status: The status of the answer, where there was one.
        task_id: The task that was asked for, where there was one.
    """

    path: str
    problem: str
    http_status: int | None = None
    task_id: str | None = None

    def __str__(self) -> str:
        status = "" if self.http_status is None else f" (HTTP {self.http_status})"
        return f"the service's answer{status} is not the contract's: {self.path} {self.problem}"


@_error
class SessionClosed(VideosError, RuntimeError):
    """The session was closed; open a new one."""

    def __str__(self) -> str:
        return "the session is closed: open a new VideosSession"


# --- one POST ------------------------------------------------------------------------------


@_error
class SubmissionError(VideosError):
    """A submission that brought no task.

    Attributes:
        request: What was to be submitted.
        reason: What happened, in words.
        http_status: The status of the last answer, or None where none came.
        service_message: What the service said about it, or None.
        task_id: An id the service gave in spite of it, or None.
        key: The caller's name for the request, where it has one.
        attempts: How many times the request was tried.
    """

    request: VideoRequest
    reason: str
    http_status: int | None = None
    service_message: str | None = None
    task_id: str | None = None
    key: Key | None = None
    attempts: int = 1

    def _facts(self) -> str:
        parts = [self.reason]
        if self.http_status is not None:
            parts.append(f"HTTP {self.http_status}")
        if self.service_message:
            parts.append(f"the service said: {self.service_message}")
        if self.task_id is not None:
            parts.append(f"task id {self.task_id}")
        return "; ".join(parts)

    def _name(self) -> str:
        return "submission" if self.key is None else f"submission {self.key!r}"


@_error
class NotSubmitted(SubmissionError):
    """The service never accepted the request, so nothing is billed."""

    def __str__(self) -> str:
        tries = "once" if self.attempts == 1 else f"{self.attempts} times"
        return (
            f"{self._name()} did not reach the service, tried {tries}: {self._facts()}. "
            "Nothing is billed: check the address and the network, then submit again"
        )


@_error
class NotSent(NotSubmitted):
    """The batch had stopped before the request was sent, so nothing is billed."""

    def __str__(self) -> str:
        return f"{self._name()} was not sent: {self._facts()}. Nothing is billed: submit it again"


@_error
class SubmissionRefused(SubmissionError):
    """The service refused the request, so nothing is billed; sending it again will not help."""

    def __str__(self) -> str:
        return (
            f"{self._name()} was refused: {self._facts()}. Change the request before trying again"
        )


@_error
class AccountRefused(SubmissionRefused):
    """The service refused the account (401, 402 or 403): the next submission would fail too."""

    def __str__(self) -> str:
        return (
            f"{self._name()} was refused: {self._facts()}. "
            "Check the API key and the account's balance; every other submission would fail too"
        )


@_error
class SubmissionUncertain(SubmissionError):
    """The request may have been accepted and billed, but no task id came back.

    It is never sent again by itself: find out at the service whether it was accepted, and only
    then submit again.
    """

    def __str__(self) -> str:
        return (
            f"{self._name()} may have been accepted and billed, but brought no task id: "
            f"{self._facts()}. It was not sent again; "
            "look the task up at the service before you submit it once more"
        )


# --- a task whose id is known --------------------------------------------------------------


@_error
class TaskError(VideosError):
    """Trouble with a task whose id is known.

    Attributes:
        task_id: The id; ask again with ``session.query(task_id)``.
        task: The last snapshot that was seen, or None.
        key: The caller's name for the task, where it has one.
    """

    task_id: str
    task: VideoTask | None = None
    key: Key | None = None

    def _name(self) -> str:
        # A bare index tells a reader nothing that the id does not.
        return f"{self.task_id} ({self.key!r})" if isinstance(self.key, str) else self.task_id


@_error
class GenerationFailed(TaskError):
    """The service ended the task as failed.

    Attributes:
        reason: What the service said, or None where it said nothing.
    """

    reason: str | None = None

    def __str__(self) -> str:
        said = self.reason or "the service gave no reason"
        return f"task {self._name()} failed: {said}. Change the prompt or the media and submit anew"


@_error
class WaitTimeout(TaskError, TimeoutError):
    """The deadline came before the task's end; the task itself goes on at the service.

    Attributes:
        timeout_s: How long was waited, in seconds.
        last_error: The trouble of the last poll in words, or None where it went well.
    """

    timeout_s: float
    last_error: str | None = None

    def __str__(self) -> str:
        seen = "never answered for" if self.task is None else f"last seen {self.task.status!s}"
        trouble = "" if self.last_error is None else f", last poll: {self.last_error}"
        return (
            f"task {self._name()} did not end within {self.timeout_s:g} s ({seen}{trouble}). "
            "It goes on at the service: wait for the same id again, with a longer timeout"
        )


@_error
class WatchLeft(TaskError):
    """The batch was left before the task's end; the task itself goes on at the service."""

    def __str__(self) -> str:
        seen = "never seen" if self.task is None else f"last seen {self.task.status!s}"
        return (
            f"task {self._name()} was left before its end ({seen}). "
            "It goes on at the service: wait for the same id"
        )


@_error
class QueryFailed(TaskError):
    """Too many bad answers in a row for one task; the task itself may be well.

    Attributes:
        reason: What the last answer was, in words.
        attempts: How many times in a row it went wrong.
        http_status: The status of the last answer, or None where none came.
    """

    reason: str
    attempts: int
    http_status: int | None = None

    def __str__(self) -> str:
        times = "once" if self.attempts == 1 else f"{self.attempts} times in a row"
        return (
            f"task {self._name()} could not be queried, {times}: {self.reason}. "
            "The id stays valid: query it again when the service is well"
        )


@_error
class QueryRefused(TaskError):
    """The service refuses to tell about the task.

    Attributes:
        reason: What the service answered, in words.
        http_status: The status of the answer.
        service_message: What the service said about it, or None.
    """

    reason: str
    http_status: int
    service_message: str | None = None

    _next_step = "Check the API key, then query the same id again"

    def __str__(self) -> str:
        said = f": {self.service_message}" if self.service_message else ""
        return (
            f"the service refused to tell about task {self._name()}: "
            f"{self.reason} (HTTP {self.http_status}){said}. {self._next_step}"
        )


@_error
class TaskNotFound(QueryRefused):
    """The service does not know the id (any more)."""

    _next_step = "Check the id and the base URL; the service may also have dropped an old task"


# --- the file ------------------------------------------------------------------------------


@_error
class DownloadError(VideosError):
    """The video could not be brought into a whole file; no file stands under the final name.

    Attributes:
        task_id: The task whose video it is.
        target: The path it was to be written to.
        reason: What happened, in words.
    """

    task_id: str
    target: str
    reason: str

    def __str__(self) -> str:
        return f"video of task {self.task_id} was not saved to {self.target}: {self.reason}"


@_error
class TargetExists(DownloadError, FileExistsError):
    """The target is there already and was left as it is."""

    # OSError's own __str__ would win otherwise: it looks at args.
    __str__ = DownloadError.__str__


@_error
class TargetBusy(DownloadError):
    """Another download is writing the same target, in this process or in another one."""


@_error
class VideoUnavailable(DownloadError):
    """There is no URL for the video (yet), or what it leads to is no video."""


@_error
class VideoExpired(VideoUnavailable):
    """The URL of the video works no more and a fresh one does not either: it is gone for good.

    Attributes:
        age_s: How old the task is, in seconds, or None where the service did not tell.
        http_status: What the file server answered, or None where it was not asked.
    """

    age_s: float | None = None
    http_status: int | None = None

    def __str__(self) -> str:
        age = "" if self.age_s is None else f", {_age(self.age_s)} old"
        return (
            f"video of task {self.task_id}{age}, was not saved to {self.target}: {self.reason}. "
            "The service keeps a video for a limited time: make it anew"
        )


@_error
class DownloadIncomplete(DownloadError):
    """What arrived is not the whole file; it is kept, and the next call goes on with it.

    Attributes:
        received_bytes: How many bytes arrived, those of earlier calls included.
        expected_bytes: How many were declared, or None where none were.
    """

    received_bytes: int
    expected_bytes: int | None


@_error
class DiskFull(DownloadError):
    """There is no room for the file; what arrived is kept, and the next call goes on with it.

    Attributes:
        needed_bytes: How many bytes were still to be written, or None where none were declared.
        free_bytes: How many bytes there was room for, or None where that could not be told.
    """

    needed_bytes: int | None = None
    free_bytes: int | None = None


@_error
class VideoMismatch(DownloadError):
    """The file is whole and not the video it should be, by the `VideoCheck` it was held against.

    Attributes:
        flaws: What is wrong with it, one phrase each.
    """

    flaws: tuple[str, ...]


def _age(age_s: float) -> str:
    hours = age_s / 3600
    return f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.0f} days"


# --- the journal ---------------------------------------------------------------------------


@_error
class JournalError(VideosError):
    """A journal that cannot be used; the file is left as it is.

    Attributes:
        path: The journal's file.
        problem: What is wrong with it and what to do, as a phrase that follows its name.
    """

    path: str
    problem: str

    def __str__(self) -> str:
        return f"journal {self.path} {self.problem}"


@_error
class JournalLocked(JournalError):
    """Another batch drives the journal now.

    Attributes:
        pid: The process that does, or None where it left no word.
        host: The machine that process runs on, or None.
    """

    pid: int | None = None
    host: str | None = None


@_error
class JournalCorrupt(JournalError):
    """The journal is damaged, or parts of it are missing; nothing was sent."""


@_error
class JournalWriteFailed(JournalError):
    """The journal could not be written, so nothing more is sent.

    What is under way is followed to its end all the same.

    Attributes:
        unwritten: The ids that are paid for and that the journal does not hold, by key.
    """

    unwritten: Mapping[Key, str] = attrs.field(factory=dict[Key, str])

    def __str__(self) -> str:
        text = super().__str__()
        if not self.unwritten:
            return text
        listed = ", ".join(f"{key!r}: {task_id}" for key, task_id in self.unwritten.items())
        return f"{text}. These ids are paid for and stand nowhere else, by key: {listed}"


@_error
class KeyConflict(JournalError):
    """The key stands for another request in the journal, which may be paid for.

    Attributes:
        key: The key.
        recorded: The request in the journal.
        given: The request that was given now.
    """

    key: Key
    recorded: VideoRequest
    given: VideoRequest


@_error
class KeyStateError(VideosError):
    """What was asked for a key of a journal is not possible in its state; nothing was changed.

    Attributes:
        key: The key.
        state: Its state.
        action: What it was to do, as a phrase.
        allowed: The states in which it could.
    """

    key: Key
    state: str
    action: str
    allowed: tuple[str, ...]

    def __str__(self) -> str:
        text = f"key {self.key!r} is {self.state} and cannot {self.action}"
        if not self.allowed:
            return text
        return f"{text}: only one that is {', '.join(self.allowed)} can"


@_error
class KeyAbandoned(VideosError):
    """The key was closed by hand: it is neither sent nor watched any more.

    Attributes:
        key: The key.
        task_id: The id of its task, or None where it had none.
    """

    key: Key
    task_id: str | None = None

    def __str__(self) -> str:
        task = "" if self.task_id is None else f" (task {self.task_id})"
        return f"key {self.key!r}{task} was abandoned: re-arm it in the journal to submit it again"


# The part of a URL that is signed, and so a credential.
_URL_QUERY = re.compile(r"(https?://[^\s'\"?#]*[?#])[^\s'\"]+", re.IGNORECASE)


def without_signatures(text: str) -> str:
    """Cut the query of every URL in a text: what is signed there is a credential."""
    return _URL_QUERY.sub(r"\1…", text)


def shorten(value: object) -> str:
    """Show a value without letting it flood a log line or give a signed URL away."""
    try:
        shown = repr(value[: _VALUE_LIMIT + 1]) if isinstance(value, str) else _REPR.repr(value)
    except Exception as error:  # noqa: BLE001 - a value's own repr may do anything
        return f"<{type(value).__name__} whose repr raised {type(error).__name__}>"
    # A lone surrogate in the text would make the message itself unprintable.
    shown = shown.encode("utf-8", "backslashreplace").decode("utf-8")
    shown = without_signatures(shown)
    if len(shown) > _VALUE_LIMIT:
        size = f", {len(value)} long" if isinstance(value, Sized) else ""
        return f"{shown[:_VALUE_LIMIT]}… ({type(value).__name__}{size})"
    return shown if isinstance(value, str) else f"{shown} ({type(value).__name__})"


class _BoundedRepr(reprlib.Repr):
    """Shows the head of a value: a list that holds itself often over has no end to write."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxother = _VALUE_LIMIT

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write thousands of digits, and nobody reads them.
        return f"{x:#x}"[:20] + "…" if x.bit_length() > 1024 else super().repr_int(x, level)


_REPR = _BoundedRepr()
