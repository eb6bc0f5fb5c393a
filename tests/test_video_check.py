"""The look at a video before it gets its name: duration, size, and whether it is one at all."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.file_server import VIDEO, file_session, finished, ranges_of, serve
from tests.raw_server import RawServer
from videos_async import ConfigurationError, VideoCheck, VideoMismatch, VideosSession
from videos_async._video_check import VideoFacts, look_at, video_flaws
from videos_async.emulator._testcard import render_test_card

av = pytest.importorskip("av", reason="PyAV, which makes the checks, is not installed")

CARD = render_test_card(prompt="A kitten", task_id="video_1", size=(192, 108), duration_s=2.0)


@pytest.fixture
async def session() -> AsyncIterator[VideosSession]:
    async with file_session() as session:
        yield session


@pytest.mark.parametrize(
    "check",
    [
        VideoCheck(),
        VideoCheck(duration_tolerance_s=0.01),
        VideoCheck(size=(192, 108), size_tolerance_px=0),
        VideoCheck(size=(200, 100)),
    ],
)
async def test_a_video_that_is_what_it_should_be_is_saved(
    session: VideosSession, tmp_path: Path, check: VideoCheck
) -> None:
    async with RawServer(serve(CARD)) as server:
        task = finished(server, actual_duration=2.0)
        await session.download(task, tmp_path / "a.mp4", check=check)
    assert os.listdir(tmp_path) == ["a.mp4"]  # noqa: PTH208 - names are all that is wanted


@pytest.mark.parametrize(
    ("check", "actual_duration", "flaws"),
    [
        (VideoCheck(), 5.0, ("it is 2 s long, the service says 5 s",)),
        (VideoCheck(), 1.0, ("it is 2 s long, the service says 1 s",)),
        (VideoCheck(duration_tolerance_s=3), 5.0, ()),
        (VideoCheck(size=(108, 192)), 2.0, ("it is 192x108, not 108x192 pixels",)),
        (VideoCheck(size=(192, 109), size_tolerance_px=0), None, ("it is 192x108, not 192x109",)),
        (VideoCheck(size=(1280, 720)), 9.0, ("it is 2 s long", "it is 192x108, not 1280x720")),
        (VideoCheck(), None, ()),
        (VideoCheck(), float("nan"), ()),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, check: VideoCheck, actual_duration: float | None, flaws: tuple[str, ...]
) -> None:
    (tmp_path / "a.mp4.part").write_bytes(CARD)
    facts = look_at(tmp_path / "a.mp4.part")
    assert isinstance(facts, VideoFacts)
    assert facts == VideoFacts(width=192, height=108, duration_s=2.0)
    found = video_flaws(facts, check, actual_duration_s=actual_duration)
    assert len(found) == len(flaws)
    assert all(flaw.startswith(start) for flaw, start in zip(found, flaws, strict=True))


async def test_a_video_that_is_not_what_it_should_be_gets_no_name_and_is_kept(
    session: VideosSession, tmp_path: Path
) -> None:
    target = tmp_path / "a.mp4"
    async with RawServer(serve(CARD), serve(CARD)) as server:
        task = finished(server, actual_duration=5.0)
        with pytest.raises(VideoMismatch, match=r"it is 2 s long.*kept in .*a\.mp4\.part") as told:
            await session.download(task, target, check=VideoCheck())
        assert told.value.flaws == ("it is 2 s long, the service says 5 s",)
        assert not target.exists()
        # Whoever wants it as it is need not fetch it again.
        await session.download(task, target)
        assert ranges_of(server) == [None, f"bytes={len(CARD) - 1}-"]
    assert target.read_bytes() == CARD


async def test_what_no_decoder_can_read_is_told(session: VideosSession, tmp_path: Path) -> None:
    # An MP4 by its boxes alone.
    async with RawServer(serve(VIDEO)) as server:
        with pytest.raises(VideoMismatch, match=r"it cannot be read as a video|has no pictures"):
            await session.download(finished(server), tmp_path / "a.mp4", check=VideoCheck())
    assert not (tmp_path / "a.mp4").exists()


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    container: Any = av.open(str(path), mode="w")
    with container as file:
        stream = file.add_stream("aac", rate=48_000)
        frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
        frame.sample_rate = 48_000
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    assert look_at(path) == "it has no pictures"


async def test_the_look_is_taken_off_the_loop(
    session: VideosSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    opened: Any = av.open

    def noting(*arguments: Any, **options: Any) -> Any:
        threads.append(threading.get_ident())
        return opened(*arguments, **options)

    monkeypatch.setattr(av, "open", noting)
    async with RawServer(serve(CARD)) as server:
        await session.download(finished(server), tmp_path / "a.mp4", check=VideoCheck())
    assert threads
    assert threading.get_ident() not in threads


async def test_without_pyav_the_command_to_install_it_is_told_before_anything_is_fetched(
    session: VideosSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    monkeypatch.delitem(sys.modules, "av")
    async with RawServer(serve(CARD)) as server:
        with pytest.raises(ConfigurationError, match=r"pip install 'videos-async\[check\]'"):
            await session.download(finished(server), tmp_path / "a.mp4", check=VideoCheck())
        assert server.requests == []


class _Sink:
    async def write(self, data: bytes, /) -> None:
        raise AssertionError(data)


@pytest.mark.parametrize("target", ["s3://bucket/a.mp4", _Sink()], ids=["object", "sink"])
async def test_only_a_file_can_be_looked_at(session: VideosSession, target: Any) -> None:
    with pytest.raises(ConfigurationError, match="check is made on a file"):
        await session.download("video_1", target, check=VideoCheck())


@pytest.mark.parametrize("check", [True, "size", 0.5])
async def test_what_is_no_check_is_refused(
    session: VideosSession, tmp_path: Path, check: Any
) -> None:
    with pytest.raises(ConfigurationError, match="check must be a VideoCheck"):
        await session.download("video_1", tmp_path / "a.mp4", check=check)


@pytest.mark.parametrize(
    "settings",
    [
        {"duration_tolerance_s": -1},
        {"duration_tolerance_s": float("nan")},
        {"size_tolerance_px": -1},
        {"size": (1280,)},
        {"size": (0, 720)},
        {"size": (1280.0, 720)},
        {"size": "1280x720"},
        {"size": [1280, 720]},
    ],
)
def test_settings_of_a_check_are_judged(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"VideoCheck.{next(iter(settings))} must be"):
        VideoCheck(**settings)
