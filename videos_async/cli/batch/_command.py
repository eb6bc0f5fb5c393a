"""The command ``batch``: what is typed is judged whole, then run."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import anyio
import attrs
from cyclopts import Parameter

from videos_async import DownloadPolicy, OnExisting, RetryPolicy, VideosSession
from videos_async.cli._escape import shown
from videos_async.cli._exit import BadInput, ExitCode, worst
from videos_async.cli._options import EmulatorFlag, ServiceOptions, VideoOptions
from videos_async.cli._output import Streams
from videos_async.cli._run import run
from videos_async.cli._service import open_emulated, open_service
from videos_async.cli.batch._display import BatchDisplay
from videos_async.cli.batch._formats import format_of
from videos_async.cli.batch._options import BatchFiles, BatchLimits, PromptOptions
from videos_async.cli.batch._parting import Parting
from videos_async.cli.batch._past import Past, look_back
from videos_async.cli.batch._report import BatchReport, JsonBatchReport, PlainBatchReport
from videos_async.cli.batch._requests import Overview, PlannedPrompts, Prompts
from videos_async.cli.batch._results import ResultsFile, check_results
from videos_async.cli.batch._run import BatchRun, Saver
from videos_async.cli.batch._source import Source
from videos_async.cli.batch._tally import Tally

__all__ = ["batch"]

_VIDEO: VideoOptions = VideoOptions()
_PROMPTS: PromptOptions = PromptOptions()
_FILES: BatchFiles = BatchFiles()
_LIMITS: BatchLimits = BatchLimits()
_SERVICE: ServiceOptions = ServiceOptions()


def batch(  # noqa: PLR0913 - what can be typed
    prompts: Annotated[
        str,
        Parameter(help="File of prompts, or - for standard input.", allow_leading_hyphen=True),
    ],
    /,
    *,
    reading: PromptOptions = _PROMPTS,
    video: VideoOptions = _VIDEO,
    files: BatchFiles = _FILES,
    limits: BatchLimits = _LIMITS,
    emulator: EmulatorFlag = False,
    service: ServiceOptions = _SERVICE,
) -> ExitCode:
    """Make many videos: submit a file of prompts, show how it goes, save the files.

    PROMPTS is text with one prompt a line, JSONL with one request a line, or CSV with a header.
    JSONL and CSV take the fields of the create call under the service's or the Python names, and
    a "key" that names the request and its file; without one the number of its line does. In CSV,
    URLs of one cell are separated by spaces or |, and an empty cell says nothing. The options of
    the video are for lines that do not say it themselves.

    Every line is judged before anything is sent; a bad one is told with its number and nothing is
    sent at all. One request's trouble never ends the others.

    With --json each transition is one object on a line of its own, as of `generate`, with a key
    "end" besides, which is null while the task goes on. The results file has one object per end:
    {"key", "task_id", "end", "status", "elapsed", "error", "request", "task", "saved"}. An end is
    completed, not saved (completed, but not downloaded), failed, refused, not submitted,
    uncertain, timed out, lost sight of, expired, abandoned, or left (by Ctrl-C).

    With -o, or with --journal, everything that costs money is written down before it is done. The
    same command again goes on where it was, after Ctrl-C as after a crash: what was accepted is
    watched and never sent again, what is saved is not fetched again, and with --json it is told
    once more, "replayed" being true. `videos-async journal` shows the journal and resolves doubt.

    The exit code is 0 when all were completed and saved, 1 when some were failed or refused; of
    several the worst counts. Ctrl-C waits for ids under way, a second one does not.
    """
    if emulator and service.base_url is not None:
        raise BadInput("--emulator and --base-url exclude each other: leave one of them out")
    if emulator and files.journal is not None:
        raise BadInput(
            "--emulator and --journal exclude each other: its tasks end with the command, and "
            "nothing is paid for that a journal could lose"
        )
    streams = Streams.standard()
    journal = None if emulator else files.journal_path
    past = anyio.run(look_back, journal) if journal is not None and _is_there(journal) else None
    with Source(prompts) as source:
        checked = Prompts(
            source=source,
            format_name=reading.format or format_of(prompts),
            defaults=_defaults(video),
        )
        # Before there is a loop: what blocks here is the input itself, and Ctrl-C just ends it.
        complain = streams.err.line
        overview = (
            checked.checked(complain=complain, taken=_taken(files))
            if past is None
            else checked.checked(complain=complain, taken=_taken(files), is_own=past.has_file)
        )
        check_results(files.results_path, is_continued=files.replace or past is not None)
        _check_room(overview.occupied)
        if past is not None:
            past.check(overview.keys, source=source.name)
        if reading.dry_run:
            return _dry_run(overview, streams, as_json=service.json)
        job = _Job(
            prompts=checked,
            overview=overview,
            files=files,
            limits=limits,
            streams=streams,
            journal=journal,
            past=past,
            parting=Parting(
                directory=files.output,
                journal=journal,
                base_url=service.base_url,
                is_emulated=emulator,
            ),
            as_json=service.json,
        )
        limit, downloads = limits.rate_limit, DownloadPolicy(parallel=files.downloads)
        opened = (
            open_emulated(limit=limit, downloads=downloads)
            if emulator
            # The patience of the library's own: nobody waits for the first of many.
            else open_service(
                service.base_url, limit=limit, retry=RetryPolicy(), downloads=downloads
            )
        )
        return run(lambda: job.run(opened), streams=streams, aftermath=job.parting)


@attrs.define(eq=False, kw_only=True)
class _Job:
    """A batch that was judged and is to be run."""

    prompts: Prompts
    overview: Overview
    files: BatchFiles
    limits: BatchLimits
    streams: Streams
    journal: Path | None
    past: Past | None
    parting: Parting
    as_json: bool

    async def run(self, opened: AbstractAsyncContextManager[VideosSession]) -> ExitCode:
        async with opened as session:
            saver = self._saver()
            with self._results() as results:
                return await self._run(session, saver, results)

    async def _run(
        self, session: VideosSession, saver: Saver | None, results: ResultsFile | None
    ) -> ExitCode:
        tally = self.parting.tally = Tally(total=self._total)
        job = BatchRun(
            session=session,
            limits=self.limits,
            saver=saver,
            journal=self.journal,
            results=results,
            report=self._report(tally),
            tally=tally,
            on_begun=self._tell_first,
        )
        requests = (
            self.prompts.keyed()
            if self.journal is None
            else PlannedPrompts(prompts=self.prompts, total=self.overview.total)
        )
        try:
            await job.run(requests)
        finally:
            # Also when an error comes out: what is left open is told before what went wrong.
            if job.is_begun:
                self._part(job)
        if self.prompts.trouble is not None:
            raise self.prompts.trouble
        if job.is_interrupted:
            return ExitCode.INTERRUPTED
        return tally.code if job.results_trouble is None else worst([tally.code, ExitCode.SERVICE])

    @property
    def _total(self) -> int:
        """How many keys there are, those included that only the journal knows."""
        if self.past is None:
            return self.overview.total
        return len(self.overview.keys | self.past.states.keys())

    def _tell_first(self) -> None:
        if self.parting.is_emulated:
            notice = "This is the emulator: nothing is sent anywhere, nothing is billed."
            self.streams.err.line(notice)
        elif self.past is not None:
            line = self.past.first_line(total=self._total, is_saving=self.files.output is not None)
            self.streams.err.line(f"videos-async: {line}")

    def _part(self, job: BatchRun) -> None:
        """Say what it came to."""
        trouble = job.results_trouble
        if job.is_interrupted:
            # The process is leaving: another Ctrl-C could only garble its last lines.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        lines: list[str] = []
        if trouble is not None:
            # Not to be relied on, so every id is told here.
            self.parting.results = None
            lines.append(f"the results could not be written: {shown(trouble.strerror or trouble)}")
        is_stopped = job.is_interrupted or trouble is not None
        summary = self.parting.parting()[0] if is_stopped else self.parting.summary()
        for line in (*lines, *self.parting.hints(), summary):
            self.streams.err.line(f"videos-async: {line}")

    def _saver(self) -> Saver | None:
        if self.files.output is None:
            return None
        try:
            self.files.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or error
            problem = f"the directory {shown(self.files.output)} cannot be made: {reason}"
            raise BadInput(f"nothing was sent: {problem}") from None
        # What stands under a name of an earlier run was put there by it, and was not noted in time.
        is_ours = self.files.replace or self.past is not None
        on_existing = OnExisting.REPLACE if is_ours else OnExisting.REFUSE
        return Saver(directory=self.files.output, on_existing=on_existing)

    def _results(self) -> ResultsFile | nullcontext[None]:
        path = self.parting.results = self.files.results_path
        if path is None:
            return nullcontext()
        return ResultsFile(path, is_continued=self.files.replace or self.past is not None)

    def _report(self, tally: Tally) -> BatchReport:
        streams = self.streams
        if self.as_json:
            return JsonBatchReport(streams=streams)
        if streams.out.is_terminal:
            return BatchDisplay(streams, tally)
        return PlainBatchReport(streams=streams, tally=tally)


def _is_there(journal: Path) -> bool:
    try:
        found = journal.lstat()
    except (OSError, ValueError):
        return False
    # An empty file becomes a journal; whatever else is none is refused by what it is.
    return found.st_size > 0 or not stat.S_ISREG(found.st_mode)


def _defaults(video: VideoOptions) -> dict[str, Any]:
    """Take what the options say, as fields under Python names."""
    request = video.request("")
    return attrs.asdict(request, recurse=False, filter=lambda field, _: field.name != "prompt")


def _taken(files: BatchFiles) -> dict[str, str] | None:
    """List the names in the directory that no video may have, by their lower case."""
    if files.output is None:
        return None
    try:
        with os.scandir(files.output) as entries:
            found = [entry for entry in entries if not files.replace or entry.is_dir()]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        where = shown(files.output)
        raise BadInput(f"the videos cannot be saved in {where}: {reason}") from None
    return {entry.name.casefold(): str(Path(entry.path)) for entry in found}


def _check_room(occupied: Sequence[str]) -> None:
    if not occupied:
        return
    more = len(occupied) - 1
    whose = f" and {more} more of the videos' files are" if more else " is"
    raise BadInput(
        f"nothing was sent: {shown(occupied[0])}{whose} there already, choose another directory "
        "with -o or add --replace"
    )


def _dry_run(overview: Overview, streams: Streams, *, as_json: bool) -> ExitCode:
    models = dict(overview.models)
    if as_json:
        facts = {"valid": overview.total, "seconds": overview.seconds, "models": models}
        streams.out.line(json.dumps(facts, ensure_ascii=True))
        return ExitCode.DONE
    each = ", ".join(f"{number} {shown(name)}" for name, number in models.items())
    requests = "1 request is" if overview.total == 1 else f"{overview.total} requests are"
    streams.out.line(
        f"{requests} valid ({each}; {overview.seconds} s of video in all); nothing was sent"
    )
    return ExitCode.DONE
