from __future__ import annotations

from urllib.parse import parse_qs

import pytest

from videos_async.emulator._signing import LinkSigner

SIGNER = LinkSigner(b"secret")


def parts(task_id: str = "video_1", expires_at_s: float = 1000) -> tuple[str, str]:
    query = parse_qs(SIGNER.sign(task_id, expires_at_s))
    return query["expires"][0], query["signature"][0]


def test_a_link_works_until_it_expires() -> None:
    expires, signature = parts()
    assert SIGNER.flaw("video_1", expires, signature, now_s=999.9) is None
    assert SIGNER.flaw("video_1", expires, signature, now_s=1000) == (
        "this link has expired, query the task again for a fresh one"
    )


def test_a_part_of_a_second_is_rounded_in_favour_of_the_holder() -> None:
    assert parts(expires_at_s=999.1)[0] == "1000"


@pytest.mark.parametrize("tampered", ["task", "expires", "signature", "nothing", "no text"])
def test_a_link_that_was_tampered_with_is_refused(tampered: str) -> None:
    expires, signature = parts()
    task_id = "video_2" if tampered == "task" else "video_1"
    expires = {"expires": "2000", "no text": "soon"}.get(tampered, expires)
    signature = {"signature": "\ud800", "nothing": ""}.get(tampered, signature)
    assert SIGNER.flaw(task_id, expires, signature, now_s=0) == (
        "the signature of this link is not valid"
    )


def test_the_secret_is_not_shown() -> None:
    assert "secret" not in repr(SIGNER)
