"""Reads a queue: where its front is, how fast that moves, and whether there is an order at all.

Tasks join the line in the order of their acceptance. Where a service works its queue off in that
order, one fact tells of all: whoever has left the queue, all before it have; whoever is still in
it, so is all behind. So only those near the front need be looked at.

*Whether there is an order* is put to a sequential test. Each task that leaves after it was seen
waiting is close to the oldest that waits, or it is not; in a queue without an order it is close
about as often as a random place would be. Evidence adds up in logarithms of odds; order is trusted
above one threshold and no more below another. Those that find a slot free at once prove nothing.

*Where the front is* follows from a rate, and is kept in place by what the looks at it find. A task
is looked at when the front is thought to have passed it. Found still queued, the front is set
back behind it and a little more; found gone, it is pushed ahead a little less. This comes to rest
where four looks in five find the task gone.

A place in the line costs 16 bytes, a fact O(log n), and the rest is amortised.

Pure.
Sources: Wald 1945, on sequential tests of hypotheses; Robbins & Monro 1951, on finding a quantile
by steps of two sizes.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections import deque
from typing import Final

from videos_async._followed import Followed

__all__ = ["QueueLine"]

_TRUST_ABOVE: Final = 6.0
_TRUST_BELOW: Final = 0.0
_MOST_EVIDENCE: Final = 9.0
# How often a task of a queue that is in order is seen far from the front all the same.
_STRAY: Final = 0.02
# Submissions under way at a time overtake each other.
_NEAR: Final = 8.0
_NEAR_SHARE: Final = 0.05
_BLIND_SHARE: Final = 0.5

# Those near the front may have gone since they were looked at.
_MARGIN: Final = 1.5

_DEEP: Final = 64
_DEEP_SHARE: Final = 0.25

# How far the front is moved by a look, in seconds of its way.
_STEP_S: Final = 10.0
_GONE_WANTED: Final = 0.8
_MARK_EVERY_S: Final = 30.0
_MARKS: Final = 20
_SLOWEST_S: Final = 600.0
_MOST_GONE: Final = 64


class QueueLine:
    """The tasks of one model in the order of their acceptance, and what is known of their queue."""

    __slots__ = (
        "_driven",
        "_entered",
        "_evidence",
        "_first_evidence",
        "_front",
        "_front_s",
        "_head",
        "_line",
        "_marks",
        "_offset",
        "_rate",
        "is_trusted",
        "waiting",
    )

    def __init__(self) -> None:
        # Side by side: who stands there (None once gone), and since when.
        self._line: list[Followed | None] = []
        self._entered = array("d")
        # Places are counted from the first task ever; this many were cut off at the front.
        self._offset = 0
        self._head = 0
        self._driven = 0
        self.waiting = 0
        """How many stand in the line."""
        self._evidence = 0.0
        self._first_evidence: tuple[float, int] | None = None
        self.is_trusted = False
        """Whether those before go before those behind."""
        self._front = -1.0
        self._front_s = 0.0
        self._rate = 0.0
        self._marks: deque[tuple[float, float]] = deque(maxlen=_MARKS)

    # --- the line ------------------------------------------------------------------------

    def join(self, followed: Followed) -> None:
        """Put a task at the end of the line, unless its place is before the end."""
        entered_s = followed.entered_s
        if entered_s is None or (self._entered and entered_s < self._entered[-1]):
            return
        if self._entered and entered_s == self._entered[-1]:
            # No two at the same instant, so that each is found by its own.
            followed.entered_s = entered_s = math.nextafter(entered_s, math.inf)
            followed.looked_s = max(followed.looked_s, entered_s)
        self._line.append(followed)
        self._entered.append(entered_s)
        self.waiting += 1

    def _index(self, followed: Followed) -> int | None:
        entered_s = followed.entered_s
        if entered_s is None:
            return None
        index = bisect_left(self._entered, entered_s)
        is_here = index < len(self._line) and self._line[index] is followed
        return index if is_here else None

    def _remove(self, index: int) -> None:
        line = self._line
        line[index] = None
        self.waiting -= 1
        while self._head < len(line) and line[self._head] is None:
            self._head += 1
        if 2 * self._head > len(line):
            self._cut(self._head)
        elif len(line) - self._head > 2 * self.waiting + _MOST_GONE:
            self._close_ranks()

    def _cut(self, count: int) -> None:
        del self._line[:count], self._entered[:count]
        self._offset += count
        self._head -= count
        self._driven = max(0, self._driven - count)

    def _close_ranks(self) -> None:
        """Forget the places of those who left from the middle, and the front with them."""
        kept = [followed for followed in self._line if followed is not None]
        self._line[:] = kept
        self._entered = array("d", [followed.entered_s or 0.0 for followed in kept])
        self._head = self._driven = 0
        self._forget_front()

    # --- what looks tell -----------------------------------------------------------------

    def left(self, followed: Followed, now_s: float, *, is_served: bool) -> float | None:
        """Take in that a task is no more queued.

        Args:
            followed: The task, as it was before.
            now_s: The time.
            is_served: Whether it was its turn; one that is refused says nothing of the order.

        Returns:
            When it was its turn, as a guess, or None where there is no telling.
        """
        index = self._index(followed)
        if index is None:
            return None
        guess_s = None
        place = index + self._offset
        if is_served:
            if followed.looked_s > self._entered[index]:
                self._judge(place, now_s)
            if self.is_trusted:
                front = self._front_at(now_s)
                late_s = max(0.0, front - place) / self._rate
                guess_s = min(max(now_s - late_s, followed.looked_s), now_s)
                if place > front:
                    self._set_front(place, now_s)
                elif index < self._driven:
                    step = self._step() * (1 - _GONE_WANTED)
                    self._set_front(min(front + step, self._last), now_s)
            elif place > self._front:
                self._front, self._front_s = place, now_s
        self._remove(index)
        return guess_s

    def still(self, followed: Followed, now_s: float) -> None:
        """Take in that a task is still queued."""
        if not self.is_trusted:
            return
        index = self._index(followed)
        if index is None:
            return
        front = self._front_at(now_s)
        if index + self._offset <= front:
            behind = min(front, index + self._offset)
            self._set_front(behind - self._step() * _GONE_WANTED, now_s)

    def _judge(self, place: int, now_s: float) -> None:
        """Weigh whether one that was served was near the oldest."""
        head = self._head + self._offset
        span = self._last - head
        oldest = self._line[self._head]
        moved = 0.0 if oldest is None else self._rate * (now_s - oldest.looked_s)
        near = max(_NEAR, _NEAR_SHARE * span, _MARGIN * moved)
        chance = (near + 1) / (span + 1)
        if chance > _BLIND_SHARE:
            return
        if place - head <= near:
            self._evidence += math.log((1 - _STRAY) / chance)
            if self._first_evidence is None:
                self._first_evidence = (now_s, place)
        else:
            self._evidence += math.log(_STRAY / (1 - chance))
        self._evidence = max(-_MOST_EVIDENCE, min(_MOST_EVIDENCE, self._evidence))
        if self.is_trusted and self._evidence < _TRUST_BELOW:
            self._forget_front()
        elif not self.is_trusted and self._evidence > _TRUST_ABOVE:
            self._begin_to_trust(place, now_s)

    def _begin_to_trust(self, place: int, now_s: float) -> None:
        assert self._first_evidence is not None  # noqa: S101 - without any there is no trust
        began_s, began = self._first_evidence
        front = max(self._front, place)
        if front <= began or now_s <= began_s:
            return
        self._rate = (front - began) / (now_s - began_s)
        self._front, self._front_s = front, now_s
        self._marks.append((began_s, began))
        self._driven = self._head
        self.is_trusted = True

    def _forget_front(self) -> None:
        self.is_trusted = False
        self._evidence = min(self._evidence, _TRUST_BELOW)
        self._first_evidence = None
        self._front, self._rate = -1.0, 0.0
        self._marks.clear()

    # --- the front -----------------------------------------------------------------------

    @property
    def _last(self) -> int:
        return self._offset + len(self._line) - 1

    def _step(self) -> float:
        return max(1.0, self._rate * _STEP_S)

    def _front_at(self, now_s: float) -> float:
        return min(self._front + self._rate * (now_s - self._front_s), float(self._last))

    def _set_front(self, front: float, now_s: float) -> None:
        self._front, self._front_s = front, now_s
        if now_s - self._marks[-1][0] >= _MARK_EVERY_S:
            self._marks.append((now_s, front))
        began_s, began = self._marks[0]
        if now_s - began_s > _MARK_EVERY_S:
            self._rate = max((front - began) / (now_s - began_s), 1 / _SLOWEST_S)

    def next_due_s(self, floor_s: float) -> float | None:
        """Tell when the front is thought to reach the next task that was not looked at there."""
        if not self.is_trusted:
            return None
        followed = self._next()
        if followed is None:
            return None
        place = self._driven + self._offset
        reached_s = self._front_s + (place - self._front) / self._rate
        return max(reached_s, followed.looked_s + floor_s)

    def _next(self) -> Followed | None:
        line = self._line
        while self._driven < len(line):
            followed = line[self._driven]
            # One in trouble has its own pause to keep.
            if followed is not None and followed.due_s is not None and not followed.troubles:
                return followed
            self._driven += 1
        return None

    def take(self) -> Followed | None:
        """Take the task at the front, to look at it."""
        followed = self._next()
        self._driven += 1
        return followed

    def gap_s(self, followed: Followed, now_s: float) -> float | None:
        """Tell how long it takes the front to pass a task that it was thought to have passed.

        Returns:
            None for a task that the front has not come to.
        """
        index = self._index(followed)
        if index is None or index >= self._driven:
            return None
        return max(0.0, index + self._offset + 1 - self._front_at(now_s)) / self._rate

    def is_deep(self, followed: Followed, now_s: float) -> bool:
        """Tell whether a task is so far from the front that this cannot have come to it."""
        index = self._index(followed) if self.is_trusted else None
        if index is None:
            return False
        # When order is seen first, the front is known only roughly, and its pace less than that.
        return index + self._offset - self._front_at(now_s) > max(_DEEP, self.waiting * _DEEP_SHARE)
