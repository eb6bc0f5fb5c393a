"""The record of one task that is followed: what was seen of it, and when to look next.

Thousands of these wait at a time, so what they have in common is shared, and what is rare hangs
on one field that is None as long as all is well.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from videos_async._cohort import Cohort
from videos_async.errors import Key
from videos_async.models import Status, VideoRequest, VideoTask

__all__ = ["Followed", "Troubles", "story"]


@attrs.define(kw_only=True, eq=False, weakref_slot=False)
class Troubles:
    """The bad answers in a row of one task."""

    last_error: str
    failures: int = 0
    refusals: int = 0


@attrs.define(kw_only=True, eq=False, weakref_slot=False)
class Followed:
    """One task that is followed.

    Attributes:
        key: The caller's name for it.
        task_id: Its id.
        started_s: From when on `Transition.elapsed` counts.
        added_s: Since when it is followed.
        timeout_s: Seconds from then on until it is given up, or None for never.
        request: What its transitions are to carry.
        task: The newest snapshot.
        seen: The statuses that were told, in order.
        troubles: The bad answers since the last good one, or None.
        fingerprint: Tells the last answer from others.
        due_s: When it is due, or None while it is in flight or has ended.
        looked_s: When it was last seen, or became known.
        entered_s: When it came into its status, as far as is known or guessed; None where
            nothing is known.
        cohort: What was learned of its kind, where anything is.
    """

    key: Key
    task_id: str
    started_s: float
    added_s: float
    timeout_s: float | None
    request: VideoRequest | None
    looked_s: float
    entered_s: float | None = None
    cohort: Cohort | None = None
    task: VideoTask | None = None
    seen: tuple[Status, ...] = ()
    troubles: Troubles | None = None
    fingerprint: int | None = None
    due_s: float | None = None

    def __lt__(self, other: Followed) -> bool:
        # For a heap of (due_s, followed), where two are due at the same instant.
        return self.added_s < other.added_s

    @property
    def status(self) -> Status | None:
        """The status that was told last."""
        return self.seen[-1] if self.seen else None

    @property
    def deadline_s(self) -> float | None:
        """When it is given up, or None for never."""
        return None if self.timeout_s is None else self.added_s + self.timeout_s


_QUEUED, _PROCESSING = (Status.QUEUED,), (Status.QUEUED, Status.PROCESSING)
_STORIES: Mapping[tuple[Status, ...], tuple[Status, ...]] = {
    _QUEUED: _QUEUED,
    _PROCESSING: _PROCESSING,
}


def story(seen: tuple[Status, ...], status: Status) -> tuple[Status, ...]:
    """Add a status to those that were told; most tasks have the same few stories and share them."""
    longer = (*seen, status)
    return _STORIES.get(longer, longer)
