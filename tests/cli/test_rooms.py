"""The rooms of the command that are plain functions."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from videos_async import (
    AccountRefused,
    ConfigurationError,
    DownloadError,
    GenerationFailed,
    InvalidRequest,
    NotSubmitted,
    QueryFailed,
    QueryRefused,
    Status,
    SubmissionRefused,
    SubmissionUncertain,
    TargetExists,
    TaskNotFound,
    Transition,
    VideoRequest,
    VideosError,
    VideoTask,
    Violation,
    WaitTimeout,
)
from videos_async.cli._display import LiveReport
from videos_async.cli._escape import shown
from videos_async.cli._exit import ExitCode, code_of, worst
from videos_async.cli._lines import clock, task_lines
from videos_async.cli._output import Output
from videos_async.cli._unfinished import Unfinished

REQUEST = VideoRequest(prompt="x", duration=5)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain, naïve, 猫, 🎬", "plain, naïve, 猫, 🎬"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x9b2J \x85 \x7f", r"\x9b2J \x85 \x7f"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("\u202eevil\u2069", r"\u202eevil\u2069"),
        ("\u2028 \u200b \U000e0041", r"\u2028 \u200b \U000e0041"),
        ("\ud83d", r"\ud83d"),
        ("[red]x[/red]", "[red]x[/red]"),
        ("x" * 2001, "x" * 2000 + "… (2001 characters)"),
    ],
)
def test_what_is_not_printable_is_shown_as_its_escape(text: str, seen: str) -> None:
    assert shown(text) == seen


def test_key_is_cut_out_before_a_text_is_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEOS_API_KEY", "sk-canary-0123456789")
    assert "sk-canary" not in shown("x" * 1990 + "sk-canary-0123456789")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (GenerationFailed(task_id="v"), 1),
        (SubmissionRefused(request=REQUEST, reason="no", http_status=200), 1),
        (SubmissionRefused(request=REQUEST, reason="no", http_status=422), 2),
        (AccountRefused(request=REQUEST, reason="no", http_status=401), 2),
        (AccountRefused(request=REQUEST, reason="no", http_status=402), 4),
        (InvalidRequest(violations=(Violation(field="f", rule="r", value=1),)), 2),
        (ConfigurationError(setting="s", problem="p"), 2),
        (TargetExists(task_id="v", target="f", reason="r"), 4),
        (SubmissionUncertain(request=REQUEST, reason="lost"), 3),
        (NotSubmitted(request=REQUEST, reason="refused"), 4),
        (QueryFailed(task_id="v", reason="r", attempts=1), 4),
        (QueryRefused(task_id="v", reason="r", http_status=403), 2),
        (TaskNotFound(task_id="v", reason="r", http_status=404), 4),
        (DownloadError(task_id="v", target="f", reason="r"), 4),
        (WaitTimeout(task_id="v", timeout_s=1), 4),
    ],
)
def test_each_error_has_its_exit_code(error: VideosError, code: int) -> None:
    assert code_of(error) == code


def test_worst_of_several_codes_leaves_most_open() -> None:
    codes = [ExitCode.DONE, ExitCode.GENERATION_FAILED, ExitCode.BAD_INPUT, ExitCode.SERVICE]
    assert worst(codes) == ExitCode.SERVICE
    assert worst([*codes, ExitCode.UNCERTAIN]) == ExitCode.UNCERTAIN
    assert worst([]) == ExitCode.DONE


def test_command_to_go_on_with_can_be_pasted_whatever_the_id() -> None:
    unfinished = Unfinished(base_url="http://127.0.0.1:1/a b", watched={0: "-x y", 1: "$(z)"})
    assert unfinished.parting()[0].endswith(
        "videos-async watch --base-url 'http://127.0.0.1:1/a b' -- '-x y' '$(z)'"
    )


def test_time_of_creation_that_is_no_date_is_shown_as_a_number() -> None:
    task = VideoTask(id="v", status=Status.QUEUED, created=10**17)
    assert "created: 100000000000000000" in list(task_lines(task))


@pytest.mark.parametrize(("seconds", "text"), [(0.9, "0:00"), (75, "1:15"), (3700, "1:01:40")])
def test_elapsed_time_reads_like_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_live_display_of_many_tasks_stays_on_the_screen() -> None:
    report = LiveReport(Output(io.StringIO()))
    for key in range(40):
        status = Status.COMPLETED if key < 10 else Status("[b]upscaling\x1b")
        task = VideoTask(id=f"v{key}", status=status, progress=42.0)
        report.transition(
            Transition(
                key=key, task_id=task.id, previous=None, status=status, task=task, elapsed=1.0
            )
        )
    drawn = Console(file=(screen := io.StringIO()), width=80)
    drawn.print(report.render())

    lines = screen.getvalue().splitlines()
    assert len(lines) == 11
    assert r"[b]upscaling\x1b 42 %  0:00  v10" in lines[0]
    assert lines[-1] == "  20 more, 10 of 40 ended"
