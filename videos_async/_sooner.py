"""Which of those that wait are looked at sooner than was said, when what others do bears on them.

Pure: records of what waits in, some of them out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from videos_async._followed import Followed
from videos_async._lifetimes import Lifetimes

__all__ = ["brought_forward", "most_telling"]

# To go through more at a time would keep all else waiting.
_MOST_PLANNED: Final = 4096
_MOST_WEIGHED: Final = 64
# To come sooner by less than so long, or so much of the gap, is worth no other place.
_WORTH_S: Final = 3.0
_WORTH_SHARE: Final = 0.1
# A look that tells less is not worth making out of turn, nor is one that is due anyway.
_TELLING: Final = 0.08
_DUE_ANYWAY_S: Final = 3.0


def brought_forward(
    waiting: Iterable[Followed],
    now_s: float,
    *,
    soon_s: float,
    gap_s: Callable[[Followed], float | None],
    overdue_s: Callable[[], float],
) -> list[tuple[Followed, float]]:
    """Find those that are due sooner by new plans than by the old ones.

    None is put off: what was believed before may prove to have been right. Nor is one moved for
    next to nothing: times are often found to have changed by a little.

    Args:
        waiting: All that wait, those due first mostly first.
        now_s: The time.
        soon_s: Those that are due within so long stay where they are.
        gap_s: Plans the time from the last look at one to the next; None where it has no plan.
        overdue_s: Draws how long to wait with one that is overdue by its new plan.

    Returns:
        Each with the seconds from now to its next look.
    """
    found: list[tuple[Followed, float]] = []
    for followed in islice(waiting, _MOST_PLANNED):
        if followed.due_s is None or followed.due_s <= now_s + soon_s:
            continue
        planned_s = gap_s(followed)
        if planned_s is None:
            continue
        due_s = followed.looked_s + planned_s
        worth_s = max(_WORTH_S, (followed.due_s - followed.looked_s) * _WORTH_SHARE)
        if due_s < now_s:
            due_s, worth_s = now_s + overdue_s(), 0.0
        if due_s < followed.due_s - worth_s:
            found.append((followed, due_s - now_s))
    return found


def most_telling(
    waiting: Iterable[Followed],
    now_s: float,
    *,
    can_tell: Callable[[Followed], bool],
    floor_s: float,
    lifetimes: Lifetimes,
) -> Followed | None:
    """Find the one a look at which now tells most of whether times have become shorter.

    Args:
        waiting: As for `brought_forward`.
        now_s: The time.
        can_tell: Tells whether one is looked at by what is believed.
        floor_s: The least time between two looks at one of them.
        lifetimes: What is believed, and in doubt.
    """
    most, found = _TELLING, None
    for followed in islice(waiting, _MOST_WEIGHED):
        entered_s, looked_s, due_s = followed.entered_s, followed.looked_s, followed.due_s
        if entered_s is None or due_s is None or looked_s + floor_s > now_s:
            continue
        if due_s < now_s + _DUE_ANYWAY_S or not can_tell(followed):
            continue
        tells = lifetimes.tells(looked_s - entered_s, now_s - entered_s)
        if tells > most:
            most, found = tells, followed
    return found
