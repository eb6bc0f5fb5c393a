"""Many prompts in one batch on the emulator, with everything going wrong that can.

On virtual time, so the batch is what users run: default policies, half a minute between polls,
and a service that counts how often it is called.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

import pytest

from tests.service import request
from videos_async import End, VideosSession
from videos_async.emulator import (
    Close,
    Cut,
    Decline,
    Dialect,
    Fault,
    LoseId,
    Media,
    RateLimit,
    Reset,
    Status,
    VideosEmulator,
    VirtualClock,
    VirtualLoop,
)

# What happens to each prompt, by its number modulo 20: how it ends, and how often it is paid for.
KINDS: Final[dict[str, tuple[End, int]]] = {
    "refused": (End.REFUSED, 0),
    "declined": (End.REFUSED, 0),
    "lost before": (End.UNCERTAIN, 0),
    "lost after": (End.UNCERTAIN, 1),
    "without an id": (End.UNCERTAIN, 1),
    "[fail]": (End.FAILED, 1),
    "[refuse]": (End.FAILED, 1),
    "": (End.INVALID, 0),
}
ALL_KINDS: Final = (*KINDS, "polls dropped", "unknown at first", "another revision", *["well"] * 9)
FAULTS: Final[tuple[Fault, ...]] = (
    Status(422, on="submit", prompt="refused"),
    Decline(prompt="declined"),
    Reset(before="acceptance", on="submit", prompt="lost before"),
    Reset(after="acceptance", on="submit", prompt="lost after"),
    LoseId("html", prompt="without an id"),
    Dialect("envelope", prompt="another revision"),
    # The first two polls of some, and a few of everybody's.
    Close(on="query", prompt="polls dropped", nth_of_task=(1, 2)),
    Status(404, on="query", prompt="unknown at first", nth_of_task=1),
    Reset(on="query", probability=0.01),
    Cut(at=20, on="query", probability=0.01),
    Status(503, on="query", probability=0.02),
    # The service bears fewer calls than would come.
    RateLimit(100, burst=20, on="submit"),
    Status(429, on="query", retry_after=1, nth=(500, 1500)),
)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": VirtualClock().new_event_loop}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.soak)])
async def test_every_prompt_ends_once_and_the_ledger_is_what_was_accepted(
    count: int, caplog: pytest.LogCaptureFixture
) -> None:
    # A line for each doubt is right for users; thousands of them are only in the way here.
    caplog.set_level("ERROR", "videos_async")
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    emulator = VideosEmulator(
        clock=loop.clock, faults=FAULTS, processing_slots=count, media=Media.SAMPLE
    )
    kinds = [ALL_KINDS[number % len(ALL_KINDS)] for number in range(count)]
    prompts = [kind and f"{number} {kind}" for number, kind in enumerate(kinds)]
    ends: dict[str | int, End] = {}
    async with (
        emulator,
        VideosSession(emulator.api_key, base_url=emulator.base_url) as session,
        session.batch(request(prompt) for prompt in prompts) as batch,
    ):
        async for change in batch:
            assert change.key not in ends
            if change.end is not None:
                ends[change.key] = change.end
                # Whatever was accepted and came back has its id in hand.
                assert (change.task_id in emulator.tasks) == (
                    change.end in {End.COMPLETED, End.FAILED}
                )

    expected = [KINDS.get(kind, (End.COMPLETED, 1)) for kind in kinds]
    assert [ends[number] for number in range(count)] == [end for end, _ in expected]
    assert [emulator.billed_for(prompt) for prompt in prompts] == [paid for _, paid in expected]
    assert emulator.billed == sum(paid for _, paid in expected)
    assert batch.counts.ended == Counter(ends.values())
    # Doubts are kept and counted, those that were paid for and those that were not.
    assert len(session.uncertain) == ends_of(End.UNCERTAIN, ends)
    # The limit was met, and respected in the end: few calls were refused for their pace.
    throttled = emulator.faults.struck(FAULTS[-2])
    assert 0 < throttled < count * 0.02
    assert emulator.faults.struck(FAULTS[-1]) == 2


def ends_of(end: End, ends: dict[str | int, End]) -> int:
    return Counter(ends.values())[end]
