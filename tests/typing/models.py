"""Requests, tasks, policies and errors as their users write them."""

# pyright: reportUnnecessaryTypeIgnoreComment=true
from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, assert_type

from videos_async import (
    ConfigurationError,
    InvalidRequest,
    Mode,
    ModelSpec,
    PollPolicy,
    RateLimit,
    RetryPolicy,
    Status,
    TaskNotFound,
    Timeouts,
    VideoRequest,
    VideoTask,
    Violation,
    WaitTimeout,
    request_from_json,
    request_to_json,
    task_from_json,
    task_to_json,
    validate,
)

IMAGE = "https://a.example/1.png"


def requests() -> None:
    request = VideoRequest(prompt="x", duration=5, reference_images=[IMAGE], extra={"seed": 1})
    VideoRequest(prompt="x", duration=5, first_image=IMAGE, last_image=IMAGE)
    assert_type(request.prompt, str)
    assert_type(request.duration, int)
    assert_type(request.first_image, str | None)
    assert_type(request.reference_images, tuple[str, ...])
    assert_type(request.extra, Mapping[str, Any])
    assert_type(request.mode, Mode)
    assert_type(request_to_json(request), dict[str, Any])
    assert_type(request_from_json('{"prompt": "x", "duration": 5}'), VideoRequest)
    request_from_json({"prompt": "x", "duration": 5}, models=[ModelSpec(name="videos")])
    validate(request)


def wrong_requests(request: VideoRequest) -> None:
    VideoRequest("x", 5)  # type: ignore[call-arg]
    VideoRequest(prompt="x")  # type: ignore[call-arg]
    VideoRequest(prompt="x", duration=5.0)  # type: ignore[arg-type]
    VideoRequest(prompt="x", duration="5")  # type: ignore[arg-type]
    VideoRequest(prompt=None, duration=5)  # type: ignore[arg-type]
    VideoRequest(prompt="x", duration=5, first_image=5)  # type: ignore[arg-type]
    VideoRequest(prompt="x", duration=5, reference_images=[5])  # type: ignore[list-item]
    VideoRequest(prompt="x", duration=5, extra=["seed"])  # type: ignore[arg-type]
    VideoRequest(prompt="x", duration=5, seed=1)  # type: ignore[call-arg]
    request.prompt = "y"  # type: ignore[misc]


def tasks(task: VideoTask) -> None:
    assert_type(task.id, str)
    assert_type(task.status, Status)
    assert_type(task.status.is_terminal, bool)
    assert_type(task.created_at, datetime | None)
    assert_type(task.video_url, str | None)
    assert_type(task.actual_duration, float | None)
    assert_type(task.progress, float | None)
    assert_type(task_from_json(b"{}"), VideoTask)
    assert_type(task_to_json(task), dict[str, Any])
    assert_type(Status("upscaling"), Status)
    task.status = Status.FAILED  # type: ignore[misc]
    VideoTask(id="video_1", status="queued")  # type: ignore[arg-type]
    task_from_json(5)  # type: ignore[arg-type]


def policies() -> None:
    PollPolicy(30)  # type: ignore[call-arg]
    PollPolicy(min_interval_s="30")  # type: ignore[arg-type]
    PollPolicy(max_failures=1.5)  # type: ignore[arg-type]
    RateLimit(burst=None)  # type: ignore[arg-type]
    RetryPolicy(base_s=None)  # type: ignore[arg-type]
    RetryPolicy(refused_statuses=400)  # type: ignore[arg-type]
    Timeouts(connect_s="10")  # type: ignore[arg-type]


def models() -> None:
    spec = ModelSpec(name="x", ratios=["16:9"], durations=range(4, 16), prompt_limit=None)
    assert_type(spec.ratios, tuple[str, ...])
    assert_type(spec.extra_fields, frozenset[str])
    ModelSpec()  # type: ignore[call-arg]
    ModelSpec(name="x", ratios="16:9")  # type: ignore[arg-type]
    ModelSpec(name="x", durations=5)  # type: ignore[arg-type]
    ModelSpec(name="x", extra_fields="seed")  # type: ignore[arg-type]
    ModelSpec(name="x", reference_image_limit=None)  # type: ignore[arg-type]
    validate(VideoRequest(prompt="x", duration=5), models=["videos"])  # type: ignore[list-item]


def errors() -> None:
    violation = Violation(field="ratio", rule="must be text", value=5)
    error = InvalidRequest(violations=(violation,), key="meadow")
    assert_type(error.violations, tuple[Violation, ...])
    _: ValueError = error
    assert_type(TaskNotFound(task_id="a", reason="gone", http_status=404).http_status, int)
    __: TimeoutError = WaitTimeout(task_id="a", timeout_s=5)
    WaitTimeout(timeout_s=5)  # type: ignore[call-arg]
    ConfigurationError("api_key")  # type: ignore[call-arg]
    InvalidRequest(violations=["ratio"])  # type: ignore[arg-type]
