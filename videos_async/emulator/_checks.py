"""Validators of what users hand to the emulator: an error names field, rule and value."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, NoReturn, TypeGuard

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    import attrs

__all__ = [
    "Choice",
    "at_least",
    "check",
    "is_number",
    "member_of",
    "nonempty_text",
    "positive",
    "whole_number",
]


class Choice(StrEnum):
    """One of several words; any other is refused with all that there are."""

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        words = "".join(f" {sign.lower()}" if sign.isupper() else sign for sign in cls.__name__)
        message = f"{words.strip()} must be one of {', '.join(cls)}, got {value!r}"
        raise ValueError(message)

    def __repr__(self) -> str:
        return repr(self.value)


def check(holds: object, field: str, rule: str, value: object) -> None:
    """Raise a ``ValueError`` that names field, rule and value, unless the rule holds."""
    if not holds:
        message = f"{field} must be {rule}, got {value!r}"
        raise ValueError(message)


def positive(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Accept finite numbers above zero."""
    check(is_number(value) and value > 0, _name(attribute), "a finite number above 0", value)


def at_least(minimum: float) -> Callable[[object, attrs.Attribute[Any], object], None]:
    """Accept finite numbers from ``minimum`` up."""

    def validate(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        holds = is_number(value) and value >= minimum
        check(holds, _name(attribute), f"a finite number of at least {minimum}", value)

    return validate


def whole_number(
    minimum: int, maximum: float = math.inf
) -> Callable[[object, attrs.Attribute[Any], object], None]:
    """Accept integers from ``minimum`` to ``maximum``, both included, and no booleans."""
    reach = f"of at least {minimum}" if maximum == math.inf else f"from {minimum} to {maximum}"

    def validate(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        holds = is_number(value) and isinstance(value, int) and minimum <= value <= maximum
        check(holds, _name(attribute), f"an integer {reach}", value)

    return validate


def nonempty_text(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Accept strings of at least one character."""
    holds = isinstance(value, str) and value != ""
    check(holds, _name(attribute), "a non-empty string", value)


def member_of(kind: type) -> Callable[[object, attrs.Attribute[Any], object], None]:
    """Accept instances of a class."""

    def validate(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        check(isinstance(value, kind), _name(attribute), f"a {kind.__name__}", value)

    return validate


def _name(attribute: attrs.Attribute[Any]) -> str:
    # The name that users write, where the attribute itself is private.
    return attribute.alias or attribute.name


def is_number(value: object) -> TypeGuard[float]:
    # bool is an int to Python, and "speed=True" is a mistake to everybody else.
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
