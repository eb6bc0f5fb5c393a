"""Small real MP4s that come with the package, for when there is no PyAV to render with.

They were rendered once with ``render_test_card``, without its clock: one for each documented
ratio. Their frames are fixed, but how long a frame lasts is a number in the file's index, so a
sample can be given any duration by changing a few bytes; and a trailing ``free`` box, which
players skip, makes the file of every task a different one.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from struct import pack, unpack_from
from typing import Final

__all__ = ["SAMPLE_SIZES", "sample_video"]

SAMPLE_SIZES: Final = {"16x9": (1280, 720), "9x16": (720, 1280), "1x1": (720, 720)}
"""Width and height in pixels by the name of the sample."""

_TICKS_PER_SECOND: Final = 16
_FULL_BOX_HEADER: Final = 12  # size, type, version and flags


def sample_video(*, task_id: str, size: tuple[int, int], duration_s: float) -> bytes:
    """Give a sample of the closest shape and of the exact duration.

    Args:
        task_id: Written into the file, out of sight.
        size: The width and height that are wanted, in pixels; only their ratio counts.
        duration_s: How long the video lasts, in seconds; rounded to a sixteenth.

    Returns:
        A whole MP4 file.
    """
    video = bytearray(_sample(_closest(size)))
    _retime(video, ticks=max(round(duration_s * _TICKS_PER_SECOND), 1))
    mark = task_id.encode()
    return bytes(video + pack(">I4s", 8 + len(mark), b"free") + mark)


@cache
def _sample(name: str) -> bytes:
    return Path(__file__).with_name("samples").joinpath(f"{name}.mp4").read_bytes()


def _closest(size: tuple[int, int]) -> str:
    def distance(name: str) -> float:
        width, height = SAMPLE_SIZES[name]
        return abs(math.log(width / height) - math.log(size[0] / size[1]))

    return min(SAMPLE_SIZES, key=distance)


def _retime(video: bytearray, *, ticks: int) -> None:
    """Stretch or squeeze the frames, all of the same length, over ``ticks``.

    ISO/IEC 14496-12, version 0 boxes: the movie counts in ticks, the track in a finer unit of
    which every frame lasts a whole number.
    """
    movie = _find(video, "moov")
    track = _find(video, "trak", within=movie)
    media = _find(video, "mdia", within=track)
    tables = _find(video, "stbl", within=_find(video, "minf", within=media))
    edits = _find(video, "elst", within=_find(video, "edts", within=track))
    frame_lengths = _find(video, "stts", within=tables)[0] + _FULL_BOX_HEADER
    (frames,) = unpack_from(">I", video, frame_lengths + 4)
    changes = {
        _find(video, "mvhd", within=movie)[0] + 20: (_TICKS_PER_SECOND, ticks),
        _find(video, "tkhd", within=track)[0] + 28: (ticks,),
        edits[0] + 16: (ticks,),
        _find(video, "mdhd", within=media)[0] + 20: (_TICKS_PER_SECOND * frames, ticks * frames),
        frame_lengths: (1, frames, ticks),
    }
    for offset, numbers in changes.items():
        video[offset : offset + 4 * len(numbers)] = pack(f">{len(numbers)}I", *numbers)


def _find(video: bytearray, kind: str, within: tuple[int, int] | None = None) -> tuple[int, int]:
    """Give start and end of the first box of a kind, at the top or within another box."""
    start, end = (0, len(video)) if within is None else (within[0] + 8, within[1])
    while start < end:
        size, name = unpack_from(">I4s", video, start)
        if name == kind.encode():
            return start, start + size
        start += size
    message = f"the sample holds no {kind} box"
    raise LookupError(message)
