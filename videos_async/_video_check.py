"""A look at a downloaded video with PyAV: is it as long and as large as it should be?

That every byte arrived does not say that the service made what was asked for. The container's
own numbers are read, and the first picture is decoded, so a file without any is told, too.
"""

from __future__ import annotations

import math
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, cast

import attrs

from videos_async._settings import at_least
from videos_async.errors import ConfigurationError, shorten

__all__ = ["VideoCheck", "VideoFacts", "check_needs", "look_at", "video_flaws"]

_REASON_LIMIT: Final = 200


def _check_size(check: VideoCheck, attribute: attrs.Attribute[Any], size: object) -> None:
    if size is None:
        return
    got = shorten(size)
    sides = cast("tuple[object, ...]", size) if isinstance(size, tuple) else ()
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise ConfigurationError(
            setting=f"{type(check).__name__}.{attribute.name}",
            problem=f"must be a width and a height in pixels or None, got {got}",
        )


@attrs.frozen(kw_only=True)
class VideoCheck:
    """What a video is held against before its file gets its name; needs PyAV.

    The duration is held against the task's `actual_duration`, where the service told one.

    Attributes:
        duration_tolerance_s: How many seconds it may be shorter or longer.
        size: The width and height it must have, in pixels; None for any.
        size_tolerance_px: How many pixels either may differ: encoders work in blocks.
    """

    duration_tolerance_s: float = attrs.field(default=0.5, validator=at_least(0))
    size: tuple[int, int] | None = attrs.field(default=None, validator=_check_size)
    size_tolerance_px: float = attrs.field(default=16, validator=at_least(0))


@attrs.frozen(kw_only=True)
class VideoFacts:
    """What a file says of its video.

    Attributes:
        width: In pixels.
        height: In pixels.
        duration_s: In seconds, or None where the file does not say.
    """

    width: int
    height: int
    duration_s: float | None


def check_needs(check: object) -> None:
    """Judge a check before anything is fetched.

    Raises:
        ConfigurationError: When it is none, or PyAV is missing.
    """
    if not isinstance(check, VideoCheck):
        problem = f"must be a VideoCheck(…), got {shorten(check)}"
        raise ConfigurationError(setting="check", problem=problem)
    if find_spec("av") is None:
        problem = "needs PyAV: pip install 'videos-async[check]'"
        raise ConfigurationError(setting="check", problem=problem)


def look_at(path: Path) -> VideoFacts | str:
    """Read the facts of a video; blocks.

    Returns:
        The facts, or why it cannot be read as a video.
    """
    # Here and not above: it is an extra, and takes a tenth of a second to load.
    av: Any = import_module("av")
    try:
        # A file and not a name: in a name, FFmpeg would look for one of its protocols.
        with path.open("rb") as file, av.open(file) as container:
            if not container.streams.video:
                return "it has no pictures"
            stream = container.streams.video[0]
            picture = next(container.decode(stream), None)
            if picture is None:
                return "it has no pictures"
            return VideoFacts(
                width=picture.width, height=picture.height, duration_s=_duration_s(av, container)
            )
    except av.FFmpegError as error:
        return f"it cannot be read as a video: {str(error)[:_REASON_LIMIT]}"


def _duration_s(av: Any, container: Any) -> float | None:
    stream = container.streams.video[0]
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration / av.time_base


def video_flaws(
    facts: VideoFacts, check: VideoCheck, *, actual_duration_s: float | None
) -> tuple[str, ...]:
    """Hold a video against what it should be.

    Args:
        facts: What it is.
        check: How close it has to be.
        actual_duration_s: How long the service says it is, in seconds, or None.

    Returns:
        What is wrong with it, one phrase each.
    """
    flaws: list[str] = []
    is_told = actual_duration_s is not None and math.isfinite(actual_duration_s)
    if is_told and actual_duration_s is not None:
        if facts.duration_s is None:
            flaws.append(
                f"it does not say how long it is, the service says {actual_duration_s:g} s"
            )
        elif abs(facts.duration_s - actual_duration_s) > check.duration_tolerance_s:
            flaws.append(
                f"it is {facts.duration_s:g} s long, the service says {actual_duration_s:g} s"
            )
    if check.size is not None:
        width, height = check.size
        worst = max(abs(facts.width - width), abs(facts.height - height))
        if worst > check.size_tolerance_px:
            flaws.append(f"it is {facts.width}x{facts.height}, not {width}x{height} pixels")
    return tuple(flaws)
