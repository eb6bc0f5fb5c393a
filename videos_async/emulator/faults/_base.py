"""What every fault has: the calls it strikes, and a form in JSON and in one line of text."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from enum import Enum
from operator import attrgetter
from typing import Any, ClassVar, Final, cast

import attrs

from videos_async.emulator._checks import Choice, check, nonempty_text

__all__ = ["Call", "Fault", "Moment", "Phase", "snake_case"]


class Phase(Choice):
    """The three kinds of calls."""

    SUBMIT = "submit"
    QUERY = "query"
    DOWNLOAD = "download"


class Moment(Choice):
    """The points of a call between which a fault can strike."""

    ACCEPTANCE = "acceptance"
    """The call is taken up; a submit is billed here."""
    HEADERS = "headers"
    """Status line and headers of the answer have left, its body has not."""
    ANSWER = "answer"
    """The whole answer has left."""


@attrs.frozen(kw_only=True)
class Call:
    """One call, as faults are chosen for it.

    Attributes:
        phase: Its kind.
        prompt: The prompt it is about, or None where there is none that is known.
        task_id: The id it is about; None for submits.
        number: How many calls of this kind there were about the same task, this one included;
            for submits with the same prompt.
    """

    phase: Phase
    prompt: str | None
    task_id: str | None
    number: int

    @property
    def subject(self) -> str:
        """What calls of the same kind are counted by."""
        return (self.prompt if self.task_id is None else self.task_id) or ""


def _ordinals(value: int | Iterable[int] | None) -> tuple[int, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, int) else tuple(value)


def _counted(_: object, attribute: attrs.Attribute[Any], numbers: tuple[object, ...]) -> None:
    for number in numbers:
        holds = isinstance(number, int) and not isinstance(number, bool) and number >= 1
        check(holds, attribute.name, "numbers from 1 up", number)


def _share(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    holds = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
    check(holds, attribute.name, "a number from 0 to 1", value)


def _times(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    is_whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    holds = value is None or is_whole
    check(holds, attribute.name, "a whole number from 1 up, or None", value)


_EVERY_PHASE: Final = frozenset(Phase)
_SUBMITS: Final = frozenset({Phase.SUBMIT})


@attrs.frozen(kw_only=True)
class Fault:
    """Something that goes wrong, and with which calls; a fault strikes where all of these hold.

    Attributes:
        on: The phase: ``submit``, ``query`` or ``download``; None for every phase it makes sense
            in.
        nth: Which of the calls that fit, counted from 1 and from when the fault was added; a
            number or several. Empty for all of them.
        nth_of_task: Which of the calls of one phase about one task, counted from 1 and from the
            start of the emulator; for submits, those with the same prompt. Empty for all of them.
        probability: The share of the calls that fit, from 0 to 1. Which ones is drawn from the
            emulator's seed and from what the call is about, so neither the order in which calls
            arrive nor other faults change it.
        prompt: A text that the prompt contains.
        task: The id of the task.
        times: How often it strikes at most, or None for no limit.

    Raises:
        ValueError: If a value breaks its rule; the text names it.
    """

    PHASES: ClassVar[frozenset[Phase]] = _EVERY_PHASE
    """The phases in which it can strike."""

    on: Phase | None = attrs.field(default=None, converter=attrs.converters.optional(Phase))
    nth: tuple[int, ...] = attrs.field(default=(), converter=_ordinals, validator=_counted)
    nth_of_task: tuple[int, ...] = attrs.field(default=(), converter=_ordinals, validator=_counted)
    probability: float = attrs.field(default=1.0, validator=_share)
    prompt: str | None = attrs.field(
        default=None, validator=attrs.validators.optional(nonempty_text)
    )
    task: str | None = attrs.field(default=None, validator=attrs.validators.optional(nonempty_text))
    times: int | None = attrs.field(default=None, validator=_times)

    def __attrs_post_init__(self) -> None:
        allowed = ", ".join(sorted(self.PHASES))
        check(self.on is None or self.on in self.PHASES, "on", f"one of {allowed}", self.on)
        only_submits = self.phases <= _SUBMITS
        rule = "left out for submits, which have no id yet: choose them by prompt"
        check(self.task is None or not only_submits, "task", rule, self.task)
        self._check()

    def _check(self) -> None:
        """Judge the fields of a subclass together."""

    @property
    def name(self) -> str:
        """What it is called in text, such as ``rate_limit``."""
        return snake_case(type(self).__name__)

    @property
    def phases(self) -> frozenset[Phase]:
        """The phases in which it strikes."""
        return self.PHASES if self.on is None else frozenset({self.on})

    def fits(self, call: Call) -> bool:
        """Tell whether a call is of those that it is chosen from."""
        return (
            call.phase in self.phases
            and (self.task is None or self.task == call.task_id)
            and (self.prompt is None or (call.prompt is not None and self.prompt in call.prompt))
        )

    def to_json(self) -> dict[str, Any]:
        """Give it as a JSON object: its name under ``fault``, then all that is not a default."""
        fields: dict[str, Any] = {"fault": self.name}
        # Its own first, then what it strikes.
        for field in sorted(attrs.fields(type(self)), key=attrgetter("kw_only")):
            value = getattr(self, field.name)
            if field.default is attrs.NOTHING or value != field.default:
                fields[field.name] = _plain(value)
        return fields

    def __str__(self) -> str:
        """One line, such as ``status code=503 on=query probability=0.1``."""
        fields = self.to_json()
        name = fields.pop("fault")
        return " ".join([name, *(f"{key}={_word(value)}" for key, value in fields.items())])


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        numbers = list(cast("tuple[object, ...]", value))
        return numbers[0] if len(numbers) == 1 else numbers
    return value


def _word(value: Any) -> str:
    """Write a value so that the shell's rules split it off whole and JSON's read it back."""
    is_plain = isinstance(value, str) and not _reads_as_json(value)
    return shlex.quote(value if is_plain else json.dumps(value))


def _reads_as_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def snake_case(name: str) -> str:
    """Turn the name of a class into that of a fault: ``RateLimit`` into ``rate_limit``."""
    return "".join(f"_{sign.lower()}" if sign.isupper() else sign for sign in name).lstrip("_")
