"""What a batch is told and what it tells: its limits, its tools, its counts, and the dry run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import anyio
import anyio.lowlevel
import attrs

from videos_async._follow import PollCall
from videos_async._input import Input, Requests
from videos_async._posting import SubmitCall
from videos_async._saving import Saving
from videos_async._schedule import Schedule
from videos_async._settings import at_least, timeout_flaw, whole_at_least
from videos_async.errors import ConfigurationError, InvalidRequest, Key, Violation
from videos_async.models import End, Status, Transition, VideoRequest

__all__ = [
    "BatchCounts",
    "BatchOptions",
    "DryRun",
    "TransitionHook",
    "Workshop",
    "dry_run",
]

TransitionHook: TypeAlias = Callable[[Transition], Awaitable[None] | None]


@attrs.frozen(kw_only=True)
class BatchCounts:
    """Where the requests of a batch are; the numbers add up to `pulled`.

    Attributes:
        pulled: Requests taken from the input so far.
        submitting: Not accepted and not ended yet.
        unseen: Accepted, as the journal says, and never seen at the service yet.
        in_progress: Accepted and not ended yet, by the status last seen.
        downloading: Completed, and the file not saved yet.
        ended: Ended, by the way they did.
    """

    pulled: int
    submitting: int
    unseen: int = 0
    in_progress: Mapping[Status, int]
    downloading: int = 0
    ended: Mapping[End, int]


def _patience(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    flaw = timeout_flaw(value)
    if flaw is not None:
        raise ConfigurationError(setting=f"BatchOptions.{attribute.name}", problem=flaw)


def _callable(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not callable(value):
        problem = f"must be a function that takes a Transition, or None, got {value!r}"
        raise ConfigurationError(setting=f"BatchOptions.{attribute.name}", problem=problem)


@attrs.frozen(kw_only=True)
class BatchOptions:
    """The limits of one batch.

    Attributes:
        timeout: Seconds from its acceptance until a task is given up as `WaitTimeout`, its id in
            hand, or None for never.
        batch_timeout: Seconds until nothing more is submitted and all that goes on is given up,
            or None for never.
        max_submissions: Most create calls that may be billed, or None for no limit.
        grace_s: Seconds that create calls whose bytes have left get to bring their ids home when
            the batch is left.
        on_transition: Called with every transition before it is handed out, one at a time; may
            be asynchronous. What it raises is logged and counted, and ends nothing.
    """

    timeout: float | None = attrs.field(default=1800.0, validator=_patience)
    batch_timeout: float | None = attrs.field(default=None, validator=_patience)
    max_submissions: int | None = attrs.field(
        default=None, validator=whole_at_least(0, optional="for no limit")
    )
    grace_s: float = attrs.field(default=10.0, validator=at_least(0))
    on_transition: TransitionHook | None = attrs.field(default=None, validator=_callable)


@attrs.frozen(kw_only=True)
class Workshop:
    """What a batch works with: the session's rules and calls.

    Attributes:
        schedule: Says what is due; the batch's own.
        judge: Lists what is wrong with a request.
        submit: Makes a create call and its safe retries.
        submitters: How many requests are being submitted at a time.
        poll: Makes a result call.
        pollers: How many polls are in flight at a time.
        saving: Saves the files, or None to leave them where they are; the batch's own.
    """

    schedule: Schedule
    judge: Callable[[VideoRequest], tuple[Violation, ...]]
    submit: SubmitCall
    submitters: int
    poll: PollCall
    pollers: int
    saving: Saving | None = None


@attrs.frozen(kw_only=True)
class DryRun:
    """What a batch would refuse before sending.

    Attributes:
        pulled: How many requests the input held.
        invalid: The error of each request that breaks a rule, by its key.
    """

    pulled: int
    invalid: Mapping[Key, InvalidRequest]

    @property
    def valid(self) -> int:
        """How many requests would be sent."""
        return self.pulled - len(self.invalid)


# About a millisecond's worth: nothing else in a dry run lets the loop turn.
_JUDGED_AT_ONCE = 64


async def dry_run(
    requests: Requests, *, judge: Callable[[VideoRequest], tuple[Violation, ...]]
) -> DryRun:
    """Judge every request of an input as a batch would."""
    source = Input(requests)
    invalid: dict[Key, InvalidRequest] = {}
    try:
        while (pulled := await source.pull()) is not None:
            key, request, flaw = pulled
            found = judge(request) if flaw is None else (flaw,)
            if found:
                invalid[key] = InvalidRequest(violations=found, key=key)
            if source.pulled % _JUDGED_AT_ONCE == 0:
                await anyio.lowlevel.checkpoint()
    finally:
        with anyio.CancelScope(shield=True):
            await source.aclose()
    if source.failure is not None:
        raise source.failure
    return DryRun(pulled=source.pulled, invalid=invalid)
