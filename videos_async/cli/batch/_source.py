"""Where the prompts come from: a file or standard input, read line by line as often as needed.

A batch reads its input twice, first to judge all of it and then to send it, so that neither a bad
last line is found after paying for those before it nor are all requests held in memory. What can
be read only once, a pipe say, goes through a temporary file.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from videos_async.cli._escape import shown
from videos_async.cli._exit import BadInput

__all__ = ["BadLine", "Lines", "Source"]

_LINE_LIMIT_BYTES: Final = 1 << 20
_UTF8_MARK: Final = b"\xef\xbb\xbf"
_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")


class BadLine(Exception):
    """A line that cannot be meant.

    Args:
        line: Its number, counted from 1.
        problems: What is wrong with it, each as a sentence.
    """

    def __init__(self, line: int, *problems: str) -> None:
        super().__init__(line, *problems)
        self.line = line
        self.problems = problems


class Lines:
    """An iterator of lines without their ends; it goes on after a `BadLine` it raised."""

    def __init__(self, file: IO[bytes]) -> None:
        self.number = 0
        """The number of the line that was read last."""
        self._file = file

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        data = self._file.readline(_LINE_LIMIT_BYTES + 1)
        if not data:
            raise StopIteration
        self.number += 1
        if len(data) > _LINE_LIMIT_BYTES:
            while not data.endswith(b"\n") and data:
                data = self._file.readline(_LINE_LIMIT_BYTES)
            raise BadLine(self.number, "the line is longer than 1 MB")
        if self.number == 1:
            data = data.removeprefix(_UTF8_MARK)
        try:
            return data.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError as error:
            byte, column = data[error.start], error.start + 1
            problem = f"the line is not UTF-8 (byte 0x{byte:02x} in position {column})"
            raise BadLine(self.number, f"{problem}: save the file as UTF-8") from None


class Source:
    """An input that stays open; what replaces the file meanwhile is not read.

    Args:
        prompts: The path, or ``-`` for standard input.

    Raises:
        BadInput: When it cannot be read.
    """

    def __init__(self, prompts: str) -> None:
        self.name = "standard input" if prompts == "-" else shown(prompts)
        self._file = self._opened(prompts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def lines(self) -> Lines:
        """Start from the first line; an iterator that was started before is spent.

        Raises:
            BadInput: When it is no text in UTF-8 from its first bytes on.
        """
        self._file.seek(0)
        if self._file.read(2) in _UTF16_MARKS:
            raise BadInput(f"{self.name} is UTF-16: save it as UTF-8")
        self._file.seek(0)
        return Lines(self._file)

    def _opened(self, prompts: str) -> IO[bytes]:
        try:
            if prompts == "-":
                return _spooled(sys.stdin.buffer)
            file = Path(prompts).open("rb")  # noqa: SIM115 - closed with the source
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return file
            with file:
                return _spooled(file)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            raise BadInput(f"{self.name} cannot be read: {reason or error}") from None


def _spooled(pipe: BufferedReader | IO[bytes]) -> IO[bytes]:
    """Bring what can be read only once into a nameless file."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the source
    try:
        shutil.copyfileobj(pipe, file)
    except BaseException:
        file.close()
        raise
    return file
