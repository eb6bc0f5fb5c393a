"""What a command comes to: its exit codes, and which of several counts."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Final

from videos_async import (
    AccountRefused,
    ConfigurationError,
    GenerationFailed,
    InvalidRequest,
    JournalError,
    JournalWriteFailed,
    KeyStateError,
    QueryRefused,
    SubmissionRefused,
    SubmissionUncertain,
    VideosError,
)

__all__ = ["EXIT_CODES", "BadInput", "ExitCode", "code_of", "worst"]


class ExitCode(IntEnum):
    """What the process tells the one that started it."""

    DONE = 0
    GENERATION_FAILED = 1
    BAD_INPUT = 2
    UNCERTAIN = 3
    SERVICE = 4
    BUG = 70
    INTERRUPTED = 130


EXIT_CODES: Final = """\
**Exit codes**

- 0: done
- 1: generation failed; the service ended the task as failed, or accepted the call and refused it
- 2: bad input: an option, a request, a file, a journal, a setting or the key; nothing was billed \
for it
- 3: uncertain submission: it may be billed but brought no task id; it is never sent again by itself
- 4: network, service or disk: not reached, no good answer, not ended in time, not saved
- 70: a bug of this command
- 130: interrupted; the task goes on at the service, and the last line says how to take it up again

Of several tasks the worst counts: 3, then 4, 2, 1.
"""

# What leaves most open is worst: money that may be lost, then tasks whose end is not known.
_WORST_LAST: Final = (
    ExitCode.DONE,
    ExitCode.GENERATION_FAILED,
    ExitCode.BAD_INPUT,
    ExitCode.SERVICE,
    ExitCode.UNCERTAIN,
    ExitCode.BUG,
)
_WRONG_KEY: Final = frozenset({401, 403})


class BadInput(Exception):
    """What the user gave cannot be meant; its text says what to give instead."""


def code_of(error: VideosError | BadInput) -> ExitCode:
    """Tell what an error makes the command come to."""
    match error:
        case GenerationFailed():
            return ExitCode.GENERATION_FAILED
        case (
            BadInput() | InvalidRequest() | ConfigurationError() | JournalError() | KeyStateError()
        ) if not isinstance(error, JournalWriteFailed):
            return ExitCode.BAD_INPUT
        case SubmissionUncertain():
            return ExitCode.UNCERTAIN
        case AccountRefused() | QueryRefused():
            # A wrong key is an input like a missing one; an empty account (402) is not.
            is_key = error.http_status in _WRONG_KEY
            return ExitCode.BAD_INPUT if is_key else ExitCode.SERVICE
        case SubmissionRefused():
            # An HTTP error judges what was sent; a refusal inside a good answer is a verdict on
            # the generation, such as one of content policy.
            is_http_error = error.http_status is not None and error.http_status >= 400
            return ExitCode.BAD_INPUT if is_http_error else ExitCode.GENERATION_FAILED
        case _:
            return ExitCode.SERVICE


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """Pick the code of several tasks' codes; `ExitCode.DONE` for none."""
    return max(codes, key=_WORST_LAST.index, default=ExitCode.DONE)
