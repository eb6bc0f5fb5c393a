"""HTML that cannot forget to escape: text is escaped unless it was made by ``tag``."""

from __future__ import annotations

from html import escape
from typing import Final

__all__ = ["Html", "document", "tag"]

_VOID: Final = frozenset({"br", "input", "link", "meta"})


class Html(str):
    """Markup: what goes into a page as it is."""

    __slots__ = ()


def tag(element: str, /, *children: str, **attributes: str | None) -> Html:
    """Make an element.

    Args:
        element: Its name.
        *children: Its content, in order; what is not ``Html`` is escaped.
        **attributes: Its attributes. ``None`` leaves one out; ``class_`` is written ``class``,
            ``aria_label`` ``aria-label``.

    Returns:
        The element.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if element in _VOID:
        return Html(f"<{element}{written}>")
    content = "".join(child if isinstance(child, Html) else escape(child) for child in children)
    return Html(f"<{element}{written}>{content}</{element}>")


def document(*, head: tuple[Html, ...], body: tuple[Html, ...]) -> bytes:
    """Make a page.

    Args:
        head: What goes into its head.
        body: What goes into its body.

    Returns:
        The page in UTF-8. What has no place there, such as half of a surrogate pair, comes out
        as a question mark.
    """
    page = tag("html", tag("head", *head), tag("body", *body), lang="en")
    return f"<!doctype html>\n{page}\n".encode(errors="replace")
