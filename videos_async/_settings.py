"""What a session is told, judged before it does anything: the key, the address, the numbers."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, NoReturn, TypeGuard
from urllib.parse import SplitResult, urlsplit

import attrs

from videos_async.errors import ConfigurationError, shorten

__all__ = [
    "DEFAULT_BASE_URL",
    "ApiKey",
    "api_root",
    "at_least",
    "check_hosts",
    "find_api_key",
    "find_api_root",
    "find_proxy",
    "is_finite",
    "is_loopback",
    "key_flaw",
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


def key_flaw(value: object) -> str | None:
    """Tell what keeps a value from standing in a header as a key; the text never shows it."""
    if not isinstance(value, str):
        return f"must be text, got {type(value).__name__}"
    if not value:
        return "must not be empty"
    if value != value.strip():
        return "must not begin or end with white space: strip what was read from a file"
    if not value.isascii() or not value.isprintable() or " " in value:
        return "must be printable ASCII without spaces, as a header needs it"
    return None


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


def find_api_key(
    given: object, environ: Mapping[str, str]
) -> tuple[ApiKey, ConfigurationError | None]:
    """Take the key that was given, or the environment's ``VIDEOS_API_KEY``.

    Returns:
        The key and what is wrong with it. Nothing is raised here: a traceback would hold this
        frame, and with it the bare text of a key that is only almost right.
    """
    setting = "VIDEOS_API_KEY" if given is None else "api_key"
    value = environ.get("VIDEOS_API_KEY") if given is None else given
    if given is None and not value:
        problem = "is missing: give it to VideosSession, or set the environment's VIDEOS_API_KEY"
        return ApiKey(), ConfigurationError(setting="api_key", problem=problem)
    flaw = key_flaw(value)
    if flaw is not None:
        return ApiKey(), ConfigurationError(setting=setting, problem=flaw)
    return ApiKey(value), None


def find_api_root(
    given: object, environ: Mapping[str, str], *, plain_http_hosts: Collection[str]
) -> str:
    """Take the address that was given, or the environment's, or the service's own.

    Raises:
        ConfigurationError: When it is no address the API key may be sent to.
    """
    if given is not None:
        return api_root(given, plain_http_hosts=plain_http_hosts)
    found = environ.get("VIDEOS_BASE_URL") or DEFAULT_BASE_URL
    return api_root(found, setting="VIDEOS_BASE_URL", plain_http_hosts=plain_http_hosts)


def find_proxy(proxy: object) -> str | None:
    """Take the URL of a proxy.

    Raises:
        ConfigurationError: When it is none. The text does not show it: it can hold a password.
    """
    if proxy is None or (isinstance(proxy, str) and proxy.startswith(("http://", "https://"))):
        return proxy
    raise ConfigurationError(setting="proxy", problem="must be an http or https URL, or None")


def check_hosts(hosts: object) -> None:
    """Refuse what is no list of host names, a single text above all.

    Raises:
        ConfigurationError: When it is none.
    """
    if isinstance(hosts, str) or not isinstance(hosts, Collection):
        problem = f"must be a list of host names, got {hosts!r}"
        raise ConfigurationError(setting="plain_http_hosts", problem=problem)


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
