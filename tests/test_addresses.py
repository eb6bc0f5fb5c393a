"""Addresses a file may be fetched from: the registries' tables, and every way round them."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videos_async._addresses import address_flaw

# First and last of each range, and the neighbours outside that are public.
V4_RANGES = [
    ("0.0.0.0", "0.255.255.255"),
    ("10.0.0.0", "10.255.255.255"),
    ("100.64.0.0", "100.127.255.255"),
    ("127.0.0.0", "127.255.255.255"),
    ("169.254.0.0", "169.254.255.255"),
    ("172.16.0.0", "172.31.255.255"),
    ("192.0.0.0", "192.0.0.255"),
    ("192.0.2.0", "192.0.2.255"),
    ("192.88.99.0", "192.88.99.255"),
    ("192.168.0.0", "192.168.255.255"),
    ("198.18.0.0", "198.19.255.255"),
    ("198.51.100.0", "198.51.100.255"),
    ("203.0.113.0", "203.0.113.255"),
    ("224.0.0.0", "255.255.255.255"),
    ("168.63.129.16", "168.63.129.16"),
]
V6_RANGES = [
    ("::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
]


def packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def is_refused_by_the_ranges(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    ranges = V4_RANGES if address.version == 4 else V6_RANGES
    number = int(address)
    return any(
        int(ipaddress.ip_address(first)) <= number <= int(ipaddress.ip_address(last))
        for first, last in ranges
    )


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1", "127.0.0.1 is a loopback address (RFC 1122)"),
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "this network itself"),
        ("10.0.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.168.1.1", "private"),
        ("169.254.169.254", "link-local"),
        ("100.64.0.1", "carrier's NAT"),
        ("100.100.100.200", "carrier's NAT"),
        ("192.0.0.192", "protocols"),
        ("192.0.2.1", "documentation"),
        ("198.51.100.1", "documentation"),
        ("203.0.113.1", "documentation"),
        ("198.19.0.1", "benchmarks"),
        ("192.88.99.1", "6to4 relay"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.250", "multicast"),
        ("240.0.0.1", "reserved (RFC 1112)"),
        ("255.255.255.255", "broadcast"),
        ("168.63.129.16", "Azure"),
        ("::", "unspecified"),
        ("::1", "::1 is a loopback address (RFC 4291)"),
        ("::7f00:1", "IPv4-compatible"),
        ("::127.0.0.1", "IPv4-compatible"),
        ("::ffff:127.0.0.1", "IPv4-mapped"),
        ("::ffff:7f00:1", "IPv4-mapped"),
        ("::ffff:93.184.216.34", "IPv4-mapped"),
        ("::ffff:0:127.0.0.1", "IPv4-translated"),
        ("64:ff9b::127.0.0.1", "NAT64 address (RFC 6052)"),
        ("64:ff9b::5db8:d822", "NAT64 address (RFC 6052)"),
        ("64:ff9b:1::a00:1", "NAT64 address of a local network"),
        ("100::1", "discard"),
        ("100:0:0:1::1", "dummy"),
        ("2001::1", "Teredo"),
        ("2001:0:5ef5:79fd::1", "Teredo"),
        ("2001:2::1", "benchmarks"),
        ("2001:20::1", "protocols"),
        ("2001:db8::1", "documentation"),
        ("2002:7f00:1::", "6to4 address"),
        ("2002:5db8:d822::1", "6to4 address"),
        ("3fff::1", "documentation"),
        ("5f00::1", "segment identifier"),
        ("fc00::1", "unique local"),
        ("fd00:ec2::254", "unique local"),
        ("fe80::1", "link-local"),
        ("fec0::1", "site-local"),
        ("ff02::1", "multicast"),
        ("4000::1", "not given out"),
        ("64:ff9c::1", "not given out"),
        ("2a00:1450:4001::5efe:a00:1", "ISATAP"),
        ("2a00:1450:4001::200:5efe:127.0.0.1", "ISATAP"),
    ],
)
def test_an_address_that_is_not_public_is_refused_by_its_own_rule(
    address: str, reason: str
) -> None:
    assert reason in (address_flaw(address) or "")
    assert reason in (address_flaw(packed(address)) or "")


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        "93.184.216.34",
        "2001:4860:4860::8888",
        "2606:4700:4700::1111",
        "2a00:1450:4001:80b::200e",
        "2620:fe::fe",
        "2400:cb00:2048:1::c629:d7a2",
    ],
)
def test_a_public_address_is_fine(address: str) -> None:
    assert address_flaw(address) is None
    assert address_flaw(packed(address)) is None


@pytest.mark.parametrize(("first", "last"), [*V4_RANGES, *V6_RANGES])
def test_a_range_is_refused_from_its_first_to_its_last_address(first: str, last: str) -> None:
    assert address_flaw(first) is not None
    assert address_flaw(last) is not None


@pytest.mark.parametrize(("first", "last"), [*V4_RANGES, *V6_RANGES])
def test_what_lies_beside_a_range_is_judged_on_its_own(first: str, last: str) -> None:
    below, above = ipaddress.ip_address(first), ipaddress.ip_address(last)
    beside = [below - 1] if int(below) else []
    beside += [above + 1] if int(above) + 1 < 2**above.max_prefixlen else []
    for address in beside:
        assert (address_flaw(str(address)) is not None) is is_refused_by_the_ranges(address)


@given(st.ip_addresses(v=4))
def test_any_v4_address_is_refused_by_the_ranges_and_by_nothing_else(
    address: ipaddress.IPv4Address,
) -> None:
    assert (address_flaw(str(address)) is not None) is is_refused_by_the_ranges(address)


@given(st.ip_addresses(v=6).filter(lambda one: "5efe" not in one.exploded))
def test_any_v6_address_is_refused_by_the_ranges_and_by_nothing_else(
    address: ipaddress.IPv6Address,
) -> None:
    assert (address_flaw(address.packed) is not None) is is_refused_by_the_ranges(address)


@given(st.ip_addresses(v=4))
@pytest.mark.parametrize(
    "form",
    [
        "::{}",
        "::ffff:{}",
        "::ffff:0:{}",
        "64:ff9b::{}",
        "64:ff9b:1::{}",
        "2a00:1450::5efe:{}",
        "2a00:1450::200:5efe:{}",
    ],
)
def test_no_v4_address_gets_in_by_a_form_of_v6(form: str, address: ipaddress.IPv4Address) -> None:
    assert address_flaw(form.format(address)) is not None


@given(st.ip_addresses(v=4), st.integers(0, 2**80 - 1))
def test_no_v4_address_gets_in_by_6to4_or_teredo(address: ipaddress.IPv4Address, rest: int) -> None:
    six_to_four = ipaddress.IPv6Address(0x2002 << 112 | int(address) << 80 | rest)
    obfuscated = int(address) ^ 0xFFFF_FFFF
    teredo = ipaddress.IPv6Address(0x2001_0000 << 96 | rest >> 16 << 32 | obfuscated)
    assert "6to4" in (address_flaw(str(six_to_four)) or "")
    assert "Teredo" in (address_flaw(str(teredo)) or "")


@given(st.ip_addresses())
def test_text_and_bytes_are_judged_alike(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    assert address_flaw(address.packed) == address_flaw(str(address))
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    # As the system writes it, in mixed notation too.
    assert address_flaw(socket.inet_ntop(family, address.packed)) == address_flaw(str(address))


@given(st.ip_addresses())
def test_a_refusal_names_the_address(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    flaw = address_flaw(str(address))
    assert flaw is None or flaw.startswith(f"{address} is ")


@pytest.mark.parametrize(
    "address",
    [
        "fe80::1%eth0",
        "fe80::1%2",
        "2001:4860:4860::8888%lo",
        "::1%1",
        "fe80::1%",
        "8.8.8.8%eth0",
    ],
)
def test_a_scope_is_refused_whatever_it_belongs_to(address: str) -> None:
    assert "interface" in (address_flaw(address) or "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 8.8.8.8",
        "8.8.8.8 ",
        "8.8.8.8/32",
        "[2001:4860:4860::8888]",
        "8.8.8",
        "127.1",
        "0x7f.0.0.1",
        "0x7f000001",
        "2130706433",
        "0177.0.0.1",
        "010.0.0.1",
        "localhost",
        "example.com",
        "127.0.0.1.",
        "\u0661.1.1.1",
        "\uff11.1.1.1",
        "8.8.8.8\0",
        "8.8.8.8\n",
        "x" * 10_000,
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    flaw = address_flaw(text) or ""
    assert "is no IP address" in flaw
    assert len(flaw) < 200


@given(st.binary(max_size=20).filter(lambda data: len(data) not in (4, 16)))
def test_bytes_of_another_length_are_refused(data: bytes) -> None:
    assert "is no IP address" in (address_flaw(data) or "")
