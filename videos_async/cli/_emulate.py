"""``emulate``: the service on this machine, until Ctrl-C."""

from __future__ import annotations

from typing import Literal, TypeAlias

import anyio
import attrs

from videos_async.cli._exit import BadInput, ExitCode
from videos_async.cli._output import Streams

__all__ = ["Emulation", "MediaName"]

MediaName: TypeAlias = Literal["auto", "test-card", "sample"]


@attrs.define(eq=False, kw_only=True)
class Emulation:
    """One run of the emulator.

    Attributes:
        host: The loopback address.
        port: The port, or 0 for any that is free.
        speed: Emulated seconds per second.
        seed: Decides ids and lifetimes.
        media: What the video files are made of.
        streams: Where the two variables to export go, and what is said about them.
        billed: How many submissions it accepted, once it has ended.
    """

    host: str
    port: int
    speed: float
    seed: int
    media: MediaName
    streams: Streams
    billed: int = 0

    async def run(self) -> ExitCode:
        """Serve until cancelled.

        Raises:
            BadInput: When a setting is wrong or the port is taken.
        """
        # Not at the top: it loads a web server, for which no other command should wait.
        from videos_async.emulator import Media, VideosEmulator  # noqa: PLC0415

        try:
            emulator = VideosEmulator(
                host=self.host,
                port=self.port,
                speed=self.speed,
                seed=self.seed,
                media=Media(self.media.replace("-", " ")),
            )
            await emulator.start()
        except (ValueError, OSError) as error:
            problem = error.strerror if isinstance(error, OSError) else None
            raise BadInput(problem or str(error)) from None
        async with emulator:
            self.streams.err.line(
                "The emulator runs until Ctrl-C and bills nothing. "
                "In the shell that is to use it, set these two:"
            )
            # On their own on standard output, for `eval` and for files of variables.
            self.streams.out.line(f"export VIDEOS_API_KEY={emulator.api_key}")
            self.streams.out.line(f"export VIDEOS_BASE_URL={emulator.base_url}")
            try:
                await anyio.sleep_forever()
            finally:
                self.billed = emulator.ledger.billed
        return ExitCode.DONE

    def parting(self) -> tuple[str, ExitCode]:
        """Say what was done; Ctrl-C is how this command is meant to end."""
        return f"the emulator has ended, {self.billed} submissions accepted", ExitCode.DONE

    def next_step(self, error: BaseException) -> str | None:
        """Nothing goes on from an error of the emulator."""
        del error
        return None
