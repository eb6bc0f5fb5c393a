"""``emulate``: the service on this machine, until Ctrl-C."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import anyio
import attrs
from cyclopts import Group, Parameter

from videos_async.cli._exit import BadInput, ExitCode
from videos_async.cli._output import Streams

if TYPE_CHECKING:
    from videos_async.emulator import VideosEmulator

__all__ = ["Emulation", "EmulatorOptions"]

MediaName: TypeAlias = Literal["auto", "test-card", "sample"]
ProfileName: TypeAlias = Literal["field", "hostile"]

_SOCKET = Group("The socket", sort_key=1)
_SERVICE = Group("The service", sort_key=2)
_FAULTS = Group("What goes wrong", sort_key=3)


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class EmulatorOptions:
    """What an emulator is like."""

    port: Annotated[int, Parameter(group=_SOCKET, help="The port, or 0 for any that is free.")] = (
        8080
    )
    host: Annotated[
        str,
        Parameter(
            group=_SOCKET, help="The IP address to listen on; 0.0.0.0 opens it to the network."
        ),
    ] = "127.0.0.1"
    speed: Annotated[float, Parameter(group=_SERVICE, help="Emulated seconds per second.")] = 1.0
    seed: Annotated[
        int,
        Parameter(
            group=_SERVICE, help="Decides ids, lifetimes and chance faults, with each prompt."
        ),
    ] = 0
    media: Annotated[
        MediaName,
        Parameter(group=_SERVICE, help="What the videos are: test cards need PyAV."),
    ] = "auto"
    state: Annotated[
        Path | None,
        Parameter(
            group=_SERVICE,
            help="A file that keeps tasks, ledger and counters from one run to the next, for the "
            "same --seed. No emulated time passes in between.",
        ),
    ] = None
    profile: Annotated[
        ProfileName | None,
        Parameter(
            group=_FAULTS,
            help="A mixture of faults: what the field has met, or malicious answers as well.",
        ),
    ] = None
    fault: Annotated[
        tuple[str, ...],
        Parameter(
            negative="",
            show_default=False,
            group=_FAULTS,
            help="A fault, such as 'status 503 on=query probability=0.1'; may be repeated. The "
            "page lists more.",
        ),
    ] = ()


@attrs.define(eq=False, kw_only=True)
class Emulation:
    """One run of the emulator.

    Attributes:
        options: What it is like.
        streams: Where the two variables to export go, and what is said about them.
        billed: How many submissions it accepted, once it has ended.
    """

    options: EmulatorOptions
    streams: Streams
    billed: int = 0

    async def run(self) -> ExitCode:
        """Serve until cancelled.

        Raises:
            BadInput: When a setting is wrong, the port is taken, or the state file is of no use.
        """
        # Not at the top: it loads a web server, for which no other command should wait.
        from videos_async.emulator import StateFileError  # noqa: PLC0415

        try:
            async with _emulator(self.options) as emulator:
                self._announce(emulator)
                try:
                    await anyio.sleep_forever()
                finally:
                    self.billed = emulator.ledger.billed
        except OSError as error:
            raise BadInput(error.strerror or str(error)) from None
        except (ValueError, StateFileError) as error:
            raise BadInput(str(error)) from None
        return ExitCode.DONE

    def _announce(self, emulator: VideosEmulator) -> None:
        if _leads_off_this_machine(emulator.host):
            self.streams.err.line(
                f"Warning: {emulator.host} opens the emulator to the network. Whoever reaches this "
                "machine can use it, read every prompt on its page, and switch its faults."
            )
        self.streams.err.line(
            f"The emulator runs until Ctrl-C and bills nothing. Its page: {emulator.page_url}\n"
            "In the shell that is to use it, set these two:"
        )
        # On their own on standard output, for `eval` and for files of variables.
        self.streams.out.line(f"export VIDEOS_API_KEY={emulator.api_key}")
        self.streams.out.line(f"export VIDEOS_BASE_URL={emulator.base_url}")

    def parting(self) -> tuple[str, ExitCode]:
        """Say what was done; Ctrl-C is how this command is meant to end."""
        return f"the emulator has ended, {self.billed} submissions accepted", ExitCode.DONE

    def next_step(self, error: BaseException) -> str | None:
        """Nothing goes on from an error of the emulator."""
        del error
        return None


def _emulator(options: EmulatorOptions) -> VideosEmulator:
    from videos_async.emulator import Media, Profile, Reach, VideosEmulator  # noqa: PLC0415

    return VideosEmulator(
        host=options.host,
        reach=Reach.NETWORK if _leads_off_this_machine(options.host) else Reach.LOOPBACK,
        port=options.port,
        speed=options.speed,
        seed=options.seed,
        media=Media(options.media.replace("-", " ")),
        state=options.state,
        profile=None if options.profile is None else Profile(options.profile),
        faults=options.fault,
    )


def _leads_off_this_machine(host: str) -> bool:
    """Tell whether other machines can reach what listens there; names are for loopback alone."""
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
