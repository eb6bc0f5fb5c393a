"""The wire of the emulated service: requests to the state machine, its answers to responses.

Built on aiohttp's low-level server: three routes need no router, and errors come out in the
service's JSON and not in aiohttp's text.
"""

from __future__ import annotations

import hmac
import json
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

import attrs
from aiohttp import web

from ._delivery import decide_delivery
from ._service import Status
from ._validation import GenerationRequest, validate

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ._clock import Clock
    from ._media import MediaStore
    from ._rules import ModelRules
    from ._service import EmulatedTask, VideoService
    from ._signing import LinkSigner

__all__ = ["BASE_PATH", "RequestCounts", "WireServer"]

BASE_PATH: Final = "/kyyReactApiServer"
_CREATE_PATH: Final = f"{BASE_PATH}/v1/videos/videos"
_RESULT_PREFIX: Final = f"{BASE_PATH}/v1/result/"
_FILES_PREFIX: Final = "/files/"


@attrs.define(kw_only=True)
class RequestCounts:
    """How many requests came in, by kind, whatever they were answered.

    Attributes:
        submits: Create calls.
        queries: Result calls.
        downloads: File requests, each range counted.
        downloads_with_authorization: File requests that brought an ``Authorization`` header. A
            client that keeps its key home leaves this at 0.
        others: Everything else.
    """

    submits: int = 0
    queries: int = 0
    downloads: int = 0
    downloads_with_authorization: int = 0
    others: int = 0

    @property
    def total(self) -> int:
        """All requests."""
        return self.submits + self.queries + self.downloads + self.others


class _RefusedError(Exception):
    """An answer in the 400s."""

    def __init__(
        self,
        status: HTTPStatus,
        message: str,
        *,
        errors: list[dict[str, str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        body: dict[str, Any] = {"message": message}
        if errors is not None:
            body["errors"] = errors
        self.status, self.body, self.headers = status, body, headers


@attrs.define(kw_only=True, eq=False)
class WireServer:
    """Answers HTTP requests out of a ``VideoService``.

    Args:
        service: The state.
        clock: The virtual time.
        models: The rules by model name.
        api_keys: The keys that open the API.
        signer: Signs the file URLs.
        url_ttl_s: How long a file URL lives, in virtual seconds.
        media: Where the files come from.
        origin: Scheme, host and port that file URLs start with; known once the socket is bound.
    """

    service: VideoService
    clock: Clock
    models: Mapping[str, ModelRules]
    api_keys: Collection[str]
    signer: LinkSigner
    url_ttl_s: float
    media: MediaStore
    origin: str = ""
    counts: RequestCounts = attrs.field(init=False, factory=RequestCounts)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        try:
            return await self._route(request)
        except _RefusedError as refused:
            return _json_response(refused.body, refused.status, refused.headers)

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        # The raw path: an encoded slash inside an id does not end the id.
        path = request.rel_url.raw_path
        if path.startswith(_RESULT_PREFIX) and "/" not in path[len(_RESULT_PREFIX) :]:
            return self._query(request, unquote(path[len(_RESULT_PREFIX) :]))
        if path == _CREATE_PATH:
            return await self._submit(request)
        if path.startswith(_FILES_PREFIX) and path.endswith(".mp4"):
            return await self._download(request, unquote(path[len(_FILES_PREFIX) : -4]))
        self.counts.others += 1
        message = f"No handler found for {request.method} {request.path}"
        raise _RefusedError(HTTPStatus.NOT_FOUND, message)

    async def _submit(self, request: web.BaseRequest) -> web.Response:
        self.counts.submits += 1
        try:
            _allow(request, "POST")
            self._authenticate(request)
            wanted = self._validated(await _decoded_body(request))
        except _RefusedError:
            self.service.ledger.record_refusal()
            raise
        task = self.service.accept(
            wanted,
            now_s=self.clock.now_s(),
            idempotency_key=request.headers.get("Idempotency-Key"),
        )
        # A new task is queued to its owner, even where a slot was free or policy ended it.
        return _json_response({**_head(task), "status": Status.QUEUED, "error": None})

    def _query(self, request: web.BaseRequest, task_id: str) -> web.Response:
        self.counts.queries += 1
        _allow(request, "GET")
        self._authenticate(request)
        now_s = self.clock.now_s()
        task = self.service.find(task_id, now_s=now_s)
        if task is None:
            raise _RefusedError(HTTPStatus.NOT_FOUND, f"there is no task {task_id!r}")
        answer = {**_head(task), "status": task.status, "video_url": None, "error": task.error}
        if task.status is Status.COMPLETED:
            answer["video_url"] = self._video_url(task, now_s)
            answer["actualDuration"] = task.actual_duration_s
        return _json_response(answer)

    async def _download(self, request: web.BaseRequest, task_id: str) -> web.Response:
        self.counts.downloads += 1
        self.counts.downloads_with_authorization += "Authorization" in request.headers
        _allow(request, "GET", "HEAD")
        now_s = self.clock.now_s()
        query = request.query
        expires, signature = query.get("expires", ""), query.get("signature", "")
        flaw = self.signer.flaw(task_id, expires, signature, now_s=now_s)
        if flaw is not None:
            raise _RefusedError(HTTPStatus.FORBIDDEN, flaw)
        task = self.service.find(task_id, now_s=now_s)
        if task is None or task.status is not Status.COMPLETED or task.ended_at_s is None:
            raise _RefusedError(HTTPStatus.NOT_FOUND, f"there is no file of task {task_id!r}")
        file = await self.media.fetch(task)
        modified_at_s = int(task.ended_at_s)
        delivery = decide_delivery(
            request.headers, size=len(file.content), etag=file.etag, modified_at_s=modified_at_s
        )
        headers = {
            "Accept-Ranges": "bytes",
            "ETag": file.etag,
            "Last-Modified": formatdate(modified_at_s, usegmt=True),
        }
        if delivery.content_range is not None:
            headers["Content-Range"] = delivery.content_range
        return web.Response(
            status=delivery.status,
            body=file.content[delivery.start : delivery.stop],
            content_type="video/mp4",
            headers=headers,
        )

    def _authenticate(self, request: web.BaseRequest) -> None:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        given = key.strip().encode(errors="surrogateescape")
        # Every key is compared, each in constant time: how long it took tells nothing.
        matches = [hmac.compare_digest(given, known.encode()) for known in self.api_keys]
        if scheme.lower() != "bearer" or not any(matches):
            raise _RefusedError(
                HTTPStatus.UNAUTHORIZED,
                "the API key is missing or not known: send it as 'Authorization: Bearer KEY'",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _validated(self, body: object) -> GenerationRequest:
        found = validate(body, self.models)
        if isinstance(found, GenerationRequest):
            return found
        raise _RefusedError(
            HTTPStatus.BAD_REQUEST,
            "; ".join(violation.message for violation in found),
            errors=[attrs.asdict(violation) for violation in found],
        )

    def _video_url(self, task: EmulatedTask, now_s: float) -> str:
        # The same link from poll to poll, and a fresh one once half of its life is over.
        if task.link_expires_at_s - now_s < self.url_ttl_s / 2:
            task.link_expires_at_s = now_s + self.url_ttl_s
            task.link = self.signer.sign(task.id, task.link_expires_at_s)
        return f"{self.origin}{_FILES_PREFIX}{quote(task.id, safe='')}.mp4?{task.link}"


def _head(task: EmulatedTask) -> dict[str, Any]:
    return {
        "id": task.id,
        "object": "video",
        "created": int(task.accepted_at_s),
        "model": task.request.model,
    }


def _allow(request: web.BaseRequest, *methods: str) -> None:
    if request.method not in methods:
        raise _RefusedError(
            HTTPStatus.METHOD_NOT_ALLOWED,
            f"{request.method} is not allowed here, {' and '.join(methods)} is",
            headers={"Allow": ", ".join(methods)},
        )


async def _decoded_body(request: web.BaseRequest) -> object:
    if request.headers.get("Expect", "").lower() == "100-continue":
        # curl holds a large body back until it hears this, or for a second.
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    try:
        raw = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        message = f"the body is too large: {error.text}"
        raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message) from None
    except web.RequestPayloadError as error:
        message = f"the body cannot be read: {error}"
        raise _RefusedError(HTTPStatus.BAD_REQUEST, message) from None
    try:
        return json.loads(raw.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        message = f"the body must be JSON in UTF-8: {error}"
        raise _RefusedError(HTTPStatus.BAD_REQUEST, message) from None


def _no_constant(name: str) -> object:
    message = f"{name} is not JSON"
    raise ValueError(message)


def _json_response(
    body: Mapping[str, Any],
    status: HTTPStatus = HTTPStatus.OK,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    # ASCII out: what a request brought, a lone surrogate included, can always be quoted back.
    return web.Response(
        body=json.dumps(body).encode(),
        status=status,
        content_type="application/json",
        headers=headers,
    )
