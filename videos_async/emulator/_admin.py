"""What the emulator serves about itself: the admin page at ``/`` and ``/openapi.json``.

A local web server can be reached by every tab of the browser beside it, so the page defends
itself. A name other than ``localhost`` in ``Host`` is refused: that is how a foreign site that
points its own name at this machine (DNS rebinding) would read it. A POST must come from the page
itself, which ``Origin`` and ``Sec-Fetch-Site`` tell; where a client sends neither, it is no
browser. The page holds no script, and its policy allows none.
"""

from __future__ import annotations

import ipaddress
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import attrs
from aiohttp import web

from ._openapi import describe
from ._page import STYLE_HASH, Overview, render
from ._paging import Choice

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ._server import WireServer

__all__ = ["Admin"]

_VERSION: Final = "1"
_MOST_DIGITS: Final = 9
_PAGE_HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src '{STYLE_HASH}'; img-src data:; form-action 'self';"
        " base-uri 'none'; frame-ancestors 'none'"
    ),
    # Not no-referrer: with that, browsers send "Origin: null" with the page's own forms.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class _RefusedError(Exception):
    """A request that the page does not answer."""

    def __init__(self, status: HTTPStatus, text: str, **headers: str) -> None:
        super().__init__(text)
        self.status, self.text, self.headers = status, text, headers


@attrs.define(kw_only=True, eq=False)
class Admin:
    """Answers what is not part of the API.

    Args:
        wire: The API.
        base_path: What the paths of the API start with.
        facts: Settings worth knowing, with their names.
    """

    wire: WireServer
    base_path: str
    facts: Sequence[tuple[str, str]] = ()
    _openapi: bytes | None = attrs.field(init=False, default=None)

    def answer_to(self, request: web.BaseRequest) -> web.Response | None:
        """Answer a request.

        Returns:
            The answer, or ``None`` if the request is for the API.
        """
        answer = self._answers.get(request.rel_url.raw_path)
        if answer is None:
            return None
        try:
            return answer(request)
        except _RefusedError as refused:
            text = f"{refused}\n"
            return web.Response(status=refused.status, text=text, headers=refused.headers)

    @property
    def _answers(self) -> dict[str, Callable[[web.BaseRequest], web.Response]]:
        return {"/": self._page, "/openapi.json": self._document}

    def _page(self, request: web.BaseRequest) -> web.Response:
        _allow(request, "GET", "HEAD")
        _check_host(request)
        now_s = self.wire.service.advance(self.wire.clock.now_s())
        overview = Overview(
            service=self.wire.service,
            requests=self.wire.requests,
            now_s=now_s,
            base_url=f"{request.scheme}://{request.host}{self.base_path}",
            facts=self.facts,
            choice=_choice(request),
        )
        return web.Response(
            body=render(overview), content_type="text/html", charset="utf-8", headers=_PAGE_HEADERS
        )

    def _document(self, request: web.BaseRequest) -> web.Response:
        _allow(request, "GET", "HEAD")
        if self._openapi is None:
            models = self.wire.models.values()
            document = describe(models, base_path=self.base_path, version=_VERSION)
            self._openapi = json.dumps(document, indent=1).encode()
        # No secret is in it, and documentation viewers of other origins read it.
        headers = {"Access-Control-Allow-Origin": "*", "X-Content-Type-Options": "nosniff"}
        return web.Response(body=self._openapi, content_type="application/json", headers=headers)


def _choice(request: web.BaseRequest) -> Choice:
    query = request.query
    return Choice(
        tasks=_page_number(query.get("tasks", "")),
        ledger=_page_number(query.get("ledger", "")),
        refresh="off" if query.get("refresh") == "off" else "on",
    )


def _page_number(text: str) -> int:
    is_number = text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
    return max(int(text), 1) if is_number else 1


def _allow(request: web.BaseRequest, *methods: str) -> None:
    if request.method not in methods:
        text = f"{request.method} is not allowed here, {' and '.join(methods)} is"
        raise _RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, text, Allow=", ".join(methods))


def _check_host(request: web.BaseRequest) -> None:
    host = request.headers.get("Host", "")
    if not _is_own_name(host):
        raise _RefusedError(
            HTTPStatus.MISDIRECTED_REQUEST,
            f"this page is not served under the name {host!r}: open it as localhost or by the"
            " IP address",
        )


def _is_own_name(host: str) -> bool:
    name, _, port = host.rpartition(":")
    if not name or port.endswith("]"):
        name = host
    name = name.removeprefix("[").removesuffix("]").removesuffix(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
