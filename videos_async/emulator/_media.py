"""The files behind the video URLs: rendered on the first request, then kept for a while."""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from enum import Enum
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread
import attrs

from ._rules import ratio_sides
from ._samples import sample_video

if TYPE_CHECKING:
    from ._service import EmulatedTask

__all__ = ["Media", "MediaStore", "VideoFile", "frame_size"]

_RESOLUTION: Final = re.compile(r"([1-9]\d{2,3})p")
_DEFAULT_SHORT_SIDE: Final = 720
# More threads than this fight the event loop for the interpreter, and queries stall.
_RENDERS_AT_A_TIME: Final = 2
_CACHE_BYTES: Final = 64 * 1024 * 1024


class Media(Enum):
    """What the video files are made of."""

    AUTO = "auto"
    """A test card where PyAV is installed, else a sample."""
    TEST_CARD = "test card"
    """The prompt, the id, a clock and a moving bar; needs PyAV."""
    SAMPLE = "sample"
    """A small ready-made video of the closest ratio; costs next to no time."""

    def resolve(self) -> Media:
        """Settle what ``AUTO`` means here, without loading PyAV.

        Returns:
            ``TEST_CARD`` or ``SAMPLE``.

        Raises:
            ValueError: If a test card is asked for and PyAV is not installed.
        """
        if self is Media.SAMPLE:
            return self
        if find_spec("av") is not None:
            return Media.TEST_CARD
        if self is Media.AUTO:
            return Media.SAMPLE
        message = (
            "media must not be Media.TEST_CARD without PyAV: install 'videos-async[emulator]',"
            " or take Media.SAMPLE"
        )
        raise ValueError(message)


def frame_size(ratio: str, resolution: str) -> tuple[int, int]:
    """Give the picture size of a ratio and a resolution.

    Args:
        ratio: Width to height, such as ``"16:9"``.
        resolution: The short side, such as ``"720p"``; anything else counts as that.

    Returns:
        Width and height in pixels, both even as video encoders want them.
    """
    width, height = ratio_sides(ratio)
    found = _RESOLUTION.fullmatch(resolution)
    short_side = int(found[1]) if found else _DEFAULT_SHORT_SIDE
    unit = short_side / min(width, height)
    return round(width * unit / 2) * 2, round(height * unit / 2) * 2


@attrs.frozen(kw_only=True)
class VideoFile:
    """A whole file.

    Attributes:
        content: The bytes of the MP4.
        etag: A strong entity tag, quotes included.
    """

    content: bytes = attrs.field(repr=False)
    etag: str


@attrs.define(kw_only=True, eq=False)
class MediaStore:
    """Renders files in worker threads and keeps the last used ones.

    Args:
        media: ``TEST_CARD`` or ``SAMPLE``.
        limit_bytes: How much to keep. What was dropped is rendered again, to the same bytes.
    """

    media: Media
    limit_bytes: int = _CACHE_BYTES
    _kept: OrderedDict[str, VideoFile] = attrs.field(
        init=False, factory=OrderedDict[str, VideoFile]
    )
    _kept_bytes: int = attrs.field(init=False, default=0)
    _limiter: anyio.CapacityLimiter = attrs.field(
        init=False, factory=partial(anyio.CapacityLimiter, _RENDERS_AT_A_TIME)
    )
    _rendering: dict[str, anyio.Lock] = attrs.field(init=False, factory=dict[str, anyio.Lock])

    @property
    def kept_bytes(self) -> int:
        """The size of all files that are kept."""
        return self._kept_bytes

    async def fetch(self, task: EmulatedTask) -> VideoFile:
        """Give the file of a completed task, rendering it if need be."""
        # One render a file: who asks for it meanwhile waits for that one.
        lock = self._rendering.setdefault(task.id, anyio.Lock())
        try:
            async with lock:
                file = self._kept.get(task.id)
                if file is None:
                    file = await anyio.to_thread.run_sync(
                        partial(self._render, task), limiter=self._limiter
                    )
                    self._keep(task.id, file)
                self._kept.move_to_end(task.id)
        finally:
            self._rendering.pop(task.id, None)
        return file

    def _keep(self, task_id: str, file: VideoFile) -> None:
        self._kept[task_id] = file
        self._kept_bytes += len(file.content)
        # The newest stays even where it alone is over the limit: its reader is coming back for it.
        while self._kept_bytes > self.limit_bytes and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped.content)

    def _render(self, task: EmulatedTask) -> VideoFile:
        request = task.request
        size, duration_s = frame_size(request.ratio, request.resolution), task.actual_duration_s
        if self.media is Media.TEST_CARD:
            # Here and not above: PyAV takes a tenth of a second to load, and may be absent.
            from ._testcard import render_test_card  # noqa: PLC0415

            content = render_test_card(
                prompt=request.prompt, task_id=task.id, size=size, duration_s=duration_s
            )
        else:
            content = sample_video(task_id=task.id, size=size, duration_s=duration_s)
        digest = hashlib.blake2b(content, digest_size=16).hexdigest()
        return VideoFile(content=content, etag=f'"{digest}"')
