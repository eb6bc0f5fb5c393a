"""One call from its coming in to its answer, with whatever strikes it on the way.

The order is told at the top of `faults._kinds`. What is billed follows from it: a fault that
strikes before acceptance leaves no trace in the ledger but a refusal, one that strikes after it
finds the bill written.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import attrs
from aiohttp import web

from ._line import ServerLine
from .faults._base import Phase
from .faults._kinds import Answer, Delivering, Instead, Ordering, Rewriting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from typing import Any, TypeAlias

    from ._clock import Clock
    from ._requests import RequestRecord
    from .faults._base import Fault

    TakeUp: TypeAlias = Callable[[Sequence[Ordering]], Awaitable[Answer]]

__all__ = ["Exchange", "RefusedError", "respond"]


class RefusedError(Exception):
    """An answer in the 400s."""

    def __init__(
        self,
        status: HTTPStatus,
        message: str,
        *,
        errors: list[dict[str, str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        body: dict[str, Any] = {"message": message}
        if errors is not None:
            body["errors"] = errors
        self.answer = Answer(status=status, payload=body, headers=dict(headers or {}))


@attrs.frozen(kw_only=True)
class Exchange:
    """One call.

    Args:
        request: The request, its body read.
        phase: The kind of call.
        struck: The faults that strike it, in the order of the script.
        clock: The virtual time.
        record: Where what becomes of it is written down.
        on_refused: Called where a submit is not accepted.
    """

    request: web.BaseRequest
    phase: Phase
    struck: Sequence[Fault]
    clock: Clock
    record: RequestRecord
    on_refused: Callable[[], None]

    async def run(self, take_up: TakeUp) -> web.StreamResponse:
        """Bring the call to its end.

        Args:
            take_up: Handles the call; told which faults have a say in that.
        """
        if not self.struck:
            return self._respond(await self._handled(take_up, ()))
        line = ServerLine(request=self.request, clock=self.clock)
        early = next((one for one in self._instead() if one.is_early), None)
        answer: Answer | None
        if early is not None:
            self._refused()
            answer = await early.take(line, None)
            late = None
        else:
            orderings = [fault for fault in self.struck if isinstance(fault, Ordering)]
            answer = await self._handled(take_up, orderings)
            for fault in self.struck:
                if isinstance(fault, Rewriting):
                    fault.rewrite(answer)
            late = next((one for one in self._instead() if not one.is_early), None)
        if answer is None or not await self._deliver(line, answer, late):
            # Done with below HTTP: whatever aiohttp makes of this goes to a closed connection.
            return web.Response()
        return self._respond(answer)

    def _instead(self) -> list[Instead]:
        return [fault for fault in self.struck if isinstance(fault, Instead)]

    async def _handled(self, take_up: TakeUp, orderings: Sequence[Ordering]) -> Answer:
        try:
            answer = await take_up(orderings)
        except RefusedError as refused:
            answer = refused.answer
            self._refused()
        answer.phase = self.phase
        return answer

    def _refused(self) -> None:
        if self.phase is Phase.SUBMIT:
            self.on_refused()

    async def _deliver(self, line: ServerLine, answer: Answer, late: Instead | None) -> bool:
        """Tell whether an answer is still to be sent in the ordinary way."""
        for fault in self.struck:
            if isinstance(fault, Instead) and fault is late:
                replaced = await fault.take(line, answer)
                if replaced is None:
                    return False
                answer.status, answer.media_type = replaced.status, replaced.media_type
                answer.payload, answer.body = replaced.payload, replaced.body
                answer.headers = replaced.headers
            if isinstance(fault, Delivering) and await fault.deliver(line, answer):
                self.record.status = answer.status
                return False
        return True

    def _respond(self, answer: Answer) -> web.Response:
        self.record.status = answer.status
        return respond(answer)


def respond(answer: Answer) -> web.Response:
    """Make the HTTP response of an answer."""
    return web.Response(
        body=answer.content,
        status=answer.status,
        content_type=answer.media_type,
        headers=answer.headers,
    )
