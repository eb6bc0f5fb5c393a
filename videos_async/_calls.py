"""The two calls, carried to a verdict: turns, pauses, retries, and doubts that are kept."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable

import anyio

from videos_async._limiter import Limiter, RateLimit, SessionPause
from videos_async._retry import (
    Accepted,
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

__all__ = ["Calls"]

logger = logging.getLogger("videos_async")


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
        self._pause = SessionPause()
        self._submits = Limiter(
            rate_per_s=limit.submits_per_s, burst=limit.burst, pause=self._pause
        )
        self._queries = Limiter(
            rate_per_s=limit.queries_per_s, burst=limit.burst, pause=self._pause
        )
        self._submit_slots = anyio.Semaphore(limit.submits_in_flight, fast_acquire=True)
        self._query_slots = anyio.Semaphore(limit.queries_in_flight, fast_acquire=True)

    # --- create --------------------------------------------------------------------------

    async def submit(self, request: VideoRequest, *, key: Key | None) -> VideoTask:
        """Submit a valid request; it is sent again only while it was certainly not accepted.

        Raises:
            NotSubmitted: When it was not accepted in any of the tries.
            SubmissionRefused: When the service refused it.
            SubmissionUncertain: When it may have been accepted.
        """
        body = encode_request(request)
        idempotency_key = str(uuid.uuid4())
        attempt = 1
        while True:
            async with self._submit_slots:
                verdict = await self._submit_once(request, body, idempotency_key, key, attempt)
            if isinstance(verdict, Accepted):
                logger.debug("accepted as task %s", verdict.task.id)
                return verdict.task
            logger.debug("submission, try %d: %s", attempt, verdict.reason)
            if not isinstance(verdict, Resend) or attempt >= self._retry.max_attempts:
                raise self._submission_error(verdict, request, key, attempt)
            pause_s = self._retry.pause_s(
                attempt, retry_after_s=verdict.retry_after_s, random=self._random
            )
            if verdict.http_status == 429:
                self._pause.extend(anyio.current_time() + pause_s)
            else:
                await self._rest(pause_s)
            attempt += 1

    async def _submit_once(
        self,
        request: VideoRequest,
        body: bytes,
        idempotency_key: str,
        key: Key | None,
        attempt: int,
    ) -> SubmissionVerdict:
        await self._turn(self._submits)
        mark = SentMark()
        try:
            exchange = await self._transport.submit(
                body, idempotency_key=idempotency_key, mark=mark
            )
            outcome = read_exchange(exchange, unix_now_s=self._unix_clock())
            return judge_submission(outcome, self._retry)
        except BaseException as ended:
            # Whatever ends it here, the reading of the answer included, a sent call is a doubt.
            if not mark.sent:
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
            out_of_tries = attempt >= self._retry.max_attempts
            if verdict.is_refusal or out_of_tries or not self.budget.spend():
                raise query_error(verdict, task_id=task_id, task=None, key=key, attempts=attempt)
            if not verdict.is_throttle:
                await self._rest(
                    self._retry.pause_s(
                        attempt, retry_after_s=verdict.retry_after_s, random=self._random
                    )
                )
            attempt += 1

    async def query_once(self, task_id: str, *, timeout_s: float) -> QueryVerdict:
        """Ask for a task once, within `timeout_s` seconds from when its turn comes."""
        async with self._query_slots:
            await self._turn(self._queries)
            exchange = await self._transport.query(task_id, timeout_s=timeout_s)
        outcome = read_exchange(exchange, unix_now_s=self._unix_clock())
        verdict = judge_query(outcome, task_id=task_id, policy=self._retry)
        if isinstance(verdict, Trouble):
            logger.debug("poll of task %s: %s", task_id, verdict.reason)
            if verdict.is_throttle:
                self._slow_down(verdict.retry_after_s)
        return verdict

    def _slow_down(self, retry_after_s: float | None) -> None:
        pause_s = self._retry.pause_s(1, retry_after_s=retry_after_s, random=self._random)
        self._pause.extend(anyio.current_time() + pause_s)

    async def _turn(self, limiter: Limiter) -> None:
        wait_s = limiter.reserve(anyio.current_time())
        while wait_s > 0:
            await self._rest(wait_s)
            # Somebody may have been told to slow down meanwhile.
            wait_s = self._pause.until_s - anyio.current_time()

    async def _rest(self, pause_s: float) -> None:
        """Wait, but not on a session that is closed meanwhile."""
        with anyio.move_on_after(pause_s):
            await self._transport.closed.wait()
            raise SessionClosed
