"""A lock on an open file that the system frees when its process ends, however it ends."""

from __future__ import annotations

import sys

__all__ = ["lock_file"]

if sys.platform == "win32":
    import msvcrt
    import os

    # Locked bytes cannot be read through another handle, so one is taken that is never there.
    _FAR_BEYOND = 1 << 62

    def lock_file(descriptor: int) -> bool:
        """Lock an open file; False when somebody else has it. Closing it frees the lock."""
        position = os.lseek(descriptor, 0, os.SEEK_CUR)
        os.lseek(descriptor, _FAR_BEYOND, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        finally:
            os.lseek(descriptor, position, os.SEEK_SET)
        return True

else:
    import fcntl

    def lock_file(descriptor: int) -> bool:
        """Lock an open file; False when somebody else has it. Closing it frees the lock.

        ``flock``, not ``lockf``: its locks belong to the open file and so hold within a process
        as well, and closing the same file elsewhere does not free them.
        """
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
