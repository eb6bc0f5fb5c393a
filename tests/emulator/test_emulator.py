from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
import anyio
import pytest

from tests.emulator.wire import KEY, KITTEN
from videos_async.emulator import (
    CONTRACT_MODELS,
    Lifetimes,
    ManualClock,
    Media,
    TaskStatus,
    VideosEmulator,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CURL = """curl --silent --request POST \\
  --url $BASE/v1/videos/videos \\
  --header 'Authorization: Bearer YOUR_API_KEY' \\
  --header 'Content-Type: application/json' \\
  --data '{"model": "videos", "prompt": "A cute kitten playing on a sunlit meadow, cinematic lens", "duration": 5, "ratio": "16:9", "resolution": "720p"}'
"""  # noqa: E501 -- as it is printed in the documents


async def submit(emulator: VideosEmulator, http: aiohttp.ClientSession) -> str:
    url = f"{emulator.base_url}/v1/videos/videos"
    async with http.post(url, json=KITTEN, headers=KEY) as response:
        task_id: str = (await response.json())["id"]
        return task_id


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
async def test_the_curl_of_the_documents_works_unchanged() -> None:
    async with VideosEmulator() as emulator:
        environment = {**os.environ, "BASE": emulator.base_url}
        done = await anyio.run_process(["sh", "-c", CURL], env=environment)
        assert json.loads(done.stdout)["status"] == "queued"
        assert emulator.ledger.billed == 1


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
async def test_curl_reads_the_refusal_of_an_oversized_body(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"x" * 1_050_000)
    async with VideosEmulator() as emulator:
        url = f"{emulator.base_url}/v1/videos/videos"
        headers = ["-H", "Authorization: Bearer emulator-key", "-H", "Expect: 100-continue"]
        command = ["curl", "-s", url, *headers, "--data-binary", f"@{tmp_path / 'body'}"]
        done = await anyio.run_process(command)
        assert json.loads(done.stdout)["message"].startswith("the body is too large")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_it_listens_on_loopback(host: str, http: aiohttp.ClientSession) -> None:
    async with VideosEmulator(host=host) as emulator:
        assert emulator.base_url.startswith("http://127.0.0.1:")
        assert emulator.base_url.endswith(f":{emulator.port}/kyyReactApiServer")
        assert await submit(emulator, http)


@pytest.mark.skipif(not socket.has_ipv6, reason="there is no IPv6 here")
async def test_it_listens_on_ipv6_loopback(http: aiohttp.ClientSession) -> None:
    emulator = VideosEmulator(host="::1")
    try:
        await emulator.start()
    except OSError:
        pytest.skip("IPv6 is switched off here")
    assert emulator.base_url == f"http://[::1]:{emulator.port}/kyyReactApiServer"
    assert await submit(emulator, http)
    await emulator.aclose()


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.0.1", "example.com", "", "127.1", "0x7f000001"]
)
def test_it_refuses_to_listen_for_other_machines(host: str) -> None:
    with pytest.raises(ValueError, match=r"^host must be a loopback address such as '127.0.0.1'"):
        VideosEmulator(host=host)


async def test_a_port_in_use_is_told_with_a_way_on() -> None:
    async with VideosEmulator() as first:
        second = VideosEmulator(port=first.port)
        with pytest.raises(OSError, match=rf"port {first.port} \(EADDRINUSE\): choose another"):
            await second.start()
        await second.aclose()


def test_there_is_no_base_url_before_the_port_is_known() -> None:
    with pytest.raises(RuntimeError, match="no port before it is started"):
        _ = VideosEmulator().base_url
    assert VideosEmulator(port=8080).base_url == "http://127.0.0.1:8080/kyyReactApiServer"


async def test_starting_and_closing_twice_is_once() -> None:
    emulator = VideosEmulator()
    await emulator.start()
    port = emulator.port
    await emulator.start()
    assert emulator.port == port
    await emulator.aclose()
    await emulator.aclose()


async def test_started_again_it_keeps_port_tasks_and_ledger(
    http: aiohttp.ClientSession,
) -> None:
    emulator = VideosEmulator()
    async with emulator:
        base_url, task_id = emulator.base_url, await submit(emulator, http)
    with pytest.raises(aiohttp.ClientConnectionError):
        await submit(emulator, http)
    async with emulator:
        assert emulator.base_url == base_url
        async with http.get(f"{base_url}/v1/result/{task_id}", headers=KEY) as response:
            assert response.status == 200
        assert emulator.ledger.billed == 1


async def test_closing_drops_idle_connections_and_stalled_requests_promptly(
    http: aiohttp.ClientSession,
) -> None:
    async with VideosEmulator() as emulator:
        await submit(emulator, http)
        stalled = await anyio.connect_tcp("127.0.0.1", emulator.port)
        await stalled.send(
            b"POST /kyyReactApiServer/v1/videos/videos HTTP/1.1\r\nHost: x\r\n"
            b"Authorization: Bearer emulator-key\r\nContent-Length: 100\r\n\r\n{"
        )
        begun_s = time.monotonic()
    # The grace of a request under way twice over, and room for a slow machine.
    assert time.monotonic() - begun_s < 5
    async with stalled:
        # A reset or an end, after whatever was answered first.
        with contextlib.suppress(anyio.BrokenResourceError):
            async for _ in stalled:
                pass


async def test_cancellation_closes_it_as_well() -> None:
    emulator = VideosEmulator()
    with anyio.CancelScope() as scope:
        async with emulator:
            scope.cancel()
            await anyio.sleep_forever()
    with pytest.raises(OSError, match="connect"):
        await anyio.connect_tcp("127.0.0.1", emulator.port)


async def test_a_speed_shortens_the_wait_and_keeps_the_order(
    http: aiohttp.ClientSession,
) -> None:
    async with VideosEmulator(speed=100_000, processing_slots=2, media=Media.SAMPLE) as emulator:
        ids = [await submit(emulator, http) for _ in range(8)]
        with anyio.fail_after(10):
            while any(task.status is not TaskStatus.COMPLETED for task in emulator.tasks.values()):
                await anyio.lowlevel.checkpoint()
        tasks = emulator.tasks
        assert list(tasks) == ids
        starts = [task.started_at_s or 0 for task in tasks.values()]
        assert starts == sorted(starts)


async def test_tasks_are_shown_as_they_stand_now(http: aiohttp.ClientSession) -> None:
    clock = ManualClock()
    async with VideosEmulator(clock=clock) as emulator:
        task_id = await submit(emulator, http)
        assert emulator.tasks[task_id].status is TaskStatus.PROCESSING
        clock.advance(1000)
        assert emulator.tasks[task_id].status is TaskStatus.COMPLETED
        assert emulator.tasks[task_id].request.prompt == "a kitten"


async def one_round() -> None:
    async with (
        VideosEmulator(speed=100_000) as emulator,
        aiohttp.ClientSession(headers=KEY) as http,
    ):
        task_id = await submit(emulator, http)
        done: dict[str, Any] = {"status": "queued"}
        while done["status"] != "completed":
            async with http.get(f"{emulator.base_url}/v1/result/{task_id}") as response:
                done = await response.json()
        async with http.get(done["video_url"]) as response:
            assert response.status == 200
            assert (await response.read())[4:8] == b"ftyp"


@pytest.mark.parametrize(
    "run",
    [asyncio.run, partial(anyio.run), partial(anyio.run, backend_options={"use_uvloop": True})],
    ids=["asyncio.run", "anyio.run", "uvloop"],
)
def test_it_works_in_every_way_to_run_a_loop(run: Callable[..., None]) -> None:
    if isinstance(run, partial) and run.keywords:
        pytest.importorskip("uvloop")
    if run is asyncio.run:
        asyncio.run(one_round())
    else:
        run(one_round)


async def test_its_repr_tells_the_state() -> None:
    emulator = VideosEmulator()
    assert repr(emulator) == "<VideosEmulator closed tasks=0 <Ledger billed=0 refused=0>>"
    async with emulator:
        assert f"127.0.0.1:{emulator.port}" in repr(emulator)
        assert "emulator-key" not in repr(emulator)


def test_the_first_of_the_keys_is_the_api_key() -> None:
    assert VideosEmulator().api_key == "emulator-key"
    assert VideosEmulator(api_keys=["a", "b"]).api_key == "a"
    assert VideosEmulator(api_keys="one").api_keys == ("one",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"api_keys": []}, r"api_keys must be non-empty ASCII words, got \(\)"),
        ({"api_keys": ["a", ""]}, "api_keys must be non-empty ASCII words"),
        ({"api_keys": ["ключ"]}, "api_keys must be non-empty ASCII words"),
        ({"api_keys": ["a\n"]}, "api_keys must be non-empty ASCII words"),
        ({"port": -1}, "port must be an integer from 0 to 65535, got -1"),
        ({"port": 65536}, "port must be an integer from 0 to 65535, got 65536"),
        ({"port": 80.0}, "port must be an integer from 0 to 65535, got 80.0"),
        ({"speed": 0}, "speed must be a finite number above 0, got 0"),
        ({"speed": float("inf")}, "speed must be a finite number above 0, got inf"),
        ({"speed": True}, "speed must be a finite number above 0, got True"),
        ({"speed": "fast"}, "speed must be a finite number above 0, got 'fast'"),
        ({"speed": 2, "clock": ManualClock()}, "speed must be 1 beside a clock, got 2"),
        ({"seed": -1}, "seed must be an integer of at least 0, got -1"),
        ({"seed": "x"}, "seed must be an integer of at least 0, got 'x'"),
        ({"processing_slots": 0}, "processing_slots must be an integer of at least 1, got 0"),
        ({"url_ttl_s": 0.5}, "url_ttl_s must be a finite number of at least 1, got 0.5"),
        ({"models": []}, "models must be at least one, names unique, got"),
        ({"models": CONTRACT_MODELS * 2}, "models must be at least one, names unique, got"),
        ({"media": "sample"}, "media must be a Media, got 'sample'"),
        ({"lifetimes": 150}, "lifetimes must be a Lifetimes, got 150"),
    ],
)
def test_a_wrong_argument_is_refused_with_field_rule_and_value(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        VideosEmulator(**arguments)


def test_what_it_was_built_with_cannot_be_changed() -> None:
    emulator = VideosEmulator(lifetimes=Lifetimes(sigma=0))
    with pytest.raises(AttributeError):
        emulator.speed = 2


def test_importing_it_loads_neither_pyav_nor_the_client() -> None:
    program = (
        "import sys, videos_async; before = set(sys.modules); import videos_async.emulator;"
        "new = set(sys.modules) - before;"
        "print([m for m in sys.modules if m.split('.')[0] == 'av'],"
        " [m for m in new if m.startswith('videos_async') and '.emulator' not in m])"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert done.stdout.decode().strip() == "[] []"
