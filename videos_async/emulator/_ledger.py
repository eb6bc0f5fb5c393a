"""The ledger: every create call that was accepted, because accepted means billed."""

from __future__ import annotations

from collections import Counter

import attrs

__all__ = ["Ledger", "LedgerEntry"]


@attrs.frozen(kw_only=True)
class LedgerEntry:
    """One accepted create call.

    Attributes:
        task_id: The id that was answered.
        prompt: The prompt that was paid for.
        model: The model that was paid for.
        idempotency_key: The ``Idempotency-Key`` header, if one came. It is written down and
            nothing else: the service documents no deduplication.
        accepted_at_s: Virtual time of acceptance, in seconds since the Unix epoch.
    """

    task_id: str
    prompt: str
    model: str
    idempotency_key: str | None
    accepted_at_s: float


class Ledger:
    """What was billed, in the order of acceptance. The emulator writes, users read."""

    __slots__ = ("_entries", "_per_prompt", "_refused")

    def __init__(self) -> None:
        self._entries: list[LedgerEntry] = []
        self._per_prompt: Counter[str] = Counter()
        self._refused = 0

    @property
    def billed(self) -> int:
        """How many create calls were accepted, whatever became of their tasks."""
        return len(self._entries)

    @property
    def refused(self) -> int:
        """How many create calls were not accepted, so cost nothing."""
        return self._refused

    @property
    def entries(self) -> tuple[LedgerEntry, ...]:
        """All accepted create calls so far, oldest first; a copy."""
        return tuple(self._entries)

    def billed_for(self, prompt: str) -> int:
        """Count the accepted create calls with exactly this prompt."""
        return self._per_prompt[prompt]

    def record(self, entry: LedgerEntry) -> None:
        """Write down an accepted create call."""
        self._entries.append(entry)
        self._per_prompt[entry.prompt] += 1

    def record_refusal(self, count: int = 1) -> None:
        """Count a create call that was answered with an error, or cut off before acceptance."""
        self._refused += count

    def __repr__(self) -> str:
        return f"<Ledger billed={self.billed} refused={self.refused}>"
