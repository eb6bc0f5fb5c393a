"""The command ``journal``: what it shows, what it changes, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import pytest

from tests.cli.command import Start, environment, run_command
from tests.journal_faults import READ_FAULTS, Fault
from tests.journals import NOW, accepted, driven, holder, intended, planned
from videos_async import (
    GenerationFailed,
    Journal,
    JournalEntry,
    Key,
    Status,
    SubmissionUncertain,
    VideoTask,
)
from videos_async.cli._app import run_app
from videos_async.cli._exit import ExitCode

Told: TypeAlias = tuple[int, str, str]
Command: TypeAlias = Callable[..., Told]
HOSTILE = "\x1b]0;owned\x07\u202e"


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Run the command here, in a directory of its own, without a key and a network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VIDEOS_API_KEY", raising=False)

    def run(*arguments: str) -> Told:
        code = run_app(["journal", *arguments])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def uncertain(key: Key, prompt: str | None = None, **facts: Any) -> JournalEntry:
    entry = planned(key, prompt).intend(NOW + 1)
    doubt = SubmissionUncertain(
        request=entry.request, key=key, reason=facts.pop("reason", "the line died"), **facts
    )
    return entry.doubt(doubt, NOW + 2)


def failed(key: Key) -> JournalEntry:
    task = VideoTask(id=f"video_{key}", status=Status.FAILED, error="blood")
    return accepted(key).observe(task, NOW + 60, GenerationFailed(task_id=task.id, reason="blood"))


def journal(tmp_path: Path, *entries: JournalEntry) -> Path:
    path = tmp_path / "j"
    with driven(path, *entries):
        pass
    return path


def state_of(path: Path, key: Key) -> str:
    async def look() -> str:
        async with Journal(path) as opened:
            entry = await opened.find(key)
            return "none" if entry is None else entry.state.value

    return anyio.run(look)


# --- looking -------------------------------------------------------------------------------


def test_show_is_a_table_of_every_key_and_a_line_of_counts(
    command: Command, tmp_path: Path
) -> None:
    journal(tmp_path, accepted("fox"), failed("rain"), planned(7))
    code, out, err = command("show", "j")
    assert code == 0
    assert out.splitlines() == [
        "KEY   STATE    SINCE (UTC)          TASK",
        "fox   queued   1970-01-01 00:16:42  video_fox",
        "rain  failed   1970-01-01 00:17:40  video_rain  blood",
        "7     planned  1970-01-01 00:16:40  -",
    ]
    assert err == (
        "videos-async: 3 keys: 1 planned, 1 queued, 1 failed; its input was not read to the end\n"
    )


def test_show_takes_keys_and_states(command: Command, tmp_path: Path) -> None:
    journal(tmp_path, accepted("fox"), failed("rain"), planned(7))
    for arguments, keys in (
        (["fox", "7", "fox"], ["fox", 7]),
        (["--state", "failed"], ["rain"]),
        (["--state", "failed", "--state", "planned"], ["rain", 7]),
        (["fox", "--state", "failed"], ["rain", "fox"]),
        (["--state", "expired"], []),
    ):
        code, out, _ = command("show", "j", *arguments, "--json")
        assert code == 0
        assert [json.loads(line)["key"] for line in out.splitlines()] == keys


def test_json_has_every_name_every_time(command: Command, tmp_path: Path) -> None:
    journal(tmp_path, accepted("fox"), failed("rain"), planned(7), uncertain("x"))
    _, shown, _ = command("show", "j", "--json")
    code, exported, err = command("export", "j")
    assert (code, err) == (0, "")
    assert shown == exported
    records = {one["key"]: one for one in map(json.loads, exported.splitlines())}
    names = (
        "key state task_id planned_at sent_at changed_at rearmed error request task file".split()  # noqa: SIM905
    )
    assert all(list(record) == names for record in records.values())
    assert records["rain"]["error"]["type"] == "GenerationFailed"
    assert records["rain"]["task"]["status"] == "failed"
    assert records["fox"]["request"]["prompt"] == "prompt of fox"
    assert (records[7]["sent_at"], records["fox"]["sent_at"]) == (None, NOW + 1)


def test_uncertain_tells_when_each_was_sent_and_its_prompt(
    command: Command, tmp_path: Path
) -> None:
    lost = uncertain("lost", "Rain on a tin roof", http_status=200, reason="it had no id")
    journal(tmp_path, accepted("fox"), uncertain("meadow", "A" * 39 + "B" * 60), lost)
    code, out, err = command("uncertain", "j")
    assert (code, err) == (3, "")
    long = "A" * 39 + "B"
    assert out.splitlines() == [
        "KEY     STATE      SENT (UTC)           PROMPT",
        f"meadow  uncertain  1970-01-01 00:16:41  {long}{'B' * 20}…  the line died",
        f"lost    id-lost    1970-01-01 00:16:41  Rain on a tin roof{' ' * 22}  it had no id",
    ]
    code, out, _ = command("uncertain", "j", "--json")
    assert code == 3
    assert [json.loads(line)["key"] for line in out.splitlines()] == ["meadow", "lost"]


def test_nothing_uncertain_is_exit_code_0(command: Command, tmp_path: Path) -> None:
    journal(tmp_path, accepted("fox"))
    assert command("uncertain", "j") == (0, "", "videos-async: nothing is uncertain\n")
    assert command("uncertain", "j", "--json")[:2] == (0, "")


def test_an_intent_of_a_process_that_died_is_listed(command: Command, tmp_path: Path) -> None:
    journal(tmp_path, intended("fox"))
    code, out, _ = command("uncertain", "j")
    assert code == 3
    assert "the process that sent it ended before its answer was written down" in out


def test_what_strangers_wrote_cannot_reach_the_terminal(command: Command, tmp_path: Path) -> None:
    journal(tmp_path, uncertain(f"k{HOSTILE}", f"p{HOSTILE}", reason=f"r{HOSTILE}"))
    for arguments in (["show", "j"], ["uncertain", "j"], ["export", "j"]):
        _, out, err = command(*arguments)
        assert not {"\x1b", "\x07", "\u202e"} & set(out + err)


def test_a_journal_can_be_shown_while_it_is_driven_but_not_changed(
    command: Command, tmp_path: Path
) -> None:
    with holder(tmp_path / "j", count=2) as process:
        code, out, err = command("show", "j")
        assert (code, out.count("queued")) == (0, 2)
        assert f"; driven now by process {process.pid} on " in err
        code, out, err = command("abandon", "j", "0")
        assert (code, out) == (ExitCode.BAD_INPUT, "")
        assert f"is driven by process {process.pid} on " in err


@pytest.mark.parametrize("fault", READ_FAULTS, ids=lambda fault: fault.name)
def test_what_cannot_be_trusted_is_told_in_one_line(
    command: Command, tmp_path: Path, fault: Fault
) -> None:
    fault.make(tmp_path / "j")
    code, out, err = command("show", "j")
    assert (code, out) == (2, "")
    assert err.startswith("videos-async: journal j")
    assert err.count("\n") == 1


def test_a_journal_that_is_not_there_is_bad_input(command: Command) -> None:
    code, _, err = command("show", "none")
    assert (code, err) == (
        2,
        "videos-async: journal none does not exist: check the name, or start a batch with it\n",
    )


# --- what a key is -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("7", 7),
        ('"7"', "7"),
        ("8", "8"),
        ("007", "007"),
        ("-3", -3),
        ("fox", "fox"),
        ('"quoted"', '"quoted"'),
        ("猫", "猫"),
    ],
)
def test_a_word_means_the_number_if_there_is_one_and_else_the_text(
    command: Command, tmp_path: Path, word: str, found: Key
) -> None:
    keys: list[Key] = [7, "7", "8", "007", -3, "fox", '"quoted"', "quoted", "猫"]
    journal(tmp_path, *map(planned, keys))
    code, out, _ = command("show", "j", "--json", "--", word)
    assert code == 0
    assert [json.loads(line)["key"] for line in out.splitlines()] == [found]


def test_a_key_that_is_not_there_changes_nothing(command: Command, tmp_path: Path) -> None:
    path = journal(tmp_path, planned("fox"))
    for verb in ("rearm", "abandon", "show"):
        code, out, err = command(verb, "j", "fox", "nope", "1")
        assert (code, out) == (2, "")
        assert err == (
            "videos-async: journal j knows no nope, 1: `videos-async journal show` lists its keys\n"
        )
    assert state_of(path, "fox") == "planned"


# --- resolving -----------------------------------------------------------------------------


def test_rearm_allows_one_more_submission(command: Command, tmp_path: Path) -> None:
    path = journal(tmp_path, uncertain("fox"), failed(7))
    code, out, err = command("rearm", "j", "fox", "7")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "fox  planned (was uncertain): the same batch command as before sends it",
        "7  planned (was failed): the same batch command as before sends it",
    ]
    assert (state_of(path, "fox"), state_of(path, 7)) == ("planned", "planned")


def test_adopt_attaches_a_task(command: Command, tmp_path: Path) -> None:
    path = journal(tmp_path, uncertain("fox"))
    code, out, _ = command("adopt", "j", "fox", "video_9", "--json")
    assert code == 0
    assert (json.loads(out)["state"], json.loads(out)["task_id"]) == ("accepted", "video_9")
    assert state_of(path, "fox") == "accepted"


def test_abandon_closes_all_of_a_state(command: Command, tmp_path: Path) -> None:
    path = journal(tmp_path, uncertain("a"), uncertain("b"), accepted("c"))
    code, out, _ = command("abandon", "j", "--state", "uncertain")
    assert (code, out) == (0, "a  abandoned (was uncertain)\nb  abandoned (was uncertain)\n")
    assert [state_of(path, key) for key in "abc"] == ["abandoned", "abandoned", "queued"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["rearm", "j", "bad", "fox"], "key 'fox' is queued and cannot be re-armed: only one that"),
        (["abandon", "j", "fox", "over"], "key 'over' is failed and cannot be abandoned: only"),
        (["adopt", "j", "fox", "video_9"], "key 'fox' is queued and cannot adopt a task: only one"),
        (["adopt", "j", "bad", "video_fox"], "cannot give its task video_fox to another key"),
        (["adopt", "j", "bad", ".."], "task_id must not be a path segment"),
        (["rearm", "j"], "no key was named: name them, or a state with --state"),
        (["rearm", "j", "--state", "lost"], "Invalid value"),
    ],
)
def test_what_cannot_be_is_bad_input_and_changes_nothing(
    command: Command, tmp_path: Path, arguments: list[str], text: str
) -> None:
    path = journal(tmp_path, accepted("fox"), uncertain("bad"), failed("over"))
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert text in err
    states = [state_of(path, key) for key in ("fox", "bad", "over")]
    assert states == ["queued", "uncertain", "failed"]


def test_a_state_that_no_key_is_in_is_no_error(command: Command, tmp_path: Path) -> None:
    journal(tmp_path, accepted("fox"))
    assert command("rearm", "j", "--state", "failed") == (
        0,
        "",
        "videos-async: no key is in that state, and none was changed\n",
    )


async def test_the_process_itself_explains_its_verbs(tmp_path: Path) -> None:
    ended = await run_command(
        "journal", "--help", env=environment(), cwd=tmp_path, start=Start.FRESH
    )
    assert ended.code == 0
    assert all(
        verb in ended.out for verb in ("show", "uncertain", "rearm", "adopt", "abandon", "export")
    )
