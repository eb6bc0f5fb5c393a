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

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

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


class _Arrow(StrEnum):
    """What can happen to a key; the value is the phrase an error says it with."""

    INTEND = "be submitted"
    RETRACT = "be taken back to planned"
    ACCEPT = "be accepted"
    OBSERVE = "be seen at the service"
    REFUSE = "be refused"
    REJECT = "be found invalid"
    DOUBT = "be in doubt"
    SAVE = "be downloaded"
    EXPIRE = "expire"
    REARM = "be re-armed"
    ADOPT = "adopt a task"
    ABANDON = "be abandoned"


_FROM: Final[Mapping[_Arrow, frozenset[KeyState]]] = {
    _Arrow.INTEND: frozenset({_S.PLANNED}),
    _Arrow.RETRACT: frozenset({_S.INTENT}),
    _Arrow.ACCEPT: frozenset({_S.INTENT}),
    _Arrow.OBSERVE: IN_PROGRESS,
    _Arrow.REFUSE: frozenset({_S.INTENT}),
    _Arrow.REJECT: frozenset({_S.PLANNED}),
    _Arrow.DOUBT: frozenset({_S.INTENT}),
    _Arrow.SAVE: frozenset({_S.COMPLETED}),
    _Arrow.EXPIRE: frozenset({_S.COMPLETED}),
    _Arrow.REARM: IN_DOUBT | {_S.REFUSED, _S.INVALID, _S.FAILED, _S.EXPIRED, _S.ABANDONED},
    _Arrow.ADOPT: IN_DOUBT | {_S.ABANDONED},
    _Arrow.ABANDON: IN_DOUBT | IN_PROGRESS | {_S.PLANNED},
}

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

    def intend(self, at: float) -> JournalEntry:
        """Be about to send the create call."""
        return self._moved(_Arrow.INTEND, _S.INTENT, at)

    def retract(self, at: float) -> JournalEntry:
        """Find that the create call was certainly not accepted: it may be sent again."""
        self._check(_Arrow.RETRACT)
        return self._replace(state=_S.PLANNED, changed_at=at)

    def accept(self, task: VideoTask, at: float) -> JournalEntry:
        """Take in the id of what was paid for, and what else the create call's answer said."""
        state = _OBSERVED.get(task.status, _S.ACCEPTED)
        error = self._failure(task) if task.status == Status.FAILED else None
        return self._moved(_Arrow.ACCEPT, state, at, task, error)

    def observe(self, task: VideoTask, at: float, error: VideosError | None = None) -> JournalEntry:
        """Take in how its task stands; a status that is in no document changes no state.

        Args:
            task: The task.
            at: When, as a Unix time.
            error: Why it failed, where that is known better than by the task.
        """
        state = _OBSERVED.get(task.status, self.state)
        error = (error or self._failure(task)) if task.status == Status.FAILED else None
        return self._moved(_Arrow.OBSERVE, state, at, task, error)

    def _failure(self, task: VideoTask) -> VideosError:
        """Make what a failed task ends a key with: an end without a video says why."""
        return GenerationFailed(task_id=task.id, task=task, key=self.key, reason=task.error)

    def refuse(self, error: VideosError, at: float) -> JournalEntry:
        """Take in that the service refused it."""
        self._check(_Arrow.REFUSE)
        return self._replace(state=_S.REFUSED, changed_at=at, error=error)

    def reject(self, error: VideosError, at: float) -> JournalEntry:
        """Take in that it breaks rules and is not sent."""
        self._check(_Arrow.REJECT)
        return self._replace(state=_S.INVALID, changed_at=at, error=error)

    def doubt(self, error: SubmissionUncertain, at: float) -> JournalEntry:
        """Take in that it may be billed and brought no id."""
        self._check(_Arrow.DOUBT)
        status = error.http_status
        is_accepted = status is not None and 200 <= status < 300
        state = _S.ID_LOST if is_accepted else _S.UNCERTAIN
        return self._replace(state=state, changed_at=at, error=error)

    def save(self, file: SavedFile, at: float) -> JournalEntry:
        """Take in that its video stands in a file."""
        self._check(_Arrow.SAVE)
        return self._replace(state=_S.DOWNLOADED, changed_at=at, file=file)

    def stage(self, file: SavedFile) -> JournalEntry:
        """Take in what its file is, just before the file gets its name."""
        self._check(_Arrow.SAVE)
        return self._replace(file=file)

    def expire(self, error: VideosError, at: float) -> JournalEntry:
        """Take in that its video is gone for good."""
        self._check(_Arrow.EXPIRE)
        return self._replace(state=_S.EXPIRED, changed_at=at, error=error)

    def rearm(self, at: float) -> JournalEntry:
        """Allow one more create call.

        Where the last one is in doubt, the next carries the same ``Idempotency-Key``, so that a
        service that understands it bills once, and so it does where a doubt was closed by hand.
        Where it came to an end, a new one is meant.
        """
        self._check(_Arrow.REARM)
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
        self._check(_Arrow.ADOPT)
        return self._replace(
            state=_S.ACCEPTED, changed_at=at, task_id=task_id, task=None, error=None
        )

    def abandon(self, at: float) -> JournalEntry:
        """Close it: it is neither sent nor watched any more."""
        self._check(_Arrow.ABANDON)
        return self._replace(state=_S.ABANDONED, changed_at=at)

    def _moved(
        self,
        arrow: _Arrow,
        state: KeyState,
        at: float,
        task: VideoTask | None = None,
        error: VideosError | None = None,
    ) -> JournalEntry:
        # Every request comes through here several times, so nothing is called that need not be.
        if self.state not in _FROM[arrow]:
            raise self._illegal(arrow)
        moved = (
            self.key,
            self.request,
            self.planned_at,
            at,
            state,
            at if task is None else self.intent_at,
            None if task is None else self.task_id or task.id,
            task,
            error,
            self.file,
            self.rearmed,
            self.idempotency,
            self.position,
        )
        return tuple.__new__(JournalEntry, moved)  # pyright: ignore[reportUnknownMemberType]

    def _check(self, arrow: _Arrow) -> None:
        if self.state not in _FROM[arrow]:
            raise self._illegal(arrow)

    def _illegal(self, arrow: _Arrow) -> KeyStateError:
        allowed = _FROM[arrow]
        return KeyStateError(
            key=self.key,
            state=self.state.value,
            action=arrow.value,
            allowed=tuple(state.value for state in KeyState if state in allowed),
        )
