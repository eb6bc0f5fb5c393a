"""The library as its users have it: a batch, with everything on that is on by default."""

from __future__ import annotations

from collections.abc import Iterator

from videos_async import PollPolicy, RateLimit, VideoRequest, VideosSession

__all__ = ["requests", "run"]


def requests(count: int) -> Iterator[VideoRequest]:
    """Make requests, one after the other."""
    for number in range(count):
        yield VideoRequest(prompt=f"A kitten, take {number}", duration=5)


async def run(url: str, *, tasks: int, in_flight: int) -> int:
    """Submit tasks and poll each until it is completed.

    Args:
        url: The server's base URL.
        tasks: How many.
        in_flight: How many polls are under way at a time.

    Returns:
        How many were completed.
    """
    completed = 0
    # Only the pauses are taken away: with them, nothing but the clock would be measured.
    poll = PollPolicy(min_interval_s=0, max_interval_s=0)
    limit = RateLimit(queries_in_flight=in_flight)
    async with (
        VideosSession("benchmark", base_url=url, poll=poll, limit=limit) as session,
        session.batch(requests(tasks)) as transitions,
    ):
        async for change in transitions:
            if change.is_end and change.error is None:
                completed += 1
    return completed
