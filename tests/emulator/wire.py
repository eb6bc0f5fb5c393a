"""An emulator on a clock that the test holds, and short ways to talk to it over a real socket."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs
from yarl import URL

if TYPE_CHECKING:
    import aiohttp
    from multidict import CIMultiDictProxy

    from videos_async.emulator import ManualClock, VideosEmulator

KEY = {"Authorization": "Bearer emulator-key"}
KITTEN: dict[str, Any] = {"model": "videos", "prompt": "a kitten", "duration": 5}
LIFETIME_S = 100


@attrs.frozen(kw_only=True)
class Reply:
    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        assert self.headers["Content-Type"] == "application/json"
        decoded: dict[str, Any] = json.loads(self.body)
        return decoded

    @property
    def message(self) -> str:
        message: str = self.json["message"]
        return message


@attrs.frozen(kw_only=True)
class Wire:
    emulator: VideosEmulator
    clock: ManualClock
    http: aiohttp.ClientSession

    async def send(self, method: str, url: str, **options: Any) -> Reply:
        """Send to a full URL as it stands, or to a path below the base URL with the key."""
        if url.startswith("/"):
            url = self.emulator.base_url + url
            options.setdefault("headers", KEY)
        async with self.http.request(method, URL(url, encoded=True), **options) as response:
            body = await response.read()
            return Reply(status=response.status, headers=response.headers, body=body)

    async def submit(self, body: object = KITTEN, **headers: str) -> Reply:
        return await self.send("POST", "/v1/videos/videos", json=body, headers={**KEY, **headers})

    async def query(self, task_id: str) -> Reply:
        return await self.send("GET", f"/v1/result/{task_id}")

    async def completed(self, body: object = KITTEN) -> dict[str, Any]:
        task_id = (await self.submit(body)).json["id"]
        self.clock.advance(LIFETIME_S)
        return (await self.query(task_id)).json
