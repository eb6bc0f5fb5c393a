"""What a state file holds, read with mistrust: a file can be old, cut, or somebody else's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from ._checks import is_number
from ._ledger import LedgerEntry
from ._service import EmulatedTask, TaskStatus
from ._validation import GenerationRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Kept", "KeptReader"]

_REQUEST_TEXTS: Final = ("model", "prompt", "ratio", "resolution")


@attrs.frozen(kw_only=True)
class Kept:
    """What a state file held.

    Attributes:
        tasks: Every task with what was billed for it, in order of acceptance.
        clock_s: The virtual Unix time it had come to; ``None`` in a new file.
        counters: The counters by name.
    """

    tasks: tuple[tuple[EmulatedTask, LedgerEntry], ...] = ()
    clock_s: float | None = None
    counters: Mapping[str, int] = attrs.field(factory=dict[str, int])


@attrs.define(eq=False)
class KeptReader:
    """Takes the lines after the header one by one.

    What it raises, ``ValueError``, ``TypeError`` or ``KeyError``, says what a line lacks.
    """

    _tasks: dict[str, tuple[EmulatedTask, LedgerEntry]] = attrs.field(
        init=False, factory=dict[str, tuple[EmulatedTask, LedgerEntry]]
    )
    _clock_s: float | None = attrs.field(init=False, default=None)
    _counters: dict[str, int] | None = attrs.field(init=False, default=None)

    def read(self, record: object, *, is_counters: bool) -> None:
        """Take a line, which comes decoded."""
        fields = _of_type(dict, record, "the line")
        if is_counters:
            clock_s = fields.pop("clock_s")
            self._clock_s = None if clock_s is None else _number(clock_s)
            self._counters = {name: _of_type(int, count, name) for name, count in fields.items()}
        elif "accepted" in fields:
            self._accepted(fields)
        elif "started" in fields:
            task, _ = self._tasks[fields["started"]]
            task.status, task.started_at_s = TaskStatus.PROCESSING, _number(fields["at_s"])
        else:
            task, _ = self._tasks[fields["ended"]]
            task.error = _text_or_none(fields["error"])
            task.status = TaskStatus.COMPLETED if task.error is None else TaskStatus.FAILED
            task.ended_at_s = _number(fields["at_s"])

    def kept(self) -> Kept:
        """Give what all lines come to."""
        if self._counters is None:
            message = "the counters are missing"
            raise ValueError(message)
        tasks = tuple(self._tasks.values())
        # The counters are written after the lines they count: a kill may have come between.
        times_s = [self._clock_s, *map(_latest_s, tasks)]
        clock_s = max((time_s for time_s in times_s if time_s is not None), default=None)
        return Kept(tasks=tasks, clock_s=clock_s, counters=self._counters)

    def _accepted(self, fields: dict[str, Any]) -> None:
        task_id = _of_type(str, fields["accepted"], "accepted")
        if task_id in self._tasks:
            message = f"task {task_id} is accepted for the second time"
            raise ValueError(message)
        task = EmulatedTask(
            id=task_id,
            request=_request(_of_type(dict, fields["request"], "request")),
            accepted_at_s=_number(fields["at_s"]),
            lifetime_s=_number(fields["lifetime_s"]),
        )
        self._tasks[task_id] = (
            task,
            LedgerEntry(
                task_id=task_id,
                prompt=task.request.prompt,
                model=task.request.model,
                idempotency_key=_text_or_none(fields["idempotency_key"]),
                accepted_at_s=task.accepted_at_s,
            ),
        )


def _latest_s(kept: tuple[EmulatedTask, LedgerEntry]) -> float:
    task, _ = kept
    return max(task.accepted_at_s, task.started_at_s or 0, task.ended_at_s or 0)


def _request(fields: dict[str, Any]) -> GenerationRequest:
    references = _of_type(dict, fields["references"], "references")
    return GenerationRequest(
        **{name: _of_type(str, fields[name], name) for name in _REQUEST_TEXTS},
        duration_s=_of_type(int, fields["duration_s"], "duration_s"),
        first_image=_text_or_none(fields["first_image"]),
        last_image=_text_or_none(fields["last_image"]),
        references={name: tuple(_texts(urls)) for name, urls in references.items()},
        extra=_of_type(dict, fields["extra"], "extra"),
    )


def _texts(values: object) -> Iterator[str]:
    for value in _of_type(list, values, "the references"):
        yield _of_type(str, value, "a reference")


def _text_or_none(value: object) -> str | None:
    return None if value is None else _of_type(str, value, "the text")


def _number(value: object) -> float:
    if not is_number(value):
        message = f"{value!r} is not a finite number"
        raise TypeError(message)
    return value


def _of_type(kind: type[Any], value: object, name: str) -> Any:
    if type(value) is not kind:
        message = f"{name} must be {kind.__name__}, got {value!r:.80}"
        raise TypeError(message)
    return value
