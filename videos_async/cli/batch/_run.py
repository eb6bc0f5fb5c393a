"""Runs one batch: what it says is told and written down.

Every request of the batch comes to exactly one `Outcome`. Ctrl-C stops it, and the batch then
tells what it had not handed out yet; a second Ctrl-C takes away the time that submissions under
way are given to bring their ids home. In both cases every outcome is still written down.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import anyio
import attrs
from anyio.abc import TaskStatus

from videos_async import (
    Batch,
    DownloadError,
    End,
    Key,
    OnExisting,
    Transition,
    VideoRequest,
    VideosSession,
    file_name,
)
from videos_async.cli.batch._options import BatchLimits
from videos_async.cli.batch._report import BatchReport
from videos_async.cli.batch._results import Outcome, ResultsFile
from videos_async.cli.batch._tally import Tally

__all__ = ["BatchRun", "Saver"]

_STOPPING: Final = (signal.SIGINT, signal.SIGTERM)


@attrs.frozen(kw_only=True)
class Saver:
    """How videos are saved.

    Attributes:
        directory: Where.
        on_existing: What to do with a file that is there already.
    """

    directory: Path
    on_existing: OnExisting

    def target(self, key: Key) -> Path:
        """Settle the file of one request."""
        return self.directory / file_name(key)


@attrs.define(eq=False, kw_only=True)
class BatchRun:
    """One run.

    Attributes:
        session: The session.
        limits: How much is sent, and how long it may take.
        saver: How videos are saved, or None to leave them where they are.
        journal: Where the batch is written down, or None.
        results: Takes the ends, or None.
        report: Is told everything.
        tally: Counts everything.
        on_begun: Called when nothing stands in the way any more, before anything is told.
        is_begun: Whether it came to that.
        is_interrupted: Whether it was stopped before its end.
        results_trouble: Why the results could not be written, which stops it as well.
    """

    session: VideosSession
    limits: BatchLimits
    saver: Saver | None
    journal: Path | None
    results: ResultsFile | None
    report: BatchReport
    tally: Tally
    on_begun: Callable[[], None]
    is_begun: bool = False
    is_interrupted: bool = False
    results_trouble: OSError | None = None
    _scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope, init=False)
    _batch: Batch | None = attrs.field(default=None, init=False)
    _task: asyncio.Task[object] | None = attrs.field(default=None, init=False)
    _hurries: int = attrs.field(default=0, init=False)

    async def run(self, requests: Iterable[tuple[Key, VideoRequest]]) -> None:
        """Run to the last end, or until it is interrupted."""
        with ExitStack() as told:
            async with anyio.create_task_group() as group:
                await group.start(self._hear_ctrl_c)

                def begin() -> None:
                    self.is_begun = True
                    self.on_begun()
                    told.enter_context(self.report)
                    group.start_soon(self._tick)

                try:
                    await self._follow(requests, begin)
                finally:
                    group.cancel_scope.cancel()

    async def _follow(
        self, requests: Iterable[tuple[Key, VideoRequest]], begin: Callable[[], None]
    ) -> None:
        limits = self.limits
        task = self._task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this runs in one
        self._batch = self.session.batch(
            requests,
            timeout=limits.timeout,
            batch_timeout=limits.batch_timeout,
            max_submissions=limits.max_submissions,
            grace_s=limits.grace,
            journal=self.journal,
            download_to=None if self.saver is None else self.saver.directory,
            on_existing=OnExisting.REFUSE if self.saver is None else self.saver.on_existing,
        )
        try:
            with self._scope:
                async with self._batch as transitions:
                    begin()
                    async for change in transitions:
                        self._take(change)
        except asyncio.CancelledError:
            if not self._hurries:
                raise
        finally:
            self._settle_the_rest(self._batch)
            # The second Ctrl-C and those after it have done their work.
            for _ in range(self._hurries):
                task.uncancel()
            self._task = None

    def _take(self, change: Transition) -> None:
        if change.is_end:
            self._settle(Outcome(change=change))
        else:
            self.report.transition(change)

    # --- ends ----------------------------------------------------------------------------

    def _settle(self, outcome: Outcome) -> None:
        self.tally.add(outcome)
        if self.results is not None and self.results_trouble is None:
            try:
                self.results.write(outcome)
            except OSError as error:
                # What is paid for from here on could not be written down, so nothing more is.
                self.results_trouble = error
                self._scope.cancel()
        self.report.ended(outcome)

    def _settle_the_rest(self, batch: Batch) -> None:
        self.tally.is_stopped = True
        for change in batch.unfinished:
            self._settle(Outcome(change=change, failure=self._failure(change)))
        self._refresh()

    def _failure(self, change: Transition) -> DownloadError | None:
        """Tell that a completed task's file was still to come."""
        if change.end is not End.COMPLETED or change.download is not None or self.saver is None:
            return None
        return DownloadError(
            task_id=change.task_id or "",
            target=str(self.saver.target(change.key)),
            reason="the command was stopped first",
        )

    # --- interruptions and time ----------------------------------------------------------

    async def _hear_ctrl_c(self, *, task_status: TaskStatus[None]) -> None:
        # A job in the background of a script is started deaf to Ctrl-C, and stays so.
        heard = [one for one in _STOPPING if signal.getsignal(one) is not signal.SIG_IGN]
        # Where the loop cannot listen, the first Ctrl-C is a cancellation like any other.
        with suppress(NotImplementedError), anyio.open_signal_receiver(*heard) as signals:
            task_status.started()
            async for _ in signals:
                self._interrupt()
        task_status.started()

    def _interrupt(self) -> None:
        if self.is_interrupted:
            if self._task is not None:
                # Past anyio's shields: the batch is being left, and is to wait no longer.
                self._hurries += 1
                self._task.cancel()
            return
        self.is_interrupted = True
        self._scope.cancel()
        under_way = 0 if self._batch is None else self._batch.counts.submitting
        if under_way:
            many = under_way > 1
            calls = f"{under_way} submissions" if many else "1 submission"
            ids = "their ids" if many else "its id"
            self.report.note(
                f"stopping: {calls} under way may take {self.limits.grace:g} s to bring {ids} "
                "home; Ctrl-C again stops at once"
            )

    async def _tick(self) -> None:
        every_s = self.report.every_s
        while every_s is not None:
            await anyio.sleep(every_s)
            self._refresh()
            self.report.tick()

    def _refresh(self) -> None:
        if self._batch is not None:
            self.tally.counts = self._batch.counts
            self.tally.downloading = self._batch.counts.downloading
