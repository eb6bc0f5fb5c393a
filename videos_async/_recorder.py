"""What a batch writes down of its keys, and where its requests come from.

Without a journal that is nothing, and they come from the input: that is `Recorder`, and what
`JournalRecorder` begins with.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

from videos_async._calls import Intents
from videos_async._download import Download
from videos_async._input import Input, Pulled, Requests
from videos_async._rows import key_to_text
from videos_async._states import JournalEntry
from videos_async.errors import JournalWriteFailed, Key
from videos_async.models import Transition, VideoTask

__all__ = ["Recorder", "StagingCall", "idempotency_key"]

StagingCall: TypeAlias = Callable[[Download], Awaitable[None]]


def _shrug(*_: object) -> None:
    """Whoever cares says so."""


class Recorder:
    """Writes nothing down and pulls from the input: a batch without a journal.

    Attributes:
        input: The requests that were given.
        on_failure: Called when something cannot be written.
        on_commit: Called with the number of each commit that was made, or failed.
        intents: Announces create calls, where they are written down; or None.
    """

    intents: Intents | None = None

    def __init__(self, requests: Requests) -> None:
        self.input = Input(requests)
        self.on_failure: Callable[[JournalWriteFailed], None] = _shrug
        self.on_commit: Callable[[int], None] = _shrug
        self._batch_id = os.urandom(16).hex()

    async def open(self) -> None:
        """Get ready."""

    async def aclose(self) -> JournalWriteFailed | None:
        """Let go of everything; return what could not be written to the last."""
        return None

    def close(self) -> None:
        """Pull no more."""
        self.input.close()

    async def pull(self) -> Pulled | None:
        """Take the next request to be submitted."""
        return await self.input.pull()

    async def taken_up(self) -> AsyncIterator[JournalEntry]:
        """Iterate over what an earlier run left."""
        nothing: tuple[JournalEntry, ...] = ()
        for entry in nothing:
            yield entry

    def idempotency_key(self, key: Key) -> str:
        """Tell what marks the create calls of one key as one and the same."""
        return idempotency_key(self._batch_id, key, 0)

    def accepted(
        self,
        key: Key,  # noqa: ARG002 - of a batch with a journal
        task: VideoTask,  # noqa: ARG002 - as above
    ) -> int | None:
        """Write down the id of what was paid for.

        Returns:
            The number of the commit that brings it to the disk, see `on_commit`; None where
            nothing is written down.
        """
        return None

    def note(self, change: Transition, *, is_last: bool) -> None:
        """Write down what was observed; `is_last` where nothing follows on it."""

    def follow(self, entry: JournalEntry) -> None:
        """Expect more of a key that was taken up."""

    def staging(self, key: Key) -> StagingCall | None:  # noqa: ARG002 - as above
        """Make what is called with a file that is whole, before it gets its name."""
        return None

    def saved(self, change: Transition) -> None:
        """Write down what became of a file."""


def idempotency_key(batch_id: str, key: Key, idempotency: int) -> str:
    """Make what marks the create calls of one key as one and the same."""
    told = f"{batch_id}\n{key_to_text(key)}\n{idempotency}"
    return hashlib.sha256(told.encode()).hexdigest()[:32]
