"""What a batch writes down of its keys, and where its requests come from.

Without a journal that is nothing, and they come from the input. With one, every key has an entry:
the input is planned into the journal first where its length is known, and what is pulled is what
the journal has planned. What an earlier run left is taken up beside it: what was accepted is
watched by id, what had ended ends again.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sized
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import anyio
import anyio.lowlevel

from videos_async._calls import Intent
from videos_async._download import Download
from videos_async._input import Input, Requests
from videos_async._journal_writer import JournalWriter, JournalWriters
from videos_async._learning import Learner
from videos_async._rows import key_to_text, request_to_text
from videos_async._states import IN_PROGRESS, JournalEntry, KeyState, SavedFile
from videos_async.errors import (
    AccountRefused,
    InvalidRequest,
    JournalWriteFailed,
    Key,
    KeyAbandoned,
    KeyConflict,
    NotSubmitted,
    SubmissionRefused,
    SubmissionUncertain,
    VideoExpired,
    VideosError,
    Violation,
)
from videos_async.models import Status, Transition, VideoRequest, VideoTask

__all__ = ["JournalRecorder", "Pulled", "Recorder", "download_of", "replayed"]

StagingCall: TypeAlias = Callable[[Download], Awaitable[None]]

# What was learned since is lost with a process that is killed: it costs some polls.
_REMEMBERED_EVERY_S: Final = 60.0
_PLANNED_AT_ONCE: Final = 256
_TAKEN_UP: Final = frozenset(KeyState) - {KeyState.PLANNED, KeyState.INTENT}


class Pulled(NamedTuple):
    """One request to be submitted, and what is wrong with the item it came from."""

    key: Key
    request: VideoRequest
    flaw: Violation | None


def _shrug(_: JournalWriteFailed) -> None:
    """Whoever cares says so."""


class Recorder:
    """Writes nothing down and pulls from the input: a batch without a journal.

    Attributes:
        input: The requests that were given.
        on_failure: Called when something cannot be written.
    """

    def __init__(self, requests: Requests) -> None:
        self.input = Input(requests)
        self.on_failure: Callable[[JournalWriteFailed], None] = _shrug
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
        pulled = await self.input.pull()
        return None if pulled is None else Pulled(*pulled)

    async def taken_up(self) -> AsyncIterator[JournalEntry]:
        """Iterate over what an earlier run left."""
        nothing: tuple[JournalEntry, ...] = ()
        for entry in nothing:
            yield entry

    def intent(self, key: Key) -> Intent | None:  # noqa: ARG002 - of a batch with a journal
        """Make what announces the create call of a key."""
        return None

    def idempotency_key(self, key: Key) -> str:
        """Tell what marks the create calls of one key as one and the same."""
        return _digest(self._batch_id, key, 0)

    def accepted(
        self,
        key: Key,  # noqa: ARG002 - of a batch with a journal
        task: VideoTask,  # noqa: ARG002 - as above
    ) -> Callable[[], Awaitable[None]] | None:
        """Write down the id of what was paid for.

        Returns:
            What returns once that is on the disk, or could not be brought there; None where
            nothing is written down.
        """
        return None

    def note(self, change: Transition, *, is_last: bool = True) -> None:
        """Write down what was observed; `is_last` where nothing follows on an end."""

    def follow(self, entry: JournalEntry) -> None:
        """Expect more of a key that was taken up."""

    def staging(self, key: Key) -> StagingCall | None:  # noqa: ARG002 - as above
        """Make what is called with a file that is whole, before it gets its name."""
        return None

    def saved(self, change: Transition) -> None:
        """Write down what became of a file."""


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
        self._has_length = isinstance(requests, Sized)
        self._path = path
        self._writers = writers
        self._may_create = may_create
        self._is_partial = is_partial
        self._learner = learner
        self._remembered_at = time.monotonic()
        self._opened: JournalWriter | None = None
        self._is_fresh = True
        self._is_closed = False
        self._revision = 0
        self._turn = anyio.Lock(fast_acquire=True)
        # Of a list the requests are at hand, and need not be read back.
        self._given: dict[Key, VideoRequest] = {}
        self._flawed: deque[Pulled] = deque()
        self._planned: deque[JournalEntry] = deque()
        self._planned_after = 0
        self._is_all_planned_pulled = False
        self._claimed: list[Key] = []
        self._known_given: list[JournalEntry] = []
        self._live: dict[Key, JournalEntry] = {}
        # Of these the journal knows nothing yet.
        self._unwritten: set[Key] = set()
        # Whether there is nothing more to be found out about that.
        self._is_input_complete = requests is None or self._has_length

    @property
    def _writer(self) -> JournalWriter:
        assert self._opened is not None  # noqa: S101 - opened before anything else
        return self._opened

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
        self._opened = writer
        writer.on_failure.add(self.on_failure)
        try:
            # Before anything is added: what has a later number is of this run.
            self._batch_id, self._revision = await writer.call(writer.database.bearings)
            self._is_fresh = self._revision == 0
            if self._learner is not None and not self._is_fresh:
                facts = await writer.call(writer.database.facts)
                if "learned" in facts:
                    self._learner.restore(facts["learned"])
            if self._has_length:
                await self._plan()
            if self._is_partial:
                await self._claim()
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
        writer = self._opened
        if writer is not None:
            self._remember()
            self._opened = None
            writer.on_failure.discard(self.on_failure)
            for key in self._claimed:
                writer.disclaim(key)
            with anyio.CancelScope(shield=True):
                await self._writers.release(writer)

    async def _claim(self) -> None:
        """Wait until nobody else is at work on the keys of the input, and see how they stand."""
        writer = self._writer
        for key in self._given:
            await writer.claim(key)
            self._claimed.append(key)
        # What the one before us found out may be on its way to the disk still.
        await writer.sync()
        found = [await writer.call(writer.database.find, key) for key in self._given]
        self._known_given = [entry for entry in found if entry is not None]

    # --- planning ------------------------------------------------------------------------

    async def _plan(self) -> None:
        """Write the whole input into the journal, or none of it."""
        while (pulled := await super().pull()) is not None:
            if pulled.flaw is not None or not _is_writable(pulled.request):
                # It cannot be sent, and is told with the rest.
                self._flawed.append(pulled)
            else:
                self._given[pulled.key] = pulled.request
            if self.input.pulled % _PLANNED_AT_ONCE == 0:
                await anyio.lowlevel.checkpoint()
        is_complete = self.input.failure is None and not self._is_partial
        await self._writer.call(
            self._writer.database.plan,
            self._given,
            now=time.time(),
            facts={"is_input_complete": True} if is_complete else {},
        )

    # --- pulling -------------------------------------------------------------------------

    def close(self) -> None:
        """Pull no more; what is planned stays so."""
        super().close()
        self._is_closed = True

    async def pull(self) -> Pulled | None:
        """Take the next request that the journal has planned, then of the input."""
        if self._is_closed:
            return None
        if self._flawed:
            return self._flawed.popleft()
        if not self._planned and not self._is_all_planned_pulled:
            async with self._turn:
                if not self._planned and not self._is_all_planned_pulled:
                    await self._read_planned()
        if self._planned:
            entry = self._planned.popleft()
            self._live[entry.key] = entry
            return Pulled(entry.key, entry.request, None)
        return await self._pull_from_input()

    async def _read_planned(self) -> None:
        writer = self._writer
        if self._is_partial:
            given = self._known_given
            self._planned.extend(entry for entry in given if entry.state is KeyState.PLANNED)
            self._is_all_planned_pulled = True
            return
        entries = await writer.call(
            writer.database.entries,
            frozenset({KeyState.PLANNED}),
            after=self._planned_after,
            limit=_PLANNED_AT_ONCE,
            given=self._given,
        )
        self._is_all_planned_pulled = len(entries) < _PLANNED_AT_ONCE
        if entries:
            self._planned_after = entries[-1].position or 0
        self._planned.extend(entries)

    async def _pull_from_input(self) -> Pulled | None:
        while (pulled := await super().pull()) is not None:
            key, request, flaw = pulled
            if flaw is not None:
                return pulled
            if not await self._is_known(key, request):
                now = time.time()
                self._live[key] = JournalEntry(
                    key=key, request=request, planned_at=now, changed_at=now
                )
                self._unwritten.add(key)
                return pulled
        if self.input.is_at_end and not self._is_input_complete:
            self._is_input_complete = True
            self._tell_completeness()
        return None

    async def _is_known(self, key: Key, request: VideoRequest) -> bool:
        """Tell whether the journal has a key already, and see to it that it means the same."""
        if self._is_fresh or not _is_writable(request):
            return False
        writer = self._writer
        try:
            return await writer.call(writer.database.has, key, request)
        except KeyConflict as conflict:
            # Like an input that raises: told at the end, once what was paid for has ended.
            self.input.fail(conflict)
            return True

    # --- what an earlier run left --------------------------------------------------------

    async def taken_up(self) -> AsyncIterator[JournalEntry]:
        """Iterate over what an earlier run left, in the order in which it was planned."""
        if self._is_partial:
            for entry in self._known_given:
                if entry.state in _TAKEN_UP:
                    yield self._taken_up(entry)
            return
        writer, after = self._writer, 0
        while entries := await writer.call(
            writer.database.entries,
            _TAKEN_UP,
            after=after,
            limit=_PLANNED_AT_ONCE,
            given=self._given,
            until_revision=self._revision,
        ):
            after = entries[-1].position or 0
            for entry in entries:
                yield self._taken_up(entry)

    def _taken_up(self, entry: JournalEntry) -> JournalEntry:
        if entry.state in IN_PROGRESS:
            self._live[entry.key] = entry
        return entry

    # --- one key -------------------------------------------------------------------------

    def intent(self, key: Key) -> Intent:
        """Make what announces the create call of a key."""
        return _JournalIntent(self, key)

    def idempotency_key(self, key: Key) -> str:
        """Tell what marks the create calls of one key as one and the same."""
        return _digest(self._batch_id, key, self._live[key].idempotency)

    async def declare(self, key: Key) -> None:
        """Write down that the create call of a key is about to be sent.

        Raises:
            JournalWriteFailed: It is not on the disk.
        """
        entry = self._live[key].intend(time.time())
        try:
            await self._writer.commit(entry, is_new=key in self._unwritten, is_intent=True)
        except asyncio.CancelledError as cancelled:
            if cancelled.__cause__ is None:
                self._declared(entry)
            raise
        self._declared(entry)

    def _declared(self, entry: JournalEntry) -> None:
        self._live[entry.key] = entry
        self._written(entry.key)

    def _written(self, key: Key) -> None:
        """Note that a key has its row, or has it before anything that is written from now on."""
        if key in self._unwritten:
            self._unwritten.remove(key)
            if self._is_input_complete:
                self._tell_completeness()

    def _tell_completeness(self) -> None:
        """Write down that the whole input is in the journal, once each key is."""
        if not self._unwritten:
            self._writer.write_facts({"is_input_complete": True})

    def retract(self, key: Key) -> None:
        """Write down that a create call was certainly not accepted."""
        entry = self._live[key]
        if entry.state is KeyState.INTENT:
            self._put(entry.retract(time.time()))

    def accepted(self, key: Key, task: VideoTask) -> Callable[[], Awaitable[None]]:
        """Write down the id of what was paid for; one that cannot be written is kept.

        It is on its way to the disk when this returns, and there before the next intent of
        whoever submitted it: each submitter leaves one key in doubt at most.
        """
        entry = self._live[key] = self._live[key].accept(task, time.time())
        return self._writer.write_at_once(entry)

    def note(self, change: Transition, *, is_last: bool = True) -> None:
        """Write down what was observed."""
        entry = self._live.get(change.key)
        if entry is None:
            # One of a list that JSON cannot hold, or one that had ended before.
            return
        after = _after(entry, change, time.time())
        if after.state is KeyState.INVALID and not _is_writable(entry.request):
            # It has no row, and can have none.
            self._written(entry.key)
        elif after is not entry or change.key in self._unwritten:
            self._put(after)
        if change.is_end:
            if time.monotonic() - self._remembered_at > _REMEMBERED_EVERY_S:
                self._remember()
            if is_last:
                del self._live[change.key]

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
        entry = self._live[key].stage(_file_of(download))
        # Not an intent: a file that stands there unknown to the journal costs a download at most.
        with suppress(JournalWriteFailed):
            await self._writer.commit(entry)
        self._live[key] = entry

    def saved(self, change: Transition) -> None:
        """Write down what became of a file."""
        entry = self._live.pop(change.key)
        now = time.time()
        if change.download is not None:
            self._writer.write(entry.save(_file_of(change.download), now))
        elif isinstance(change.error, VideoExpired):
            self._writer.write(entry.expire(change.error, now))

    def _put(self, entry: JournalEntry) -> None:
        self._live[entry.key] = entry
        is_new = entry.key in self._unwritten
        if is_new and self._writer.failure is not None:
            # It was never sent, the input has it, and the journal has no room.
            return
        self._writer.write(entry, is_new=is_new)
        self._written(entry.key)


class _JournalIntent:
    """Announces the create call of one key in the journal."""

    __slots__ = ("_key", "_recorder")

    def __init__(self, recorder: JournalRecorder, key: Key) -> None:
        self._recorder = recorder
        self._key = key

    async def declare(self) -> None:
        await self._recorder.declare(self._key)

    def retract(self) -> None:
        self._recorder.retract(self._key)


def _after(entry: JournalEntry, change: Transition, now: float) -> JournalEntry:
    """Tell what an entry is after a transition; the same where it changes nothing."""
    error = change.error
    if isinstance(error, SubmissionUncertain):
        return entry.doubt(error, now)
    if isinstance(error, (AccountRefused, NotSubmitted)):
        # Not billed, and nothing is wrong with the request: the next run may send it.
        return entry.retract(now) if entry.state is KeyState.INTENT else entry
    if isinstance(error, SubmissionRefused):
        return entry.refuse(error, now)
    if isinstance(error, InvalidRequest):
        return entry.reject(error, now)
    task = change.task
    if task is None or entry.state not in IN_PROGRESS or task is entry.task:
        # A deadline, say: it goes on at the service, and so it does here.
        return entry
    return entry.observe(task, now, error if task.status == Status.FAILED else None)


def replayed(entry: JournalEntry) -> Transition:
    """Make the end of a key that had ended before once more."""
    status = None if entry.task is None else entry.task.status
    error: VideosError | None = entry.error
    is_saved = entry.state is KeyState.DOWNLOADED
    if entry.state is KeyState.ABANDONED:
        error = KeyAbandoned(key=entry.key, task_id=entry.task_id)
    return Transition(
        key=entry.key,
        task_id=entry.task_id,
        previous=None,
        status=status,
        task=entry.task,
        elapsed=entry.elapsed_s,
        error=error,
        request=entry.request,
        download=download_of(entry.file) if is_saved and entry.file is not None else None,
        is_replayed=True,
    )


def _file_of(download: Download) -> SavedFile:
    assert download.path is not None  # noqa: S101 - a batch saves files
    return SavedFile(
        # As it is found from wherever a later run is started.
        path=str(download.path.absolute()),
        size_bytes=download.size_bytes,
        sha256=download.sha256,
        media_type=download.media_type,
        is_verified=download.is_verified,
    )


def download_of(file: SavedFile) -> Download:
    """Tell of a file what was told when it was saved."""
    return Download(
        path=Path(file.path),
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        media_type=file.media_type,
        is_verified=file.is_verified,
    )


def _digest(batch_id: str, key: Key, idempotency: int) -> str:
    told = f"{batch_id}\n{key_to_text(key)}\n{idempotency}"
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def _is_writable(request: VideoRequest) -> bool:
    """Tell whether a request can be written down; one that cannot breaks rules as well."""
    try:
        request_to_text(request)
    except ValueError:
        return False
    return True
