"""The threads that the downloads of a session keep busy, so many at a time."""

from __future__ import annotations

import os
from typing import Final

import anyio
import attrs

__all__ = ["Threads"]

# Opening, flushing and renaming wait for a disk and need no processor meanwhile.
_WAITING: Final = 8
# Hashing and writing do. More of them than there are processors keep the event loop from its own:
# with eight beside it on one, its lag in fifty downloads was three times that with two.
_WORKING_LEAST: Final = 2
_WORKING_MOST: Final = 4


@attrs.frozen(kw_only=True, eq=False)
class Threads:
    """How many may be busy at a time.

    Attributes:
        waiting: With what waits for a disk.
        working: With what needs a processor.
    """

    waiting: anyio.CapacityLimiter
    working: anyio.CapacityLimiter

    @classmethod
    def for_downloads(cls, parallel: int) -> Threads:
        """Share this machine out to so many downloads at a time."""
        working = max(_WORKING_LEAST, min(_WORKING_MOST, (os.cpu_count() or 1) // 2))
        return cls(
            waiting=anyio.CapacityLimiter(min(parallel, _WAITING)),
            working=anyio.CapacityLimiter(min(parallel, working)),
        )
