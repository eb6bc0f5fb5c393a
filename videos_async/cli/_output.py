"""Where lines go: each flushed at once, none lost unnoticed, a reader that left no accident."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from typing import TextIO

import attrs

__all__ = ["Output", "Streams"]


@attrs.define(eq=False)
class Output:
    """One of the process's two streams.

    Attributes:
        stream: The stream itself.
        is_abandoned: Whether the reader went away (``| head -1``); then lines go nowhere, and
            the command may go on for what else it does.
        trouble: Why lines could not be written, a full disk say.
    """

    stream: TextIO
    is_abandoned: bool = False
    trouble: OSError | None = None

    def line(self, text: str) -> None:
        """Write a line; it never raises, see `is_abandoned` and `trouble`."""
        if self.is_abandoned or self.trouble is not None:
            return
        try:
            self.stream.write(f"{text}\n")
            self.stream.flush()
        except BrokenPipeError:
            self.is_abandoned = True
            self._silence()
        except OSError as error:
            self.trouble = error
            self._silence()

    @property
    def is_terminal(self) -> bool:
        """Whether a live display makes sense here."""
        return self.stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")

    def _silence(self) -> None:
        # What is still buffered would fail again, as a traceback of the interpreter's own exit.
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, self.stream.fileno())
        os.close(devnull)


@attrs.frozen(eq=False)
class Streams:
    """Both streams of the process: results on one, everything that is said about them on the other.

    Attributes:
        out: Standard output.
        err: Standard error.
    """

    out: Output
    err: Output

    @classmethod
    def standard(cls) -> Streams:
        """Take the process's own."""
        for stream in (sys.stdout, sys.stderr):
            # A character the terminal's encoding lacks is escaped, never an exception.
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        return cls(Output(sys.stdout), Output(sys.stderr))
