"""The long run: a hostile service, a client that is killed, and everything held against it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pytest

from tests.killing.child import prompt_of
from tests.killing.stage import KILLED, Clients
from videos_async import Journal, KeyState
from videos_async.emulator import Media, VideosEmulator

PROMPTS: Final = 2000
# How much was paid for when each of the first three lives ends.
KILLED_AT: Final = (300, 700, 1100)


@pytest.fixture(scope="module")
def clients() -> Iterator[Clients]:
    made = Clients()
    yield made
    made.close()


@pytest.mark.soak
@pytest.mark.timeout(420)
async def test_two_thousand_prompts_at_a_hostile_service_with_three_kills(
    clients: Clients, tmp_path: Path
) -> None:
    journal, videos = tmp_path / "run.sqlite", tmp_path / "videos"
    async with VideosEmulator(
        profile="hostile", seed=7, speed=4000, media=Media.SAMPLE, processing_slots=500
    ) as emulator:
        told: dict[str, Any] = {
            "journal": str(journal),
            "log": str(tmp_path / "child.log"),
            "api_key": emulator.api_key,
            "base_url": emulator.base_url,
            "download_to": str(videos),
            "input": "list",
            "count": PROMPTS,
            "death": None,
            # So that the pauses which the service asks for take a twentieth of their time.
            "speed": 20,
        }
        for paid in KILLED_AT:
            pid = await clients.ask(f"run {json.dumps(told)}")
            # Another process is waited for, which has no event to offer.
            while emulator.ledger.billed < paid:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            os.kill(pid, signal.SIGKILL)
            assert await clients.ask(f"wait {pid}") == KILLED
        pid = await clients.ask(f"run {json.dumps(told)}")
        code = await clients.ask(f"wait {pid}")
        # Without a warning and without a descriptor that was left open, or it is said here.
        log = tmp_path / "child.log"
        assert code == 0, log.read_text(encoding="utf-8") if log.exists() else code

    ends = Counter((tmp_path / "child.ends").read_text(encoding="utf-8").split())
    assert set(ends.values()) == {1}
    assert len(ends) == PROMPTS

    paid_for = Counter(entry.prompt for entry in emulator.ledger.entries)
    assert max(paid_for.values()) == 1
    async with Journal(journal) as opened:
        entries = {str(entry.key): entry async for entry in opened.entries()}
    assert len(entries) == PROMPTS
    assert set(paid_for) <= {prompt_of(key) for key in entries}
    for key, entry in entries.items():
        if entry.task_id is None:
            assert entry.state not in {KeyState.COMPLETED, KeyState.DOWNLOADED}
        else:
            assert paid_for[prompt_of(key)] == 1
    # It is a service to be survived, not one that leaves nothing to survive.
    states = Counter(entry.state for entry in entries.values())
    assert states[KeyState.DOWNLOADED] > PROMPTS / 4
    assert states[KeyState.PLANNED] == states[KeyState.INTENT] == 0

    saved = {entry.file.path: entry.file.sha256 for entry in entries.values() if entry.file}
    for path in videos.glob("*.mp4"):
        assert sha256(path.read_bytes()).hexdigest() == saved[str(path)]
