"""When each task is looked at next: what says so, and the simple one that does.

A *pace* is told what looks find and says how long to wait with the next one. The simple one draws
an interval; the learning one has a room of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from videos_async._followed import Followed
from videos_async._polling import PollPolicy
from videos_async.models import Status

__all__ = ["PollPace", "TimerPace"]


class PollPace(Protocol):
    """Says when to look next; see the top of this file."""

    floor_s: float
    has_news: bool
    """Whether `sooner` is to be asked: what was just seen bears on those that wait."""

    def added(self, followed: Followed, now_s: float) -> float:
        """Begin with a task, and tell how long to wait with the first look at it."""
        ...

    def looked(self, followed: Followed, previous: Status | None, now_s: float) -> float:
        """Take in that a task goes on, and tell how long to wait with the next look."""
        ...

    def again_s(self, followed: Followed, now_s: float) -> float:
        """Tell how long to wait after a look that told nothing."""
        ...

    def longer_s(self, followed: Followed, now_s: float) -> float | None:
        """Tell how much longer to wait with a task that is due, or None to look at it now."""
        ...

    def ended(self, followed: Followed, previous: Status | None, now_s: float) -> None:
        """Take in that a task was seen to have ended."""
        ...

    def lost(self, followed: Followed, now_s: float) -> None:
        """Take in that a task is followed no more, although it goes on."""
        ...

    def sooner(self, waiting: Iterable[Followed], now_s: float) -> Iterable[tuple[Followed, float]]:
        """Tell which of those that wait are to be looked at sooner than was said, and how soon.

        Args:
            waiting: All that wait, those due first mostly first.
            now_s: The time.

        Returns:
            Some of them, each with the seconds from now to its next look, of which none is drawn
            from `waiting` any more.
        """
        ...

    @property
    def due_s(self) -> float | None:
        """When `take` has a task to look at, whatever was said of it before."""
        ...

    def take(self, now_s: float) -> Followed | None:
        """Give a task that has to be looked at now."""
        ...


class TimerPace:
    """A jittered interval, whatever happens."""

    def __init__(self, policy: PollPolicy, random: Callable[[], float]) -> None:
        self.floor_s = 0.0
        self.has_news = False
        self._policy = policy
        self._random = random

    def added(self, followed: Followed, now_s: float) -> float:  # noqa: ARG002
        """Draw an interval."""
        return self._policy.interval_s(self._random)

    def looked(
        self,
        followed: Followed,  # noqa: ARG002
        previous: Status | None,  # noqa: ARG002
        now_s: float,  # noqa: ARG002
    ) -> float:
        """Draw an interval."""
        return self._policy.interval_s(self._random)

    again_s = added

    def longer_s(self, followed: Followed, now_s: float) -> None:
        """Look at whatever is due."""

    def ended(self, followed: Followed, previous: Status | None, now_s: float) -> None:
        """Learn nothing."""

    def lost(self, followed: Followed, now_s: float) -> None:
        """Learn nothing."""

    def sooner(self, waiting: Iterable[Followed], now_s: float) -> tuple[()]:  # noqa: ARG002
        """Leave it at what was said."""
        return ()

    @property
    def due_s(self) -> None:
        """Nothing but the intervals."""
        return

    def take(self, now_s: float) -> None:
        """Give nothing: all has its interval."""
