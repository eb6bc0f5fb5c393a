"""What an emulator is told, brought into the form in which it is kept."""

from __future__ import annotations

import ipaddress
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ._checks import check
from ._script import FaultSource, as_fault

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from ._rules import ModelRules
    from .faults import Fault

__all__ = [
    "DEFAULT_KEYS",
    "Reach",
    "address_of",
    "as_faults",
    "as_keys",
    "as_models",
    "as_path",
    "is_sendable",
]

DEFAULT_KEYS: Final = ("emulator-key", "YOUR_API_KEY")


def as_keys(value: str | Iterable[str]) -> tuple[str, ...]:
    """Take one key or several."""
    return (value,) if isinstance(value, str) else tuple(value)


def as_models(models: Iterable[ModelRules]) -> tuple[ModelRules, ...]:
    """Take the rules of any number of models."""
    return tuple(models)


def as_faults(faults: Iterable[FaultSource]) -> tuple[Fault, ...]:
    """Take faults as they are, as text or as JSON."""
    # A text is an iterable of letters, and none of them is a fault.
    check(not isinstance(faults, str), "faults", "a list of faults", faults)
    return tuple(as_fault(fault) for fault in faults)


def as_path(path: str | os.PathLike[str] | None) -> Path | None:
    """Take the name of a file, or none."""
    return None if path is None else Path(path)


class Reach(Enum):
    """From where the emulator can be reached."""

    LOOPBACK = "loopback"
    """From this machine alone."""
    NETWORK = "network"
    """From wherever its host leads: to the API, the prompts on the page, and the faults."""


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Give the address that a host stands for, or None where it is no address."""
    # The name may stand for two addresses, and port 0 would then be two different ports.
    try:
        return ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return None


def is_sendable(key: object) -> bool:
    """Tell whether a key can stand in a header."""
    return isinstance(key, str) and key.isascii() and key.isprintable() and key == key.strip() != ""
