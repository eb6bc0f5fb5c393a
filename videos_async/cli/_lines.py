"""How a transition, a task and a file read in words, in a log as on a screen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from videos_async import (
    Download,
    DownloadProgress,
    GenerationFailed,
    Transition,
    VideoTask,
    Violation,
)
from videos_async.cli._escape import shown

__all__ = [
    "clock",
    "in_words_of_the_command",
    "progress_text",
    "saved_line",
    "step",
    "task_lines",
    "transition_line",
    "violation_text",
]

# Sentences of the library that tell how to go on in Python, and what they are here.
_OTHER_WORDS: Final = (
    (re.compile(r"; register another with VideosSession\([^;]*?\]\)"), ""),
    (re.compile(r"say on_existing=OnExisting\.REPLACE"), "add --replace"),
    (re.compile(r"; [\w ]* say downloads=DownloadPolicy\([^;]*?\)(?=$|[,;])"), ""),
    (re.compile(r"; to allow it say plain_http_hosts=\[[^;]*?\]"), ""),
    (re.compile(r"the next call (goes on|starts over)"), r"the same command \1"),
    (re.compile(r"make room, then call again"), "make room, then run the same command"),
)


def transition_line(change: Transition) -> str:
    """Write one transition as one line: when, which task, what happened."""
    return f"{change.elapsed:7.1f} s  {shown(change.task_id)}  {step(change)}"


def step(change: Transition) -> str:
    """Write what happened: ``queued -> processing``."""
    now = "unknown" if change.status is None else shown(change.status)
    moved = change.previous not in (None, change.status)
    text = f"{shown(change.previous)} -> {now}" if moved else now
    match change.error:
        case None:
            return text
        case GenerationFailed(reason=reason):
            return f"{text}: {shown(reason)}" if reason else text
        case error:
            return f"{text}, given up ({type(error).__name__})"


def saved_line(change: Transition, download: Download) -> str:
    """Write what was saved: the path, the size and the length of the video."""
    facts = [_size(download.size_bytes)]
    if change.task is not None and change.task.actual_duration is not None:
        facts.append(f"{change.task.actual_duration:g} s of video")
    if not download.is_verified:
        facts.append("the server gave nothing to check its end against")
    return f"saved {shown(download.path)} ({', '.join(facts)})"


def progress_text(progress: DownloadProgress) -> str:
    """Write how far a download has come: ``3.1 MB of 12.4 MB``."""
    received = _size(progress.received_bytes)
    expected = progress.expected_bytes
    return received if expected is None else f"{received} of {_size(expected)}"


def task_lines(task: VideoTask) -> Iterator[str]:
    """Write a task as ``name: value`` lines, leaving out what the service did not tell."""
    yield f"id: {shown(task.id)}"
    yield f"status: {shown(task.status)}"
    if task.model is not None:
        yield f"model: {shown(task.model)}"
    if task.created is not None:
        yield f"created: {_created(task)}"
    if task.progress is not None:
        yield f"progress: {task.progress:g} %"
    if task.actual_duration is not None:
        yield f"duration: {task.actual_duration:g} s"
    if task.error is not None:
        yield f"error: {shown(task.error)}"
    if task.video_url is not None:
        # The URL's query is a credential: scrollback and screenshots should not hold it.
        yield "video: ready (`download` saves it, --json shows its URL)"


def in_words_of_the_command(error: object) -> str:
    """Write what the library says, without the Python in it."""
    text = str(error)
    for pattern, replacement in _OTHER_WORDS:
        text = pattern.sub(replacement, text)
    return text


def violation_text(violation: Violation) -> str:
    """Write one broken rule: the field, the rule, the value."""
    return shown(in_words_of_the_command(violation))


def clock(seconds: float) -> str:
    """Write a time span as ``m:ss``, or ``h:mm:ss`` where it is long."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _created(task: VideoTask) -> str:
    moment = task.created_at
    # A service may count in another unit; what is no date is shown as its number.
    return str(task.created) if moment is None else f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _size(size_bytes: int) -> str:
    if size_bytes < 1000:
        return f"{size_bytes} bytes"
    if size_bytes < 1_000_000:
        return f"{size_bytes / 1000:.1f} kB"
    return f"{size_bytes / 1_000_000:.1f} MB"
