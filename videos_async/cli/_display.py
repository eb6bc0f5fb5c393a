"""The live display on a terminal: transitions scroll by, what goes on stays below them."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from videos_async import Download, DownloadProgress, Key, Status, Transition, VideosError
from videos_async.cli._escape import shown
from videos_async.cli._lines import clock, progress_text, saved_line, step, task_lines
from videos_async.cli._output import Output

__all__ = ["LiveReport"]

_ROWS_SHOWN: Final = 10
_FRAMES_PER_SECOND: Final = 8
_BAR_WIDTH: Final = 30
_STYLES: Final = {
    Status.QUEUED: "yellow",
    Status.PROCESSING: "cyan",
    Status.COMPLETED: "green",
    Status.FAILED: "red",
}


class LiveReport:
    """A report for a person who looks at a terminal.

    Nothing of what the service says is ever read as markup: it travels as `Text`.
    """

    def __init__(self, out: Output) -> None:
        self._console = Console(file=out.stream, highlight=False, markup=False, emoji=False)
        is_utf8 = self._console.encoding.startswith("utf")
        self._spinner = Spinner("dots" if is_utf8 else "line", style="cyan")
        self._started_s = time.monotonic()
        self._doing: str | None = None
        self._progress: DownloadProgress | None = None
        self._going_on: dict[Key, Transition] = {}
        self._ended = 0
        # Standard error stays what it is: it may be a file.
        self._live = Live(
            get_renderable=self.render,
            console=self._console,
            refresh_per_second=_FRAMES_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()

    @property
    def is_abandoned(self) -> bool:
        return False

    def phase(self, doing: str) -> None:
        self._doing = doing

    def transition(self, change: Transition) -> None:
        self._doing = None
        if change.is_end:
            self._going_on.pop(change.key, None)
            self._ended += 1
        else:
            self._going_on[change.key] = change
        line = Text(f"{change.elapsed:7.1f} s  {shown(change.task_id)}  ")
        self._print(line.append(step(change), style=_style(change)))

    def task(self, change: Transition) -> None:
        self._doing = None
        if change.task is not None:
            for line in task_lines(change.task):
                name, mark, value = line.partition(": ")
                self._print(Text.assemble((name + mark, "dim"), value))

    def completed(self, change: Transition) -> None:
        self.transition(change)
        self._doing = "downloading"

    def progress(self, progress: DownloadProgress) -> None:
        self._progress = progress

    def saved(self, change: Transition, download: Download) -> None:
        self._doing = self._progress = None
        self._print(Text(saved_line(change, download), style="bold"))

    def unsaved(self, change: Transition, error: VideosError | None) -> None: ...

    def _print(self, line: Text) -> None:
        # Soft: the terminal wraps, so that a copied line is one line.
        self._console.print(line, soft_wrap=True)
        self._live.refresh()

    def render(self) -> RenderableType:
        """Draw what goes on; the display's own thread asks for it."""
        elapsed = clock(time.monotonic() - self._started_s)
        if self._progress is not None:
            return self._download_row(self._progress)
        if self._doing is not None:
            return self._row(self._doing, elapsed)
        rows = list(self._going_on.values())
        if not rows:
            return Text("")
        drawn: list[RenderableType] = [
            self._row(_standing(change), elapsed, shown(change.task_id), style=_style(change))
            for change in rows[:_ROWS_SHOWN]
        ]
        if len(rows) + self._ended > 1:
            hidden = len(rows) - len(drawn)
            more = f"{hidden} more, " if hidden > 0 else ""
            drawn.append(Text(f"  {more}{self._ended} of {len(rows) + self._ended} ended"))
        return Group(*drawn)

    def _row(self, *cells: str, style: str = "") -> RenderableType:
        row = Table.grid(padding=(0, 2))
        texts = [Text(cell, overflow="ellipsis", no_wrap=True) for cell in cells]
        texts[0].style = style
        row.add_row(self._spinner, *texts)
        return row

    def _download_row(self, progress: DownloadProgress) -> RenderableType:
        bar = ProgressBar(
            total=progress.expected_bytes, completed=progress.received_bytes, width=_BAR_WIDTH
        )
        row = Table.grid(padding=(0, 2))
        row.add_row(self._spinner, "downloading", bar, progress_text(progress))
        return row


def _standing(change: Transition) -> str:
    status = "unknown" if change.status is None else shown(change.status)
    progress = None if change.task is None else change.task.progress
    return status if progress is None else f"{status} {progress:g} %"


def _style(change: Transition) -> str:
    if change.error is not None:
        return "red"
    return "" if change.status is None else _STYLES.get(change.status, "magenta")
