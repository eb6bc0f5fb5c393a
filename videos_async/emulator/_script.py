"""The script: which faults strike which call.

What strikes is decided by the call alone: the draw of a fault with a probability comes from the
seed, the fault, and which call about which task it is. Neither the order in which concurrent
calls arrive nor what else is in the script changes it, so a run can be repeated.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias, overload

import attrs

from .faults._answers import RateLimit, TokenBucket
from .faults._base import Call, Fault, Phase
from .faults._connection import Refuse
from .faults._text import fault_from_json, parse_fault

__all__ = ["FaultScript", "FaultSource", "as_fault"]

FaultSource: TypeAlias = Fault | str | Mapping[str, Any]
_DRAWS: Final = 2**64


def as_fault(source: FaultSource) -> Fault:
    """Take a fault, its text or its JSON form.

    Raises:
        ValueError: If it is none of these.
    """
    if isinstance(source, Fault):
        return source
    return parse_fault(source) if isinstance(source, str) else fault_from_json(source)


@attrs.define(eq=False)
class _Entry:
    """A fault of the script, and what it has done so far."""

    fault: Fault
    salt: bytes
    bucket: TokenBucket | None
    seen: int = 0
    struck: int = 0

    @property
    def is_used_up(self) -> bool:
        return self.fault.times is not None and self.struck >= self.fault.times

    def strikes(self, call: Call, draw: Callable[[bytes], float], now_s: float) -> bool:
        fault = self.fault
        if not fault.fits(call):
            return False
        self.seen += 1
        strikes = (
            not self.is_used_up
            and (not fault.nth or self.seen in fault.nth)
            and (not fault.nth_of_task or call.number in fault.nth_of_task)
            and (fault.probability == 1 or draw(self.salt) < fault.probability)
            and (self.bucket is None or not self.bucket.take(now_s))
        )
        self.struck += strikes
        return strikes


class FaultScript(Sequence[Fault]):
    """The faults of an emulator, in the order in which they have their say.

    It may be changed at any time, also while calls are under way: a call meets the faults that
    are here when it comes in. A fault is given as itself, as its line of text or as its JSON form.

    Args:
        seed: What the draws come from.
        on_refuse: Told for how many virtual seconds the port is to be closed.
    """

    def __init__(self, *, seed: int, on_refuse: Callable[[float], None]) -> None:
        self._seed = seed
        self._on_refuse = on_refuse
        self._entries: list[_Entry] = []
        self._outages: list[_Entry] = []
        self._calls: Counter[tuple[Phase, str]] = Counter()

    # --- the script as its owner sees it -------------------------------------------------

    def add(self, fault: FaultSource) -> Fault:
        """Add a fault at the end.

        Args:
            fault: The fault, its line of text, or its JSON form.

        Returns:
            The fault, which `remove` takes.

        Raises:
            ValueError: If the text or the JSON is no fault.
        """
        found = as_fault(fault)
        same = sum(other == found for other in self)
        entry = _Entry(
            found,
            # Where the same fault is there twice, each has draws of its own.
            salt=f"{found}/{same}".encode(errors="surrogatepass"),
            bucket=TokenBucket(found) if isinstance(found, RateLimit) else None,
        )
        self._entries.append(entry)
        if isinstance(found, Refuse):
            self._outages.append(entry)
            if found.is_immediate:
                self._refuse(entry, found)
        return found

    def extend(self, faults: Iterable[FaultSource]) -> None:
        """Add several faults at the end; where one of them is none, none is added."""
        for fault in [as_fault(fault) for fault in faults]:
            self.add(fault)

    def remove(self, fault: FaultSource) -> None:
        """Take a fault out: the first that is equal to it.

        Raises:
            ValueError: If it is not in the script.
        """
        found = as_fault(fault)
        for entry in self._entries:
            if entry.fault == found:
                self._entries.remove(entry)
                if entry in self._outages:
                    self._outages.remove(entry)
                return
        message = f"the script has no fault {str(found)!r}"
        raise ValueError(message)

    def clear(self) -> None:
        """Take all faults out."""
        self._entries.clear()
        self._outages.clear()

    def struck(self, fault: FaultSource) -> int:
        """Tell how often a fault of the script has struck; equal ones count together."""
        found = as_fault(fault)
        return sum(entry.struck for entry in self._entries if entry.fault == found)

    @overload
    def __getitem__(self, index: int) -> Fault: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Fault]: ...
    def __getitem__(self, index: int | slice) -> Fault | Sequence[Fault]:
        return [entry.fault for entry in self._entries][index]

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Fault]:
        return iter([entry.fault for entry in self._entries])

    def __repr__(self) -> str:
        return f"<FaultScript {[str(fault) for fault in self]}>"

    # --- the script as the server sees it ------------------------------------------------

    def strike(
        self, phase: Phase, *, prompt: str | None, task_id: str | None, now_s: float
    ) -> list[Fault]:
        """Take in a call and give the faults that strike it, in the order of the script."""
        call = Call(phase=phase, prompt=prompt, task_id=task_id, number=1)
        subject = (phase, call.subject)
        # Counted without faults as well: one that is added later knows which call it meets.
        self._calls[subject] = number = self._calls[subject] + 1
        if not self._entries:
            return []
        call = attrs.evolve(call, number=number)
        text = f"{self._seed}/{phase}/{call.subject}/{number}/"
        start = text.encode(errors="surrogatepass")

        def draw(salt: bytes) -> float:
            digest = hashlib.blake2b(start + salt, digest_size=8).digest()
            return int.from_bytes(digest) / _DRAWS

        return [
            entry.fault
            for entry in self._entries
            if not isinstance(entry.fault, Refuse) and entry.strikes(call, draw, now_s)
        ]

    def taken_up(self, phase: Phase) -> bool:
        """Take in that a call came in, and tell whether the port closes behind it."""
        is_closing = False
        for entry in self._outages:
            fault = entry.fault
            if not isinstance(fault, Refuse) or phase not in fault.phases:
                continue
            entry.seen += 1
            text = f"{self._seed}/{entry.seen}/".encode() + entry.salt
            share = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) / _DRAWS
            # It is the next call that would be the nth.
            is_next = entry.seen + 1 in fault.nth if fault.nth else not fault.is_immediate
            if is_next and not entry.is_used_up and share < fault.probability:
                self._refuse(entry, fault)
                is_closing = True
        return is_closing

    def _refuse(self, entry: _Entry, fault: Refuse) -> None:
        entry.struck += 1
        self._on_refuse(fault.seconds)
