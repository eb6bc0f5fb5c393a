"""Ids on their way home: what the service accepted is told once it is written down.

A submitter does not wait for that: its next request's intent goes to the disk in the same commit
as the id before it, so that a request costs one wait for the disk and not two.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from videos_async._stream import Signal
from videos_async.errors import Key
from videos_async.models import VideoRequest, VideoTask

__all__ = ["Accepted", "Homecoming"]


class Accepted(NamedTuple):
    """One request that the service accepted.

    Attributes:
        key: The caller's name for it.
        request: What was asked for.
        task: The task as it was accepted.
        started_s: When its request was pulled, by the loop's clock.
        accepted_s: When its id came.
    """

    key: Key
    request: VideoRequest
    task: VideoTask
    started_s: float
    accepted_s: float


class Homecoming:
    """Tells of what was accepted, in that order, each once it is written down.

    Args:
        room: How many may be on their way before whoever adds another waits.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        # Of those that were made, or failed and are tried again.
        self._last_commit = 0
        # Each with the number of its commit.
        self._waiting: deque[tuple[int, Accepted]] = deque()
        self._changed = Signal()
        self._left_room = Signal()
        self._is_sealed = False

    async def add(self, accepted: Accepted, commit: int) -> None:
        """Add one, and wait while there are too many; a cancellation does not take it back.

        Args:
            accepted: What was accepted.
            commit: The number of the commit that brings it to the disk, which is still to come.
        """
        self._waiting.append((commit, accepted))
        while len(self._waiting) > self._room:
            await self._left_room.wait()

    def committed(self, commit: int) -> None:
        """Say that the commit of this number was made, or failed, as were all before it."""
        self._last_commit = commit
        if self._waiting:
            self._changed.send()

    def seal(self) -> None:
        """Say that nothing more will be added."""
        self._is_sealed = True
        self._changed.send()

    def left(self) -> list[Accepted]:
        """Take out what was not told."""
        left = [accepted for _, accepted in self._waiting]
        self._waiting.clear()
        return left

    async def run(self, tell: Callable[[Accepted], Awaitable[None]]) -> None:
        """Tell until it is sealed and all is told."""
        while self._waiting or not self._is_sealed:
            if not self._waiting or self._waiting[0][0] > self._last_commit:
                await self._changed.wait()
                continue
            _, accepted = self._waiting.popleft()
            if len(self._waiting) == self._room:
                self._left_room.send()
            await tell(accepted)
