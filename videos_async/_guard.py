"""Where files may be fetched from: judged by the URL, and again by the address that DNS gave.

The URL comes from the service, and a redirect from anybody, so each is judged before a
connection is made. The address is judged where the socket is made: after DNS, on every
connection, with nothing between the judgement and the use that could give another answer.

A proxy resolves names itself. Then the address of the file server cannot be seen from here, and
what the proxy may reach is for the proxy to say; addresses written in the URL are judged all the
same.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection
from typing import Any

from videos_async._addresses import address_flaw
from videos_async._settings import is_loopback
from videos_async._values import url_flaw
from videos_async.models import without_query

__all__ = ["AddressRefused", "Guard", "refusal"]


class AddressRefused(OSError):
    """The name led to an address that nothing is fetched from. Never leaves the library.

    Its text is the same for all addresses: where all of a name's are refused the client then
    raises one of these, and not a mixture that could not be told from trouble with the network.

    Attributes:
        flaw: What is wrong with the address.
    """

    def __init__(self, flaw: str) -> None:
        super().__init__("an address that nothing is fetched from")
        self.flaw = flaw


class Guard:
    """Says which URLs and addresses files may be fetched from.

    Args:
        api_host: Where the API is: when it is on loopback, files may be there, too, without TLS.
        plain_http_hosts: Further hosts that may be spoken to without TLS.
        private_hosts: Hosts that may be at an address of this machine or a private network.
        is_proxied: Whether a proxy makes the connections.
    """

    def __init__(
        self,
        *,
        api_host: str,
        plain_http_hosts: Collection[str] = (),
        private_hosts: Collection[str] = (),
        is_proxied: bool = False,
    ) -> None:
        self._is_api_on_loopback = is_loopback(api_host)
        self._plain_http_hosts = frozenset(plain_http_hosts)
        self._private_hosts = frozenset(private_hosts)
        self._is_proxied = is_proxied

    def is_private(self, host: str) -> bool:
        """Tell whether a host may be at any address."""
        return host in self._private_hosts

    def url_flaw(self, url: str, *, scheme: str, host: str) -> str | None:
        """Tell why a URL is not fetched from, as a sentence, or None where it may be tried.

        Args:
            url: The URL as it came.
            scheme: Its scheme, as the client reads it.
            host: Its host, as the client reads it.
        """
        shown = repr(without_query(url))
        if url_flaw(url) is not None or scheme not in ("http", "https") or not host:
            return f"the video is at {shown}, no http or https URL"
        if "@" in url.partition("?")[0].split("/")[2]:
            # Not shown: what stands before the @ can be a password.
            return "the URL of the video holds a user or a password, which is not sent anywhere"
        is_ours = self._is_api_on_loopback and is_loopback(host)
        if scheme == "http" and not is_ours and host not in self._plain_http_hosts:
            return (
                f"the video is at {shown} without TLS; to allow it say plain_http_hosts=[{host!r}]"
            )
        # Without a proxy the address is seen for certain when the socket is made.
        flaw = self._written_address_flaw(host) if self._is_proxied else None
        return None if flaw is None or self.is_private(host) else refusal(host, flaw)

    def open_socket(self, address: tuple[Any, ...]) -> socket.socket:
        """Make the socket of a connection, given as `socket.getaddrinfo` gives addresses.

        Raises:
            AddressRefused: When nothing is fetched from there.
        """
        family, kind, protocol, _, target = address
        flaw = self._address_flaw(target[0])
        if flaw is not None:
            raise AddressRefused(flaw)
        return socket.socket(family, kind, protocol)

    def _address_flaw(self, address: str) -> str | None:
        if self._is_api_on_loopback and is_loopback(address):
            return None
        return address_flaw(address)

    def _written_address_flaw(self, host: str) -> str | None:
        """Judge an address written in a URL, in any form that a resolver would take for one."""
        if is_loopback(host):
            return self._address_flaw("127.0.0.1")
        try:
            # "0x7f.1" and "2130706433" are addresses here.
            return self._address_flaw(socket.inet_ntoa(socket.inet_aton(host)))
        except OSError:
            pass
        try:
            return self._address_flaw(str(ipaddress.ip_address(host)))
        except ValueError:
            return None


def refusal(host: str, flaw: str) -> str:
    """Write why a host is not fetched from, and how to allow it."""
    return (
        f"{flaw}, and videos are fetched from public addresses; "
        f"if that is meant say downloads=DownloadPolicy(private_hosts=[{host!r}])"
    )
