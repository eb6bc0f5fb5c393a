"""An input becomes requests under keys: all of it judged once, then read again to be sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import attrs

from videos_async import InvalidRequest, Key, VideoRequest, file_name, request_from_json
from videos_async.cli._escape import shown
from videos_async.cli._exit import BadInput
from videos_async.cli._lines import violation_text
from videos_async.cli.batch._formats import PYTHON_NAMES, FormatName, Record, records
from videos_async.cli.batch._source import BadLine, Source

__all__ = ["Entry", "Overview", "PlannedPrompts", "Prompts"]


@attrs.frozen(kw_only=True)
class Entry:
    """One request of the input.

    Attributes:
        line: Where it stands, counted from 1.
        key: Its name: what the input says, else the number of its line in four digits or more.
        request: What is to be made.
    """

    line: int
    key: Key
    request: VideoRequest


@attrs.define(kw_only=True)
class Overview:
    """What an input comes to.

    Attributes:
        total: How many requests it holds.
        seconds: The length of all their videos together.
        models: How many there are for each model.
        occupied: Where files of theirs would go and something is already.
        keys: Their names.
    """

    total: int = 0
    seconds: int = 0
    models: Counter[str] = attrs.field(factory=Counter[str])
    occupied: list[str] = attrs.field(factory=list[str])
    keys: set[Key] = attrs.field(factory=set[Key])


def _of_nobody(_: Key) -> bool:
    return False


@attrs.frozen(kw_only=True, eq=False)
class PlannedPrompts:
    """The requests of an input whose number is known, so that they are planned before any is sent.

    Attributes:
        prompts: The input, judged before.
        total: How many there are.
    """

    prompts: Prompts
    total: int

    def __len__(self) -> int:
        return self.total

    def __iter__(self) -> Iterator[tuple[Key, VideoRequest]]:
        return self.prompts.keyed()


@attrs.define(kw_only=True, eq=False)
class Prompts:
    """The requests of an input.

    Attributes:
        source: The input.
        format_name: How it is written.
        defaults: What a line means that does not say it, under Python names.
        trouble: What the second reading met that the first had not, which ended it early.
    """

    source: Source
    format_name: FormatName
    defaults: Mapping[str, Any]
    trouble: BadInput | None = None

    def entries(self) -> Iterator[Entry | BadLine]:
        """Read from the start, what is wrong standing in its place."""
        for record in records(self.source.lines(), self.format_name):
            if isinstance(record, BadLine):
                yield record
                continue
            try:
                yield self._entry(record)
            except BadLine as bad:
                yield bad

    def checked(
        self,
        *,
        complain: Callable[[str], None],
        taken: Mapping[str, str] | None,
        is_own: Callable[[Key], bool] = _of_nobody,
    ) -> Overview:
        """Judge all of it, complaining of every bad line.

        Args:
            complain: Is told one sentence for each problem.
            taken: The names in the directory that may not be used, by their lower case; None
                where no videos are saved.
            is_own: Tells whether a file under a key's name is of an earlier run of this batch.

        Raises:
            BadInput: When there is a bad line, after the last complaint, or no request at all.
        """
        overview = Overview()
        judge = _Names()
        bad_lines = 0
        for entry in self.entries():
            bad = entry if isinstance(entry, BadLine) else judge.clash(entry)
            if bad is not None:
                bad_lines += 1
                for problem in bad.problems:
                    complain(f"{self.source.name}:{bad.line}: {problem}")
            if isinstance(entry, Entry):
                overview.total += 1
                overview.seconds += entry.request.duration
                overview.models[entry.request.model] += 1
                overview.keys.add(entry.key)
                there = (taken or {}).get(file_name(entry.key).casefold())
                if there is not None and not is_own(entry.key):
                    overview.occupied.append(there)
        if bad_lines:
            lines = "1 line is" if bad_lines == 1 else f"{bad_lines} lines are"
            raise BadInput(f"nothing was sent: {lines} to be corrected first")
        if not overview.total:
            raise BadInput(f"there are no prompts in {self.source.name}")
        return overview

    def keyed(self) -> Iterator[tuple[Key, VideoRequest]]:
        """Read from the start what was judged before, for a batch; see `trouble`."""
        for entry in self.entries():
            if isinstance(entry, BadLine):
                changed = f"{self.source.name} was changed while it was being read"
                self.trouble = BadInput(
                    f"{changed}: from line {entry.line} on nothing was sent ({entry.problems[0]})"
                )
                return
            yield entry.key, entry.request

    def _entry(self, record: Record) -> Entry:
        fields = dict(record.fields)
        problems: list[str] = []
        key = fields.pop("key", None)
        if key is None:
            key = f"{record.line:04}"
        flaw = _key_flaw(key)
        if flaw is not None:
            problems.append(f"key {flaw}, got {shown(repr(key))}")
        try:
            request = request_from_json(self._with_defaults(fields))
        except InvalidRequest as invalid:
            problems.extend(map(violation_text, invalid.violations))
        else:
            if not problems:
                return Entry(line=record.line, key=cast("Key", key), request=request)
        raise BadLine(record.line, *problems)

    def _with_defaults(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        said = {name: value for name, value in fields.items() if value is not None}
        names = {PYTHON_NAMES.get(name, name) for name in said}
        missing = {name: value for name, value in self.defaults.items() if name not in names}
        extra = said.get("extra")
        if isinstance(extra, Mapping):
            own = cast("Mapping[str, Any]", extra)
            said["extra"] = {**self.defaults.get("extra", {}), **own}
        return {**missing, **said}


class _Names:
    """Holds keys and the files named after them against each other."""

    def __init__(self) -> None:
        self._lines: dict[str, tuple[int, Key]] = {}

    def clash(self, entry: Entry) -> BadLine | None:
        """Tell whether an earlier line has the key or its file's name, whatever the case."""
        name = file_name(entry.key).casefold()
        line, key = self._lines.setdefault(name, (entry.line, entry.key))
        if line == entry.line:
            return None
        other = shown(repr(key))
        return BadLine(entry.line, f"key must be unique, but line {line} has {other} as well")


def _key_flaw(key: object) -> str | None:
    if isinstance(key, bool) or not isinstance(key, (str, int)):
        return "must be text or a whole number"
    if not str(key).strip():
        return "must not be empty"
    try:
        str(key).encode()
    except UnicodeEncodeError:
        return "must be valid Unicode without lone surrogates"
    return None
