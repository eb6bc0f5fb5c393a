"""nginx as the real peer: its ranges, its tags, its conditions and the way it breaks off."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.file_server import file_session, mp4
from tests.raw_server import RawServer, answer
from videos_async import (
    Download,
    DownloadProgress,
    Status,
    VideosSession,
    VideoTask,
)

# Debian puts it where only root's path leads.
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")

VIDEO = mp4(3_000_000)
OTHER = mp4(3_000_000, salt=1)
CONFIGURATION = """
daemon off;
master_process off;
pid {root}/pid;
error_log {root}/error.log;
events {{}}
http {{
    log_format asked '$status $http_range';
    access_log {root}/access.log asked;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    types {{ video/mp4 mp4; }}
    server {{
        listen 127.0.0.1:{port};
        root {root}/files;
        location /slow/ {{
            alias {root}/files/;
            limit_rate 400k;
        }}
        location /expired/ {{ return 403; }}
        location /gzipped/ {{
            alias {root}/files/;
            gzip on;
            gzip_types video/mp4;
        }}
        location /moved/ {{ return 302 /a.mp4; }}
        location /undated/ {{
            alias {root}/files/;
            etag off;
        }}
        location /whole/ {{
            alias {root}/files/;
            max_ranges 0;
        }}
    }}
}}
"""


@attrs.frozen
class Nginx:
    """A server of its own, on a free port, in a directory that goes with the test."""

    root: Path
    port: int

    def task(self, path: str = "/a.mp4") -> VideoTask:
        url = f"http://127.0.0.1:{self.port}{path}?signature=abc"
        return VideoTask(id="video_1", status=Status.COMPLETED, video_url=url)

    def put(self, data: bytes, *, modified_at_s: int = 1_700_000_000) -> None:
        """Put a file there; nginx makes its tag of the date and the length."""
        path = self.root / "files" / "a.mp4"
        path.write_bytes(data)
        os.utime(path, (modified_at_s, modified_at_s))

    @property
    def asked(self) -> list[str]:
        """Status and range of each request, in order."""
        return (self.root / "access.log").read_text().splitlines()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    root = tmp_path_factory.mktemp("nginx")
    (root / "files").mkdir()
    port = _free_port()
    configuration = root / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(root=root, port=port))
    assert NGINX is not None
    command = [NGINX, "-p", str(root), "-c", str(configuration), "-e", str(root / "error.log")]
    with subprocess.Popen(command) as process:
        try:
            _wait_for(port, process)
            yield Nginx(root, port)
        finally:
            process.terminate()


def _free_port() -> int:
    # Below those that the system gives away by itself: nobody gets it before nginx does.
    for port in random.sample(range(10_000, 32_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    pytest.fail("no port is free")


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(1000):
        assert process.poll() is None, "nginx ended: see its error.log"
        with socket.socket() as probe:
            probe.settimeout(0.01)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
    pytest.fail("nginx does not listen")


@pytest.fixture
def nginx(server: Nginx) -> Nginx:
    server.put(VIDEO)
    # Emptied, not removed: nginx has it open.
    os.truncate(server.root / "access.log", 0)
    return server


async def download(nginx: Nginx, target: Path, path: str = "/a.mp4", **options: Any) -> Download:
    async with file_session(**options) as session:
        return await session.download(nginx.task(path), target)


async def leave_part(nginx: Nginx, target: Path, path: str = "/slow/a.mp4") -> int:
    """Cancel a slow download once some of it is on the disk; tell how much."""
    written = asyncio.Event()

    def look(progress: DownloadProgress) -> None:
        if progress.received_bytes > 100_000:
            written.set()

    async with file_session() as session:
        slow = asyncio.create_task(session.download(nginx.task(path), target, on_progress=look))
        await written.wait()
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
    return _size(target)


def _size(target: Path) -> int:
    return target.with_name(f"{target.name}.part").stat().st_size


async def test_a_file_comes_whole_and_verified(nginx: Nginx, tmp_path: Path) -> None:
    saved = await download(nginx, tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO
    assert (saved.is_verified, saved.media_type) == (True, "video/mp4")


async def test_a_download_that_was_cancelled_is_continued(nginx: Nginx, tmp_path: Path) -> None:
    kept = await leave_part(nginx, tmp_path / "a.mp4")
    await download(nginx, tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO
    assert nginx.asked[-1] == f"206 bytes={kept}-"


async def test_a_date_is_enough_to_continue(nginx: Nginx, tmp_path: Path) -> None:
    kept = await leave_part(nginx, tmp_path / "a.mp4")
    note = tmp_path / "a.mp4.part.json"
    note.write_text(note.read_text().replace(_tag_of(note), "Tue, 14 Nov 2023 22:13:20 GMT"))
    await download(nginx, tmp_path / "a.mp4", "/undated/a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO
    assert nginx.asked[-1] == f"206 bytes={kept}-"


def _tag_of(note: Path) -> str:
    return note.read_text().split('"validator": "')[1].split('", "length')[0]


async def test_a_file_that_changed_is_fetched_from_its_start(nginx: Nginx, tmp_path: Path) -> None:
    kept = await leave_part(nginx, tmp_path / "a.mp4")
    nginx.put(OTHER, modified_at_s=1_700_000_001)
    await download(nginx, tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == OTHER
    assert nginx.asked[-1] == f"200 bytes={kept}-"


async def test_a_server_that_serves_no_ranges_is_asked_once(nginx: Nginx, tmp_path: Path) -> None:
    await leave_part(nginx, tmp_path / "a.mp4")
    before = len(nginx.asked)
    await download(nginx, tmp_path / "a.mp4", "/whole/a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO
    assert len(nginx.asked) == before + 1


async def test_a_whole_part_is_finished_with_one_byte_more(nginx: Nginx, tmp_path: Path) -> None:
    kept = await leave_part(nginx, tmp_path / "a.mp4")
    with (tmp_path / "a.mp4.part").open("ab") as part:
        part.write(VIDEO[kept:])
    await download(nginx, tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO
    assert nginx.asked[-1] == f"206 bytes={len(VIDEO) - 1}-"


async def test_nothing_comes_encoded_from_a_server_that_would(nginx: Nginx, tmp_path: Path) -> None:
    await download(nginx, tmp_path / "a.mp4", "/gzipped/a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO


async def test_a_redirect_is_followed(nginx: Nginx, tmp_path: Path) -> None:
    await download(nginx, tmp_path / "a.mp4", "/moved/a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO


async def test_a_url_that_is_refused_is_replaced(nginx: Nginx, tmp_path: Path) -> None:
    kept = await leave_part(nginx, tmp_path / "a.mp4")
    fresh = {"id": "video_1", "status": "completed", "video_url": nginx.task().video_url}
    async with (
        RawServer(answer(200, fresh)) as api,
        VideosSession("key", base_url=api.url) as session,
    ):
        await session.download(nginx.task("/expired/a.mp4"), tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO
    assert nginx.asked[-2:] == [f"403 bytes={kept}-", f"206 bytes={kept}-"]
