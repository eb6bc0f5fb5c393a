"""The options of the commands, and how their values are read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeAlias

import attrs
from cyclopts import Group, Parameter, Token

from videos_async import OnExisting, VideoRequest
from videos_async.cli._exit import BadInput
from videos_async.cli._generate import Saving

__all__ = [
    "SERVICE",
    "EmulatorFlag",
    "FileOptions",
    "ServiceOptions",
    "Timeout",
    "VideoOptions",
    "above_zero",
]

_VIDEO = Group("The video", sort_key=1)
_FILE = Group("The file", sort_key=2)
SERVICE = Group("The service and the output", sort_key=3)


def _whole_number(_: Any, tokens: Sequence[Token]) -> int:
    text = tokens[0].value
    # The parser's own conversion would round 5.7 to 6, and the video would be paid for.
    if not re.fullmatch(r"[+-]?[0-9]{1,9}", text):
        raise ValueError(f"must be a whole number of seconds, got {text!r}")
    return int(text)


def above_zero(_: Any, seconds: float) -> None:
    # Judged here because the library does so when it starts to wait, after the paid call.
    if not 0 < seconds < math.inf:
        raise ValueError(f"must be a number of seconds above 0, got {seconds:g}")


Timeout: TypeAlias = Annotated[
    float,
    Parameter(
        "--timeout",
        validator=above_zero,
        group=SERVICE,
        help="Seconds to wait for the end. The task itself goes on at the service.",
    ),
]


EmulatorFlag: TypeAlias = Annotated[
    bool,
    Parameter(
        negative="",
        show_default=False,
        group=SERVICE,
        help="Try it on an emulator: no key, no network, nothing billed.",
    ),
]


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class VideoOptions:
    """What to make besides the prompt; the fields of the create call."""

    duration: Annotated[
        int,
        Parameter(converter=_whole_number, group=_VIDEO, help="Length in seconds, 4 to 15."),
    ] = 5
    model: Annotated[
        str,
        Parameter(group=_VIDEO, help="videos (standard quality) or videos_fast (turnaround)."),
    ] = "videos"
    ratio: Annotated[str, Parameter(group=_VIDEO, help="Width to height: 16:9, 9:16 or 1:1.")] = (
        "16:9"
    )
    resolution: Annotated[str, Parameter(group=_VIDEO, help="720p is the only one.")] = "720p"
    first_image: Annotated[
        str | None, Parameter(group=_VIDEO, help="URL of the first frame; needs --last-image.")
    ] = None
    last_image: Annotated[
        str | None, Parameter(group=_VIDEO, help="URL of the last frame; needs --first-image.")
    ] = None
    reference_images: Annotated[
        list[str],
        Parameter(
            "--reference-image",
            negative="",
            show_default=False,
            group=_VIDEO,
            help="URL of a reference image; may be repeated, at most 4.",
        ),
    ] = attrs.field(factory=list[str])
    reference_videos: Annotated[
        list[str],
        Parameter(
            "--reference-video",
            negative="",
            show_default=False,
            group=_VIDEO,
            help="URL of a reference video; may be repeated, at most 3.",
        ),
    ] = attrs.field(factory=list[str])
    extra: Annotated[
        list[str],
        Parameter(
            negative="",
            show_default=False,
            group=_VIDEO,
            help="An undocumented field, as NAME=JSON; may be repeated.",
        ),
    ] = attrs.field(factory=list[str])

    def request(self, prompt: str) -> VideoRequest:
        """Make the request.

        Raises:
            BadInput: When an extra field is not NAME=JSON.
        """
        return VideoRequest(
            prompt=prompt,
            duration=self.duration,
            model=self.model,
            ratio=self.ratio,
            resolution=self.resolution,
            first_image=self.first_image,
            last_image=self.last_image,
            reference_images=tuple(self.reference_images),
            reference_videos=tuple(self.reference_videos),
            extra=_extra_fields(self.extra),
        )


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class FileOptions:
    """Where a video is saved."""

    output: Annotated[
        Path | None,
        Parameter(
            ("--output", "-o"),
            group=_FILE,
            help="The file; by default named after the task, in the current directory.",
        ),
    ] = None
    replace: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            group=_FILE,
            help="Replace the file if it is there already.",
        ),
    ] = False

    @property
    def saving(self) -> Saving:
        """The same in the library's terms."""
        on_existing = OnExisting.REPLACE if self.replace else OnExisting.REFUSE
        return Saving(target=self.output, on_existing=on_existing)


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class ServiceOptions:
    """What every command that talks to the service takes."""

    json: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            group=SERVICE,
            help="One JSON object per transition on standard output, and nothing else there.",
        ),
    ] = False
    base_url: Annotated[
        str | None,
        Parameter(
            group=SERVICE,
            help="The service's address, in place of the environment's VIDEOS_BASE_URL.",
        ),
    ] = None


def _extra_fields(texts: Sequence[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for text in texts:
        name, mark, value = text.partition("=")
        if not mark or not name:
            raise BadInput(f"--extra must be NAME=JSON, got {text!r}")
        if name in fields:
            raise BadInput(f"--extra {name} is given twice")
        try:
            fields[name] = json.loads(value, parse_constant=_refuse)
        except (ValueError, RecursionError):
            raise BadInput(
                f"--extra {name} must be followed by JSON (text in double quotes, as in "
                f"""{name}='"text"'), got {value!r}"""
            ) from None
    return fields


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
