"""The thread of a journal: it does one job after the other, and tells the event loop of each.

A batch hands over hundreds of commits a second, and an executor makes two futures and takes a
dozen locks for each. Here a job is one item in a queue, and what came of it one call on the loop.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import logging
import threading
import weakref
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, Protocol, TypeAlias, TypeVar

__all__ = ["JournalThread"]

logger = logging.getLogger("videos_async")

_P = ParamSpec("_P")
_T = TypeVar("_T")


class _HasClose(Protocol):
    def close(self) -> None: ...


_Opened = TypeVar("_Opened", bound=_HasClose)

_Work: TypeAlias = Callable[[], Any]
_Tell: TypeAlias = Callable[[Any, BaseException | None], None]
_Jobs: TypeAlias = SimpleQueue[tuple[_Work, _Tell] | None]


class JournalThread:
    """Does jobs in the order in which they come, for the event loop that runs where it is made.

    What was handed over is done, whoever stops waiting for it, also where the program ends. The
    thread ends with this object, if not before.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._jobs: _Jobs = SimpleQueue()
        self._worker = _Worker(self._loop, self._jobs)
        self._worker.start()
        _alive.add(self._worker)
        weakref.finalize(self, self._jobs.put, None).atexit = False

    def hand(
        self, work: Callable[[], _T], tell: Callable[[_T | None, BaseException | None], None]
    ) -> None:
        """Have a job done.

        Args:
            work: What is to be done.
            tell: Called on the loop with what it returned and None, or None and what it raised.

        Raises:
            RuntimeError: After the end, of this thread or of the program.
        """
        if self._worker.is_ended:
            raise RuntimeError("the journal is closed")
        self._worker.untold += 1
        self._jobs.put((work, tell))

    def call(
        self, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> asyncio.Future[_T]:
        """Have a function called, and return what waits for it.

        Raises:
            RuntimeError: After the end, or in another event loop.
        """
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("the journal was opened in another event loop: open it in this one")
        outcome: asyncio.Future[_T] = self._loop.create_future()
        self.hand(partial(function, *args, **kwargs), partial(_settle, outcome))
        return outcome

    async def open(
        self, function: Callable[_P, _Opened], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> _Opened:
        """Call a function that opens something; where nobody waits for it any longer, close that.

        A cancellation does not stop the thread, and a lock that it took yet must not be left
        behind.
        """
        opened: list[_Opened] = []

        def close() -> None:
            for one in opened:
                one.close()

        try:
            await self.call(lambda: opened.append(function(*args, **kwargs)))
        except BaseException:
            self.call(close)
            raise
        return opened[0]

    def end(self) -> None:
        """Take nothing more; what was handed over is done yet."""
        self._worker.end()


class _Worker(threading.Thread):
    """The thread itself; it knows nobody who hands it jobs, so that those can be forgotten.

    Attributes:
        loop: Whom it tells.
        is_ended: Whether it takes nothing more.
        untold: How many jobs it has of which the loop does not know yet what came of them.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, jobs: _Jobs) -> None:
        super().__init__(name="videos-async-journal", daemon=True)
        self.loop = loop
        self.is_ended = False
        self.untold = 0
        self._jobs = jobs
        self._told_in = contextvars.copy_context()

    @property
    def is_busy(self) -> bool:
        """Whether the loop waits for it: asked by a loop that lets time pass as it likes."""
        return self.untold > 0

    def run(self) -> None:
        """Do jobs until there are to be no more."""
        while (job := self._jobs.get()) is not None:
            work, tell = job
            result, error = None, None
            try:
                result = work()
            except BaseException as failure:  # noqa: BLE001 - told to whoever handed it over
                error = failure
            if not self._reached(tell, result, error) and error is not None:
                logger.error("a job of a journal failed", exc_info=error)
            # It may be long until the next one comes.
            del job, work, tell, result, error
        _alive.discard(self)

    def end(self) -> None:
        """Take nothing more; what was handed over is done yet."""
        if not self.is_ended:
            self.is_ended = True
            self._jobs.put(None)

    def _reached(self, tell: _Tell, result: Any, error: BaseException | None) -> bool:
        """Have the loop told; False where it is closed, and nobody there to be told."""
        try:
            self.loop.call_soon_threadsafe(self._tell, tell, result, error, context=self._told_in)
        except RuntimeError:
            return False
        return True

    def _tell(self, tell: _Tell, result: Any, error: BaseException | None) -> None:
        self.untold -= 1
        tell(result, error)


_alive: set[_Worker] = set()


@atexit.register
def _finish_all() -> None:
    workers = tuple(_alive)
    for worker in workers:
        worker.end()
    for worker in workers:
        worker.join()


def _settle(outcome: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if outcome.done():
        # Who asked waits no longer.
        return
    if error is None:
        outcome.set_result(result)
    else:
        outcome.set_exception(error)
