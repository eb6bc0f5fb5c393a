"""The emulator as a process of its own, as whoever is not Python meets it."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import attrs

from tests.cli.command import COMMAND, environment

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Standalone", "standalone"]

_LIMIT_S: Final = 20.0


@attrs.frozen
class Standalone:
    """An emulator that runs, and plain calls of it."""

    process: subprocess.Popen[str]
    variables: dict[str, str]

    @property
    def base_url(self) -> str:
        return self.variables["VIDEOS_BASE_URL"]

    @property
    def origin(self) -> str:
        return self.base_url.removesuffix("/kyyReactApiServer")

    def submit(self, prompt: str = "a kitten", **fields: Any) -> dict[str, Any]:
        body = {"model": "videos", "prompt": prompt, "duration": 5, **fields}
        return self._call("/v1/videos/videos", json.dumps(body).encode())

    def query(self, task_id: str) -> dict[str, Any]:
        return self._call(f"/v1/result/{task_id}", None)

    def page(self, query: str = "?refresh=off") -> str:
        with urlopen(f"{self.origin}/{query}", timeout=_LIMIT_S) as response:
            text: str = response.read().decode()
            return text

    def switch_on(self, fault: str) -> None:
        """Switch a fault on, as its page does."""
        with urlopen(f"{self.origin}/faults", urlencode({"on": fault}).encode()) as response:
            assert response.status == 200

    def kill(self) -> None:
        """End it as the power does."""
        self.process.kill()
        self.process.wait(_LIMIT_S)

    def interrupt(self) -> int:
        """End it as Ctrl-C does, and give its exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(_LIMIT_S)

    def _call(self, path: str, body: bytes | None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.variables['VIDEOS_API_KEY']}"}
        request = Request(f"{self.base_url}{path}", body, headers)
        with urlopen(request, timeout=_LIMIT_S) as response:
            answer: dict[str, Any] = json.load(response)
            return answer


@contextmanager
def standalone(*arguments: str, file_limit_bytes: int | None = None) -> Generator[Standalone]:
    """Run `videos-async emulate` on a free port, and on a disk that lets no file grow larger."""

    def prepare() -> None:
        # Whatever the suite was started from: a shell's background job hears no Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if file_limit_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit_bytes, file_limit_bytes))

    process = subprocess.Popen(
        [*COMMAND, "emulate", "--port", "0", "--media", "sample", *arguments],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=prepare,  # noqa: PLW1509 - no threads here
    )
    try:
        assert process.stdout is not None
        exports = [process.stdout.readline().removeprefix("export ") for _ in range(2)]
        assert all(exports), "the emulator did not start"
        variables = dict(export.strip().split("=", 1) for export in exports)
        yield Standalone(process, variables)
    finally:
        process.kill()
        process.communicate()
