"""A file's name made of a key: the same on every run, on every system, and of no other key.

A key is anything a user calls a request, and a file's name is much less: so many bytes, no
separators, no devices of Windows, no case on half of the file systems, and one of two spellings
of an accent on others. What makes a name safe must not make two keys one.

So a key is the name of its file only where it is *plain*: small ASCII letters, digits, ``.``,
``_`` and ``-``, and nothing that any system reads another way. The name of every other key
is what is plain of it, a dash and a digest of the whole key. A plain key that looks like such a
name gets a digest too. Hence, case ignored or not:

- two plain keys are two names, as they have no case to ignore;
- a plain key and another never meet, as one name ends like a digest and the other does not;
- two other keys meet only where their digests do, 48 bits of them.

A suffix that depended on the other keys of a batch would read better, and would give a key
another file whenever the batch grows or is sorted.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Final

from videos_async.errors import Key

__all__ = ["file_name", "key_text"]

# With ".mp4.part" and what a temporary file adds to it this stays below the shortest limit in
# use, the 143 bytes of eCryptfs; ext4, APFS and NTFS have 255. ASCII: a character is a byte.
_STEM_LIMIT_BYTES: Final = 100
_DIGEST_BYTES: Final = 6
_PLAIN: Final = re.compile(r"[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_-])?")
_LIKE_A_DIGEST: Final = re.compile(rf".*-[0-9a-f]{{{2 * _DIGEST_BYTES}}}")
_NOT_KEPT: Final = re.compile(r"[^A-Za-z0-9._-]+")
# Devices of Windows, whatever stands behind the first dot ("Naming Files, Paths, and Namespaces"
# in Microsoft's documentation, which counts the superscript digits in; those become digits here).
_DEVICE: Final = re.compile(
    r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9]|conin|conout|clock)(?:\..*)?", re.IGNORECASE
)
# Beyond these digits Python refuses to write a number down in decimal.
_DECIMAL_LIMIT_BITS: Final = 4096


def file_name(key: Key, *, suffix: str = ".mp4") -> str:
    """Name the file of a request or task.

    The name depends on the key alone, so that it is found again. It is ASCII, at most 113 bytes
    and the suffix long, begins with a letter, a digit or ``_``, and is never a path. A key of
    small letters, digits, ``.``, ``_`` and ``-`` is its own name; of any other the name ends in
    a digest, so that no two keys share a file, not even where the file system ignores case. The
    number 7 and the text ``"7"`` are one key.

    Args:
        key: The caller's name for a request, or a task's id.
        suffix: The ending, with its dot.
    """
    text = key_text(key)
    if len(text) <= _STEM_LIMIT_BYTES and _is_plain(text):
        return text + suffix
    # Also a lone surrogate has bytes to tell it from others by.
    data = text.encode("utf-8", "surrogatepass")
    digest = hashlib.blake2s(data, digest_size=_DIGEST_BYTES).hexdigest()
    return f"{_readable(text)}-{digest}{suffix}"


def key_text(key: Key) -> str:
    """Write a key as text, the same for equal keys of whatever class.

    Args:
        key: A text or a whole number; one too long for decimal digits is written in hex.
    """
    if isinstance(key, str):
        # Not str(): an enum's member would say its own name there.
        return str.__str__(key)
    number = int(key)
    return f"{number:#x}" if number.bit_length() > _DECIMAL_LIMIT_BITS else f"{number:d}"


def _is_plain(text: str) -> bool:
    return (
        _PLAIN.fullmatch(text) is not None
        and _LIKE_A_DIGEST.fullmatch(text) is None
        and _DEVICE.fullmatch(text) is None
    )


def _readable(text: str) -> str:
    """Keep of a text what any system takes: letters lose their accents, the rest becomes ``_``."""
    # Enough to fill a name: a compatibility form can be many times as long as its character.
    head = unicodedata.normalize("NFKD", text[: 4 * _STEM_LIMIT_BYTES])
    bare = "".join(sign for sign in head if not unicodedata.combining(sign))
    stem = _NOT_KEPT.sub("_", bare).lstrip(".-")[:_STEM_LIMIT_BYTES].rstrip(".")
    if _DEVICE.fullmatch(stem):
        stem = f"_{stem}"[:_STEM_LIMIT_BYTES]
    return stem or "video"
