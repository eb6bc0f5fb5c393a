"""One large download over TLS: ``python -m tests.tls_download LOOP CERTIFICATE KEY``.

In a process of its own, because aiohttp reads what it trusts when it is imported. Prints whether
the connection was taken over, and whether every byte is what it was.
"""

from __future__ import annotations

import asyncio
import importlib
import ssl
import sys
from typing import Any

from tests.file_server import mp4
from videos_async import Status, VideosSession, VideoTask
from videos_async._body import Body

VIDEO = mp4(6 << 20)


class _Collector:
    def __init__(self) -> None:
        self.data = b""

    async def write(self, data: bytes, /) -> None:
        self.data += data


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(VIDEO) + VIDEO)
    await writer.drain()
    await reader.read()
    writer.close()


async def _download(certificate: str, key: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(_serve, "127.0.0.1", 0, ssl=context)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
    bodies: list[Body] = []

    class Counted(Body):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            bodies.append(self)

    files = importlib.import_module("videos_async._files")
    vars(files)["Body"] = Counted
    async with server, VideosSession("some-key", base_url=url) as session:
        task = VideoTask(id="video_1", status=Status.COMPLETED, video_url=f"{url}/a.mp4")
        sink = _Collector()
        await session.download(task, sink)
    outcome = f"taken over {len(bodies)} times, {'same' if sink.data == VIDEO else 'other'} bytes"
    sys.stdout.write(outcome)


if __name__ == "__main__":
    name, *files = sys.argv[1:]
    with asyncio.Runner(loop_factory=importlib.import_module(name).new_event_loop) as runner:
        runner.run(_download(*files))
