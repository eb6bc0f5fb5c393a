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
from urllib.parse import parse_qs

import attrs
from aiohttp import web

from ._openapi import describe
from ._page import STYLE_HASH, Overview, render
from ._paging import Choice
from ._switches import FaultSwitches

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from ._server import WireServer

__all__ = ["Admin"]

_VERSION: Final = "1"
_MOST_DIGITS: Final = 9
_MOST_FORM_BYTES: Final = 64 * 1024
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
    _switches: FaultSwitches = attrs.field(init=False)
    _answers: Mapping[str, Callable[[web.BaseRequest], Awaitable[web.Response]]] = attrs.field(
        init=False
    )

    def __attrs_post_init__(self) -> None:
        self._switches = FaultSwitches(self.wire.script)
        self._answers = {
            "/": self._page,
            "/faults": self._switch,
            "/openapi.json": self._document,
        }

    async def answer_to(self, request: web.BaseRequest) -> web.Response | None:
        """Answer a request.

        Returns:
            The answer, or ``None`` if the request is for the API.
        """
        answer = self._answers.get(request.rel_url.raw_path)
        if answer is None:
            return None
        try:
            return await answer(request)
        except _RefusedError as refused:
            text = f"{refused}\n"
            return web.Response(status=refused.status, text=text, headers=refused.headers)

    async def _page(self, request: web.BaseRequest) -> web.Response:
        _allow(request, "GET", "HEAD")
        _check_host(request)
        return self._shown(request, _choice(request.query))

    async def _switch(self, request: web.BaseRequest) -> web.Response:
        _allow(request, "POST")
        _check_host(request)
        _check_origin(request)
        fields = await _form(request)
        choice, written = _choice(fields), fields.get("write", "").strip()
        try:
            self._apply(fields, written)
        except ValueError as error:
            return self._shown(
                request, choice, HTTPStatus.BAD_REQUEST, problem=str(error), written=written
            )
        # Seen by GET: a page loaded anew does not press the button once more.
        return web.Response(
            status=HTTPStatus.SEE_OTHER, headers={"Location": choice.link("faults")}
        )

    def _apply(self, fields: Mapping[str, str], written: str) -> None:
        """Do what a form asks for: one of its buttons, or else what was written."""
        if "on" in fields:
            self._switches.switch_on(fields["on"])
        elif "off" in fields:
            self._switches.switch_off(fields["off"])
        elif "profile" in fields:
            self._switches.switch_on_profile(fields["profile"])
        elif "clear" in fields:
            self._switches.switch_all_off()
        else:
            self._switches.switch_on(written)

    def _shown(
        self,
        request: web.BaseRequest,
        choice: Choice,
        status: HTTPStatus = HTTPStatus.OK,
        *,
        problem: str | None = None,
        written: str = "",
    ) -> web.Response:
        now_s = self.wire.service.advance(self.wire.clock.now_s())
        overview = Overview(
            service=self.wire.service,
            requests=self.wire.requests,
            now_s=now_s,
            base_url=f"{request.scheme}://{request.host}{self.base_path}",
            facts=self.facts,
            switches=self._switches.board(),
            choice=choice,
            problem=problem,
            written=written,
        )
        return web.Response(
            status=status,
            body=render(overview),
            content_type="text/html",
            charset="utf-8",
            headers=_PAGE_HEADERS,
        )

    async def _document(self, request: web.BaseRequest) -> web.Response:
        _allow(request, "GET", "HEAD")
        if self._openapi is None:
            models = self.wire.models.values()
            document = describe(models, base_path=self.base_path, version=_VERSION)
            self._openapi = json.dumps(document, indent=1).encode()
        # No secret is in it, and documentation viewers of other origins read it.
        headers = {"Access-Control-Allow-Origin": "*", "X-Content-Type-Options": "nosniff"}
        return web.Response(body=self._openapi, content_type="application/json", headers=headers)


def _choice(fields: Mapping[str, str]) -> Choice:
    return Choice(
        tasks=_page_number(fields.get("tasks", "")),
        ledger=_page_number(fields.get("ledger", "")),
        refresh="off" if fields.get("refresh") == "off" else "on",
    )


async def _form(request: web.BaseRequest) -> dict[str, str]:
    """Read a form; of several fields of one name the first counts."""
    if request.content_type != "application/x-www-form-urlencoded":
        text = "send a form: application/x-www-form-urlencoded"
        raise _RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, text)
    if request.content_length is None or request.content_length > _MOST_FORM_BYTES:
        text = f"send at most {_MOST_FORM_BYTES} bytes, their number in Content-Length"
        raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
    content = (await request.read()).decode(errors="replace")
    return {name: values[0] for name, values in parse_qs(content).items()}


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


def _check_origin(request: web.BaseRequest) -> None:
    origin = request.headers.get("Origin")
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    # Without the scheme: a proxy in front may have taken the TLS off.
    is_own = origin is None or origin.partition("://")[2] == request.headers.get("Host")
    if not is_own or site not in {"same-origin", "none"}:
        text = "faults are switched from this page itself, not from another site's"
        raise _RefusedError(HTTPStatus.FORBIDDEN, text)


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
