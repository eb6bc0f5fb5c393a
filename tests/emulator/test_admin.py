from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from tests.emulator.wire import KITTEN, Wire
from videos_async.emulator import ManualClock, Media, Reach, VideosEmulator

if TYPE_CHECKING:
    from pathlib import Path

    import aiohttp

    from tests.emulator.wire import Reply


class Page(HTMLParser):
    """The page as a browser without style sees it."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._table = ""
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self._table = dict(attrs)["aria-labelledby"] or ""
            self.tables[self._table] = []
        elif tag == "tr":
            self.tables[self._table].append([])
        elif tag in {"td", "th"}:
            self.tables[self._table][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._table = ""

    def handle_data(self, data: str) -> None:
        if self._table and self.tables[self._table] and self.tables[self._table][-1]:
            self.tables[self._table][-1][-1] += data

    def rows(self, table: str) -> list[list[str]]:
        """The rows below the heads."""
        return self.tables[table][1:]

    def links(self, text: str) -> list[str]:
        return [attrs["href"] or "" for tag, attrs in self.tags if tag == text]


async def get(wire: Wire, target: str = "/", **options: Any) -> Reply:
    options.setdefault("headers", {})
    origin = wire.emulator.page_url.removesuffix("/")
    return await wire.send(options.pop("method", "GET"), f"{origin}{target}", **options)


async def page(wire: Wire, target: str = "/") -> Page:
    reply = await get(wire, target)
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    return Page(reply.body.decode())


async def test_a_task_shows_with_status_and_age(wire: Wire) -> None:
    task_id = (await wire.submit()).json["id"]
    wire.clock.advance(75)
    shown = (await page(wire)).rows("tasks")
    assert shown == [
        [task_id, "processing", "1 min 15 s", "", "videos, 5 s, 16:9", "a kitten"],
    ]
    wire.clock.advance(4 * 3600)
    shown = (await page(wire)).rows("tasks")
    assert shown[0][1:4] == ["completed", "4 h 01 min", "1 min 40 s"]


async def test_a_failed_task_says_why(wire: Wire) -> None:
    await wire.submit({**KITTEN, "prompt": "a [refuse]"})
    assert "content policy violation" in (await page(wire)).rows("tasks")[0][-1]


async def test_the_ledger_shows_what_was_billed_and_what_twice(wire: Wire) -> None:
    await wire.submit(**{"Idempotency-Key": "k-1"})
    await wire.submit({**KITTEN, "prompt": "a fox", "model": "videos_fast"})
    await wire.submit()
    rows = (await page(wire)).rows("ledger")
    assert [row[2:] for row in rows] == [
        ["videos", "none", "a kittenThis prompt was paid for 2 times."],
        ["videos_fast", "none", "a fox"],
        ["videos", "k-1", "a kittenThis prompt was paid for 2 times."],
    ]
    assert rows[0][0] == "02:12:04"


async def test_the_last_requests_show_newest_first_without_key_or_signature(wire: Wire) -> None:
    done = await wire.completed()
    await wire.send("GET", done["video_url"], headers={"Authorization": "Bearer secret-7"})
    await wire.submit({})
    reply = await get(wire)
    rows = Page(reply.body.decode()).rows("requests")
    assert [row[1:3] for row in rows] == [
        ["POST /kyyReactApiServer/v1/videos/videos", "400"],
        [f"GET /files/{done['id']}.mp4", "200"],
        [f"GET /kyyReactApiServer/v1/result/{done['id']}", "200"],
        ["POST /kyyReactApiServer/v1/videos/videos", "200"],
    ]
    assert b"signature" not in reply.body
    assert b"secret-7" not in reply.body


async def test_looking_at_the_page_is_no_request_of_the_service(wire: Wire) -> None:
    await page(wire)
    await get(wire, "/openapi.json")
    assert wire.emulator.requests.total == 0
    assert "requests" not in (await page(wire)).tables


async def test_what_anybody_wrote_is_text_and_never_markup(wire: Wire) -> None:
    nasty = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;</bdi></td>"
    await wire.submit({**KITTEN, "prompt": nasty}, **{"Idempotency-Key": "<b>k</b>"})
    await wire.send("GET", f"{wire.emulator.page_url}%3Cb%3E<i>\"'", headers={})
    reply = await get(wire)
    shown = Page(reply.body.decode())
    assert {tag for tag, _ in shown.tags}.isdisjoint({"script", "img", "b", "i"})
    assert shown.rows("tasks")[0][-1] == nasty
    assert shown.rows("ledger")[0][3] == "<b>k</b>"
    assert not [name for _, attrs in shown.tags for name in attrs if name.startswith("on")]


async def test_the_policy_of_the_page_allows_no_script_and_nothing_from_elsewhere(
    wire: Wire,
) -> None:
    reply = await get(wire)
    policy = reply.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "script-src" not in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    links = Page(reply.body.decode()).links("link")
    assert [link.partition(":")[0] for link in links] == ["data"]


async def test_the_page_renews_itself_unless_asked_not_to(wire: Wire) -> None:
    def refreshes(shown: Page) -> list[str | None]:
        return [attrs["content"] for _, attrs in shown.tags if attrs.get("http-equiv") == "refresh"]

    assert refreshes(await page(wire)) == ["5"]
    assert refreshes(await page(wire, "/?refresh=off")) == []


async def test_many_tasks_are_shown_page_by_page(wire: Wire) -> None:
    for number in range(60):
        await wire.submit({**KITTEN, "prompt": f"prompt {number}"})

    async def prompts(target: str) -> list[str]:
        return [row[-1] for row in (await page(wire, target)).rows("tasks")]

    assert await prompts("/") == [f"prompt {number}" for number in range(59, 34, -1)]
    assert await prompts("/?tasks=3") == [f"prompt {number}" for number in range(9, -1, -1)]
    assert await prompts("/?tasks=99") == await prompts("/?tasks=3")
    for nonsense in ("0", "-1", "x", "%C2%B2", "9" * 5000, "%00"):
        assert await prompts(f"/?tasks={nonsense}") == await prompts("/")
    second = (await get(wire, "/?tasks=2&refresh=off")).body.decode()
    assert "26 to 50 of 60" in second
    links = [unescape(link) for link in re.findall(r'href="(/[^"]*)"', second)]
    assert "/?refresh=off#tasks" in links
    assert "/?tasks=3&refresh=off#tasks" in links
    assert "/?tasks=2&ledger=2&refresh=off#ledger" in links


async def test_ten_thousand_tasks_make_a_small_page(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    path = tmp_path / "state.jsonl"
    async with VideosEmulator(state=path) as emulator:
        wire = Wire(emulator=emulator, clock=ManualClock(), http=http)
        task_id = (await wire.submit({**KITTEN, "prompt": "x" * 1500})).json["id"]
    *head, accepted, _ = path.read_text("utf-8").splitlines()
    many = [accepted.replace(task_id, f"video_{number:016}") for number in range(10_000)]
    path.write_text("\n".join([*head, *many, ""]), "utf-8")
    async with (
        VideosEmulator(state=path, media=Media.SAMPLE) as emulator,
        http.get(emulator.page_url) as response,
    ):
        body = await response.read()
    assert b"1 to 25 of 10,000" in body
    assert len(body) < 100_000


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:80",
        "LOCALHOST.",
        "a.localhost:1",
        "127.0.0.1",
        "[::1]:80",
        "10.0.0.7",
    ],
)
async def test_the_page_answers_to_its_own_names(wire: Wire, host: str) -> None:
    assert (await get(wire, headers={"Host": host})).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil", "", "["]
)
async def test_the_page_does_not_answer_to_a_foreign_name(wire: Wire, host: str) -> None:
    reply = await get(wire, headers={"Host": host})
    assert reply.status == 421
    assert b"open it as localhost" in reply.body


@pytest.mark.parametrize("target", ["/", "/openapi.json"])
async def test_another_method_is_not_allowed(wire: Wire, target: str) -> None:
    reply = await get(wire, target, method="DELETE")
    assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD")
    assert (await get(wire, target, method="HEAD")).status == 200


async def test_a_clock_past_all_calendars_still_makes_a_page(wire: Wire) -> None:
    await wire.submit()
    wire.clock.advance(1e15)
    shown = (await page(wire)).rows("tasks")
    assert shown[0][1:3] == ["completed", "11,574,074,074 d 01 h"]


async def test_file_links_lead_where_the_client_came_by_if_the_network_is_let_in(
    http: aiohttp.ClientSession,
) -> None:
    async with VideosEmulator(host="0.0.0.0", reach=Reach.NETWORK, speed=1e6) as emulator:
        assert emulator.base_url == f"http://127.0.0.1:{emulator.port}/kyyReactApiServer"
        headers = {"Authorization": "Bearer emulator-key", "Host": "box.example:99"}
        create = f"{emulator.base_url}/v1/videos/videos"
        async with http.post(create, json=KITTEN, headers=headers) as response:
            task_id = (await response.json())["id"]
        result = f"{emulator.base_url}/v1/result/{task_id}"
        url = None
        while url is None:
            async with http.get(result, headers=headers) as response:
                url = (await response.json())["video_url"]
    assert url.startswith("http://box.example:99/files/")


def test_a_name_is_no_address_to_listen_on() -> None:
    with pytest.raises(ValueError, match=r"^host must be an IP address or 'localhost'"):
        VideosEmulator(host="box.example", reach=Reach.NETWORK)
