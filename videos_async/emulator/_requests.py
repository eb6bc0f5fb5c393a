"""What came in: how many requests of each kind, and the last of them in full."""

from __future__ import annotations

from collections import deque
from typing import Final

import attrs

__all__ = ["RequestLog", "RequestRecord"]

_KEPT: Final = 1000


@attrs.define(kw_only=True)
class RequestRecord:
    """One request. The emulator writes, users read.

    Attributes:
        at_s: When it came in, in virtual seconds since the Unix epoch.
        method: The HTTP method.
        path: The path as it stood on the request line, without the query.
        kind: ``submit``, ``query``, ``download`` or ``other``.
        prompt: The prompt it was about, where that is known.
        task_id: The task it was about; for a submit the one that it made.
        status: The status it was answered; None while it is under way, and where no answer left.
        faults: The faults that struck it, as text.
    """

    at_s: float
    method: str
    path: str
    kind: str
    prompt: str | None = None
    task_id: str | None = None
    status: int | None = None
    faults: tuple[str, ...] = ()


@attrs.define(kw_only=True)
class RequestLog:
    """How many requests came in, by kind, whatever they were answered, and the last of them.

    Attributes:
        submits: Create calls.
        queries: Result calls.
        downloads: File requests, each range counted.
        downloads_with_authorization: File requests that brought an ``Authorization`` header. A
            client that keeps its key home leaves this at 0.
        others: Everything else.
    """

    submits: int = 0
    queries: int = 0
    downloads: int = 0
    downloads_with_authorization: int = 0
    others: int = 0
    _recent: deque[RequestRecord] = attrs.field(
        init=False, eq=False, repr=False, factory=lambda: deque[RequestRecord](maxlen=_KEPT)
    )

    @property
    def total(self) -> int:
        """All requests."""
        return self.submits + self.queries + self.downloads + self.others

    @property
    def recent(self) -> tuple[RequestRecord, ...]:
        """The last thousand requests, oldest first; a copy."""
        return tuple(self._recent)

    def note(self, record: RequestRecord) -> RequestRecord:
        """Take in a request; what becomes of it is written into the record."""
        self._recent.append(record)
        return record
