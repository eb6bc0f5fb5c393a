"""The port: held from start to close, listened on but for the times when it refuses.

While it refuses, nothing listens, so the kernel answers every attempt to connect with a refusal,
as it does for a service that is down. A second socket, bound and never listening, keeps the port
from being dealt out to somebody else meanwhile.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import attrs
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    from ._clock import Clock

    Handler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

__all__ = ["Port"]

# Batch tests connect by the hundred, and a connection that finds no room is tried again only
# after a second.
_BACKLOG: Final = 1024
# How long a request under way may hold up closing; what is idle is closed at once.
_GRACE_S: Final = 0.5


@attrs.define(eq=False)
class Port:
    """A port of this machine, behind which a handler serves.

    Args:
        address: A loopback address.
        number: The port, or 0 for any that is free; the one that was found from the first start.
        clock: The virtual time.
    """

    address: str
    number: int
    clock: Clock
    _runner: web.ServerRunner | None = attrs.field(init=False, default=None)
    _keeper: socket.socket | None = attrs.field(init=False, default=None)
    _listening: asyncio.Server | None = attrs.field(init=False, default=None)
    _reopening: asyncio.Task[None] | None = attrs.field(init=False, default=None)
    _refuses_until_s: float = attrs.field(init=False, default=float("-inf"))
    _handle: Handler = attrs.field(init=False)
    _busy: set[object] = attrs.field(init=False, factory=set[object])

    @property
    def is_held(self) -> bool:
        """Whether it was started and not closed."""
        return self._runner is not None

    @property
    def is_refusing(self) -> bool:
        """Whether it refuses connections for a while."""
        return self.is_held and self._listening is None

    async def start(self, handle: Handler) -> None:
        """Listen.

        Raises:
            OSError: If the port cannot be had.
        """
        self._handle = handle
        runner = web.ServerRunner(
            web.Server(self._serve, access_log=None), shutdown_timeout=_GRACE_S
        )
        await runner.setup()
        try:
            self._keeper = self._bound()
            self.number = self._keeper.getsockname()[1]
            if self.clock.now_s() < self._refuses_until_s:
                self._reopen_later()
            else:
                await self._listen(runner)
        except OSError as error:
            await runner.cleanup()
            self._let_go()
            message = (
                f"the emulator cannot listen on {self.address} port {self.number}"
                f" ({errno.errorcode.get(error.errno or 0, 'unknown error')}): choose another"
                " port, or port=0 for any that is free"
            )
            raise OSError(error.errno, message) from error
        self._runner = runner

    async def aclose(self) -> None:
        """Stop listening and drop every connection."""
        runner, self._runner = self._runner, None
        reopening, self._reopening = self._reopening, None
        if reopening is not None:
            reopening.cancel()
            with suppress(asyncio.CancelledError):
                await reopening
        self._stop_listening()
        if runner is not None:
            await runner.cleanup()
        self._let_go()

    def refuse(self, seconds: float) -> None:
        """Refuse connections for so many virtual seconds, from now or from the start on.

        What is idle is closed, what is under way is answered and then closed.
        """
        self._refuses_until_s = max(self._refuses_until_s, self.clock.now_s() + seconds)
        if self._runner is None:
            return
        self._stop_listening()
        server = self._runner.server
        for connection in () if server is None else server.connections:
            if connection in self._busy:
                connection.close()
            else:
                connection.force_close()
        if self._reopening is None:
            self._reopen_later()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        self._busy.add(request.protocol)
        try:
            return await self._handle(request)
        finally:
            self._busy.discard(request.protocol)

    def _reopen_later(self) -> None:
        self._reopening = asyncio.get_running_loop().create_task(self._reopen())

    async def _reopen(self) -> None:
        while (left_s := self._refuses_until_s - self.clock.now_s()) > 0:
            await self.clock.sleep(left_s)
        self._reopening = None
        if self._runner is not None:
            await self._listen(self._runner)

    async def _listen(self, runner: web.ServerRunner) -> None:
        server = runner.server
        assert server is not None  # noqa: S101 - the runner was set up
        listener = self._bound()
        try:
            self._listening = await asyncio.get_running_loop().create_server(
                server, sock=listener, backlog=_BACKLOG
            )
        except BaseException:
            listener.close()
            raise

    def _bound(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_STREAM)
        try:
            if os.name == "posix":
                # Elsewhere this lets anybody take a port over that somebody else listens on.
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.setblocking(False)  # noqa: FBT003 - the standard library's own signature
            bound.bind((self.address, self.number))
        except BaseException:
            bound.close()
            raise
        return bound

    def _stop_listening(self) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.close()

    def _let_go(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.close()
