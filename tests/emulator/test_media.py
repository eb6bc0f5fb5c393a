from __future__ import annotations

from io import BytesIO
from struct import unpack_from
from typing import Any

import anyio
import av
import pytest

from videos_async.emulator import EmulatedTask, GenerationRequest, Media
from videos_async.emulator._media import MediaStore, VideoFile, frame_size
from videos_async.emulator._samples import SAMPLE_SIZES, sample_video
from videos_async.emulator._testcard import render_test_card

RATIOS = [("16:9", (1280, 720)), ("9:16", (720, 1280)), ("1:1", (720, 720))]


def task(ratio: str = "16:9", *, task_id: str = "video_1", duration_s: int = 4) -> EmulatedTask:
    request = GenerationRequest(
        model="videos",
        prompt="A cute kitten, « déjà vu », 小猫\n" * 40,
        duration_s=duration_s,
        ratio=ratio,
        resolution="720p",
        first_image=None,
        last_image=None,
        references={},
        extra={},
    )
    return EmulatedTask(id=task_id, request=request, accepted_at_s=0, lifetime_s=1)


def opened(content: bytes) -> tuple[tuple[int, int], float, str, list[bytes]]:
    """Size, duration, codec and the luma of every frame, by a real decoder."""
    container: Any = av.open(BytesIO(content))
    with container:
        stream = container.streams.video[0]
        frames = [bytes(frame.planes[0]) for frame in container.decode(stream)]
        size = (stream.codec_context.width, stream.codec_context.height)
        assert container.duration / av.time_base == stream.duration * stream.time_base
        return size, float(stream.duration * stream.time_base), stream.codec.name, frames


@pytest.mark.parametrize(
    ("media", "duration_s", "frame_count"),
    [
        (Media.TEST_CARD, 4, 65),
        (Media.TEST_CARD, 15, 241),
        (Media.SAMPLE, 4, 64),
        (Media.SAMPLE, 15, 64),
    ],
)
@pytest.mark.parametrize(("ratio", "size"), RATIOS)
async def test_every_file_plays_in_the_asked_ratio_for_its_actual_duration(
    media: Media, duration_s: int, frame_count: int, ratio: str, size: tuple[int, int]
) -> None:
    video = task(ratio, duration_s=duration_s)
    file = await MediaStore(media=media).fetch(video)
    found_size, found_duration_s, codec, frames = opened(file.content)
    assert found_size == size
    assert found_duration_s == video.actual_duration_s
    assert codec == "h264"
    assert len(frames) == frame_count


@pytest.mark.parametrize("media", [Media.TEST_CARD, Media.SAMPLE])
async def test_the_same_task_gives_the_same_bytes_and_another_task_others(media: Media) -> None:
    first, again, other = [
        await MediaStore(media=media).fetch(task(task_id=task_id))
        for task_id in ("video_1", "video_1", "video_2")
    ]
    assert first == again
    assert first.content != other.content
    assert first.etag != other.etag
    assert first.etag.startswith('"')


def test_a_test_card_shows_its_prompt_and_moves() -> None:
    cards = [
        render_test_card(prompt=prompt, task_id="video_1", size=(320, 180), duration_s=1)
        for prompt in ("A", "B")
    ]
    frames = [opened(card)[3] for card in cards]
    assert frames[0][0] != frames[1][0]
    assert frames[0][0] != frames[0][-1]


@pytest.mark.parametrize("prompt", ["x" * 5000, "\x00", "👩‍🚀 " * 700, "   ", "~"])
@pytest.mark.parametrize("size", [(720, 1280), (5760, 720), (90, 720), (800, 100)])
def test_no_prompt_and_no_shape_breaks_a_test_card(prompt: str, size: tuple[int, int]) -> None:
    card = render_test_card(prompt=prompt, task_id="video_" + "1" * 60, size=size, duration_s=0.1)
    assert opened(card)[0] == size


def test_a_test_card_is_mpeg_4_where_there_is_no_x264(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    card = render_test_card(prompt="A", task_id="video_1", size=(720, 1280), duration_s=4.0625)
    assert opened(card)[:3] == ((720, 1280), 4.0625, "mpeg4")


def boxes(content: bytes, start: int, end: int, path: str = "") -> dict[str, bytes]:
    """Every box of an MP4 by its path, with its payload."""
    found: dict[str, bytes] = {}
    while start < end:
        size, name = unpack_from(">I4s", content, start)
        assert 8 <= size <= end - start
        here = f"{path}/{name.decode()}"
        found[here] = content[start + 8 : start + size]
        if name in {b"moov", b"trak", b"mdia", b"edts"}:
            found |= boxes(content, start + 8, start + size, here)
        start += size
    return found


@pytest.mark.parametrize("duration_s", [0, 4.0625, 15.0625])
def test_every_part_of_a_sample_tells_the_same_duration(duration_s: float) -> None:
    content = sample_video(task_id="video_7", size=(1280, 720), duration_s=duration_s)
    found = boxes(content, 0, len(content))
    assert found["/free"] == b"video_7"
    (per_second, movie) = unpack_from(">II", found["/moov/mvhd"], 12)
    (track,) = unpack_from(">I", found["/moov/trak/tkhd"], 20)
    (edits, edit, media_start) = unpack_from(">III", found["/moov/trak/edts/elst"], 4)
    (media_per_second, media) = unpack_from(">II", found["/moov/trak/mdia/mdhd"], 12)
    assert movie / per_second == media / media_per_second == max(duration_s, 1 / 16)
    assert (track, edits, edit, media_start) == (movie, 1, movie, 0)


@pytest.mark.parametrize("name", SAMPLE_SIZES)
def test_samples_are_small(name: str) -> None:
    content = sample_video(task_id="video_1", size=SAMPLE_SIZES[name], duration_s=5)
    assert len(content) < 20_000
    assert opened(content)[0] == SAMPLE_SIZES[name]


@pytest.mark.parametrize(
    ("size", "closest"), [((1680, 720), (1280, 720)), ((720, 800), (720, 720))]
)
def test_a_sample_of_another_ratio_is_the_closest_one(
    size: tuple[int, int], closest: tuple[int, int]
) -> None:
    assert opened(sample_video(task_id="video_1", size=size, duration_s=5))[0] == closest


@pytest.mark.parametrize(
    ("ratio", "resolution", "size"),
    [
        ("21:9", "720p", (1680, 720)),
        ("4:3", "720p", (960, 720)),
        ("3:4", "720p", (720, 960)),
        ("7:5", "720p", (1008, 720)),
        ("11:7", "720p", (1132, 720)),
        ("16:9", "1080p", (1920, 1080)),
        ("16:9", "huge", (1280, 720)),
    ],
)
def test_frame_sizes_follow_the_ratio_in_even_numbers(
    ratio: str, resolution: str, size: tuple[int, int]
) -> None:
    assert frame_size(ratio, resolution) == size


def counting_renders(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    rendered: list[str] = []

    def render(_: MediaStore, video: EmulatedTask) -> VideoFile:
        rendered.append(video.id)
        return VideoFile(content=b"x" * 100, etag='"x"')

    monkeypatch.setattr(MediaStore, "_render", render)
    return rendered


async def test_requests_at_the_same_time_share_one_render(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rendered = counting_renders(monkeypatch)
    store = MediaStore(media=Media.SAMPLE)
    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(store.fetch, task())
    assert rendered == ["video_1"]


async def test_the_least_recently_used_files_are_dropped_over_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rendered = counting_renders(monkeypatch)
    store = MediaStore(media=Media.SAMPLE, limit_bytes=250)
    for task_id in ("a", "b", "a", "c", "a", "b"):
        await store.fetch(task(task_id=task_id))
    assert rendered == ["a", "b", "c", "b"]
    assert store.kept_bytes == 200


async def test_files_up_to_the_limit_are_all_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = counting_renders(monkeypatch)
    store = MediaStore(media=Media.SAMPLE, limit_bytes=200)
    for task_id in ("a", "b", "a", "b"):
        await store.fetch(task(task_id=task_id))
    assert rendered == ["a", "b"]


async def test_a_file_over_the_limit_is_still_kept_until_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rendered = counting_renders(monkeypatch)
    store = MediaStore(media=Media.SAMPLE, limit_bytes=10)
    for task_id in ("a", "a", "b"):
        await store.fetch(task(task_id=task_id))
    assert rendered == ["a", "b"]
    assert store.kept_bytes == 100


def test_auto_media_is_a_test_card_with_pyav_and_a_sample_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Media.AUTO.resolve() is Media.TEST_CARD
    monkeypatch.setattr("videos_async.emulator._media.find_spec", dict[str, object]().get)
    assert Media.AUTO.resolve() is Media.SAMPLE
    assert Media.SAMPLE.resolve() is Media.SAMPLE
    with pytest.raises(ValueError, match="install 'videos-async\\[emulator\\]'"):
        Media.TEST_CARD.resolve()
