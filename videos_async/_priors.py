"""What is believed of how long tasks stay before anything was seen.

Minutes, as the service says of itself: most tasks end within a few, a refusal for content at once.
How long one is queued may be anything.

Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from typing import Final

from videos_async._ages import AGES_S

__all__ = ["AT_ONCE_S", "masses", "priors"]

AT_ONCE_S: Final = 3.0
"""What the service does at once it has done by this age."""

_MEDIAN_S: Final = 150.0
_SIGMA: Final = 0.7
_PRIOR_WEIGHT: Final = 2.0


def _log_even(age_s: float, low_s: float, high_s: float) -> float:
    return min(1.0, math.log(max(age_s, low_s) / low_s) / math.log(high_s / low_s))


def _processed_by(age_s: float) -> float:
    depth = math.log(age_s / _MEDIAN_S) / _SIGMA if age_s > 0 else -math.inf
    minutes = (1 + math.erf(depth / math.sqrt(2))) / 2
    at_once = min(1.0, age_s / AT_ONCE_S)
    return 0.90 * minutes + 0.06 * at_once + 0.04 * _log_even(age_s, 10.0, 4 * 3600.0)


def _dequeued_by(age_s: float) -> float:
    at_once = min(1.0, age_s / AT_ONCE_S)
    return 0.6 * at_once + 0.15 * _log_even(age_s, 3, 60) + 0.25 * _log_even(age_s, 60, 86_400)


def masses(ended: Iterable[float], weight: float) -> tuple[float, ...]:
    """Spread a weight over the bins as a distribution does; see `Lifetimes`."""
    return tuple(weight * (late - early) for early, late in pairwise(ended))


@cache
def priors() -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Give what is believed of being queued and of being processed."""
    return (
        masses(map(_dequeued_by, AGES_S), _PRIOR_WEIGHT),
        masses(map(_processed_by, AGES_S), _PRIOR_WEIGHT),
    )
