"""The Videos API as a server on loopback: for tests, for demos, and for trying things free.

    async with VideosEmulator(speed=60) as emulator:
        session = VideosSession(emulator.api_key, base_url=emulator.base_url)

It stands apart: it shares no code with the client that talks to it, because shared code would
share its mistakes.
"""

from __future__ import annotations

from ._clock import Clock, ManualClock
from ._emulator import VideosEmulator
from ._ledger import Ledger, LedgerEntry
from ._media import Media
from ._rules import CONTRACT_MODELS, ModelRules
from ._server import RequestCounts
from ._service import FAIL_MARK, REFUSE_MARK, EmulatedTask, Lifetimes, Status
from ._validation import GenerationRequest

__all__ = [
    "CONTRACT_MODELS",
    "FAIL_MARK",
    "REFUSE_MARK",
    "Clock",
    "EmulatedTask",
    "GenerationRequest",
    "Ledger",
    "LedgerEntry",
    "Lifetimes",
    "ManualClock",
    "Media",
    "ModelRules",
    "RequestCounts",
    "Status",
    "VideosEmulator",
]
