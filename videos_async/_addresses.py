"""Which addresses a file may be fetched from: those of the public internet and no others.

The URL of a video comes from a service, and a redirect from anybody. Followed blindly they would
make this process knock on doors that only it can reach: its own ports, the machines beside it,
the metadata service of its cloud. So every address is judged, after DNS and before a connection.

The rules are tables of our own, drawn from IANA's registries of special-purpose addresses, where
`ipaddress` is only asked to read an address: its ``is_global`` and ``is_private`` have meant
different things in patch releases of one and the same Python (3.11.9 and 3.12.4 among them).

- https://www.iana.org/assignments/iana-ipv4-special-registry
- https://www.iana.org/assignments/iana-ipv6-special-registry
- https://www.iana.org/assignments/ipv6-unicast-address-assignments

What translates between the two families is refused as a whole, also where the IPv4 address
inside is public: whether the translator is the network's or an attacker's cannot be seen from
here, and no file server needs to be reached that way. Only a translator under a prefix that a
network chose for itself (RFC 6052, section 2.2) cannot be told from any other address.
"""

from __future__ import annotations

import ipaddress
from typing import Final, TypeAlias

__all__ = ["address_flaw"]

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_REFUSED_V4: Final = tuple(
    (ipaddress.IPv4Network(network), what)
    for network, what in (
        ("0.0.0.0/32", "the unspecified address (RFC 1122)"),
        ("0.0.0.0/8", "an address of this network itself (RFC 791)"),
        ("10.0.0.0/8", "a private address (RFC 1918)"),
        ("100.64.0.0/10", "an address shared behind a carrier's NAT (RFC 6598)"),
        ("127.0.0.0/8", "a loopback address (RFC 1122)"),
        ("169.254.0.0/16", "a link-local address (RFC 3927)"),
        ("172.16.0.0/12", "a private address (RFC 1918)"),
        ("192.0.0.0/24", "reserved for protocols (RFC 6890)"),
        ("192.0.2.0/24", "reserved for documentation (RFC 5737)"),
        ("192.88.99.0/24", "a 6to4 relay (RFC 7526)"),
        ("192.168.0.0/16", "a private address (RFC 1918)"),
        ("198.18.0.0/15", "reserved for benchmarks (RFC 2544)"),
        ("198.51.100.0/24", "reserved for documentation (RFC 5737)"),
        ("203.0.113.0/24", "reserved for documentation (RFC 5737)"),
        ("224.0.0.0/4", "a multicast address (RFC 5771)"),
        ("255.255.255.255/32", "the broadcast address (RFC 919)"),
        ("240.0.0.0/4", "reserved (RFC 1112)"),
        # In no registry, and answered by the host of every Azure machine: "What is IP address
        # 168.63.129.16?" in Azure's own documentation.
        ("168.63.129.16/32", "the host of a virtual machine on Azure"),
    )
)

_REFUSED_V6: Final = tuple(
    (ipaddress.IPv6Network(network), what)
    for network, what in (
        ("::/128", "the unspecified address (RFC 4291)"),
        ("::1/128", "a loopback address (RFC 4291)"),
        ("::ffff:0:0/96", "an IPv4-mapped address (RFC 4291)"),
        ("::ffff:0:0:0/96", "an IPv4-translated address (RFC 2765)"),
        ("::/96", "an IPv4-compatible address (RFC 4291)"),
        ("64:ff9b::/96", "a NAT64 address (RFC 6052)"),
        ("64:ff9b:1::/48", "a NAT64 address of a local network (RFC 8215)"),
        ("100::/64", "a discard address (RFC 6666)"),
        ("100:0:0:1::/64", "a dummy address (RFC 9780)"),
        ("2001::/32", "a Teredo address (RFC 4380)"),
        ("2001:2::/48", "reserved for benchmarks (RFC 5180)"),
        ("2001::/23", "reserved for protocols (RFC 2928)"),
        ("2001:db8::/32", "reserved for documentation (RFC 3849)"),
        ("2002::/16", "a 6to4 address (RFC 3056)"),
        ("3fff::/20", "reserved for documentation (RFC 9637)"),
        ("5f00::/16", "a segment identifier (RFC 9602)"),
        ("fc00::/7", "a unique local address (RFC 4193)"),
        ("fe80::/10", "a link-local address (RFC 4291)"),
        ("fec0::/10", "a site-local address (RFC 3879)"),
        ("ff00::/8", "a multicast address (RFC 4291)"),
    )
)

# All that is given out as global unicast so far (RFC 4291, section 2.4, and IANA's registry).
_GLOBAL_V6: Final = ipaddress.IPv6Network("2000::/3")
# ISATAP writes an IPv4 address behind this interface identifier (RFC 5214, section 6.1); the
# second has the bit that calls the identifier unique.
_ISATAP: Final = frozenset({0x0000_5EFE, 0x0200_5EFE})


def address_flaw(address: str | bytes) -> str | None:
    """Tell why no file is fetched from an address.

    Args:
        address: What DNS gave: its text (``"192.0.2.1"``, ``"2001:db8::1"``, without brackets)
            or its four or sixteen bytes in the order of the network.

    Returns:
        What is wrong with it, as a whole phrase that names it (``"127.0.0.1 is a loopback
        address (RFC 1122)"``), or None where a file may be fetched from there. A text that is no
        address is refused as well: a host name, or a number that a resolver would still take for
        an address (``"0x7f.1"``, ``"2130706433"``).
    """
    if isinstance(address, str) and "%" in address:
        # Also where the part before it is public: such a scope picks an interface of this
        # machine (RFC 4007, section 11), which nobody else can know the name of.
        return f"{address[:80]!r} names an interface of this machine (RFC 4007)"
    try:
        read = ipaddress.ip_address(address)
    except ValueError:
        return f"{address[:80]!r} is no IP address"
    what = _what(read)
    return None if what is None else f"{read} is {what}"


def _what(address: _Address) -> str | None:
    if isinstance(address, ipaddress.IPv4Address):
        return next((what for network, what in _REFUSED_V4 if address in network), None)
    for network, what in _REFUSED_V6:
        if address in network:
            return what
    if address not in _GLOBAL_V6:
        return "not given out as a global address (RFC 4291)"
    if int(address) >> 32 & 0xFFFF_FFFF in _ISATAP:
        return "an ISATAP address (RFC 5214)"
    return None
