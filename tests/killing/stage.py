"""Where clients are killed: the service with its ledger, the wire, and the clients' processes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import attrs

from tests.killing.child import prompt_of
from tests.killing.proxy import Call, Proxy, Stage
from videos_async import Journal, JournalEntry, KeyState, RateLimit
from videos_async.emulator import Media, VideosEmulator

__all__ = ["KILLED", "Clients", "Death", "Kill", "Theatre", "states_on_disk", "theatre"]

KILLED: Final = -signal.SIGKILL
SUBMITS_IN_FLIGHT: Final = RateLimit().submits_in_flight
_ROOT: Final = Path(__file__).parent.parent.parent


@attrs.frozen
class Death:
    """The client kills itself, in the middle of its work.

    Attributes:
        place: A function of the library, as ``module:Owner.name``.
        when: ``before`` or ``after`` the call of it that kills.
        nth: Which call of it that is.
    """

    place: str
    when: str
    nth: int


@attrs.frozen
class Kill:
    """The service's side kills the client at a call.

    Attributes:
        method: Of calls with this method …
        part: … and this in their path …
        stage: … at this stage …
        nth: … the one with this number, from 1.
        delay_s: So many seconds after that, while the calls go on; at once by default.
        most: How many create calls reach the service before it, whoever is faster; the others
            wait for it. None for no limit.
    """

    method: str
    part: str
    stage: Stage
    nth: int
    delay_s: float = 0.0
    most: int | None = None


class Clients:
    """The process that makes the clients; see `tests.killing.child`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.killing.child"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=10)

    async def ask(self, line: str) -> int:
        """Tell it something and return its answer, while the loop goes on."""
        return await asyncio.to_thread(self._ask, line)

    def _ask(self, line: str) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


class Theatre:
    """Runs clients of one journal against one service, and counts.

    Attributes:
        emulator: The service.
        journal: The journal's file.
        proxy: The wire.
        download_to: Where the clients save their videos; None where they do not.
        kills: How often a client was killed.
        in_doubt_at_most: How many keys the kills so far may have put in doubt.
    """

    def __init__(self, emulator: VideosEmulator, clients: Clients, folder: Path) -> None:
        self.emulator = emulator
        self.journal = folder / "run.sqlite"
        self.download_to: Path | None = None
        self.in_doubt_at_most = 0
        self.kills = 0
        self._clients = clients
        self._log = folder / "child.log"
        self.proxy = Proxy(emulator.base_url, self._watch)
        self._victim: int | None = None
        self._kill: Kill | None = None
        self._seen = 0
        self._create_calls = 0
        self._born = asyncio.Event()
        self._ended = asyncio.Event()

    async def live(self, given: str, count: int = 0, *, dies: Death | Kill | None = None) -> int:
        """Run a client to its end, or to its death.

        Args:
            given: The kind of its input: ``list``, ``generator``, or ``resume`` for none.
            count: How many requests its input holds.
            dies: How it is killed; it may come to its end before.

        Returns:
            Its exit code, `KILLED` where it was.
        """
        self._log.unlink(missing_ok=True)
        self._kill = dies if isinstance(dies, Kill) else None
        self._seen = self._create_calls = 0
        self._born, self._ended = asyncio.Event(), asyncio.Event()
        told = {
            "journal": str(self.journal),
            "log": str(self._log),
            "api_key": self.emulator.api_key,
            "base_url": self.proxy.base_url,
            "download_to": self.download_to and str(self.download_to),
            "input": given,
            "count": count,
            "death": attrs.asdict(dies) if isinstance(dies, Death) else None,
        }
        self._victim = await self._clients.ask(f"run {json.dumps(told)}")
        self._born.set()
        if self._kill is not None and self._kill.nth == 0:
            await self._strike(self._victim, self._kill.delay_s)
        code = await self._clients.ask(f"wait {self._victim}")
        self._victim = None
        self._ended.set()
        if code == KILLED:
            self.kills += 1
            in_doubt = states_on_disk(self.journal)[KeyState.INTENT.value]
            assert in_doubt <= SUBMITS_IN_FLIGHT
            self.in_doubt_at_most += in_doubt
        elif code != 0:
            raise RuntimeError(self._log.read_text(encoding="utf-8"))
        return code

    async def _watch(self, call: Call) -> None:
        kill = self._kill
        if kill is None:
            return
        if (call.method, call.stage) == ("POST", Stage.ARRIVED):
            self._create_calls += 1
            if kill.most is not None and self._create_calls > kill.most:
                await self._ended.wait()
                raise ConnectionAbortedError("whoever made this call is dead")
        if (call.method, call.stage) != (kill.method, kill.stage):
            return
        if kill.part not in call.path:
            return
        self._seen += 1
        if self._seen != kill.nth:
            return
        # It may be at work before its number is known here.
        await self._born.wait()
        if self._victim is None:
            return
        if kill.delay_s:
            asyncio.get_running_loop().call_later(kill.delay_s, _kill, self._victim)
        else:
            _kill(self._victim)

    async def _strike(self, victim: int, delay_s: float) -> None:
        # A random instant in the life of a process is one of real time.
        await asyncio.sleep(delay_s)
        _kill(victim)

    async def entries(self) -> dict[str, JournalEntry]:
        """Read what the journal knows, by key."""
        async with Journal(self.journal) as journal:
            return {str(entry.key): entry async for entry in journal.entries()}

    def billed_for(self, key: str) -> list[str]:
        """Tell which tasks were paid for under a key."""
        entries = self.emulator.ledger.entries
        return [entry.task_id for entry in entries if entry.prompt == prompt_of(key)]


def _kill(pid: int) -> None:
    # It may just have come to its end; a number is not given to another process so soon.
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def states_on_disk(journal: Path) -> Counter[str]:
    """Count the states in a journal as its killed driver left it, touching nothing."""
    with TemporaryDirectory() as folder:
        for name in (journal.name, f"{journal.name}-wal"):
            if journal.with_name(name).exists():
                shutil.copy(journal.with_name(name), folder)
        copy = Path(folder, journal.name)
        if not copy.exists() or not copy.stat().st_size:
            wal = Path(folder, f"{journal.name}-wal")
            assert not wal.exists() or not wal.stat().st_size
            return Counter()
        with closing(sqlite3.connect(copy)) as connection:
            return Counter(row[0] for row in connection.execute("SELECT state FROM entries"))


@asynccontextmanager
async def theatre(clients: Clients, folder: Path) -> AsyncGenerator[Theatre]:
    """Set the stage: a service in a hurry, the wire, and a folder for the journal."""
    async with VideosEmulator(speed=4000, media=Media.SAMPLE, processing_slots=200) as emulator:
        stage = Theatre(emulator, clients, folder)
        async with stage.proxy:
            yield stage
