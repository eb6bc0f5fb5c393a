from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from tests.emulator.wire import KEY
from videos_async.emulator._signing import LinkSigner

if TYPE_CHECKING:
    from tests.emulator.wire import Wire


async def test_a_file_is_sent_without_a_key(wire: Wire) -> None:
    done = await wire.completed()
    reply = await wire.send("GET", done["video_url"])
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "video/mp4"
    assert reply.headers["Content-Length"] == str(len(reply.body))
    assert reply.headers["Accept-Ranges"] == "bytes"
    assert reply.headers["Last-Modified"] == "Mon, 30 Mar 2026 02:13:44 GMT"
    assert reply.body[4:8] == b"ftyp"
    assert wire.emulator.requests.downloads_with_authorization == 0


async def test_a_key_that_leaves_home_is_counted(wire: Wire) -> None:
    done = await wire.completed()
    await wire.send("GET", done["video_url"], headers=KEY)
    assert wire.emulator.requests.downloads_with_authorization == 1


async def test_an_interrupted_download_can_go_on(wire: Wire) -> None:
    url = (await wire.completed())["video_url"]
    whole = await wire.send("GET", url)
    condition = {"If-Range": whole.headers["ETag"]}
    rest = await wire.send("GET", url, headers={"Range": "bytes=1000-", **condition})
    assert rest.status == 206
    assert rest.body == whole.body[1000:]
    size = len(whole.body)
    assert rest.headers["Content-Range"] == f"bytes 1000-{size - 1}/{size}"
    changed = await wire.send("GET", url, headers={"Range": "bytes=1000-", "If-Range": '"old"'})
    assert (changed.status, changed.body) == (200, whole.body)
    beyond = await wire.send("GET", url, headers={"Range": f"bytes={size}-"})
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, f"bytes */{size}")
    known = await wire.send("GET", url, headers={"If-None-Match": whole.headers["ETag"]})
    assert (known.status, known.body) == (304, b"")


async def test_head_tells_the_length_and_sends_nothing(wire: Wire) -> None:
    url = (await wire.completed())["video_url"]
    whole, head = await wire.send("GET", url), await wire.send("HEAD", url)
    assert (head.status, head.body) == (200, b"")
    for name in ("Content-Length", "ETag", "Content-Type", "Last-Modified"):
        assert head.headers[name] == whole.headers[name]


async def test_a_url_expires_and_a_new_query_brings_a_fresh_one(wire: Wire) -> None:
    done = await wire.completed()
    wire.clock.advance(86_399)
    assert (await wire.send("GET", done["video_url"])).status == 200
    wire.clock.advance(1)
    expired = await wire.send("GET", done["video_url"])
    assert expired.status == 403
    assert expired.message == "this link has expired, query the task again for a fresh one"
    fresh = (await wire.query(done["id"])).json["video_url"]
    assert fresh != done["video_url"]
    assert (await wire.send("GET", fresh)).status == 200


async def test_a_url_stays_the_same_until_half_of_its_life_is_over(wire: Wire) -> None:
    done = await wire.completed()
    wire.clock.advance(43_200)
    assert (await wire.query(done["id"])).json["video_url"] == done["video_url"]
    wire.clock.advance(1)
    assert (await wire.query(done["id"])).json["video_url"] != done["video_url"]


@pytest.mark.parametrize(
    "change", [("signature=", "signature=0"), ("expires=", "expires=9"), ("?", "?x")]
)
async def test_a_url_that_was_tampered_with_answers_403(
    wire: Wire, change: tuple[str, str]
) -> None:
    url = (await wire.completed())["video_url"]
    reply = await wire.send("GET", url.replace(*change))
    assert reply.status == 403
    assert reply.message == "the signature of this link is not valid"


async def test_a_signed_url_of_a_task_without_a_file_answers_404(wire: Wire) -> None:
    running = (await wire.submit()).json["id"]
    signer = LinkSigner(hashlib.blake2b(b"0").digest())  # what seed 0 signs with
    origin = wire.emulator.base_url.removesuffix("/kyyReactApiServer")
    for task_id in (running, "video_1"):
        link = signer.sign(task_id, wire.clock.now_s() + 60)
        reply = await wire.send("GET", f"{origin}/files/{task_id}.mp4?{link}")
        assert (reply.status, reply.message) == (404, f"there is no file of task {task_id!r}")
