"""The signal that a stream's workers wait for."""

from __future__ import annotations

import asyncio

import anyio

from videos_async._stream import Signal


async def waiting(signal: Signal, woken: list[str], name: str) -> None:
    await signal.wait()
    woken.append(name)


async def test_a_signal_wakes_all_who_wait_and_none_who_come_later() -> None:
    signal = Signal()
    woken: list[str] = []
    first = [asyncio.ensure_future(waiting(signal, woken, name)) for name in ("a", "b")]
    await asyncio.sleep(0)
    signal.send()
    late = asyncio.ensure_future(waiting(signal, woken, "c"))
    await asyncio.gather(*first)
    await asyncio.sleep(0)
    assert woken == ["a", "b"]
    signal.send()
    await late
    assert woken == ["a", "b", "c"]


async def test_a_signal_that_nobody_waits_for_is_gone() -> None:
    signal = Signal()
    signal.send()
    with anyio.move_on_after(0.01) as patience:
        await signal.wait()
    assert patience.cancelled_caught


async def test_who_waits_no_longer_is_forgotten_and_keeps_nobody_from_being_woken() -> None:
    signal = Signal()
    woken: list[str] = []
    patient = asyncio.ensure_future(waiting(signal, woken, "patient"))
    hasty = asyncio.ensure_future(waiting(signal, woken, "hasty"))
    await asyncio.sleep(0)
    hasty.cancel()
    await asyncio.gather(hasty, return_exceptions=True)
    signal.send()
    await patient
    assert woken == ["patient"]


async def test_a_cancellation_in_the_moment_of_the_signal_is_a_cancellation() -> None:
    signal = Signal()
    woken: list[str] = []
    both = asyncio.ensure_future(waiting(signal, woken, "both"))
    await asyncio.sleep(0)
    signal.send()
    both.cancel()
    await asyncio.gather(both, return_exceptions=True)
    assert both.cancelled()
    assert woken == []
