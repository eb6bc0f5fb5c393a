from __future__ import annotations

import shlex
import signal
import sys

import aiohttp
import anyio

from tests.cli.command import environment, run_command, running
from videos_async.emulator import VideosEmulator


async def test_emulate_prints_the_variables_serves_and_ends_well_on_ctrl_c() -> None:
    async with running("emulate", "--port", "0", env=environment()) as command:
        exports = [shlex.split(await command.line()) for _ in range(2)]
        assert [words[0] for words in exports] == ["export", "export"]
        variables = dict(words[1].split("=", 1) for words in exports)
        assert list(variables) == ["VIDEOS_API_KEY", "VIDEOS_BASE_URL"]
        # The call of the documents, as it stands there but for the host.
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
            created = await response.json()
        queried = await run_command("query", created["id"], env=environment(**variables))
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


async def test_commands_that_need_no_emulator_load_no_web_server() -> None:
    code = "import sys, videos_async.cli._app; sys.exit('aiohttp.web' in sys.modules)"
    done = await anyio.run_process([sys.executable, "-c", code], check=False, env=environment())
    assert done.returncode == 0
