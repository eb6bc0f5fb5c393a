"""The live display of a batch: how many are where, how fast it goes, what failed last."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from videos_async import End, Status, Transition
from videos_async.cli._escape import shown
from videos_async.cli._lines import clock
from videos_async.cli._output import Streams
from videos_async.cli.batch._results import NOT_SAVED, Outcome
from videos_async.cli.batch._tally import Tally

__all__ = ["BatchDisplay"]

_BAR_WIDTH: Final = 30
_STYLES: Final = {
    "submitting": "blue",
    "downloading": "blue",
    Status.QUEUED.value: "yellow",
    Status.PROCESSING.value: "cyan",
    End.COMPLETED.value: "green",
    End.UNCERTAIN.value: "bold red",
    **dict.fromkeys(
        (NOT_SAVED, *(end.value for end in End if end not in (End.COMPLETED, End.UNCERTAIN))), "red"
    ),
}


class BatchDisplay:
    """A report for a person who looks at a terminal; its last picture stays there.

    Drawn in the loop's own thread, as what it shows changes there.
    """

    every_s: float | None = 0.125

    def __init__(self, streams: Streams, tally: Tally) -> None:
        self._tally = tally
        self._console = Console(file=streams.out.stream, highlight=False, markup=False, emoji=False)
        is_utf8 = self._console.encoding.startswith("utf")
        self._spinner = Spinner("dots" if is_utf8 else "line", style="cyan")
        self._mark = "·" if is_utf8 else "|"
        self._note: str | None = None
        self._is_over = False
        # Standard error stays what it is: it may be a file.
        self._live = Live(
            self.render(),
            console=self._console,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_over = True
        self.tick()
        self._live.stop()

    def transition(self, change: Transition) -> None: ...

    def ended(self, outcome: Outcome) -> None: ...

    def tick(self) -> None:
        self._live.update(self.render(), refresh=True)

    def note(self, text: str) -> None:
        self._note = text
        self.tick()

    def render(self) -> RenderableType:
        """Draw how it stands."""
        tally = self._tally
        head = Table.grid(padding=(0, 2))
        facts = f"{clock(tally.elapsed_s)} {self._mark} {tally.pace()}"
        head.add_row(
            Text(" ") if self._is_over else self._spinner,
            ProgressBar(total=max(tally.total, 1), completed=tally.ended, width=_BAR_WIDTH),
            Text(f"{tally.ended} of {tally.total} ended", no_wrap=True),
            Text(facts, overflow="ellipsis", no_wrap=True, style="dim"),
        )
        rows: list[RenderableType] = [head, self._states()]
        if tally.failures:
            rows.append(Text("   the last without a video:", style="dim"))
        rows.extend(
            Text(
                f"   {shown(key)}  {end}: {reason}", style="red", overflow="ellipsis", no_wrap=True
            )
            for key, end, reason in tally.failures
        )
        if self._note is not None and not self._is_over:
            rows.append(Text(f"   {self._note}", style="bold"))
        return Group(*rows)

    def _states(self) -> Text:
        line = Text("   ")
        for index, (name, number) in enumerate(self._tally.states()):
            line.append(f" {self._mark} " if index else "")
            line.append(f"{number} {name}", style=_STYLES.get(name, "magenta"))
        return line
