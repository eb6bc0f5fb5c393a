"""What is said of a download: what to do where something is, and what was saved."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

import attrs

__all__ = ["Download", "OnExisting"]


class OnExisting(Enum):
    """What to do where the target is there already."""

    REFUSE = "refuse"
    REPLACE = "replace"


@attrs.frozen(kw_only=True)
class Download:
    """A file that was brought to where it was to go.

    Attributes:
        path: Where it stands, or None where it is no file of this system.
        url: The URL of the object it was put into, or None where it is none.
        size_bytes: How long it is.
        sha256: The digest of its bytes, in hex.
        media_type: What the file server called it.
        is_verified: Whether its end could be told from a broken connection: by a declared length
            that matched, by a complete chunked body, or by the boxes of the MP4.
    """

    path: Path | None = None
    url: str | None = None
    size_bytes: int
    sha256: str
    media_type: str
    is_verified: bool
