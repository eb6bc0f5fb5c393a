"""The states of a key in a journal, and the one table of what may follow what.

The theory: a key is the caller's name for one request, and a journal holds one entry for each.
An entry is in exactly one state; each arrow between two states is one method of `JournalEntry`,
which returns the entry as it is afterwards. An arrow that the table does not have changes nothing
and raises.

::

    planned ---> intent ---> accepted ---> queued <--> processing ---> completed ---> downloaded
      |  ^          |            |            |             |              |
      |  '-retract--|            '------------'---- observe-+--> failed    '--------> expired
      |             |
      |             +---> refused      the service said no: not billed
      |             +---> uncertain    it may be billed, nobody knows
      |             '---> id-lost      it was accepted, but its id did not come through
      |
      '---> invalid                    it breaks rules and was never sent

    rearm     uncertain, id-lost, refused, invalid, failed, expired, abandoned ---> planned
    adopt     uncertain, id-lost, abandoned ---> accepted
    abandon   whatever goes on or is in doubt ---> abandoned

*Intent* is the state that costs money to lose: it is on the disk before the first byte of the
create call may leave, so whoever finds an intent without an outcome knows that the request may
be billed, and must not send it again by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple

import attrs

from videos_async.errors import (
    GenerationFailed,
    Key,
    KeyStateError,
    SubmissionUncertain,
    VideosError,
)
from videos_async.models import Status, VideoRequest, VideoTask

__all__ = ["ENDED", "IN_DOUBT", "IN_PROGRESS", "JournalEntry", "KeyState", "SavedFile"]


class KeyState(StrEnum):
    """Where a key of a journal stands."""

    PLANNED = "planned"
    INTENT = "intent"
    ACCEPTED = "accepted"
    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    DOWNLOADED = "downloaded"
    FAILED = "failed"
    REFUSED = "refused"
    INVALID = "invalid"
    UNCERTAIN = "uncertain"
    ID_LOST = "id-lost"
    EXPIRED = "expired"
    ABANDONED = "abandoned"


_S = KeyState

IN_PROGRESS: Final = frozenset({_S.ACCEPTED, _S.QUEUED, _S.PROCESSING})
"""Accepted by the service and not ended: to be watched by id."""

IN_DOUBT: Final = frozenset({_S.UNCERTAIN, _S.ID_LOST})
"""Possibly or certainly billed, without an id: for a human to resolve."""

ENDED: Final = frozenset(_S) - IN_PROGRESS - {_S.PLANNED, _S.INTENT}
"""Nothing more happens to these by itself."""


@attrs.frozen(eq=False)
class _Arrow:
    """What can happen to a key.

    Attributes:
        phrase: How an error says it.
        sources: The states in which it can.
    """

    phrase: str
    sources: frozenset[KeyState]


_INTEND: Final = _Arrow("be submitted", frozenset({_S.PLANNED}))
_RETRACT: Final = _Arrow("be taken back to planned", frozenset({_S.INTENT}))
_ACCEPT: Final = _Arrow("be accepted", frozenset({_S.INTENT}))
_OBSERVE: Final = _Arrow("be seen at the service", IN_PROGRESS)
_REFUSE: Final = _Arrow("be refused", frozenset({_S.INTENT}))
_REJECT: Final = _Arrow("be found invalid", frozenset({_S.PLANNED}))
_DOUBT: Final = _Arrow("be in doubt", frozenset({_S.INTENT}))
_SAVE: Final = _Arrow("be downloaded", frozenset({_S.COMPLETED}))
_EXPIRE: Final = _Arrow("expire", frozenset({_S.COMPLETED}))
_REARM: Final = _Arrow(
    "be re-armed",
    IN_DOUBT | {_S.REFUSED, _S.INVALID, _S.FAILED, _S.EXPIRED, _S.ABANDONED},
)
_ADOPT: Final = _Arrow("adopt a task", IN_DOUBT | {_S.ABANDONED})
_ABANDON: Final = _Arrow("be abandoned", IN_DOUBT | IN_PROGRESS | {_S.PLANNED})

# Half the time of the class's own, which takes the fields one by one; and to look up a member of
# an enumeration costs as much as a call.
_new: Callable[[type[JournalEntry], tuple[Any, ...]], JournalEntry]
_new = tuple.__new__  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
_INTENT: Final = _S.INTENT
_ACCEPTED: Final = _S.ACCEPTED
_FAILED: Final = _S.FAILED

_OBSERVED: Final[Mapping[Status, KeyState]] = {
    Status.QUEUED: _S.QUEUED,
    Status.PROCESSING: _S.PROCESSING,
    Status.COMPLETED: _S.COMPLETED,
    Status.FAILED: _S.FAILED,
}


@attrs.frozen(kw_only=True, weakref_slot=False)
class SavedFile:
    """The file a key's video was saved to.

    Attributes:
        path: Where it was put.
        size_bytes: Its length.
        sha256: The digest of its bytes, in hex.
        media_type: What the file server called it.
        is_verified: Whether its end could be told from a broken connection.
    """

    path: str
    size_bytes: int
    sha256: str
    media_type: str
    is_verified: bool


class JournalEntry(NamedTuple):
    """What a journal knows of one key.

    Attributes:
        key: The caller's name for the request.
        request: What was asked for.
        state: Where it stands.
        planned_at: When it was planned, Unix time in seconds.
        changed_at: When it came into its state, Unix time in seconds.
        intent_at: When it was last about to be sent, Unix time in seconds, or None.
        task_id: The id of its task, or None while it has none.
        task: The last snapshot of its task, or None. Its `video_url` and `extra` are not kept.
        error: Why it ended without a video, or None.
        file: Where its video was saved, or None. While it is only ``completed``: where it may
            have been, had the process not ended just then.
        rearmed: How many times one more create call was allowed.
        idempotency: Which of its create calls are one and the same to a service that
            understands an ``Idempotency-Key``: raised where a new generation is wanted.
        position: Its place in the journal, from 1, or None while it is not written.
    """

    key: Key
    request: VideoRequest
    planned_at: float
    changed_at: float
    state: KeyState = KeyState.PLANNED
    intent_at: float | None = None
    task_id: str | None = None
    task: VideoTask | None = None
    error: VideosError | None = None
    file: SavedFile | None = None
    rearmed: int = 0
    idempotency: int = 0
    position: int | None = None

    @property
    def is_ended(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self.state in ENDED

    @property
    def elapsed_s(self) -> float:
        """Seconds from when it was about to be sent until it came into its state."""
        began_at = self.planned_at if self.intent_at is None else self.intent_at
        return max(0.0, self.changed_at - began_at)

    # Every request comes through these three, so they and `_seen` call nothing they need not.

    def intend(self, at: float) -> JournalEntry:
        """Be about to send the create call."""
        key, request, planned_at, _, state, _, _, _, _, file, rearmed, idempotency, position = self
        if state not in _INTEND.sources:
            raise self._illegal(_INTEND)
        fields = (
            key,
            request,
            planned_at,
            at,
            _INTENT,
            at,
            None,
            None,
            None,
            file,
            rearmed,
            idempotency,
            position,
        )
        return _new(JournalEntry, fields)

    def accept(self, task: VideoTask, at: float) -> JournalEntry:
        """Take in the id of what was paid for, and what else the create call's answer said."""
        return self._seen(_ACCEPT, _ACCEPTED, task, at)

    def observe(self, task: VideoTask, at: float, error: VideosError | None = None) -> JournalEntry:
        """Take in how its task stands; a status that is in no document changes no state.

        Args:
            task: The task.
            at: When, as a Unix time.
            error: Why it failed, where that is known better than by the task.
        """
        return self._seen(_OBSERVE, self.state, task, at, error)

    def _seen(
        self,
        arrow: _Arrow,
        otherwise: KeyState,
        task: VideoTask,
        at: float,
        error: VideosError | None = None,
    ) -> JournalEntry:
        (
            key,
            request,
            planned_at,
            _,
            before,
            intent_at,
            task_id,
            _,
            _,
            file,
            rearmed,
            idempotency,
            position,
        ) = self
        if before not in arrow.sources:
            raise self._illegal(arrow)
        state = _OBSERVED.get(task.status, otherwise)
        if state is not _FAILED:
            error = None
        elif error is None:
            # An end without a video says why.
            error = GenerationFailed(task_id=task.id, task=task, key=key, reason=task.error)
        fields = (
            key,
            request,
            planned_at,
            at,
            state,
            intent_at,
            task_id or task.id,
            task,
            error,
            file,
            rearmed,
            idempotency,
            position,
        )
        return _new(JournalEntry, fields)

    def retract(self, at: float) -> JournalEntry:
        """Find that the create call was certainly not accepted: it may be sent again."""
        self._check(_RETRACT)
        return self._replace(state=_S.PLANNED, changed_at=at)

    def refuse(self, error: VideosError, at: float) -> JournalEntry:
        """Take in that the service refused it."""
        self._check(_REFUSE)
        return self._replace(state=_S.REFUSED, changed_at=at, error=error)

    def reject(self, error: VideosError, at: float) -> JournalEntry:
        """Take in that it breaks rules and is not sent."""
        self._check(_REJECT)
        return self._replace(state=_S.INVALID, changed_at=at, error=error)

    def doubt(self, error: SubmissionUncertain, at: float) -> JournalEntry:
        """Take in that it may be billed and brought no id."""
        self._check(_DOUBT)
        status = error.http_status
        is_accepted = status is not None and 200 <= status < 300
        state = _S.ID_LOST if is_accepted else _S.UNCERTAIN
        return self._replace(state=state, changed_at=at, error=error)

    def save(self, file: SavedFile, at: float) -> JournalEntry:
        """Take in that its video stands in a file."""
        self._check(_SAVE)
        return self._replace(state=_S.DOWNLOADED, changed_at=at, file=file)

    def stage(self, file: SavedFile) -> JournalEntry:
        """Take in what its file is, just before the file gets its name."""
        self._check(_SAVE)
        return self._replace(file=file)

    def expire(self, error: VideosError, at: float) -> JournalEntry:
        """Take in that its video is gone for good."""
        self._check(_EXPIRE)
        return self._replace(state=_S.EXPIRED, changed_at=at, error=error)

    def rearm(self, at: float) -> JournalEntry:
        """Allow one more create call.

        Where the last one is in doubt, the next carries the same ``Idempotency-Key``, so that a
        service that understands it bills once, and so it does where a doubt was closed by hand.
        Where it came to an end, a new one is meant.
        """
        self._check(_REARM)
        is_doubtful = self.state in IN_DOUBT or (
            self.state is _S.ABANDONED and self.task_id is None
        )
        is_anew = not is_doubtful
        return self._replace(
            state=_S.PLANNED,
            changed_at=at,
            task_id=None,
            task=None,
            error=None,
            file=None,
            rearmed=self.rearmed + 1,
            idempotency=self.idempotency + is_anew,
        )

    def adopt(self, task_id: str, at: float) -> JournalEntry:
        """Attach the id of its task, found by other means."""
        self._check(_ADOPT)
        return self._replace(
            state=_S.ACCEPTED, changed_at=at, task_id=task_id, task=None, error=None
        )

    def abandon(self, at: float) -> JournalEntry:
        """Close it: it is neither sent nor watched any more."""
        self._check(_ABANDON)
        return self._replace(state=_S.ABANDONED, changed_at=at)

    def _check(self, arrow: _Arrow) -> None:
        if self.state not in arrow.sources:
            raise self._illegal(arrow)

    def _illegal(self, arrow: _Arrow) -> KeyStateError:
        return KeyStateError(
            key=self.key,
            state=self.state.value,
            action=arrow.phrase,
            allowed=tuple(state.value for state in KeyState if state in arrow.sources),
        )
