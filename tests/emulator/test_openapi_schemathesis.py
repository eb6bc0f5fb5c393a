"""The OpenAPI document against the emulator as a process, by schemathesis with all its checks."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.emulator.standalone import standalone

if TYPE_CHECKING:
    from pathlib import Path

    from tests.emulator.standalone import Standalone

pytestmark = pytest.mark.skipif(
    find_spec("schemathesis") is None, reason="needs schemathesis: pip install 'videos-async[dev]'"
)

# A task takes a moment, and its link lives longer than the test, which may take a minute.
SPEED = "600"
CONFIG = """
[[operations]]
include-path = "/files/{{id}}.mp4"
# A real link, so that what is tried is the file and not the lock in front of it.
parameters = {{ id = "{id}", expires = "{expires}", signature = "{signature}" }}
# Well-formed conditions need not hold: 412 and 416 are what such a file has to answer.
checks.positive_data_acceptance.expected-statuses = ["2xx", 304, 412, 416]
"""


def completed(emulator: Standalone) -> dict[str, Any]:
    task_id = emulator.submit()["id"]
    while (task := emulator.query(task_id))["status"] != "completed":
        pass
    return task


def complaint_about(emulator: Standalone, task: dict[str, Any], folder: Path, *options: str) -> str:
    """Run schemathesis, and give what it says if it is not content."""
    video_url: str = task["video_url"]
    link = dict(parse_qsl(urlsplit(video_url).query))
    (folder / "schemathesis.toml").write_text(CONFIG.format(id=task["id"], **link), "utf-8")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{emulator.origin}/openapi.json"),
            *("--header", f"Authorization: Bearer {emulator.variables['VIDEOS_API_KEY']}"),
            *("--checks", "all", "--mode", "all", "--seed", "7", "--no-color"),
            *options,
        ],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    return done.stdout + done.stderr if done.returncode else ""


@pytest.mark.timeout(120)
def test_every_answer_is_as_the_document_says(tmp_path: Path) -> None:
    report = tmp_path / "report.ndjson"
    options = ("--max-examples", "60", "--report", "ndjson", "--report-ndjson-path", str(report))
    with standalone("--speed", SPEED) as emulator:
        assert complaint_about(emulator, completed(emulator), tmp_path, *options) == ""
        billed = int(re.findall(r"Billed</dt><dd>([0-9,]+)", emulator.page())[0].replace(",", ""))
    statuses = {
        int(code) for code in re.findall(r'"status_code": ?(\d+)', report.read_text("utf-8"))
    }
    # It was really tried: good and bad requests, with and without key, whole files and parts.
    assert statuses >= {200, 206, 304, 400, 401, 404, 405, 412, 416}
    assert billed > 100


@pytest.mark.timeout(120)
def test_an_answer_that_is_not_in_the_document_is_found(tmp_path: Path) -> None:
    options = ("--phases", "coverage", "--include-operation-id", "queryResult")
    with standalone("--speed", SPEED) as emulator:
        task = completed(emulator)
        emulator.switch_on("status 418 on=query")
        complaint = complaint_about(emulator, task, tmp_path, *options)
    assert "Undocumented status code" in complaint
    assert "Received: 418" in complaint
