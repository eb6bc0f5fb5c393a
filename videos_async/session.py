"""The session: one set of connections, limits and policies, and the calls made under them."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, NoReturn, Self, TypeAlias, TypeVar, cast
from urllib.parse import urlsplit

from videos_async._batch import Batch
from videos_async._calls import Calls
from videos_async._download import Download, OnExisting
from videos_async._download_policy import DownloadPolicy
from videos_async._downloads import Downloads
from videos_async._fetch import ProgressHook
from videos_async._guard import Guard
from videos_async._input import Requests
from videos_async._journal_recorder import JournalRecorder
from videos_async._learning import Learner
from videos_async._learning_pace import LearningPace
from videos_async._limiter import RateLimit
from videos_async._open_journals import JournalWriters
from videos_async._plan import BatchOptions, DryRun, TransitionHook, Workshop, dry_run
from videos_async._poll_pace import PollPace, TimerPace
from videos_async._polling import AdaptivePolling, PollPolicy
from videos_async._recorder import Recorder
from videos_async._retry import RetryPolicy
from videos_async._saving import Saving
from videos_async._schedule import Schedule
from videos_async._settings import (
    check_hosts,
    find_api_key,
    find_api_root,
    find_proxy,
    timeout_flaw,
)
from videos_async._targets import Target
from videos_async._transport import Timeouts, Transport
from videos_async._video_check import VideoCheck
from videos_async._watch import Watch
from videos_async._wire import Endpoints, checked_task_id
from videos_async.errors import (
    ConfigurationError,
    InvalidRequest,
    Key,
    SubmissionUncertain,
    VideosError,
    Violation,
)
from videos_async.models import Status, Transition, VideoRequest, VideoTask
from videos_async.specs import BUILTIN_MODELS, ModelSpec, by_name, violations

if TYPE_CHECKING:
    import aiohttp

__all__ = ["VideosSession"]

logger = logging.getLogger("videos_async")

DEFAULT_TIMEOUT_S: Final = 1800.0

# A mapping's type is invariant in its keys, so each kind of key is said for itself.
Tasks: TypeAlias = (
    Iterable[VideoTask | str]
    | Mapping[str, VideoTask | str]
    | Mapping[int, VideoTask | str]
    | Mapping[Key, VideoTask | str]
)


class VideosSession:
    """A client of the Videos API.

    ::

        async with VideosSession() as session:
            task = await session.submit(VideoRequest(prompt="A kitten on a meadow", duration=5))
            task = await session.wait(task)
            await session.download(task, "kitten.mp4")

    It may be shared by any number of tasks of one event loop, and closes with ``async with`` or
    `aclose`. Needs asyncio (uvloop and ``anyio.run`` included).

    Args:
        api_key: The API key; by default the environment's ``VIDEOS_API_KEY``.
        base_url: The service's address, with or without a trailing ``/`` or ``/v1``; by default
            the environment's ``VIDEOS_BASE_URL``, else the service's own.
        models: The models requests may name; extend or replace the built-in ones.
        timeouts: How long one exchange may take.
        poll: When tasks are polled: by what the session learns of the service
            (`AdaptivePolling`, the default), or on a simple timer (`PollPolicy`).
        retry: When calls are tried again, and which answers refuse.
        limit: How much of the service is used at most.
        downloads: How much downloads may take, and where they may go.
        plain_http_hosts: Hosts that may be spoken to without TLS; loopback always may.
        proxy: URL of an HTTP proxy. The environment's proxies are not read.
        client_session: An `aiohttp.ClientSession` to make the API calls with. It is not closed
            here. Downloads never use it, as they must not carry its headers or cookies. Its own
            pool applies: where that keeps connections for long, a create call may meet one that
            the service is closing, which makes a `SubmissionUncertain` that a session of our
            own, with connections kept for a second, does not.
        jitter: Draws numbers from 0 to 1, by which polls and retries are spread out in time. A
            ``random.Random(7).random`` makes a test take the same course every time.

    Raises:
        ConfigurationError: When a setting is missing or wrong.
    """

    def __init__(  # noqa: PLR0913 - every setting by its name
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        models: Iterable[ModelSpec] = BUILTIN_MODELS,
        timeouts: Timeouts | None = None,
        poll: AdaptivePolling | PollPolicy | None = None,
        retry: RetryPolicy | None = None,
        limit: RateLimit | None = None,
        downloads: DownloadPolicy | None = None,
        plain_http_hosts: Collection[str] = (),
        proxy: str | None = None,
        client_session: aiohttp.ClientSession | None = None,
        jitter: Callable[[], float] | None = None,
    ) -> None:
        # Set first: __del__ and a dump of variables meet a session whose settings were refused.
        self._transport: Transport | None = None
        self._endpoints = Endpoints("no address yet")
        key, flaw = find_api_key(api_key, os.environ)
        # From here on a dump of this frame shows a key that hides itself, or none.
        del api_key
        if flaw is not None:
            raise flaw
        check_hosts(plain_http_hosts)
        self._endpoints = Endpoints(
            find_api_root(base_url, os.environ, plain_http_hosts=plain_http_hosts)
        )
        self._models = _find_models(models)
        self._poll = _find_polling(poll)
        # One for all batches and watches, which learn from each other.
        self._learner = Learner(self._poll) if isinstance(self._poll, AdaptivePolling) else None
        self._retry = _policy("retry", retry, RetryPolicy)
        self._limit = _policy("limit", limit, RateLimit)
        policy = self._download_policy = _policy("downloads", downloads, DownloadPolicy)
        # Jitter decorrelates clients; nothing secret hangs on it.
        self._random = jitter or random.Random().random  # noqa: S311
        self._transport = Transport(
            endpoints=self._endpoints,
            key=key,
            timeouts=_policy("timeouts", timeouts, Timeouts),
            proxy=find_proxy(proxy),
            guard=Guard(
                api_host=urlsplit(self._endpoints.root).hostname or "",
                plain_http_hosts=plain_http_hosts,
                private_hosts=policy.private_hosts,
                is_proxied=proxy is not None,
            ),
            client_session=client_session,
        )
        self._journals = JournalWriters()
        self._unclaimed: list[VideoTask] = []
        self._calls = Calls(
            transport=self._transport,
            retry=self._retry,
            limit=self._limit,
            random=self._random,
            unix_clock=time.time,
        )
        self._downloads = Downloads(
            files=self._transport.files,
            query=self.query,
            policy=policy,
            retry=self._retry,
            random=self._random,
            unix_clock=time.time,
        )

    def __repr__(self) -> str:
        return f"<VideosSession of {self._endpoints.root}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a VideosSession holds connections and a key: open one in each process")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; calls under way end with an error. Closing twice is fine."""
        self._downloads.close()
        await self._open_transport.aclose()

    def __del__(self) -> None:
        transport = self._transport
        if transport is not None and transport.is_open:
            message = f"{self!r} was never closed: use `async with` or `await session.aclose()`"
            warnings.warn(message, ResourceWarning, source=self, stacklevel=2)

    @property
    def models(self) -> Mapping[str, ModelSpec]:
        """The models requests may name, by name."""
        return dict(self._models)

    # --- create --------------------------------------------------------------------------

    def validate(self, request: VideoRequest, *, key: Key | None = None) -> None:
        """Judge a request against this session's models without sending it.

        Raises:
            InvalidRequest: With every violation at once.
        """
        if not isinstance(request, VideoRequest):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"a VideoRequest is submitted, got {type(request).__name__}")
        found = self._judge(request)
        if found:
            raise InvalidRequest(violations=found, key=key)

    async def submit(self, request: VideoRequest, *, key: Key | None = None) -> VideoTask:
        """Start a generation. This is the call that is billed.

        It goes out once. Only when the service certainly did not accept it (no connection, or
        HTTP 429) is it sent again, after a pause.

        Args:
            request: What to make.
            key: Your own name for it; comes back in errors.

        Returns:
            The task as the service accepted it. Keep its id: it is the only handle on it.

        Raises:
            InvalidRequest: The request breaks a rule; nothing was sent.
            NotSubmitted: The service was not reached, or was too busy, to the end of the tries.
            SubmissionRefused: The service refused it; `AccountRefused` on 401, 402 and 403.
            SubmissionUncertain: It may have been accepted and billed, but no id came back; also
                kept in `uncertain`. A call that is cancelled after its bytes left leaves its
                doubt there, too.
            SessionClosed: The session is closed.
        """
        self.validate(request, key=key)
        task = await self._calls.submit(request, key=key)
        if self._learner is not None:
            now_s = asyncio.get_running_loop().time()
            self._learner.accepted(task.id, request.model, request.mode, now_s)
        return task

    @property
    def uncertain(self) -> tuple[SubmissionUncertain, ...]:
        """Every `SubmissionUncertain` of this session, in the order they came about."""
        return tuple(self._calls.uncertain)

    @property
    def unclaimed(self) -> tuple[VideoTask, ...]:
        """Every task that a cancelled `generate` or `generate_many` paid for and did not return.

        As it was last seen; it goes on at the service, and `wait` takes it up again.
        """
        return tuple(self._unclaimed)

    def _keep(self, key: Key | None, task: VideoTask) -> None:
        """Keep what was paid for by a call that is being cancelled."""
        self._unclaimed.append(task)
        named = "" if key is None else f" of {key!r}"
        logger.warning(
            "task %s%s is paid for and was not waited for to its end: "
            "it is in session.unclaimed, for session.wait",
            task.id,
            named,
        )

    # --- result --------------------------------------------------------------------------

    async def query(self, task_or_id: VideoTask | str) -> VideoTask:
        """Ask once how a task stands; free. Bad answers are retried under the retry budget.

        Raises:
            QueryRefused: The service will not tell; `TaskNotFound` where it does not know the id.
            QueryFailed: No good answer in any of the tries.
            InvalidRequest: The id can be none.
            SessionClosed: The session is closed.
        """
        return await self._calls.query(_id_of(task_or_id))

    async def wait(
        self, task_or_id: VideoTask | str, *, timeout: float | None = DEFAULT_TIMEOUT_S
    ) -> VideoTask:
        """Wait until a task is completed.

        Args:
            task_or_id: The task, or its id.
            timeout: Seconds to wait, or None to wait for ever.

        Returns:
            The completed task, with its temporary `video_url`.

        Raises:
            GenerationFailed: The service ended it as failed.
            WaitTimeout: It did not end in time; it goes on at the service.
            QueryRefused: The service will not tell; `TaskNotFound` where it does not know the id.
            QueryFailed: Too many bad answers in a row.
            InvalidRequest: The id can be none.
            SessionClosed: The session is closed.
        """
        return await self._end_of(self.watch([task_or_id], timeout=timeout))

    async def _end_of(self, watch: Watch) -> VideoTask:
        """Follow the one task of a watch to its end."""
        task: VideoTask | None = None
        async with watch as transitions:
            async for change in transitions:
                if change.error is not None:
                    raise change.error
                task = change.task
        assert task is not None  # noqa: S101 - a stream of one task ends with its end
        return task

    async def generate(
        self,
        request: VideoRequest,
        *,
        key: Key | None = None,
        timeout: float | None = DEFAULT_TIMEOUT_S,
        journal: str | os.PathLike[str] | None = None,
    ) -> VideoTask:
        """Submit a request and wait for its video.

        When it is cancelled, by a time-out of your own say, what was paid for is in `unclaimed`,
        or in the journal.

        Args:
            request: What to make.
            key: Your own name for it; with a journal it is needed.
            timeout: Seconds from its acceptance until it is given up, or None for never.
            journal: A file in which it is written down; see `batch`. Where the journal knows the
                key already, nothing is sent again: its task is waited for, or its end told once
                more. Any number of calls of one session may share a journal; one for a key that
                another is at work on waits for that one's end first.

        Raises:
            VideosError: All that `submit` and `wait` raise. Whatever comes after the submission
                holds the task's id.
            KeyConflict: The key stands for another request in the journal.
            JournalError: The journal cannot be used; nothing was sent.
        """
        self._check_timeout(timeout)
        if journal is not None:
            return await self._generate_once(request, key, timeout, _place(journal))
        task = await self.submit(request, key=key)
        named = [task] if key is None else {key: task}
        try:
            return await self._end_of(self.watch(named, timeout=timeout))
        except VideosError:
            raise
        except BaseException:
            self._keep(key, task)
            raise

    async def _generate_once(
        self, request: VideoRequest, key: Key | None, timeout: float | None, journal: Path
    ) -> VideoTask:
        if key is None:
            problem = "must be given with a journal: by it a later run knows what was paid for"
            raise ConfigurationError(setting="key", problem=problem)
        self.validate(request, key=key)
        recorder = JournalRecorder(
            [(key, request)],
            path=journal,
            writers=self._journals,
            may_create=True,
            is_partial=True,
            learner=self._learner,
        )
        async with self._batch(recorder, BatchOptions(timeout=timeout)) as transitions:
            async for change in transitions:
                if change.error is not None:
                    raise change.error
                if change.is_end and change.task is not None:
                    return change.task
        raise AssertionError("a batch of one ends with its end")

    def watch(
        self,
        tasks: Tasks,
        *,
        timeout: float | None = DEFAULT_TIMEOUT_S,
    ) -> Watch:
        """Follow many tasks to their ends in one merged stream of transitions.

        ::

            async with session.watch(tasks) as transitions:
                async for change in transitions:
                    print(change.key, change.previous, "->", change.status)

        One task's trouble is the `Transition.error` of its own end and never ends the others.

        Args:
            tasks: Tasks or ids; their keys are their indices. A mapping gives keys of your own.
                An id given twice is one task and followed once, under its first key.
            timeout: Seconds until what has not ended is given up as `WaitTimeout`, or None.

        Raises:
            InvalidRequest: An id can be none.
            ConfigurationError: The timeout is no number of seconds.
        """
        self._check_timeout(timeout)
        return Watch(
            _keyed(tasks),
            schedule=self._schedule(),
            poll=self._calls.query_once,
            workers=self._limit.queries_in_flight,
            timeout_s=timeout,
        )

    # --- many ----------------------------------------------------------------------------

    def batch(  # noqa: PLR0913 - every limit by its name
        self,
        requests: Requests,
        *,
        timeout: float | None = DEFAULT_TIMEOUT_S,
        batch_timeout: float | None = None,
        max_submissions: int | None = None,
        grace_s: float = 10.0,
        on_transition: TransitionHook | None = None,
        journal: str | os.PathLike[str] | None = None,
        download_to: str | os.PathLike[str] | None = None,
        on_existing: OnExisting = OnExisting.REFUSE,
    ) -> Batch:
        """Submit many requests and follow them to their ends in one stream of transitions.

        ::

            async with session.batch(requests) as transitions:
                async for change in transitions:
                    if change.is_end:
                        print(change.key, change.end, change.error or change.task)

        Every request ends exactly once, as a transition with `Transition.is_end`: completed,
        failed, refused, invalid, uncertain, timed out, lost sight of, or not submitted. After
        401, 402 or 403 nothing more is submitted, and what was paid for is watched to its end.

        Args:
            requests: Any iterable or async iterable of requests, or of ``(key, request)`` with
                keys of your own; without, the keys are the indices. It is pulled as submitters
                get free, so a generator may be of any length.
            timeout: Seconds from its acceptance until a task is given up, or None for never.
            batch_timeout: Seconds until nothing more is submitted and all that goes on is given
                up, ids in hand, or None for never.
            max_submissions: Most create calls that may be billed, or None for no limit.
            grace_s: Seconds that create calls whose bytes have left get to bring their ids home
                when the block is left early; see `Batch.unfinished`.
            on_transition: Called with each transition before it is handed out; may be async.
                What it raises is logged and ends nothing.
            journal: A file in which everything that costs money is written down before it is
                done, so that the batch can go on after any end of the process. Where it holds
                an earlier run, that goes on: what was accepted is watched and never sent again,
                what had ended ends again with `Transition.is_replayed`. A list or the like is
                planned into it whole before anything is sent; of an iterator of unknown length
                it holds what was pulled.
            download_to: A directory to save the videos in, made where it is missing. A file is
                named after its key, and the request ends once it is saved
                (`Transition.download`) or could not be, with its `DownloadError`.
            on_existing: What to do where a file is there already.

        Raises:
            ConfigurationError: An option is wrong, or the directory cannot be made.
            JournalError: When the block is entered: the journal cannot be used; nothing is sent.
                At the end of the iteration: it could not be written.
        """
        options = BatchOptions(
            timeout=timeout,
            batch_timeout=batch_timeout,
            max_submissions=max_submissions,
            grace_s=grace_s,
            on_transition=on_transition,
        )
        saving = self._saving(download_to, on_existing)
        if journal is None:
            return self._batch(Recorder(requests), options, saving)
        recorder = JournalRecorder(
            requests,
            path=_place(journal),
            writers=self._journals,
            may_create=True,
            learner=self._learner,
        )
        return self._batch(recorder, options, saving)

    def resume(  # noqa: PLR0913 - as above
        self,
        journal: str | os.PathLike[str],
        *,
        timeout: float | None = DEFAULT_TIMEOUT_S,
        batch_timeout: float | None = None,
        max_submissions: int | None = None,
        grace_s: float = 10.0,
        on_transition: TransitionHook | None = None,
        download_to: str | os.PathLike[str] | None = None,
        on_existing: OnExisting = OnExisting.REFUSE,
    ) -> Batch:
        """Go on with the batch of a journal, without its input; see `batch`.

        What was accepted is watched, what had ended ends again, what was planned is sent, and
        what is in doubt stays so. Of an input of unknown length that was not pulled to its end,
        the rest is not in the journal: give the input to `batch` again for that.

        Raises:
            ConfigurationError: An option is wrong.
            JournalError: When the block is entered: there is no such journal, or it cannot be
                used. At the end of the iteration: it could not be written.
        """
        options = BatchOptions(
            timeout=timeout,
            batch_timeout=batch_timeout,
            max_submissions=max_submissions,
            grace_s=grace_s,
            on_transition=on_transition,
        )
        recorder = JournalRecorder(
            None,
            path=_place(journal),
            writers=self._journals,
            may_create=False,
            learner=self._learner,
        )
        return self._batch(recorder, options, self._saving(download_to, on_existing))

    def _saving(
        self, directory: str | os.PathLike[str] | None, on_existing: OnExisting
    ) -> Saving | None:
        if directory is None:
            return None
        return Saving(
            self._downloads,
            Path(directory),
            on_existing=on_existing,
            workers=self._download_policy.parallel,
        )

    def _batch(
        self, recorder: Recorder, options: BatchOptions, saving: Saving | None = None
    ) -> Batch:
        return Batch(
            recorder,
            options=options,
            workshop=Workshop(
                schedule=self._schedule(),
                judge=self._judge,
                submit=self._calls.submit,
                submitters=self._limit.submits_in_flight,
                poll=self._calls.query_once,
                pollers=self._limit.queries_in_flight,
                saving=saving,
            ),
        )

    async def generate_many(
        self,
        requests: Iterable[VideoRequest],
        *,
        timeout: float | None = DEFAULT_TIMEOUT_S,
        max_submissions: int | None = None,
    ) -> list[VideoTask | VideosError]:
        """Submit many requests and wait for all of their ends.

        When it is cancelled, what was paid for is in `unclaimed`.

        Returns:
            For each request, in the order of the input, its completed task or its error.
        """
        # Their places are their keys, whatever the items turn out to be.
        batch = self.batch(enumerate(requests), timeout=timeout, max_submissions=max_submissions)
        results: dict[Key, VideoTask | VideosError] = {}
        ends: list[Transition] = []
        try:
            async with batch as transitions:
                async for change in transitions:
                    outcome = change.error or change.task
                    if change.is_end and outcome is not None:
                        results[change.key] = outcome
                        ends.append(change)
        except BaseException:
            for change in (*ends, *batch.unfinished):
                if change.task is not None and change.status != Status.FAILED:
                    self._keep(change.key, change.task)
            raise
        return [results[index] for index in range(len(results))]

    async def dry_run(self, requests: Requests) -> DryRun:
        """Judge all requests of a batch and send nothing."""
        return await dry_run(requests, judge=self._judge)

    def _judge(self, request: VideoRequest) -> tuple[Violation, ...]:
        return violations(request, self._models)

    def _schedule(self) -> Schedule:
        if isinstance(self._poll, PollPolicy):
            pace: PollPace = TimerPace(self._poll, self._random)
        else:
            assert self._learner is not None  # noqa: S101 - made beside the policy
            pace = LearningPace(
                self._learner, random=self._random, rate_per_s=self._calls.query_rate_per_s
            )
        return Schedule(
            pace=pace,
            patience=self._poll,
            retry=self._retry,
            budget=self._calls.budget,
            random=self._random,
        )

    @staticmethod
    def _check_timeout(timeout: float | None) -> None:
        flaw = timeout_flaw(timeout)
        if flaw is not None:
            raise ConfigurationError(setting="timeout", problem=flaw)

    # --- the file ------------------------------------------------------------------------

    async def download(
        self,
        task_or_id: VideoTask | str,
        target: Target,
        *,
        on_existing: OnExisting = OnExisting.REFUSE,
        on_progress: ProgressHook | None = None,
        check: VideoCheck | None = None,
    ) -> Download:
        """Save the video of a completed task.

        It is written to a ``.part`` beside the target, flushed to the disk and renamed once it is
        whole, so the target is the whole file or not there. A connection that breaks is resumed
        where it broke, and a URL that has run out is asked for anew. What goes wrong for good, a
        cancellation and a kill included, leaves the ``.part``, with a note on it in a
        ``.part.json``; the next call goes on with it when the server still has that version.

        Args:
            task_or_id: The task, or its id.
            target: The file to be written, whose directory must exist. Or an object: a URL
                ``s3://bucket/key``, ``gs://…`` or ``az://…``, whose store is opened with what
                the environment says, or an `ObjectTarget`. Or a `Sink`: anything with an
                asynchronous ``write(bytes)``. When a download fails, nothing stands under an
                object's key, and a sink was given the first bytes of the file, in order.
            on_existing: What to do where a file or object is there already.
            on_progress: Called with a `DownloadProgress` every megabyte or two. What it raises
                is logged and ends nothing.
            check: What the video is held against with PyAV before a file gets its name.

        Raises:
            TargetExists: The target is there already.
            TargetBusy: Another download is writing it, in this process or in another one.
            VideoUnavailable: The task has no video (yet), or a page came in place of it.
            VideoExpired: Its URL does not work any more, nor does a fresh one.
            DownloadIncomplete: The tries were used up before the whole of it was here.
            DiskFull: There is no room for it.
            VideoMismatch: It is whole, and not what `check` says it should be.
            DownloadError: Anything else that kept the file from being saved.
            QueryRefused: The service will not tell the URL.
            QueryFailed: The service could not be asked for the URL.
            InvalidRequest: The id can be none.
            ConfigurationError: The target can be none, or obstore is missing for it; `check` is
                for files alone, or PyAV is missing for it.
            SessionClosed: The session is closed.
        """
        _id_of(task_or_id)
        return await self._downloads.save(
            task_or_id, target, on_existing=on_existing, on_progress=on_progress, check=check
        )

    @property
    def _open_transport(self) -> Transport:
        assert self._transport is not None  # noqa: S101 - only a refused __init__ leaves it unset
        return self._transport


_Policy = TypeVar("_Policy")


def _policy(setting: str, given: _Policy | None, kind: type[_Policy]) -> _Policy:
    """Take a policy, or its defaults."""
    if given is None:
        return kind()
    if not isinstance(given, kind):
        problem = f"must be a {kind.__name__}(…), got {given!r}"
        raise ConfigurationError(setting=setting, problem=problem)
    return given


def _find_polling(given: object) -> AdaptivePolling | PollPolicy:
    if given is None:
        return AdaptivePolling()
    if not isinstance(given, (AdaptivePolling, PollPolicy)):
        problem = f"must be an AdaptivePolling(…) or a PollPolicy(…), got {given!r}"
        raise ConfigurationError(setting="poll", problem=problem)
    return given


def _find_models(models: object) -> dict[str, ModelSpec]:
    specs = list(cast("Iterable[object]", models)) if isinstance(models, Iterable) else []
    known = [spec for spec in specs if isinstance(spec, ModelSpec)]
    if not known or len(known) < len(specs):
        rule = "must be a list of ModelSpec(…), such as [*BUILTIN_MODELS, ModelSpec(name=…)]"
        raise ConfigurationError(setting="models", problem=f"{rule}, got {models!r}")
    return by_name(known)


def _id_of(task_or_id: VideoTask | str) -> str:
    return checked_task_id(task_or_id.id if isinstance(task_or_id, VideoTask) else task_or_id)


def _keyed(tasks: Tasks) -> list[tuple[Key, VideoTask | str]]:
    if isinstance(tasks, (str, VideoTask)):
        raise TypeError("a watch takes several tasks: give a list, or use session.wait for one")
    if isinstance(tasks, Mapping):
        keyed = list(cast("Mapping[Key, VideoTask | str]", tasks).items())
    else:
        keyed = list[tuple[Key, VideoTask | str]](enumerate(tasks))
    once: dict[str, tuple[Key, VideoTask | str]] = {}
    for key, task_or_id in keyed:
        once.setdefault(_id_of(task_or_id), (key, task_or_id))
    return list(once.values())


def _place(journal: str | os.PathLike[str]) -> Path:
    # So that it is one place, whatever becomes the working directory; links are not followed.
    return Path(journal).absolute()
