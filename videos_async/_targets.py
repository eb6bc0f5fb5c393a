"""What a download can be told to go to, and the destination that each makes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

from videos_async._destination import Destination
from videos_async._download import Download, OnExisting
from videos_async._file_destination import FileDestination
from videos_async._object_store import ObjectDestination, ObjectTarget, ObjectUrl
from videos_async._sink import Sink, SinkDestination, as_sink
from videos_async._threads import Threads

__all__ = ["Target", "destination_of"]

Target: TypeAlias = str | os.PathLike[str] | ObjectTarget | Sink


def destination_of(
    target: Target, *, on_existing: OnExisting, threads: Threads
) -> Destination[Download]:
    """Make the destination for what was given.

    Args:
        target: A path, an object store's URL, an object or a sink.
        on_existing: What to do where a file or an object is there already.
        threads: How many threads may be busy at a time.

    Raises:
        ConfigurationError: When it is none of these.
    """
    located = ObjectUrl.parse(target) if isinstance(target, str) else target
    if isinstance(located, (ObjectTarget, ObjectUrl)):
        return ObjectDestination(target=located, on_existing=on_existing, threads=threads)
    if isinstance(target, (str, os.PathLike)):
        return FileDestination(
            target=Path(target),
            on_existing=on_existing,
            threads=threads,
        )
    return SinkDestination(sink=as_sink(target), threads=threads)
