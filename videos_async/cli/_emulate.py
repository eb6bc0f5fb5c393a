"""``emulate``: the service on this machine, until Ctrl-C."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import anyio
import attrs

from videos_async.cli._exit import BadInput, ExitCode
from videos_async.cli._output import Streams

if TYPE_CHECKING:
    from videos_async.emulator import VideosEmulator

__all__ = ["Emulation", "MediaName"]

MediaName: TypeAlias = Literal["auto", "test-card", "sample"]


@attrs.define(eq=False, kw_only=True)
class Emulation:
    """One run of the emulator.

    Attributes:
        host: The address to listen on; one that is not loopback lets the network in.
        port: The port, or 0 for any that is free.
        speed: Emulated seconds per second.
        seed: Decides ids and lifetimes.
        media: What the video files are made of.
        state: The file that tasks, ledger and counters are kept in, if they are.
        streams: Where the two variables to export go, and what is said about them.
        billed: How many submissions it accepted, once it has ended.
    """

    host: str
    port: int
    speed: float
    seed: int
    media: MediaName
    state: Path | None
    streams: Streams
    billed: int = 0

    async def run(self) -> ExitCode:
        """Serve until cancelled.

        Raises:
            BadInput: When a setting is wrong, the port is taken, or the state file is of no use.
        """
        # Not at the top: it loads a web server, for which no other command should wait.
        from videos_async.emulator import (  # noqa: PLC0415
            Media,
            Reach,
            StateFileError,
            VideosEmulator,
        )

        is_open = _leads_off_this_machine(self.host)
        try:
            async with VideosEmulator(
                host=self.host,
                reach=Reach.NETWORK if is_open else Reach.LOOPBACK,
                port=self.port,
                speed=self.speed,
                seed=self.seed,
                media=Media(self.media.replace("-", " ")),
                state=self.state,
            ) as emulator:
                if is_open:
                    self._warn()
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

    def _warn(self) -> None:
        self.streams.err.line(
            f"Warning: {self.host} opens the emulator to the network. Whoever reaches this machine "
            "can use it, read every prompt on its page, and switch its faults."
        )

    def _announce(self, emulator: VideosEmulator) -> None:
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


def _leads_off_this_machine(host: str) -> bool:
    """Tell whether other machines can reach what listens there; names are for loopback alone."""
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
