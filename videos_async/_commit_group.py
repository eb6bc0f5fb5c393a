"""What goes into one commit of a journal, and what of it is kept where the commit fails."""

from __future__ import annotations

import asyncio
from typing import Any

import attrs

from videos_async._states import JournalEntry
from videos_async.errors import JournalWriteFailed

__all__ = ["Awaited", "Group"]


@attrs.define(eq=False)
class Awaited:
    """An entry that somebody waits for.

    Attributes:
        entry: The entry.
        is_intent: Whether it only announces something, which a failure calls off.
        waiter: Is done once it is on the disk; raises `JournalWriteFailed` where it could not be
            brought there.
        is_settled: Whether it is known which.
        failure: Why it could not be.
    """

    entry: JournalEntry
    is_intent: bool
    waiter: asyncio.Future[None]
    is_settled: bool = False
    failure: JournalWriteFailed | None = None


class Group:
    """What goes into one commit.

    Attributes:
        new: Entries of keys that the journal does not hold yet.
        changed: Entries of others, and of these as they became since.
        awaited: Those of them that somebody waits for.
        accepted: Those of them with an id that stands nowhere else.
        facts: Facts about the journal as a whole.
    """

    __slots__ = ("accepted", "awaited", "changed", "facts", "new")

    def __init__(self) -> None:
        self.new: list[JournalEntry] = []
        self.changed: list[JournalEntry] = []
        self.awaited: list[Awaited] = []
        self.accepted: list[JournalEntry] = []
        self.facts: dict[str, Any] = {}

    def __bool__(self) -> bool:
        return bool(self.new or self.changed or self.facts)

    def keep(self, failed: Group) -> None:
        """Take in what a commit that failed held, before what came since.

        An intent in it was called off. All else has happened, and whoever waited was told.
        """
        called_off = {id(one.entry) for one in failed.awaited if one.is_intent}
        self.new[:0] = [entry for entry in failed.new if id(entry) not in called_off]
        self.changed[:0] = [entry for entry in failed.changed if id(entry) not in called_off]
        self.accepted[:0] = failed.accepted
        self.facts = failed.facts | self.facts
