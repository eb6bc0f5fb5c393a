"""What every test gets: asyncio under anyio's pytest plugin, and nothing that hides a warning."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio, the one backend aiohttp speaks."""
    return "asyncio"
