from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    """Let children hear Ctrl-C even where the suite itself runs in a background job.

    A shell starts those with SIGINT ignored, and what is ignored is inherited.
    """
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
