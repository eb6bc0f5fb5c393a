"""The options of ``batch`` that no other command has."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import attrs
from cyclopts import Group, Parameter, Token

from videos_async import RateLimit
from videos_async.cli._options import above_zero
from videos_async.cli.batch._formats import FormatName

__all__ = ["BatchFiles", "BatchLimits", "PromptOptions"]

_PROMPTS = Group("The prompts", sort_key=0)
_FILES = Group("The files", sort_key=2)
_LIMITS = Group("Limits", sort_key=3)
_RESULTS_NAME: Final = "results.jsonl"
_JOURNAL_NAME: Final = "journal.sqlite"


def _count(_: Any, tokens: Sequence[Token]) -> int:
    text = tokens[0].value
    # The parser's own conversion would round 5.7 to 6.
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError(f"must be a whole number, got {text!r}")
    return int(text)


def _one_at_least(_: Any, number: int | None) -> None:
    if number is not None and number < 1:
        raise ValueError(f"must be 1 or more, got {number}")


def _seconds(_: Any, seconds: float | None) -> None:
    if seconds is not None:
        above_zero(_, seconds)


def _rate(_: Any, per_s: float | None) -> None:
    if per_s is not None and not 0.001 <= per_s < math.inf:
        raise ValueError(f"must be a number of calls a second, 0.001 or more, got {per_s:g}")


def _grace(_: Any, seconds: float) -> None:
    if not 0 <= seconds < math.inf:
        raise ValueError(f"must be a number of seconds, 0 or more, got {seconds:g}")


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class PromptOptions:
    """How the input is read."""

    format: Annotated[
        FormatName | None,
        Parameter(
            group=_PROMPTS,
            help="How PROMPTS is written; by default told by its ending: .jsonl or .ndjson, .csv, "
            "and text for everything else and for -.",
        ),
    ] = None
    dry_run: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            group=_PROMPTS,
            help="Judge every line, say what would be sent, and send nothing.",
        ),
    ] = False


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class BatchFiles:
    """Where the videos and the results go."""

    output: Annotated[
        Path | None,
        Parameter(
            ("--output", "-o"),
            group=_FILES,
            help="Directory for the videos, made if it is missing, each named after its key. "
            "Without it nothing is downloaded.",
        ),
    ] = None
    results: Annotated[
        Path | None,
        Parameter(
            group=_FILES,
            help="File for one JSON line per end; by default results.jsonl in the directory, and "
            "none without one.",
        ),
    ] = None
    journal: Annotated[
        Path | None,
        Parameter(
            group=_FILES,
            help="File in which everything that costs money is written down before it is done, so "
            "that the same command goes on after any end; by default journal.sqlite in the "
            "directory, and none without one.",
        ),
    ] = None
    replace: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            group=_FILES,
            help="Replace videos that are there already and not of this batch. A results file is "
            "added to, as it holds what was paid for.",
        ),
    ] = False
    downloads: Annotated[
        int,
        Parameter(
            converter=_count,
            validator=_one_at_least,
            group=_FILES,
            help="How many videos are downloaded at a time.",
        ),
    ] = 4

    @property
    def results_path(self) -> Path | None:
        """The results file, if there is to be one."""
        if self.results is None and self.output is not None:
            return self.output / _RESULTS_NAME
        return self.results

    @property
    def journal_path(self) -> Path | None:
        """The journal, if there is to be one."""
        if self.journal is None and self.output is not None:
            return self.output / _JOURNAL_NAME
        return self.journal


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class BatchLimits:
    """How much is sent, how fast, and how long it may take."""

    max_submissions: Annotated[
        int | None,
        Parameter(
            converter=_count,
            group=_LIMITS,
            help="Most submissions that may be billed; what is left over ends as not submitted.",
        ),
    ] = None
    concurrency: Annotated[
        int,
        Parameter(
            converter=_count,
            validator=_one_at_least,
            group=_LIMITS,
            help="Submissions under way at a time.",
        ),
    ] = 8
    submit_rate: Annotated[
        float | None,
        Parameter(validator=_rate, group=_LIMITS, help="Most submissions a second."),
    ] = None
    poll_rate: Annotated[
        float | None,
        Parameter(validator=_rate, group=_LIMITS, help="Most polls a second."),
    ] = None
    timeout: Annotated[
        float,
        Parameter(
            validator=above_zero,
            group=_LIMITS,
            help="Seconds from its acceptance until a task is given up here. It goes on at the "
            "service.",
        ),
    ] = 1800.0
    batch_timeout: Annotated[
        float | None,
        Parameter(
            validator=_seconds,
            group=_LIMITS,
            help="Seconds until nothing more is submitted and all that goes on is given up here.",
        ),
    ] = None
    grace: Annotated[
        float,
        Parameter(
            validator=_grace,
            group=_LIMITS,
            help="Seconds that submissions under way get to bring their ids home after Ctrl-C.",
        ),
    ] = 10.0

    @property
    def rate_limit(self) -> RateLimit:
        """The same in the library's terms, as far as it is the session's."""
        return RateLimit(
            submits_in_flight=self.concurrency,
            submits_per_s=self.submit_rate,
            queries_per_s=self.poll_rate,
        )
