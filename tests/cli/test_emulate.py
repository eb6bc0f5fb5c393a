from __future__ import annotations

import re
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest

from tests.cli.command import Running, Start, environment, run_command, running
from videos_async.emulator import VideosEmulator


async def variables_of(command: Running) -> dict[str, str]:
    """Read what is to be exported."""
    exports = [shlex.split(await command.line()) for _ in range(2)]
    assert [words[0] for words in exports] == ["export", "export"]
    return dict(words[1].split("=", 1) for words in exports)


async def create(variables: dict[str, str]) -> dict[str, Any]:
    """Make the call of the documents, as it stands there but for the host."""
    async with (
        aiohttp.ClientSession() as http,
        http.post(
            f"{variables['VIDEOS_BASE_URL']}/v1/videos/videos",
            headers={"Authorization": "Bearer YOUR_API_KEY"},
            json={
                "model": "videos",
                "prompt": "A cute kitten playing on a sunlit meadow, cinematic lens",
                "duration": 5,
                "ratio": "16:9",
                "resolution": "720p",
            },
        ) as response,
    ):
        created: dict[str, Any] = await response.json()
        return created


async def test_emulate_prints_the_variables_serves_and_ends_well_on_ctrl_c() -> None:
    fresh = Start.FRESH
    async with running("emulate", "--port", "0", env=environment(), start=fresh) as command:
        variables = await variables_of(command)
        assert list(variables) == ["VIDEOS_API_KEY", "VIDEOS_BASE_URL"]
        created = await create(variables)
        env = environment(**variables)
        queried = await run_command("query", created["id"], env=env, start=fresh)
        command.process.send_signal(signal.SIGINT)
        ended = await command.end()

    assert (queried.code, queried.err) == (0, "")
    assert (ended.code, ended.out) == (0, "")
    assert ended.err.splitlines()[-1].endswith("1 submissions accepted")


async def test_emulate_on_a_taken_port_is_exit_code_2() -> None:
    async with VideosEmulator() as taken:
        ended = await run_command("emulate", "--port", str(taken.port), env=environment())

    assert (ended.code, ended.out) == (2, "")
    assert "choose another port" in ended.err


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
async def test_emulate_goes_on_from_its_state_file(tmp_path: Path, stop: signal.Signals) -> None:
    arguments = ("emulate", "--port", "0", "--seed", "7", "--state", str(tmp_path / "state.jsonl"))
    async with running(*arguments, env=environment()) as command:
        created = await create(await variables_of(command))
        command.process.send_signal(stop)
        await command.end()
    async with running(*arguments, env=environment()) as command:
        again = environment(**await variables_of(command))
        queried = await run_command("query", created["id"], "--json", env=again)
        command.process.send_signal(signal.SIGINT)
        ended = await command.end()

    assert queried.objects[0]["task"]["id"] == created["id"]
    assert (ended.code, ended.err.splitlines()[-1][-25:]) == (0, "d, 1 submissions accepted")


async def test_emulate_refuses_a_foreign_state_file_and_leaves_it_alone(tmp_path: Path) -> None:
    diary = tmp_path / "diary.txt"
    diary.write_text("Dear diary", "utf-8")
    ended = await run_command("emulate", "--port", "0", "--state", str(diary), env=environment())
    assert (ended.code, ended.out) == (2, "")
    assert "is not a state file of this emulator" in ended.err
    assert diary.read_text("utf-8") == "Dear diary"


async def test_emulate_takes_faults_in_the_order_they_are_given() -> None:
    arguments = ("--fault", "status 503 on=query", "--fault", "delay 0.01", "--profile", "field")
    async with running("emulate", "--port", "0", *arguments, env=environment()) as command:
        variables = await variables_of(command)
        base_url = variables["VIDEOS_BASE_URL"]
        headers = {"Authorization": f"Bearer {variables['VIDEOS_API_KEY']}"}
        async with (
            aiohttp.ClientSession(headers=headers) as http,
            http.get(f"{base_url}/v1/result/video_1") as response,
        ):
            assert response.status == 503
            async with http.get(f"{base_url.removesuffix('kyyReactApiServer')}") as page:
                text = await page.text()
    on = re.findall(r'name="off" value="([^"]*)"', text)
    assert on[:3] == [
        "status code=503 on=query",
        "delay seconds=0.01",
        "dialect dialect=envelope probability=0.04",
    ]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--fault", "earthquake"], "fault must be one of refuse, reset"),
        (["--fault", "status 99"], "code must be an integer from 200 to 599"),
        (["--host", "example.com"], "host must be a loopback address"),
        (["--speed", "0"], "speed must be a finite number above 0"),
        (["--state", "/"], "cannot be opened"),
    ],
    ids=["no fault", "a fault's field", "host", "speed", "state"],
)
async def test_emulate_with_a_wrong_setting_is_exit_code_2(
    arguments: list[str], problem: str
) -> None:
    ended = await run_command("emulate", "--port", "0", *arguments, env=environment())
    assert (ended.code, ended.out) == (2, "")
    assert problem in ended.err


@pytest.mark.parametrize(
    ("host", "is_warned"), [("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)]
)
async def test_emulate_warns_when_it_lets_the_network_in(host: str, *, is_warned: bool) -> None:
    async with running("emulate", "--port", "0", "--host", host, env=environment()) as command:
        variables = await variables_of(command)
        command.process.send_signal(signal.SIGINT)
        ended = await command.end()
    assert variables["VIDEOS_BASE_URL"].startswith("http://127.0.0.1:")
    assert ("opens the emulator to the network" in ended.err) is is_warned


async def test_commands_that_need_no_emulator_load_no_web_server() -> None:
    code = "import sys, videos_async.cli._app; sys.exit('aiohttp.web' in sys.modules)"
    done = await anyio.run_process([sys.executable, "-c", code], check=False, env=environment())
    assert done.returncode == 0
