"""Many requests, submitted, watched and told about in one stream.

The theory: a request is pulled from the input only when a submitter is free for it, and from then
on it is in exactly one place: *submitting* (judged, waiting for its turn, or its create call is
under way), *in progress* (accepted, its id in the schedule), *downloading* (completed, its file
to be saved) or *ended*. `BatchCounts` says how many are where, and the numbers add up to what was
pulled at any time. With a journal, what an earlier run left is pulled as well, into the place
where it was.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator

import anyio
import attrs

from videos_async._follow import Follower
from videos_async._homecoming import Accepted, Homecoming
from videos_async._plan import BatchCounts, BatchOptions, TransitionHook, Workshop
from videos_async._posting import Posting
from videos_async._recorder import Recorder
from videos_async._replay import replayed
from videos_async._states import IN_PROGRESS, JournalEntry, KeyState
from videos_async._stream import TransitionStream
from videos_async._transport import SentMark
from videos_async.errors import (
    InvalidRequest,
    JournalWriteFailed,
    Key,
    VideosError,
)
from videos_async.models import End, Status, Transition, VideoRequest, VideoTask

__all__ = ["Batch"]

logger = logging.getLogger("videos_async")


class Batch(TransitionStream):
    """Many requests, submitted and followed to their ends in one stream of transitions.

    Every request that was pulled gives exactly one transition with `Transition.is_end`, which
    carries its key, its request and, unless it was completed, its error. The input is pulled as
    submitters get free, so it may be a generator of any length; a slow consumer slows it.

    Leaving the block early stops the submissions, lets create calls whose bytes have left bring
    their ids home within the grace time, and lists in `unfinished` whatever was not handed out.
    """

    def __init__(self, recorder: Recorder, *, options: BatchOptions, workshop: Workshop) -> None:
        super().__init__()
        self._recorder = recorder
        self._input = recorder.input
        self._saving = workshop.saving
        self._posting = Posting(
            workshop.submit,
            recorder,
            max_submissions=options.max_submissions,
            grace_s=options.grace_s,
        )
        self._options = options
        self._workshop = workshop
        self._schedule = workshop.schedule
        self._follower = Follower(
            schedule=workshop.schedule,
            poll=workshop.poll,
            workers=workshop.pollers,
            emit=self._observed,
        )
        self._homecoming = Homecoming(workshop.submitters)
        self._journal_failure: JournalWriteFailed | None = None
        self._deadline_s: float | None = None
        self._is_leaving = False
        self._undelivered_changes: list[Transition] = []
        self._delivery = anyio.Lock(fast_acquire=True)
        self._pulled = 0
        self._submitting = 0
        self._unseen: set[Key] = set()
        self._in_progress: Counter[Status] = Counter()
        self._downloading = 0
        self._ended: Counter[End] = Counter()
        self.hook_failures = 0
        """How often `on_transition` raised; each time was logged."""

    def __repr__(self) -> str:
        return f"<Batch {self.counts}>"

    @property
    def counts(self) -> BatchCounts:
        """Where the requests are at this moment."""
        return BatchCounts(
            pulled=self._pulled,
            submitting=self._submitting,
            unseen=len(self._unseen),
            in_progress={status: n for status, n in self._in_progress.items() if n},
            downloading=self._downloading,
            ended=dict(self._ended),
        )

    @property
    def unfinished(self) -> tuple[Transition, ...]:
        """The ends that were not handed out, once the block was left early.

        A task that is still going on at the service ended here as `WatchLeft`, its id in hand.
        """
        return tuple(change for change in self._undelivered_changes if change.is_end)

    async def completed(self) -> AsyncIterator[VideoTask]:
        """Iterate over the finished tasks as they complete, in place of the transitions."""
        async for change in self:
            if change.end is End.COMPLETED and change.task is not None:
                yield change.task

    # --- the work ------------------------------------------------------------------------

    async def _prepare(self) -> None:
        self._recorder.on_failure = self._journal_failed
        self._recorder.on_commit = self._homecoming.committed
        if self._saving is not None:
            await self._saving.prepare()
        await self._recorder.open()

    async def _close(self) -> JournalWriteFailed | None:
        failure = await self._recorder.aclose()
        if failure is not None and self._journal_failure is not None:
            # It was raised when it came, and only now it is known what was not written to the last.
            self._journal_failure.unwritten = failure.unwritten
        return failure

    def _journal_failed(self, failure: JournalWriteFailed) -> None:
        """Send nothing more; what is under way is followed to its end, and this told then."""
        if self._journal_failure is None:
            self._journal_failure = failure
        self._posting.stop(str(failure))

    async def _drive(self) -> None:
        async with anyio.create_task_group() as group:
            if self._options.batch_timeout is not None:
                self._deadline_s = anyio.current_time() + self._options.batch_timeout
                group.start_soon(self._stop_at, self._deadline_s)
            group.start_soon(self._submit_all)
            async with anyio.create_task_group() as work:
                if self._saving is not None:
                    work.start_soon(self._saving.run, self._recorder, self._saved)
                await self._follower.run()
                if self._saving is not None:
                    self._saving.seal()
            group.cancel_scope.cancel()
        self._failure = self._journal_failure or self._input.failure

    async def _stop_at(self, deadline_s: float) -> None:
        await anyio.sleep_until(deadline_s)
        self._posting.stop(f"the batch's deadline of {self._options.batch_timeout:g} s has passed")
        # The rest of the input ends as not sent, but is not waited for.
        self._input.hurry(self._options.grace_s)

    async def _submit_all(self) -> None:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._homecoming.run, self._take_in)
                async with anyio.create_task_group() as submitting:
                    submitting.start_soon(self._take_up)
                    for _ in range(self._workshop.submitters):
                        submitting.start_soon(self._submit_in_turn)
                self._homecoming.seal()
        finally:
            self._follower.seal()
            with anyio.move_on_after(self._options.grace_s, shield=True):
                await self._input.aclose()

    async def _take_up(self) -> None:
        """Go on where an earlier run ended."""
        async for entry in self._recorder.taken_up():
            self._pulled += 1
            if entry.state in IN_PROGRESS:
                await self._watch_again(entry)
            elif entry.state is KeyState.COMPLETED and self._saving is not None:
                self._recorder.follow(entry)
                self._downloading += 1
                self._saving.add(replayed(entry), staged=entry.file)
            else:
                self._submitting += 1
                await self._deliver(replayed(entry))

    async def _watch_again(self, entry: JournalEntry) -> None:
        assert entry.task_id is not None  # noqa: S101 - that is what in progress means
        now_s = anyio.current_time()
        change = self._schedule.add(
            entry.key,
            entry.task or entry.task_id,
            now_s=now_s,
            timeout_s=self._timeout_s(now_s),
            started_s=now_s - max(0.0, time.time() - (entry.intent_at or entry.planned_at)),
            request=entry.request,
        )
        if change is None:
            self._unseen.add(entry.key)
        else:
            self._submitting += 1
            await self._deliver(attrs.evolve(change, is_replayed=True))
        self._follower.added()

    async def _submit_in_turn(self) -> None:
        while (pulled := await self._recorder.pull()) is not None:
            started_s = anyio.current_time()
            self._pulled += 1
            self._submitting += 1
            key, request, flaw = pulled
            if flaw is not None:
                error = InvalidRequest(violations=(flaw,), key=key)
                await self._tell_flaw(self._ended_unseen(key, request, error, started_s))
                continue
            mark = SentMark()
            try:
                outcome = await self._outcome(key, request, mark)
            except BaseException:
                # Whatever ends the work here, the request does not go with it.
                change = self._ended_unseen(
                    key, request, self._posting.cut_off(key, request, mark), started_s
                )
                self._settle(change)
                self._undelivered(change)
                raise
            if isinstance(outcome, VideosError):
                await self._deliver(self._ended_unseen(key, request, outcome, started_s))
                continue
            accepted = Accepted(
                key, request, outcome, started_s=started_s, accepted_s=anyio.current_time()
            )
            commit = self._recorder.accepted(key, outcome)
            if commit is None:
                await self._take_in(accepted)
            else:
                await self._homecoming.add(accepted, commit)

    async def _take_in(self, accepted: Accepted) -> None:
        """Follow what was accepted."""
        change = self._followed(accepted)
        if change is not None:
            await self._observed(change)
        self._follower.added()

    def _followed(self, accepted: Accepted) -> Transition | None:
        # Since it was accepted: its id may have taken a moment to get to the disk.
        return self._schedule.add(
            accepted.key,
            accepted.task,
            now_s=accepted.accepted_s,
            timeout_s=self._timeout_s(accepted.accepted_s),
            started_s=accepted.started_s,
            accepted_s=accepted.accepted_s,
            request=accepted.request,
        )

    def _ended_unseen(
        self, key: Key, request: VideoRequest, error: VideosError, started_s: float
    ) -> Transition:
        return Transition(
            key=key,
            task_id=None,
            previous=None,
            status=None,
            task=None,
            elapsed=anyio.current_time() - started_s,
            error=error,
            request=request,
        )

    def _timeout_s(self, now_s: float) -> float | None:
        timeout_s = self._options.timeout
        if self._deadline_s is None:
            return timeout_s
        left_s = max(0.0, self._deadline_s - now_s)
        return left_s if timeout_s is None else min(timeout_s, left_s)

    async def _outcome(
        self, key: Key, request: VideoRequest, mark: SentMark
    ) -> VideoTask | VideosError:
        """Judge and submit one request."""
        found = self._workshop.judge(request)
        if found:
            return InvalidRequest(violations=found, key=key)
        return await self._posting.post(key, request, mark)

    # --- delivery ------------------------------------------------------------------------

    async def _observed(self, change: Transition) -> None:
        """Take in what was seen of a task; with a directory, its file is part of its end."""
        if self._saving is None or change.end is not End.COMPLETED or self._is_leaving:
            await self._deliver(change)
            return
        self._recorder.note(change, is_last=False)
        self._uncount(change)
        self._downloading += 1
        self._saving.add(change)

    async def _saved(self, change: Transition) -> None:
        """Take in what became of a file."""
        self._recorder.saved(change)
        self._downloading -= 1
        self._count_end(change)
        await self._hand_out(change)

    async def _tell_flaw(self, change: Transition) -> None:
        """Tell of an item that is no request; its key may be another's, whose story goes on."""
        self._submitting -= 1
        self._count_end(change)
        await self._hand_out(change)

    async def _deliver(self, change: Transition) -> None:
        self._settle(change)
        await self._hand_out(change)

    async def _hand_out(self, change: Transition) -> None:
        if self._is_leaving:
            # What had ended before is not left unfinished now.
            if not change.is_replayed:
                self._undelivered(change)
            return
        if self._options.on_transition is not None:
            try:
                # One at a time: a slow hook must not let a later transition overtake.
                async with self._delivery:
                    await self._call_hook(self._options.on_transition, change)
            except BaseException:
                self._undelivered(change)
                raise
        await self._emit(change)

    async def _call_hook(self, hook: TransitionHook, change: Transition) -> None:
        try:
            result = hook(change)
            if inspect.isawaitable(result):
                await result
        except (Exception, asyncio.CancelledError) as failure:
            if isinstance(failure, asyncio.CancelledError) and _is_cancelling():
                raise
            # A broken metric must not cost a video.
            self.hook_failures += 1
            logger.exception("on_transition raised for %r", change.key)

    def _settle(self, change: Transition) -> None:
        """Write a transition down, and count it."""
        is_end = change.is_end
        if not change.is_replayed:
            self._recorder.note(change, is_last=is_end)
        self._uncount(change)
        if is_end:
            self._count_end(change)
        elif change.status is not None:
            self._in_progress[change.status] += 1

    def _uncount(self, change: Transition) -> None:
        """Take a request out of where it was."""
        if change.previous is not None:
            self._in_progress[change.previous] -= 1
        elif change.key in self._unseen:
            self._unseen.discard(change.key)
        else:
            self._submitting -= 1

    def _count_end(self, change: Transition) -> None:
        if change.end is not None:
            self._ended[change.end] += 1

    def _undelivered(self, change: Transition) -> None:
        self._undelivered_changes.append(change)

    # --- leaving -------------------------------------------------------------------------

    async def _leave(self) -> None:
        self._is_leaving = True
        self._recorder.close()
        await self._posting.leave()

    def _abandon(self) -> None:
        self._posting.abandon()

    def _left(self) -> None:
        for accepted in self._homecoming.left():
            change = self._followed(accepted)
            if change is not None:
                self._settle(change)
                self._undelivered(change)
        for change in self._schedule.leave(anyio.current_time()):
            self._settle(change)
            self._undelivered(change)
        for change in () if self._saving is None else self._saving.left():
            # Completed, and its file to be fetched: by hand, or by whoever resumes the journal.
            self._downloading -= 1
            self._count_end(change)
            self._undelivered(change)


def _is_cancelling() -> bool:
    """Tell whether a cancellation is ours, and not that of a task that a hook waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
