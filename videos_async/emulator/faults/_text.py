"""Faults read back from JSON and from one line of text."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any, Final, cast

import attrs

from videos_async.emulator._checks import check

from ._answers import Decline, RateLimit, Redirect, Status
from ._base import Fault, snake_case
from ._connection import Close, Cut, Delay, Drip, Garbage, Refuse, Reset
from ._dialects import Dialect, ExpireUrls, LoseId, NoUrl, Slow, UnknownStatus
from ._hostile import HostileBody, HostileId, HostileUrl

__all__ = ["FAULTS", "fault_from_json", "parse_fault"]

FAULTS: Final[Mapping[str, type[Fault]]] = {
    snake_case(kind.__name__): kind
    for kind in (
        Refuse,
        Reset,
        Close,
        Delay,
        Drip,
        Cut,
        Garbage,
        Status,
        RateLimit,
        Redirect,
        Decline,
        Dialect,
        UnknownStatus,
        NoUrl,
        ExpireUrls,
        LoseId,
        Slow,
        HostileBody,
        HostileId,
        HostileUrl,
    )
}
"""The classes of faults by their names in text."""


def fault_from_json(value: Mapping[str, Any]) -> Fault:
    """Read a fault from a JSON object, such as ``{"fault": "status", "code": 503}``.

    Raises:
        ValueError: If it is none; the text names the field, the rule and the value.
    """
    fields = dict(value)
    name = fields.pop("fault", None)
    kind = FAULTS.get(name) if isinstance(name, str) else None
    check(kind is not None, "fault", f"one of {', '.join(FAULTS)}", name)
    assert kind is not None  # noqa: S101 - it was checked in the line above
    known = attrs.fields_dict(kind)
    for field in fields:
        check(field in known, f"a field of {name}", f"one of {', '.join(known)}", field)
    for field, attribute in known.items():
        required = attribute.default is attrs.NOTHING
        check(field in fields or not required, f"{name}.{field}", "given", None)
    try:
        return kind(**fields)
    except TypeError as error:
        message = f"{name} cannot be made of {fields!r}: {error}"
        raise ValueError(message) from None


def parse_fault(text: str) -> Fault:
    """Read a fault from text: a JSON object, or its name and ``field=value`` words.

    ``str(fault)`` is such a line: ``status code=503 on=query probability=0.1``. A fault's own
    fields may do without their names: ``status 503 on=query``. A value is JSON, or the plain text
    that it is otherwise; quotes are those of the shell.

    Raises:
        ValueError: If it is none; the text names the field, the rule and the value.
    """
    if text.lstrip().startswith("{"):
        value: object = json.loads(text)
        return fault_from_json(cast("Mapping[str, Any]", value))
    name, *words = shlex.split(text) or [""]
    fields: dict[str, Any] = {"fault": name}
    # A wrong name is told of before anything that follows it.
    kind = FAULTS.get(name) or type(fault_from_json(fields))
    own = iter([field.name for field in attrs.fields(kind) if not field.kw_only])
    for word in words:
        field, equals, value_text = word.partition("=")
        if not equals:
            field, value_text = next(own, ""), word
        check(field and field not in fields, "a word", "field=value, each field once", word)
        fields[field] = _value(value_text)
    return fault_from_json(fields)


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
