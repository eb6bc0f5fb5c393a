"""Who writes down what happens to tasks, as it happens: a state file, or nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ._ledger import LedgerEntry
    from ._service import EmulatedTask

__all__ = ["NOBODY", "Recorder"]


class Recorder(Protocol):
    """Is told of every step of every task, in order."""

    def accepted(self, task: EmulatedTask, entry: LedgerEntry) -> None:
        """Note a task that is about to be taken on; if this raises, it is not."""
        ...

    def started(self, task: EmulatedTask) -> None:
        """Note that a task has got its slot."""
        ...

    def ended(self, task: EmulatedTask) -> None:
        """Note that a task is completed or failed."""
        ...


class _Nobody:
    """The recorder of an emulator that forgets."""

    def accepted(self, task: EmulatedTask, entry: LedgerEntry) -> None: ...

    def started(self, task: EmulatedTask) -> None: ...

    def ended(self, task: EmulatedTask) -> None: ...


NOBODY: Recorder = _Nobody()
