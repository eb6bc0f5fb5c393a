from __future__ import annotations

import gzip
import json
from io import BytesIO
from typing import TYPE_CHECKING, Any

import aiohttp
import anyio
import pytest

from tests.emulator.wire import KEY, KITTEN
from videos_async.emulator import CONTRACT_MODELS, ModelRules, RequestLog, VideosEmulator

if TYPE_CHECKING:
    from tests.emulator.wire import Wire


async def test_create_answers_as_documented(wire: Wire) -> None:
    reply = await wire.submit()
    assert reply.status == 200
    task_id = reply.json["id"]
    assert reply.json == {
        "id": task_id,
        "object": "video",
        "created": 1774836724,
        "model": "videos",
        "status": "queued",
        "error": None,
    }


async def test_a_task_goes_from_queued_over_processing_to_completed(wire: Wire) -> None:
    ids = [(await wire.submit()).json["id"] for _ in range(3)]

    async def statuses() -> list[str]:
        return [(await wire.query(task_id)).json["status"] for task_id in ids]

    assert await statuses() == ["processing", "processing", "queued"]
    wire.clock.advance(100)
    assert await statuses() == ["completed", "completed", "processing"]
    wire.clock.advance(100)
    assert await statuses() == ["completed"] * 3


async def test_a_query_before_the_end_brings_neither_url_nor_error(wire: Wire) -> None:
    task_id = (await wire.submit({**KITTEN, "model": "videos_fast"})).json["id"]
    assert (await wire.query(task_id)).json == {
        "id": task_id,
        "object": "video",
        "created": 1774836724,
        "model": "videos_fast",
        "status": "processing",
        "video_url": None,
        "error": None,
    }


async def test_a_completed_task_brings_a_url_and_a_fractional_duration(wire: Wire) -> None:
    done = await wire.completed()
    assert done["actualDuration"] == 5.0625
    assert done["error"] is None
    origin = wire.emulator.base_url.removesuffix("/kyyReactApiServer")
    assert done["video_url"].startswith(f"{origin}/files/{done['id']}.mp4?expires=")


@pytest.mark.parametrize(
    ("prompt", "error"),
    [
        ("a [refuse]", "content policy violation: the prompt was refused"),
        ("a [fail]", "generation failed: the prompt asked for a failure"),
    ],
)
async def test_a_failed_task_says_why_and_was_billed(wire: Wire, prompt: str, error: str) -> None:
    done = await wire.completed({**KITTEN, "prompt": prompt})
    assert (done["status"], done["error"], done["video_url"]) == ("failed", error, None)
    assert "actualDuration" not in done
    assert wire.emulator.ledger.billed_for(prompt) == 1


async def test_a_policy_refusal_is_accepted_as_queued_and_failed_at_the_first_query(
    wire: Wire,
) -> None:
    reply = await wire.submit({**KITTEN, "prompt": "a [refuse]"})
    assert (reply.status, reply.json["status"], reply.json["error"]) == (200, "queued", None)
    assert (await wire.query(reply.json["id"])).json["status"] == "failed"


async def test_the_ledger_counts_accepted_and_refused_calls(wire: Wire) -> None:
    first = await wire.submit(**{"Idempotency-Key": "k-1"})
    second = await wire.submit(**{"Idempotency-Key": "k-1"})
    await wire.submit({**KITTEN, "duration": 3})
    await wire.send("POST", "/v1/videos/videos", json=KITTEN, headers={})
    ledger = wire.emulator.ledger
    assert (ledger.billed, ledger.billed_for("a kitten"), ledger.refused) == (2, 2, 2)
    assert [entry.task_id for entry in ledger.entries] == [first.json["id"], second.json["id"]]
    assert {entry.idempotency_key for entry in ledger.entries} == {"k-1"}


async def test_a_broken_rule_answers_400_with_every_violation(wire: Wire) -> None:
    reply = await wire.submit({**KITTEN, "duration": 16, "ratio": "2:1"})
    assert reply.status == 400
    messages = [
        "duration must be an integer, 4 to 15 seconds for model 'videos', got 16",
        "ratio must be one of 16:9, 9:16, 1:1 for model 'videos', got '2:1'",
    ]
    assert reply.json == {
        "message": "; ".join(messages),
        "errors": [
            {"field": "duration", "message": messages[0]},
            {"field": "ratio", "message": messages[1]},
        ],
    }
    assert not wire.emulator.tasks


async def test_an_alias_conflict_answers_400(wire: Wire) -> None:
    urls = {"image": "https://a.example/1", "first_image": "https://a.example/2"}
    reply = await wire.submit({**KITTEN, **urls, "last_image": "https://a.example/3"})
    assert reply.status == 400
    assert reply.message.startswith("parameter conflict: 'image' is an alias of 'first_image'")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"model": NaN}',
        b'{"duration": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"model": "videos", "prompt": "\\ud800", "duration": 5}',
    ],
    ids=["empty", "cut", "array", "null", "not UTF-8", "NaN", "long integer", "deep", "surrogate"],
)
async def test_a_body_that_is_no_json_object_answers_400(wire: Wire, data: bytes) -> None:
    reply = await wire.send("POST", "/v1/videos/videos", data=data)
    assert reply.status == 400
    assert reply.message
    assert wire.emulator.ledger.refused == 1


async def test_a_deep_value_inside_an_unknown_field_is_survived(wire: Wire) -> None:
    deep: Any = "x"
    for _ in range(500):
        deep = [deep]
    assert (await wire.submit({**KITTEN, "unknown": deep})).status == 200
    assert (await wire.submit({**KITTEN, "duration": deep})).status == 400


async def test_an_oversized_body_answers_413(wire: Wire) -> None:
    data = BytesIO(json.dumps({**KITTEN, "unknown": "x" * 1_100_000}).encode())
    reply = await wire.send("POST", "/v1/videos/videos", data=data)
    assert reply.status == 413
    assert reply.message.startswith("the body is too large")
    assert wire.emulator.ledger.refused == 1


async def test_a_compressed_body_is_read_and_a_broken_one_answers_400(wire: Wire) -> None:
    packed = gzip.compress(json.dumps(KITTEN).encode())
    headers = {**KEY, "Content-Encoding": "gzip"}
    for data, status in ((packed, 200), (b"not gzip at all", 400)):
        reply = await wire.send("POST", "/v1/videos/videos", data=data, headers=headers)
        assert reply.status == status, reply.body


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic emulator-key",
        "emulator-key",
        "Bearer emulator-key2",
        "Bearer émulator-key",
    ],
)
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/videos/videos"), ("GET", "/v1/result/video_1")]
)
async def test_a_missing_or_wrong_key_answers_401(
    wire: Wire, method: str, path: str, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    reply = await wire.send(method, path, json=KITTEN, headers=headers)
    assert reply.status == 401
    assert "Bearer KEY" in reply.message
    assert wire.emulator.ledger.billed == 0


@pytest.mark.parametrize("key", ["emulator-key", "YOUR_API_KEY"])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
async def test_the_known_keys_open_the_api(wire: Wire, scheme: str, key: str) -> None:
    assert (await wire.submit(Authorization=f"{scheme} {key}")).status == 200


@pytest.mark.parametrize("task_id", ["video_1", "%2E%2E%2Fadmin", "a%2Fb", "%F0%9F%8E%A5", "%00"])
async def test_an_unknown_id_answers_404(wire: Wire, task_id: str) -> None:
    reply = await wire.query(task_id)
    assert reply.status == 404
    assert reply.message.startswith("there is no task ")


async def test_a_percent_encoded_id_is_found(wire: Wire) -> None:
    task_id = (await wire.submit()).json["id"]
    reply = await wire.query(task_id.replace("_", "%5F"))
    assert (reply.status, reply.json["id"]) == (200, task_id)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/videos"),
        ("POST", "/v1/v1/videos/videos"),
        ("GET", "/v1/result"),
        ("GET", "/v1/result/a/b"),
        ("DELETE", "/"),
        ("GET", "/video.mp4"),
        ("GET", "/files/video_1.mp4"),
    ],
)
async def test_a_wrong_path_answers_404_as_seen_in_the_field(
    wire: Wire, method: str, path: str
) -> None:
    reply = await wire.send(method, path)
    assert reply.status == 404
    assert reply.message == f"No handler found for {method} /kyyReactApiServer{path}"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/videos/videos", "POST"),
        ("PUT", "/v1/videos/videos", "POST"),
        ("POST", "/v1/result/video_1", "GET"),
        ("DELETE", "/v1/result/video_1", "GET"),
        ("POST", "/files/video_1.mp4", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_answers_405(wire: Wire, method: str, path: str, allowed: str) -> None:
    origin = wire.emulator.base_url.removesuffix("/kyyReactApiServer")
    reply = await wire.send(method, f"{origin}{path}" if path.startswith("/files") else path)
    assert (reply.status, reply.headers["Allow"]) == (405, allowed)
    assert reply.message.startswith(f"{method} is not allowed here")


async def test_requests_are_counted_by_kind(wire: Wire) -> None:
    done = await wire.completed()
    await wire.send("GET", done["video_url"], headers={"Range": "bytes=0-9"})
    await wire.send("GET", "/nowhere")
    counts = RequestLog(submits=1, queries=1, downloads=1, others=1)
    assert wire.emulator.requests == counts
    assert counts.total == 4


async def test_a_body_held_back_for_100_continue_is_asked_for(wire: Wire) -> None:
    body = json.dumps(KITTEN).encode()
    head = (
        "POST /kyyReactApiServer/v1/videos/videos HTTP/1.1\r\nHost: emulator\r\n"
        "Authorization: Bearer emulator-key\r\nExpect: 100-continue\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    async with await anyio.connect_tcp("127.0.0.1", wire.emulator.port) as stream:
        await stream.send(head.encode())
        assert await stream.receive() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await stream.send(body)
        assert (await stream.receive()).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_further_models_are_accepted_beside_those_of_the_contract(
    http: aiohttp.ClientSession,
) -> None:
    stable = ModelRules(name="videos_stable", prompt_limit_characters=5000)
    async with VideosEmulator(models=(*CONTRACT_MODELS, stable)) as emulator:
        for model, status in (("videos", 200), ("videos_stable", 200), ("videos_pro", 400)):
            url = f"{emulator.base_url}/v1/videos/videos"
            async with http.post(url, json={**KITTEN, "model": model}, headers=KEY) as response:
                assert response.status == status
