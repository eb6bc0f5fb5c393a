"""Hours in milliseconds: event loops that go by a `VirtualClock`."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import attrs
import pytest

from videos_async import VideoRequest, VideosSession, WaitTimeout
from videos_async.emulator import (
    ManualClock,
    Media,
    TaskStatus,
    VideosEmulator,
    VirtualClock,
)

Result = TypeVar("Result")


def run(clock: VirtualClock, program: Coroutine[Any, Any, Result]) -> Result:
    with asyncio.Runner(loop_factory=clock.new_event_loop) as runner:
        return runner.run(program)


def request(prompt: str = "A snail") -> VideoRequest:
    return VideoRequest(prompt=prompt, duration=5)


@attrs.frozen(kw_only=True)
class Story:
    """What a run told its user, and what it cost."""

    told: tuple[tuple[Any, ...], ...]
    queries: int
    billed: int
    elapsed_s: float


async def a_batch(clock: VirtualClock, *, seed: int, jitter: int) -> Story:
    emulator = VideosEmulator(
        clock=clock, seed=seed, profile="field", media=Media.SAMPLE, processing_slots=5
    )
    async with (
        emulator,
        VideosSession(
            emulator.api_key, base_url=emulator.base_url, jitter=random.Random(jitter).random
        ) as session,
        session.batch(request(f"A snail, take {n}") for n in range(40)) as changes,
    ):
        told = [(change.key, change.status, change.end, change.elapsed) async for change in changes]
    return Story(
        told=tuple(told),
        queries=emulator.requests.queries,
        billed=emulator.billed,
        elapsed_s=clock.elapsed_s(),
    )


def test_three_hours_of_polling_take_a_moment() -> None:
    async def program(clock: VirtualClock) -> None:
        async with (
            VideosEmulator(clock=clock, faults=["slow 10800"]) as emulator,
            VideosSession(emulator.api_key, base_url=emulator.base_url) as session,
        ):
            task = await session.generate(request(), timeout=20_000)
            assert task.status == "completed"
            # One that takes so long is an outlier, and polled once in 180 s at the least.
            assert 10_800 <= clock.elapsed_s() <= 10_980
            assert 60 <= emulator.requests.queries <= 360

    clock = VirtualClock()
    run(clock, program(clock))


def test_a_run_takes_the_same_course_again_jitter_and_faults_included() -> None:
    stories: list[Story] = []
    for seed, jitter in ((1, 1), (1, 1), (2, 1), (1, 2)):
        clock = VirtualClock()
        stories.append(run(clock, a_batch(clock, seed=seed, jitter=jitter)))
    assert stories[0] == stories[1]
    assert stories[0] != stories[2]
    assert stories[0] != stories[3]
    assert len({change[0] for change in stories[0].told if change[2] is not None}) == 40


def test_advancing_lets_happen_what_is_due_in_its_order() -> None:
    async def program(clock: VirtualClock) -> list[str]:
        events: list[str] = []

        async def after(seconds: float, name: str) -> None:
            await asyncio.sleep(seconds)
            events.append(name)

        async with VideosEmulator(clock=clock) as emulator, anyio.create_task_group() as group:
            for seconds in (90, 30, 60, 120):
                group.start_soon(after, seconds, f"{seconds} s")
            await emulator.advance(100)
            events.append(f"at {clock.elapsed_s():g}")
        return events

    clock = VirtualClock()
    assert run(clock, program(clock)) == ["30 s", "60 s", "90 s", "at 100", "120 s"]


def test_time_stands_still_while_a_thread_is_at_work(tmp_path: Path) -> None:
    async def program(clock: VirtualClock) -> None:
        async with VideosEmulator(clock=clock, media=Media.SAMPLE) as emulator:
            with anyio.fail_after(1):
                await asyncio.to_thread(time.sleep, 0.05)
                await anyio.to_thread.run_sync(time.sleep, 0.05)
            assert clock.elapsed_s() == 0
            async with VideosSession(emulator.api_key, base_url=emulator.base_url) as session:
                task = await session.generate(request())
                before_s = clock.elapsed_s()
                await session.download(task, tmp_path / "snail.mp4")
                assert clock.elapsed_s() == before_s

    clock = VirtualClock()
    run(clock, program(clock))


def test_time_outs_come_when_they_are_due() -> None:
    async def program(clock: VirtualClock) -> None:
        async with (
            VideosEmulator(clock=clock, faults=["slow 99999"]) as emulator,
            VideosSession(emulator.api_key, base_url=emulator.base_url) as session,
        ):
            task = await session.submit(request())
            with pytest.raises(WaitTimeout):
                await session.wait(task, timeout=7200)
            assert clock.elapsed_s() == pytest.approx(7200, abs=0.1)

    clock = VirtualClock()
    run(clock, program(clock))


def test_a_delay_of_the_emulator_runs_into_the_patience_of_the_client() -> None:
    async def program(clock: VirtualClock) -> None:
        async with (
            VideosEmulator(clock=clock, faults=["delay 45 on=query nth=1"]) as emulator,
            VideosSession(emulator.api_key, base_url=emulator.base_url) as session,
        ):
            task = await session.submit(request())
            await session.query(task)
            # 30 seconds of the first try, a pause of up to one, and the second try.
            assert 30 <= clock.elapsed_s() <= 31.1
            assert emulator.requests.queries == 2

    clock = VirtualClock()
    run(clock, program(clock))


async def test_an_emulator_on_a_virtual_clock_wants_its_loop() -> None:
    emulator = VideosEmulator(clock=VirtualClock())
    with pytest.raises(RuntimeError, match=r"run the program with loop_factory=clock\.new_event"):
        await emulator.start()


def test_a_loop_of_another_clock_is_refused() -> None:
    async def program() -> None:
        with pytest.raises(RuntimeError, match="does not go by the VirtualClock"):
            await VideosEmulator(clock=VirtualClock()).start()

    run(VirtualClock(), program())


def test_loops_of_one_clock_share_its_time() -> None:
    clock = VirtualClock(start_s=1000)
    run(clock, asyncio.sleep(50))
    run(clock, asyncio.sleep(50))
    assert (clock.elapsed_s(), clock.now_s()) == (100, 1100)


def test_time_does_not_run_backwards() -> None:
    with pytest.raises(ValueError, match="seconds must be at least 0, got -1"):
        VirtualClock().move(-1)


# --- the other clocks ----------------------------------------------------------------------


async def test_a_manual_clock_is_moved_through_the_emulator() -> None:
    async with (
        VideosEmulator(clock=ManualClock()) as emulator,
        VideosSession(emulator.api_key, base_url=emulator.base_url) as session,
    ):
        task = await session.submit(request())
        assert emulator.tasks[task.id].status is TaskStatus.PROCESSING
        await emulator.advance(3600)
        assert emulator.tasks[task.id].status is TaskStatus.COMPLETED


async def test_a_clock_that_runs_can_jump_as_well() -> None:
    async with (
        VideosEmulator(faults=["delay 3600 on=query"]) as emulator,
        VideosSession(emulator.api_key, base_url=emulator.base_url) as session,
    ):
        task = await session.submit(request())
        async with anyio.create_task_group() as group:
            group.start_soon(session.query, task)
            while not emulator.requests.queries:
                await anyio.lowlevel.checkpoint()
            await emulator.advance(3601)
        assert emulator.tasks[task.id].status is TaskStatus.COMPLETED


async def test_advancing_by_less_than_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="seconds must be at least 0, got -1"):
        await VideosEmulator().advance(-1)


async def test_a_clock_of_somebody_elses_is_not_moved() -> None:
    class Stopped:
        def now_s(self) -> float:
            return 0

        async def sleep(self, seconds: float) -> None:
            await anyio.sleep_forever()

    with pytest.raises(TypeError, match="Stopped is moved by whoever made it"):
        await VideosEmulator(clock=Stopped()).advance(1)
