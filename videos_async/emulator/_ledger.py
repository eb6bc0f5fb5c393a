"""The ledger: every create call that was accepted, because accepted means billed."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Final

import attrs

__all__ = ["Ledger", "LedgerEntry"]

# How many prompts, and how many payments of each, a failed assertion tells of.
_TOLD: Final = 5


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

    def assert_paid_once(self, *prompts: str) -> None:
        """Assert that prompts were paid for, and none of them twice.

        Args:
            prompts: The prompts that must have been accepted exactly once; without, all that
                were accepted, of which there must be one at least.

        Raises:
            AssertionError: If that is not so; the text says which prompt, how often and when.
        """
        __tracebackhide__ = True
        wrong = [prompt for prompt in prompts or self._per_prompt if self.billed_for(prompt) != 1]
        if not wrong and (prompts or self._entries):
            return
        if not wrong:
            message = f"nothing was paid for: no create call was accepted, {self.refused} were not"
            raise AssertionError(message)
        told = [self._story(prompt) for prompt in wrong[:_TOLD]]
        if len(wrong) > _TOLD:
            told.append(f"and {len(wrong) - _TOLD} more")
        raise AssertionError("not paid for exactly once:\n" + "\n".join(told))

    def _story(self, prompt: str) -> str:
        """Tell how often and when a prompt was paid for."""
        entries = [entry for entry in self._entries if entry.prompt == prompt]
        if not entries:
            return f"  {prompt!r}: never paid for"
        lines = [f"  {prompt!r}: paid for {len(entries)} times"]
        for number, entry in enumerate(entries[:_TOLD], start=1):
            after_s = entry.accepted_at_s - entries[0].accepted_at_s
            when = (
                datetime.fromtimestamp(entry.accepted_at_s, tz=UTC).isoformat(" ", "milliseconds")
                if number == 1
                else f"{after_s:.3f} s later"
            )
            named = f", Idempotency-Key {entry.idempotency_key}" if entry.idempotency_key else ""
            lines.append(f"    {number}. {when} as task {entry.task_id}{named}")
        return "\n".join(lines)

    def record(self, entry: LedgerEntry) -> None:
        """Write down an accepted create call."""
        self._entries.append(entry)
        self._per_prompt[entry.prompt] += 1

    def record_refusal(self, count: int = 1) -> None:
        """Count a create call that was answered with an error, or cut off before acceptance."""
        self._refused += count

    def __repr__(self) -> str:
        return f"<Ledger billed={self.billed} refused={self.refused}>"
