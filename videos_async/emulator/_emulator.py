"""``VideosEmulator``: the service on a loopback socket, started and closed with ``async with``."""

from __future__ import annotations

import hashlib
import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, Self

import anyio
import attrs
from anyio.lowlevel import checkpoint

from ._admin import Admin
from ._arguments import (
    DEFAULT_KEYS,
    Reach,
    address_of,
    as_faults,
    as_keys,
    as_models,
    as_path,
    is_sendable,
)
from ._checks import at_least, check, member_of, positive, whole_number
from ._clock import Clock, ManualClock, ResumedClock, ScaledClock
from ._front import Front
from ._media import Media, MediaStore
from ._port import Port
from ._rules import CONTRACT_MODELS, ModelRules
from ._script import FaultScript
from ._server import BASE_PATH, WireServer
from ._service import EmulatedTask, Lifetimes, VideoService
from ._signing import LinkSigner
from ._state import StateFile
from ._virtual import VirtualClock, check_loop_of
from .faults import Fault, Profile, profile_faults

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from ._ledger import Ledger
    from ._requests import RequestLog

__all__ = ["VideosEmulator"]


@attrs.define(kw_only=True, eq=False, repr=False, on_setattr=attrs.setters.frozen)
class VideosEmulator:
    """The Videos API on this machine: a real HTTP server, free of charge and of waiting.

    Two marks in a prompt ask for trouble: ``[refuse]`` is accepted, billed and failed at once as
    a breach of content policy; ``[fail]`` fails when its processing ends.

    Closed and started again it keeps its tasks, its ledger and its port, like a service that was
    down for a while.

    Args:
        api_keys: The keys that open the API, the first of which is ``api_key``. By default
            ``emulator-key``, and ``YOUR_API_KEY`` so that the documents' examples work as printed.
        host: A loopback address; with ``Reach.NETWORK`` any address, ``0.0.0.0`` for all.
        reach: Whether other machines may be let in. They need no more than the key.
        port: The port, or 0 for any that is free.
        speed: Virtual seconds per real second; the order of events does not depend on it.
        clock: A clock to go by instead, such as a ``ManualClock``; beside it ``speed`` stays 1.
        seed: Decides ids, lifetimes and what faults with a probability strike, together with
            each prompt.
        processing_slots: How many tasks are processed at a time; the rest is queued.
        lifetimes: How long tasks are processed.
        url_ttl_s: How long a video URL works, in virtual seconds; at least 1.
        models: The models there are, in place of those of the documents.
        media: What the video files are made of.
        faults: What goes wrong, in the order in which they have their say: each a `Fault`, its
            line of text or its JSON form. `faults` is then a script that may be changed at any
            time.
        profile: A named mixture of faults that comes after those: ``field`` or ``hostile``.
        state: A file that keeps tasks, ledger and counters, and which a later emulator of the
            same seed goes on from. No emulated time passes in between. By default nothing is kept.

    Raises:
        ValueError: If an argument breaks its rule; the text names it.
    """

    api_keys: tuple[str, ...] = attrs.field(default=DEFAULT_KEYS, converter=as_keys)
    host: str = "127.0.0.1"
    reach: Reach = attrs.field(default=Reach.LOOPBACK, validator=member_of(Reach))
    _port: int = attrs.field(alias="port", default=0, validator=whole_number(0, 65535))
    speed: float = attrs.field(default=1.0, validator=positive)
    _clock: Clock | None = attrs.field(alias="clock", default=None)
    seed: int = attrs.field(default=0, validator=whole_number(0))
    processing_slots: int = attrs.field(default=20, validator=whole_number(1))
    lifetimes: Lifetimes = attrs.field(factory=Lifetimes, validator=member_of(Lifetimes))
    url_ttl_s: float = attrs.field(default=86_400.0, validator=at_least(1))
    models: tuple[ModelRules, ...] = attrs.field(default=CONTRACT_MODELS, converter=as_models)
    media: Media = attrs.field(default=Media.AUTO, validator=member_of(Media))
    _given: tuple[Fault, ...] = attrs.field(alias="faults", default=(), converter=as_faults)
    profile: Profile | None = attrs.field(
        default=None, converter=attrs.converters.optional(Profile)
    )
    state: Path | None = attrs.field(default=None, converter=as_path)
    _wire: WireServer = attrs.field(init=False, on_setattr=attrs.setters.NO_OP)
    _socket: Port = attrs.field(init=False, on_setattr=attrs.setters.NO_OP)
    _front: Front = attrs.field(init=False, on_setattr=attrs.setters.NO_OP)
    # Starting and closing take turns, whoever calls them from however many tasks.
    _turn: anyio.Lock = attrs.field(init=False, factory=anyio.Lock)

    def __attrs_post_init__(self) -> None:
        self._check_host()
        keys = self.api_keys
        check(keys and all(map(is_sendable, keys)), "api_keys", "non-empty ASCII words", keys)
        check(self._clock is None or self.speed == 1, "speed", "1 beside a clock", self.speed)
        models = {rules.name: rules for rules in self.models}
        names = [rules.name for rules in self.models]
        check(names and len(models) == len(names), "models", "at least one, names unique", names)
        clock = ScaledClock(speed=self.speed) if self._clock is None else self._clock
        if self.state is not None:
            clock = ResumedClock(clock)
        self._socket = Port(str(address_of(self.host)), self._port, clock)
        self._wire = WireServer(
            service=VideoService(
                seed=self.seed, processing_slots=self.processing_slots, lifetimes=self.lifetimes
            ),
            clock=clock,
            models=models,
            api_keys=keys,
            signer=LinkSigner(hashlib.blake2b(str(self.seed).encode()).digest()),
            url_ttl_s=self.url_ttl_s,
            media=MediaStore(media=self.media.resolve()),
            script=FaultScript(seed=self.seed, on_refuse=self._socket.refuse),
        )
        self.faults.extend(self._given)
        if self.profile is not None:
            self.faults.extend(profile_faults(self.profile))
        facts = [("Seed", str(self.seed)), ("Speed", f"{self.speed:g}")]
        if self.state is not None:
            facts.append(("State file", str(self.state)))
        self._front = Front(
            wire=self._wire,
            admin=Admin(wire=self._wire, base_path=BASE_PATH, facts=facts),
            state=None if self.state is None else StateFile(path=self.state, seed=self.seed),
        )

    @property
    def api_key(self) -> str:
        """The first of the keys that open the API."""
        return self.api_keys[0]

    @property
    def port(self) -> int:
        """The port: what was asked for, or the one that the first start was given for 0."""
        return self._socket.number

    @property
    def base_url(self) -> str:
        """What a client takes as its base URL, such as ``http://127.0.0.1:8080/kyyReactApiServer``.

        Raises:
            RuntimeError: If the port is not known before the first start.
        """
        if not self._socket.number:
            message = "the emulator has no port before it is started: use 'async with', or start()"
            raise RuntimeError(message)
        return f"{self._origin}{BASE_PATH}"

    @property
    def page_url(self) -> str:
        """Where the admin page is: tasks, ledger, faults and last requests, for a browser.

        Raises:
            RuntimeError: As ``base_url``.
        """
        return f"{self.base_url.removesuffix(BASE_PATH)}/"

    @property
    def ledger(self) -> Ledger:
        """What was billed and what was refused."""
        return self._wire.service.ledger

    @property
    def billed(self) -> int:
        """How many create calls were accepted, whatever became of their tasks."""
        return self.ledger.billed

    def billed_for(self, prompt: str) -> int:
        """Count the accepted create calls with exactly this prompt."""
        return self.ledger.billed_for(prompt)

    def assert_paid_once(self, *prompts: str) -> None:
        """Assert that prompts were paid for, and none of them twice.

        Args:
            prompts: The prompts that must have been accepted exactly once; without, all that
                were accepted, of which there must be one at least.

        Raises:
            AssertionError: If that is not so; the text says which prompt, how often and when.
        """
        __tracebackhide__ = True
        self.ledger.assert_paid_once(*prompts)

    @property
    def requests(self) -> RequestLog:
        """How many requests came in, by kind, and the last of them."""
        return self._wire.requests

    @property
    def faults(self) -> FaultScript:
        """What goes wrong; may be changed at any time."""
        return self._wire.script

    @property
    def tasks(self) -> Mapping[str, EmulatedTask]:
        """All tasks by id, in order of acceptance, as they stand now; a live view."""
        self._wire.service.advance(self._wire.clock.now_s())
        return self._wire.service.tasks

    @property
    def clock(self) -> Clock:
        """The virtual time."""
        return self._wire.clock

    async def advance(self, seconds: float) -> None:
        """Let virtual time pass, at once.

        In an event loop of a `VirtualClock` all that anybody does meanwhile happens as well, in
        its order: polls, pauses, time-outs. Elsewhere the clock of the emulator alone jumps, and
        with it its tasks, links and faults.

        Args:
            seconds: How many virtual seconds.

        Raises:
            ValueError: If ``seconds`` is negative.
            TypeError: If the clock is of your own making and has no ``advance``.
        """
        check(seconds >= 0, "seconds", "at least 0", seconds)
        clock = self._own_clock
        if isinstance(clock, VirtualClock):
            await clock.sleep(seconds)
        elif isinstance(clock, ManualClock | ScaledClock):
            clock.advance(seconds)
        else:
            message = f"{type(clock).__name__} is moved by whoever made it, not by the emulator"
            raise TypeError(message)
        # What was woken gets its turn before whoever moved the clock.
        await checkpoint()

    async def start(self) -> None:
        """Listen; does nothing if it already does.

        Raises:
            OSError: If the port cannot be had.
            RuntimeError: If the loop does not go by the `VirtualClock` that was given.
            StateFileError: If the state file cannot be used.
        """
        async with self._turn:
            if not self._socket.is_held:
                self._front.open()
                try:
                    if isinstance(self._own_clock, VirtualClock):
                        check_loop_of(self._own_clock)
                    await self._socket.start(self._front.handle)
                except BaseException:
                    self._front.close()
                    raise
                self._wire.origin = "" if self.reach is Reach.NETWORK else self._origin

    async def aclose(self) -> None:
        """Stop listening and drop every connection; does nothing if that was done.

        Raises:
            StateFileError: If the last of the state could not be written.
        """
        # Shielded, because a test that is cancelled must not leave its server behind. Bounded,
        # because a request under way gets _GRACE_S and no more.
        with anyio.CancelScope(shield=True):
            async with self._turn:
                if self._socket.is_held:
                    self._wire.let_go()
                    await self._socket.aclose()
                    # The loop closes the sockets of dropped connections on its next round.
                    await checkpoint()
                    self._front.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        state = self.base_url if self._socket.is_held else "closed"
        return f"<VideosEmulator {state} tasks={len(self._wire.service.tasks)} {self.ledger!r}>"

    def _check_host(self) -> None:
        address = address_of(self.host)
        if self.reach is Reach.NETWORK:
            check(address is not None, "host", "an IP address or 'localhost'", self.host)
            return
        # Anybody may know the key, so nobody but this machine may knock.
        is_loopback = address is not None and address.is_loopback
        rule = "a loopback address such as '127.0.0.1' or '::1'"
        check(is_loopback, "host", rule, self.host)

    @property
    def _own_clock(self) -> Clock:
        return self.clock.clock if isinstance(self.clock, ResumedClock) else self.clock

    @property
    def _origin(self) -> str:
        # Where all addresses are listened on, this machine's own clients take the loopback one.
        address = address_of(self.host)
        if address is not None and address.is_unspecified:
            address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
        host = f"[{address}]" if address is not None and address.version == 6 else str(address)
        return f"http://{host}:{self._socket.number}"
