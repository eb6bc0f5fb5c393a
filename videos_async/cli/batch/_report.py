"""Tells how a batch goes: plain lines, or JSON lines; `_display` has the live one."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Protocol, Self

import attrs

from videos_async import Transition
from videos_async.cli._escape import shown, without_key
from videos_async.cli._lines import saved_line
from videos_async.cli._output import Streams
from videos_async.cli._report import transition_record
from videos_async.cli.batch._results import Outcome, end_record
from videos_async.cli.batch._tally import Tally, reason_of

__all__ = ["BatchReport", "JsonBatchReport", "PlainBatchReport"]


class BatchReport(Protocol):
    """Is told what happens and shows it in its own way.

    Attributes:
        every_s: Seconds between two ticks, or None where none are wanted.
    """

    every_s: float | None

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def transition(self, change: Transition) -> None:
        """One transition that is no end."""
        ...

    def ended(self, outcome: Outcome) -> None:
        """One end, when all that belongs to it is done."""
        ...

    def tick(self) -> None:
        """Time has passed."""
        ...

    def note(self, text: str) -> None:
        """Something that a person who waits should know at once."""
        ...


@attrs.define(eq=False, kw_only=True)
class PlainBatchReport:
    """One line an end and now and then how it stands, for logs and pipes."""

    streams: Streams
    tally: Tally
    every_s: float | None = 30.0
    _told: int = attrs.field(default=-1, init=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def transition(self, change: Transition) -> None: ...

    def ended(self, outcome: Outcome) -> None:
        # What was done before is in the first line's counts; what is missing is worth saying again.
        if not outcome.is_replayed or outcome.error is not None:
            self.streams.out.line(end_line(outcome))

    def tick(self) -> None:
        tally = self.tally
        states = ", ".join(f"{number} {name}" for name, number in tally.states())
        head = f"{tally.elapsed_s:7.1f} s  {tally.ended} of {tally.total} ended"
        self.streams.out.line(f"{head}: {states}; {tally.pace()}")

    def note(self, text: str) -> None:
        self.streams.err.line(f"videos-async: {text}")


@attrs.define(eq=False, kw_only=True)
class JsonBatchReport:
    """One JSON object a transition, for programs; see `transition_record` for its shape.

    An object has the keys ``end`` besides, null while the task goes on, and ``replayed``, for what
    an earlier run had seen. That of a completed task waits for its file.
    """

    streams: Streams
    every_s: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def transition(self, change: Transition) -> None:
        self._write({**transition_record(change), "end": None, "replayed": change.is_replayed})

    def ended(self, outcome: Outcome) -> None:
        self._write(end_record(outcome))

    def tick(self) -> None: ...

    def note(self, text: str) -> None:
        self.streams.err.line(f"videos-async: {text}")

    def _write(self, record: dict[str, object]) -> None:
        text = json.dumps(record, ensure_ascii=True).replace("\x7f", r"\u007f")
        self.streams.out.line(without_key(text))


def end_line(outcome: Outcome) -> str:
    """Write one end as one line: when, which request, which task, how and why."""
    change, error = outcome.change, outcome.error
    what = outcome.end
    if outcome.saved is not None:
        what = f"{what}, {saved_line(change, outcome.saved)}"
    elif error is not None:
        what = f"{what}: {reason_of(error)}"
    task_id = "-" if change.task_id is None else shown(change.task_id)
    return f"{change.elapsed:7.1f} s  {shown(change.key)}  {task_id}  {what}"
