"""The faults on the admin page: a form whose every button is a switch."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final

import attrs

from ._amounts import count_of
from ._html import Html, tag
from .faults import Profile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._paging import Choice
    from ._switches import FaultSwitch

__all__ = ["faults_section"]

_MOST_EXPLAINED: Final = 30


class _Detail(Enum):
    """How much is said of each fault; a profile brings a hundred of them."""

    BRIEF = auto()
    EXPLAINED = auto()


def faults_section(
    switches: Sequence[FaultSwitch], choice: Choice, *, problem: str | None, written: str
) -> Html:
    """Make the section.

    Args:
        switches: The faults.
        choice: What else the page shows, which is to stay as it is.
        problem: What was wrong with the fault that somebody wrote, if it was.
        written: What that was.
    """
    on = sum(switch.is_on for switch in switches)
    detail = _Detail.EXPLAINED if len(switches) <= _MOST_EXPLAINED else _Detail.BRIEF
    is_still = choice.refresh == "off" or problem is not None
    profiles = (
        tag("button", f"All of profile {profile}", name="profile", value=profile.value)
        for profile in Profile
    )
    return tag(
        "section",
        tag("h2", "Faults", id="faults"),
        tag(
            "form",
            *(
                tag("input", type="hidden", name=name, value=str(value))
                for name, value in attrs.asdict(choice).items()
            ),
            _writing(problem, written) if is_still else _invitation(choice),
            tag(
                "div",
                tag("span", f"{count_of(on, 'fault')} on. Switch on:", class_="note"),
                *profiles,
                tag("button", "Switch all off", name="clear", value="all") if on else Html(),
                class_="bulk",
            ),
            tag("ul", *(_switch(switch, detail) for switch in switches), class_="switches"),
            method="post",
            action="/faults",
        ),
        aria_labelledby="faults",
    )


def _switch(switch: FaultSwitch, detail: _Detail) -> Html:
    struck = f"Struck {count_of(switch.struck, 'time')}." if switch.struck else ""
    meaning = switch.meaning if detail is _Detail.EXPLAINED else ""
    said = " ".join(filter(None, (meaning, struck)))
    return tag(
        "li",
        tag(
            "button",
            tag("span", "on" if switch.is_on else "off", class_="state"),
            tag("code", switch.text),
            role="switch",
            aria_checked="true" if switch.is_on else "false",
            name="off" if switch.is_on else "on",
            value=switch.text,
            title=switch.meaning,
        ),
        tag("span", said, class_="note") if said else Html(),
    )


def _writing(problem: str | None, written: str) -> Html:
    # First in the form: Enter in the field presses the first button.
    return tag(
        "div",
        tag("label", "A fault of your own", for_="write"),
        tag(
            "input",
            id="write",
            name="write",
            value=written,
            placeholder="status 503 on=query probability=0.2",
            autocomplete="off",
            autocapitalize="none",
            spellcheck="false",
            aria_describedby=None if problem is None else "problem",
        ),
        tag("button", "Add"),
        Html() if problem is None else tag("p", problem, id="problem", role="alert"),
        class_="write",
    )


def _invitation(choice: Choice) -> Html:
    link = tag("a", "Write a fault of your own", href=choice.link("faults", refresh="off"))
    return tag("p", link, Html(" (the page then stops refreshing)"), class_="note")
