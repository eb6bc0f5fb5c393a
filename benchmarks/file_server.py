"""A file server on loopback that costs next to nothing, in a process of its own.

Every path ``/N.mp4`` is a file of N bytes, an MP4 by its boxes, sent by the kernel out of one
file that has no blocks on any disk: what a benchmark measures is its client. It knows single
ranges and a strong ETag, as the file servers of videos do. `serve_files` starts it; it ends with
the block, with the process that started it, or when its time is up, whichever comes first.

This file imports nothing of the library: it would be measured with it.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from struct import pack
from typing import BinaryIO, Final

__all__ = ["serve_files"]

_LIFETIME_S: Final = 600.0
_LARGEST_BYTES: Final = 1 << 40
_HEAD: Final = pack(">I4s8x", 16, b"ftyp") + pack(">I4s", 8, b"moov")
_LONG_BOX: Final = ">I4sQ"
_PATH: Final = re.compile(rb"GET /(\d+)\.mp4[ ?]")
_RANGE: Final = re.compile(rb"\r\nrange: *bytes=(\d+)-(\d*)\r\n", re.IGNORECASE)
_REQUEST_LIMIT_BYTES: Final = 1 << 16


class _Zeros:
    """A file of nothing, which the kernel sends without reading a disk."""

    def __init__(self) -> None:
        self.file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the server
        self.file.truncate(_LARGEST_BYTES)

    def send(self, client: socket.socket, count: int) -> None:
        offset = 0
        while offset < count:
            offset += os.sendfile(client.fileno(), self.file.fileno(), offset, count - offset)


def _send_file(client: socket.socket, zeros: _Zeros, request: bytes) -> None:
    named = _PATH.match(request)
    if named is None:
        client.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        return
    size = int(named[1])
    boxes = _HEAD + pack(_LONG_BOX, 1, b"mdat", size - len(_HEAD))
    lines = [b"Content-Type: video/mp4", b'ETag: "%d"' % size, b"Accept-Ranges: bytes"]
    wanted = _RANGE.search(request)
    first, last = 0, size - 1
    if wanted is None:
        lines.insert(0, b"HTTP/1.1 200 OK")
    else:
        first = int(wanted[1])
        last = min(int(wanted[2] or last), last)
        lines.insert(0, b"HTTP/1.1 206 Partial Content")
        lines.append(b"Content-Range: bytes %d-%d/%d" % (first, last, size))
    lines.append(b"Content-Length: %d" % (last + 1 - first))
    start = boxes[first : last + 1]
    client.sendall(b"\r\n".join((*lines, b"", start)))
    zeros.send(client, last + 1 - first - len(start))


def _serve_client(client: socket.socket, zeros: _Zeros) -> None:
    # A client that leaves is no trouble of the server's.
    with client, suppress(ConnectionError):
        waiting = b""
        while len(waiting) < _REQUEST_LIMIT_BYTES:
            request, end, waiting = waiting.partition(b"\r\n\r\n")
            if end:
                _send_file(client, zeros, request + b"\r\n")
                continue
            data = client.recv(_REQUEST_LIMIT_BYTES)
            if not data:
                return
            waiting = request + data


def _accept(listening: socket.socket, zeros: _Zeros) -> None:
    while True:
        client, _ = listening.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_serve_client, args=(client, zeros), daemon=True).start()


def main() -> None:
    """Serve until the standard input ends or the time is up; the port is the first line out."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--lifetime", type=float, default=_LIFETIME_S)
    options = parser.parse_args()
    if sys.platform == "linux":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        threading.Thread(target=_accept, args=(listening, _Zeros()), daemon=True).start()
        print(listening.getsockname()[1], flush=True)
        timer = threading.Timer(options.lifetime, os._exit, (0,))
        timer.daemon = True
        timer.start()
        # The other end of the pipe closes when the process that holds it is gone, killed or not.
        sys.stdin.buffer.read()
    # Threads may be sending still; nothing waits for them.
    os._exit(0)


@contextmanager
def serve_files() -> Generator[str]:
    """Run a server in a process of its own for the length of a block; gives its base URL."""
    # -P: this folder must not stand before the standard library on the path.
    command = [sys.executable, "-P", str(Path(__file__).resolve())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()  # by which it ends
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


if __name__ == "__main__":
    main()
