from __future__ import annotations

import json
import re
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest

from tests.emulator.wire import KEY, KITTEN
from videos_async.emulator import ModelRules, VideosEmulator

if TYPE_CHECKING:
    import aiohttp

    from tests.emulator.wire import Reply, Wire

FILE = "/files/{id}.mp4"


async def document(http: aiohttp.ClientSession, emulator: VideosEmulator) -> dict[str, Any]:
    async with http.get(f"{emulator.page_url}openapi.json") as response:
        assert response.content_type == "application/json"
        found: dict[str, Any] = await response.json()
        return found


async def test_it_describes_every_path_of_the_documents(wire: Wire) -> None:
    found = await document(wire.http, wire.emulator)
    assert found["openapi"] == "3.1.0"
    assert {path: sorted(set(item) - {"parameters"}) for path, item in found["paths"].items()} == {
        "/kyyReactApiServer/v1/videos/videos": ["post"],
        "/kyyReactApiServer/v1/result/{id}": ["get"],
        FILE: ["get", "head"],
    }


async def test_it_states_the_rules_that_are_in_force(http: aiohttp.ClientSession) -> None:
    audio = ModelRules(
        name="audio",
        prompt_limit_characters=None,
        durations_s=(10, 15),
        ratios=("16:9",),
        reference_limits={"referenceImages": 9, "referenceAudios": 3},
        companions={"referenceAudios": "referenceImages"},
    )
    async with VideosEmulator(models=[ModelRules(name="plain"), audio]) as emulator:
        found = await document(http, emulator)
    plain, other = found["components"]["schemas"]["CreateRequest"]["oneOf"]
    assert plain["properties"]["model"] == {"enum": ["plain"]}
    assert plain["properties"]["prompt"]["maxLength"] == 1500
    assert "maxLength" not in other["properties"]["prompt"]
    assert other["properties"]["duration"]["enum"] == [10, 15]
    assert other["properties"]["referenceAudios"]["maxItems"] == 3
    assert "referenceVideos" not in other["properties"]
    needed = other["allOf"][0]["then"]["required"]
    assert needed == ["referenceImages"]


async def test_models_with_the_same_rules_share_a_schema(wire: Wire) -> None:
    found = await document(wire.http, wire.emulator)
    schema = found["components"]["schemas"]["CreateRequest"]
    assert schema["properties"]["model"] == {"enum": ["videos", "videos_fast"]}


async def test_the_document_may_be_read_from_other_origins(wire: Wire) -> None:
    async with wire.http.get(f"{wire.emulator.page_url}openapi.json") as response:
        assert response.headers["Access-Control-Allow-Origin"] == "*"


def check_is_documented(found: dict[str, Any], method: str, reply: Reply) -> None:
    """Hold an answer of the files against the document: status, headers, kind of body."""
    documented = found["paths"][FILE][method]["responses"][str(reply.status)]
    for name, header in documented.get("headers", {}).items():
        schema = header["schema"]
        assert re.search(schema.get("pattern", ""), reply.headers[name])
        assert reply.headers[name] == schema.get("const", reply.headers[name])
    if method == "get" and reply.body:
        assert reply.headers["Content-Type"] in documented["content"]
        if reply.headers["Content-Type"] == "application/json":
            assert list(json.loads(reply.body)) == ["message"]


@pytest.mark.parametrize("method", ["get", "head"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Range": "bytes=0-99"}, 206),
        ({"Range": "bytes=-5"}, 206),
        ({"Range": "bytes=999999999-"}, 416),
        ({"Range": "lines=1-2"}, 200),
        ({"If-None-Match": "*"}, 304),
        ({"If-Match": '"other"'}, 412),
    ],
    ids=str,
)
async def test_every_answer_of_a_file_is_documented(
    wire: Wire, headers: dict[str, str], status: int, method: str
) -> None:
    done = await wire.completed()
    reply = await wire.send(method.upper(), done["video_url"], headers=headers)
    assert reply.status == status
    check_is_documented(await document(wire.http, wire.emulator), method, reply)


@pytest.mark.parametrize("change", [("signature=", "signature=0"), ("/files/", "/files/x")])
async def test_a_forged_link_is_answered_as_documented(wire: Wire, change: tuple[str, str]) -> None:
    done = await wire.completed()
    reply = await wire.send("GET", done["video_url"].replace(*change), headers={})
    assert reply.status == 403
    check_is_documented(await document(wire.http, wire.emulator), "get", reply)


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (json.dumps(KITTEN), KEY, 200),
        ("{", KEY, 400),
        ("{}", KEY, 400),
        ("{}", {}, 401),
        (" " * 1_048_577, KEY, 413),
    ],
    ids=["accepted", "no JSON", "broken rules", "no key", "too large"],
)
async def test_every_status_of_a_create_call_is_documented(
    wire: Wire, body: str, headers: dict[str, str], status: int
) -> None:
    url = f"{wire.emulator.base_url}/v1/videos/videos"
    reply = await wire.send("POST", url, data=BytesIO(body.encode()), headers=headers)
    assert reply.status == status
    found = await document(wire.http, wire.emulator)
    operation = found["paths"]["/kyyReactApiServer/v1/videos/videos"]["post"]
    assert str(status) in operation["responses"]
