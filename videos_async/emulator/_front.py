"""The door of the emulator: every request comes in here, is noted, and sent where it belongs.

What is about the emulator itself goes to the admin page and leaves no trace. The rest goes to the
API, and its trace is in the state file, if there is one and it has room, before its answer leaves.
"""

from __future__ import annotations

import json
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import attrs
from aiohttp import web

from ._clock import ResumedClock
from ._state import StateFileError

if TYPE_CHECKING:
    from ._admin import Admin
    from ._kept import Kept
    from ._server import WireServer
    from ._state import StateFile

__all__ = ["Front"]

logger = logging.getLogger("videos_async.emulator")

_COUNTERS: Final = ("submits", "queries", "downloads", "downloads_with_authorization", "others")
_REFUSED: Final = "refused"


@attrs.define(kw_only=True, eq=False)
class Front:
    """Takes requests in.

    Args:
        wire: The API.
        admin: The pages about it.
        state: Where everything is kept, if it is.
    """

    wire: WireServer
    admin: Admin
    state: StateFile | None
    _is_restored: bool = attrs.field(init=False, default=False)
    # The trouble with the file that was logged last, while it lasts.
    _told: str = attrs.field(init=False, default="")

    def open(self) -> None:
        """Open the state file and go on from it.

        Raises:
            StateFileError: If the file cannot be used.
        """
        if self.state is None:
            return
        kept = self.state.open()
        service, counts = self.wire.service, self.wire.requests
        clock = self.wire.clock
        if isinstance(clock, ResumedClock) and kept.clock_s is not None:
            # No time passes while nobody runs on the file.
            clock.resume(kept.clock_s)
        service.recorder = self.state
        if self._is_restored:
            self._check_unchanged(self.state, kept)
            return
        self._is_restored = True
        for name in _COUNTERS:
            setattr(counts, name, kept.counters.get(name, 0))
        refused = kept.counters.get(_REFUSED, 0)
        service.restore(kept.tasks, refused=refused, now_s=clock.now_s())

    def close(self) -> None:
        """Write the last of it, and let go of the state file.

        Raises:
            StateFileError: If it could not be written.
        """
        if self.state is not None:
            try:
                self._save()
            finally:
                self.state.close()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        try:
            page = await self.admin.answer_to(request)
            return page or await self.wire.handle(request)
        except StateFileError as error:
            return _unavailable(error)
        finally:
            # Whatever came of it, and whether or not there is anybody left to tell.
            self._save_or_keep()

    def _save_or_keep(self) -> None:
        """Write down what has happened; where there is no room for it, it is kept for later.

        What must not happen unwritten, that a task is taken on, was written before.
        """
        try:
            self._save()
        except StateFileError as error:
            told = str(error)
            if told != self._told:
                logger.warning("%s; what happened meanwhile is kept in memory", told)
            self._told = told
        else:
            self._told = ""

    def _save(self) -> None:
        if self.state is not None:
            now_s = self.wire.service.advance(self.wire.clock.now_s())
            self.state.save(self._counters(), clock_s=now_s)

    def _counters(self) -> dict[str, int]:
        counters = {name: getattr(self.wire.requests, name) for name in _COUNTERS}
        return {**counters, _REFUSED: self.wire.service.ledger.refused}

    def _check_unchanged(self, state: StateFile, kept: Kept) -> None:
        tasks = [task.id for task, _ in kept.tasks]
        if tasks != list(self.wire.service.tasks) or kept.counters != self._counters():
            state.close()
            message = (
                f"the state file {str(state.path)!r} was changed while this emulator was closed:"
                " make a new one to go on from it"
            )
            raise StateFileError(message)


def _unavailable(error: StateFileError) -> web.Response:
    return web.Response(
        status=HTTPStatus.SERVICE_UNAVAILABLE,
        body=json.dumps({"message": f"{error}; nothing was accepted"}).encode(),
        content_type="application/json",
    )
