"""Objects: whole under their key or not there, on a real S3 server over loopback."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from tests.file_server import VIDEO, cut_off, file_session, finished, mp4, serve
from tests.raw_server import Line, RawServer, answer, closed_port, hang, head
from videos_async import (
    ConfigurationError,
    Download,
    DownloadError,
    DownloadIncomplete,
    ObjectTarget,
    OnExisting,
    RetryPolicy,
    TargetExists,
    VideosSession,
    VideoUnavailable,
)

# Not types: they are checked where the extra is not installed, too.
stores: Any = pytest.importorskip("obstore.store", reason="the extra `storage` is not installed")
boto3: Any = pytest.importorskip("boto3", reason="boto3, which comes with moto, is not installed")
if find_spec("moto") is None or find_spec("flask_cors") is None:
    pytest.skip("moto[server], the S3 server of these tests, is missing", allow_module_level=True)

BUCKET = "videos"
# Of several parts, the last one not full.
LARGE = mp4(12 << 20)
ONE_TRY = RetryPolicy(max_attempts=1)
REPLACE = OnExisting.REPLACE


class Bucket:
    """A bucket, seen by a client of its own that has nothing to do with ours."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        self._client.create_bucket(Bucket=BUCKET)

    def keys(self) -> list[str]:
        listed = self._client.list_objects_v2(Bucket=BUCKET)
        return [item["Key"] for item in listed.get("Contents", [])]

    def uploads(self) -> list[str]:
        listed = self._client.list_multipart_uploads(Bucket=BUCKET)
        return [item["Key"] for item in listed.get("Uploads", [])]

    def get(self, key: str) -> bytes:
        body: bytes = self._client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return body

    def media_type(self, key: str) -> str:
        told: str = self._client.head_object(Bucket=BUCKET, Key=key)["ContentType"]
        return told

    def put(self, key: str, data: bytes) -> None:
        self._client.put_object(Bucket=BUCKET, Key=key, Body=data)

    def clear(self) -> None:
        for key in self.keys():
            self._client.delete_object(Bucket=BUCKET, Key=key)
        assert self.uploads() == []


def store_at(endpoint: str, **options: Any) -> Any:
    return stores.S3Store(
        BUCKET,
        endpoint=endpoint,
        access_key_id="test",
        secret_access_key="test",
        region="us-east-1",
        client_options={"allow_http": True},
        **options,
    )


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    log = tmp_path_factory.mktemp("s3") / "log"
    # On a port that it finds itself: one that was found for it may be somebody else's by then.
    command = [sys.executable, "-m", "moto.server", "--host=127.0.0.1", "--port=0"]
    with log.open("wb") as told, subprocess.Popen(command, stdout=told, stderr=told) as process:
        try:
            yield Bucket(_endpoint_of(process, log))
        finally:
            process.kill()


def _endpoint_of(process: subprocess.Popen[bytes], log: Path) -> str:
    until_s = time.monotonic() + 25
    while process.poll() is None and time.monotonic() < until_s:
        found = re.search(r"Running on (http://\S+)", log.read_text(encoding="utf-8"))
        if found is not None:
            return found[1]
        time.sleep(0.05)
    raise RuntimeError(f"the S3 server did not start: {log.read_text(encoding='utf-8')}")


@pytest.fixture
def bucket(s3: Bucket, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """The bucket, empty, and the environment that leads to it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    s3.clear()
    return s3


@pytest.fixture
async def session() -> AsyncIterator[VideosSession]:
    async with file_session(retry=ONE_TRY) as session:
        yield session


# --- whole ---------------------------------------------------------------------------------


@pytest.mark.parametrize("video", [VIDEO, LARGE], ids=["one request", "parts"])
@pytest.mark.parametrize("on_existing", list(OnExisting), ids=lambda one: one.value)
async def test_a_video_is_put_whole_under_its_key_and_nothing_else_stays(
    session: VideosSession, bucket: Bucket, video: bytes, on_existing: OnExisting
) -> None:
    url = f"s3://{BUCKET}/2026/kitten.mp4"
    async with RawServer(serve(video)) as server:
        got = await session.download(finished(server), url, on_existing=on_existing)
    assert bucket.get("2026/kitten.mp4") == video
    assert bucket.media_type("2026/kitten.mp4") == "video/mp4"
    assert (bucket.keys(), bucket.uploads()) == (["2026/kitten.mp4"], [])
    assert got == Download(
        url=url,
        size_bytes=len(video),
        sha256=hashlib.sha256(video).hexdigest(),
        media_type="video/mp4",
        is_verified=True,
    )


@pytest.mark.parametrize("key", ["a b.mp4", "猫/é.mp4", "a?b#c%2F.mp4", "x" * 900, "a+b&c=d"])
async def test_any_key_is_taken_as_it_is_written(
    session: VideosSession, bucket: Bucket, key: str
) -> None:
    async with RawServer(serve()) as server:
        await session.download(finished(server), f"s3://{BUCKET}/{key}")
    assert bucket.keys() == [key]


async def test_a_connection_that_breaks_goes_on_where_it_broke(
    session: VideosSession, bucket: Bucket
) -> None:
    broken = [serve(LARGE, stops_after=at) for at in (6 << 20, 3 << 20)]
    async with RawServer(*broken, serve(LARGE)) as server:
        await session.download(finished(server), f"s3://{BUCKET}/a.mp4")
    assert bucket.get("a.mp4") == LARGE


async def test_another_version_after_a_break_starts_over(
    session: VideosSession, bucket: Bucket
) -> None:
    other = mp4(7 << 20, salt=3)
    scripts = [serve(LARGE, stops_after=6 << 20), *[serve(other, etag='"version-2"')] * 2]
    async with RawServer(*scripts) as server:
        await session.download(finished(server), f"s3://{BUCKET}/a.mp4")
    assert bucket.get("a.mp4") == other
    assert (bucket.keys(), bucket.uploads()) == (["a.mp4"], [])


# --- not overwritten -----------------------------------------------------------------------


async def test_an_object_that_is_there_is_refused_before_anything_is_fetched(
    session: VideosSession, bucket: Bucket
) -> None:
    bucket.put("a.mp4", b"mine")
    async with RawServer(serve()) as server:
        with pytest.raises(TargetExists, match="REPLACE"):
            await session.download(finished(server), f"s3://{BUCKET}/a.mp4")
        assert server.requests == []
    assert bucket.get("a.mp4") == b"mine"


@pytest.mark.parametrize("video", [VIDEO, LARGE], ids=["one request", "parts"])
async def test_an_object_that_came_meanwhile_is_left_alone(
    session: VideosSession, bucket: Bucket, video: bytes
) -> None:
    async def put_meanwhile(line: Line) -> None:
        bucket.put("a.mp4", b"mine")
        await serve(video)(line)

    async with RawServer(put_meanwhile) as server:
        with pytest.raises(TargetExists):
            await session.download(finished(server), f"s3://{BUCKET}/a.mp4")
    assert bucket.get("a.mp4") == b"mine"
    assert (bucket.keys(), bucket.uploads()) == (["a.mp4"], [])


@pytest.mark.parametrize("video", [VIDEO, LARGE], ids=["one request", "parts"])
async def test_an_object_is_replaced_when_asked_for(
    session: VideosSession, bucket: Bucket, video: bytes
) -> None:
    bucket.put("a.mp4", b"mine")
    async with RawServer(serve(video)) as server:
        url = f"s3://{BUCKET}/a.mp4"
        await session.download(finished(server), url, on_existing=REPLACE)
    assert bucket.get("a.mp4") == video
    assert (bucket.keys(), bucket.uploads()) == (["a.mp4"], [])


@pytest.mark.parametrize("video", [VIDEO, LARGE], ids=["one request", "parts"])
async def test_a_store_without_conditions_is_looked_at_once_more(
    session: VideosSession, bucket: Bucket, video: bytes
) -> None:
    store = store_at(bucket.endpoint, conditional_put="disabled")

    async def put_meanwhile(line: Line) -> None:
        bucket.put("b.mp4", b"mine")
        await serve(video)(line)

    async with RawServer(serve(video), put_meanwhile) as server:
        await session.download(finished(server), ObjectTarget(store, "a.mp4"))
        with pytest.raises(TargetExists):
            await session.download(finished(server), ObjectTarget(store, "b.mp4"))
    assert (bucket.get("a.mp4"), bucket.get("b.mp4")) == (video, b"mine")
    assert (bucket.keys(), bucket.uploads()) == (["a.mp4", "b.mp4"], [])


# --- nothing is left -----------------------------------------------------------------------


@pytest.mark.parametrize("on_existing", list(OnExisting), ids=lambda one: one.value)
async def test_a_download_that_fails_leaves_nothing_in_the_store(
    session: VideosSession, bucket: Bucket, on_existing: OnExisting
) -> None:
    gone = answer(400, b"gone")
    async with RawServer(serve(LARGE, stops_after=9 << 20), gone) as server:
        url = f"s3://{BUCKET}/a.mp4"
        with pytest.raises(DownloadError, match="HTTP 400"):
            await session.download(finished(server), url, on_existing=on_existing)
    assert (bucket.keys(), bucket.uploads()) == ([], [])


async def test_an_upload_is_under_way_before_the_download_ends(
    session: VideosSession, bucket: Bucket
) -> None:
    # What shows that the tests around this one have something to abort.
    async with _half(bucket) as (server, halfway), anyio.create_task_group() as group:
        group.start_soon(session.download, finished(server), f"s3://{BUCKET}/a.mp4")
        await halfway()
        (upload,) = bucket.uploads()
        assert upload.startswith("a.mp4.part-")
        assert bucket.keys() == []
        group.cancel_scope.cancel()


@pytest.mark.parametrize("on_existing", list(OnExisting), ids=lambda one: one.value)
async def test_a_cancelled_download_leaves_nothing_in_the_store(
    session: VideosSession, bucket: Bucket, on_existing: OnExisting
) -> None:
    async def download() -> None:
        url = f"s3://{BUCKET}/a.mp4"
        await session.download(finished(server), url, on_existing=on_existing)

    async with _half(bucket) as (server, halfway):
        async with anyio.create_task_group() as group:
            group.start_soon(download)
            await halfway()
            group.cancel_scope.cancel()
        assert (bucket.keys(), bucket.uploads()) == ([], [])


async def test_an_error_page_is_no_object(session: VideosSession, bucket: Bucket) -> None:
    page = answer(200, b"<html>gone", ("Content-Type", "text/html"))
    async with RawServer(page) as server:
        with pytest.raises(VideoUnavailable):
            await session.download(finished(server), f"s3://{BUCKET}/a.mp4")
    assert bucket.keys() == []


async def test_a_cut_body_is_no_object(session: VideosSession, bucket: Bucket) -> None:
    async with RawServer(cut_off(50_000)) as server:
        with pytest.raises(DownloadIncomplete, match="nothing was put into the store"):
            await session.download(finished(server), f"s3://{BUCKET}/a.mp4")
    assert bucket.keys() == []


@asynccontextmanager
async def _half(bucket: Bucket) -> AsyncGenerator[tuple[RawServer, Callable[[], Awaitable[None]]]]:
    """Serve half of a file and then hang, and give what waits for the upload of it."""

    async def serve_half(line: Line) -> None:
        await line.read_request()
        await line.send(head(200, ("Content-Length", str(len(LARGE)))) + LARGE[: 8 << 20])
        await hang(line)

    async def begun() -> None:
        while not await anyio.to_thread.run_sync(bucket.uploads):
            await anyio.lowlevel.checkpoint()

    async with RawServer(serve_half) as server:
        yield server, begun


# --- a store of one's own ------------------------------------------------------------------


@pytest.mark.parametrize("video", [VIDEO, LARGE], ids=["one request", "parts"])
async def test_a_store_may_be_handed_in(session: VideosSession, video: bytes) -> None:
    store = stores.MemoryStore()
    target = ObjectTarget(store, "a/b.mp4")
    async with RawServer(serve(video)) as server:
        got = await session.download(finished(server), target)
        assert got.url == "MemoryStore/a/b.mp4"
        assert bytes(store.get("a/b.mp4").bytes()) == video
        with pytest.raises(TargetExists):
            await session.download(finished(server), target)
    assert [one["path"] for one in store.list().collect()] == ["a/b.mp4"]


# --- what goes wrong -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["s3://", "s3://bucket", "s3://bucket/", "gs://bucket/dir/", "az:///key", "S3://b/"]
)
async def test_a_url_without_bucket_or_key_is_refused(session: VideosSession, url: str) -> None:
    with pytest.raises(ConfigurationError, match="must name a bucket and an object"):
        await session.download("video_1", url)


async def test_a_key_that_is_no_path_is_told(session: VideosSession, bucket: Bucket) -> None:
    async with RawServer(serve()) as server:
        with pytest.raises(DownloadError, match="Could not parse path"):
            await session.download(finished(server), f"s3://{BUCKET}/../a.mp4")
        assert server.requests == []


async def test_a_store_whose_settings_are_wrong_is_told(
    session: VideosSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    with pytest.raises(ConfigurationError, match=r"az://container cannot be opened: .*[Aa]ccount"):
        await session.download("video_1", "az://container/a.mp4")


async def test_a_bucket_that_is_not_there_is_told(session: VideosSession, bucket: Bucket) -> None:
    async with RawServer(serve()) as server:
        with pytest.raises(DownloadError, match=r"the store says: .*no-such-bucket") as caught:
            await session.download(finished(server), "s3://no-such-bucket/a.mp4")
    assert "\n" not in str(caught.value)


async def test_a_store_that_is_down_is_told_before_anything_is_fetched(
    session: VideosSession,
) -> None:
    with closed_port() as free:
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
        store = store_at(endpoint, retry_config={"max_retries": 0})
        async with RawServer(serve()) as server:
            with pytest.raises(DownloadError, match=r"the store says: .*error sending request"):
                await session.download(finished(server), ObjectTarget(store, "a.mp4"))
            assert server.requests == []


async def test_without_obstore_the_command_to_install_it_is_told(
    session: VideosSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'videos-async\[storage\]'"):
        await session.download("video_1", "s3://bucket/a.mp4")


def test_a_target_shows_neither_key_nor_secret_of_its_store() -> None:
    store = stores.S3Store("bucket", access_key_id="sk-canary", secret_access_key="sk-canary")
    assert repr(ObjectTarget(store, "a.mp4")) == "<ObjectTarget S3Store/a.mp4>"


async def test_a_plain_path_may_look_nearly_like_a_url(
    session: VideosSession, tmp_path: Path
) -> None:
    (tmp_path / "s3:").mkdir()
    async with RawServer(serve()) as server:
        got = await session.download(finished(server), tmp_path / "s3:" / "a.mp4")
    assert got.path == tmp_path / "s3:" / "a.mp4"
