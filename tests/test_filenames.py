"""Files named after keys: safe everywhere, found again, and one of each key."""

from __future__ import annotations

import enum
import hashlib
import subprocess
import sys
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

import videos_async
from videos_async import Key, file_name

# Names of the devices of Windows, with each of the three superscript digits it also takes.
DEVICES = [
    *("con", "prn", "aux", "nul", "conin$", "conout$"),
    *(f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"),
]

keys = st.one_of(
    st.integers(),
    st.text(max_size=300),
    # With what a file name must not be made of far more often than chance would have it.
    st.text('aA0_.- /\\:*?"<>|~\0\n\u0301e\u00e9\ud800', max_size=8),
    st.sampled_from(DEVICES + [device.upper() + ".txt" for device in DEVICES]),
    # From any code point: lone surrogates as well.
    st.lists(st.integers(0, 0x10FFFF).map(chr), max_size=50).map("".join),
)


def text(key: Key) -> str:
    return key if isinstance(key, str) else str(key)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (0, "0.mp4"),
        (7, "7.mp4"),
        ("0001", "0001.mp4"),
        ("fox", "fox.mp4"),
        ("scene-1", "scene-1.mp4"),
        ("scene_1.take-2", "scene_1.take-2.mp4"),
        ("_draft", "_draft.mp4"),
        ("video_1234567890", "video_1234567890.mp4"),
        ("550e8400-e29b-41d4-a716-44665544000g", "550e8400-e29b-41d4-a716-44665544000g.mp4"),
        ("x" * 100, "x" * 100 + ".mp4"),
        ("console", "console.mp4"),
    ],
)
def test_a_plain_key_is_the_name(key: Key, name: str) -> None:
    assert file_name(key) == name


@pytest.mark.parametrize(
    ("key", "stem"),
    [
        ("Fox", "Fox"),
        ("a b", "a_b"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("..\\..\\boot.ini", "_.._boot.ini"),
        ("/etc/passwd", "_etc_passwd"),
        ("C:\\x", "C_x"),
        (".hidden", "hidden"),
        ("-rf", "rf"),
        (-1, "1"),
        ("a.", "a"),
        ("a ", "a_"),
        ("...", "video"),
        ("", "video"),
        ("\0", "_"),
        ("a\nb\x1b[2Jc", "a_b_2Jc"),
        ("猫", "_"),
        ("Café", "Cafe"),
        ("Cafe\u0301", "Cafe"),
        ("ﬁn", "fin"),
        ("a\uff0fb", "a_b"),
        ("\u2024\u2024/x", "_x"),
        ("\ud800", "_"),
        ("CON", "_CON"),
        ("con", "_con"),
        ("nul.txt", "_nul.txt"),
        ("COM¹", "_COM1"),
        ("conin$", "conin_"),
        ("x" * 101, "x" * 100),
        ("x" * 5000, "x" * 100),
        ("é" * 5000, "e" * 100),
        ("\ufdfa" * 200, "_"),
        ("fox-0123456789ab", "fox-0123456789ab"),
    ],
)
def test_any_other_key_keeps_what_is_plain_of_it_and_gets_a_digest(key: Key, stem: str) -> None:
    name = file_name(key)
    digest = hashlib.blake2s(text(key).encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    assert name == f"{stem}-{digest}.mp4"


@given(keys)
def test_a_name_is_short_plain_ascii_that_no_system_reads_another_way(key: Key) -> None:
    name = file_name(key)
    assert name.isascii()
    assert len(f"{name}.part") <= 143 - len(".0123456789abcdef")
    assert not set(name) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert name[0] not in ".-"
    stem = name.removesuffix(".mp4")
    assert stem
    assert not stem.endswith((".", " "))


@given(keys)
def test_a_name_stays_in_its_directory_and_is_no_device(key: Key) -> None:
    name = file_name(key)
    assert Path("out", name).parent == Path("out")
    assert Path("out", name).name == name
    on_windows = PureWindowsPath("out", name)
    assert on_windows.parent == PureWindowsPath("out")
    assert on_windows.name == name
    assert name.partition(".")[0].casefold() not in DEVICES


@given(keys)
def test_a_file_of_that_name_can_be_made_and_is_listed_under_it(
    tmp_path_factory: pytest.TempPathFactory, key: Key
) -> None:
    path = tmp_path_factory.getbasetemp() / f"{file_name(key)}.part"
    path.touch()
    try:
        assert [path.name] == [found.name for found in path.parent.glob("*.part")]
    finally:
        path.unlink()


@given(keys, keys)
def test_two_keys_never_share_a_file_whatever_the_case(one: Key, other: Key) -> None:
    is_same = text(one) == text(other)
    assert (file_name(one).casefold() == file_name(other).casefold()) is is_same


@given(st.lists(keys, max_size=6), keys)
def test_a_name_depends_on_its_key_alone(others: list[Key], key: Key) -> None:
    alone = file_name(key)
    for other in others:
        file_name(other)
    assert file_name(key) == alone


@given(keys)
def test_the_name_of_a_name_is_another_unless_it_is_plain(key: Key) -> None:
    # A key that is spelled like the file of another one does not take that one's file.
    name = file_name(key)
    stem = name.removesuffix(".mp4")
    assert (file_name(stem) == name) is (stem == text(key))


def test_keys_that_look_alike_as_names_stay_apart() -> None:
    alike = ("猫", "犬", "_", "a/b", "a\\b", "a b", "A B", "a", "A", "é", "e\u0301", "e", "com1")
    assert len({file_name(key).casefold() for key in alike}) == len(alike)


def test_a_number_and_its_digits_are_one_key() -> None:
    assert file_name(7) == file_name("7")


def test_a_number_of_more_digits_than_python_writes_has_a_name() -> None:
    assert file_name(10**5000) != file_name(10**5000 + 1)
    assert len(file_name(-(10**5000))) == len(file_name("x" * 5000))


def test_equal_keys_of_other_classes_have_one_name() -> None:
    class Scene(str, enum.Enum):  # noqa: UP042 - its str() differs from its value, as is the point
        FIRST = "first"

    class Number(enum.IntEnum):
        SEVEN = 7

    assert file_name(Scene.FIRST) == "first.mp4"
    assert file_name(Number.SEVEN) == "7.mp4"
    assert file_name(True) == file_name(1)  # noqa: FBT003 - equal keys


def test_the_ending_is_the_callers() -> None:
    assert file_name("fox", suffix=".json") == "fox.json"


def test_another_process_with_another_seed_gives_the_same_name() -> None:
    script = "import videos_async as v; print(v.file_name('Ein Fuchs'), end='')"
    said = {
        subprocess.run(
            [sys.executable, "-c", script],
            check=True,
            capture_output=True,
            text=True,
            env={"PYTHONHASHSEED": seed},
            cwd=Path(videos_async.__file__).parent.parent,
            timeout=30,
        ).stdout
        for seed in ("1", "2")
    }
    assert said == {file_name("Ein Fuchs")}
