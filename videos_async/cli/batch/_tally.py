"""How a batch stands: its ends, its pace, what it may cost and what it comes to."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Final

import attrs

from videos_async import AccountRefused, BatchCounts, End, Key
from videos_async.cli._escape import shown
from videos_async.cli._exit import ExitCode, worst
from videos_async.cli._lines import clock
from videos_async.cli.batch._results import NOT_SAVED, Outcome

__all__ = ["Tally"]

_FAILURES_KEPT: Final = 5
_PACE_SPAN_S: Final = 60.0
_PACE_ENDS: Final = 512
_WRONG_KEY: Final = frozenset({401, 403})
_CODES: Final = {
    End.COMPLETED.value: ExitCode.DONE,
    End.FAILED.value: ExitCode.GENERATION_FAILED,
    End.REFUSED.value: ExitCode.GENERATION_FAILED,
    End.INVALID.value: ExitCode.BAD_INPUT,
    End.UNCERTAIN.value: ExitCode.UNCERTAIN,
    End.ABANDONED.value: ExitCode.GENERATION_FAILED,
}
_GOES_ON: Final = frozenset({End.LEFT.value, End.TIMED_OUT.value, End.LOST_SIGHT.value})


@attrs.define(eq=False, kw_only=True)
class Tally:
    """Counts outcomes.

    Attributes:
        total: How many requests the input holds.
        counts: Where the requests are; none before the batch begins.
        downloading: How many videos are being fetched or wait for it.
        ends: How many ended in which way.
        accepted: How many brought a task's id, so are billed.
        going_on: The ids of tasks that go on, or may, at the service.
        unsaved: The ids of completed tasks whose video is not here.
        doubts: The keys whose submission may be billed and brought no id.
        account_refusals: How many the service refused for the account, and not for themselves.
        failures: The last few ends without a video: the key, the end and why.
        is_stopped: Whether what ends now does so because the batch was stopped, which is no
            failure worth a line.
    """

    total: int
    clock: Callable[[], float] = time.monotonic
    counts: BatchCounts | None = None
    downloading: int = 0
    ends: Counter[str] = attrs.field(factory=Counter[str])
    accepted: int = 0
    going_on: list[str] = attrs.field(factory=list[str])
    unsaved: list[str] = attrs.field(factory=list[str])
    doubts: list[Key] = attrs.field(factory=list[Key])
    account_refusals: int = 0
    failures: deque[tuple[Key, str, str]] = attrs.field(
        factory=lambda: deque[tuple[Key, str, str]](maxlen=_FAILURES_KEPT)
    )
    is_stopped: bool = False
    _is_wrong_key: bool = attrs.field(default=False, init=False)
    _recent_s: deque[float] = attrs.field(
        factory=lambda: deque[float](maxlen=_PACE_ENDS), init=False
    )
    _started_s: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._started_s = self.clock()

    def add(self, outcome: Outcome) -> None:
        """Take in an end."""
        end, task_id = outcome.end, outcome.change.task_id
        self.ends[end] += 1
        if not self.is_stopped and not outcome.is_replayed:
            self._recent_s.append(self.clock())
        if task_id is not None:
            self.accepted += 1
            if end in _GOES_ON:
                self.going_on.append(task_id)
            elif end == NOT_SAVED:
                self.unsaved.append(task_id)
        if end == End.UNCERTAIN.value:
            self.doubts.append(outcome.change.key)
        error = outcome.error
        if error is not None and not self.is_stopped:
            self.failures.append((outcome.change.key, end, reason_of(error)))
        if isinstance(error, AccountRefused):
            self.account_refusals += 1
            self._is_wrong_key = error.http_status in _WRONG_KEY

    @property
    def ended(self) -> int:
        """How many have ended, those aside that were left to go on."""
        return self.ends.total() - self.ends[End.LEFT.value]

    @property
    def elapsed_s(self) -> float:
        """Seconds since the batch began."""
        return self.clock() - self._started_s

    @property
    def pace_per_min(self) -> float:
        """Ends a minute, of late."""
        now_s = self.clock()
        recent = self._recent_s
        while recent and recent[0] < now_s - _PACE_SPAN_S:
            recent.popleft()
        span_s = min(_PACE_SPAN_S, self.elapsed_s)
        if len(recent) == recent.maxlen:
            span_s = now_s - recent[0]
        return 60.0 * len(recent) / max(span_s, 1.0)

    @property
    def time_left_s(self) -> float | None:
        """Seconds to the last end at this pace, or None while there is none to go by."""
        pace = self.pace_per_min
        return None if not pace else 60.0 * (self.total - self.ended) / pace

    @property
    def code(self) -> ExitCode:
        """What it comes to."""
        if self._is_wrong_key and not self.accepted and not self.doubts:
            # Like a single submission: what is to be corrected is the key, and nothing is billed.
            return ExitCode.BAD_INPUT
        return worst(_CODES.get(end, ExitCode.SERVICE) for end in self.ends)

    def states(self) -> Iterator[tuple[str, int]]:
        """Name the states that requests are in, with how many are."""
        if self.counts is not None:
            yield from _nonzero([("submitting", self.counts.submitting)])
            going_on = self.counts.in_progress.items()
            yield from _nonzero([(shown(status), number) for status, number in going_on])
        yield from _nonzero([("downloading", self.downloading)])
        yield from self.ends_by_number()

    def ends_by_number(self) -> Iterator[tuple[str, int]]:
        """Name the ends there were, in the order of `End`, with how many there were."""
        names = [end.value for end in End if end is not End.NOT_SAVED]
        names.insert(1, NOT_SAVED)
        yield from _nonzero([(name, self.ends[name]) for name in names])

    def pace(self) -> str:
        """Write how fast it goes and how long it may take."""
        left_s = self.time_left_s
        left = "" if left_s is None or self.ended >= self.total else f", about {clock(left_s)} left"
        return f"{self.pace_per_min:.0f} ends a minute{left}"


def reason_of(error: Exception) -> str:
    """Write why there is no video in as few words as there are."""
    reason = getattr(error, "reason", None)
    said = getattr(error, "service_message", None)
    text = str(error) if not isinstance(reason, str) else reason
    return shown(f"{text}: {said}" if isinstance(said, str) and said not in text else text)


def _nonzero(numbers: list[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    return ((name, number) for name, number in numbers if number)
