"""What a file of prompts is read as, and what is said of one that cannot be meant."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from videos_async import VideoRequest
from videos_async.cli._exit import BadInput
from videos_async.cli.batch._formats import FormatName, format_of
from videos_async.cli.batch._requests import Prompts
from videos_async.cli.batch._source import Source

A_URL, B_URL = "https://example.com/a.png", "https://example.com/b.png"
DEFAULTS: dict[str, Any] = {"duration": 7, "model": "videos", "ratio": "1:1", "first_image": None}


class Read:
    """What an input came to."""

    def __init__(self, path: Path, format_name: FormatName, defaults: dict[str, Any]) -> None:
        self.complaints: list[str] = []
        self.refusal: BadInput | None = None
        with Source(str(path)) as source:
            prompts = Prompts(source=source, format_name=format_name, defaults=defaults)
            try:
                prompts.checked(complain=self.complaints.append, taken=None)
            except BadInput as refusal:
                self.refusal = refusal
            self.keyed = dict(prompts.keyed())
        self.complaints = [one.removeprefix(f"{path}:") for one in self.complaints]


def read(
    tmp_path: Path,
    content: str | bytes,
    format_name: FormatName,
    defaults: dict[str, Any] = DEFAULTS,
) -> Read:
    path = tmp_path / "prompts"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return Read(path, format_name, defaults)


# --- the formats ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jsonl", "jsonl"),
        ("a.NDJSON", "jsonl"),
        ("a.csv", "csv"),
        ("a.txt", "text"),
        ("a.prompts", "text"),
        ("a", "text"),
        ("-", "text"),
    ],
)
def test_format_is_told_by_the_ending(name: str, expected: str) -> None:
    assert format_of(name) == expected


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_text_is_one_prompt_a_line_named_after_its_number(
    tmp_path: Path, end: str, mark: str
) -> None:
    found = read(tmp_path, f"{mark}A fox{end}{end}  {end}Ein Löwe, „laut“{end}last", "text")

    assert found.keyed == {
        "0001": VideoRequest(prompt="A fox", duration=7, ratio="1:1"),
        "0004": VideoRequest(prompt="Ein Löwe, „laut“", duration=7, ratio="1:1"),
        "0005": VideoRequest(prompt="last", duration=7, ratio="1:1"),
    }


def test_json_lines_take_every_name_and_say_more_than_the_defaults(tmp_path: Path) -> None:
    lines = f"""\
{{"prompt": "a", "key": "fox", "duration": 4, "ratio": null}}

{{"prompt": "b", "referenceImages": ["{A_URL}"], "extra": {{"seed": 2}}}}
{{"prompt": "c", "key": 7, "image": "{A_URL}", "last_image": "{B_URL}"}}
"""
    defaults = {**DEFAULTS, "extra": {"seed": 1, "style": "noir"}}
    found = read(tmp_path, lines, "jsonl", defaults)
    extra = defaults["extra"]

    assert found.complaints == []
    assert found.keyed == {
        "fox": VideoRequest(prompt="a", duration=4, ratio="1:1", extra=extra),
        "0003": VideoRequest(
            prompt="b",
            duration=7,
            ratio="1:1",
            reference_images=(A_URL,),
            extra={"seed": 2, "style": "noir"},
        ),
        7: VideoRequest(
            prompt="c",
            duration=7,
            ratio="1:1",
            first_image=A_URL,
            last_image=B_URL,
            extra=extra,
        ),
    }


def test_csv_reads_numbers_lists_and_quoted_line_breaks(tmp_path: Path) -> None:
    rows = f"""\
key, prompt, duration, referenceImages, extra
fox,"A fox, red",4,{A_URL}|{B_URL},

,"two
lines",,"{A_URL}  {B_URL}","{{""seed"": 1}}"
,last,,,
"""
    found = read(tmp_path, rows.replace("\n", "\r\n"), "csv")

    assert found.complaints == []
    both = (A_URL, B_URL)
    assert found.keyed == {
        "fox": VideoRequest(prompt="A fox, red", duration=4, ratio="1:1", reference_images=both),
        "0004": VideoRequest(
            prompt="two\nlines",
            duration=7,
            ratio="1:1",
            reference_images=both,
            extra={"seed": 1},
        ),
        "0006": VideoRequest(prompt="last", duration=7, ratio="1:1"),
    }


def test_default_of_a_list_does_not_reach_a_line_that_says_it(tmp_path: Path) -> None:
    defaults = {**DEFAULTS, "reference_images": (A_URL,)}
    line = f'{{"prompt": "a", "referenceImages": ["{B_URL}"]}}'
    found = read(tmp_path, line, "jsonl", defaults)
    assert found.keyed["0001"].reference_images == (B_URL,)


# --- what cannot be meant ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format_name", "content", "complaints"),
    [
        ("text", "ok\n" + "x" * 1501, ["2: prompt must be 1 to 1500 characters"]),
        ("text", b"ok\ncaf\xe9\nok", ["2: the line is not UTF-8 (byte 0xe9 in position 4)"]),
        ("text", b"ok\n" + b"x" * (1 << 21) + b"\nok", ["2: the line is longer than 1 MB"]),
        ("jsonl", '{"prompt": "a",}', ["1: is not JSON: "]),
        ("jsonl", '["a"]', ["1: the line must be a JSON object (one request a line"]),
        ("jsonl", '{"prompt": "a", "prompt": "b"}', ["1: is not JSON: the name 'prompt' is there"]),
        ("jsonl", '{"prompt": "a", "duration": NaN}', ["1: is not JSON: NaN is no number"]),
        ("jsonl", "[" * 100_000, ["1: is nested too deep"]),
        (
            "jsonl",
            '{"prompt": "", "duration": 99, "ratio": "3:2"}\n{"prompt": "ok"}\n{"promt": "a"}',
            [
                "1: prompt must not be empty",
                "1: duration must be between 4 and 15 seconds for model 'videos', got 99",
                "1: ratio must be '16:9' or '9:16' or '1:1'",
                "3: promt is not a field of a request (did you mean prompt?)",
                "3: prompt must be text",
            ],
        ),
        (
            "jsonl",
            '{"prompt": "a", "key": 1.5}',
            ["1: key must be text or a whole number, got 1.5"],
        ),
        ("jsonl", '{"prompt": "a", "key": " "}', ["1: key must not be empty"]),
        ("jsonl", '{"prompt": "a", "key": "\\ud800"}', ["1: key must be valid Unicode"]),
        (
            "jsonl",
            "\n".join(f'{{"prompt": "x", "key": "{key}"}}' for key in ("Fox", "Fox", "fox")),
            [
                "2: key must be unique, but line 1 has 'Fox' as well",
            ],
        ),
        ("jsonl", '{"prompt": "a", "key": 7}\n{"prompt": "b", "key": "7"}', ["2: key must be uni"]),
        (
            "jsonl",
            '{"prompt": "a", "model": "videos_pro"}',
            ["1: model must be one of the models the session knows ('videos', 'videos_fast'), got"],
        ),
        ("csv", "promt,duration\na,5\n", ["1: the header has no column prompt"]),
        ("csv", "prompt;duration\na;5\n", ["1: the header has no column prompt; the columns are"]),
        ("csv", "prompt,promt\na,5\n", ["1: the header's column promt is not a field of a reque"]),
        ("csv", "prompt,prompt\na,5\n", ["1: the header names 'prompt' twice"]),
        ("csv", "prompt,,key\na,5\n", ["1: the header has a column without a name"]),
        ("csv", "prompt,key\na,b,c\n", ["2: the row has 3 cells under 2 columns: put a cell with"]),
        ("csv", "prompt,duration\na,5.5\n", ["2: duration must be a whole number of seconds"]),
        ("csv", 'prompt,duration\na,5\n"b,5\n', ["3: the row is not CSV: unexpected end"]),
        ("csv", b"prompt\nok\n\xff\n", ["3: the line is not UTF-8"]),
        ("csv", 'prompt,extra\na,"{"\n', ["2: is not JSON"]),
    ],
)
def test_each_bad_line_is_told_with_its_number_and_what_is_wrong(
    tmp_path: Path, format_name: FormatName, content: str | bytes, complaints: list[str]
) -> None:
    found = read(tmp_path, content, format_name)

    assert len(found.complaints) == len(complaints)
    for said, expected in zip(found.complaints, complaints, strict=True):
        assert said.startswith(expected)
    assert found.refusal is not None
    lines = {one.partition(":")[0] for one in complaints}
    count = "1 line is" if len(lines) == 1 else f"{len(lines)} lines are"
    assert str(found.refusal) == f"nothing was sent: {count} to be corrected first"


def test_what_the_library_says_about_python_is_not_told(tmp_path: Path) -> None:
    found = read(tmp_path, '{"prompt": "a", "model": "m"}', "jsonl")
    assert "VideosSession" not in found.complaints[0]


@pytest.mark.parametrize(("format_name", "content"), [("text", " \n"), ("csv", "prompt\n")])
def test_input_without_prompts_is_refused(
    tmp_path: Path, format_name: FormatName, content: str
) -> None:
    found = read(tmp_path, content, format_name)
    assert str(found.refusal).startswith("there are no prompts in ")


def test_utf_16_is_told_once_for_the_whole_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is UTF-16: save it as UTF-8"):
        read(tmp_path, "A fox\nA lion".encode("utf-16"), "text")


# --- two readings --------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_pipe_is_read_twice_all_the_same(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text("one\ntwo\n"))
    writer.start()
    found = Read(pipe, "text", DEFAULTS)
    writer.join()
    assert [request.prompt for request in found.keyed.values()] == ["one", "two"]


def test_file_that_is_replaced_meanwhile_is_sent_as_it_was_judged(tmp_path: Path) -> None:
    path = tmp_path / "prompts"
    path.write_text("judged")
    with Source(str(path)) as source:
        prompts = Prompts(source=source, format_name="text", defaults=DEFAULTS)
        prompts.checked(complain=pytest.fail, taken=None)
        (tmp_path / "new").write_text("not judged")
        (tmp_path / "new").replace(path)
        assert [request.prompt for _, request in prompts.keyed()] == ["judged"]


def test_file_that_goes_bad_meanwhile_ends_the_input_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "prompts"
    path.write_text("one\ntwo")
    with Source(str(path)) as source:
        prompts = Prompts(source=source, format_name="text", defaults=DEFAULTS)
        prompts.checked(complain=pytest.fail, taken=None)
        path.write_bytes(b"one\n\xff\nthree")
        assert [request.prompt for _, request in prompts.keyed()] == ["one"]
        assert "changed while it was being read: from line 2 on" in str(prompts.trouble)
