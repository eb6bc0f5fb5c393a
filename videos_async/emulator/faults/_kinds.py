"""The four ways in which a fault takes effect, and what each of them works on.

::

    before acceptance      acceptance        the answer          its way back
    Instead (before)  -->  Ordering     -->  Rewriting      -->  Delivering, Instead (after)

The first `Instead` that strikes before acceptance ends the call there: nothing is billed. Each
`Ordering` and `Rewriting` has its say, in the order of the script. On the way back delays add up,
and the first that then has something to do to the answer does it.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, cast

import attrs

from videos_async.emulator._checks import check

from ._base import Fault, Moment, Phase

__all__ = ["Answer", "Delivering", "Instead", "Line", "Order", "Ordering", "Rewriting"]


@attrs.define(kw_only=True)
class Answer:
    """An answer on its way.

    Attributes:
        status: The HTTP status.
        payload: The JSON value that is its body, unless `body` is given.
        body: The bytes of its body.
        headers: Its headers, without those that frame the body.
        media_type: The ``Content-Type``.
        is_task: Whether it tells of a task: of one that was accepted, or how one stands.
        phase: What it answers.
    """

    status: int = 200
    payload: Any = None
    body: bytes | None = None
    headers: dict[str, str] = attrs.field(factory=dict[str, str])
    media_type: str = "application/json"
    is_task: bool = False
    phase: Phase = Phase.QUERY

    @property
    def content(self) -> bytes:
        """The bytes of the body."""
        if self.body is not None:
            return self.body
        # ASCII out: what a request brought, a lone surrogate included, can always be quoted back.
        return json.dumps(self.payload).encode()

    @property
    def fields(self) -> dict[str, Any] | None:
        """The fields of the task it tells of, where it does so as a flat object; else None."""
        payload: object = self.payload
        if not self.is_task or self.body is not None or not isinstance(payload, dict):
            return None
        return cast("dict[str, Any]", payload)


@attrs.define(kw_only=True)
class Order:
    """How a submit is going to be taken up.

    Attributes:
        task_id: The id it is going to get.
        lifetime_s: How long it is going to be processed, in virtual seconds.
    """

    task_id: str
    lifetime_s: float


class Line(Protocol):
    """The server's end of a connection whose request was read, for faults below HTTP."""

    @property
    def is_open(self) -> bool:
        """Whether bytes can still be sent."""
        ...

    def head(self, answer: Answer, framing: Mapping[str, str]) -> bytes:
        """Write the status line and the headers of an answer, the blank line included."""
        ...

    async def send(self, data: bytes, *, is_last: bool = False) -> None:
        """Send bytes as they are; waits while the peer does not take them.

        Args:
            data: The bytes.
            is_last: Whether the end of the connection (FIN) is right behind them.
        """
        ...

    async def sleep(self, seconds: float) -> None:
        """Let virtual seconds pass."""
        ...

    def finish(self) -> None:
        """Close the connection in order (FIN) once all that was sent has left."""
        ...

    def reset(self) -> None:
        """Drop the connection with an RST, at once."""
        ...


@attrs.frozen
class Instead(Fault):
    """Comes in place of the answer: before the call is taken up, or after.

    Attributes:
        before: ``acceptance``: the service did not take the call up, so a submit is not billed.
            This holds where neither is given.
        after: ``acceptance``: the service took it up, so a submit is billed, and nothing of its
            answer leaves. Some faults know later moments: ``headers``, ``answer``.
    """

    BEFORE: ClassVar[frozenset[Moment]] = frozenset({Moment.ACCEPTANCE})
    AFTER: ClassVar[frozenset[Moment]] = frozenset({Moment.ACCEPTANCE})

    before: Moment | None = attrs.field(
        default=None, converter=attrs.converters.optional(Moment), kw_only=True
    )
    after: Moment | None = attrs.field(
        default=None, converter=attrs.converters.optional(Moment), kw_only=True
    )

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        for field, value, moments in (
            ("before", self.before, self.BEFORE),
            ("after", self.after, self.AFTER),
        ):
            words = ", ".join(sorted(moments)) or "nothing here"
            check(value is None or value in moments, field, f"{words}, or left out", value)
        both = self.before is not None and self.after is not None
        check(not both, "before and after", "one or the other", (self.before, self.after))

    @property
    def is_early(self) -> bool:
        """Whether it strikes before the call is taken up."""
        return self.after is None

    @abstractmethod
    async def take(self, line: Line, answer: Answer | None) -> Answer | None:
        """Do what it does.

        Args:
            line: The connection.
            answer: What would have been answered; None where the call was not taken up.

        Returns:
            What is to be answered, or None where the connection is done with.
        """


class Ordering(Fault):
    """Changes how a submit is taken up."""

    PHASES = frozenset({Phase.SUBMIT})

    @abstractmethod
    def apply(self, order: Order) -> None:
        """Change the order."""


class Rewriting(Fault):
    """Changes what an answer says."""

    @abstractmethod
    def rewrite(self, answer: Answer) -> None:
        """Change the answer."""


class Delivering(Fault):
    """Changes how an answer travels."""

    @abstractmethod
    async def deliver(self, line: Line, answer: Answer) -> bool:
        """Bring the answer on its way.

        Returns:
            Whether that was all of it: the connection is done with.
        """
