"""An object of S3, Google Cloud or Azure as the destination of a download, by way of obstore.

Nothing stands under the key before the file is whole and verified. A small file is held in memory
and put in one request. A larger one goes up in parts while it comes down, as an upload that is
completed only in the end; leaving early, by an error or a cancellation, aborts it.

Not to overwrite what is there takes a condition that the store itself checks. A put of one
request can carry it. An upload in parts cannot, so it goes to a key of its own beside the final
one, and is copied there under the condition.

What a kill leaves behind is an upload that was never completed, which no listing shows and which
costs money: that is what a bucket's lifecycle rule for incomplete uploads is for.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from typing import Any, Final, Protocol, TypeVar

import anyio
import anyio.to_thread
import attrs

from videos_async._contents import Contents
from videos_async._destination import Piece, Received
from videos_async._download import Download, OnExisting
from videos_async._mp4 import Mp4State
from videos_async._ranges import Source
from videos_async._threads import Threads
from videos_async.errors import (
    ConfigurationError,
    DownloadError,
    TargetExists,
    shorten,
)
from videos_async.models import without_query

__all__ = ["ObjectDestination", "ObjectTarget", "ObjectUrl"]

logger = logging.getLogger("videos_async")

T = TypeVar("T")

_URL: Final = re.compile(r"(s3|gs|az)://([^/]*)(?:/(.*))?", re.DOTALL | re.IGNORECASE)
# What S3 takes as a part at least; also what is held in memory before parts are begun.
_PART_BYTES: Final = 5 << 20
_PARTS_AT_A_TIME: Final = 2
# How long a cancellation waits for the store, so that nothing is left there.
_PATIENCE_S: Final = 10.0
_REASON_LIMIT: Final = 300
# What obstore reads from variables AWS_…, and no more once it is told any of it.
_CLIENT_SETTINGS: Final = (
    "allow_http",
    "allow_invalid_certificates",
    "connect_timeout",
    "http1_only",
    "http2_only",
    "pool_idle_timeout",
    "pool_max_idle_per_host",
    "proxy_ca_certificate",
    "proxy_excludes",
    "proxy_url",
    "read_timeout",
    "timeout",
    "user_agent",
)
# What S3 says of a header that it does not know, by way of a fallback error of obstore's.
_NO_CONDITION: Final = "NotImplemented"


class _Upload(Protocol):
    """obstore's ``AsyncWritableFile``, as far as it is used."""

    def write(self, data: bytes, /) -> Awaitable[object]: ...
    def close(self) -> Awaitable[object]: ...
    def __aexit__(self, kind: object, error: object, traceback: object) -> Awaitable[object]: ...


class ObjectTarget:
    """An object in a store that the caller has set up.

    ::

        store = obstore.store.S3Store("bucket", endpoint="https://s3.example", …)
        await session.download(task, ObjectTarget(store, "videos/kitten.mp4"))

    Args:
        store: A store of obstore's, from ``obstore.store``.
        key: Where in it, without a slash in front.
    """

    def __init__(self, store: object, key: str) -> None:
        self.store = store
        self.key = key

    def __repr__(self) -> str:
        # A store's own repr may hold what it is opened with.
        return f"<ObjectTarget {self.url}>"

    @property
    def url(self) -> str:
        """What to call it: the class of the store and the key."""
        return f"{type(self.store).__name__}/{self.key}"


@attrs.frozen
class ObjectUrl:
    """The URL of an object, whose store is opened with what the environment says.

    Attributes:
        url: The URL.
        bucket_url: The part of it that names the store.
        key: The rest.
    """

    url: str
    bucket_url: str
    key: str

    @classmethod
    def parse(cls, url: str) -> ObjectUrl | None:
        """Read a URL; None where it is no object store's.

        Raises:
            ConfigurationError: When it names no bucket or no object in it.
        """
        found = _URL.fullmatch(url)
        if found is None:
            return None
        scheme, bucket, key = found.groups()
        if not bucket or not key or key.endswith("/"):
            problem = f"must name a bucket and an object, as s3://bucket/a.mp4, got {shorten(url)}"
            raise ConfigurationError(setting="target", problem=problem)
        return cls(url, f"{scheme.lower()}://{bucket}", key)


@attrs.frozen(kw_only=True, eq=False)
class ObjectDestination:
    """An object that is there whole or not at all.

    Attributes:
        target: Where.
        on_existing: What to do where it is there already.
        threads: How many threads may be busy at a time.
    """

    target: ObjectTarget | ObjectUrl
    on_existing: OnExisting
    threads: Threads

    @property
    def name(self) -> str:
        """The URL."""
        return self.target.url

    def open(self, task_id: str) -> AbstractAsyncContextManager[ObjectWriting]:
        """Open the store, and look whether the object is there.

        Raises:
            ConfigurationError: When obstore is missing, or the store's settings are wrong.
            TargetExists: When the object is there and is not to be replaced.
            DownloadError: When the store cannot be asked.
        """
        return self._open(task_id)

    @asynccontextmanager
    async def _open(self, task_id: str) -> AsyncGenerator[ObjectWriting]:
        # Loading the library, and reading profiles and tokens, are work for a thread.
        opened = await anyio.to_thread.run_sync(
            _open_store, self.target, limiter=self.threads.waiting
        )
        writing = ObjectWriting(self, opened, task_id)
        try:
            await writing.refuse_existing()
            yield writing
        finally:
            await writing.close()


@attrs.frozen(eq=False)
class _Opened:
    """A store, and the module that works on it, of which no types are known without the extra."""

    obstore: Any
    store: Any


def _open_store(target: ObjectTarget | ObjectUrl) -> _Opened:
    try:
        obstore = import_module("obstore")
        stores = import_module("obstore.store")
    except ImportError:
        problem = "of an object store needs obstore: pip install 'videos-async[storage]'"
        raise ConfigurationError(setting="target", problem=problem) from None
    if isinstance(target, ObjectTarget):
        return _Opened(obstore, target.store)
    options = _s3_options(os.environ) if target.bucket_url.startswith("s3:") else {}
    try:
        return _Opened(obstore, stores.from_url(target.bucket_url, **options))
    except Exception as error:  # noqa: BLE001 - what its settings raise is in no document
        problem = f"{target.bucket_url} cannot be opened: {_said(error)}"
    raise ConfigurationError(setting="target", problem=problem)


def _s3_options(environ: Mapping[str, str]) -> dict[str, Any]:
    """Say how a copy gets a condition: by an upload in parts, the only call of S3 that takes both.

    Such a copy forgets the type, which is therefore said of all that have none.
    """
    named = {name: environ.get(f"AWS_{name.upper()}") for name in _CLIENT_SETTINGS}
    client = {name: value for name, value in named.items() if value is not None}
    return {
        "copy_if_not_exists": "multipart",
        "client_options": {"default_content_type": "video/mp4", **client},
    }


class ObjectWriting:
    """A file on its way into an object.

    Attributes:
        contents: What has arrived.
        source: The version that is of.
    """

    def __init__(self, destination: ObjectDestination, opened: _Opened, task_id: str) -> None:
        self.contents = Contents()
        self.source = Source()
        self._destination = destination
        self._obstore, self._store = opened.obstore, opened.store
        self._task_id = task_id
        self._key = destination.target.key
        # What has arrived and is not handed to the store yet, as long as there is no upload.
        self._held: list[bytes] = []
        self._upload: _Upload | None = None
        # The key beside the final one, where an upload went that is not copied from there yet.
        self._side_key: str | None = None

    @property
    def _is_replacing(self) -> bool:
        return self._destination.on_existing is OnExisting.REPLACE

    # --- the seam ------------------------------------------------------------------------

    async def refuse_existing(self) -> None:
        """Look before anything is fetched.

        Raises:
            TargetExists: When the object is there and is not to be replaced.
            DownloadError: When the store cannot be asked.
        """
        if not self._is_replacing and await self._is_there():
            raise self._exists()

    async def begin(self, source: Source) -> None:
        """Drop what is there and take the file from its first byte."""
        await self._drop()
        self.contents, self.source = Contents(), source

    async def reserve(self, more_bytes: int) -> None:
        """Nothing to do: a store has room."""

    async def write(self, pieces: Sequence[Piece]) -> None:
        """Take the next bytes; what is held grows to a part and no further."""
        await anyio.to_thread.run_sync(
            self.contents.feed, pieces, limiter=self._destination.threads.working
        )
        if self._upload is not None:
            await self._call(self._upload.write(b"".join(pieces)))
            return
        self._held += map(bytes, pieces)
        if self.contents.size_bytes > _PART_BYTES:
            self._upload = self._new_upload()
            held, self._held = b"".join(self._held), []
            # Not to be left halfway: it would be begun at the store, and its name not known here.
            await self._call(_settled(self._upload.write(held)))

    async def rescue(self, pieces: Sequence[Piece]) -> None:
        """Drop them: nothing of an object outlives a cancellation."""

    async def finish(self, received: Received) -> Download:
        """Give the object its key.

        Raises:
            TargetExists: When something took the key meanwhile.
            DownloadError: When the store refuses.
        """
        if self._upload is None:
            await self._put(b"".join(self._held))
        else:
            upload, self._upload = self._upload, None
            await self._call(_settled(upload.close()))
            if self._side_key is not None:
                await self._copy(self._side_key)
        return Download(
            url=self._destination.name,
            size_bytes=received.size_bytes,
            sha256=received.sha256,
            media_type=received.media_type,
            is_verified=received.is_verified,
        )

    def remains(self) -> str:
        """Say that nothing does."""
        return "nothing was put into the store: the next call starts over"

    async def close(self) -> None:
        """Leave nothing in the store but what was finished."""
        try:
            await self._drop()
        except DownloadError as error:
            # Whoever leaves has an error of their own, or the object, which is what counts.
            logger.warning("what is left of %s could not be removed: %s", self._key, error.reason)

    async def _drop(self) -> None:
        self._held = []
        upload, self._upload = self._upload, None
        side_key, self._side_key = self._side_key, None
        if upload is not None:
            # To its context, any exception says that the upload is to be aborted.
            await self._call(_settled(upload.__aexit__(DownloadError, None, None)))
        elif side_key is not None:
            await self._call(_settled(self._obstore.delete_async(self._store, side_key)))

    # --- the store -----------------------------------------------------------------------

    def _new_upload(self) -> _Upload:
        key = self._key
        if not self._is_replacing:
            key = self._side_key = f"{key}.part-{secrets.token_hex(8)}"
        upload: _Upload = self._obstore.open_writer_async(
            self._store,
            key,
            attributes=self._attributes,
            buffer_size=_PART_BYTES,
            max_concurrency=_PARTS_AT_A_TIME,
        )
        return upload

    @property
    def _attributes(self) -> dict[str, str]:
        is_mp4 = self.contents.as_mp4.state is not Mp4State.NOT_MP4
        return {"Content-Type": "video/mp4" if is_mp4 else "application/octet-stream"}

    async def _put(self, data: bytes) -> None:
        def put(mode: str) -> Awaitable[object]:
            putting: Awaitable[object] = self._obstore.put_async(
                self._store, self._key, data, attributes=self._attributes, mode=mode
            )
            return _settled(putting)

        if self._is_replacing or not await self._under_condition(put("create")):
            await self._call(put("overwrite"))

    async def _copy(self, side_key: str) -> None:
        def copy(*, overwrite: bool) -> Awaitable[object]:
            copying: Awaitable[object] = self._obstore.copy_async(
                self._store, side_key, self._key, overwrite=overwrite
            )
            return _settled(copying)

        if not await self._under_condition(copy(overwrite=False)):
            await self._call(copy(overwrite=True))

    async def _under_condition(self, call: Awaitable[object]) -> bool:
        """Make a call that must not overwrite; False when the store knows no such condition.

        Then a look, and the call without it, is the best there is.

        Raises:
            TargetExists: When the object is there.
            DownloadError: When the store refuses.
        """
        failure: DownloadError
        try:
            await call
        except Exception as error:  # noqa: BLE001 - obstore raises its own and several built-in ones
            errors = self._obstore.exceptions
            if isinstance(error, (errors.AlreadyExistsError, errors.PreconditionError)):
                failure = self._exists()
            elif isinstance(error, errors.NotSupportedError) or _NO_CONDITION in str(error):
                return await self._refused_existing()
            else:
                failure = self._error(error)
        else:
            return True
        raise failure

    async def _refused_existing(self) -> bool:
        await self.refuse_existing()
        return False

    async def _is_there(self) -> bool:
        failure: DownloadError
        try:
            await self._obstore.head_async(self._store, self._key)
        except (FileNotFoundError, self._obstore.exceptions.PermissionDeniedError):
            # S3 says the second to those who may put and not list; the put will tell.
            return False
        except Exception as error:  # noqa: BLE001 - as above
            failure = self._error(error)
        else:
            return True
        raise failure

    async def _call(self, call: Awaitable[T]) -> T:
        """Await a call of obstore's, and put what goes wrong in our words.

        Raises:
            DownloadError: When it does.
        """
        failure: DownloadError
        try:
            return await call
        except Exception as error:  # noqa: BLE001 - as above
            failure = self._error(error)
        raise failure

    # --- errors --------------------------------------------------------------------------

    def _error(self, error: Exception) -> DownloadError:
        name = self._destination.name
        reason = f"the store says: {_said(error)}"
        return DownloadError(task_id=self._task_id, target=name, reason=reason)

    def _exists(self) -> TargetExists:
        reason = (
            "the object is there already and was left as it is; "
            "to replace it say on_existing=OnExisting.REPLACE"
        )
        return TargetExists(task_id=self._task_id, target=self._destination.name, reason=reason)


async def _settled(call: Awaitable[T]) -> T:
    """Await a call; when cancelled, see it through for a while before leaving.

    A request that is dropped halfway may have begun an upload whose name is never known here.
    """
    under_way = asyncio.ensure_future(call)
    try:
        return await asyncio.shield(under_way)
    except asyncio.CancelledError:
        with anyio.CancelScope(shield=True):
            await asyncio.wait([under_way], timeout=_PATIENCE_S)
        if not under_way.done():
            under_way.cancel()
        elif not under_way.cancelled():
            # Looked at, or the loop would call it an error that nobody took.
            under_way.exception()
        raise


def _said(error: Exception) -> str:
    """Give the first line of an error, without the queries of URLs, which may be credentials."""
    line, *_ = without_query(str(error)).strip().splitlines() or [type(error).__name__]
    return line if len(line) <= _REASON_LIMIT else f"{line[:_REASON_LIMIT]}…"
