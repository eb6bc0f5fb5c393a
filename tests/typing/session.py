"""The session as its users write it."""

# pyright: reportUnnecessaryTypeIgnoreComment=true
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import assert_type

from videos_async import (
    BUILTIN_MODELS,
    AdaptivePolling,
    Download,
    Key,
    ModelSpec,
    OnExisting,
    PollPolicy,
    RateLimit,
    RetryPolicy,
    Status,
    SubmissionUncertain,
    Timeouts,
    Transition,
    VideoRequest,
    VideosError,
    VideosSession,
    VideoTask,
    WaitTimeout,
    Watch,
)


async def one_video() -> None:
    async with VideosSession() as session:
        assert_type(session, VideosSession)
        request = VideoRequest(prompt="A kitten on a meadow", duration=5)
        task = await session.submit(request, key="meadow")
        assert_type(task, VideoTask)
        assert_type(await session.query(task.id), VideoTask)
        assert_type(await session.wait(task, timeout=900), VideoTask)
        assert_type(await session.wait(task.id, timeout=None), VideoTask)
        assert_type(await session.generate(request, timeout=900.0), VideoTask)
        saved = await session.download(task, "kitten.mp4", on_existing=OnExisting.REPLACE)
        assert_type(saved, Download)
        assert_type(saved.path, Path | None)
        await session.download(task.id, Path("kitten.mp4"))


async def many_videos(session: VideosSession, tasks: list[VideoTask], ids: set[str]) -> None:
    session.watch(ids)
    session.watch([tasks[0], "video_1"], timeout=None)
    session.watch({"meadow": tasks[0], "hill": "video_1"})
    watch = session.watch(tasks, timeout=1800)
    assert_type(watch, Watch)
    async with watch as transitions:
        async for change in transitions:
            assert_type(change, Transition)
            assert_type(change.key, Key)
            assert_type(change.previous, Status | None)
            assert_type(change.status, Status | None)
            assert_type(change.task, VideoTask | None)
            assert_type(change.error, VideosError | None)
            assert_type(change.elapsed, float)
            assert_type(change.is_end, bool)


async def settings() -> None:
    stable = ModelSpec(name="videos_stable", durations=[10, 15], extra_fields={"referenceAudios"})
    session = VideosSession(
        "key",
        base_url="https://api.example",
        models=[*BUILTIN_MODELS, stable],
        timeouts=Timeouts(connect_s=10, submit_s=60, query_s=30),
        poll=PollPolicy(min_interval_s=30, max_interval_s=60.5),
        retry=RetryPolicy(max_attempts=3, refused_statuses=frozenset({400})),
        limit=RateLimit(submits_per_s=0.5, burst=2),
        plain_http_hosts=["api.internal"],
    )
    assert_type(session.models, Mapping[str, ModelSpec])
    VideosSession("key", poll=AdaptivePolling(max_queued_interval_s=900))
    await session.aclose()


async def wrong_calls(session: VideosSession, task: VideoTask, request: VideoRequest) -> None:
    await session.submit("A kitten on a meadow")  # type: ignore[arg-type]
    await session.submit(request, "meadow")  # type: ignore[call-arg]
    await session.query(5)  # type: ignore[arg-type]
    await session.wait(task, 900)  # type: ignore[call-arg]
    await session.wait(task, timeout="900")  # type: ignore[arg-type]
    await session.download(task, "kitten.mp4", on_existing=True)  # type: ignore[arg-type]
    session.watch(task)  # type: ignore[arg-type]
    VideosSession(poll=30)  # type: ignore[arg-type]
    VideosSession("key", "https://api.example")  # type: ignore[call-arg]
    VideosSession(models={"videos": 5})  # type: ignore[dict-item]


async def errors_as_users_catch_them(session: VideosSession, request: VideoRequest) -> None:
    try:
        await session.generate(request)
    except SubmissionUncertain as doubt:
        assert_type(doubt.request, VideoRequest)
        assert_type(doubt.key, Key | None)
        assert_type(doubt.task_id, str | None)
        assert_type(doubt.http_status, int | None)
    except WaitTimeout as error:
        assert_type(error.task_id, str)
        assert_type(error.task, VideoTask | None)
        await session.wait(error.task_id, timeout=2 * error.timeout_s)
    except TimeoutError:
        # A WaitTimeout is one, so what is caught above must come first.
        raise
