"""What a batch writes down of its keys in a journal, as things happen to them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from videos_async._download import Download
from videos_async._input import Pulled, Requests
from videos_async._journal_input import JournalInput
from videos_async._journal_writer import JournalWriter
from videos_async._learning import Learner
from videos_async._open_journals import JournalWriters
from videos_async._recorder import Recorder, StagingCall, idempotency_key
from videos_async._replay import file_of
from videos_async._rows import is_writable
from videos_async._states import IN_PROGRESS, JournalEntry, KeyState
from videos_async.errors import (
    AccountRefused,
    InvalidRequest,
    JournalWriteFailed,
    Key,
    NotSubmitted,
    SubmissionError,
    SubmissionRefused,
    SubmissionUncertain,
    VideoExpired,
)
from videos_async.models import Status, Transition, VideoTask

__all__ = ["JournalRecorder"]

# What was learned since is lost with a process that is killed: it costs some polls.
_REMEMBERED_EVERY_S: Final = 60.0


class JournalRecorder(Recorder):
    """Writes everything down in a journal.

    Args:
        requests: The input, or None to go on with what the journal holds.
        path: The journal's file.
        writers: The journals that are open in this session.
        may_create: Whether the journal may be new.
        is_partial: Whether the batch has to do with the keys of its input alone.
        learner: Learns when tasks end, and goes on where an earlier run was; or None.
    """

    def __init__(
        self,
        requests: Requests | None,
        *,
        path: Path,
        writers: JournalWriters,
        may_create: bool,
        is_partial: bool = False,
        learner: Learner | None = None,
    ) -> None:
        super().__init__(() if requests is None else requests)
        self._source = JournalInput(
            requests, self.input, is_partial=is_partial, expect=self._expect
        )
        self._path = path
        self._writers = writers
        self._may_create = may_create
        self._is_partial = is_partial
        self._learner = learner
        self._remembered_at = time.monotonic()
        self.intents = self
        # The journal's, from when it is opened on.
        self._writer: JournalWriter
        self._is_open = False
        self._live: dict[Key, JournalEntry] = {}
        # Of these the journal knows nothing yet.
        self._unwritten: set[Key] = set()
        # Of a list by its plan; and nobody knows of an input that is not given again.
        self._is_completeness_told = self._source.is_complete

    # --- opening and closing -------------------------------------------------------------

    async def open(self) -> None:
        """Open the journal and plan the input, where it is a list or the like.

        Raises:
            JournalError: The journal cannot be used; nothing was sent.
            KeyConflict: A key of the input stands for another request; nothing was sent.
        """
        writer = await self._writers.acquire(
            self._path, may_create=self._may_create, is_whole=not self._is_partial
        )
        self._writer, self._is_open = writer, True
        writer.on_failure.add(self.on_failure)
        writer.on_commit.add(self.on_commit)
        try:
            # Before anything is added.
            self._batch_id, revision = await writer.call(writer.database.bearings)
            if self._learner is not None and revision:
                facts = await writer.call(writer.database.facts)
                if "learned" in facts:
                    self._learner.restore(facts["learned"])
            await self._source.open(writer, revision)
        except BaseException:
            await self._release()
            raise

    async def aclose(self) -> JournalWriteFailed | None:
        """Write what is left and let go of the journal."""
        try:
            await self._release()
        except JournalWriteFailed as failure:
            return failure
        return None

    async def _release(self) -> None:
        if self._is_open:
            writer = self._writer
            self._remember()
            self._is_open = False
            del self._writer
            writer.on_failure.discard(self.on_failure)
            writer.on_commit.discard(self.on_commit)
            self._source.release()
            with anyio.CancelScope(shield=True):
                await self._writers.release(writer)

    # --- where the keys come from --------------------------------------------------------

    def close(self) -> None:
        """Pull no more; what is planned stays so."""
        super().close()
        self._source.close()

    async def pull(self) -> Pulled | None:
        """Take the next request that the journal has planned, then of the input."""
        pulled = await self._source.pull()
        if pulled is None:
            self._tell_completeness()
        return pulled

    def _expect(self, entry: JournalEntry, *, is_new: bool) -> None:
        self._live[entry.key] = entry
        if is_new:
            self._unwritten.add(entry.key)

    async def taken_up(self) -> AsyncIterator[JournalEntry]:
        """Iterate over what an earlier run left, in the order in which it was planned."""
        async for entry in self._source.taken_up():
            if entry.state in IN_PROGRESS:
                self._live[entry.key] = entry
            yield entry

    # --- one key -------------------------------------------------------------------------

    def idempotency_key(self, key: Key) -> str:
        """Tell what marks the create calls of one key as one and the same."""
        return idempotency_key(self._batch_id, key, self._live[key].idempotency)

    async def declare(self, key: Key) -> None:
        """Write down that the create call of a key is about to be sent.

        Raises:
            JournalWriteFailed: It is not on the disk.
        """
        entry = self._live[key].intend(time.time())
        is_new = key in self._unwritten
        intent = self._writer.add(entry, is_new=is_new, is_intent=True)
        try:
            await intent.waiter
        except asyncio.CancelledError as cancelled:
            failure = await self._writer.outcome(intent)
            if failure is None:
                self._live[key] = entry
                self._written(key)
            raise cancelled from failure
        self._live[key] = entry
        if is_new:
            self._written(key)

    def _written(self, key: Key) -> None:
        """Note that a key has its row, or has it before anything that is written from now on."""
        self._unwritten.discard(key)
        if not self._unwritten:
            self._tell_completeness()

    def _tell_completeness(self) -> None:
        """Write down that the whole input is in the journal, once each key is."""
        is_whole = self._source.is_complete and not self._unwritten
        if is_whole and not self._is_completeness_told:
            self._is_completeness_told = True
            self._writer.write_facts({"is_input_complete": True})

    def retract(self, key: Key) -> None:
        """Write down that a create call was certainly not accepted."""
        entry = self._live[key]
        if entry.state is KeyState.INTENT:
            self._put(entry.retract(time.time()))

    def accepted(self, key: Key, task: VideoTask) -> int:
        """Write down the id of what was paid for; one that cannot be written is kept.

        It is on its way to the disk when this returns, and there before the next intent of
        whoever submitted it: each submitter leaves one key in doubt at most.
        """
        entry = self._live[key] = self._live[key].accept(task, time.time())
        return self._writer.write_at_once(entry)

    def note(self, change: Transition, *, is_last: bool) -> None:
        """Write down what was observed."""
        key, task = change.key, change.task
        entry = self._live.get(key)
        if entry is None:
            # One of a list that JSON cannot hold, or one that had ended before.
            return
        if change.error is not None:
            self._note_trouble(entry, change)
        elif task is not None and task is not entry.task and entry.state in IN_PROGRESS:
            # What the create call said of it went with its id.
            self._live[key] = entry = entry.observe(task, time.time())
            self._writer.write(entry)
        if is_last:
            self._forget(key)

    def _note_trouble(self, entry: JournalEntry, change: Transition) -> None:
        after = _after(entry, change, time.time())
        if after.state is KeyState.INVALID and not is_writable(entry.request):
            # It has no row, and can have none.
            self._written(entry.key)
        elif after is not entry or entry.key in self._unwritten:
            self._put(after)

    def _forget(self, key: Key) -> None:
        del self._live[key]
        if self._learner is None:
            return
        if time.monotonic() - self._remembered_at > _REMEMBERED_EVERY_S:
            self._remember()

    def _remember(self) -> None:
        """Write down what was learned of the service, for the polls of a later run."""
        self._remembered_at = time.monotonic()
        if self._learner is not None and self._writer.failure is None:
            self._writer.write_facts({"learned": self._learner.snapshot()})

    def follow(self, entry: JournalEntry) -> None:
        """Expect more of a key that was taken up."""
        self._live[entry.key] = entry

    def staging(self, key: Key) -> StagingCall:
        """Make what is called with a file that is whole, before it gets its name."""
        return partial(self._stage, key)

    async def _stage(self, key: Key, download: Download) -> None:
        entry = self._live[key].stage(file_of(download))
        # Not an intent: a file that stands there unknown to the journal costs a download at most.
        with suppress(JournalWriteFailed):
            await self._writer.commit(entry)
        self._live[key] = entry

    def saved(self, change: Transition) -> None:
        """Write down what became of a file."""
        entry = self._live[change.key]
        self._forget(change.key)
        now = time.time()
        if change.download is not None:
            self._writer.write(entry.save(file_of(change.download), now))
        elif isinstance(change.error, VideoExpired):
            self._writer.write(entry.expire(change.error, now))

    def _put(self, entry: JournalEntry) -> None:
        key = entry.key
        self._live[key] = entry
        if key not in self._unwritten:
            self._writer.write(entry)
        elif self._writer.failure is None:
            self._writer.write(entry, is_new=True)
            self._written(key)
        # Else it was never sent, the input has it, and the journal has no room.


def _after(entry: JournalEntry, change: Transition, now: float) -> JournalEntry:
    """Tell what an entry is after an end with an error; the same where it changes nothing."""
    task, error = change.task, change.error
    if isinstance(error, (SubmissionError, InvalidRequest)):
        return _not_accepted(entry, error, now)
    if task is None or task is entry.task or entry.state not in IN_PROGRESS:
        # A deadline, say: it goes on at the service, and so it does here.
        return entry
    return entry.observe(task, now, error if task.status == Status.FAILED else None)


def _not_accepted(
    entry: JournalEntry, error: SubmissionError | InvalidRequest, now: float
) -> JournalEntry:
    match error:
        case SubmissionUncertain():
            return entry.doubt(error, now)
        case AccountRefused() | NotSubmitted():
            # Not billed, and nothing is wrong with the request: the next run may send it.
            return entry.retract(now) if entry.state is KeyState.INTENT else entry
        case SubmissionRefused():
            return entry.refuse(error, now)
        case InvalidRequest():
            return entry.reject(error, now)
        case _:
            return entry
