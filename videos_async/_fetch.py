"""Fetching: asks for what is missing of one file until all of it is here, or it cannot be had.

It knows servers, ranges and watchdogs, and not where the bytes go; see `_destination` for the
seam. A broken connection is resumed where it broke. What ends a download is an error that says
what became of the bytes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Generic, TypeVar

import anyio
import attrs

from videos_async._destination import Destination, Piece, Received, Writing
from videos_async._download_policy import DownloadPolicy, DownloadProgress
from videos_async._files import FileAnswer, FileServers, TransportTrouble
from videos_async._links import FileUrl, Links
from videos_async._mp4 import Mp4State
from videos_async._pages import HEAD_BYTES, first_line, is_page
from videos_async._ranges import (
    Ask,
    FromStart,
    Gone,
    GoOn,
    Refused,
    Source,
    StartOver,
    Weather,
)
from videos_async._reading import Trouble, first_words, next_piece, watched
from videos_async._retry import RetryBudget, RetryPolicy
from videos_async._wire import parse_retry_after
from videos_async.errors import DownloadError, DownloadIncomplete, VideoUnavailable

__all__ = ["Fetcher", "ProgressHook"]

logger = logging.getLogger("videos_async")

ProgressHook = Callable[[DownloadProgress], object]
ResultT = TypeVar("ResultT")

_BATCH_BYTES: Final = 1 << 20
# A slow transfer is written as well as it comes, so that a kill loses little of it.
_BATCH_S: Final = 0.25
# Less is no progress: a server that gives a byte a try would be asked for ever.
_PROGRESS_BYTES: Final = 1 << 16


@attrs.frozen(kw_only=True, eq=False)
class Fetcher:
    """What all downloads of a session have in common.

    Attributes:
        files: Makes the connections.
        policy: How much may be taken of network and disk.
        retry: How often to try again and when.
        budget: Keeps tries that bring nothing from piling up on servers that are down.
        random: Draws from 0 to 1.
        unix_clock: Tells the time of day as a Unix time.
    """

    files: FileServers
    policy: DownloadPolicy
    retry: RetryPolicy
    budget: RetryBudget
    random: Callable[[], float]
    unix_clock: Callable[[], float]

    async def fetch(
        self,
        links: Links,
        destination: Destination[ResultT],
        *,
        task_id: str,
        on_progress: ProgressHook | None,
    ) -> ResultT:
        """Bring one file to its destination.

        Raises:
            DownloadError: When it could not be brought there whole; see its subclasses.
            VideosError: All that `links` raises.
        """
        async with destination.open(task_id) as writing:
            fetching = _Fetching(
                self, links, writing, task_id=task_id, name=destination.name, hook=on_progress
            )
            return await writing.finish(await fetching.run())


class _Fetching(Generic[ResultT]):
    """One file on its way."""

    def __init__(
        self,
        fetcher: Fetcher,
        links: Links,
        writing: Writing[ResultT],
        *,
        task_id: str,
        name: str,
        hook: ProgressHook | None,
    ) -> None:
        self._fetcher = fetcher
        self._links = links
        self._writing = writing
        self._task_id = task_id
        self._name = name
        self._hook = hook
        # How far it has come when progress was last seen, and how many tries brought none since.
        self._best_bytes = writing.contents.size_bytes
        self._attempt = 1
        self._length_bytes = writing.source.length_bytes
        # What is here stays as long as nothing better comes, but it is not asked to be continued.
        self._is_distrusted = False

    @property
    def _size_bytes(self) -> int:
        return self._writing.contents.size_bytes

    async def run(self) -> Received:
        """Try until it is here.

        Raises:
            DownloadError: When it cannot be had.
        """
        while True:
            trouble: Trouble | None = None
            try:
                outcome = await self._try(await self._links.current())
                if isinstance(outcome, Received):
                    self._fetcher.budget.refill()
                    return outcome
                if isinstance(outcome, Gone):
                    await self._links.renew(outcome)
            except Trouble as error:
                trouble = error
            await self._before_next_try(trouble)

    async def _before_next_try(self, trouble: Trouble | None) -> None:
        if self._size_bytes >= self._best_bytes + _PROGRESS_BYTES:
            self._best_bytes, self._attempt = self._size_bytes, 1
        elif self._attempt >= self._fetcher.retry.max_attempts or not self._fetcher.budget.spend():
            raise self._incomplete("no end came in sight" if trouble is None else str(trouble))
        else:
            self._attempt += 1
        if trouble is not None:
            logger.debug("download of task %s, to be resumed: %s", self._task_id, trouble)
            pause_s = self._fetcher.retry.pause_s(
                self._attempt, retry_after_s=trouble.retry_after_s, random=self._fetcher.random
            )
            await anyio.sleep(pause_s)

    async def _try(self, url: FileUrl) -> Received | Gone | None:
        """Make one connection.

        Returns:
            What arrived, or what keeps the URL from working, or None when there is more to ask
            for and no reason to wait.

        Raises:
            Trouble: When another try may do better.
            DownloadError: When none will.
        """
        have = Source() if self._is_distrusted else self._writing.source
        ask = Ask.for_rest(self._size_bytes, have)
        failure: DownloadError
        try:
            async with self._fetcher.files.open(url, ask.headers) as answer:
                return await self._take_answer(ask, answer, url)
        except TransportTrouble as trouble:
            if not trouble.is_final:
                raise Trouble(str(trouble)) from None
            failure = self._error(str(trouble))
        except DownloadError as error:
            # Without the frames of the connection, which hold the signed URL.
            failure = error.with_traceback(None)
        raise failure

    async def _take_answer(
        self, ask: Ask, answer: FileAnswer, url: FileUrl
    ) -> Received | Gone | None:
        judgement = ask.judge(answer.status, answer.headers, answer.length_bytes)
        match judgement:
            case FromStart(source=source):
                await self._from_start(source, answer, url)
            case GoOn(start=start, source=source):
                await self._go_on(start, source, answer)
            case StartOver(reason=reason):
                logger.debug("download of task %s starts over: %s", self._task_id, reason)
                self._is_distrusted = True
                return None
            case Gone(reason=reason):
                return attrs.evolve(judgement, reason=reason + await first_words(answer, url))
            case Weather(reason=reason):
                said = await first_words(answer, url)
                raise Trouble(reason + said, retry_after_s=self._retry_after_s(answer))
            case Refused(reason=reason):
                raise self._error(reason + await first_words(answer, url))
        return self._end(answer)

    def _retry_after_s(self, answer: FileAnswer) -> float | None:
        value = answer.headers.get("Retry-After")
        now_s = self._fetcher.unix_clock()
        return None if value is None else parse_retry_after(value, unix_now_s=now_s)

    # --- what an answer brings -----------------------------------------------------------

    async def _from_start(self, source: Source, answer: FileAnswer, url: FileUrl) -> None:
        self._check_encoding(answer)
        self._check_limit(source.length_bytes)
        head = b""
        pieces: list[Piece] = []
        with watched(self._fetcher.policy) as pace:
            # Looked at before what is here is dropped for it.
            while len(head) < HEAD_BYTES and (piece := await next_piece(answer, pace)):
                pieces.append(bytes(piece))
                head += piece
        if is_page(answer.media_type, head):
            line = first_line(head, url=url)
            said = f", which begins: {line}" if line else ""
            reason = f"the file server sent a page ({answer.media_type}) in place of a video{said}"
            raise VideoUnavailable(task_id=self._task_id, target=self._name, reason=reason)
        if not head:
            raise Trouble("the file server sent an empty body")
        await self._writing.begin(source)
        self._is_distrusted = False
        self._length_bytes = source.length_bytes
        if source.length_bytes is not None:
            await self._writing.reserve(source.length_bytes)
        await self._receive(answer, pieces)

    async def _go_on(self, start: int, source: Source, answer: FileAnswer) -> None:
        self._check_encoding(answer)
        self._check_limit(source.length_bytes)
        self._length_bytes = source.length_bytes
        if start < self._size_bytes:
            # Complete, and the last byte was asked for to see whether it still stands.
            return
        if source.length_bytes is not None:
            await self._writing.reserve(source.length_bytes - start)
        await self._receive(answer, [])

    async def _receive(self, answer: FileAnswer, pending: list[Piece]) -> None:
        """Hand the body on in large batches, also what came before it broke."""
        loop = asyncio.get_running_loop()
        pending_bytes, flushed_s = sum(map(len, pending)), loop.time()
        self._links.works()
        try:
            with watched(self._fetcher.policy) as pace:
                while piece := await next_piece(answer, pace):
                    pending.append(piece)
                    pending_bytes += len(piece)
                    now_s = loop.time()
                    # A view is as good as a batch, and good only until the next one.
                    is_batch = isinstance(piece, memoryview) or pending_bytes >= _BATCH_BYTES
                    if is_batch or now_s - flushed_s >= _BATCH_S:
                        batch, pending, pending_bytes, flushed_s = pending, [], 0, now_s
                        await self._write(batch)
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True), suppress(DownloadError):
                await self._writing.rescue(pending)
            raise
        except (TransportTrouble, Trouble):
            await self._write(pending)
            raise
        await self._write(pending)

    async def _write(self, pieces: list[Piece]) -> None:
        if pieces:
            await self._writing.write(pieces)
        self._check_limit(self._size_bytes)
        self._report()

    def _end(self, answer: FileAnswer) -> Received | None:
        """Judge a body that came to its end.

        Raises:
            Trouble: When it is not whole.
        """
        size, length = self._size_bytes, self._length_bytes
        if length is not None and size > length:
            self._is_distrusted = True
            raise Trouble(f"{size} bytes came where {length} were declared")
        if length is not None and size < length:
            # A server may give less than was asked for, and the rest when asked again.
            if answer.status == 206:
                return None
            raise Trouble("the body ended early")
        is_verified = length is not None or answer.is_delimited
        if not is_verified:
            verdict = self._writing.contents.as_mp4
            if verdict.state is Mp4State.CUT:
                raise Trouble(f"the body ended early: as an MP4, {verdict.reason}")
            is_verified = verdict.state is Mp4State.WHOLE
        return Received(
            size_bytes=size,
            sha256=self._writing.contents.sha256,
            media_type=answer.media_type,
            is_verified=is_verified,
        )

    # --- errors --------------------------------------------------------------------------

    def _check_encoding(self, answer: FileAnswer) -> None:
        if answer.is_encoded:
            encoding = answer.headers.get("Content-Encoding", "")
            raise self._error(f"the file server sent it encoded as {encoding[:20]!r}, uninvited")

    def _check_limit(self, size_bytes: int | None) -> None:
        limit = self._fetcher.policy.limit_bytes
        if limit is not None and size_bytes is not None and size_bytes > limit:
            raise self._error(
                f"it is longer than {limit} bytes; "
                "to fetch it say downloads=DownloadPolicy(limit_bytes=…)"
            )

    def _error(self, reason: str) -> DownloadError:
        return DownloadError(task_id=self._task_id, target=self._name, reason=reason)

    def _incomplete(self, reason: str) -> DownloadIncomplete:
        times = "once" if self._attempt == 1 else f"{self._attempt} times"
        return DownloadIncomplete(
            task_id=self._task_id,
            target=self._name,
            reason=f"{reason}, tried {times}; {self._writing.remains()}",
            received_bytes=self._size_bytes,
            expected_bytes=self._length_bytes,
        )

    def _report(self) -> None:
        if self._hook is None:
            return
        progress = DownloadProgress(
            task_id=self._task_id,
            received_bytes=self._size_bytes,
            expected_bytes=self._length_bytes,
        )
        try:
            self._hook(progress)
        except Exception:
            # A display in trouble must not cost the video.
            logger.exception("the progress hook of a download failed")
