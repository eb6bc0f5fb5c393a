"""The process that is killed: a batch with a journal, run by whoever forks it.

``python -m tests.killing.child`` imports the library once and then forks a client for each line
it reads, so that a client lives within milliseconds and is a process like any other: its memory
is its own, and SIGKILL ends it at once. A line ``run {…}`` starts one and answers its process id,
``wait PID`` answers its exit code, negative for a signal. It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import importlib
import inspect
import json
import os
import signal
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from tests.scaled_clock import scaled_loop
from videos_async import (
    Batch,
    DownloadPolicy,
    PollPolicy,
    RetryPolicy,
    VideoRequest,
    VideosSession,
    journal,
)

__all__ = ["prompt_of"]

_LIFE_LIMIT_S: Final = 240
_QUICK_POLLS: Final = PollPolicy(min_interval_s=0.02, max_interval_s=0.04)
_QUICK_RETRIES: Final = RetryPolicy(base_s=0.01, cap_s=0.05)


def prompt_of(key: str) -> str:
    """Make the prompt of a key, so that the ledger tells what was paid for which."""
    return f"take {key}"


def _requests(count: int) -> Iterator[tuple[str, VideoRequest]]:
    for number in range(count):
        key = f"key-{number:04}"
        yield key, VideoRequest(prompt=prompt_of(key), duration=5)


def _batch(session: VideosSession, told: dict[str, Any]) -> Batch:
    path, options = told["journal"], {"download_to": told["download_to"]}
    match told["input"]:
        case "list":
            return session.batch(list(_requests(told["count"])), journal=path, **options)
        case "generator":
            return session.batch(_requests(told["count"]), journal=path, **options)
        case _:
            return session.resume(path, **options)


async def _follow(told: dict[str, Any]) -> list[str]:
    async with (
        VideosSession(
            told["api_key"],
            base_url=told["base_url"],
            poll=_QUICK_POLLS,
            retry=_QUICK_RETRIES,
            downloads=DownloadPolicy(parallel=16),
        ) as session,
        _batch(session, told) as batch,
    ):
        return [str(change.key) async for change in batch if change.is_end]


# --- its death -----------------------------------------------------------------------------


def _dying(function: Callable[..., Any], *, when: str, nth: int) -> Callable[..., Any]:
    """Wrap a function that is called through, and kill the process at its nth call."""
    reached: Counter[str] = Counter()

    def reach(stage: str) -> None:
        # Counted at each of the two, as calls that overlap return in an order of their own.
        reached[stage] += 1
        if when == stage and reached[stage] == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def asynchronous(*args: Any, **options: Any) -> Any:
            reach("before")
            result = await function(*args, **options)
            reach("after")
            return result

        return asynchronous

    @functools.wraps(function)
    def synchronous(*args: Any, **options: Any) -> Any:
        reach("before")
        result = function(*args, **options)
        reach("after")
        return result

    return synchronous


def _arm(death: dict[str, Any]) -> None:
    module, _, path = death["place"].partition(":")
    *owners, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for each in owners:
        owner = getattr(owner, each)
    wrapped = _dying(getattr(owner, name), when=death["when"], nth=death["nth"])
    setattr(owner, name, wrapped)


# --- its birth -----------------------------------------------------------------------------


def _run(told: dict[str, Any]) -> int:
    signal.alarm(_LIFE_LIMIT_S)  # whoever forgets it
    complaints: list[str] = []
    warnings.simplefilter("error")
    sys.unraisablehook = lambda told: complaints.append(f"{told.err_msg}: {told.exc_value!r}")
    held = _descriptors()
    try:
        if told["death"] is not None:
            _arm(told["death"])
        with asyncio.Runner(loop_factory=scaled_loop(told.get("speed", 1))) as runner:
            ended = runner.run(_follow(told))
        gc.collect()
        complaints += [f"left open: {one}" for one in _descriptors() - held]
        assert not complaints, "; ".join(complaints)
        Path(told["log"]).with_suffix(".ends").write_text("\n".join(ended), encoding="utf-8")
    except BaseException:  # noqa: BLE001 - it is told, and the code says so
        Path(told["log"]).write_text(traceback.format_exc(), encoding="utf-8")
        return 1
    return 0


def _descriptors() -> set[str]:
    """List what this process holds open, by what it is rather than by number."""
    held: set[str] = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names are all that is wanted
        with suppress(FileNotFoundError):  # the listing itself
            held.add(os.readlink(f"/proc/self/fd/{name}"))  # noqa: PTH115 - as above
    return held


def _answer(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def main() -> None:
    """Fork as one is told until the standard input ends."""
    _ = journal  # imported before the first fork, as all the rest
    for line in sys.stdin:
        verb, _, rest = line.strip().partition(" ")
        if verb == "run":
            told = json.loads(rest)
            pid = os.fork()
            if pid == 0:
                os._exit(_run(told))
            _answer(pid)
        else:
            _, status = os.waitpid(int(rest), 0)
            _answer(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
