"""When tasks are polled, as a session is told: on a simple timer, or by what was learned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from videos_async._settings import at_least, whole_at_least
from videos_async.errors import ConfigurationError

__all__ = ["AdaptivePolling", "PollPolicy"]


def _not_below(lower: str) -> Callable[[Any, Any, Any], None]:
    """Make an attrs validator for a number that is not below another field."""

    def check(instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
        minimum = getattr(instance, lower)
        if value < minimum:
            raise ConfigurationError(
                setting=f"{type(instance).__name__}.{attribute.name}",
                problem=f"must be at least {lower} ({minimum:g}), got {value!r}",
            )

    return check


@attrs.frozen(kw_only=True)
class PollPolicy:
    """Poll on a simple timer: a jittered interval, whatever the service does.

    Each interval is drawn uniformly between the two bounds, the one before the first poll
    included. The defaults are the service's own advice; more often gets rate limited.

    Attributes:
        min_interval_s: Shortest time between two polls of one task, in seconds.
        max_interval_s: Longest time between two polls of one task, in seconds.
        max_failures: Bad answers in a row (time-outs, 5xx, garbage) after which the task is
            given up as `QueryFailed`; its id stays valid.
        max_refusals: Refusals in a row (401, 403, 404, …) after which it is given up as
            `QueryRefused` or `TaskNotFound`.
    """

    min_interval_s: float = attrs.field(default=30.0, validator=at_least(0))
    max_interval_s: float = attrs.field(
        default=60.0, validator=[at_least(0), _not_below("min_interval_s")]
    )
    max_failures: int = attrs.field(default=20, validator=whole_at_least(1))
    max_refusals: int = attrs.field(default=3, validator=whole_at_least(1))

    def interval_s(self, random: Callable[[], float]) -> float:
        """Draw the time to the next poll; `random` draws from 0 to 1."""
        return self.min_interval_s + random() * (self.max_interval_s - self.min_interval_s)


@attrs.frozen(kw_only=True)
class AdaptivePolling:
    """Poll where news is likely, by what the session has learned of the service.

    It learns per model and mode how long tasks are queued and processed, and spends the polls
    that a fixed interval would have cost where an end is likely: few early, many around the
    likely end, few in the tail. Where tasks are worked off in the order of their acceptance,
    those far from the front are hardly looked at.

    A ``Retry-After`` and the session's rate come first, where they ask for longer pauses; a task
    with a time-out gets a last look shortly before it.

    Attributes:
        min_interval_s: Shortest time between two polls of one task, in seconds.
        max_interval_s: Longest time between two polls of a task that is processed, in seconds.
        max_queued_interval_s: Longest time between two polls of a task deep in a queue that is
            worked off in order, in seconds.
        mean_interval_s: The interval whose number of polls is not exceeded on average, in
            seconds; the default is the middle of what the service advises.
        max_failures: Bad answers in a row (time-outs, 5xx, garbage) after which the task is
            given up as `QueryFailed`; its id stays valid.
        max_refusals: Refusals in a row (401, 403, 404, …) after which it is given up as
            `QueryRefused` or `TaskNotFound`.
    """

    min_interval_s: float = attrs.field(default=10.0, validator=at_least(0.001))
    mean_interval_s: float = attrs.field(
        default=45.0, validator=[at_least(0.001), _not_below("min_interval_s")]
    )
    max_interval_s: float = attrs.field(
        default=180.0, validator=[at_least(0.001), _not_below("mean_interval_s")]
    )
    max_queued_interval_s: float = attrs.field(
        default=600.0, validator=[at_least(0.001), _not_below("max_interval_s")]
    )
    max_failures: int = attrs.field(default=20, validator=whole_at_least(1))
    max_refusals: int = attrs.field(default=3, validator=whole_at_least(1))
