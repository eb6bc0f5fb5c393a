"""What a batch comes to in words: what it made, what it may cost, and how to go on from it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import attrs

from videos_async import End, Key, KeyState
from videos_async.cli._escape import shown
from videos_async.cli._exit import ExitCode
from videos_async.cli._lines import clock
from videos_async.cli.batch._past import key_words
from videos_async.cli.batch._results import NOT_SAVED
from videos_async.cli.batch._tally import Tally

__all__ = ["Parting"]

_IDS_IN_A_LINE: Final = 20
_RETRIABLE: Final = {
    End.FAILED: KeyState.FAILED,
    End.REFUSED: KeyState.REFUSED,
    End.INVALID: KeyState.INVALID,
    End.EXPIRED: KeyState.EXPIRED,
}


@attrs.define(eq=False, kw_only=True)
class Parting:
    """Tells what a batch left behind.

    Attributes:
        tally: What it came to so far; None before it began.
        results: The results file, if there is one that can be relied on.
        directory: Where the videos are, if they are saved.
        journal: Where the batch is written down, if it is.
        base_url: The address that was given as an option, to be given again.
        is_emulated: Whether the tasks end with this very process.
    """

    tally: Tally | None = None
    results: Path | None = None
    directory: Path | None = None
    journal: Path | None = None
    base_url: str | None = None
    is_emulated: bool = False

    def parting(self) -> tuple[str, ExitCode]:
        """What to say on an interruption, and what the command then comes to."""
        if self.tally is None:
            return "interrupted: nothing was sent", ExitCode.INTERRUPTED
        return f"interrupted: {self.summary()}", ExitCode.INTERRUPTED

    def next_step(self, error: BaseException) -> str | None:
        """The command that goes on from an error, where one does."""
        del error
        return None

    def summary(self) -> str:
        """Write the counts by end, how many may be billed, and where the results are."""
        tally = self.tally
        if tally is None:
            return "nothing was sent"
        ends = ", ".join(f"{number} {name}" for name, number in tally.ends_by_number())
        begun = tally.ends.total()
        head = f"{begun} of {tally.total} requests in {clock(tally.elapsed_s)}"
        parts = [f"{head}: {ends}" if ends else head]
        missing = tally.total - begun
        if missing:
            parts.append(f"{missing} were never begun")
        parts.append(self._billed(tally))
        if self.directory is not None:
            parts.append(f"videos in {shown(self.directory)}")
        if self.results is not None:
            parts.append(f"results in {shown(self.results)}")
        return "; ".join(parts)

    def hints(self) -> Iterator[str]:
        """Write what to do about what is left open."""
        tally = self.tally
        if tally is None:
            return
        if tally.doubts:
            yield (
                f"{_number(len(tally.doubts), 'submission')} may have been accepted, and brought "
                f"no id: {self._listed([shown(key) for key in tally.doubts])}. Look them up at the "
                f"service{self._resolution(tally.doubts)}"
            )
        if self.is_emulated:
            return
        if self.journal is not None:
            yield from self._same_again(tally)
            return
        if tally.going_on:
            goes_on = "goes on" if len(tally.going_on) == 1 else "go on"
            left = (End.LEFT, End.TIMED_OUT, End.LOST_SIGHT)
            again = self._again("watch", tally.going_on, tuple(end.value for end in left))
            tasks = _number(len(tally.going_on), "task")
            yield f"{tasks} {goes_on} at the service, take up again with: {again}"
        if tally.unsaved:
            again = self._again("download", tally.unsaved[:1], (NOT_SAVED,))
            videos = _number(len(tally.unsaved), "video")
            yield f"{videos} can still be had, within about a day, each with: {again}"

    def _resolution(self, doubts: Sequence[Key]) -> str:
        """Write what to do with keys in doubt once it is known what became of them."""
        if self.journal is None:
            return " before you submit them again"
        journal = "videos-async journal"
        if len(doubts) > _IDS_IN_A_LINE:
            listed = shlex.join([*journal.split(), "uncertain", shown(self.journal)])
            return f", then resolve them in the journal, which lists them: {listed}"
        one, all_of_them = (key_words(self.journal, list(keys)) for keys in (doubts[:1], doubts))
        return (
            f", then attach the id you found: {journal} adopt {one} TASK_ID - or submit once more "
            f"what is not there: {journal} rearm {all_of_them} - or close it: "
            f"{journal} abandon {all_of_them}"
        )

    def _same_again(self, tally: Tally) -> Iterator[str]:
        """Write what the same command would go on with."""
        unsent = tally.ends[End.NOT_SUBMITTED.value] + tally.total - tally.ends.total()
        # Nothing is wrong with these but the account: they stay planned.
        unsent += tally.account_refusals
        parts: list[str] = []
        if tally.going_on:
            goes_on = "goes on" if len(tally.going_on) == 1 else "go on"
            tasks = _number(len(tally.going_on), "task")
            parts.append(f"{tasks} {goes_on} at the service")
        if tally.unsaved:
            videos = _number(len(tally.unsaved), "video")
            parts.append(f"{videos} can still be had, within about a day")
        if unsent:
            were = "was" if unsent == 1 else "were"
            parts.append(f"{_number(unsent, 'request')} {were} not submitted")
        if parts:
            yield f"{', '.join(parts)}: the same command again goes on from here"
        retriable = {end: tally.ends[end.value] for end in _RETRIABLE}
        retriable[End.REFUSED] -= tally.account_refusals
        states = [_RETRIABLE[end] for end, number in retriable.items() if number]
        failed = sum(retriable.values())
        if self.journal is not None and states:
            words = ["videos-async", "journal", "rearm", str(self.journal)]
            for state in states:
                words += ["--state", state.value]
            yield (
                f"{_number(failed, 'request')} ended without a video. To submit anew what is worth "
                f"it: {shown(shlex.join(words))} - and then the same command again"
            )

    def _billed(self, tally: Tally) -> str:
        if self.is_emulated:
            return "nothing is billed by the emulator"
        doubts = len(tally.doubts)
        billed = f"{tally.accepted + doubts} may be billed"
        return f"{billed} ({doubts} of them uncertain)" if doubts else billed

    def _again(self, command: str, ids: Sequence[str], ends: tuple[str, ...]) -> str:
        words = ["videos-async", command]
        if self.base_url is not None:
            words += ["--base-url", self.base_url]
        if len(ids) > _IDS_IN_A_LINE and self.results is not None:
            # They are in the results; a screen full of ids would hide the rest.
            chosen = " or ".join(f'.end == "{end}"' for end in ends)
            query = shlex.quote(f"select({chosen}).task_id")
            return f"{shlex.join(words)} $(jq -r {query} {shlex.quote(str(self.results))})"
        if any(task_id.startswith("-") for task_id in ids):
            words.append("--")
        return shlex.join(shown(word) for word in (*words, *ids))

    def _listed(self, names: Sequence[str]) -> str:
        if len(names) <= _IDS_IN_A_LINE or self.results is None:
            return ", ".join(names)
        more = f" and {len(names) - _IDS_IN_A_LINE} more in {shown(self.results)}"
        return ", ".join(names[:_IDS_IN_A_LINE]) + more


def _number(count: int, noun: str) -> str:
    return f"1 {noun}" if count == 1 else f"{count} {noun}s"
