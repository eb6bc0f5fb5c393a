"""Signed, expiring links: who holds one may fetch the file until it expires, without a key."""

from __future__ import annotations

import hashlib
import hmac
import math

import attrs

__all__ = ["LinkSigner"]


@attrs.frozen
class LinkSigner:
    """Signs and checks the query string of a file URL.

    Attributes:
        secret: The key of the signatures.
    """

    secret: bytes = attrs.field(repr=False)

    def sign(self, task_id: str, expires_at_s: float) -> str:
        """Give the query string that opens a file.

        Args:
            task_id: The task the file belongs to.
            expires_at_s: Virtual Unix time; rounded up to a whole second.

        Returns:
            ``expires=…&signature=…``, already safe in a URL.
        """
        expires = str(math.ceil(expires_at_s))
        return f"expires={expires}&signature={self._signature(task_id, expires)}"

    def flaw(self, task_id: str, expires: str, signature: str, *, now_s: float) -> str | None:
        """Say what is wrong with a link.

        Args:
            task_id: The task the link claims to open.
            expires: The link's ``expires``, as it came.
            signature: The link's ``signature``, as it came.
            now_s: Virtual Unix time.

        Returns:
            A sentence, or ``None`` if the link is good.
        """
        # The signature first: who cannot sign learns nothing about expiry.
        expected = self._signature(task_id, expires).encode()
        if not hmac.compare_digest(expected, signature.encode(errors="surrogatepass")):
            return "the signature of this link is not valid"
        if now_s >= int(expires):
            return "this link has expired, query the task again for a fresh one"
        return None

    def _signature(self, task_id: str, expires: str) -> str:
        message = f"{task_id}\n{expires}".encode(errors="surrogatepass")
        return hmac.digest(self.secret, message, hashlib.sha256).hex()
