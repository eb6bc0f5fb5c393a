"""The walk over an MP4's boxes: whole, cut, untold or none, by pieces or over a file."""

from __future__ import annotations

import io
import random
import tracemalloc
from itertools import pairwise
from pathlib import Path
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videos_async._mp4 import Mp4State, Mp4Walk
from videos_async.emulator._samples import sample_video
from videos_async.emulator._testcard import render_test_card


def box(kind: bytes, body: bytes = b"", *, size: int | None = None) -> bytes:
    return pack(">I4s", 8 + len(body) if size is None else size, kind) + body


def long_box(kind: bytes, body: bytes = b"", *, size: int | None = None) -> bytes:
    return pack(">I4sQ", 1, kind, 16 + len(body) if size is None else size) + body


FTYP = box(b"ftyp", b"isom\0\0\2\0isomiso2")
MOOV = box(b"moov", b"\7" * 200)
MDAT = box(b"mdat", b"\1" * 500)
MOOF = box(b"moof", b"\2" * 60)
MFRA = box(b"mfra", b"\3" * 40)
SMALL = FTYP + MDAT + MOOV
SAMPLE = sample_video(task_id="video_1", size=(720, 720), duration_s=5)
CARD = render_test_card(prompt="A kitten", task_id="video_1", size=(128, 72), duration_s=1.0)


def fed(data: bytes, *, piece_bytes: int = 1 << 16) -> Mp4Walk:
    walk = Mp4Walk()
    for start in range(0, len(data), piece_bytes):
        walk.feed(data[start : start + piece_bytes])
    return walk


def state(data: bytes) -> Mp4State:
    return fed(data).verdict.state


def boundaries(data: bytes) -> list[int]:
    """Where the boxes begin and the last one ends, by a reading of the test's own."""
    found = [0]
    while found[-1] < len(data):
        found.append(found[-1] + int.from_bytes(data[found[-1] : found[-1] + 4]))
    assert found[-1] == len(data)
    return found


@pytest.mark.parametrize("video", [SAMPLE, CARD, SMALL], ids=["sample", "test card", "by hand"])
def test_a_whole_file_is_whole(video: bytes) -> None:
    walk = fed(video)
    assert walk.verdict.state is Mp4State.WHOLE
    assert walk.position_bytes == len(video)


@pytest.mark.parametrize("video", [SAMPLE, CARD], ids=["sample", "test card"])
def test_a_file_cut_within_any_box_is_cut(video: bytes) -> None:
    for start, end in pairwise(boundaries(video)):
        for cut in {start + 1, start + 7, start + 8, start + 9, (start + end) // 2, end - 1}:
            assert state(video[:cut]) is Mp4State.CUT, cut


@pytest.mark.parametrize("video", [SAMPLE, CARD], ids=["sample", "test card"])
def test_a_file_cut_between_boxes_is_cut_unless_index_and_pictures_are_there(video: bytes) -> None:
    for cut in boundaries(video):
        there = video[:cut]
        complete = b"moov" in there and b"mdat" in there
        assert state(there) is (Mp4State.WHOLE if complete else Mp4State.CUT), cut


def test_a_file_cut_at_random_places_is_cut() -> None:
    dice = random.Random(5)
    ends = set(boundaries(CARD))
    for cut in dice.sample(range(len(CARD)), 400):
        if cut not in ends:
            assert state(CARD[:cut]) is Mp4State.CUT, cut


@given(st.data())
def test_any_pieces_give_what_the_whole_gives(data: st.DataObject) -> None:
    boxes = st.sampled_from([FTYP, MOOV, MDAT, MOOF, MFRA, long_box(b"mdat", b"x" * 30), b"\0" * 9])
    video = b"".join(data.draw(st.lists(boxes, max_size=6)))
    video = video[: data.draw(st.integers(0, len(video)))]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(video)), max_size=12)))
    walk = Mp4Walk()
    for start, end in pairwise([0, *cuts, len(video)]):
        walk.feed(video[start:end])
    assert walk.verdict == fed(video).verdict
    assert walk.position_bytes == len(video)
    assert walk.verdict == fed(video, piece_bytes=1).verdict


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_pieces_may_be_bytes_of_any_kind(kind: type[bytes]) -> None:
    walk = Mp4Walk()
    walk.feed(kind(SMALL))
    assert walk.verdict.state is Mp4State.WHOLE


# --- over a file ---------------------------------------------------------------------------


@given(st.integers(0, len(CARD)))
def test_a_file_gives_what_its_bytes_give(cut: int) -> None:
    walk = Mp4Walk()
    walk.read(io.BytesIO(CARD[:cut]))
    assert walk.verdict == fed(CARD[:cut]).verdict
    assert walk.position_bytes == cut


@given(st.integers(0, len(CARD)), st.integers(0, len(CARD)))
def test_a_walk_over_a_part_goes_on_with_what_follows(one: int, other: int) -> None:
    first, second = sorted((one, other))
    walk = Mp4Walk()
    walk.read(io.BytesIO(CARD[:first]))
    walk.feed(CARD[first:second])
    walk.read(io.BytesIO(CARD))
    assert walk.verdict.state is Mp4State.WHOLE
    assert walk.position_bytes == len(CARD)


@pytest.mark.parametrize("buffering", [0, -1], ids=["unbuffered", "buffered"])
def test_a_real_file_is_jumped_through(tmp_path: Path, buffering: int) -> None:
    path = tmp_path / "large.mp4"
    with path.open("wb") as made:
        # Five gigabytes without a block on the disk: reading them would take the test's time.
        made.write(FTYP + MOOV + long_box(b"mdat", size=5 << 30))
        made.seek(len(FTYP + MOOV) + (5 << 30))
        made.write(box(b"free", b"end"))
    walk = Mp4Walk()
    with path.open("rb", buffering=buffering) as file:
        walk.read(file)
    assert walk.verdict.state is Mp4State.WHOLE
    assert walk.position_bytes == path.stat().st_size


class _Counted(io.BytesIO):
    read_bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(size)
        self.read_bytes += len(piece)
        return piece


def test_what_is_inside_the_boxes_of_a_file_is_not_read() -> None:
    file = _Counted(SAMPLE)
    Mp4Walk().read(file)
    assert file.read_bytes <= 64 * len(boundaries(SAMPLE))
    assert file.read_bytes < len(SAMPLE) / 10


# --- sizes ---------------------------------------------------------------------------------


def test_a_size_of_64_bits_is_walked() -> None:
    assert state(FTYP + long_box(b"mdat", b"x" * 100) + MOOV) is Mp4State.WHOLE
    assert state(FTYP + MOOV + long_box(b"mdat", b"x" * 100)[:-1]) is Mp4State.CUT


def test_a_header_of_64_bits_cut_at_any_byte_is_cut() -> None:
    whole = FTYP + MOOV + MDAT
    for cut in range(1, 16):
        assert state(whole + long_box(b"free", b"x")[:cut]) is Mp4State.CUT


def test_a_user_type_belongs_to_the_header() -> None:
    whole = FTYP + MOOV + MDAT
    assert state(whole + box(b"uuid", b"u" * 16)) is Mp4State.WHOLE
    assert state(whole + box(b"uuid", b"u" * 15)) is Mp4State.NOT_MP4
    assert state(whole + long_box(b"uuid", b"u" * 16 + b"x")) is Mp4State.WHOLE


def test_a_box_that_reaches_to_the_end_is_untold_wherever_that_is() -> None:
    for body in (b"", b"x", b"x" * 1000):
        walk = fed(FTYP + MOOV + box(b"mdat", body, size=0))
        assert walk.verdict.state is Mp4State.UNTOLD
        assert "'mdat' reaches to wherever the file ends" in walk.verdict.reason


def test_an_index_that_would_follow_a_box_without_an_end_is_missing() -> None:
    assert state(FTYP + box(b"mdat", MOOV, size=0)) is Mp4State.CUT


def test_fragments_without_their_list_are_untold_and_with_it_whole() -> None:
    fragments = FTYP + MOOV + MOOF + MDAT + MOOF + MDAT
    assert state(fragments) is Mp4State.UNTOLD
    assert state(fragments + MFRA) is Mp4State.WHOLE
    assert state(fragments[:-1]) is Mp4State.CUT
    assert state(fragments + MFRA[:-1]) is Mp4State.CUT


@pytest.mark.parametrize("size", [2, 3, 7])
def test_a_size_shorter_than_its_header_is_no_box(size: int) -> None:
    walk = fed(FTYP + box(b"moov", size=size) + MDAT)
    assert walk.verdict.state is Mp4State.NOT_MP4
    assert f"'moov' at byte {len(FTYP)} is said to be {size} bytes long" in walk.verdict.reason


@pytest.mark.parametrize("size", [0, 1, 8, 15])
def test_a_size_of_64_bits_shorter_than_its_header_is_no_box(size: int) -> None:
    assert state(FTYP + long_box(b"mdat", size=size) + MOOV) is Mp4State.NOT_MP4


@pytest.mark.parametrize("size", [2**63 - 1, 2**63, 2**64 - 1])
def test_a_size_beyond_any_file_is_cut(size: int) -> None:
    video = FTYP + MOOV + long_box(b"mdat", b"x" * 100, size=size)
    assert state(video) is Mp4State.CUT
    walk = Mp4Walk()
    walk.read(io.BytesIO(video))
    assert walk.verdict == fed(video).verdict
    assert walk.position_bytes == len(video)


# --- what is no MP4 ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"<!DOCTYPE html><html><body>Sorry</body></html>",
        b'{"error": "the link expired"}',
        b"\0" * 4096,
        b"\x1aE\xdf\xa3" + b"\0" * 60,
        b"RIFF\x24\0\0\0WAVEfmt ",
        b"\x1f\x8b\x08\0\0\0\0\0\0\0",
        MFRA + FTYP,
    ],
    ids=["html", "json", "zeros", "matroska", "wave", "gzip", "another box first"],
)
def test_what_begins_like_no_mp4_is_none(data: bytes) -> None:
    assert state(data) is Mp4State.NOT_MP4


def test_garbage_after_whole_boxes_is_told_with_its_place() -> None:
    walk = fed(SMALL + b"\0" * 32)
    assert walk.verdict.state is Mp4State.NOT_MP4
    assert f"no box at byte {len(SMALL)}" in walk.verdict.reason


def test_nothing_at_all_is_cut() -> None:
    assert state(b"") is Mp4State.CUT


@pytest.mark.parametrize(
    ("video", "missing"),
    [(FTYP + MDAT, "'moov'"), (FTYP + MOOV, "'mdat'"), (FTYP, "'moov'"), (FTYP + MOOF, "'moov'")],
)
def test_a_file_without_index_or_pictures_says_which(video: bytes, missing: str) -> None:
    verdict = fed(video).verdict
    assert verdict.state is Mp4State.CUT
    assert missing in verdict.reason


def test_older_and_unknown_boxes_are_walked_over() -> None:
    old = box(b"wide") + MDAT + MOOV + box(b"\xa9xyz", b"1") + box(b"zzzz", b"2")
    assert state(old) is Mp4State.WHOLE


@given(st.binary(max_size=200))
def test_no_bytes_raise(data: bytes) -> None:
    by_pieces, over_file = fed(data, piece_bytes=3), Mp4Walk()
    over_file.read(io.BytesIO(data))
    assert by_pieces.verdict == over_file.verdict == fed(data).verdict
    assert by_pieces.position_bytes == len(data)


def test_a_flaw_stays_whatever_follows() -> None:
    walk = fed(b"<html>!!")
    before = walk.verdict
    walk.feed(SMALL)
    assert walk.verdict == before


def test_a_cut_says_how_much_is_missing() -> None:
    assert fed(SMALL[:-10]).verdict.reason == "10 bytes of the box 'moov' are missing"
    assert fed(SMALL + b"\0\0").verdict.reason.endswith(f"of the box at byte {len(SMALL)}")


def test_the_memory_of_a_walk_does_not_grow_with_what_it_is_fed() -> None:
    hostile = b"".join(box(b"%04d" % (number % 10_000)) for number in range(50_000))
    walk = fed(FTYP)
    tracemalloc.start()
    try:
        walk.feed(hostile)
        for piece in (b"\0\0\x10\0free", b"x" * 4088):
            walk.feed(piece)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 4096


def test_a_walk_tells_its_state_by_its_repr() -> None:
    assert repr(fed(SMALL)) == f"<Mp4Walk at {len(SMALL)}: whole, every box is whole>"
