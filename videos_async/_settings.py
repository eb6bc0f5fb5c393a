"""What a session is told, judged before it does anything: the key, the address, the numbers."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable, Collection
from typing import Any, NoReturn
from urllib.parse import SplitResult, urlsplit

import attrs

from videos_async.errors import ConfigurationError

__all__ = [
    "DEFAULT_BASE_URL",
    "ApiKey",
    "api_root",
    "at_least",
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
    if not isinstance(base_url, str) or not base_url.strip():
        raise ConfigurationError(
            setting=setting, problem=f"must be an http or https URL, got {base_url!r}"
        )
    text = base_url.strip()
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        problem = f"must be an http or https URL ({error}), got {text!r}"
        raise ConfigurationError(setting=setting, problem=problem) from None
    flaw = _address_flaw(parts, host, port, plain_http_hosts)
    if flaw is not None:
        raise ConfigurationError(setting=setting, problem=flaw)
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}"


def _address_flaw(
    parts: SplitResult, host: str, port: int | None, plain_http_hosts: Collection[str]
) -> str | None:
    if parts.username is not None or parts.password is not None:
        return "must not hold a user or a password: the API key is given on its own"
    shown = parts.geturl()
    if parts.scheme not in ("http", "https") or not host or port == 0:
        return f"must be an absolute http or https URL, got {shown!r}"
    if any(character.isspace() or not character.isprintable() for character in shown):
        return f"must not hold spaces or control characters, got {shown!r}"
    if parts.query or parts.fragment:
        return f"must not have a query or a fragment, got {shown!r}"
    if parts.scheme == "http" and not is_loopback(host) and host not in plain_http_hosts:
        return (
            f"must be https, or the API key crosses the network in the clear, got {shown!r}; "
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
    is_bool = isinstance(timeout_s, bool)
    # NaN is not above zero either.
    if isinstance(timeout_s, (int, float)) and not is_bool and 0 < timeout_s < math.inf:
        return None
    return f"must be a number of seconds above 0, or None to wait for ever, got {timeout_s!r}"


def at_least(minimum: float, *, optional: str = "") -> Callable[[Any, Any, Any], None]:
    """Make an attrs validator for a finite number of at least `minimum`.

    Args:
        minimum: The least value.
        optional: What None means, where None is allowed (``"for no limit"``).
    """

    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value is None and optional:
            return
        good = (
            isinstance(value, (int, float))
            and not isinstance(value, bool)
            and math.isfinite(value)
            and value >= minimum
        )
        if not good:
            _refuse(instance, attribute, f"a number of at least {minimum:g}", optional, value)

    return check


def whole_at_least(minimum: int, *, optional: str = "") -> Callable[[Any, Any, Any], None]:
    """Make an attrs validator for a whole number of at least `minimum`; see `at_least`."""

    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value is None and optional:
            return
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            _refuse(instance, attribute, f"a whole number of at least {minimum}", optional, value)

    return check


def _refuse(
    instance: object, attribute: attrs.Attribute[Any], rule: str, optional: str, value: object
) -> NoReturn:
    alternative = f", or None {optional}" if optional else ""
    raise ConfigurationError(
        setting=f"{type(instance).__name__}.{attribute.name}",
        problem=f"must be {rule}{alternative}, got {value!r}",
    )
