"""The command on a real terminal, as the other end of that terminal sees it."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from functools import partial
from pathlib import Path

import anyio.to_thread

from tests.cli.command import COMMAND, environment
from tests.raw_server import Line, RawServer, answer, head

_ANSI = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|\([A-Z0-9])")
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


def on_terminal(
    *arguments: str, env: dict[str, str], cwd: Path | None = None, keys: str = "", after: str = ""
) -> tuple[int, str]:
    """Run a command on a terminal, type keys once a text has shown; return code and screen."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={"TERM": "xterm-256color", "PYTHONUTF8": "1", **env},
        cwd=cwd,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no threads here
    )
    os.close(theirs)
    screen = b""
    give_up_s = time.monotonic() + 25
    try:
        while time.monotonic() < give_up_s and select.select([ours], [], [], 25)[0]:
            try:
                screen += os.read(ours, 1 << 16)
            except OSError:
                break  # Linux tells in this way that the last writer has gone
            if keys and after.encode() in screen:
                os.write(ours, keys.encode())
                keys = ""
        return process.wait(timeout=5), screen.decode()
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_live_display_shows_status_elapsed_time_and_transitions(tmp_path: Path) -> None:
    arguments = ("generate", "A kitten", "--emulator", "-o", "kitten.mp4")
    code, screen = on_terminal(*arguments, env=environment(), cwd=tmp_path)

    assert code == 0
    assert "\x1b[?25l" in screen
    assert "\x1b[?25h" in screen
    text = _ANSI.sub("", screen)
    assert re.search(rf"[{_SPINNER}]  processing  0:0\d  video_\d+", text)
    moves = re.findall(r"s  video_\d+  (.*?)\s*[\r\n]", text)
    assert moves == ["queued", "queued -> processing", "processing -> completed"]
    assert "saved kitten.mp4 (" in text


def test_ctrl_c_on_the_terminal_restores_the_cursor(tmp_path: Path) -> None:
    arguments = ("generate", "A kitten", "--emulator")
    code, screen = on_terminal(
        *arguments, env=environment(), cwd=tmp_path, keys="\x03", after="queued"
    )

    assert code == 130
    assert screen.rindex("\x1b[?25h") > screen.rindex("\x1b[?25l")
    assert "the emulator and its task are gone, nothing was billed" in screen


async def test_hostile_text_shows_on_the_terminal_and_does_nothing() -> None:
    hostile = "\x1b]52;c;aGk=\x07\x1b[2J[blink]x[/blink]:skull: \u202e"
    failed = {"id": "v", "status": "failed", "error": hostile}
    async with RawServer(answer(200, failed)) as server:
        env = environment(VIDEOS_API_KEY="a-key", VIDEOS_BASE_URL=server.url)
        code, screen = await anyio.to_thread.run_sync(lambda: on_terminal("watch", "v", env=env))

    assert code == 1
    assert r"\x1b]52;c;aGk=\x07\x1b[2J[blink]x[/blink]:skull: \u202e" in _ANSI.sub("", screen)
    assert not any(forbidden in screen for forbidden in ("\x1b]", "\x07", "\x1b[2J", "\u202e"))


def test_dumb_terminal_gets_plain_lines() -> None:
    env = environment(TERM="dumb")
    code, screen = on_terminal("generate", "[refuse]", "--emulator", env=env)

    assert code == 1
    assert "queued -> failed" in screen
    assert "\x1b" not in screen


async def test_a_download_shows_how_far_it_has_come(tmp_path: Path) -> None:
    async def serve(line: Line) -> None:
        request = await line.read_request()
        if not request.target.startswith("/video"):
            done = {"id": "v", "status": "completed", "video_url": f"{server.url}/video.mp4"}
            body = json.dumps(done).encode()
            await line.send(head(200, ("Content-Length", str(len(body)))) + body)
            return
        await line.send(head(200, ("Content-Length", "1000000"), ("Content-Type", "video/mp4")))
        for _ in range(10):
            await line.send(bytes(100_000))
            await asyncio.sleep(0.08)

    async with RawServer(serve) as server:
        env = environment(VIDEOS_API_KEY="a-key", VIDEOS_BASE_URL=server.url)
        code, screen = await anyio.to_thread.run_sync(
            partial(on_terminal, "download", "v", env=env, cwd=tmp_path)
        )

    assert code == 0
    text = _ANSI.sub("", screen)
    assert re.search(rf"[{_SPINNER}]  downloading  ━[━╸╺ ]*  \d+\.\d kB of 1\.0 MB", text)
    assert "saved v.mp4 (1.0 MB)" in text
