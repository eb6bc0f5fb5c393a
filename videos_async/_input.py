"""The requests of a batch, pulled one by one, each under a key of its own."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterable, Iterable
from typing import Any, NamedTuple, TypeAlias, cast

import anyio

from videos_async._filenames import key_text
from videos_async.errors import ConfigurationError, Key, Violation
from videos_async.models import VideoRequest

__all__ = ["Input", "Item", "Pulled", "Requests"]

logger = logging.getLogger("videos_async")

Item: TypeAlias = VideoRequest | tuple[Key, VideoRequest]
Requests: TypeAlias = Iterable[Item] | AsyncIterable[Item]


class Pulled(NamedTuple):
    """One request to be submitted, and what is wrong with the item it came from."""

    key: Key
    request: VideoRequest
    flaw: Violation | None


class _OutOfPatienceError(Exception):
    """The next request did not come while it was waited for."""


class Input:
    """Pulls requests on demand, so that an input of any length costs what is in flight.

    Attributes:
        pulled: How many requests were taken so far.
        failure: What the input itself raised, which ended it, or None.
        is_at_end: Whether the last request there is was taken.
    """

    def __init__(self, requests: Requests) -> None:
        self.pulled = 0
        self.failure: Exception | None = None
        self.is_at_end = False
        self._items: Any
        self._items, self._is_async = _iterator(requests)
        self._turn = anyio.Lock(fast_acquire=True)
        self._is_exhausted = False
        self._patience_s = math.inf
        self._waiting: anyio.CancelScope | None = None
        # Only keys that were given are kept: indices cannot collide among themselves. An input
        # has keys of its own or none, so that they cannot collide with those either.
        # As text, because 7 and "7" would name one file.
        self._keys: set[str] = set()
        self._has_keys: bool | None = None

    def close(self) -> None:
        """Pull no more."""
        self._is_exhausted = True

    def fail(self, failure: Exception) -> None:
        """Pull no more, because of something that is wrong with the input."""
        self.failure = failure
        self._is_exhausted = True

    def hurry(self, patience_s: float) -> None:
        """Wait at most so many seconds for any one request from now on, then pull no more."""
        self._patience_s = patience_s
        if self._waiting is not None:
            self._waiting.deadline = anyio.current_time() + patience_s

    async def aclose(self) -> None:
        """Pull no more and let go of the input; an asynchronous generator gets to clean up."""
        self._is_exhausted = True
        items, self._items = self._items, iter(())
        self._keys.clear()
        if hasattr(items, "aclose"):
            try:
                await items.aclose()
            except Exception:
                # What was paid for must not be lost over a file that would not close.
                logger.exception("the input of a batch could not be closed")

    async def pull(self) -> Pulled | None:
        """Take the next request, its key, and what is wrong with the item itself."""
        async with self._turn:
            if self._is_exhausted:
                return None
            try:
                item: object = await self._arriving() if self._is_async else next(self._items)
            except (StopIteration, StopAsyncIteration):
                self._is_exhausted = self.is_at_end = True
                return None
            except _OutOfPatienceError:
                self._is_exhausted = True
                return None
            except Exception as failure:  # noqa: BLE001 - raised again once the paid ones ended
                self.fail(failure)
                return None
            index = self.pulled
            self.pulled += 1
        return self._named(item, index)

    async def _arriving(self) -> object:
        """Wait for the next item of an asynchronous input, while there is patience."""
        deadline_s = anyio.current_time() + self._patience_s
        try:
            with anyio.CancelScope(deadline=deadline_s) as self._waiting:
                return await anext(self._items)
        finally:
            self._waiting = None
        raise _OutOfPatienceError

    def _named(self, item: object, index: int) -> Pulled:
        key, request = _taken_apart(item)
        if not isinstance(request, VideoRequest):
            rule = "must be a VideoRequest, or a key (text or whole number) and a VideoRequest"
            flaw = Violation(field="item", rule=rule, value=item)
            return Pulled(index, cast("VideoRequest", request), flaw)
        if self._has_keys is None:
            self._has_keys = key is not None
        if self._has_keys != (key is not None):
            rule = "must be given for all requests of a batch or for none"
            return Pulled(index, request, Violation(field="key", rule=rule, value=key))
        if key is None:
            return Pulled(index, request, None)
        name = key_text(key)
        if name in self._keys:
            rule = "must be unique in a batch, as it names the outcome"
            return Pulled(key, request, Violation(field="key", rule=rule, value=key))
        self._keys.add(name)
        return Pulled(key, request, None)


def _iterator(requests: object) -> tuple[Any, bool]:
    """Start an iteration, and tell whether it is asynchronous."""
    if isinstance(requests, AsyncIterable):
        return aiter(cast("AsyncIterable[object]", requests)), True
    if isinstance(requests, Iterable) and not isinstance(requests, (str, bytes)):
        return iter(cast("Iterable[object]", requests)), False
    problem = f"must be an iterable or async iterable of VideoRequest, got {requests!r}"
    raise ConfigurationError(setting="requests", problem=problem)


def _taken_apart(item: object) -> tuple[Key | None, object]:
    """Split an item into its key, if it has one, and its request."""
    parts: tuple[object, ...] = cast("Any", item) if isinstance(item, tuple) else ()
    if len(parts) == 2 and isinstance(parts[0], (str, int)) and not isinstance(parts[0], bool):
        return parts[0], parts[1]
    whole: object = cast("Any", item)
    return None, whole
