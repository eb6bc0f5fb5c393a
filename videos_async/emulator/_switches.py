"""The faults as switches: what the script holds, what it held, and what is often wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from .faults import Profile, parse_fault, profile_faults

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._script import FaultScript
    from .faults import Fault

__all__ = ["FaultSwitch", "FaultSwitches"]

_OFFERED: Final = (
    "status code=429 retry_after=2 on=submit",
    "status code=503 on=submit after=acceptance",
    "reset on=submit after=acceptance",
    "lose_id",
    "decline style=failed",
    "slow processing=600",
    "status code=503 on=query",
    "reset on=query",
    "cut at=40 on=query",
    "garbage on=query",
    "unknown_status status=pending_review",
    "no_url",
    "expire_urls on=download",
    "cut at=1000 on=download",
    "delay seconds=30",
)


@attrs.frozen(kw_only=True)
class FaultSwitch:
    """A fault that can be switched on and off.

    Attributes:
        text: The fault in a line.
        meaning: What it does, in a sentence.
        is_on: Whether it is in the script.
        struck: How often it has struck since it was switched on.
    """

    text: str
    meaning: str
    is_on: bool
    struck: int


@attrs.define(eq=False)
class FaultSwitches:
    """Switches the faults of a script; what was switched off stays on the board.

    Args:
        script: The script.
    """

    script: FaultScript
    _known: dict[str, Fault] = attrs.field(init=False, factory=dict[str, "Fault"])

    def board(self) -> tuple[FaultSwitch, ...]:
        """Give all switches, those that are on first."""
        offered = map(parse_fault, _OFFERED)
        self._known.update((str(fault), fault) for fault in (*self.script, *offered))
        on = {str(fault) for fault in self.script}
        return tuple(
            FaultSwitch(
                text=text,
                meaning=(type(fault).__doc__ or "").partition("\n")[0].replace("`", ""),
                is_on=text in on,
                struck=self.script.struck(fault) if text in on else 0,
            )
            for text, fault in sorted(self._known.items(), key=lambda item: item[0] not in on)
        )

    def switch_on(self, text: str) -> None:
        """Add a fault to the script; does nothing if it is there.

        Raises:
            ValueError: If the text is no fault; it says what is wrong.
        """
        self._add([parse_fault(text)])

    def switch_off(self, text: str) -> None:
        """Take a fault out of the script; does nothing if it is not there.

        Raises:
            ValueError: As for `switch_on`.
        """
        fault = parse_fault(text)
        # Before it leaves: what is off can be switched on again.
        self._known[str(fault)] = fault
        while fault in self.script:
            self.script.remove(fault)

    def switch_on_profile(self, name: str) -> None:
        """Add the faults of a profile.

        Raises:
            ValueError: If there is no such profile.
        """
        self._add(profile_faults(Profile(name)))

    def switch_all_off(self) -> None:
        """Empty the script."""
        self._known.update((str(fault), fault) for fault in self.script)
        self.script.clear()

    def _add(self, faults: Iterable[Fault]) -> None:
        for fault in faults:
            if fault not in self.script:
                self.script.add(fault)
