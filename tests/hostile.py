"""Runs a module in a world that is against it: ``python -m tests.hostile HOW MODULE ARGUMENTS``.

What is done to it is done by the kernel, to a process of its own:

``no-locks``
    `flock` fails with ENOLCK, as on a file system without locks.
``file-limit=N``
    No file grows beyond N bytes.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import runpy
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

__all__ = [
    "fill_up",
    "hostile",
    "make_room",
    "mounted",
    "needs_mounts",
    "needs_no_locks",
    "needs_prlimit",
]

_FLOCK: Final = {"x86_64": 73, "aarch64": 32}
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_MODE_FILTER: Final = 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ERRNO, _ALLOW = 0x0005_0000, 0x7FFF_0000

needs_no_locks: Final = pytest.mark.skipif(
    platform.machine() not in _FLOCK or sys.platform != "linux",
    reason="takes flock away by seccomp, whose numbers are those of Linux on x86-64 and ARM",
)


def hostile(how: str, *module: str) -> list[str]:
    """Make the command line that runs a module so."""
    return [sys.executable, "-m", "tests.hostile", how, *module]


needs_prlimit: Final = pytest.mark.skipif(
    not hasattr(resource, "prlimit"), reason="sets the limits of another process, as Linux can"
)


def fill_up(pid: int, journal: Path) -> None:
    """Let a process make no file longer than the log of its journal is now."""
    log = journal.with_name(f"{journal.name}-wal")
    _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (log.stat().st_size, most))


def make_room(pid: int) -> None:
    """Take the limit away again."""
    _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))


def _may_mount() -> bool:
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    done = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
        check=False,
        capture_output=True,
    )
    return done.returncode == 0


needs_mounts: Final = pytest.mark.skipif(
    not _may_mount(), reason="mounts a file system of its own, which takes root and Linux"
)


def mounted(where: Path, script: str, command: Sequence[str]) -> list[str]:
    """Make the command line that runs another with mounts that nobody else sees.

    Args:
        where: A directory, as ``$1`` in the script.
        script: What mounts, in ``sh``.
        command: The other command line.
    """
    shell = ["sh", "-ec", f'{script}; shift; exec "$@"', "sh", str(where)]
    return ["unshare", "--mount", *shell, *command]


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("if_true", ctypes.c_ubyte),
        ("if_false", ctypes.c_ubyte),
        ("k", ctypes.c_uint),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("first", ctypes.POINTER(_Instruction)))


def _take_locks_away() -> None:
    instructions = (_Instruction * 4)(
        _Instruction(_LOAD, 0, 0, 0),
        _Instruction(_JUMP_IF_EQUAL, 0, 1, _FLOCK[platform.machine()]),
        _Instruction(_RETURN, 0, 0, _ERRNO | errno.ENOLCK),
        _Instruction(_RETURN, 0, 0, _ALLOW),
    )
    program = _Program(len(instructions), instructions)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        _PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "the kernel takes no filter")


def _main(how: str, module: str, *arguments: str) -> None:
    name, _, value = how.partition("=")
    if name == "no-locks":
        _take_locks_away()
    else:
        assert name == "file-limit"
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(value), most))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
