"""What the README prints for other languages, run as it is printed there."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import environment
from tests.emulator.standalone import standalone

README = (Path(__file__).parent.parent.parent / "README.md").read_text("utf-8")


def block(kind: str, start: str) -> str:
    blocks: list[str] = re.findall(rf"^```{kind}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    [found] = [text for text in blocks if text.startswith(start)]
    return found


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_curl_of_the_documents_works_as_printed(tmp_path: Path) -> None:
    with standalone() as emulator:
        done = subprocess.run(
            ["bash", "-euc", block("sh", "curl ")],
            env=environment(**emulator.variables),
            cwd=tmp_path,
            check=True,
            capture_output=True,
            timeout=20,
        )
        created = json.loads(done.stdout)
        assert (created["object"], created["status"]) == ("video", "queued")
        assert emulator.query(created["id"])["model"] == "videos"


def test_the_script_with_requests_works_as_printed(tmp_path: Path) -> None:
    pytest.importorskip("requests", reason="needs requests: pip install 'videos-async[test]'")
    script = block("python requests", "import os, time, requests")
    assert len(script.replace("\n\n", "\n").splitlines()) == 10
    with standalone("--speed", "600") as emulator:
        subprocess.run(
            [sys.executable, "-W", "error", "-c", script],
            env=environment(**emulator.variables),
            cwd=tmp_path,
            check=True,
            timeout=20,
        )
        assert "A red fox in snow" in emulator.page()
    assert (tmp_path / "fox.mp4").read_bytes()[4:8] == b"ftyp"


def test_the_command_of_the_readme_starts_an_emulator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = shlex.split(block("sh", "videos-async emulate"))
    assert words[2:4] == ["--port", "8080"]
    monkeypatch.chdir(tmp_path)
    # As printed but for the port, which the helper chooses.
    with standalone(*words[4:]) as emulator:
        assert emulator.submit()["status"] == "queued"
    assert os.listdir(tmp_path) == ["emulator.jsonl"]  # noqa: PTH208 - a name is all that is wanted
