"""The pytest plugin: the emulator as a fixture, for tests of whatever uses the Videos API.

::

    @pytest.mark.videos_emulator(faults=["reset after=acceptance on=submit times=1"])
    async def test_an_uncertain_order_is_shown_and_not_paid_twice(videos_emulator):
        await my_service.order("A kitten")
        videos_emulator.assert_paid_once("A kitten")

Two fixtures, for async tests under pytest-asyncio (strict or auto) and under anyio's own plugin:

``videos_emulator``
    A running `VideosEmulator`; while the test lasts, ``VIDEOS_API_KEY`` and ``VIDEOS_BASE_URL``
    name it, so code that makes its own session uses it.
``videos_session``
    A `VideosSession` with it, whose polls keep the pace of the emulator's clock and whose jitter
    comes from its seed.

The marker takes every argument of `VideosEmulator`; on a class or a module it holds for all tests
there, and a test's own goes first. In an event loop of a `VirtualClock` the emulator goes by that
clock. Otherwise, unless told, minutes pass in tenths of a second.

pytest loads this file in every run, so it loads nothing itself: the emulator, the client and
their libraries come with the first test that asks for a fixture.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from videos_async import VideosSession
    from videos_async.emulator import VideosEmulator

__all__ = ["pytest_configure", "videos_emulator", "videos_session"]

_MARKER: Final = "videos_emulator"
# Half a minute between two polls becomes 30 ms.
_SPEED: Final = 1000.0
_LOOP_SCOPES: Final = ("function", "class", "module", "package", "session")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and the inner fixtures for pytest-asyncio where that is there."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(faults=…, profile=…, speed=…, seed=…, …): how the fixture videos_emulator"
        " is set up; every argument of VideosEmulator",
    )
    if config.pluginmanager.has_plugin("asyncio"):
        config.pluginmanager.register(_for_pytest_asyncio(), "videos_async.pytest_asyncio")


@pytest.fixture
def videos_emulator(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> VideosEmulator:
    """A running emulator of the Videos API, to which the environment points."""
    emulator: VideosEmulator = request.getfixturevalue(f"_{_runner_of(request)}_videos_emulator")
    monkeypatch.setenv("VIDEOS_API_KEY", emulator.api_key)
    monkeypatch.setenv("VIDEOS_BASE_URL", emulator.base_url)
    return emulator


@pytest.fixture
def videos_session(request: pytest.FixtureRequest) -> VideosSession:
    """A session with the emulator of the test."""
    session: VideosSession = request.getfixturevalue(f"_{_runner_of(request)}_videos_session")
    return session


def _runner_of(request: pytest.FixtureRequest) -> str:
    """Tell who runs the test: its fixtures must live in the same event loop."""
    marker = request.node.get_closest_marker("asyncio")
    is_asyncio = marker is not None and request.config.pluginmanager.has_plugin("asyncio")
    is_anyio = "anyio_backend" in request.fixturenames
    if is_asyncio and is_anyio:
        message = (
            f"both pytest-asyncio and anyio's plugin want to run {request.node.name}, each in a"
            " loop of its own: set asyncio_mode = strict, or take one of the two marks away"
        )
        raise pytest.UsageError(message)
    if marker is not None and is_asyncio:
        default = request.config.getini("asyncio_default_test_loop_scope")
        scope = marker.kwargs.get("loop_scope") or marker.kwargs.get("scope") or default
        return f"asyncio_{scope or 'function'}"
    if is_anyio:
        return "anyio"
    message = (
        f"{request.node.name} uses {request.fixturename}, which lives in an event loop: make it an"
        " async test and mark it with pytest.mark.asyncio or pytest.mark.anyio"
    )
    raise pytest.UsageError(message)


# --- inside the event loop of the test -----------------------------------------------------


@asynccontextmanager
async def _emulator(request: pytest.FixtureRequest) -> AsyncGenerator[VideosEmulator]:
    # Here and in the next one, not at the top: see the end of the module's docstring.
    import asyncio  # noqa: PLC0415

    from videos_async.emulator import Media, VideosEmulator, VirtualLoop  # noqa: PLC0415

    settings: dict[str, Any] = {"media": Media.SAMPLE}
    given = _marked(request)
    loop = asyncio.get_running_loop()
    if "clock" not in given and "speed" not in given:
        settings |= {"clock": loop.clock} if isinstance(loop, VirtualLoop) else {"speed": _SPEED}
    async with VideosEmulator(**(settings | given)) as emulator:
        yield emulator


def _marked(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Gather what the markers of a test say, its own before those around it."""
    given: dict[str, Any] = {}
    for marker in request.node.iter_markers(_MARKER):
        if marker.args:
            message = f"the marker {_MARKER} takes arguments by name alone, got {marker.args!r}"
            raise pytest.UsageError(message)
        given = {**marker.kwargs, **given}
    return given


@asynccontextmanager
async def _session(emulator: VideosEmulator) -> AsyncGenerator[VideosSession]:
    import random  # noqa: PLC0415

    from videos_async import PollPolicy, RetryPolicy, VideosSession  # noqa: PLC0415
    from videos_async.emulator import ManualClock  # noqa: PLC0415

    # A clock that the test moves by hand tells nothing of how long a test is to wait.
    pace = _SPEED if isinstance(emulator.clock, ManualClock) else emulator.speed
    advised, tries = PollPolicy(), RetryPolicy()
    async with VideosSession(
        emulator.api_key,
        base_url=emulator.base_url,
        poll=PollPolicy(
            min_interval_s=advised.min_interval_s / pace,
            max_interval_s=advised.max_interval_s / pace,
        ),
        retry=RetryPolicy(base_s=tries.base_s / pace, cap_s=tries.cap_s / pace),
        # Jitter that can be repeated; nothing secret hangs on it.
        jitter=random.Random(emulator.seed).random,  # noqa: S311
    ) as session:
        yield session


def _fixtures(
    runner: str, make: Callable[..., Any] = pytest.fixture, **options: Any
) -> dict[str, Any]:
    """Make the two inner fixtures for one way to run a test.

    They are functions of their own each time: pytest-asyncio writes on them what they are for.
    """

    async def emulator(request: pytest.FixtureRequest) -> AsyncGenerator[VideosEmulator]:
        async with _emulator(request) as started:
            yield started

    async def session(videos_emulator: VideosEmulator) -> AsyncGenerator[VideosSession]:
        async with _session(videos_emulator) as opened:
            yield opened

    return {
        name: make(function, name=name, **options)
        for name, function in (
            (f"_{runner}_videos_emulator", emulator),
            (f"_{runner}_videos_session", session),
        )
    }


globals().update(_fixtures("anyio"))


def _for_pytest_asyncio() -> ModuleType:
    """Make them as pytest-asyncio wants them, for each loop that it may run a test in."""
    make = import_module("pytest_asyncio").fixture
    holder = ModuleType("videos_async.pytest_asyncio")
    for scope in _LOOP_SCOPES:
        vars(holder).update(_fixtures(f"asyncio_{scope}", make, loop_scope=scope))
    return holder
