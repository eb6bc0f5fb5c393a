from __future__ import annotations

import re

import pytest

from videos_async.emulator import Ledger, LedgerEntry


def ledger(*prompts: str, key: str | None = None) -> Ledger:
    """Write a ledger in which a prompt was paid for every ten seconds."""
    written = Ledger()
    for number, prompt in enumerate(prompts):
        written.record(
            LedgerEntry(
                task_id=f"video_{number}",
                prompt=prompt,
                model="videos",
                idempotency_key=key,
                accepted_at_s=1_774_836_724 + 10 * number,
            )
        )
    return written


def complaint(written: Ledger, *prompts: str) -> str:
    with pytest.raises(AssertionError) as caught:
        written.assert_paid_once(*prompts)
    return str(caught.value)


def test_each_prompt_paid_for_once_is_well() -> None:
    ledger("a", "b").assert_paid_once()
    ledger("a", "b", "c", "c").assert_paid_once("a", "b")


def test_a_prompt_paid_for_twice_is_told_with_when_and_what() -> None:
    assert complaint(ledger("a", "b", "a", key="k")) == (
        "not paid for exactly once:\n"
        "  'a': paid for 2 times\n"
        "    1. 2026-03-30 02:12:04.000+00:00 as task video_0, Idempotency-Key k\n"
        "    2. 20.000 s later as task video_2, Idempotency-Key k"
    )


def test_a_prompt_never_paid_for_is_told() -> None:
    assert complaint(ledger("a"), "a", "c") == "not paid for exactly once:\n  'c': never paid for"


def test_nothing_paid_for_at_all_is_told_with_what_was_refused() -> None:
    written = ledger()
    written.record_refusal()
    told = "nothing was paid for: no create call was accepted, 1 were not"
    assert complaint(written) == told


def test_a_long_story_is_cut() -> None:
    told = complaint(ledger(*"abcdefgh" * 7))
    assert len(re.findall("paid for 7 times", told)) == 5
    assert told.endswith("and 3 more")
    assert told.count("later as task") == 5 * 4
