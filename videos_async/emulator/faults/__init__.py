"""What can go wrong, as data: the faults that a script of the emulator is made of.

::

    VideosEmulator(
        faults=[
            Status(503, on="query", probability=0.1),
            Reset(after="acceptance", prompt="kitten"),
            "rate_limit per_second=5 on=submit",
        ]
    )

Every fault says what goes wrong, and chooses the calls it strikes: by phase, by the number of the
call, by probability, by prompt and by task; see `Fault`. Each is frozen, has one line of text
(``str(fault)``, `parse_fault`) and a JSON form (``fault.to_json()``, `fault_from_json`).
"""

from __future__ import annotations

from ._answers import Decline, DeclineStyle, RateLimit, Redirect, Status
from ._base import Fault, Moment, Phase
from ._connection import Close, Cut, Delay, Drip, Framing, Garbage, Refuse, Reset
from ._dialects import (
    Dialect,
    DialectName,
    ExpireUrls,
    IdLoss,
    LoseId,
    NoUrl,
    Slow,
    UnknownStatus,
)
from ._hostile import (
    HostileBody,
    HostileBodyKind,
    HostileId,
    HostileIdKind,
    HostileUrl,
    UrlKind,
)
from ._profiles import Profile, profile_faults
from ._text import FAULTS, fault_from_json, parse_fault

__all__ = [
    "FAULTS",
    "Close",
    "Cut",
    "Decline",
    "DeclineStyle",
    "Delay",
    "Dialect",
    "DialectName",
    "Drip",
    "ExpireUrls",
    "Fault",
    "Framing",
    "Garbage",
    "HostileBody",
    "HostileBodyKind",
    "HostileId",
    "HostileIdKind",
    "HostileUrl",
    "IdLoss",
    "LoseId",
    "Moment",
    "NoUrl",
    "Phase",
    "Profile",
    "RateLimit",
    "Redirect",
    "Refuse",
    "Reset",
    "Slow",
    "Status",
    "UnknownStatus",
    "UrlKind",
    "fault_from_json",
    "parse_fault",
    "profile_faults",
]
