"""Faults that are answers of HTTP: errors, limits, redirects, refusals that say 200."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any, Final, cast

import attrs

from videos_async.emulator._checks import Choice, check, nonempty_text, positive, whole_number

from ._base import Phase
from ._kinds import Answer, Instead, Line

__all__ = ["Decline", "DeclineStyle", "RateLimit", "Redirect", "Status", "TokenBucket"]


def _answered(answer: Answer | None, **fields: Any) -> Answer:
    phase = Phase.QUERY if answer is None else answer.phase
    return Answer(phase=phase, **fields)


def _retry_after(_: object, __: attrs.Attribute[Any], value: Any) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    holds = value is None or isinstance(value, str) or (is_number and value >= 0)
    check(holds, "retry_after", "seconds, the text of a header, or None", value)


def _pause(value: float | str | None) -> dict[str, str]:
    if value is None:
        return {}
    return {"Retry-After": value if isinstance(value, str) else f"{value:g}"}


@attrs.frozen
class Status(Instead):
    """A status comes in place of the answer; with ``after="acceptance"`` a submit is billed.

    Attributes:
        code: The HTTP status.
        retry_after: What ``Retry-After`` says: seconds, or a text such as a date.
        body: The body: a text is sent as HTML, anything else as JSON. By default a message.
    """

    code: int = attrs.field(validator=whole_number(200, 599))
    retry_after: float | str | None = attrs.field(default=None, validator=_retry_after)
    body: Any = None

    def _check(self) -> None:
        try:
            json.dumps(self.body)
        except (TypeError, ValueError):
            check(holds=False, field="body", rule="text or JSON", value=self.body)

    async def take(self, line: Line, answer: Answer | None) -> Answer:
        """Answer the status."""
        del line
        headers = _pause(self.retry_after)
        if isinstance(self.body, str):
            content = self.body.encode()
            return _answered(
                answer, status=self.code, body=content, media_type="text/html", headers=headers
            )
        payload = {"message": _phrase(self.code)} if self.body is None else self.body
        return _answered(answer, status=self.code, payload=payload, headers=headers)


def _phrase(code: int) -> str:
    known = {status.value: status.phrase for status in HTTPStatus}
    return known.get(code, f"status {code}")


@attrs.frozen
class RateLimit(Instead):
    """Calls beyond a rate are answered with 429 and not taken up.

    The calls that it fits share one allowance: all of them, those of one phase, or those chosen.

    Attributes:
        per_second: How many calls are let through in a virtual second.
        burst: How many are let through at once after a pause.
        retry_after: What ``Retry-After`` says, or None to leave it out.
    """

    AFTER = frozenset()

    per_second: float = attrs.field(validator=positive)
    burst: int = attrs.field(default=1, validator=whole_number(1))
    retry_after: float | str | None = attrs.field(default=None, validator=_retry_after)

    async def take(self, line: Line, answer: Answer | None) -> Answer:
        """Answer 429."""
        del line
        message = {"message": "Too Many Requests: slow down"}
        return _answered(answer, status=429, payload=message, headers=_pause(self.retry_after))


@attrs.define
class TokenBucket:
    """What is left of the allowance of one `RateLimit`."""

    limit: RateLimit
    _tokens: float = attrs.field(init=False)
    _filled_s: float = attrs.field(init=False, default=float("-inf"))

    def __attrs_post_init__(self) -> None:
        self._tokens = self.limit.burst

    def take(self, now_s: float) -> bool:
        """Take a token; False where there is none."""
        if self._filled_s < now_s:
            gained = (now_s - self._filled_s) * self.limit.per_second
            self._tokens = min(self.limit.burst, self._tokens + gained)
            self._filled_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


_REDIRECTS: Final = (301, 302, 303, 307, 308)


@attrs.frozen
class Redirect(Instead):
    """The call is redirected.

    Attributes:
        to: The ``Location``. By default a path on this emulator that is no endpoint, so that
            whoever follows is counted among ``emulator.requests.others``.
        code: 301, 302, 303, 307 or 308.
    """

    to: str = attrs.field(default="/elsewhere", validator=nonempty_text)
    code: int = 307

    def _check(self) -> None:
        check(self.code in _REDIRECTS, "code", f"one of {_REDIRECTS}", self.code)
        is_header = self.to.isascii() and self.to.isprintable()
        check(is_header, "to", "printable ASCII", self.to)

    async def take(self, line: Line, answer: Answer | None) -> Answer:
        """Answer the redirect."""
        del line
        return _answered(answer, status=self.code, body=b"", headers={"Location": self.to})


class DeclineStyle(Choice):
    """How a refusal says 200."""

    ENVELOPE = "envelope"
    """An envelope whose ``code`` is not ``"0"``, and ``msg``."""
    FAILED = "failed"
    """A task with an id that is ``failed`` from the start, and ``error``."""


@attrs.frozen
class Decline(Instead):
    """A submit is refused with HTTP 200; nothing is billed.

    Attributes:
        style: ``envelope`` or ``failed``.
        message: Why.
    """

    PHASES = frozenset({Phase.SUBMIT})
    AFTER = frozenset()

    style: DeclineStyle = attrs.field(default=DeclineStyle.ENVELOPE, converter=DeclineStyle)
    message: str = "the balance does not suffice"

    async def take(self, line: Line, answer: Answer | None) -> Answer:
        """Answer the refusal."""
        del line
        if self.style is DeclineStyle.ENVELOPE:
            payload: dict[str, Any] = {"code": "4002", "msg": self.message, "data": None}
        else:
            payload = {"id": "video_0", "status": "failed", "error": self.message}
        return _answered(answer, payload=cast("Any", payload))
