"""The thread of a journal: what it is handed is done, in order, whoever waits for it."""

# It is driven below the public face.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys
import threading
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from videos_async._journal_thread import JournalThread, _alive
from videos_async.emulator import VirtualClock

HANDED_OVER_AND_LEFT = """
import asyncio, sys, time
from pathlib import Path
from videos_async._journal_thread import JournalThread

def work():
    time.sleep(0.2)
    Path(sys.argv[1]).write_text("done")

async def main():
    thread = JournalThread()
    thread.hand(work, lambda result, error: None)
    return thread

forgotten = asyncio.run(main())
"""

# What is registered first is called last.
USED_AT_THE_END = """
import asyncio, atexit
loop = asyncio.new_event_loop()

async def use():
    try:
        await thread.call(print, "done")
    except RuntimeError as refusal:
        print(refusal)

atexit.register(lambda: loop.run_until_complete(use()))
from videos_async._journal_thread import JournalThread

async def main():
    return JournalThread()

thread = loop.run_until_complete(main())
"""


async def test_jobs_are_done_one_after_the_other_in_the_order_they_came_in() -> None:
    thread = JournalThread()
    done: list[int] = []
    await asyncio.gather(*(thread.call(done.append, number) for number in range(100)))
    assert done == list(range(100))
    thread.end()


async def test_no_job_is_done_on_the_thread_of_the_loop() -> None:
    thread = JournalThread()
    assert await thread.call(threading.get_ident) != threading.get_ident()
    thread.end()


async def test_what_a_job_raises_is_raised_where_it_is_waited_for() -> None:
    thread = JournalThread()
    with pytest.raises(ZeroDivisionError):
        await thread.call(divmod, 1, 0)
    assert await thread.call(divmod, 7, 2) == (3, 1)
    thread.end()


async def test_what_was_handed_over_is_done_though_nobody_waits_any_longer() -> None:
    thread = JournalThread()
    may_begin, done = threading.Event(), threading.Event()
    thread.call(may_begin.wait, 10)
    left = thread.call(done.set)
    left.cancel()
    thread.end()
    may_begin.set()
    with anyio.fail_after(10):
        await anyio.to_thread.run_sync(done.wait, abandon_on_cancel=True)


async def test_after_its_end_it_takes_nothing_more() -> None:
    thread = JournalThread()
    thread.end()
    thread.end()
    with pytest.raises(RuntimeError, match="the journal is closed"):
        thread.call(divmod, 7, 2)


def test_another_event_loop_is_refused_and_nothing_done() -> None:
    done: list[int] = []

    async def made() -> JournalThread:
        return JournalThread()

    async def used(thread: JournalThread) -> None:
        with pytest.raises(RuntimeError, match="another event loop"):
            thread.call(done.append, 1)
        thread.end()

    asyncio.run(used(asyncio.run(made())))
    assert done == []


async def test_it_ends_when_nobody_can_hand_it_anything_any_more() -> None:
    thread = JournalThread()
    await thread.call(divmod, 7, 2)
    worker = thread._worker
    del thread
    gc.collect()
    with anyio.fail_after(10):
        await anyio.to_thread.run_sync(worker.join, abandon_on_cancel=True)
    assert worker not in _alive


def test_what_was_handed_over_is_done_before_the_program_ends(tmp_path: Path) -> None:
    told = tmp_path / "told.txt"
    subprocess.run([sys.executable, "-c", HANDED_OVER_AND_LEFT, told], check=True, timeout=20)
    assert told.read_text() == "done"


def test_a_program_that_is_at_its_end_is_refused_rather_than_kept_waiting() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", USED_AT_THE_END], check=True, capture_output=True, timeout=20
    )
    assert ran.stdout.decode().split("\n")[:1] == ["the journal is closed"]


def test_what_fails_when_there_is_no_loop_any_more_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    may_fail = threading.Event()

    def fail() -> None:
        may_fail.wait(10)
        raise OSError("no room")

    async def hand_over() -> JournalThread:
        thread = JournalThread()
        thread.call(fail)
        thread.end()
        return thread

    with caplog.at_level(logging.ERROR, logger="videos_async"):
        thread = asyncio.run(hand_over())
        may_fail.set()
        thread._worker.join(10)
    assert "no room" in caplog.text


def test_virtual_time_stands_still_while_it_is_at_work() -> None:
    clock = VirtualClock()
    done = threading.Event()

    async def work() -> float:
        loop = asyncio.get_running_loop()
        thread = JournalThread()
        began_s = loop.time()
        working = thread.call(done.wait, 0.05)
        hour = asyncio.ensure_future(asyncio.sleep(3600))
        await working
        thread.end()
        passed_s = loop.time() - began_s
        await hour
        return passed_s

    with asyncio.Runner(loop_factory=clock.new_event_loop) as runner:
        assert runner.run(work()) == 0
