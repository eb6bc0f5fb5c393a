"""The rooms of ``batch`` that are plain objects: what is counted, and how it reads."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from videos_async import (
    AccountRefused,
    BatchCounts,
    DownloadError,
    GenerationFailed,
    NotSubmitted,
    Status,
    SubmissionRefused,
    SubmissionUncertain,
    Transition,
    VideoRequest,
    VideosError,
    VideoTask,
    WaitTimeout,
)
from videos_async.cli._exit import ExitCode
from videos_async.cli._output import Output, Streams
from videos_async.cli.batch._display import BatchDisplay
from videos_async.cli.batch._parting import Parting
from videos_async.cli.batch._report import PlainBatchReport
from videos_async.cli.batch._results import Outcome, result_record
from videos_async.cli.batch._tally import Tally

REQUEST = VideoRequest(prompt="x", duration=5)
HOSTILE = "\x1b]0;owned\x07[bold]tilt[/]\u202e"
MADE_VISIBLE = r"\x1b]0;owned\x07[bold]tilt[/]\u202e"


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def ended(
    error: VideosError | None = None,
    *,
    key: str = "k",
    task_id: str | None = "v",
    failure: VideosError | None = None,
) -> Outcome:
    status = Status.COMPLETED if error is None else None
    url = "https://example.com/v.mp4?signature=secret"
    task = None if task_id is None else VideoTask(id=task_id, status=Status.QUEUED, video_url=url)
    change = Transition(
        key=key,
        task_id=task_id,
        previous=None,
        status=status,
        task=task,
        elapsed=1.5,
        error=error,
        request=REQUEST,
    )
    return Outcome(change=change, failure=failure)


DONE = ended()
FAILED = ended(GenerationFailed(task_id="v", reason=HOSTILE))
REFUSED = ended(SubmissionRefused(request=REQUEST, reason="no", http_status=422), task_id=None)
WRONG_KEY = ended(AccountRefused(request=REQUEST, reason="no", http_status=401), task_id=None)
EMPTY = ended(AccountRefused(request=REQUEST, reason="no", http_status=402), task_id=None)
NOT_SENT = ended(NotSubmitted(request=REQUEST, reason="no"), task_id=None)
UNCERTAIN = ended(SubmissionUncertain(request=REQUEST, reason="lost"), task_id=None)
LATE = ended(WaitTimeout(task_id="v", timeout_s=1))
UNSAVED = ended(failure=DownloadError(task_id="v", target="t", reason="full"))


def tallied(*outcomes: Outcome, total: int = 10, clock: Clock | None = None) -> Tally:
    tally = Tally(total=total, clock=clock or Clock())
    for outcome in outcomes:
        tally.add(outcome)
    return tally


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([], ExitCode.DONE),
        ([DONE], ExitCode.DONE),
        ([DONE, FAILED], ExitCode.GENERATION_FAILED),
        ([DONE, REFUSED], ExitCode.GENERATION_FAILED),
        ([FAILED, LATE], ExitCode.SERVICE),
        ([DONE, NOT_SENT], ExitCode.SERVICE),
        ([DONE, UNSAVED], ExitCode.SERVICE),
        ([UNSAVED, UNCERTAIN, FAILED], ExitCode.UNCERTAIN),
        ([WRONG_KEY, NOT_SENT], ExitCode.BAD_INPUT),
        ([DONE, WRONG_KEY, NOT_SENT], ExitCode.SERVICE),
        ([EMPTY, NOT_SENT], ExitCode.SERVICE),
    ],
)
def test_worst_end_is_what_the_batch_comes_to(outcomes: list[Outcome], code: ExitCode) -> None:
    assert tallied(*outcomes).code == code


def test_pace_is_that_of_the_last_minute_and_gives_the_time_left() -> None:
    clock = Clock()
    tally = Tally(total=100, clock=clock)
    for second in range(120):
        clock.now_s = second
        if second >= 90:
            tally.add(DONE)

    assert tally.pace_per_min == 30
    assert tally.time_left_s == 140
    assert tally.pace() == "30 ends a minute, about 2:20 left"


def test_there_is_no_time_left_to_tell_before_the_first_end() -> None:
    assert tallied().pace() == "0 ends a minute"


def test_billed_are_those_with_an_id_and_those_in_doubt() -> None:
    parting = Parting(tally=tallied(DONE, FAILED, LATE, UNCERTAIN, REFUSED, NOT_SENT, total=6))
    assert "; 4 may be billed (1 of them uncertain)" in parting.summary()


def test_plain_summary_says_where_all_requests_are() -> None:
    tally = tallied(DONE, FAILED)
    tally.counts = BatchCounts(
        pulled=6, submitting=1, in_progress={Status.QUEUED: 2, Status("a\x1b"): 1}, ended={}
    )
    streams = Streams(Output(out := io.StringIO()), Output(io.StringIO()))
    PlainBatchReport(streams=streams, tally=tally).tick()

    assert out.getvalue() == (
        "    0.0 s  2 of 10 ended: 1 submitting, 2 queued, 1 a\\x1b, 1 completed, 1 failed; "
        "120 ends a minute, about 0:04 left\n"
    )


def test_hostile_text_is_shown_and_does_nothing() -> None:
    hostile = ended(GenerationFailed(task_id=HOSTILE, reason=HOSTILE), key=HOSTILE, task_id=HOSTILE)
    tally = tallied(hostile)
    streams = Streams(Output(out := io.StringIO()), Output(io.StringIO()))
    PlainBatchReport(streams=streams, tally=tally).ended(hostile)
    drawn = Console(file=(screen := io.StringIO()), width=200)
    drawn.print(BatchDisplay(streams, tally).render())
    parting = Parting(
        tally=tallied(ended(WaitTimeout(task_id=HOSTILE, timeout_s=1), task_id=HOSTILE))
    )

    for text in (out.getvalue(), screen.getvalue(), *parting.hints()):
        assert MADE_VISIBLE in text
        assert all(one.isprintable() or one == "\n" for one in text)


def test_results_hold_no_credential_of_a_url() -> None:
    record = result_record(DONE)
    assert record["task"] is not None
    assert "secret" not in str(record)
    assert "https://example.com/v.mp4?…" in str(record)


def test_address_that_was_given_is_given_again() -> None:
    parting = Parting(tally=tallied(LATE), base_url="http://127.0.0.1:1/a b", results=Path("r"))
    [hint] = parting.hints()
    assert hint.endswith("videos-async watch --base-url 'http://127.0.0.1:1/a b' v")


# --- names of files ------------------------------------------------------------------------
