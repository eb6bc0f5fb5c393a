"""Scripts for `RawServer` that serve one file: as HTTP says, or wrong in one chosen way."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

from tests.raw_server import Line, RawServer, Script, head
from tests.service import QUICK_RETRIES
from videos_async import Status, VideosSession, VideoTask

__all__ = [
    "ETAG",
    "SECRET",
    "VIDEO",
    "box",
    "cut_off",
    "file_session",
    "finished",
    "mp4",
    "part_head",
    "ranges_of",
    "serve",
    "url_of",
]

ETAG: Final = '"version-1"'
SECRET: Final = "sgntr0sgntr0"


def box(kind: bytes, content: bytes) -> bytes:
    """Make a box of an MP4."""
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def mp4(size_bytes: int, *, salt: int = 0) -> bytes:
    """Make what is an MP4 by its boxes, of a size, and different for each salt."""
    start = box(b"ftyp", b"isom\0\0\2\0isom") + box(b"moov", b"\0" * 100)
    pattern = bytes((index * 7 + salt) % 251 for index in range(4093))
    missing = size_bytes - len(start) - 8
    return start + box(b"mdat", (pattern * (missing // len(pattern) + 1))[:missing])


VIDEO: Final = mp4(300_000)


def serve(
    body: bytes = VIDEO,
    *headers: tuple[str, str],
    etag: str | None = ETAG,
    knows_ranges: bool = True,
    stops_after: int | None = None,
) -> Script:
    """Serve a file as a good server does, ranges and If-Range included.

    Args:
        body: The file.
        headers: Further headers.
        etag: Its entity tag.
        knows_ranges: Whether ranges are served, or the whole file each time.
        stops_after: After how many bytes of the body the connection breaks, if it does.
    """
    more = [("Content-Type", "video/mp4"), *headers]
    if etag is not None:
        more.append(("ETag", etag))

    async def script(line: Line) -> None:
        request = await line.read_request()
        found = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
        is_same = request.headers.get("if-range") in (None, etag, *(value for _, value in headers))
        if found is None or not is_same or not knows_ranges:
            framing, rest = head(200, ("Content-Length", str(len(body))), *more), body
        elif int(found[1]) >= len(body):
            lengths = [("Content-Range", f"bytes */{len(body)}"), ("Content-Length", "0")]
            framing, rest = head(416, *lengths), b""
        else:
            framing, rest = part_head(body, int(found[1]), *more), body[int(found[1]) :]
        await line.send(framing + rest[:stops_after])
        if stops_after is not None:
            line.close()

    return script


def part_head(
    body: bytes, start: int, *headers: tuple[str, str], claim: str | None = None
) -> bytes:
    """Write the head of a 206 with the rest of a body; `claim` is what it says of itself."""
    stated = claim or f"bytes {start}-{len(body) - 1}/{len(body)}"
    length = str(len(body) - start)
    return head(206, ("Content-Range", stated), ("Content-Length", length), *headers)


def cut_off(at: int = 100_000) -> Script:
    """Declare the whole of `VIDEO` and break off after its first bytes."""
    return serve(stops_after=at)


def url_of(server: RawServer, name: str = "video.mp4") -> str:
    """Write a signed URL of a file on a server."""
    return f"{server.url}/{name}?signature={SECRET}"


def finished(server: RawServer, **fields: Any) -> VideoTask:
    """Make the completed task whose video is on a server."""
    facts: dict[str, Any] = {"id": "video_1", "video_url": url_of(server), **fields}
    return VideoTask(status=Status.COMPLETED, **facts)


def ranges_of(server: RawServer) -> list[str | None]:
    """List what each request asked for."""
    return [request.headers.get("range") for request in server.requests]


@asynccontextmanager
async def file_session(**options: Any) -> AsyncGenerator[VideosSession]:
    """Open a session whose service is on loopback and not there: only files are fetched."""
    settings: dict[str, Any] = {"retry": QUICK_RETRIES, **options}
    async with VideosSession("some-key", base_url="http://127.0.0.1:9", **settings) as session:
        yield session
