"""The two calls, carried to a verdict: turns, pauses, retries, and doubts that are kept."""

from __future__ import annotations

import asyncio
import logging
import math
import os
from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio

from videos_async._limiter import Limiter, RateLimit
from videos_async._rate import AdaptiveRate
from videos_async._retry import (
    UNCHANGED,
    Accepted,
    Outcome,
    QueryVerdict,
    Refused,
    Resend,
    RetryBudget,
    RetryPolicy,
    Seen,
    SubmissionVerdict,
    Trouble,
    judge_query,
    judge_submission,
    query_error,
)
from videos_async._transport import SentMark, Transport
from videos_async._wire import encode_request, read_exchange
from videos_async.errors import (
    AccountRefused,
    Key,
    NotSubmitted,
    SessionClosed,
    SubmissionError,
    SubmissionRefused,
    SubmissionUncertain,
)
from videos_async.models import VideoRequest, VideoTask

__all__ = ["Calls", "Intents"]

logger = logging.getLogger("videos_async")

# A pause is the session's: the task is not blamed for it, and its deadline has its say.
_NO_TURN = Trouble(reason="its turn did not come in time", is_throttle=True)


class Intents(Protocol):
    """Announces create calls to whoever must know of them before they may be billed."""

    def declare(self, key: Key) -> Awaitable[None]:
        """Return, when awaited, once a create call may be sent; raise where it must not be."""
        ...

    def retract(self, key: Key) -> None:
        """Take back what was declared: the call was certainly not accepted."""


def _now_s() -> float:
    # `anyio.current_time` finds out each time which library runs: ten times the price.
    return asyncio.get_running_loop().time()


def _acquired(queue: anyio.Semaphore | anyio.Lock) -> bool:
    """Take a place where nobody has to wait for one: as a rule nobody has."""
    try:
        queue.acquire_nowait()
    except anyio.WouldBlock:
        return False
    return True


async def _acquire(queue: anyio.Semaphore | anyio.Lock, *, until_s: float = math.inf) -> bool:
    """Wait for a place; False when there is none until `until_s`."""
    with anyio.CancelScope(deadline=until_s) as patience:
        await queue.acquire()
    return not patience.cancelled_caught


class _Lane:
    """Where the calls of one kind queue: so many in flight, and one at a time for its turn.

    Only the first in the queue takes a turn, so a rate that changes holds from the next call on.
    """

    def __init__(
        self, in_flight: int, rate_per_s: float | None, limit: RateLimit, session: AdaptiveRate
    ) -> None:
        self.slots = anyio.Semaphore(in_flight, fast_acquire=True)
        self.turn = anyio.Lock(fast_acquire=True)
        self.limiter = Limiter(rate_per_s=rate_per_s, burst=limit.burst, session=session)

    def is_free(self, now_s: float) -> bool:
        """Tell whether a call may go out now, before nobody and without a turn of its own."""
        return self.limiter.is_free(now_s) and not self.turn.locked()


class Calls:
    """Makes create and result calls within the session's limits.

    Args:
        transport: Makes one exchange at a time.
        retry: When a call is tried again, and which answers refuse.
        limit: How much of the service is used at most.
        random: Draws from 0 to 1.
        unix_clock: Tells the time of day as a Unix time, for a ``Retry-After`` that is a date.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        retry: RetryPolicy,
        limit: RateLimit,
        random: Callable[[], float],
        unix_clock: Callable[[], float],
    ) -> None:
        self.budget = RetryBudget()
        self.uncertain: list[SubmissionUncertain] = []
        self._transport = transport
        self._retry = retry
        self._random = random
        self._unix_clock = unix_clock
        self._rate = AdaptiveRate()
        self._own_rate_per_s = limit.queries_per_s
        self._submits = _Lane(limit.submits_in_flight, limit.submits_per_s, limit, self._rate)
        self._queries = _Lane(limit.queries_in_flight, limit.queries_per_s, limit, self._rate)

    def query_rate_per_s(self) -> float | None:
        """Tell how many result calls a second may be made at this time, or None for any."""
        rates = (self._own_rate_per_s, self._rate.rate_per_s)
        return min((rate for rate in rates if rate is not None), default=None)

    # --- create --------------------------------------------------------------------------

    async def submit(
        self,
        request: VideoRequest,
        *,
        key: Key | None,
        mark: SentMark | None = None,
        idempotency_key: str | None = None,
        intents: Intents | None = None,
    ) -> VideoTask:
        """Submit a valid request; it is sent again only while it was certainly not accepted.

        Args:
            request: What to send.
            key: The caller's name for it.
            mark: Tells whoever may cancel this whether the request may have been accepted, and
                lets them call it off.
            idempotency_key: What marks all create calls for one video; by default a new one.
            intents: Is told of the key before a byte may leave, and when that certainly was in
                vain; then there must be a key.

        Raises:
            NotSubmitted: When it was not accepted in any of the tries.
            SubmissionRefused: When the service refused it.
            SubmissionUncertain: When it may have been accepted.
        """
        body = encode_request(request)
        idempotency_key = idempotency_key or os.urandom(16).hex()
        mark = mark or SentMark()
        attempt = 1
        while True:
            if not _acquired(self._submits.slots):
                await _acquire(self._submits.slots)
            try:
                if not self._submits.is_free(_now_s()):
                    await self._take_turn(self._submits)
                if intents is not None:
                    assert key is not None  # noqa: S101 - a journal knows nothing without
                    await intents.declare(key)
                verdict = await self._submit_once(
                    request, body, idempotency_key, mark, key, attempt
                )
            finally:
                self._submits.slots.release()
            if isinstance(verdict, Accepted):
                logger.debug("accepted as task %s", verdict.task.id)
                return verdict.task
            logger.debug("submission, try %d: %s", attempt, verdict.reason)
            is_last = attempt >= self._retry.max_attempts or mark.is_revoked
            if not isinstance(verdict, Resend) or is_last:
                raise self._submission_error(verdict, request, key, attempt)
            # Certainly not accepted: a cancellation from here on leaves no doubt.
            mark.sent = False
            if intents is not None and key is not None:
                intents.retract(key)
            if verdict.http_status != 429:
                await self._rest(self._pause_s(attempt, verdict.retry_after_s))
            attempt += 1

    async def _submit_once(
        self,
        request: VideoRequest,
        body: bytes,
        idempotency_key: str,
        mark: SentMark,
        key: Key | None,
        attempt: int,
    ) -> SubmissionVerdict:
        sent_s = _now_s()
        try:
            exchange = await self._transport.submit(
                body, idempotency_key=idempotency_key, mark=mark
            )
            outcome = read_exchange(exchange, unix_now_s=self._unix_clock())
            self._note(outcome, sent_s)
            return judge_submission(outcome, self._retry)
        except BaseException as ended:
            # Whatever ends it here, the reading of the answer included, a sent call is a doubt.
            if mark.revoke():
                raise
            is_cancelled = isinstance(ended, asyncio.CancelledError)
            how = "was cancelled" if is_cancelled else f"broke off with {type(ended).__name__}"
            doubt = SubmissionUncertain(
                request=request, reason=f"the call {how}", key=key, attempts=attempt
            )
            self._hold(doubt)
            # A cancellation must stay one; the doubt travels as its cause.
            raise ended from doubt

    def _submission_error(
        self, verdict: SubmissionVerdict, request: VideoRequest, key: Key | None, attempts: int
    ) -> SubmissionError:
        assert not isinstance(verdict, Accepted)  # noqa: S101 - an accepted one is no error
        if isinstance(verdict, Refused):
            kind: type[SubmissionError] = (
                AccountRefused if verdict.is_account else SubmissionRefused
            )
        else:
            kind = NotSubmitted if isinstance(verdict, Resend) else SubmissionUncertain
        error = kind(
            request=request,
            reason=verdict.reason,
            http_status=verdict.http_status,
            service_message=verdict.message,
            task_id=verdict.task_id if isinstance(verdict, Refused) else None,
            key=key,
            attempts=attempts,
        )
        if isinstance(error, SubmissionUncertain):
            self._hold(error)
        return error

    def _hold(self, doubt: SubmissionUncertain) -> None:
        self.uncertain.append(doubt)
        logger.warning("%s", doubt)

    # --- result --------------------------------------------------------------------------

    async def query(self, task_id: str, *, key: Key | None = None) -> VideoTask:
        """Ask for a task until it is seen or the tries run out.

        Raises:
            QueryRefused: When the service refuses to tell.
            QueryFailed: When the tries ran out.
        """
        attempt = 1
        while True:
            verdict = await self.query_once(task_id, timeout_s=float("inf"))
            if isinstance(verdict, Seen):
                self.budget.refill()
                return verdict.task
            assert isinstance(verdict, Trouble)  # noqa: S101 - none was known
            out_of_tries = attempt >= self._retry.max_attempts
            if verdict.is_refusal or out_of_tries or not self.budget.spend():
                raise query_error(verdict, task_id=task_id, task=None, key=key, attempts=attempt)
            if not verdict.is_throttle:
                await self._rest(self._pause_s(attempt, verdict.retry_after_s))
            attempt += 1

    async def query_once(
        self, task_id: str, *, timeout_s: float, known: int | None = None
    ) -> QueryVerdict:
        """Ask for a task once.

        Args:
            task_id: The task.
            timeout_s: Seconds that it may take, the wait for its turn included.
            known: The fingerprint of the last answer about it; one that is byte for byte the
                same is `Unchanged`, and not read again.
        """
        lane, clock = self._queries, asyncio.get_running_loop().time
        sent_s = clock()
        until_s = sent_s + timeout_s
        if not _acquired(lane.slots):
            if not await _acquire(lane.slots, until_s=until_s):
                return _NO_TURN
            sent_s = clock()
        try:
            if not lane.is_free(sent_s):
                if not await self._take_turn(lane, until_s=until_s):
                    return _NO_TURN
                sent_s = clock()
            exchange = await self._transport.query(task_id, timeout_s=until_s - sent_s)
        finally:
            lane.slots.release()
        fingerprint = None
        if exchange.status == 200 and exchange.trouble is None:
            fingerprint = hash(exchange.body)
            if fingerprint == known:
                self._rate.accepted(clock())
                return UNCHANGED
        outcome = read_exchange(exchange, unix_now_s=self._unix_clock())
        self._note(outcome, sent_s)
        verdict = judge_query(outcome, task_id=task_id, policy=self._retry, fingerprint=fingerprint)
        if isinstance(verdict, Trouble):
            logger.debug("poll of task %s: %s", task_id, verdict.reason)
        return verdict

    # --- pace ----------------------------------------------------------------------------

    async def _take_turn(self, lane: _Lane, *, until_s: float = math.inf) -> bool:
        """Wait for the next turn; False when it would come after `until_s`."""
        if not _acquired(lane.turn) and not await _acquire(lane.turn, until_s=until_s):
            return False
        try:
            wait_s = lane.limiter.reserve(_now_s())
            while wait_s > 0:
                left_s = until_s - _now_s()
                await self._rest(min(wait_s, left_s))
                if wait_s > left_s:
                    return False
                # Somebody may have been told to slow down meanwhile.
                wait_s = lane.limiter.reserve_again(_now_s())
        finally:
            lane.turn.release()
        return True

    def _note(self, outcome: Outcome, sent_s: float) -> None:
        """Let the rate of the session learn from an answer."""
        now_s = _now_s()
        if outcome.status == 429:
            share = self._rate.refused(
                sent_s=sent_s, now_s=now_s, retry_after_s=outcome.retry_after_s
            )
            self._rate.pause(now_s + share * self._pause_s(1, outcome.retry_after_s))
        elif outcome.status is not None:
            self._rate.accepted(now_s)

    def _pause_s(self, attempt: int, retry_after_s: float | None) -> float:
        return self._retry.pause_s(attempt, retry_after_s=retry_after_s, random=self._random)

    async def _rest(self, pause_s: float) -> None:
        """Wait, but not on a session that is closed meanwhile."""
        with anyio.move_on_after(pause_s):
            await self._transport.closed.wait()
            raise SessionClosed
