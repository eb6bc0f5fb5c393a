"""A test card as a real MP4: colour bars, the prompt, the task's id, a clock and a moving bar.

The only file that needs PyAV, and it is imported only once a card is asked for. The bytes depend
on the arguments alone, so that entity tags stay and interrupted downloads can go on.
"""

from __future__ import annotations

import textwrap
from fractions import Fraction
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import attrs
import av

from ._font import GLYPH_HEIGHT, GLYPH_WIDTH, glyph

if TYPE_CHECKING:
    from av.video.plane import VideoPlane

__all__ = ["FRAMES_PER_SECOND", "render_test_card"]

FRAMES_PER_SECOND: Final = 16
_LINE_DOTS: Final = GLYPH_HEIGHT + 3
_MARGIN_DOTS: Final = 8
_BLACK, _GREY, _WHITE = 16, 60, 235
# Luma and both chromas of the classic bars: white, yellow, cyan, green, magenta, red, blue.
_BARS: Final = (
    (180, 128, 128),
    (168, 44, 136),
    (145, 147, 44),
    (133, 63, 52),
    (63, 193, 204),
    (51, 109, 212),
    (28, 212, 120),
)


@attrs.frozen(kw_only=True)
class _Canvas:
    """A luma plane to draw on.

    Attributes:
        pixels: One byte a pixel, row by row.
        stride: Bytes from one row to the next, which the encoder may want wider than the picture.
    """

    pixels: bytearray
    stride: int

    def fill(self, box: tuple[int, int, int, int], luma: int) -> None:
        """Fill a box of left, top, width and height in pixels."""
        left, top, width, height = box
        row = bytes((luma,)) * width
        for y in range(top, top + height):
            offset = y * self.stride + left
            self.pixels[offset : offset + width] = row

    def write(self, text: str, *, left: int, top: int, dot: int) -> None:
        """Write a line, each dot of the font ``dot`` pixels wide and high."""
        rows = [glyph(character) for character in text]
        for line in range(GLYPH_HEIGHT):
            dots = "".join(f"{rows_of_one[line]}0" for rows_of_one in rows)
            ink = b"".join(bytes((_WHITE if lit == "1" else _BLACK,)) * dot for lit in dots)
            ink = ink[: self.stride - left]
            for y in range(top + line * dot, top + (line + 1) * dot):
                offset = y * self.stride + left
                self.pixels[offset : offset + len(ink)] = ink


def render_test_card(
    *, prompt: str, task_id: str, size: tuple[int, int], duration_s: float
) -> bytes:
    """Render a test card.

    Args:
        prompt: The text to show, shortened to what fits.
        task_id: The id to show.
        size: Width and height in pixels, both even.
        duration_s: How long the video lasts, in seconds; rounded to a sixteenth.

    Returns:
        A whole MP4 file: H.264 where PyAV brings libx264, else MPEG-4 part 2.
    """
    width, height = size
    frames = max(round(duration_s * FRAMES_PER_SECOND), 1)
    file = BytesIO()
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    # PyAV's annotations leave half of this unknown to a strict checker, so it is Any at once.
    writer: Any = av.open(file, mode="w", format="mp4")
    with writer as container:
        stream = container.add_stream(codec, rate=FRAMES_PER_SECOND)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if codec == "libx264":
            stream.options = {"preset": "ultrafast", "tune": "stillimage", "crf": "30"}
        # One thread: the same bytes on every machine, and the event loop keeps its core.
        stream.codec_context.thread_count = 1
        blank = av.VideoFrame(width, height, "yuv420p")
        card, chromas = _draw_card(blank, (prompt, task_id))
        for index in range(frames):
            frame = av.VideoFrame(width, height, "yuv420p")
            luma = _Canvas(pixels=card.pixels[:], stride=card.stride)
            _draw_moment(luma, size, index=index, frames=frames)
            frame.planes[0].update(bytes(luma.pixels))
            frame.planes[1].update(chromas[0])
            frame.planes[2].update(chromas[1])
            frame.pts = index
            frame.time_base = Fraction(1, FRAMES_PER_SECOND)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def _draw_card(blank: av.VideoFrame, texts: tuple[str, str]) -> tuple[_Canvas, tuple[bytes, bytes]]:
    """Draw what stays the same in every frame."""
    width, height = blank.width, blank.height
    planes = blank.planes
    bars_height = height // 3 // 2 * 2
    card = _Canvas(pixels=_bars(planes[0], width, bars_height, 0), stride=planes[0].line_size)
    chromas = tuple(
        bytes(_bars(planes[component], width // 2, bars_height // 2, component))
        for component in (1, 2)
    )
    dot = _dot(width, height)
    margin = _MARGIN_DOTS * dot
    columns = (width - 2 * margin) // ((GLYPH_WIDTH + 1) * dot)
    # The lowest three lines belong to the clock and the bar.
    rows = (height - bars_height - 2 * margin) // (_LINE_DOTS * dot) - 3
    prompt, task_id = texts
    lines = textwrap.wrap(
        prompt, columns, max_lines=max(rows - 2, 1), placeholder="...", break_on_hyphens=False
    )
    for number, line in enumerate([task_id[:columns], "", *lines]):
        top = bars_height + margin + number * _LINE_DOTS * dot
        card.write(line, left=margin, top=top, dot=dot)
    return card, (chromas[0], chromas[1])


def _bars(plane: VideoPlane, width: int, height: int, component: int) -> bytearray:
    """Colour bars on top, the colour of nothing below and beyond the picture's edge."""
    nothing = bytes((_BLACK if component == 0 else 128,))
    row = bytearray(nothing * plane.line_size)
    for x in range(width):
        row[x] = _BARS[x * len(_BARS) // width][component]
    pixels = bytearray(nothing * plane.buffer_size)
    pixels[: plane.line_size * height] = row * height
    return pixels


def _draw_moment(luma: _Canvas, size: tuple[int, int], *, index: int, frames: int) -> None:
    """Draw what moves: the time and a bar that is full in the last frame."""
    width, height = size
    dot = _dot(width, height)
    margin = _MARGIN_DOTS * dot
    bar = _LINE_DOTS * dot
    top = height - margin - bar
    length = width - 2 * margin
    clock = f"{index / FRAMES_PER_SECOND:.3f} / {frames / FRAMES_PER_SECOND:.3f} S"
    luma.write(clock, left=margin, top=top - _LINE_DOTS * dot, dot=dot)
    luma.fill((margin, top, length, bar), _GREY)
    luma.fill((margin, top, length * (index + 1) // frames, bar), _WHITE)


def _dot(width: int, height: int) -> int:
    """The size of one dot of the font, in pixels: text for a picture of any shape."""
    return max(min(width // 320, height // 180), 1)
