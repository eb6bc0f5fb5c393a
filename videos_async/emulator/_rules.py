"""What each model accepts, as data.

The defaults are the rules of the documented create call, ``POST /v1/videos/videos``; another
model is another ``ModelRules``.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import attrs

from ._checks import check, nonempty_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["CONTRACT_MODELS", "ModelRules", "ratio_sides"]

_RATIO: Final = re.compile(r"([1-9]\d{0,2}):([1-9]\d{0,2})")
_WIDEST: Final = 8


def ratio_sides(ratio: str) -> tuple[int, int]:
    """Split a ratio into its two sides.

    Args:
        ratio: Width to height, such as ``"16:9"``.

    Returns:
        The two numbers, width first.

    Raises:
        ValueError: If it is not of that form, or one side is over eight times the other.
    """
    found = _RATIO.fullmatch(ratio)
    width, height = (int(found[1]), int(found[2])) if found else (_WIDEST + 1, 1)
    check(
        max(width, height) <= _WIDEST * min(width, height),
        "ratio",
        f"'WIDTH:HEIGHT', one side at most {_WIDEST} times the other",
        ratio,
    )
    return width, height


def _durations(durations_s: Iterable[int]) -> tuple[int, ...]:
    return tuple(durations_s)


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(names)


def _limits(limits: Mapping[str, int]) -> Mapping[str, int]:
    return MappingProxyType(dict(limits))


def _pairs(pairs: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(pairs))


@attrs.frozen(kw_only=True)
class ModelRules:
    """What one model accepts. The defaults are those of the documented models.

    Attributes:
        name: The value of ``model`` that these rules are for.
        prompt_limit_characters: The longest prompt, in characters; ``None`` for no limit.
        durations_s: The durations accepted, in seconds.
        ratios: The ratios accepted, as ``"WIDTH:HEIGHT"``.
        default_ratio: The ratio of a request that names none.
        resolutions: The resolutions accepted.
        default_resolution: The resolution of a request that names none.
        reference_limits: How many URLs each reference field may hold; 0 means that the field is
            refused. These fields exclude first and last frame. A field not named here is unknown
            and tolerated.
        companions: Reference fields that need another one beside them, as in
            ``{"referenceAudios": "referenceImages"}``.

    Raises:
        ValueError: If a value contradicts another or could never be accepted.
    """

    name: str = attrs.field(validator=nonempty_text)
    prompt_limit_characters: int | None = 1500
    durations_s: tuple[int, ...] = attrs.field(default=tuple(range(4, 16)), converter=_durations)
    ratios: tuple[str, ...] = attrs.field(default=("16:9", "9:16", "1:1"), converter=_names)
    default_ratio: str = "16:9"
    resolutions: tuple[str, ...] = attrs.field(default=("720p",), converter=_names)
    default_resolution: str = "720p"
    reference_limits: Mapping[str, int] = attrs.field(
        default={"referenceImages": 4, "referenceVideos": 3}, converter=_limits
    )
    companions: Mapping[str, str] = attrs.field(factory=dict[str, str], converter=_pairs)

    def __attrs_post_init__(self) -> None:
        limit = self.prompt_limit_characters
        check(limit is None or limit >= 1, "prompt_limit_characters", "at least 1 or None", limit)
        durations = self.durations_s
        check(durations and min(durations) >= 1, "durations_s", "whole seconds from 1", durations)
        for ratio in self.ratios:
            ratio_sides(ratio)
        check(self.default_ratio in self.ratios, "default_ratio", "in ratios", self.default_ratio)
        resolution = self.default_resolution
        check(resolution in self.resolutions, "default_resolution", "in resolutions", resolution)
        limits = dict(self.reference_limits)
        check(all(most >= 0 for most in limits.values()), "reference_limits", "0 or more", limits)
        for field in (*self.companions, *self.companions.values()):
            check(field in self.reference_limits, "companions", "fields of reference_limits", field)


CONTRACT_MODELS: Final = (ModelRules(name="videos"), ModelRules(name="videos_fast"))
"""The two models of the documents."""
