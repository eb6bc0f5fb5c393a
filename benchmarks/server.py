"""A service on loopback that costs next to nothing, in a process of its own.

It reads a request by looking for the blank line and answers with bytes that were made before, so
that what a benchmark measures is its client. `serve` starts it; it ends with the block, with the
process that started it, or when its time is up, whichever comes first.

As the service does, a create call answers an id, and a result call ``queued``, ``processing`` as
often as it was told to, and then ``completed``. An id may be made up (``video_`` and ten
digits), so that a hundred thousand tasks can be followed without being created one by one.
With a rate, what goes beyond it is answered with 429 and counted.

This file imports nothing of the library: it would be measured with it.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any, Final, cast

__all__ = ["Counts", "Limited", "Server", "client_cpus", "new_event_loop", "serve"]

LIFETIME_S: Final = 600.0
"""Longest life of a server, in seconds, whoever forgets to end it."""

_READ_LIMIT_BYTES: Final = 1 << 20
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d{1,7})\r\n", re.IGNORECASE)
_SECONDS_LIMIT: Final = 3600


class Limited(Enum):
    """Which calls the rate of a server holds for."""

    ALL = "all"
    SUBMITS = "submits"
    POLLS = "polls"


# --- the answers ---------------------------------------------------------------------------


def _answer(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    length = b"Content-Length: %d" % len(body)
    lines = (b"HTTP/1.1 " + status, b"Content-Type: application/json", length, *headers)
    return b"\r\n".join((*lines, b"", body))


def _template(status: str, **fields: object) -> tuple[bytes, bytes]:
    """Make an answer in two parts, with the ten digits of the id missing between them."""
    task: dict[str, object] = {
        "id": "video_0123456789",
        "object": "video",
        "created": 1774836724,
        "model": "videos",
        "status": status,
        "error": None,
    }
    head, digits, tail = _answer(json.dumps({**task, **fields}).encode()).partition(b"0123456789")
    assert digits
    return head, tail


_NOT_YET: Final[dict[str, Any]] = {"video_url": None, "actualDuration": None}
_CREATED: Final = _template("queued")
_QUEUED: Final = _template("queued", **_NOT_YET)
_PROCESSING: Final = _template("processing", **_NOT_YET)
_MOVING: Final = _template("processing", **_NOT_YET, progress="#%")
_COMPLETED: Final = _template(
    "completed", video_url="https://files.example/video.mp4?signature=0", actualDuration=5.04
)
_NOT_FOUND: Final = _answer(b'{"message": "no such task"}', status=b"404 Not Found")


class _Service:
    """What the service knows: the tasks, the rate, and how often it was called.

    Args:
        polls: The number of the result call that says ``completed``, or 0 for tasks that are
            ``processing`` for ever, with a progress that differs from call to call.
        rate_per_s: Calls it takes a second, or None for as many as come.
        burst: Calls it takes at once after a pause, where a rate is set.
        limited: Which calls the rate holds for.
        retry_after_s: What a 429 says in its ``Retry-After``, or None to leave it out.
    """

    def __init__(
        self,
        *,
        polls: int,
        rate_per_s: float | None,
        burst: int,
        limited: Limited,
        retry_after_s: int | None,
    ) -> None:
        self._polls = polls
        self._is_moving = polls == 0
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._limited = limited
        self._tokens = float(burst)
        self._filled_s = self._began_s = 0.0
        headers = () if retry_after_s is None else (b"Retry-After: %d" % retry_after_s,)
        body = b'{"message": "slow down"}'
        self._too_many = _answer(body, *headers, status=b"429 Too Many Requests")
        self._polled: dict[int, int] = {}
        self._submits = self._gets = self._completed = self._excess = 0
        self._seconds: list[list[int]] = []

    def post(self) -> bytes:
        if self._rate_per_s is not None and not self._takes(Limited.SUBMITS):
            return self._too_many
        self._submits += 1
        head, tail = _CREATED
        return b"%b%010d%b" % (head, self._submits, tail)

    def get(self, target: bytes) -> bytes:
        digits = target[-10:]
        if not digits.isdigit():
            return _answer(json.dumps(self._counts()).encode()) if target == b"/" else _NOT_FOUND
        if self._rate_per_s is not None and not self._takes(Limited.POLLS):
            return self._too_many
        self._gets += 1
        number = int(digits)
        polled = self._polled[number] = self._polled.get(number, 0) + 1
        if self._is_moving:
            head, tail = _MOVING
            tail = tail.replace(b"#", b"%d" % (polled % 10))
        elif polled >= self._polls:
            self._completed += polled == self._polls
            head, tail = _COMPLETED
        else:
            head, tail = _QUEUED if polled == 1 else _PROCESSING
        return b"%b%b%b" % (head, digits, tail)

    def _takes(self, kind: Limited) -> bool:
        """Whether a call is within the rate; a token bucket, and a count for each second."""
        if self._rate_per_s is None or self._limited not in (kind, Limited.ALL):
            return True
        now_s = time.monotonic()
        self._began_s = self._began_s or now_s
        filled = self._tokens + (now_s - (self._filled_s or now_s)) * self._rate_per_s
        self._tokens, self._filled_s = min(float(self._burst), filled), now_s
        second = min(int(now_s - self._began_s), _SECONDS_LIMIT)
        while len(self._seconds) <= second:
            self._seconds.append([0, 0])
        is_taken = self._tokens >= 1.0
        self._tokens -= is_taken
        self._excess += not is_taken
        self._seconds[second][not is_taken] += 1
        return is_taken

    def _counts(self) -> dict[str, Any]:
        return {
            "submits": self._submits,
            "polls": self._gets,
            "completed": self._completed,
            "excess": self._excess,
            "seconds": self._seconds,
        }


class _Connection(asyncio.Protocol):
    """Reads requests, however they are cut or joined on the wire, and answers in their order."""

    def __init__(self, service: _Service) -> None:
        self._service = service
        self._rest = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not by isinstance: uvloop's transports derive from nothing of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if self._rest:
            data = self._rest + data
        answers: list[bytes] = []
        start = 0
        while (head_end := data.find(b"\r\n\r\n", start)) >= 0:
            end = head_end + 4
            if data.startswith(b"GET ", start):
                answers.append(self._service.get(data[start + 4 : data.index(b" ", start + 4)]))
            else:
                length = _LENGTH.search(data, start, end)
                if length is None:
                    self._transport.abort()  # not what any client here sends
                    return
                end += int(length[1])
                if len(data) < end:
                    break
                answers.append(self._service.post())
            start = end
        self._rest = data[start:]
        if answers:
            self._transport.write(b"".join(answers))
        if len(self._rest) > _READ_LIMIT_BYTES:
            self._transport.abort()


# --- the process ---------------------------------------------------------------------------


def new_event_loop(name: str = "uvloop") -> asyncio.AbstractEventLoop:
    """Make an event loop: uvloop where it is wanted and installed, else asyncio's own."""
    if name == "uvloop" and importlib.util.find_spec("uvloop") is not None:
        loop: asyncio.AbstractEventLoop = importlib.import_module("uvloop").new_event_loop()
        return loop
    return asyncio.new_event_loop()


def client_cpus() -> set[int]:
    """Tell which processors are left for the clients: the server has the last for itself."""
    if sys.platform != "linux":
        return set()
    cpus = sorted(os.sched_getaffinity(0))
    return set(cpus[:-1] or cpus)


def _take_last_cpu() -> None:
    if sys.platform == "linux":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


async def _serve(service: _Service, lifetime_s: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(service), "127.0.0.1", 0)
    orphaned = asyncio.Event()
    # The other end of the pipe closes when the process that holds it is gone, killed or not.
    loop.add_reader(sys.stdin.fileno(), orphaned.set)
    loop.call_later(lifetime_s, orphaned.set)
    print(server.sockets[0].getsockname()[1], flush=True)
    await orphaned.wait()
    loop.remove_reader(sys.stdin.fileno())
    server.close()


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until the standard input ends or the time is up; the port is the first line out."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--polls", type=int, default=10)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--burst", type=int, default=1)
    parser.add_argument("--limited", type=Limited, default=Limited.ALL)
    parser.add_argument("--retry-after", type=int)
    parser.add_argument("--lifetime", type=float, default=LIFETIME_S)
    options = parser.parse_args(argv)
    service = _Service(
        polls=options.polls,
        rate_per_s=options.rate,
        burst=options.burst,
        limited=options.limited,
        retry_after_s=options.retry_after,
    )
    _take_last_cpu()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_serve(service, options.lifetime))


# --- its handle ----------------------------------------------------------------------------


class Counts:
    """What a server has counted since it was started.

    Attributes:
        submits: Create calls it took.
        polls: Result calls it took.
        completed: Tasks it has told to be completed.
        excess: Calls beyond its rate.
        seconds: For each second since the first call under the rate: calls taken, calls beyond.
    """

    def __init__(self, counts: dict[str, Any]) -> None:
        self.submits: int = counts["submits"]
        self.polls: int = counts["polls"]
        self.completed: int = counts["completed"]
        self.excess: int = counts["excess"]
        self.seconds: list[tuple[int, int]] = [(taken, over) for taken, over in counts["seconds"]]

    @property
    def requests(self) -> int:
        """Calls it took, of both kinds."""
        return self.submits + self.polls


class Server:
    """A running server.

    Attributes:
        port: The port it listens on, on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self.port = port

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    def counts(self) -> Counts:
        """Ask what it has counted."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/")
            return Counts(json.loads(connection.getresponse().read()))
        finally:
            connection.close()


@contextmanager
def serve(
    *,
    polls: int = 10,
    rate_per_s: float | None = None,
    burst: int = 1,
    limited: Limited = Limited.ALL,
    retry_after_s: int | None = None,
    lifetime_s: float = LIFETIME_S,
) -> Generator[Server]:
    """Run a server in a process of its own for the length of a block.

    Args:
        polls: The number of the result call that says ``completed``, or 0 for tasks that are
            ``processing`` for ever, with a progress that differs from call to call.
        rate_per_s: Calls it takes a second, or None for as many as come.
        burst: Calls it takes at once after a pause, where a rate is set.
        limited: Which calls the rate holds for.
        retry_after_s: What a 429 says in its ``Retry-After``, or None to leave it out.
        lifetime_s: Seconds after which it ends in any case.
    """
    options = [f"--polls={polls}", f"--burst={burst}", f"--limited={limited.value}"]
    options.append(f"--lifetime={lifetime_s}")
    if rate_per_s is not None:
        options.append(f"--rate={rate_per_s}")
    if retry_after_s is not None:
        options.append(f"--retry-after={retry_after_s}")
    # -P: this folder must not stand before the standard library on the path.
    command = [sys.executable, "-P", str(Path(__file__).resolve()), *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Server(int(process.stdout.readline()))
        finally:
            process.stdin.close()  # by which it ends
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


if __name__ == "__main__":
    main()
