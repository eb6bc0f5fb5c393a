"""What strangers wrote, made harmless before it reaches a terminal.

The service's statuses, ids and messages are text of someone else: a control sequence in them
could rewrite the screen or the clipboard, an override of the writing direction could turn a
sentence round, and a lone surrogate cannot be printed at all.
"""

from __future__ import annotations

import os
from typing import Final

__all__ = ["shown", "without_key"]

_LIMIT_CHARACTERS: Final = 2000
# Shorter ones are placeholders; cutting them out would only garble the text.
_KEY_LEAST: Final = 8
_KEY_MARK: Final = "[api key]"


def shown(text: object) -> str:
    r"""Write a text so that a terminal shows it and does nothing else.

    What is not printable (control characters, escape sequences, bidi overrides, invisible
    format characters, lone surrogates, line breaks) becomes its escape: ``\x1b``, ``\u202e``.
    The API key is cut out in case a service echoes it, and very long texts are shortened.

    Args:
        text: The text, or anything whose ``str`` is meant.
    """
    whole = without_key(str(text))
    head = whole[:_LIMIT_CHARACTERS]
    escaped = "".join(one if one.isprintable() else _escape(one) for one in head)
    return escaped if len(head) == len(whole) else f"{escaped}… ({len(whole)} characters)"


def without_key(text: str) -> str:
    """Cut out the environment's API key, which a service may quote in an error."""
    key = os.environ.get("VIDEOS_API_KEY", "")
    return text.replace(key, _KEY_MARK) if len(key) >= _KEY_LEAST else text


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")
