"""When a signed URL runs out, as far as it says so itself.

Only a hint: a URL that seems to have run out is asked for anew before it is tried, which is
free. Clocks differ, so a fresh one is tried whatever it says.

Sources, each the vendor's own page on signed URLs:

- ``X-Amz-Date`` and ``X-Amz-Expires``: AWS Signature Version 4, query parameters; Google
  (``X-Goog-``), Alibaba (``x-oss-``) and Volcengine (``X-Tos-``) have the same pair.
- ``Expires``: a Unix time in CloudFront's canned policies, AWS Signature Version 2, Alibaba's
  first version; the emulator writes it in small letters.
- ``se``: an ISO 8601 time, Azure's shared access signatures.
- ``q-sign-time``: ``start;end`` as Unix times, Tencent's COS.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qsl, urlsplit

__all__ = ["expires_at_s"]

_VENDORS: Final = ("amz", "goog", "oss", "tos")


def expires_at_s(url: str) -> float | None:
    """Tell when a URL runs out, as a Unix time in seconds, or None where it does not say."""
    try:
        pairs = parse_qsl(urlsplit(url).query, max_num_fields=100)
    except ValueError:
        return None
    query = {name.lower(): value for name, value in pairs}
    for vendor in _VENDORS:
        date, seconds = query.get(f"x-{vendor}-date"), query.get(f"x-{vendor}-expires")
        if date is not None and seconds is not None:
            start_s, lasts_s = _date_s(date), _number(seconds)
            return None if start_s is None or lasts_s is None else start_s + lasts_s
    if "q-sign-time" in query:
        return _number(query["q-sign-time"].rpartition(";")[2])
    if "expires" in query:
        return _number(query["expires"])
    # Two letters may mean anything where no signature of Azure's stands beside them.
    return _date_s(query["se"]) if "se" in query and "sig" in query else None


def _number(text: str) -> float | None:
    # Longer is no time, and a float of it might be infinite.
    return float(text) if text.isascii() and text.isdigit() and len(text) <= 12 else None


def _date_s(text: str) -> float | None:
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
