"""The fault matrix: what goes wrong, where, and what the design promises all the same.

Rows are faults, on the real socket of the real emulator; the phases are the submission, the polls
and the download. Each row runs the session as users get it, with its default policies, on virtual
time: half a minute between two polls and a minute of patience for a create call take no time.
Each asserts the two things that count: the ledger, and what the user sees.

In the first two parts the fault strikes one prompt of three in a batch. Whatever becomes of that
one, the other two are paid for once and completed: one task's trouble never ends another's.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterable
from contextlib import closing
from pathlib import Path
from typing import Final

import attrs
import pytest

from tests.service import request
from videos_async import (
    AccountRefused,
    DownloadError,
    DownloadIncomplete,
    End,
    Journal,
    KeyState,
    QueryFailed,
    RateLimit,
    SubmissionUncertain,
    TaskNotFound,
    Transition,
    VideosError,
    VideosSession,
    VideoTask,
    VideoUnavailable,
)
from videos_async.emulator import (
    HostileBodyKind,
    HostileIdKind,
    IdLoss,
    LoseId,
    Media,
    UrlKind,
    VideosEmulator,
    VirtualClock,
    VirtualLoop,
)

STRUCK: Final = "A kitten"
SPARED: Final = ("A hare", "A fox")
DIALECTS_OF_THE_ID: Final = ("envelope", "task_id", "taskId", "data_id", "data_project_id")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": VirtualClock().new_event_loop}


@pytest.fixture
async def emulator() -> AsyncIterator[VideosEmulator]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    async with VideosEmulator(clock=loop.clock, media=Media.SAMPLE) as started:
        yield started


@pytest.fixture
async def session(emulator: VideosEmulator) -> AsyncIterator[VideosSession]:
    async with VideosSession(emulator.api_key, base_url=emulator.base_url) as opened:
        yield opened


async def batch(
    session: VideosSession, prompts: Iterable[str]
) -> dict[str | int, list[Transition]]:
    """Run a batch to its end; gives the transitions of each key, the last of which is its end."""
    requests = [(prompt, request(prompt)) for prompt in prompts]
    told: dict[str | int, list[Transition]] = {prompt: [] for prompt, _ in requests}
    async with session.batch(requests, timeout=7200) as transitions:
        async for change in transitions:
            assert not any(earlier.is_end for earlier in told[change.key])
            told[change.key].append(change)
    assert all(changes[-1].is_end for changes in told.values())
    return told


@attrs.frozen(kw_only=True)
class Row:
    """A fault, and what is promised.

    Attributes:
        fault: The fault, as text.
        end: How the struck request ends.
        billed: How often it is paid for.
        posts: How many create calls the service reads for it.
        at_least_s: The least virtual time until it ends.
    """

    fault: str
    end: End
    billed: int = 1
    posts: int = 1
    at_least_s: float = 0


def ids(rows: Iterable[Row]) -> list[str]:
    return [row.fault for row in rows]


# --- the submission ------------------------------------------------------------------------

NOT_ACCEPTED: Final = [
    Row(fault="status 429 times=2", end=End.COMPLETED, posts=3),
    Row(fault="status 429 retry_after=120 times=1", end=End.COMPLETED, posts=2, at_least_s=120),
    Row(fault="status 429 body='<html>' times=1", end=End.COMPLETED, posts=2),
    Row(fault="rate_limit 0.01 burst=1 retry_after=100 nth_of_task=1", end=End.COMPLETED),
    Row(fault="status 429", end=End.NOT_SUBMITTED, billed=0, posts=6),
]
REFUSED: Final = [
    *(
        Row(fault=f"status {code}", end=End.REFUSED, billed=0)
        for code in (400, 404, 405, 413, 415, 422)
    ),
    Row(fault="decline envelope", end=End.REFUSED, billed=0),
    Row(fault="decline failed", end=End.REFUSED, billed=0),
]
ACCEPTED: Final = [
    *(
        Row(fault=f"dialect {name}", end=End.COMPLETED)
        for name in (*DIALECTS_OF_THE_ID, "accepted", "extra", "progress", "progress_text")
    ),
    *(
        Row(fault=f"hostile_id {kind}", end=End.COMPLETED)
        for kind in (HostileIdKind.TRAVERSAL, HostileIdKind.QUERY, HostileIdKind.MARKUP)
    ),
    Row(fault="delay 45", end=End.COMPLETED, at_least_s=45),
    Row(fault="drip 0.1", end=End.COMPLETED, at_least_s=10),
    Row(fault="close after=answer", end=End.COMPLETED),
    Row(fault="slow 3600", end=End.COMPLETED, at_least_s=3600),
]
MAYBE_ACCEPTED: Final = [
    *(
        Row(fault=f"{fault} {when}", end=End.UNCERTAIN, billed=billed)
        for fault in (
            "reset",
            "close",
            "garbage",
            *(f"status {code}" for code in (408, 409, 500, 502, 503, 504, 599)),
            *(f"redirect code={code}" for code in (301, 302, 303, 307, 308)),
        )
        for when, billed in (("before=acceptance", 0), ("after=acceptance", 1))
    ),
    *(
        Row(fault=fault, end=End.UNCERTAIN)
        for fault in (
            "reset after=headers",
            "close after=headers",
            "cut 10",
            "cut 10 chunked",
            "cut 10 close",
            "cut 9999",
            "delay 90",
            "drip 1",
            *(str(LoseId(how)) for how in IdLoss),
            *(f"hostile_body {kind}" for kind in HostileBodyKind),
            *(f"hostile_id {kind}" for kind in (HostileIdKind.CONTROL, HostileIdKind.LONG)),
        )
    ),
]
SUBMISSIONS: Final = [*NOT_ACCEPTED, *REFUSED, *ACCEPTED, *MAYBE_ACCEPTED]


@pytest.mark.parametrize("row", SUBMISSIONS, ids=ids(SUBMISSIONS))
async def test_submission(emulator: VideosEmulator, session: VideosSession, row: Row) -> None:
    emulator.faults.add(f"{row.fault} on=submit prompt='{STRUCK}'")
    told = await batch(session, [STRUCK, *SPARED])

    end = told[STRUCK][-1]
    assert end.end is row.end
    assert end.elapsed >= row.at_least_s
    # Pay at most once: what may have been accepted is never sent again.
    assert emulator.billed_for(STRUCK) == row.billed
    posts = [one for one in emulator.requests.recent if one.kind == "submit"]
    assert sum(one.prompt == STRUCK for one in posts) == row.posts
    # An id that was paid for and arrived is in hand.
    if row.end is End.COMPLETED:
        assert end.task_id in emulator.tasks
    # Honest doubt: raised, kept, and told with what to do.
    doubts = [doubt for doubt in session.uncertain if doubt.key == STRUCK]
    assert bool(doubts) == (row.end is End.UNCERTAIN)
    if doubts:
        assert isinstance(end.error, SubmissionUncertain)
        assert "It was not sent again" in str(end.error)
    assert_the_others_are_well(emulator, told)


def assert_the_others_are_well(
    emulator: VideosEmulator, told: dict[str | int, list[Transition]]
) -> None:
    assert [told[prompt][-1].end for prompt in SPARED] == [End.COMPLETED] * len(SPARED)
    emulator.assert_paid_once(*SPARED)
    # Nothing was asked for that is no endpoint: no redirect followed, no id that climbed out.
    assert emulator.requests.others == 0
    assert emulator.requests.submits == emulator.billed + emulator.ledger.refused


@pytest.mark.parametrize("code", [401, 402, 403])
async def test_submission_that_refuses_the_account_stops_the_others(
    emulator: VideosEmulator, code: int
) -> None:
    emulator.faults.add(f"status {code} on=submit prompt='{STRUCK}'")
    # One at a time, so that who comes before and who after is certain.
    limit = RateLimit(submits_in_flight=1)
    async with VideosSession(emulator.api_key, base_url=emulator.base_url, limit=limit) as session:
        told = await batch(session, ["A hare", STRUCK, "A fox", "An owl"])
    # What was paid for before is watched to its end, what would come after is not sent.
    assert [changes[-1].end for changes in told.values()] == [
        End.COMPLETED,
        End.REFUSED,
        End.NOT_SUBMITTED,
        End.NOT_SUBMITTED,
    ]
    assert isinstance(told[STRUCK][-1].error, AccountRefused)
    assert (emulator.billed, emulator.requests.submits) == (1, 2)
    emulator.assert_paid_once("A hare")


@pytest.mark.parametrize(("seconds", "accepted"), [(2, True), (9999, False)])
async def test_submission_to_a_port_that_refuses(
    emulator: VideosEmulator, session: VideosSession, seconds: int, *, accepted: bool
) -> None:
    emulator.faults.add(f"refuse {seconds}")
    told = await batch(session, [STRUCK, *SPARED])
    expected = End.COMPLETED if accepted else End.NOT_SUBMITTED
    assert {changes[-1].end for changes in told.values()} == {expected}
    # None of the refused calls was read by anybody.
    assert emulator.requests.submits == emulator.billed == (3 if accepted else 0)
    assert not session.uncertain


# --- the polls -----------------------------------------------------------------------------

WEATHER: Final = (
    "reset",
    "reset after=acceptance",
    "reset after=headers",
    "close",
    "close after=headers",
    "close after=answer",
    "garbage",
    "cut 10",
    "cut 10 chunked",
    "cut 10 close",
    "delay 45",
    "drip 1",
    "rate_limit 0.01",
    "status 429",
    "status 429 retry_after=90",
    *(f"status {code}" for code in (408, 409, 500, 502, 504, 599)),
    "status 503 retry_after=90",
    "status 503 body=''",
    "status 502 body='<html>'",
    "status 200 body='<html>'",
    "status 200 body=''",
    "status 200 body='{}'",
    *(f"redirect code={code}" for code in (301, 302, 303, 307, 308)),
    *(f"hostile_body {kind}" for kind in HostileBodyKind),
)
POLLS: Final = [
    # For the first three polls there is bad weather, then it clears up.
    *(Row(fault=f"{fault} nth_of_task='[1, 2, 3]'", end=End.COMPLETED) for fault in WEATHER),
    # A replica that does not know the task yet, a key that is being renewed.
    *(
        Row(fault=f"status {code} nth_of_task='[1, 2]'", end=End.COMPLETED)
        for code in (401, 403, 404)
    ),
    Row(fault="unknown_status nth_of_task='[1, 2, 3]'", end=End.COMPLETED),
    *(
        Row(fault=f"dialect {name}", end=End.COMPLETED)
        for name in (*DIALECTS_OF_THE_ID, "url", "result_url", "progress", "progress_text", "extra")
    ),
    *(Row(fault=f"hostile_url {kind}", end=End.COMPLETED) for kind in UrlKind),
    Row(fault="no_url", end=End.COMPLETED),
    # What never ends is bounded, and the id stays in hand.
    *(
        Row(fault=fault, end=End.LOST_SIGHT)
        for fault in ("reset", "close", "garbage", "cut 10", "status 503", "status 404", "redirect")
    ),
    Row(fault="hostile_body wrong_types", end=End.LOST_SIGHT),
    Row(fault="status 429", end=End.TIMED_OUT, at_least_s=7200),
    Row(fault="unknown_status", end=End.TIMED_OUT, at_least_s=7200),
    Row(fault="slow 9000 on=submit", end=End.TIMED_OUT, at_least_s=7200),
]


@pytest.mark.parametrize("row", POLLS, ids=ids(POLLS))
async def test_poll(emulator: VideosEmulator, session: VideosSession, row: Row) -> None:
    phase = "" if " on=" in row.fault else "on=query"
    emulator.faults.add(f"{row.fault} {phase} prompt='{STRUCK}'")
    told = await batch(session, [STRUCK, *SPARED])

    end = told[STRUCK][-1]
    assert end.end is row.end
    assert end.elapsed >= row.at_least_s
    # Polls cost nothing, whatever becomes of them.
    emulator.assert_paid_once(STRUCK, *SPARED)
    assert emulator.requests.submits == 3
    # Lose nothing: the id is in hand however it ends.
    assert end.task_id in emulator.tasks
    if end.error is not None:
        assert getattr(end.error, "task_id", None) == end.task_id
    assert_the_others_are_well(emulator, told)


async def test_poll_that_tells_an_unknown_status_surfaces_it_as_it_is(
    emulator: VideosEmulator, session: VideosSession
) -> None:
    emulator.faults.add("unknown_status archiving on=query nth_of_task=1")
    told = await batch(session, [STRUCK])
    assert "archiving" in [change.status for change in told[STRUCK]]


async def test_poll_of_a_task_that_the_service_forgot_is_told_as_that(
    emulator: VideosEmulator, session: VideosSession
) -> None:
    emulator.faults.add("status 404 on=query")
    told = await batch(session, [STRUCK])
    assert isinstance(told[STRUCK][-1].error, TaskNotFound)


@pytest.mark.parametrize(
    "dialect", ["error_object", "error_detail", "error_code", "message", "msg"]
)
async def test_poll_of_a_failed_task_tells_the_reason_wherever_it_stands(
    emulator: VideosEmulator, session: VideosSession, dialect: str
) -> None:
    emulator.faults.add(f"dialect {dialect}")
    told = await batch(session, ["A kitten [fail]"])
    end = told["A kitten [fail]"][-1]
    assert end.end is End.FAILED
    assert "the prompt asked for a failure" in str(end.error)


async def test_polls_outlast_a_service_that_is_down_for_a_while(
    emulator: VideosEmulator, session: VideosSession
) -> None:
    task = await session.submit(request(STRUCK))
    emulator.faults.add("refuse 90")
    assert (await session.wait(task)).status == "completed"
    emulator.assert_paid_once(STRUCK)


# --- the download --------------------------------------------------------------------------

BROKEN: Final = (
    "reset",
    "reset after=acceptance",
    "reset after=headers",
    "close",
    "close after=headers",
    "garbage",
    "cut 1000",
    "cut 1000 chunked",
    "cut 0",
    "cut 999999999",
    "drip 45 size=1000",
    "delay 45",
    *(f"status {code}" for code in (400, 401, 403, 404, 410, 429, 500, 502, 503, 504)),
    "status 200 body='<html>'",
    "status 200 body='{}'",
    "expire_urls",
    "redirect",
    "redirect to=http://169.254.169.254/latest/meta-data",
    "redirect to=file:///etc/passwd",
    "redirect to=ftp://127.0.0.1/video.mp4",
    "hostile_url redirect",
    "hostile_url redirect_loop",
    "hostile_body gzip_bomb",
)


def files_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def whole_file(
    emulator: VideosEmulator, session: VideosSession, task: VideoTask, directory: Path
) -> bytes:
    script = list(emulator.faults)
    emulator.faults.clear()
    whole = directory / "whole.mp4"
    await session.download(task, whole)
    emulator.faults.extend(script)
    return whole.read_bytes()


@pytest.mark.parametrize("fault", [*BROKEN, "close after=answer", "rate_limit 0.01"])
async def test_download_that_is_struck_once(
    emulator: VideosEmulator, session: VideosSession, tmp_path: Path, fault: str
) -> None:
    task = await session.generate(request(STRUCK))
    whole = await whole_file(emulator, session, task, tmp_path)
    emulator.faults.add(f"{fault} on=download times=1")
    target = tmp_path / "kitten.mp4"
    try:
        await session.download(task, target)
    except DownloadError:
        # Whole files only: what broke off has no name of its own.
        assert not target.exists()
        await session.download(task, target)
    assert target.read_bytes() == whole
    assert files_in(tmp_path) == ["kitten.mp4", "whole.mp4"]
    assert_nothing_was_given_away(emulator)


@pytest.mark.parametrize("fault", BROKEN)
async def test_download_that_is_struck_every_time(
    emulator: VideosEmulator, session: VideosSession, tmp_path: Path, fault: str
) -> None:
    task = await session.generate(request(STRUCK))
    emulator.faults.add(f"{fault} on=download")
    target = tmp_path / "kitten.mp4"
    with pytest.raises(DownloadError) as caught:
        await session.download(task, target)
    assert caught.value.task_id == task.id
    assert not target.exists()
    assert_nothing_was_given_away(emulator)


def assert_nothing_was_given_away(emulator: VideosEmulator) -> None:
    # The key stays home, and nothing is paid for again.
    assert emulator.requests.downloads_with_authorization == 0
    emulator.assert_paid_once(STRUCK)


async def test_download_cut_where_nothing_tells_the_end_is_not_called_verified(
    emulator: VideosEmulator, session: VideosSession, tmp_path: Path
) -> None:
    task = await session.generate(request(STRUCK))
    emulator.faults.add("cut 1000 close on=download")
    target = tmp_path / "kitten.mp4"
    try:
        saved = await session.download(task, target)
    except DownloadIncomplete:
        assert not target.exists()
    else:
        assert not saved.is_verified


# The others are good URLs: of a file server that redirects, or with a user before the host.
GOOD_URLS: Final = frozenset({UrlKind.REDIRECT, UrlKind.REDIRECT_LOOP, UrlKind.USERINFO})
ASTRAY: Final = [kind for kind in UrlKind if kind not in GOOD_URLS]


@pytest.mark.parametrize("kind", ASTRAY)
async def test_download_from_a_url_that_leads_astray(
    emulator: VideosEmulator, session: VideosSession, tmp_path: Path, kind: str
) -> None:
    emulator.faults.add(f"hostile_url {kind} on=query")
    task = await session.generate(request(STRUCK))
    with pytest.raises(VideosError) as caught:
        await session.download(task, tmp_path / "kitten.mp4")
    assert getattr(caught.value, "task_id", None) == task.id
    assert files_in(tmp_path) == []
    assert_nothing_was_given_away(emulator)
    assert emulator.requests.downloads == 0


async def test_download_of_a_task_that_was_completed_without_a_url_asks_for_it(
    emulator: VideosEmulator, session: VideosSession, tmp_path: Path
) -> None:
    emulator.faults.add("no_url")
    task = await session.generate(request(STRUCK))
    with pytest.raises(VideoUnavailable, match="query it again later"):
        await session.download(task, tmp_path / "kitten.mp4")
    emulator.faults.clear()
    assert (await session.download(task, tmp_path / "kitten.mp4")).is_verified
    assert_nothing_was_given_away(emulator)


async def test_download_with_a_link_that_was_dead_from_the_start_gets_a_fresh_one(
    emulator: VideosEmulator, session: VideosSession, tmp_path: Path
) -> None:
    emulator.faults.add("expire_urls on=query")
    task = await session.generate(request(STRUCK))
    emulator.faults.clear()
    assert (await session.download(task, tmp_path / "kitten.mp4")).is_verified


async def test_download_days_later_gets_a_fresh_link(
    emulator: VideosEmulator, session: VideosSession, tmp_path: Path
) -> None:
    task = await session.generate(request(STRUCK))
    await emulator.advance(3 * 86_400)
    assert (await session.download(task, tmp_path / "kitten.mp4")).is_verified


async def test_download_from_a_port_that_refuses(
    emulator: VideosEmulator, session: VideosSession, tmp_path: Path
) -> None:
    task = await session.generate(request(STRUCK))
    emulator.faults.add("refuse 9999")
    # The file cannot be had, and nobody there to ask for another URL.
    with pytest.raises((DownloadError, QueryFailed)) as caught:
        await session.download(task, tmp_path / "kitten.mp4")
    assert isinstance(caught.value, (DownloadError, QueryFailed))
    assert caught.value.task_id == task.id
    assert files_in(tmp_path) == []
    await emulator.advance(10_000)
    assert (await session.download(task, tmp_path / "kitten.mp4")).is_verified


# --- the journal ---------------------------------------------------------------------------

SETTLED: Final[dict[End, KeyState]] = {
    End.COMPLETED: KeyState.COMPLETED,
    End.REFUSED: KeyState.REFUSED,
    # Certainly not accepted: it is sent by the next run.
    End.NOT_SUBMITTED: KeyState.PLANNED,
}


@pytest.mark.parametrize("row", SUBMISSIONS, ids=ids(SUBMISSIONS))
async def test_journal_of_a_struck_submission_is_resumed_without_paying_again(
    emulator: VideosEmulator, session: VideosSession, tmp_path: Path, row: Row
) -> None:
    emulator.faults.add(f"{row.fault} on=submit prompt='{STRUCK}'")
    journal = tmp_path / "run.sqlite"
    requests = [(prompt, request(prompt)) for prompt in (STRUCK, *SPARED)]
    async with session.batch(requests, timeout=7200, journal=journal) as transitions:
        first = {change.key: change.end async for change in transitions if change.is_end}
    assert first[STRUCK] is row.end
    async with Journal(journal) as opened:
        entry = await opened.find(STRUCK)
    assert entry is not None
    if row.end is End.UNCERTAIN:
        assert entry.state in {KeyState.UNCERTAIN, KeyState.ID_LOST}
    else:
        assert entry.state is SETTLED[row.end]

    emulator.faults.clear()
    async with session.resume(journal, timeout=7200) as transitions:
        again = {change.key: change async for change in transitions if change.is_end}

    is_sent_now = row.end is End.NOT_SUBMITTED
    assert again[STRUCK].end is (End.COMPLETED if is_sent_now else row.end)
    assert again[STRUCK].is_replayed is not is_sent_now
    assert emulator.billed_for(STRUCK) == row.billed + is_sent_now
    assert [again[prompt].is_replayed for prompt in SPARED] == [True] * len(SPARED)
    emulator.assert_paid_once(*SPARED)


STRUCK_LATER: Final = [row for row in POLLS if " on=" not in row.fault]


@pytest.mark.parametrize("row", STRUCK_LATER, ids=ids(STRUCK_LATER))
async def test_journal_of_a_batch_left_before_struck_polls_is_resumed_to_the_same_end(
    emulator: VideosEmulator, session: VideosSession, tmp_path: Path, row: Row
) -> None:
    journal = tmp_path / "run.sqlite"
    requests = [(prompt, request(prompt)) for prompt in (STRUCK, *SPARED)]
    accepted: dict[str | int, str | None] = {}
    async with session.batch(requests, journal=journal) as transitions:
        async for change in transitions:
            accepted[change.key] = change.task_id
            if len(accepted) == len(requests):
                break
    emulator.faults.add(f"{row.fault} on=query prompt='{STRUCK}'")

    async with session.resume(journal, timeout=7200) as transitions:
        ends = {change.key: change async for change in transitions if change.is_end}

    assert {key: change.task_id for key, change in ends.items()} == accepted
    assert ends[STRUCK].end is row.end
    emulator.assert_paid_once(STRUCK, *SPARED)


async def test_journal_keeps_planned_what_a_refused_account_kept_from_being_sent(
    emulator: VideosEmulator, session: VideosSession, tmp_path: Path
) -> None:
    emulator.faults.add("status 402 on=submit")
    journal = tmp_path / "run.sqlite"
    requests = [(prompt, request(prompt)) for prompt in (STRUCK, *SPARED)]
    async with session.batch(requests, journal=journal) as transitions:
        ends = [change.end async for change in transitions if change.is_end]
    assert set(ends) <= {End.REFUSED, End.NOT_SUBMITTED}
    assert emulator.billed == 0

    emulator.faults.clear()
    async with session.resume(journal) as transitions:
        ends = [change.end async for change in transitions if change.is_end]
    assert ends == [End.COMPLETED] * len(requests)
    emulator.assert_paid_once(STRUCK, *SPARED)


def learned(journal: Path) -> object:
    """Read what a journal keeps of the service's ways."""
    with closing(sqlite3.connect(journal)) as connection:
        (told,) = connection.execute("SELECT value FROM facts WHERE name = 'learned'").fetchone()
    return json.loads(told)


async def test_journal_brings_what_was_learned_of_the_service_to_the_next_session(
    emulator: VideosEmulator, session: VideosSession, tmp_path: Path
) -> None:
    journal = tmp_path / "run.sqlite"
    requests = [(number, request(f"take {number}")) for number in range(30)]
    async with session.batch(requests, journal=journal) as transitions:
        async for _ in transitions:
            pass
    before = learned(journal)
    assert isinstance(before, dict)
    assert before["cohorts"]
    # It has nothing to do but to write down what it knows, which is what it was told.
    async with (
        VideosSession(emulator.api_key, base_url=emulator.base_url) as another,
        another.resume(journal) as transitions,
    ):
        async for _ in transitions:
            pass
    assert learned(journal) == before
