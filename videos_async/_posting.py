"""The create calls of a batch: which are under way, how many more there may be, when to stop.

A create call whose bytes have left may be billed, so it is the one thing that leaving a batch
does not cut off at once: each runs in a shielded scope of its own, and gets the grace time to
bring its id home.
"""

from __future__ import annotations

from typing import Protocol

import anyio
import attrs

from videos_async._calls import Intents
from videos_async._recorder import Recorder
from videos_async._stream import Signal
from videos_async._transport import SentMark
from videos_async.errors import (
    AccountRefused,
    JournalWriteFailed,
    Key,
    NotSent,
    SubmissionError,
    SubmissionUncertain,
)
from videos_async.models import VideoRequest, VideoTask

__all__ = ["Posting", "SubmitCall"]


class SubmitCall(Protocol):
    """Submits one valid request and raises where that brings no task."""

    async def __call__(
        self,
        request: VideoRequest,
        *,
        key: Key | None,
        mark: SentMark,
        idempotency_key: str,
        intents: Intents | None,
    ) -> VideoTask: ...


@attrs.define(eq=False)
class _Post:
    """One create call under way."""

    scope: anyio.CancelScope
    mark: SentMark


class Posting:
    """Makes the create calls of one batch, until it is stopped.

    Args:
        submit: Makes one create call and its safe retries.
        recorder: Is told before a byte may leave.
        max_submissions: Most create calls that may be billed, or None for no limit.
        grace_s: Seconds that calls whose bytes have left get when the batch is left.

    Attributes:
        stop_reason: Why nothing more is submitted, or None while it is.
    """

    def __init__(
        self,
        submit: SubmitCall,
        recorder: Recorder,
        *,
        max_submissions: int | None,
        grace_s: float,
    ) -> None:
        self.stop_reason: str | None = None
        self._submit = submit
        self._recorder = recorder
        self._max_submissions = max_submissions
        self._grace_s = grace_s
        self._posts: set[_Post] = set()
        self._post_ended = Signal()
        self._may_be_billed = 0

    async def post(
        self, key: Key, request: VideoRequest, mark: SentMark
    ) -> VideoTask | SubmissionError:
        """Submit a valid request, unless or until there is a reason to stop."""
        if self.stop_reason is None:
            await self._within_budget()
        if self.stop_reason is not None:
            return self.not_sent(key, request)
        self._may_be_billed += 1
        outcome = await self._post(key, request, mark)
        if not isinstance(outcome, (VideoTask, SubmissionUncertain)):
            self._may_be_billed -= 1
        if isinstance(outcome, AccountRefused):
            self.stop(f"the service refused the account: {outcome.reason}")
        self._post_ended.send()
        return outcome

    async def _within_budget(self) -> None:
        """Wait until the next create call is certainly not one too many, or stop."""
        limit = self._max_submissions
        while limit is not None and self._may_be_billed >= limit and self.stop_reason is None:
            if not self._posts:
                self.stop(f"max_submissions={limit} are used up")
                return
            # One of those under way may yet turn out not to be billed.
            await self._post_ended.wait()

    async def _post(
        self, key: Key, request: VideoRequest, mark: SentMark
    ) -> VideoTask | SubmissionError:
        post = _Post(anyio.CancelScope(shield=True), mark)
        self._posts.add(post)
        try:
            with post.scope:
                return await self._submit(
                    request,
                    key=key,
                    mark=mark,
                    idempotency_key=self._recorder.idempotency_key(key),
                    intents=self._recorder.intents,
                )
        except SubmissionError as error:
            return error
        except JournalWriteFailed:
            # The recorder has told whom it concerns.
            return self.not_sent(key, request)
        finally:
            self._posts.discard(post)
        return self.cut_off(key, request, mark)

    # --- stopping ------------------------------------------------------------------------

    def stop(self, reason: str) -> None:
        """Submit nothing more; what is already under way at the service goes on."""
        if self.stop_reason is None:
            self.stop_reason = reason
        for post in self._posts:
            if post.mark.revoke():
                post.scope.cancel()
        self._post_ended.send()

    async def leave(self) -> None:
        """Stop, and let the calls whose bytes have left bring their ids home."""
        self.stop("the batch was left")
        deadline_s = anyio.current_time() + self._grace_s
        for post in self._posts:
            post.scope.deadline = min(post.scope.deadline, deadline_s)
        while self._posts:
            await self._post_ended.wait()

    def abandon(self) -> None:
        """Cut off what is still under way."""
        for post in self._posts:
            post.scope.cancel()

    def cut_off(self, key: Key, request: VideoRequest, mark: SentMark) -> SubmissionError:
        """Tell what became of a request whose submission was not let come to its end."""
        if not mark.sent:
            return self.not_sent(key, request)
        reason = f"no answer came within the grace time of {self._grace_s:g} s"
        return SubmissionUncertain(request=request, key=key, reason=reason)

    def not_sent(self, key: Key, request: VideoRequest) -> NotSent:
        """Tell that a request was not sent."""
        reason = self.stop_reason or "the batch was left"
        return NotSent(request=request, key=key, reason=reason, attempts=0)
