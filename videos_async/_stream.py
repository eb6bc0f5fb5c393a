"""One stream of transitions that owns running work: the frame of a watch and of a batch.

Whoever enters it starts the work, and leaving it, in whatever way, ends the work before the
block is left. What the block itself raised comes out as it is, never wrapped in a group.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self, cast

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from videos_async.models import Transition

__all__ = ["TransitionStream"]

# Enough to keep the work going while the consumer takes a breath, and bounded.
_BUFFERED_TRANSITIONS = 64


class TransitionStream(ABC):
    """A context manager that yields an async iterator of transitions: itself."""

    def __init__(self) -> None:
        self._failure: Exception | None = None
        """What the iteration is to raise at its end."""
        self._group: TaskGroup | None = None
        self._send: MemoryObjectSendStream[Transition] | None = None
        self._received: MemoryObjectReceiveStream[Transition] | None = None

    # --- what a subclass does ------------------------------------------------------------

    @abstractmethod
    async def _drive(self) -> None:
        """Do the work, handing transitions to `_emit`; the stream ends when this returns."""

    async def _leave(self) -> None:  # noqa: B027 - there may be nothing to do
        """Do what must be done before the work is cancelled, shielded from cancellation."""

    def _abandon(self) -> None:  # noqa: B027 - as above
        """Cut off what `_leave` waited for, when there is no more waiting."""

    def _left(self) -> None:  # noqa: B027 - as above
        """Settle the accounts, once the work has ended."""

    def _undelivered(self, change: Transition) -> None:  # noqa: B027 - nobody may want it
        """Take back a transition that nobody will receive any more."""

    # --- the frame -----------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._group is not None:
            raise RuntimeError(f"a {type(self).__name__} is entered once: make another")
        self._send, self._received = anyio.create_memory_object_stream[Transition](
            _BUFFERED_TRANSITIONS
        )
        self._group = await anyio.create_task_group().__aenter__()
        self._group.start_soon(self._run, self._send)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        group, received = self._group, self._received
        assert group is not None  # noqa: S101 - __aexit__ follows __aenter__
        assert received is not None  # noqa: S101 - as above
        try:
            with anyio.CancelScope(shield=True):
                await self._leave()
        except BaseException as interruption:  # noqa: BLE001 - handed to the group, which raises it
            # A second Ctrl-C while the first is being obeyed: no more waiting.
            kind, error, traceback = type(interruption), interruption, interruption.__traceback__
        self._abandon()
        group.cancel_scope.cancel()
        try:
            swallowed = await group.__aexit__(kind, error, traceback)
        except BaseExceptionGroup as raised:
            # The group wraps what the block itself raised: hand that on as it was.
            ours = raised if error is None else raised.split(lambda one: one is error)[1]
            if ours is not None:
                raise _alone(ours) from None
            return False
        finally:
            for change in _rest(received):
                self._undelivered(change)
            received.close()
            self._left()
        return swallowed

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Transition:
        if self._received is None:
            name = type(self).__name__.lower()
            raise RuntimeError(f"enter the {name} before iterating: async with session.{name}(…)")
        try:
            return await self._received.receive()
        except anyio.EndOfStream:
            if self._failure is not None:
                raise self._failure from None
            raise StopAsyncIteration from None
        except anyio.ClosedResourceError:
            problem = "the stream is over: iterate inside its async with block"
        raise RuntimeError(problem)

    async def _run(self, send: MemoryObjectSendStream[Transition]) -> None:
        async with send:
            await self._drive()

    async def _emit(self, change: Transition) -> None:
        """Hand a transition to the consumer; waits while the consumer is behind."""
        assert self._send is not None  # noqa: S101 - work runs only inside the block
        try:
            await self._send.send(change)
        except anyio.get_cancelled_exc_class():
            self._undelivered(change)
            raise


def _rest(received: MemoryObjectReceiveStream[Transition]) -> list[Transition]:
    """Take out what was buffered and not received."""
    rest: list[Transition] = []
    while received.statistics().current_buffer_used:
        rest.append(received.receive_nowait())
    return rest


def _alone(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Unwrap a group of one, so that a caller can name the error in an ``except``."""
    if len(group.exceptions) != 1:
        return group
    member = group.exceptions[0]
    if not isinstance(member, BaseExceptionGroup):
        return member
    return _alone(cast("BaseExceptionGroup[BaseException]", member))
