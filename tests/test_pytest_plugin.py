"""The plugin in the projects of its users: small suites, run by real pytest processes."""

from __future__ import annotations

import enum
import os
import re
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

README: Final = Path(__file__).parent.parent / "README.md"
STRICT: Final = "asyncio_mode = strict\nasyncio_default_fixture_loop_scope = function"

needs_pytest_asyncio = pytest.mark.skipif(
    find_spec("pytest_asyncio") is None, reason="pytest-asyncio is not installed"
)


class Bystanders(enum.Enum):
    """Plugins that are installed here and have no part in it; some take longer than the tests."""

    IN = ()
    OUT = tuple(
        word
        for name in ("xdist", "cacheprovider", "timeout", "hypothesispytest", "schemathesis")
        for word in ("-p", f"no:{name}")
    )


class Project:
    """The tests of somebody's service, in a directory of their own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ini("")

    def ini(self, text: str) -> None:
        lines = f"[pytest]\nfilterwarnings = error\naddopts = --strict-markers\n{text}\n"
        (self.root / "pytest.ini").write_text(lines, encoding="utf-8")

    def write(self, name: str, text: str) -> None:
        (self.root / name).write_text(textwrap.dedent(text), encoding="utf-8")

    def run(self, *arguments: str, bystanders: Bystanders = Bystanders.OUT) -> tuple[int, str]:
        """Run its tests; gives the exit code and all that was said."""
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")
        }
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *bystanders.value, *arguments],
            check=False,
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout + done.stderr

    def assert_passes(
        self, count: int, *arguments: str, bystanders: Bystanders = Bystanders.OUT
    ) -> str:
        code, said = self.run(*arguments, bystanders=bystanders)
        assert (code, f"{count} passed" in said) == (0, True), said
        return said


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


SERVICE: Final = """
    from videos_async import VideoRequest, VideosSession


    async def order(prompt: str) -> str:
        async with VideosSession() as session:
            task = await session.submit(VideoRequest(prompt=prompt, duration=5))
        return task.id
"""
ANYIO: Final = """
    import pytest

    pytestmark = pytest.mark.anyio


    @pytest.fixture
    def anyio_backend():
        return "asyncio"
"""
TESTS: Final = """
    import os

    from service import order
    from videos_async import SubmissionUncertain, VideoRequest, WaitTimeout
    from videos_async.emulator import Reset, Status


    async def test_code_that_makes_its_own_session_uses_the_emulator(videos_emulator):
        assert os.environ["VIDEOS_BASE_URL"] == videos_emulator.base_url
        assert await order("A kitten") in videos_emulator.tasks
        assert videos_emulator.billed == videos_emulator.billed_for("A kitten") == 1
        assert videos_emulator.requests.submits == 1
        videos_emulator.assert_paid_once("A kitten")


    @pytest.mark.videos_emulator(faults=[Reset(after="acceptance", on="submit")])
    async def test_a_fault_strikes(videos_emulator):
        with pytest.raises(SubmissionUncertain):
            await order("A kitten")
        videos_emulator.assert_paid_once()


    async def test_a_session_keeps_pace_with_the_emulator(videos_emulator, videos_session):
        task = await videos_session.generate(VideoRequest(prompt="A hare", duration=5), timeout=20)
        assert task.status == "completed"
        assert 1 <= videos_emulator.requests.queries <= 12


    @pytest.mark.videos_emulator(speed=1)
    async def test_the_speed_is_that_of_the_marker(videos_emulator, videos_session):
        with pytest.raises(WaitTimeout):
            request = VideoRequest(prompt="A hare", duration=5)
            await videos_session.generate(request, timeout=0.2)


    @pytest.mark.videos_emulator(profile="hostile", seed=3)
    class TestOfAClass:
        @pytest.mark.videos_emulator(seed=4)
        async def test_markers_add_up_and_the_nearest_has_the_last_word(self, videos_emulator):
            assert (videos_emulator.profile, videos_emulator.seed) == ("hostile", 4)
            assert len(videos_emulator.faults) > 20
            videos_emulator.faults.clear()
            await order("A kitten")


    def test_the_environment_is_as_it_was_afterwards():
        assert "VIDEOS_BASE_URL" not in os.environ
"""
COUNT: Final = 6


def test_it_works_under_anyio(project: Project) -> None:
    project.write("service.py", SERVICE)
    project.write("test_service.py", ANYIO + TESTS)
    project.assert_passes(COUNT, "-p", "no:asyncio")


@needs_pytest_asyncio
def test_it_works_under_pytest_asyncio_in_strict_mode(project: Project) -> None:
    project.ini(STRICT)
    project.write("service.py", SERVICE)
    # A loop for the whole module: the fixtures must live in that one.
    header = 'import pytest\n\npytestmark = pytest.mark.asyncio(loop_scope="module")\n'
    tests = textwrap.dedent(TESTS).replace("def test_the_env", "async def test_the_env")
    project.write("test_service.py", header + tests)
    project.assert_passes(COUNT)


@needs_pytest_asyncio
def test_it_works_under_pytest_asyncio_in_auto_mode_without_anyios_plugin(
    project: Project,
) -> None:
    project.ini(STRICT.replace("strict", "auto"))
    project.write("service.py", SERVICE)
    project.write("test_service.py", "import pytest\n" + textwrap.dedent(TESTS))
    project.assert_passes(COUNT, "-p", "no:anyio")


@needs_pytest_asyncio
def test_both_kinds_of_tests_live_side_by_side(project: Project) -> None:
    project.ini(STRICT)
    project.write("service.py", SERVICE)
    project.write("test_anyio.py", ANYIO + TESTS)
    project.write(
        "test_asyncio.py",
        """
        import pytest
        from service import order

        @pytest.mark.asyncio
        async def test_one(videos_emulator, videos_session):
            await order("A kitten")
            videos_emulator.assert_paid_once("A kitten")
        """,
    )
    project.assert_passes(COUNT + 1, bystanders=Bystanders.IN)


VIRTUAL: Final = """
    import asyncio
    import time

    import pytest
    from videos_async import VideoRequest
    from videos_async.emulator import VirtualClock


    @pytest.mark.videos_emulator(faults=["slow 10800"])
    async def test_three_hours_of_polling(videos_emulator, videos_session):
        begun = time.perf_counter()
        request = VideoRequest(prompt="A snail", duration=5)
        task = await videos_session.generate(request, timeout=20_000)
        assert task.status == "completed"
        assert 180 <= videos_emulator.requests.queries <= 360
        assert asyncio.get_running_loop().time() >= 10_800
        assert time.perf_counter() - begun < 15


    async def test_advancing_lets_all_happen_that_is_due(videos_emulator, videos_session):
        task = await videos_session.submit(VideoRequest(prompt="A snail", duration=5))
        waiting = asyncio.create_task(videos_session.wait(task))
        await videos_emulator.advance(3600)
        assert waiting.done()
        assert waiting.result().status == "completed"
"""


def test_a_loop_on_virtual_time_gives_the_emulator_its_clock_under_anyio(project: Project) -> None:
    backend = textwrap.dedent(ANYIO).replace(
        '"asyncio"', '"asyncio", {"loop_factory": VirtualClock().new_event_loop}'
    )
    project.write("test_time.py", "from videos_async.emulator import VirtualClock\n" + backend)
    with (project.root / "test_time.py").open("a", encoding="utf-8") as file:
        file.write(textwrap.dedent(VIRTUAL))
    project.assert_passes(2, "-p", "no:asyncio")


@needs_pytest_asyncio
def test_a_loop_on_virtual_time_gives_the_emulator_its_clock_under_pytest_asyncio(
    project: Project,
) -> None:
    project.ini(STRICT.replace("strict", "auto"))
    project.write(
        "conftest.py",
        """
        from videos_async.emulator import VirtualClock

        def pytest_asyncio_loop_factories(config, item):
            return {"virtual": VirtualClock().new_event_loop}
        """,
    )
    project.write("test_time.py", VIRTUAL)
    project.assert_passes(2, "-p", "no:anyio")


def test_what_cannot_work_is_told_in_words(project: Project) -> None:
    project.write(
        "test_service.py",
        ANYIO
        + """
    @pytest.mark.videos_emulator("hostile")
    async def test_of_a_marker_without_names(videos_emulator):
        pass


    @pytest.mark.videos_emulator(profile="nice")
    async def test_of_a_profile_that_is_none(videos_emulator):
        pass
    """,
    )
    project.write("test_sync.py", "def test_of_no_loop(videos_emulator): pass")
    code, said = project.run("-p", "no:asyncio")
    assert code == 1
    assert "3 errors" in said
    assert "takes arguments by name alone, got ('hostile',)" in said
    assert "profile must be one of field, hostile, got 'nice'" in said
    assert "test_of_no_loop uses videos_emulator, which lives in an event loop: make it an" in said


@needs_pytest_asyncio
def test_a_mode_in_which_two_loops_would_meet_is_refused(project: Project) -> None:
    project.ini(STRICT.replace("strict", "auto"))
    project.write(
        "test_service.py", ANYIO + "\n    async def test_one(videos_emulator):\n        pass\n"
    )
    code, said = project.run()
    assert code == 1
    assert "want to run test_one, each in a loop of its own: set asyncio_mode = strict" in said


def test_a_failed_assertion_tells_what_was_paid_for_twice(project: Project) -> None:
    project.write("service.py", SERVICE)
    project.write(
        "test_service.py",
        ANYIO
        + """
    async def test_one(videos_emulator):
        from service import order

        await order("A kitten")
        await order("A kitten")
        await order("A hare")
        videos_emulator.assert_paid_once("A kitten", "A hare", "A fox")
    """,
    )
    code, said = project.run("-p", "no:asyncio")
    assert code == 1
    told = re.findall(r"^E +(.*)$", said, re.MULTILINE)
    assert told[0] == "AssertionError: not paid for exactly once:"
    assert told[1] == "'A kitten': paid for 2 times"
    assert re.fullmatch(
        r"1\. 20\d\d-.*\+00:00 as task video_\d{16}, Idempotency-Key [0-9a-f]{32}", told[2]
    )
    assert re.fullmatch(r"2\. [0-9.]+ s later as task video_\d{16}, .*", told[3])
    assert told[4:] == ["'A fox': never paid for"]
    # The line of the test is shown, and nothing of the library.
    assert "_ledger.py" not in said


def test_it_loads_nothing_until_a_fixture_is_asked_for(project: Project) -> None:
    project.write(
        "test_light.py",
        """
        import sys

        def test_light():
            heavy = {"aiohttp", "av", "attrs", "cattrs", "videos_async.emulator"}
            ours = [name for name in sys.modules if name.startswith("videos_async.")]
            assert not heavy & set(sys.modules)
            assert set(ours) == {"videos_async._version", "videos_async.pytest_plugin"}
        """,
    )
    project.assert_passes(1, "-p", "no:anyio", "-p", "no:asyncio")


def test_it_can_be_switched_off(project: Project) -> None:
    project.write("test_off.py", "def test_off(): pass")
    _, said = project.run("-p", "no:videos_async", "-p", "no:asyncio", "--fixtures")
    assert "tmp_path" in said
    assert "videos_emulator" not in said


def test_its_fixtures_and_its_marker_explain_themselves(project: Project) -> None:
    _, said = project.run("--fixtures", "-p", "no:asyncio")
    assert "videos_emulator -- " in said
    assert "_anyio_videos_emulator" not in said
    _, said = project.run("--markers", "-p", "no:asyncio")
    assert "@pytest.mark.videos_emulator(faults=…, profile=…, speed=…, seed=…, …)" in said


def test_the_examples_of_the_readme_run_as_printed(project: Project) -> None:
    blocks = re.findall(
        r"^```python\n(.*?)^```$", README.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    examples = [block for block in blocks if "def test_" in block]
    for number, example in enumerate(examples):
        project.write(f"test_example_{number}.py", example)
    count = sum(len(re.findall(r"^(?:async )?def test_", one, re.MULTILINE)) for one in examples)
    assert count >= 3
    project.assert_passes(count, "-p", "no:asyncio")
