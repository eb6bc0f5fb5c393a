"""What a session has learned of the service, per model and mode, and hands on to its next run.

Pure: instants in, plain data in and out.
"""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

import attrs

from videos_async._cohort import Cohort
from videos_async._lifetimes import Lifetimes
from videos_async._polling import AdaptivePolling
from videos_async.models import Mode

__all__ = ["Accepted", "Learner"]

logger = logging.getLogger("videos_async")

_VERSION: Final = 1
# Names come from the service as well: one that makes them up must not fill memory.
_MOST_MODELS: Final = 32
_MOST_ACCEPTED: Final = 1024


@attrs.frozen(eq=False)
class Accepted:
    """A task that this session submitted."""

    at_s: float
    cohort: Cohort


class Learner:
    """What a session has learned, and hands on to all of its batches and watches."""

    def __init__(self, policy: AdaptivePolling) -> None:
        self.policy = policy
        self._cohorts: dict[tuple[str | None, Mode | None], Cohort] = {}
        self._models: set[str] = set()
        self._accepted: OrderedDict[str, Accepted] = OrderedDict()

    def cohort(self, model: str | None, mode: Mode | None) -> Cohort:
        """Give what is known of tasks of a model and a mode, as far as either is known."""
        found = self._cohorts.get((model, mode))
        if found is not None:
            return found
        if model is None or (model not in self._models and len(self._models) >= _MOST_MODELS):
            model = mode = None
        else:
            self._models.add(model)
        of_model = None if mode is None else self.cohort(model, None)
        return self._cohorts.setdefault((model, mode), Cohort(self.policy, model, of_model))

    # --- tasks that are submitted in one place and watched in another --------------------

    def accepted(self, task_id: str, model: str, mode: Mode, now_s: float) -> None:
        """Take in that a task was accepted just now; the last thousand are remembered."""
        self._accepted[task_id] = Accepted(now_s, self.cohort(model, mode))
        if len(self._accepted) > _MOST_ACCEPTED:
            self._accepted.popitem(last=False)

    def recall(self, task_id: str) -> Accepted | None:
        """Tell when a task was accepted, where that was here and not long ago."""
        return self._accepted.get(task_id)

    # --- from one run to the next --------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Give what was learned as plain JSON data of some kilobytes; see `restore`.

        Returns:
            A version, and for each cohort its model, its mode and what is remembered of its
            tasks: flat lists of the edges, in seconds, between which they left a status.
        """
        cohorts = [
            {
                "model": model,
                "mode": None if mode is None else mode.name,
                "credit": round(cohort.account.balance, 2),
                "queued": cohort.queued.snapshot(),
                "processing": cohort.processing.snapshot(),
            }
            for (model, mode), cohort in self._cohorts.items()
        ]
        return {"version": _VERSION, "cohorts": cohorts}

    def restore(self, data: object) -> None:
        """Take up what an earlier run has learned, where nothing was learned here yet.

        What is no such data, or that of another version, is logged and left alone: it is worth
        some polls, and no error.
        """
        try:
            whole = _mapping(data)
            if whole["version"] != _VERSION:
                logger.warning(
                    "what was learned of the service is of version %r, not %d: it is not used",
                    whole["version"],
                    _VERSION,
                )
                return
            for each in cast("Iterable[object]", whole["cohorts"]):
                self._restore(_mapping(each))
        except (KeyError, TypeError, ValueError, OverflowError) as flaw:
            logger.warning("what was learned of the service cannot be read (%r): not used", flaw)

    def _restore(self, data: Mapping[str, Any]) -> None:
        model, mode = data["model"], data["mode"]
        if not (model is None or isinstance(model, str)):
            raise TypeError(f"a model is text, got {type(model).__name__}")
        queued, processing = (
            Lifetimes.readable(data["queued"]),
            Lifetimes.readable(data["processing"]),
        )
        credit = float(data["credit"])
        if not math.isfinite(credit):
            raise ValueError(f"a credit is finite, got {credit}")
        cohort = self.cohort(model, None if mode is None else Mode[mode])
        if not len(cohort.queued) and not len(cohort.processing):
            cohort.account.restore(credit)
            cohort.queued.restore(queued)
            cohort.processing.restore(processing)


def _mapping(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"must be an object, got {type(value).__name__}")
    return cast("Mapping[str, Any]", value)
