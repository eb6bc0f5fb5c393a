"""The pure rooms of a download: its pace, its pages, its links and its policy."""

from __future__ import annotations

from typing import Any

import pytest

from videos_async import ConfigurationError, DownloadPolicy
from videos_async._expiry import expires_at_s
from videos_async._pace import Pace
from videos_async._pages import first_line, is_page

# --- pace ----------------------------------------------------------------------------------


def run(pace: Pace, arrivals: dict[int, int], until_s: int) -> float | None:
    """Wait second by second, look in the middle of each, and tell when it was too slow."""
    for second in range(until_s):
        pace.wait(second)
        if pace.is_too_slow(second + 0.5):
            return second + 0.5
        pace.receive(arrivals.get(second, 0), second + 1)
    return None


def pace() -> Pace:
    return Pace(minimum_bytes_per_s=100, window_s=10)


def test_a_pace_above_the_minimum_is_never_too_slow() -> None:
    assert run(pace(), dict.fromkeys(range(100), 101), 100) is None


def test_a_pace_below_the_minimum_is_too_slow_after_one_window() -> None:
    assert run(pace(), dict.fromkeys(range(100), 50), 100) == 10.5


def test_a_burst_excuses_one_window_of_silence_and_no_more() -> None:
    assert run(pace(), {0: 1_000_000}, 100) == 11.5


def test_bytes_that_come_in_lumps_are_fast_enough() -> None:
    assert run(pace(), dict.fromkeys(range(0, 100, 6), 1000), 100) is None


def test_time_that_nobody_waited_for_the_server_does_not_count() -> None:
    patient = pace()
    patient.wait(0)
    patient.receive(1, 1)
    # An hour at a slow disk, then one second at the server.
    patient.wait(3600)
    assert not patient.is_too_slow(3601)


def test_nobody_is_too_slow_while_nobody_waits() -> None:
    lazy = pace()
    lazy.wait(0)
    lazy.receive(0, 1000)
    assert not lazy.is_too_slow(2000)


def test_a_minimum_of_zero_takes_any_pace() -> None:
    assert run(Pace(minimum_bytes_per_s=0, window_s=10), {}, 1000) is None


# --- links ---------------------------------------------------------------------------------

NEW_YEAR_S = 1_767_225_600.0


@pytest.mark.parametrize(
    ("query", "expiry_s"),
    [
        ("X-Amz-Date=20260101T000000Z&X-Amz-Expires=3600", NEW_YEAR_S + 3600),
        ("X-Goog-Date=20260101T000000Z&X-Goog-Expires=1", NEW_YEAR_S + 1),
        ("x-oss-date=20260101T000000Z&x-oss-expires=1", NEW_YEAR_S + 1),
        ("X-Tos-Date=20260101T000000Z&X-Tos-Expires=1", NEW_YEAR_S + 1),
        ("Expires=1767225600&Signature=abc", NEW_YEAR_S),
        ("expires=1767225600&signature=abc", NEW_YEAR_S),
        ("se=2026-01-01T00%3A00%3A00Z&sig=abc", NEW_YEAR_S),
        ("se=2026-01-01&sig=abc", NEW_YEAR_S),
        ("q-sign-time=1767222000%3B1767225600", NEW_YEAR_S),
        ("se=2026-01-01T00%3A00%3A00Z", None),
        ("X-Amz-Date=yesterday&X-Amz-Expires=3600", None),
        ("X-Amz-Date=20260101T000000Z", None),
        ("Expires=never", None),
        ("Expires=99999999999999999999", None),
        ("Expires=-1", None),
        ("Expires=١٢٣", None),
        ("", None),
        ("&".join(["a=b"] * 1000), None),
    ],
)
def test_a_link_tells_when_it_runs_out(query: str, expiry_s: float | None) -> None:
    assert expires_at_s(f"https://files.example/a.mp4?{query}") == expiry_s


def test_a_link_that_cannot_be_read_tells_nothing() -> None:
    assert expires_at_s("https://[bad?Expires=1767225600") is None


# --- pages ---------------------------------------------------------------------------------

FTYP = b"\0\0\0\x18ftypisom"


@pytest.mark.parametrize(
    ("media_type", "head", "expected"),
    [
        ("video/mp4", FTYP, False),
        ("application/octet-stream", FTYP, False),
        ("text/plain", FTYP, False),
        ("text/html", FTYP, False),
        ("video/mp4", b"\x1aE\xdf\xa3 webm", False),
        ("text/html", b"hello", True),
        ("application/json", b"1", True),
        ("video/mp4", b"<!DOCTYPE html>", True),
        ("video/mp4", b"\xef\xbb\xbf\n<html>", True),
        ("video/mp4", b'{"error": 1}', True),
        ("video/mp4", b"[]", True),
        ("video/mp4", b"[1, 2] is no JSON error", False),
    ],
)
def test_a_page_is_told_from_a_video(media_type: str, head: bytes, *, expected: bool) -> None:
    assert is_page(media_type, head) == expected


@pytest.mark.parametrize(
    ("head", "line"),
    [
        (b"<html><head><style>p {}</style><title>Gone</title></head>", "Gone"),
        (
            b"<!-- nothing --><script>x()</script>\n\n  <p>Sorry,\tthat   is gone",
            "Sorry, that is gone",
        ),
        (b"<script>never closed", ""),
        (b"<p>cut <b", "cut"),
        (b'\n\n{"message": "no"}\nmore', '{"message": "no"}'),
        (b"see https://a.example/b?X-Signature=c and call", "see https://a.example/b?… and call"),
        (b"Who? Me.", "Who? Me."),
        (
            b"\xff\xfe \x1b[31mred",
            "\N{REPLACEMENT CHARACTER}" * 2 + " \N{REPLACEMENT CHARACTER}[31mred",
        ),
        (b"a" * 500, "a" * 160 + "…"),
        (b"", ""),
    ],
)
def test_the_first_line_that_says_something_is_picked(head: bytes, line: str) -> None:
    assert first_line(head) == line


@pytest.mark.parametrize(
    "shown", ["c2VjcmV0L3NpZ24=", "c2VjcmV0L3NpZ24%3D", "/a.mp4?sig=c2VjcmV0L3NpZ24%3D&e=1"]
)
def test_what_a_page_shows_of_the_signature_is_cut(shown: str) -> None:
    url = "https://files.example/a.mp4?sig=c2VjcmV0L3NpZ24%3D&e=1"
    line = first_line(f"bad signature {shown} given".encode(), url=url)
    assert "c2VjcmV0" not in line
    assert line.startswith("bad signature ")
    assert line.endswith(" given")


# --- policy --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "setting",
    [
        {"parallel": 0},
        {"parallel": 1.5},
        {"parallel": True},
        {"minimum_bytes_per_s": -1},
        {"minimum_bytes_per_s": float("nan")},
        {"window_s": 0},
        {"window_s": "30"},
        {"limit_bytes": 0},
        {"limit_bytes": 1.5},
        {"private_hosts": "files.example"},
        {"private_hosts": [1]},
        {"private_hosts": [""]},
        {"private_hosts": None},
    ],
)
def test_a_setting_that_is_wrong_is_named(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"DownloadPolicy.{next(iter(setting))} must be"):
        DownloadPolicy(**setting)


def test_hosts_are_names_in_any_case() -> None:
    policy = DownloadPolicy(private_hosts=["Files.Example"])
    assert policy.private_hosts == frozenset({"files.example"})


def test_a_limit_may_be_none() -> None:
    assert DownloadPolicy(limit_bytes=None).limit_bytes is None
