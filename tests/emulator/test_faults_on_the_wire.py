"""What a fault does to the bytes and to the connection, read off a bare socket."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import pytest

from tests.emulator.wire import KITTEN
from videos_async.emulator import (
    Close,
    Cut,
    Decline,
    Delay,
    Dialect,
    Drip,
    Fault,
    Garbage,
    HostileBody,
    LoseId,
    ManualClock,
    Media,
    RateLimit,
    Redirect,
    Refuse,
    Reset,
    Status,
    VideosEmulator,
)

if TYPE_CHECKING:
    from anyio.abc import SocketStream

CREATE = "/kyyReactApiServer/v1/videos/videos"


@attrs.frozen(kw_only=True)
class Heard:
    """All that came back on a connection, and how it ended: ``fin``, ``rst`` or ``open``."""

    raw: bytes
    end: str

    @property
    def head(self) -> str:
        return self.raw.partition(b"\r\n\r\n")[0].decode("latin-1")

    @property
    def body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]

    @property
    def status(self) -> int:
        return int(self.head.split(" ")[1])

    def header(self, name: str) -> str | None:
        lines = (line.partition(": ") for line in self.head.split("\r\n")[1:])
        return next((value for key, _, value in lines if key.lower() == name.lower()), None)


def written(method: str, target: str, body: object = None) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    head = (
        f"{method} {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer emulator-key\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def listen(line: SocketStream, *, until: int | None = None) -> Heard:
    """Take what comes until the connection ends, or until there are so many bytes."""
    raw = bytearray()
    end = "open"
    with anyio.fail_after(20):
        while end == "open" and (until is None or len(raw) < until):
            try:
                raw += await line.receive()
            except anyio.EndOfStream:
                end = "fin"
            except anyio.BrokenResourceError:
                end = "rst"
    return Heard(raw=bytes(raw), end=end)


async def call(emulator: VideosEmulator, request: bytes, *, until: int | None = None) -> Heard:
    async with await anyio.connect_tcp("127.0.0.1", emulator.port) as line:
        await line.send(request)
        return await listen(line, until=until)


async def submit(emulator: VideosEmulator, body: object = KITTEN, **options: Any) -> Heard:
    return await call(emulator, written("POST", CREATE, body), **options)


@pytest.fixture
async def emulator() -> AsyncIterator[VideosEmulator]:
    async with VideosEmulator(clock=ManualClock(), media=Media.SAMPLE) as started:
        yield started


# --- below HTTP ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "end", "billed", "begins"),
    [
        (Reset(), "rst", 0, b""),
        (Reset(before="acceptance"), "rst", 0, b""),
        (Reset(after="acceptance"), "rst", 1, b""),
        (Reset(after="headers"), "rst", 1, b"HTTP/1.1 200 OK\r\n"),
        (Close(), "fin", 0, b""),
        (Close(after="acceptance"), "fin", 1, b""),
        (Close(after="headers"), "fin", 1, b"HTTP/1.1 200 OK\r\n"),
        (Close(after="answer"), "fin", 1, b"HTTP/1.1 200 OK\r\n"),
        (Garbage("hello\xff"), "fin", 0, b"hello\xff"),
        (Garbage("hello", after="acceptance"), "fin", 1, b"hello"),
    ],
    ids=str,
)
async def test_a_connection_ends_as_the_fault_says_and_so_does_the_bill(
    emulator: VideosEmulator, fault: Fault, end: str, billed: int, begins: bytes
) -> None:
    emulator.faults.add(fault)
    heard = await submit(emulator)
    assert heard.end == end
    assert heard.raw.startswith(begins)
    assert bool(heard.raw) == bool(begins)
    assert (emulator.billed, emulator.ledger.refused) == (billed, 1 - billed)


async def test_after_the_headers_none_of_the_body_has_left(emulator: VideosEmulator) -> None:
    emulator.faults.add(Close(after="headers"))
    heard = await submit(emulator)
    assert heard.raw.endswith(b"\r\n\r\n")
    assert int(heard.header("Content-Length") or 0) > 0


async def test_a_close_after_the_answer_does_not_announce_itself(emulator: VideosEmulator) -> None:
    emulator.faults.add(Close(after="answer"))
    heard = await submit(emulator)
    assert json.loads(heard.body)["status"] == "queued"
    assert heard.header("Connection") is None
    assert int(heard.header("Content-Length") or 0) == len(heard.body)


@pytest.mark.parametrize(
    ("fault", "framing"),
    [
        (Cut(at=10), "Content-Length"),
        (Cut(at=10, framing="chunked"), "Transfer-Encoding"),
        (Cut(at=10, framing="close"), None),
    ],
    ids=str,
)
async def test_a_cut_ends_in_the_middle_of_a_body_that_was_announced_whole(
    emulator: VideosEmulator, fault: Fault, framing: str | None
) -> None:
    emulator.faults.add(fault)
    heard = await submit(emulator)
    framings = {"Content-Length", "Transfer-Encoding"}
    assert {name for name in framings if heard.header(name)} == ({framing} - {None})
    size, _, part = heard.body.rpartition(b"\r\n")
    assert part == b'{"id": "vi'
    assert (int(size, 16) if size else int(heard.header("Content-Length") or 99)) > len(part)
    assert (heard.end, emulator.billed) == ("fin", 1)


async def test_a_cut_beyond_the_end_still_cuts(emulator: VideosEmulator) -> None:
    emulator.faults.add(Cut(at=10_000))
    heard = await submit(emulator)
    assert len(heard.body) == int(heard.header("Content-Length") or 0) - 1


async def test_a_delay_is_in_virtual_time_and_the_bill_is_written_at_once(
    emulator: VideosEmulator,
) -> None:
    emulator.faults.add(Delay(90))
    async with await anyio.connect_tcp("127.0.0.1", emulator.port) as line:
        await line.send(written("POST", CREATE, KITTEN))
        while not emulator.billed:
            await anyio.lowlevel.checkpoint()
        await emulator.advance(89)
        with anyio.move_on_after(0.05) as patience:
            await line.receive()
        assert patience.cancelled_caught
        await emulator.advance(1)
        assert (await listen(line, until=1)).status == 200


async def test_delays_add_up_and_the_rest_of_the_script_holds(emulator: VideosEmulator) -> None:
    emulator.faults.extend([Delay(10), Delay(5), Cut(at=1)])
    begun_s = emulator.clock.now_s()

    async def pass_time() -> None:
        while True:
            await emulator.advance(1)
            await anyio.sleep(0.001)

    async with anyio.create_task_group() as group:
        group.start_soon(pass_time)
        assert (await submit(emulator)).body == b"{"
        assert emulator.clock.now_s() - begun_s >= 15
        group.cancel_scope.cancel()


async def test_an_answer_comes_in_drops() -> None:
    async with VideosEmulator(speed=1000, faults=[Drip(every=1, size=7)]) as emulator:
        begun_s = emulator.clock.now_s()
        heard = await submit(emulator)
        assert json.loads(heard.body)["status"] == "queued"
        drops = -(-len(heard.raw) // 7)
        assert emulator.clock.now_s() - begun_s >= drops - 1


async def test_closing_does_not_wait_for_what_a_fault_draws_out() -> None:
    begun_s = time.monotonic()
    async with VideosEmulator(clock=ManualClock(), faults=[Delay(9999)]) as emulator:
        line = await anyio.connect_tcp("127.0.0.1", emulator.port)
        await line.send(written("POST", CREATE, KITTEN))
        while not emulator.billed:
            await anyio.lowlevel.checkpoint()
    async with line:
        assert (await listen(line)).raw == b""
    assert time.monotonic() - begun_s < 5


# --- a port that refuses -------------------------------------------------------------------


async def is_refused(emulator: VideosEmulator) -> bool:
    try:
        await (await anyio.connect_tcp("127.0.0.1", emulator.port)).aclose()
    except OSError:
        return True
    return False


async def test_a_refusing_port_refuses_until_its_time_is_over(emulator: VideosEmulator) -> None:
    assert not await is_refused(emulator)
    emulator.faults.add(Refuse(60))
    assert await is_refused(emulator)
    await emulator.advance(59)
    assert await is_refused(emulator)
    await emulator.advance(1)
    with anyio.fail_after(5):
        while await is_refused(emulator):
            await anyio.lowlevel.checkpoint()
    assert (await submit(emulator, until=1)).status == 200


async def test_a_port_refuses_from_the_start_and_while_closed_as_well() -> None:
    emulator = VideosEmulator(clock=ManualClock(), faults=[Refuse(60)])
    async with emulator:
        assert await is_refused(emulator)
    async with emulator:
        assert await is_refused(emulator)
        await emulator.advance(61)
        with anyio.fail_after(5):
            while await is_refused(emulator):
                await anyio.lowlevel.checkpoint()


async def test_idle_connections_are_closed_where_the_port_refuses(
    emulator: VideosEmulator,
) -> None:
    async with await anyio.connect_tcp("127.0.0.1", emulator.port) as idle:
        await idle.send(written("POST", CREATE, KITTEN))
        assert (await listen(idle, until=1)).end == "open"
        emulator.faults.add(Refuse(60))
        assert (await listen(idle)).end == "fin"


async def test_the_nth_call_is_the_first_that_meets_a_closed_port(
    emulator: VideosEmulator,
) -> None:
    emulator.faults.add(Refuse(60, nth=3))
    assert (await submit(emulator, until=1)).header("Connection") is None
    second = await submit(emulator)
    assert (second.status, second.header("Connection"), second.end) == (200, "close", "fin")
    assert await is_refused(emulator)
    assert emulator.billed == 2


async def test_refusals_by_probability_are_those_of_the_seed() -> None:
    async def story(seed: int) -> list[bool]:
        async with VideosEmulator(
            clock=ManualClock(), seed=seed, faults=[Refuse(60, probability=0.4)]
        ) as emulator:
            told: list[bool] = []
            for _ in range(12):
                await submit(emulator, until=1)
                told.append(await is_refused(emulator))
                await emulator.advance(60)
                while await is_refused(emulator):
                    await anyio.lowlevel.checkpoint()
            return told

    first = await story(1)
    assert await story(1) == first
    assert {True, False} == set(first)
    assert await story(2) != first


# --- answers of HTTP -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "billed"), [(Status(504), 0), (Status(504, after="acceptance"), 1)], ids=str
)
async def test_a_status_comes_before_acceptance_or_after(
    emulator: VideosEmulator, fault: Fault, billed: int
) -> None:
    emulator.faults.add(fault)
    heard = await submit(emulator, until=1)
    assert (heard.status, json.loads(heard.body)) == (504, {"message": "Gateway Timeout"})
    assert (emulator.billed, emulator.ledger.refused) == (billed, 1 - billed)


@pytest.mark.parametrize(
    ("fault", "media_type", "body", "retry_after"),
    [
        (Status(503, body="<p>"), "text/html", b"<p>", None),
        (Status(503, body=""), "text/html", b"", None),
        (Status(503, body=[1], retry_after=2), "application/json", b"[1]", "2"),
        (Status(429, body={}, retry_after=0.5), "application/json", b"{}", "0.5"),
        (
            Status(503, body=1, retry_after="Wed, 21 Oct 2015 07:28:00 GMT"),
            "application/json",
            b"1",
            "Wed, 21 Oct 2015 07:28:00 GMT",
        ),
    ],
    ids=str,
)
async def test_a_status_brings_the_body_and_the_pause_it_is_told(
    emulator: VideosEmulator, fault: Fault, media_type: str, body: bytes, retry_after: str | None
) -> None:
    emulator.faults.add(fault)
    heard = await submit(emulator, until=1)
    assert (heard.header("Content-Type") or "").startswith(media_type)
    assert (heard.body, heard.header("Retry-After")) == (body, retry_after)


async def test_a_rate_limit_lets_a_burst_and_then_its_rate_through(
    emulator: VideosEmulator,
) -> None:
    emulator.faults.add(RateLimit(0.1, burst=2, retry_after=10, on="submit"))
    assert [(await submit(emulator, until=1)).status for _ in range(4)] == [200, 200, 429, 429]
    await emulator.advance(10)
    answers = [await submit(emulator, until=1) for _ in range(2)]
    assert [heard.status for heard in answers] == [200, 429]
    assert answers[1].header("Retry-After") == "10"
    assert (emulator.billed, emulator.ledger.refused) == (3, 3)


async def test_a_redirect_leads_to_where_followers_are_counted(emulator: VideosEmulator) -> None:
    emulator.faults.add(Redirect(code=308))
    heard = await submit(emulator, until=1)
    assert (heard.status, heard.header("Location"), emulator.billed) == (308, "/elsewhere", 0)
    await call(emulator, written("POST", "/elsewhere", KITTEN), until=1)
    assert emulator.requests.others == 1


@pytest.mark.parametrize(
    ("fault", "body"),
    [
        (Decline(), {"code": "4002", "msg": "the balance does not suffice", "data": None}),
        (Decline("failed", message="no"), {"id": "video_0", "status": "failed", "error": "no"}),
    ],
    ids=str,
)
async def test_a_refusal_that_says_200_is_not_billed(
    emulator: VideosEmulator, fault: Fault, body: object
) -> None:
    emulator.faults.add(fault)
    heard = await submit(emulator, until=1)
    assert (heard.status, json.loads(heard.body), emulator.billed) == (200, body, 0)


# --- bodies --------------------------------------------------------------------------------


async def test_a_gzip_bomb_is_small_and_becomes_large(emulator: VideosEmulator) -> None:
    emulator.faults.add(HostileBody("gzip_bomb"))
    heard = await submit(emulator, until=60_000)
    assert heard.header("Content-Encoding") == "gzip"
    length = int(heard.header("Content-Length") or 0)
    assert length < 100_000
    async with await anyio.connect_tcp("127.0.0.1", emulator.port) as line:
        await line.send(written("POST", CREATE, KITTEN))
        whole = await listen(line, until=length + len(heard.head) + 4)
    assert len(gzip.decompress(whole.body)) > 64 << 20


async def test_a_body_without_an_end_goes_on_until_nobody_listens(
    emulator: VideosEmulator,
) -> None:
    emulator.faults.add(HostileBody("endless", times=1))
    heard = await submit(emulator, until=3 << 20)
    assert heard.end == "open"
    # The emulator has not lost itself in it.
    assert (await submit(emulator, until=1)).status == 200


async def test_a_huge_body_is_announced_and_sent(emulator: VideosEmulator) -> None:
    emulator.faults.add(HostileBody("huge"))
    heard = await submit(emulator)
    assert len(heard.body) == int(heard.header("Content-Length") or 0) == 64 << 20


@pytest.mark.parametrize(
    ("kind", "error"), [("deep_json", RecursionError), ("long_integer", ValueError)]
)
async def test_json_that_breaks_its_reader(
    emulator: VideosEmulator, kind: str, error: type[Exception]
) -> None:
    emulator.faults.add(HostileBody(kind))
    async with await anyio.connect_tcp("127.0.0.1", emulator.port) as line:
        await line.send(
            written("POST", CREATE, KITTEN).replace(b"Host", b"Connection: close\r\nHost")
        )
        heard = await listen(line)
    with pytest.raises(error):
        json.loads(heard.body)
    assert emulator.billed == 1


# --- what answers say ----------------------------------------------------------------------


async def told(emulator: VideosEmulator, *faults: Fault) -> tuple[dict[str, Any], str]:
    """Submit under faults; gives the answer and the id that the task really has."""
    emulator.faults.extend(faults)
    heard = await submit(emulator, until=1)
    return json.loads(heard.body), list(emulator.tasks)[-1]


async def test_the_envelope_is_that_of_the_other_revision(emulator: VideosEmulator) -> None:
    body, task_id = await told(emulator, Dialect("envelope"))
    assert body == {"code": "0", "msg": None, "data": {"projectId": task_id}}


@pytest.mark.parametrize(
    ("dialect", "path"),
    [
        ("task_id", ("task_id",)),
        ("taskId", ("taskId",)),
        ("data_id", ("data", "id")),
        ("data_project_id", ("data", "projectId")),
    ],
)
async def test_the_id_stands_where_the_dialect_puts_it_and_nowhere_else(
    emulator: VideosEmulator, dialect: str, path: tuple[str, ...]
) -> None:
    body, task_id = await told(emulator, Dialect(dialect))
    assert json.dumps(body).count(task_id) == 1
    found: Any = body
    for name in path:
        found = found[name]
    assert found == task_id


async def test_dialects_of_one_call_add_up(emulator: VideosEmulator) -> None:
    body, task_id = await told(emulator, Dialect("extra"), Dialect("task_id"), Dialect("progress"))
    assert (body["task_id"], body["amount"], body["progress"]) == (task_id, 1.25, 0)


@pytest.mark.parametrize("how", ["missing", "null", "empty", "number", "html", "no_body", "cut"])
async def test_a_lost_id_is_billed_and_nowhere_in_the_answer(
    emulator: VideosEmulator, how: str
) -> None:
    emulator.faults.add(LoseId(how))
    heard = await submit(emulator, until=1)
    (task_id,) = emulator.tasks
    assert (heard.status, emulator.billed) == (200, 1)
    assert task_id.encode() not in heard.raw
