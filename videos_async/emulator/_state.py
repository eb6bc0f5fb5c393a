"""The state file: tasks, ledger and counters, kept so that ``kill -9`` at any instant loses none.

JSON lines, for eyes and for any language:

    {"format": "videos_async emulator state", "version": 1, "seed": 7}
    {"clock_s": 1774836790.5, "refused": 0, "submits": 1, …}            (padded with spaces)
    {"accepted": "video_…", "at_s": …, "lifetime_s": …, "idempotency_key": …, "request": {…}}
    {"started": "video_…", "at_s": …}
    {"ended": "video_…", "at_s": …, "error": null}

The second line is written over in place at every request: it is small and fits one page, so the
kernel has all of it or none. The others are appended. A create call is answered after its line
was handed to the kernel, which keeps it whatever becomes of this process; there is no fsync, so
a power cut may take the last seconds with it. Starts and ends are written with the next request
that comes: what was not written of them happens again, at the same emulated time.

No emulated time passes while nobody runs on the file. It goes on from the last request.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
from typing import TYPE_CHECKING, Final, NoReturn, cast

import attrs

from ._kept import Kept, KeptReader

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Mapping
    from io import FileIO
    from pathlib import Path

    from ._ledger import LedgerEntry
    from ._service import EmulatedTask

__all__ = ["StateFile", "StateFileError"]

_FORMAT: Final = "videos_async emulator state"
_VERSION: Final = 1
_COUNTERS_BYTES: Final = 512


class StateFileError(Exception):
    """A state file cannot be used or not be written; the text names the file and the next step."""


@attrs.define(kw_only=True, eq=False)
class StateFile:
    """Writes a state file; one emulator a file at a time.

    It is a ``Recorder``. Every method that writes raises ``StateFileError`` where the disk does
    not take it, and the file then still holds what it held.

    Attributes:
        path: The file. It is created readable by its owner alone.
        seed: The seed of the emulator, which the ids and links in the file hang on.
    """

    path: Path
    seed: int
    _file: FileIO | None = attrs.field(init=False, default=None)
    _end: int = attrs.field(init=False, default=0)
    _counters_at: int = attrs.field(init=False, default=0)
    _counters: bytes = attrs.field(init=False, default=b"")
    _unwritten: list[bytes] = attrs.field(init=False, factory=list[bytes])

    def open(self) -> Kept:
        """Open the file, or create it.

        Returns:
            What it holds.

        Raises:
            StateFileError: If it cannot be opened, is in use, or is not a whole state file of
                this seed; it is then left as it was.
        """
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            self._refuse(f"cannot be opened ({error.strerror}): choose another file", error)
        with contextlib.ExitStack() as on_trouble:
            file = os.fdopen(descriptor, "r+b", buffering=0)
            on_trouble.callback(file.close)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                self._refuse("is not a regular file: choose another")
            self._lock(descriptor)
            self._file, self._unwritten = file, []
            kept = self._take_up(file.readall())
            # Prompts may be private, and the file may have come from a backup or a copy.
            self.path.chmod(0o600)
            on_trouble.pop_all()
        return kept

    def close(self) -> None:
        """Let go of the file; does nothing if that was done."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def accepted(self, task: EmulatedTask, entry: LedgerEntry) -> None:
        """Write down a task that is about to be taken on."""
        line = _line(
            {
                "accepted": task.id,
                "at_s": task.accepted_at_s,
                "lifetime_s": task.lifetime_s,
                "idempotency_key": entry.idempotency_key,
                "request": attrs.asdict(task.request, recurse=False),
            }
        )
        self._append([*self._unwritten, line])

    def started(self, task: EmulatedTask) -> None:
        """Note the start of a task, to be written with what comes next."""
        self._unwritten.append(_line({"started": task.id, "at_s": task.started_at_s}))

    def ended(self, task: EmulatedTask) -> None:
        """Note the end of a task, to be written with what comes next."""
        end = {"ended": task.id, "at_s": task.ended_at_s, "error": task.error}
        self._unwritten.append(_line(end))

    def save(self, counters: Mapping[str, int], *, clock_s: float) -> None:
        """Write what is noted, and the counters.

        Args:
            counters: The counters by name.
            clock_s: The virtual Unix time.
        """
        if self._unwritten:
            self._append(self._unwritten)
        line = _counters_line(counters, clock_s=clock_s)
        if line != self._counters:
            self._write(line, at=self._counters_at)
            self._counters = line

    def _append(self, lines: list[bytes]) -> None:
        appended = b"".join(lines)
        self._write(appended, at=self._end)
        self._end += len(appended)
        self._unwritten = []

    def _write(self, content: bytes, *, at: int) -> None:
        file = self._file
        if file is None:
            self._refuse("is closed: start the emulator again")
        try:
            file.seek(at)
            rest = memoryview(content)
            while rest:
                rest = rest[file.write(rest) :]
        except OSError as error:
            if at == self._end:
                # Half a line is not left behind: the next one starts where this one did.
                with contextlib.suppress(OSError):
                    file.truncate(at)
            self._refuse(f"cannot be written ({error.strerror})", error)

    def _lock(self, descriptor: int) -> None:
        # Where there is no flock, keeping a second emulator away is up to the user.
        if sys.platform != "win32":
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                self._refuse("is in use by another emulator: end that one or choose another", error)

    def _take_up(self, content: bytes) -> Kept:
        header = _line({"format": _FORMAT, "version": _VERSION, "seed": self.seed})
        if not content:
            self._counters_at = len(header)
            self._counters = _counters_line({}, clock_s=None)
            self._end = 0
            self._append([header, self._counters])
            return Kept()
        lines = content.split(b"\n")
        # The last line, if it has no end, is of a create call that was never answered.
        whole, torn = lines[:-1], lines[-1]
        self._check_header(whole[0] if whole else torn)
        self._counters_at = len(whole[0]) + 1
        self._end = len(content) - len(torn)
        reader = KeptReader()
        number = 1
        try:
            for number, line in enumerate(whole[1:], start=2):
                reader.read(json.loads(line), is_counters=number == 2)
            kept = reader.kept()
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            self._refuse(
                f"is damaged in line {number} ({type(error).__name__}: {error}) and was left as"
                " it is: mend that line, or choose another file",
                error,
            )
        self._counters = whole[1] + b"\n"
        if len(self._counters) != _COUNTERS_BYTES:
            self._refuse(
                f"is damaged in line 2, which must be {_COUNTERS_BYTES} bytes long, and was left"
                " as it is: pad it with spaces, or choose another file"
            )
        if torn and self._file is not None:
            self._file.truncate(self._end)
        return kept

    def _check_header(self, line: bytes) -> None:
        try:
            header: object = json.loads(line)
        except (ValueError, RecursionError):
            header = None
        fields = cast("dict[str, object]", header) if isinstance(header, dict) else {}
        if fields.get("format") != _FORMAT:
            self._refuse(
                "is not a state file of this emulator and was left as it is: choose another"
            )
        if fields.get("version") != _VERSION:
            version = fields.get("version")
            self._refuse(
                f"is of version {version!r}, this emulator reads {_VERSION}: choose another file"
            )
        if fields.get("seed") != self.seed:
            seed = fields.get("seed")
            self._refuse(
                f"was made with seed {seed!r}, not {self.seed}, and its ids and links hang on it:"
                f" start with seed {seed!r}, or choose another file"
            )

    def _refuse(self, what: str, cause: Exception | None = None) -> NoReturn:
        message = f"the state file {str(self.path)!r} {what}"
        raise StateFileError(message) from cause


def _line(record: Mapping[str, object]) -> bytes:
    # ASCII out: a lone surrogate that a header or an extra field brought can be kept, too.
    return json.dumps(record).encode() + b"\n"


def _counters_line(counters: Mapping[str, int], *, clock_s: float | None) -> bytes:
    line = json.dumps({"clock_s": clock_s, **counters}).encode()
    return line.ljust(_COUNTERS_BYTES - 1) + b"\n"
