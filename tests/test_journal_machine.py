"""A journal driven at random, by the recorder that a batch drives it with, against a model.

Files, SQLite and the writer's thread are real; the service is a model, and so is the batch that
calls the recorder. A crash takes what SIGKILL leaves: the database, its write-ahead log and the
lock file, as they stand between two transactions, go to a new folder, and the driver that had
them open goes on without consequence in the old one. What it had not yet handed to SQLite is
lost, as it is with a process. (The shared memory file stays behind: nobody who opens a journal
whose driver is dead believes it. What lies within a transaction is for `test_killed`.)
"""

# What a crash leaves and a disk refuses is brought about below the public face.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Coroutine
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar

import attrs
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from videos_async import (
    GenerationFailed,
    Journal,
    JournalWriteFailed,
    KeyState,
    KeyStateError,
    NotSent,
    Status,
    SubmissionRefused,
    SubmissionUncertain,
    Transition,
    VideoRequest,
    VideosError,
    VideoTask,
)
from videos_async._database import Database
from videos_async._journal_recorder import JournalRecorder
from videos_async._open_journals import JournalWriters
from videos_async._states import ENDED, IN_DOUBT, IN_PROGRESS

S = KeyState
_T = TypeVar("_T")

OBSERVED: Final = {
    Status.QUEUED: S.QUEUED,
    Status.PROCESSING: S.PROCESSING,
    Status.COMPLETED: S.COMPLETED,
    Status.FAILED: S.FAILED,
}
REARMABLE: Final = IN_DOUBT | {S.REFUSED, S.FAILED, S.ABANDONED}
ADOPTABLE: Final = IN_DOUBT | {S.ABANDONED}
ABANDONABLE: Final = IN_DOUBT | IN_PROGRESS | {S.PLANNED}
choices = st.integers(min_value=0, max_value=2**16)


@attrs.define
class Key:
    """What must be true of one key.

    Attributes:
        states: Where it may stand on the disk, the newest last: all but the first of them are
            written some time soon, or with the next commit.
        allowed: How many create calls may be billed.
        billed: The ids of those that were.
        known_id: The id that the journal has been told.
        is_sent: Whether a create call has left that nobody has told the outcome of.
        answer: The id that came back and is not written yet.
    """

    states: list[KeyState] = attrs.field(factory=lambda: [S.PLANNED])
    allowed: int = 1
    billed: list[str] = attrs.field(factory=list[str])
    known_id: str | None = None
    is_sent: bool = False
    answer: str | None = None

    @property
    def state(self) -> KeyState:
        return self.states[-1]


class JournalMachine(RuleBasedStateMachine):
    """Submits, loses, kills, resumes and resolves, and compares."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.life = 0
        self.ids = 0
        self.keys: dict[str, Key] = {}
        self.recorder: JournalRecorder | None = None
        self.is_disk_full = False

    def teardown(self) -> None:
        if self.recorder is not None:
            self.run(self.recorder.aclose())
        self.runner.close()
        self.folder.cleanup()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self.runner.run(work)

    @property
    def path(self) -> Path:
        return Path(self.folder.name, f"life-{self.life}", "run.sqlite")

    @property
    def driver(self) -> JournalRecorder:
        assert self.recorder is not None
        return self.recorder

    def request(self, key: str) -> VideoRequest:
        return VideoRequest(prompt=f"prompt of {key}", duration=5)

    def new_id(self) -> str:
        self.ids += 1
        return f"video_{self.ids}"

    def any_of(self, number: int, *states: KeyState) -> str | None:
        """Choose a key that stands in one of these states, if there is any."""
        found = [key for key, known in self.keys.items() if known.state in states]
        return found[number % len(found)] if found else None

    def written(self) -> None:
        """All that was to be written is on the disk now."""
        if not self.is_disk_full:
            for known in self.keys.values():
                del known.states[:-1]

    # --- lives ---------------------------------------------------------------------------

    @initialize(count=st.integers(1, 4))
    def begin(self, count: int) -> None:
        self.path.parent.mkdir()
        self.start(count, is_resumed=False)

    @precondition(lambda self: self.recorder is None)
    @rule(new=st.integers(0, 2), is_resumed=st.booleans())
    def start(self, new: int, is_resumed: bool) -> None:  # noqa: FBT001 - drawn
        """Start a driver, with the whole input or with none, and see what it takes up."""
        if not is_resumed:
            for _ in range(new):
                self.keys[f"key-{len(self.keys)}"] = Key()
        given = None if is_resumed else [(key, self.request(key)) for key in self.keys]
        self.recorder = JournalRecorder(
            given, path=self.path, writers=JournalWriters(), may_create=not is_resumed
        )
        sent, taken_up = self.run(self._open())
        for key, known in self.keys.items():
            # Exactly one of the places that a crash may have left it in.
            on_disk = taken_up.pop(key, S.PLANNED if key in sent else None)
            assert on_disk is not None
            expected = {S.UNCERTAIN if s is S.INTENT else s for s in known.states}
            assert on_disk in expected
            known.states, known.is_sent, known.answer = [on_disk], False, None
            assert (key in sent) == (on_disk is S.PLANNED)
        assert not taken_up

    async def _open(self) -> tuple[set[str], dict[str, KeyState]]:
        await self.driver.open()
        taken_up = {str(entry.key): entry.state async for entry in self.driver.taken_up()}
        sent: set[str] = set()
        while (pulled := await self.driver.pull()) is not None:
            assert pulled.request == self.request(str(pulled.key))
            assert pulled.key not in sent
            sent.add(str(pulled.key))
        return sent, taken_up

    @precondition(lambda self: self.recorder is not None)
    @rule()
    def crash(self) -> None:
        before = self.path
        self.life += 1
        self.path.parent.mkdir()
        self.run(self._crash(before))
        self.recorder, self.is_disk_full = None, False

    async def _crash(self, before: Path) -> None:
        def copy() -> None:
            for suffix in ("", "-wal", ".lock"):
                found = before.with_name(before.name + suffix)
                if found.exists():
                    shutil.copy(found, self.path.parent)

        # On the writer's own thread, that is between two transactions.
        await self.driver._writer.call(copy)
        await self.driver.aclose()

    @precondition(lambda self: self.recorder is not None)
    @rule()
    def stop(self) -> None:
        """End a driver as a batch does that is left: what is under way is told first."""
        for key, known in self.keys.items():
            if known.state is S.INTENT:
                error = self.cut_off(key)
                self.note(key, error=error)
                is_doubt = isinstance(error, SubmissionUncertain)
                known.states.append(S.UNCERTAIN if is_doubt else S.PLANNED)
        failure = self.run(self.driver.aclose())
        assert (failure is not None) <= self.is_disk_full
        if failure is None:
            self.written()
        else:
            for lost, task_id in failure.unwritten.items():
                assert self.keys[str(lost)].known_id == task_id
        self.recorder, self.is_disk_full = None, False

    def cut_off(self, key: str) -> VideosError:
        request, known = self.request(key), self.keys[key]
        if known.is_sent or known.answer is not None:
            return SubmissionUncertain(request=request, key=key, reason="cut off")
        return NotSent(request=request, key=key, reason="left")

    @precondition(lambda self: self.recorder is not None)
    @rule(is_full=st.booleans())
    def fill_or_empty_the_disk(self, is_full: bool) -> None:  # noqa: FBT001 - drawn
        connection = self.driver._writer.database._connection
        self.run(self.driver._writer.call(connection.execute, f"PRAGMA query_only = {is_full:d}"))
        self.is_disk_full = is_full

    # --- one request ---------------------------------------------------------------------

    @precondition(lambda self: self.recorder is not None)
    @rule(numbers=st.lists(choices, min_size=1, max_size=3))
    def declare(self, numbers: list[int]) -> None:
        """Announce some create calls at once."""
        found = {self.any_of(number, S.PLANNED) for number in numbers} - {None}
        keys = sorted(map(str, found))
        failures = self.run(self._declare(keys))
        for key, failure in zip(keys, failures, strict=True):
            assert (failure is not None) == self.is_disk_full
            if failure is None:
                self.keys[key].states.append(S.INTENT)
        if keys:
            self.written()

    async def _declare(self, keys: list[str]) -> list[JournalWriteFailed | None]:
        async def declare(key: str) -> JournalWriteFailed | None:
            try:
                await self.driver.declare(key)
            except JournalWriteFailed as failure:
                return failure
            return None

        return await asyncio.gather(*map(declare, keys))

    @precondition(lambda self: self.recorder is not None)
    @rule(number=choices, outcome=st.sampled_from(["answered", "lost", "dropped", "busy", "no"]))
    def post(self, number: int, outcome: str) -> None:
        """Let the bytes of an announced create call leave."""
        key = self.any_of(number, S.INTENT)
        if key is None or self.keys[key].is_sent or self.keys[key].answer is not None:
            return
        known = self.keys[key]
        assert known.known_id is None, "a key whose id is known was sent again"
        if outcome == "busy":
            self.driver.retract(key)
            known.states.append(S.PLANNED)
            return
        if outcome == "no":
            refusal = SubmissionRefused(request=self.request(key), key=key, reason="no")
            self.note(key, error=refusal)
            known.states.append(S.REFUSED)
            return
        known.is_sent = True
        if outcome != "dropped":
            known.billed.append(self.new_id())
        if outcome == "answered":
            known.is_sent, known.answer = False, known.billed[-1]

    @precondition(lambda self: self.recorder is not None)
    @rule(number=choices)
    def take_in(self, number: int) -> None:
        """Bring home the id of a create call, or the doubt about it."""
        key = self.any_of(number, S.INTENT)
        if key is None:
            return
        known = self.keys[key]
        if known.answer is not None:
            task = VideoTask(id=known.answer, status=Status.QUEUED, created=1)
            self.run(self._accepted(key, task))
            known.known_id, known.answer = known.answer, None
            known.states.append(S.QUEUED)
        elif known.is_sent:
            self.note(key, error=self.cut_off(key))
            known.is_sent = False
            known.states.append(S.UNCERTAIN)

    async def _accepted(self, key: str, task: VideoTask) -> None:
        self.driver.accepted(key, task)

    @precondition(lambda self: self.recorder is not None)
    @rule(number=choices, status=st.sampled_from(list(OBSERVED)))
    def poll(self, number: int, status: Status) -> None:
        key = self.any_of(number, *IN_PROGRESS)
        if key is None:
            return
        known = self.keys[key]
        assert known.known_id is not None
        task = VideoTask(id=known.known_id, status=status, created=1)
        error = None
        if status == Status.FAILED:
            error = GenerationFailed(task_id=task.id, task=task, key=key, reason="it failed")
        self.note(key, task=task, error=error)
        known.states.append(OBSERVED[status])

    @precondition(lambda self: self.recorder is not None)
    @rule()
    def let_the_timer_fire(self) -> None:
        """What was not waited for comes to the disk, too."""
        self.driver._writer._flush()
        self.run(self.driver._writer.call(time.time))
        if not self.is_disk_full:
            self.written()

    def note(
        self, key: str, *, task: VideoTask | None = None, error: VideosError | None = None
    ) -> None:
        change = Transition(
            key=key,
            task_id=None if task is None else task.id,
            previous=None,
            status=None if task is None else task.status,
            task=task,
            elapsed=0.0,
            error=error,
        )

        async def note() -> None:
            self.driver.note(change, is_last=change.is_end)

        self.run(note())

    # --- resolving -----------------------------------------------------------------------

    @precondition(lambda self: self.recorder is None)
    @rule(number=choices)
    def rearm(self, number: int) -> None:
        key = self.settled_key(number)
        if self.resolves(key, REARMABLE, self._rearm(key)):
            known = self.keys[key]
            # Whatever of earlier calls was billed or may be: one more is allowed.
            known.allowed += 1
            known.known_id = None
            known.states = [S.PLANNED]

    async def _rearm(self, key: str) -> None:
        async with Journal(self.path) as journal:
            await journal.rearm([key])

    @precondition(lambda self: self.recorder is None)
    @rule(number=choices)
    def adopt(self, number: int) -> None:
        key = self.settled_key(number)
        billed = self.keys[key].billed
        task_id = billed[-1] if billed else self.new_id()
        if self.resolves(key, ADOPTABLE, self._adopt(key, task_id)):
            self.keys[key].known_id = task_id
            self.keys[key].states = [S.ACCEPTED]

    async def _adopt(self, key: str, task_id: str) -> None:
        async with Journal(self.path) as journal:
            await journal.adopt(key, task_id)

    @precondition(lambda self: self.recorder is None)
    @rule(number=choices)
    def abandon(self, number: int) -> None:
        key = self.settled_key(number)
        if self.resolves(key, ABANDONABLE, self._abandon(key)):
            self.keys[key].states = [S.ABANDONED]

    async def _abandon(self, key: str) -> None:
        async with Journal(self.path) as journal:
            await journal.abandon([key])

    def settled_key(self, number: int) -> str:
        """Choose a key, and find out where the last driver's end has left it."""
        key = list(self.keys)[number % len(self.keys)]
        for name, state in self.run(self._states()).items():
            known = self.keys[name]
            assert state in {S.UNCERTAIN if s is S.INTENT else s for s in known.states}
            known.states, known.is_sent, known.answer = [state], False, None
        return key

    async def _states(self) -> dict[str, KeyState]:
        async with Journal(self.path) as journal:
            return {str(entry.key): entry.state async for entry in journal.entries()}

    def resolves(
        self, key: str, allowed: frozenset[KeyState], work: Coroutine[Any, Any, None]
    ) -> bool:
        """Do it, where it is possible; where it is not, it is refused and changes nothing."""
        is_possible = self.keys[key].state in allowed
        try:
            self.run(work)
        except KeyStateError:
            assert not is_possible
            return False
        assert is_possible
        return True

    # --- what always holds ---------------------------------------------------------------

    @invariant()
    def a_key_is_paid_for_once_unless_it_was_rearmed(self) -> None:
        for known in self.keys.values():
            assert len(known.billed) <= known.allowed

    @invariant()
    def each_key_is_in_one_state_and_the_counts_add_up(self) -> None:
        if not self.keys:
            return
        database = Database.read(self.path)
        try:
            entries = {str(entry.key): entry for entry in database.entries()}
            counts = database.counts()
        finally:
            database.close()
        assert set(entries) == set(self.keys)
        assert sum(counts.values()) == len(self.keys)
        for key, known in self.keys.items():
            assert entries[key].state in known.states
            if entries[key].state in IN_PROGRESS | {S.COMPLETED, S.FAILED}:
                assert entries[key].task_id == known.known_id


assert {S.COMPLETED, S.FAILED, S.REFUSED, S.UNCERTAIN} <= ENDED

TestJournalMachine = JournalMachine.TestCase
TestJournalMachine.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
