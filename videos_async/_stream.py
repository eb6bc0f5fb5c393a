"""One stream of transitions that owns running work: the frame of a watch and of a batch.

Whoever enters it starts the work, and leaving it, in whatever way, ends the work before the
block is left. What the block itself raised comes out as it is, never wrapped in a group.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Self, cast

import anyio
from anyio.abc import TaskGroup

from videos_async.models import Transition

__all__ = ["Signal", "TransitionStream"]

# Enough to keep the work going while the consumer takes a breath, and bounded.
_BUFFERED_TRANSITIONS = 64


class Signal:
    """Wakes all who wait for it, and is at once there to be waited for again.

    A tenth of what an event costs that is made anew each time: a batch sends one for nearly every
    transition.
    """

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[None]] = []

    def send(self) -> None:
        """Wake all who wait now."""
        if self._waiters:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def wait(self) -> None:
        """Wait for the next time."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            raise


class TransitionStream(ABC):
    """A context manager that yields an async iterator of transitions: itself."""

    def __init__(self) -> None:
        self._failure: Exception | None = None
        """What the iteration is to raise at its end."""
        self._group: TaskGroup | None = None
        # No memory stream: that one hands an item to a receiver that waits, and a cancellation
        # that comes before the receiver wakes loses it. Here it is in the buffer until taken.
        self._buffer: deque[Transition] = deque()
        self._arrived = Signal()
        self._room = Signal()
        self._is_complete = False
        self._is_left = False

    # --- what a subclass does ------------------------------------------------------------

    @abstractmethod
    async def _drive(self) -> None:
        """Do the work, handing transitions to `_emit`; the stream ends when this returns."""

    async def _prepare(self) -> None:  # noqa: B027 - there may be nothing to do
        """Do what must succeed for the stream to be entered at all."""

    async def _leave(self) -> None:  # noqa: B027 - there may be nothing to do
        """Do what must be done before the work is cancelled, shielded from cancellation."""

    def _abandon(self) -> None:  # noqa: B027 - as above
        """Cut off what `_leave` waited for, when there is no more waiting."""

    def _left(self) -> None:  # noqa: B027 - as above
        """Settle the accounts, once the work has ended."""

    async def _close(self) -> Exception | None:
        """Let go of what `_prepare` got, shielded; return what the block is to raise for it."""
        return None

    def _undelivered(self, change: Transition) -> None:  # noqa: B027 - nobody may want it
        """Take back a transition that nobody will receive any more."""

    # --- the frame -----------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._group is not None:
            raise RuntimeError(f"a {type(self).__name__} is entered once: make another")
        await self._prepare()
        self._group = await anyio.create_task_group().__aenter__()
        self._group.start_soon(self._run)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        try:
            swallowed = await self._end(kind, error, traceback)
        except BaseException:
            with anyio.CancelScope(shield=True):
                # What the block or its work raised comes first.
                await self._close()
            raise
        failure: Exception | None = None
        with anyio.CancelScope(shield=True):
            failure = await self._close()
        if failure is not None and error is None:
            raise failure
        return swallowed

    async def _end(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        group = self._group
        assert group is not None  # noqa: S101 - __aexit__ follows __aenter__
        interruption: BaseException | None = None
        try:
            with anyio.CancelScope(shield=True):
                await self._leave()
        except BaseException as raised:  # noqa: BLE001 - raised again once the work has ended
            # A second Ctrl-C while the first is being obeyed: no more waiting.
            interruption = raised
            kind, error, traceback = type(raised), raised, raised.__traceback__
        self._abandon()
        group.cancel_scope.cancel()
        try:
            swallowed = await group.__aexit__(kind, error, traceback)
        except BaseExceptionGroup as raised:
            # The group wraps what the block itself raised: hand that on as it was.
            ours = raised if error is None else raised.split(lambda one: one is error)[1]
            if ours is not None:
                is_cancelled = isinstance(error, asyncio.CancelledError)
                raise _alone(ours) from (None if is_cancelled else error)
            if interruption is not None:
                raise interruption from None
            return False
        finally:
            self._is_left = True
            self._arrived.send()
            while self._buffer:
                self._undelivered(self._buffer.popleft())
            self._left()
        return swallowed

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Transition:
        if self._group is None:
            name = type(self).__name__.lower()
            raise RuntimeError(f"enter the {name} before iterating: async with session.{name}(…)")
        while not self._buffer:
            if self._is_left:
                raise RuntimeError("the stream is over: iterate inside its async with block")
            if self._is_complete:
                if self._failure is not None:
                    raise self._failure from None
                raise StopAsyncIteration
            await self._arrived.wait()
        change = self._buffer.popleft()
        if len(self._buffer) == _BUFFERED_TRANSITIONS:
            self._room.send()
        return change

    async def _run(self) -> None:
        await self._drive()
        # Only work that was done to its end is one: what broke off ends the block, not the loop.
        self._is_complete = True
        self._arrived.send()

    async def _emit(self, change: Transition) -> None:
        """Hand a transition to the consumer, and wait while the consumer is behind.

        It is handed over before the wait, so a cancellation changes nothing for it.
        """
        self._buffer.append(change)
        self._arrived.send()
        while len(self._buffer) > _BUFFERED_TRANSITIONS:
            await self._room.wait()


def _alone(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Unwrap a group of one error, so that a caller can name it in an ``except``.

    Workers that meet the same end, a session that was closed say, are one error.
    """
    leaves = list(_leaves(group))
    return leaves[0] if len({(type(one), str(one)) for one in leaves}) == 1 else group


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for member in group.exceptions:
        if isinstance(member, BaseExceptionGroup):
            yield from _leaves(cast("BaseExceptionGroup[BaseException]", member))
        else:
            yield member
