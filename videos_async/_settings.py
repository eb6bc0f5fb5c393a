"""What a session is told, judged before it does anything: the key, the address, the numbers."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Collection
from typing import Any, NoReturn, TypeGuard
from urllib.parse import SplitResult, urlsplit

import attrs

from videos_async.errors import ConfigurationError, shorten

__all__ = [
    "DEFAULT_BASE_URL",
    "ApiKey",
    "api_root",
    "at_least",
    "is_finite",
    "is_loopback",
    "timeout_flaw",
    "whole_at_least",
]

DEFAULT_BASE_URL = "https://zcbservice.aizfw.cn/kyyReactApiServer"


class ApiKey(str):
    """The API key: text that neither its repr nor a pickle gives away.

    It is text because that is what a header takes; whatever shows variables (a debugger's or a
    logger's dump of locals) goes through the repr.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'[api key]'"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an API key is never pickled: read it anew where it is needed")

    @classmethod
    def checked(cls, value: object, *, setting: str) -> ApiKey:
        """Take a key that can stand in a header.

        Raises:
            ConfigurationError: When it cannot. The text never shows the key.
        """
        if not isinstance(value, str):
            problem = f"must be text, got {type(value).__name__}"
        elif not value:
            problem = "must not be empty"
        elif value != value.strip():
            problem = "must not begin or end with white space: strip what was read from a file"
        elif not value.isascii() or not value.isprintable() or " " in value:
            problem = "must be printable ASCII without spaces, as a header needs it"
        else:
            return cls(value)
        raise ConfigurationError(setting=setting, problem=problem)


def api_root(
    base_url: object, *, setting: str = "base_url", plain_http_hosts: Collection[str] = ()
) -> str:
    """Bring a base URL into the one form the endpoints are joined to.

    Args:
        base_url: The address, with or without a trailing ``/`` and with or without ``/v1``.
        setting: What to call it in an error.
        plain_http_hosts: Hosts that may be spoken to without TLS besides loopback.

    Returns:
        The address without a trailing slash and without ``/v1``.

    Raises:
        ConfigurationError: When it is no address the API key may be sent to.
    """
    if isinstance(plain_http_hosts, str):
        # In a text, "in" finds every part of a host's name.
        problem = f"must be a list of hosts, got {shorten(plain_http_hosts)}"
        raise ConfigurationError(setting="plain_http_hosts", problem=problem)
    if not isinstance(base_url, str) or not base_url.strip():
        problem = f"must be an absolute http or https URL, got {shorten(base_url)}"
        raise ConfigurationError(setting=setting, problem=problem)
    text = base_url.strip()
    flaw = _spelling_flaw(text)
    if flaw is not None:
        raise ConfigurationError(setting=setting, problem=flaw)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        problem = f"must be an absolute http or https URL ({error}), got {shorten(text)}"
        raise ConfigurationError(setting=setting, problem=problem) from None
    flaw = _address_flaw(parts, host, port, plain_http_hosts)
    if flaw is not None:
        raise ConfigurationError(setting=setting, problem=f"{flaw}, got {shorten(text)}")
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}"


# Also where the scheme or the slashes are missing, as an error would show the secret.
_USERINFO = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?(?://)?[^/?#]*@", re.IGNORECASE)


def _spelling_flaw(text: str) -> str | None:
    """Judge the text before it is split: `urlsplit` drops line breaks without a word."""
    if any(character.isspace() or not character.isprintable() for character in text):
        return f"must not hold spaces or control characters, got {shorten(text)}"
    if _USERINFO.match(text):
        # The text is not shown: what stands before the @ is a secret.
        return "must not hold a user or a password: the API key is given on its own"
    return None


def _address_flaw(
    parts: SplitResult, host: str, port: int | None, plain_http_hosts: Collection[str]
) -> str | None:
    if parts.scheme not in ("http", "https") or not host or port == 0:
        return "must be an absolute http or https URL"
    if parts.query or parts.fragment:
        return "must not have a query or a fragment"
    if parts.scheme == "http" and not is_loopback(host) and host not in plain_http_hosts:
        return (
            "must be https, or the API key crosses the network in the clear; "
            f"to allow it for this host say plain_http_hosts=[{host!r}]"
        )
    return None


def is_loopback(host: str) -> bool:
    """Tell whether a host of a URL is this machine by its very name."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def timeout_flaw(timeout_s: object) -> str | None:
    """Tell what keeps a value from being a time to wait, or None when it is one."""
    if timeout_s is None:
        return None
    if is_finite(timeout_s) and timeout_s > 0:
        return None
    shown = shorten(timeout_s)
    return f"must be a number of seconds above 0, or None to wait for ever, got {shown}"


def is_finite(value: object) -> TypeGuard[float]:
    """Tell whether a value is a number that clocks can reckon with."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        # A whole number beyond every float.
        return False


def at_least(minimum: float, *, optional: str = "") -> Callable[[Any, Any, Any], None]:
    """Make an attrs validator for a finite number of at least `minimum`.

    Args:
        minimum: The least value.
        optional: What None means, where None is allowed (``"for no limit"``).
    """

    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value is None and optional:
            return
        if not is_finite(value) or value < minimum:
            _refuse(instance, attribute, f"a number of at least {minimum:g}", optional, value)

    return check


def whole_at_least(minimum: int, *, optional: str = "") -> Callable[[Any, Any, Any], None]:
    """Make an attrs validator for a whole number of at least `minimum`; see `at_least`."""

    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value is None and optional:
            return
        if not isinstance(value, int) or not is_finite(value) or value < minimum:
            _refuse(instance, attribute, f"a whole number of at least {minimum}", optional, value)

    return check


def _refuse(
    instance: object, attribute: attrs.Attribute[Any], rule: str, optional: str, value: object
) -> NoReturn:
    alternative = f", or None {optional}" if optional else ""
    raise ConfigurationError(
        setting=f"{type(instance).__name__}.{attribute.name}",
        problem=f"must be {rule}{alternative}, got {shorten(value)}",
    )
