"""The Videos API as a server on loopback: for tests, for demos, and for trying things free.

    async with VideosEmulator(speed=60) as emulator:
        session = VideosSession(emulator.api_key, base_url=emulator.base_url)

It stands apart: it shares no code with the client that talks to it, because shared code would
share its mistakes.
"""

from __future__ import annotations

from ._arguments import Reach
from ._clock import Clock, ManualClock
from ._emulator import VideosEmulator
from ._ledger import Ledger, LedgerEntry
from ._media import Media
from ._requests import RequestLog, RequestRecord
from ._rules import CONTRACT_MODELS, ModelRules
from ._script import FaultScript, FaultSource
from ._service import FAIL_MARK, REFUSE_MARK, EmulatedTask, Lifetimes, TaskStatus
from ._state import StateFileError
from ._validation import GenerationRequest
from ._virtual import VirtualClock, VirtualLoop
from .faults import (
    FAULTS,
    Close,
    Cut,
    Decline,
    DeclineStyle,
    Delay,
    Dialect,
    DialectName,
    Drip,
    ExpireUrls,
    Fault,
    Framing,
    Garbage,
    HostileBody,
    HostileBodyKind,
    HostileId,
    HostileIdKind,
    HostileUrl,
    IdLoss,
    LoseId,
    Moment,
    NoUrl,
    Phase,
    Profile,
    RateLimit,
    Redirect,
    Refuse,
    Reset,
    Slow,
    Status,
    UnknownStatus,
    UrlKind,
    fault_from_json,
    parse_fault,
    profile_faults,
)

__all__ = [
    "CONTRACT_MODELS",
    "FAIL_MARK",
    "FAULTS",
    "REFUSE_MARK",
    "Clock",
    "Close",
    "Cut",
    "Decline",
    "DeclineStyle",
    "Delay",
    "Dialect",
    "DialectName",
    "Drip",
    "EmulatedTask",
    "ExpireUrls",
    "Fault",
    "FaultScript",
    "FaultSource",
    "Framing",
    "Garbage",
    "GenerationRequest",
    "HostileBody",
    "HostileBodyKind",
    "HostileId",
    "HostileIdKind",
    "HostileUrl",
    "IdLoss",
    "Ledger",
    "LedgerEntry",
    "Lifetimes",
    "LoseId",
    "ManualClock",
    "Media",
    "ModelRules",
    "Moment",
    "NoUrl",
    "Phase",
    "Profile",
    "RateLimit",
    "Reach",
    "Redirect",
    "Refuse",
    "RequestLog",
    "RequestRecord",
    "Reset",
    "Slow",
    "StateFileError",
    "Status",
    "TaskStatus",
    "UnknownStatus",
    "UrlKind",
    "VideosEmulator",
    "VirtualClock",
    "VirtualLoop",
    "fault_from_json",
    "parse_fault",
    "profile_faults",
]
