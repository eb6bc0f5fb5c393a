"""Tells in what world it runs: ``python -m tests.cli.world``, to compare how a run is started."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

# What it loads filters warnings of its own, in a command as here.
from videos_async import emulator

__all__ = ["world"]


def world() -> dict[str, Any]:
    """List what a program can see of how it was started."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    masks = [line for line in status if line.startswith(("Sig", "Shd", "Cap", "Umask"))]
    _ = emulator
    streams: tuple[Any, ...] = (sys.stdin, sys.stdout, sys.stderr)
    return {
        "arguments": sys.argv[1:],
        "path": sys.path[0],
        "environment": dict(os.environ),
        "directory": str(Path.cwd()),
        # The one of the listing itself is the last.
        "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1],  # noqa: PTH208
        "group": os.getpgid(0) == os.getpgid(os.getppid()),
        "masks": [line for line in masks if not line.startswith("SigQ")],
        "ctrl-c": str(signal.getsignal(signal.SIGINT)),
        "streams": [
            [one.fileno(), one.encoding, one.errors, one.isatty(), one.line_buffering]
            for one in streams
        ],
        "originals": [one is other for one, other in zip(streams, _originals(), strict=True)],
        "write_through": [one.write_through for one in streams],
        "seekable": [one.seekable() for one in streams],
        "read": sys.stdin.read(),
        "filters": [str(one) for one in warnings.filters],
        "handlers": [str(one) for one in logging.getLogger().handlers],
        "threads": threading.active_count(),
        "main": [__name__, sys.modules["__main__"].__doc__],
    }


def _originals() -> tuple[Any, Any, Any]:
    return sys.__stdin__, sys.__stdout__, sys.__stderr__


if __name__ == "__main__":
    sys.stdout.write(json.dumps(world()))
    sys.exit("the end")
