"""``generate``: submit one request, follow it, save its video."""

from __future__ import annotations

from pathlib import Path

import attrs

from videos_async import OnExisting, Status, Transition, VideoRequest, VideosError, VideosSession
from videos_async.cli._exit import ExitCode
from videos_async.cli._report import Report
from videos_async.cli._target import default_target
from videos_async.cli._unfinished import Unfinished

__all__ = ["Saving", "generate", "save"]


@attrs.frozen(kw_only=True)
class Saving:
    """Where a video is saved.

    Attributes:
        target: The file, or None for one named after the task.
        on_existing: What to do where it is there already.
    """

    target: Path | None
    on_existing: OnExisting

    def path_of(self, task_id: str) -> Path:
        """Settle the file of one task."""
        return self.target or default_target(task_id)


async def generate(
    session: VideosSession,
    request: VideoRequest,
    *,
    timeout_s: float,
    saving: Saving,
    report: Report,
    unfinished: Unfinished,
) -> ExitCode:
    """Make one video.

    Args:
        session: The session.
        request: What to make.
        timeout_s: How long to wait for its end, in seconds.
        saving: Where the video goes.
        report: Is told everything.
        unfinished: Keeps what an interruption would leave behind.

    Raises:
        VideosError: All that submitting, watching and downloading raise.
    """
    report.phase("submitting")
    try:
        task = await session.submit(request)
    finally:
        # Also when Ctrl-C cut it short: that is what may be billed without an id.
        unfinished.doubts = session.uncertain
    unfinished.watched = {0: task.id}
    end: Transition | None = None
    async with session.watch([task], timeout=timeout_s) as transitions:
        async for change in transitions:
            end = change
            if change.status != Status.COMPLETED:
                report.transition(change)
    assert end is not None  # noqa: S101 - a stream of one task ends with its end
    if end.error is not None:
        raise end.error
    await save(session, end, saving=saving, report=report, unfinished=unfinished)
    return ExitCode.DONE


async def save(
    session: VideosSession,
    change: Transition,
    *,
    saving: Saving,
    report: Report,
    unfinished: Unfinished,
) -> None:
    """Save the video of a completed task.

    Raises:
        VideosError: All that downloading raises.
    """
    task = change.task
    assert task is not None  # noqa: S101 - a completed task was seen
    unfinished.watched, unfinished.unsaved = {}, task.id
    report.completed(change)
    try:
        download = await session.download(
            task,
            saving.path_of(task.id),
            on_existing=saving.on_existing,
            on_progress=report.progress,
        )
    except BaseException as error:
        report.unsaved(change, error if isinstance(error, VideosError) else None)
        raise
    unfinished.unsaved = None
    report.saved(change, download)
