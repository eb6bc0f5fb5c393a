"""Which part of everything the admin page shows, and the links to the rest."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlencode

import attrs

from ._html import Html, tag

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PAGE_SIZE", "Choice", "Pages"]

_Item = TypeVar("_Item")

PAGE_SIZE: Final = 25
"""Rows a table shows at a time."""


@attrs.frozen(kw_only=True)
class Choice:
    """What of everything is to be shown.

    Attributes:
        tasks: The page of the tasks, from 1; past the last one counts as the last.
        ledger: The page of the ledger, likewise.
        refresh: ``off`` stops the page from loading itself anew.
    """

    tasks: int = 1
    ledger: int = 1
    refresh: str = "on"

    def link(self, anchor: str, **changes: int | str) -> str:
        """Give the address of the page with some of it changed."""
        chosen = {**attrs.asdict(self), **changes}
        usual = attrs.asdict(Choice())
        query = urlencode({name: value for name, value in chosen.items() if value != usual[name]})
        return f"/{'?' if query else ''}{query}#{anchor}"


@attrs.frozen
class Pages:
    """Where in a long list a page is.

    Attributes:
        items: How many there are.
        page: The page, from 1.
        pages: How many pages there are, at least 1.
    """

    items: int
    page: int
    pages: int

    @classmethod
    def of(cls, items: int, page: int) -> Pages:
        """Find a page; past the last one counts as the last."""
        pages = max(-(-items // PAGE_SIZE), 1)
        return cls(items, min(page, pages), pages)

    def cut(self, items: Iterable[_Item]) -> Iterable[_Item]:
        """Take what is on the page."""
        start = (self.page - 1) * PAGE_SIZE
        return islice(items, start, start + PAGE_SIZE)

    def nav(self, name: str, choice: Choice) -> Html:
        """Make the links to the pages beside; nothing if there are none."""
        if self.pages == 1:
            return Html()
        first = (self.page - 1) * PAGE_SIZE + 1
        last = min(first + PAGE_SIZE - 1, self.items)
        return tag(
            "nav",
            self._step("Newer", self.page - 1, name, choice),
            tag("span", f"{first:,} to {last:,} of {self.items:,}"),
            self._step("Older", self.page + 1, name, choice),
            aria_label=f"Pages of {name}",
            class_="pages",
        )

    def _step(self, text: str, page: int, name: str, choice: Choice) -> Html:
        if not 1 <= page <= self.pages:
            return tag("span", text, class_="off")
        return tag("a", text, href=choice.link(name, **{name: page}))
