"""How much of the network and of the disk downloads may take, and where they may go."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, cast

import attrs

from videos_async._settings import at_least, whole_at_least
from videos_async.errors import ConfigurationError, shorten

__all__ = ["DownloadPolicy", "DownloadProgress"]

# A hundred times the longest video the service makes: it stops a server that never ends.
_LIMIT_BYTES: Final = 4 << 30


def _names(hosts: Collection[str]) -> frozenset[str]:
    given = cast("object", hosts)
    # A text would fall apart into letters.
    if (
        isinstance(given, str)
        or not isinstance(given, Collection)
        or not all(isinstance(one, str) and one for one in cast("Collection[object]", given))
    ):
        problem = f"must be a list of host names, got {shorten(cast('object', hosts))}"
        raise ConfigurationError(setting="DownloadPolicy.private_hosts", problem=problem)
    return frozenset(one.lower() for one in hosts)


@attrs.frozen(kw_only=True)
class DownloadPolicy:
    """How files are fetched.

    Attributes:
        parallel: Most downloads at a time.
        minimum_bytes_per_s: Slowest transfer that is waited for, in bytes a second. A slower one
            is broken off and resumed on a new connection. 0 for any; a connection without a
            single byte is broken off by `Timeouts.download_stall_s`.
        window_s: Over how many seconds of waiting for bytes the rate is taken.
        limit_bytes: Largest file that is fetched, or None for no limit.
        private_hosts: Hosts whose files may be fetched although they are on this machine or in a
            private network. Any other host has to be at a public address, whatever its name
            resolves to.
    """

    parallel: int = attrs.field(default=4, validator=whole_at_least(1))
    minimum_bytes_per_s: float = attrs.field(default=1000.0, validator=at_least(0))
    window_s: float = attrs.field(default=30.0, validator=at_least(0.001))
    limit_bytes: int | None = attrs.field(
        default=_LIMIT_BYTES, validator=whole_at_least(1, optional="for no limit")
    )
    private_hosts: frozenset[str] = attrs.field(default=frozenset[str](), converter=_names)


@attrs.frozen(kw_only=True)
class DownloadProgress:
    """How far a download has come.

    Attributes:
        task_id: Whose video it is.
        received_bytes: How many bytes are here, those of earlier calls included.
        expected_bytes: How many there will be, or None where the server does not tell.
    """

    task_id: str
    received_bytes: int
    expected_bytes: int | None
