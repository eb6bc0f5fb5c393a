from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from videos_async.emulator import ModelRules


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": ""}, "name must be a non-empty string, got ''"),
        ({"prompt_limit_characters": 0}, "prompt_limit_characters must be at least 1 or None"),
        ({"durations_s": ()}, "durations_s must be whole seconds from 1"),
        ({"durations_s": (0, 5)}, "durations_s must be whole seconds from 1"),
        ({"ratios": ("wide",)}, "ratio must be 'WIDTH:HEIGHT'"),
        ({"ratios": ("16:9", "9:1")}, "ratio must be 'WIDTH:HEIGHT'"),
        ({"ratios": ("1:1",)}, "default_ratio must be in ratios, got '16:9'"),
        ({"resolutions": ("1080p",)}, "default_resolution must be in resolutions, got '720p'"),
        ({"reference_limits": {"a": -1}}, "reference_limits must be 0 or more, got {'a': -1}"),
        ({"companions": {"a": "b"}}, "companions must be fields of reference_limits, got 'a'"),
    ],
)
def test_rules_that_contradict_themselves_are_refused(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match="^" + message.replace("(", r"\(")):
        partial(ModelRules, name="mine")(**arguments)
