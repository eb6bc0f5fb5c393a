"""Where files are never fetched from: real listeners stand there and count connections."""

from __future__ import annotations

import socket
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import pytest

from tests.file_server import VIDEO, cut_off, file_session, finished, serve
from tests.raw_server import Line, RawServer, Script, head, raw
from videos_async import (
    DownloadError,
    DownloadPolicy,
    RetryPolicy,
    Status,
    Timeouts,
    VideosSession,
    VideoTask,
)

ONE_TRY = RetryPolicy(max_attempts=1)


@attrs.frozen
class Trap:
    """A port on which this machine listens at all its addresses, and counts who comes."""

    port: int
    listeners: list[socket.socket]

    @property
    def connections(self) -> int:
        """How many came; each is let go."""
        return sum(map(_accepted, self.listeners))


def _accepted(listener: socket.socket) -> int:
    count = 0
    while True:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


@pytest.fixture
def trap() -> Iterator[Trap]:
    with ExitStack() as stack:
        everywhere = stack.enter_context(_listener(socket.AF_INET, "0.0.0.0", 0))
        port = everywhere.getsockname()[1]
        listeners = [everywhere]
        if socket.has_ipv6:
            listeners.append(stack.enter_context(_listener(socket.AF_INET6, "::", port)))
        yield Trap(port, listeners)


@contextmanager
def _listener(family: int, address: str, port: int) -> Generator[socket.socket]:
    with socket.socket(family) as listener:
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
        listener.listen()
        listener.settimeout(0)
        yield listener


def own_addresses() -> list[str]:
    """This machine's address towards others, where it has one: private in most networks."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return []
        address: str = probe.getsockname()[0]
        return [address]


LOCAL_FORMS = (
    "127.0.0.1",
    "127.1",
    "127.255.255.254",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "0",
    "0.0.0.0",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[fe80::1%25lo]",
    "[ff02::1]",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "[fd00::1]",
    "[fe80::1]",
)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def at(url: str) -> VideoTask:
    return VideoTask(id="video_1", status=Status.COMPLETED, video_url=url)


def public_session(**options: Any) -> VideosSession:
    """Open a session whose API is not on loopback."""
    return VideosSession("key", base_url="https://videos.example", retry=ONE_TRY, **options)


@pytest.mark.parametrize("host", LOCAL_FORMS)
async def test_no_form_of_an_address_leads_into_the_house(
    tmp_path: Path, trap: Trap, host: str
) -> None:
    async with public_session() as session:
        with pytest.raises(DownloadError):
            await session.download(at(f"https://{host}:{trap.port}/a.mp4"), tmp_path / "a.mp4")
    assert trap.connections == 0
    assert names(tmp_path) == []


@pytest.mark.parametrize("host", own_addresses())
async def test_the_address_of_this_machine_in_its_network_is_not_fetched_from(
    tmp_path: Path, trap: Trap, host: str
) -> None:
    async with public_session() as session:
        with pytest.raises(DownloadError, match="fetched from public addresses"):
            await session.download(at(f"https://{host}:{trap.port}/a.mp4"), tmp_path / "a.mp4")
    assert trap.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_a_host_that_was_allowed_by_name_is_connected_to(
    tmp_path: Path, trap: Trap, host: str
) -> None:
    # The counterpart of the tests above: the trap does catch what comes.
    policy = DownloadPolicy(private_hosts=[host.strip("[]")])
    async with public_session(downloads=policy, timeouts=Timeouts(connect_s=0.1)) as session:
        with pytest.raises(DownloadError, match=r"no connection within|TLS|SSL"):
            await session.download(at(f"https://{host}:{trap.port}/a.mp4"), tmp_path / "a.mp4")
    assert trap.connections > 0


# --- names ---------------------------------------------------------------------------------

Resolve: TypeAlias = Callable[..., None]


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Make a name resolve to one list of addresses after the other; the last one stays."""
    known: dict[str, list[list[str]]] = {}
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *args: Any, **options: Any) -> list[Any]:
        if host not in known:
            return real(host, port, *args, **options)
        answers = known[host]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [found for one in addresses for found in real(one, port, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    def teach(name: str, *answers: list[str]) -> None:
        known[name] = list(answers)

    return teach


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["::1"], ["127.0.0.1", "::1"], ["0.0.0.0"], ["::ffff:127.0.0.1"]]
)
async def test_a_name_that_leads_into_the_house_is_not_followed(
    tmp_path: Path, trap: Trap, resolve: Resolve, addresses: list[str]
) -> None:
    resolve("files.test", addresses)
    task = at(f"https://files.test:{trap.port}/a.mp4")
    async with public_session() as session:
        with pytest.raises(DownloadError, match="fetched from public addresses"):
            await session.download(task, tmp_path / "a.mp4")
    assert trap.connections == 0


async def test_a_name_that_leads_elsewhere_the_second_time_is_not_followed(
    tmp_path: Path, resolve: Resolve
) -> None:
    # With the API on loopback 127.0.0.1 is fine and 0.0.0.0 is not, though it is the same server.
    resolve("rebinding.test", ["127.0.0.1"], ["0.0.0.0"])
    async with (
        RawServer(cut_off(), serve()) as server,
        file_session(plain_http_hosts=["rebinding.test"]) as session,
    ):
        task = at(f"http://rebinding.test:{server.port}/a.mp4")
        with pytest.raises(DownloadError, match=r"0\.0\.0\.0 is the unspecified address"):
            await session.download(task, tmp_path / "a.mp4")
        await server.settle()
        assert server.accepted == 1


async def test_a_name_with_a_good_and_a_bad_address_is_fetched_from_the_good_one(
    tmp_path: Path, resolve: Resolve
) -> None:
    resolve("mixed.test", ["0.0.0.0", "127.0.0.1"])
    async with (
        RawServer(serve()) as server,
        file_session(plain_http_hosts=["mixed.test"]) as session,
    ):
        task = at(f"http://mixed.test:{server.port}/a.mp4")
        await session.download(task, tmp_path / "a.mp4")
        assert server.accepted == 1
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO


# --- redirects -----------------------------------------------------------------------------


def redirect(location: str, status: int = 302) -> Script:
    return raw(head(status, ("Location", location), ("Content-Length", "0")))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_into_the_house_is_not_followed(
    tmp_path: Path, trap: Trap, resolve: Resolve, status: int
) -> None:
    resolve("first.test", ["127.0.0.1"])
    policy = DownloadPolicy(private_hosts=["first.test"])
    inwards = redirect(f"https://127.0.0.1:{trap.port}/a.mp4", status)
    async with (
        RawServer(inwards) as server,
        public_session(downloads=policy, plain_http_hosts=["first.test"]) as session,
    ):
        task = at(f"http://first.test:{server.port}/a.mp4")
        with pytest.raises(DownloadError, match="fetched from public addresses"):
            await session.download(task, tmp_path / "a.mp4")
        assert len(server.requests) == 1
    assert trap.connections == 0


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("ftp://127.0.0.1:{port}/a.mp4", "no http or https URL"),
        ("file:///etc/passwd", "no http or https URL"),
        ("data:video/mp4,abc", "no http or https URL"),
        ("https:///a.mp4", "no http or https URL"),
        ("http://[::1", "cannot be read"),
        ("http://127.0.0.1:99999/", "cannot be read"),
        ("http://files.example/a.mp4", "without TLS"),
        ("http://files.example:{port}@127.0.0.1:{port}/", "a user or a password"),
        ("http://0.0.0.0:{port}/a.mp4", "without TLS"),
        ("https://0.0.0.0:{port}/a.mp4", "fetched from public addresses"),
        ("https://[::]:{port}/a.mp4", "fetched from public addresses"),
    ],
)
async def test_a_redirect_elsewhere_is_refused_before_a_connection_is_made(
    tmp_path: Path, trap: Trap, location: str, reason: str
) -> None:
    moved = redirect(location.format(port=trap.port))
    async with RawServer(moved) as server, file_session() as session:
        with pytest.raises(DownloadError, match=reason):
            await session.download(finished(server), tmp_path / "a.mp4")
        assert len(server.requests) == 1
    assert trap.connections == 0


async def test_five_redirects_are_followed_and_no_more(tmp_path: Path) -> None:
    moved = [redirect("/again")] * 5
    async with RawServer(*moved, serve()) as server, file_session() as session:
        await session.download(finished(server), tmp_path / "a.mp4")
    assert len(server.requests) == 6
    async with RawServer(redirect("/again")) as server, file_session() as session:
        with pytest.raises(DownloadError, match="more than 5 redirects"):
            await session.download(finished(server), tmp_path / "b.mp4")
    assert len(server.requests) == 6


# --- URLs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://files.example/a.mp4", "plain_http_hosts"),
        ("ftp://files.example/a.mp4", "no http or https URL"),
        ("https://user:password@files.example/a.mp4", "a user or a password"),
        ("https://files.example/a b.mp4", "no http or https URL"),
        ("https://files.example/a\r\nHost: b", "no http or https URL"),
        ("/a.mp4", "no http or https URL"),
        ("https://", "no http or https URL"),
        ("https://[bad/a.mp4", "cannot be read"),
    ],
)
async def test_a_url_that_is_not_safe_to_fetch_is_refused(
    tmp_path: Path, url: str, reason: str
) -> None:
    async with public_session() as session:
        with pytest.raises(DownloadError, match=reason) as caught:
            await session.download(at(url), tmp_path / "a.mp4")
    assert "password@" not in str(caught.value)


# --- a proxy -------------------------------------------------------------------------------


async def test_a_file_is_fetched_through_the_proxy_of_the_session(tmp_path: Path) -> None:
    async with (
        RawServer(serve()) as proxy,
        public_session(proxy=proxy.url, plain_http_hosts=["files.example"]) as session,
    ):
        await session.download(at("http://files.example/a.mp4"), tmp_path / "a.mp4")
        assert proxy.requests[0].target == "http://files.example/a.mp4"
        assert "authorization" not in proxy.requests[0].headers


@pytest.mark.parametrize("host", ["10.0.0.1", "0x7f.1", "2130706433", "localhost", "[::1]"])
async def test_an_address_in_a_url_is_judged_before_the_proxy_is_asked_for_it(
    tmp_path: Path, host: str
) -> None:
    async with RawServer(serve()) as proxy, public_session(proxy=proxy.url) as session:
        with pytest.raises(DownloadError, match="fetched from public addresses"):
            await session.download(at(f"https://{host}/a.mp4"), tmp_path / "a.mp4")
        assert proxy.accepted == 0


# --- limits --------------------------------------------------------------------------------


async def test_a_file_that_says_it_is_too_long_is_refused_unread(tmp_path: Path) -> None:
    policy = DownloadPolicy(limit_bytes=len(VIDEO) - 1)
    async with RawServer(serve()) as server, file_session(downloads=policy) as session:
        with pytest.raises(DownloadError, match="limit_bytes"):
            await session.download(finished(server), tmp_path / "a.mp4")
    assert names(tmp_path) == []


async def test_a_file_of_the_longest_length_is_fetched(tmp_path: Path) -> None:
    policy = DownloadPolicy(limit_bytes=len(VIDEO))
    async with RawServer(serve()) as server, file_session(downloads=policy) as session:
        await session.download(finished(server), tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO


async def test_a_body_without_an_end_is_left_at_the_limit(tmp_path: Path) -> None:
    async def endless(line: Line) -> None:
        await line.read_request()
        await line.send(head(200, ("Content-Type", "video/mp4")) + VIDEO)
        while True:
            await line.send(bytes(1 << 16))

    policy = DownloadPolicy(limit_bytes=10 << 20)
    async with RawServer(endless) as server, file_session(downloads=policy) as session:
        with pytest.raises(DownloadError, match="longer than 10485760 bytes"):
            await session.download(finished(server), tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4.part").stat().st_size < 12 << 20
