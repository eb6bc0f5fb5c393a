"""What an earlier run of the same batch left: read before anything is judged or sent."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs

from videos_async import Journal, Key, KeyState
from videos_async.cli._escape import shown
from videos_async.cli._exit import BadInput

__all__ = ["Past", "key_words", "look_back"]

_SAVED_OR_TO_BE: Final = frozenset({KeyState.COMPLETED, KeyState.DOWNLOADED})
_GOING_ON: Final = frozenset({KeyState.ACCEPTED, KeyState.QUEUED, KeyState.PROCESSING})
# An intent is settled when the journal is opened; what a driver of ours has just announced is none.
_IN_DOUBT: Final = frozenset({KeyState.UNCERTAIN, KeyState.ID_LOST, KeyState.INTENT})
_LISTED: Final = 20


@attrs.frozen(kw_only=True, eq=False)
class Past:
    """The journal of a batch as it was found.

    Attributes:
        journal: The file.
        states: Where each key stands.
    """

    journal: Path
    states: Mapping[Key, KeyState]

    def has_file(self, key: Key) -> bool:
        """Whether a file under the key's name is, or would have been, the batch's own."""
        return self.states.get(key, KeyState.PLANNED) is not KeyState.PLANNED

    def check(self, keys: set[Key], *, source: str) -> None:
        """Refuse to pay for what is planned in the journal and stands in the input no more.

        Raises:
            BadInput: When there is such a key.
        """
        gone = [
            key
            for key, state in self.states.items()
            if state is KeyState.PLANNED and key not in keys
        ]
        if gone:
            names = ", ".join(shown(key) for key in gone[:_LISTED])
            more = f" and {len(gone) - _LISTED} more" if len(gone) > _LISTED else ""
            abandon = self.command("abandon", gone[:_LISTED])
            raise BadInput(
                f"nothing was sent: the journal {shown(self.journal)} has planned keys that are "
                f"not in {source}: {names}{more}. Give the same prompts again, or close them "
                f"with: {abandon}"
            )

    def first_line(self, *, total: int, is_saving: bool) -> str:
        """Say where the batch goes on.

        Args:
            total: How many keys it has, those of the input that are new included.
            is_saving: Whether a video is to be saved, and not only to be made.
        """
        saved = KeyState.DOWNLOADED
        done = self._count({saved} if is_saving else _SAVED_OR_TO_BE)
        to_save = self._count(_SAVED_OR_TO_BE) - done
        numbers = {
            "done": done,
            "to be downloaded": to_save or None,
            "in progress": self._count(_GOING_ON),
            "planned": self._count({KeyState.PLANNED}) + total - len(self.states),
            "uncertain": self._count(_IN_DOUBT),
        }
        told = [f"{number} {name}" for name, number in numbers.items() if number is not None]
        failed = total - sum(number or 0 for number in numbers.values())
        if failed:
            told.append(f"{failed} ended without a video")
        return f"going on with {shown(self.journal)}: {', '.join(told)}"

    def command(self, verb: str, keys: list[Key]) -> str:
        """Write the command that does something to keys of the journal."""
        return f"videos-async journal {verb} {key_words(self.journal, keys)}"

    def _count(self, states: set[KeyState] | frozenset[KeyState]) -> int:
        return sum(state in states for state in self.states.values())


def key_words(journal: Path, keys: list[Key]) -> str:
    """Write a journal and keys as words of a command line."""
    names = [str(key) for key in keys]
    dashes = ["--"] if any(name.startswith("-") for name in (str(journal), *names)) else []
    return shlex.join(shown(word) for word in (*dashes, str(journal), *names))


async def look_back(path: Path) -> Past:
    """Read what an earlier run left.

    Raises:
        JournalLocked: It is under way now.
        JournalError: The journal cannot be used.
    """
    async with Journal(path) as journal:
        driver = await journal.driver()
        if driver is not None:
            raise driver
        return Past(
            journal=path, states={entry.key: entry.state async for entry in journal.entries()}
        )
