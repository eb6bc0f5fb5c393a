"""The library with a journal that commits nothing: the same batch as `benchmarks.journaled`.

All else is as ever: entries are made, handed to the journal's thread, and waited for.
"""

from __future__ import annotations

from typing import Any

from benchmarks import journaled
from videos_async._database import Database

__all__ = ["run"]

run = journaled.run


def _nothing(self: Database, *args: Any, **options: Any) -> None:
    """Take a group of entries, and leave it at that."""


Database.write = _nothing  # type: ignore[method-assign]
