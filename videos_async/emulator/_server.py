"""The wire of the emulated service: requests to the state machine, its answers to responses.

Built on aiohttp's low-level server: three routes need no router, and errors come out in the
service's JSON and not in aiohttp's text.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote, unquote

import attrs
from aiohttp import web

from ._delivery import decide_delivery
from ._exchange import Exchange, RefusedError, respond
from ._requests import RequestLog, RequestRecord
from ._service import TaskStatus
from ._validation import GenerationRequest, validate
from .faults._base import Phase
from .faults._kinds import Answer, Ordering

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ._clock import Clock
    from ._exchange import TakeUp
    from ._media import MediaStore
    from ._rules import ModelRules
    from ._script import FaultScript
    from ._service import EmulatedTask, VideoService
    from ._signing import LinkSigner

__all__ = ["BASE_PATH", "WireServer"]

BASE_PATH: Final = "/kyyReactApiServer"
_CREATE_PATH: Final = f"{BASE_PATH}/v1/videos/videos"
_RESULT_PREFIX: Final = f"{BASE_PATH}/v1/result/"
_FILES_PREFIX: Final = "/files/"
_UNDELIVERED: Final = {
    HTTPStatus.PRECONDITION_FAILED: "the file has another entity tag than If-Match asks for",
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: "the range starts behind the end of the file",
}


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
        script: What goes wrong.
        origin: Scheme, host and port that file URLs start with, known once the socket is bound;
            empty for those that the client itself came by.
    """

    service: VideoService
    clock: Clock
    models: Mapping[str, ModelRules]
    api_keys: Collection[str]
    signer: LinkSigner
    url_ttl_s: float
    media: MediaStore
    script: FaultScript
    origin: str = ""
    requests: RequestLog = attrs.field(init=False, factory=RequestLog)
    _struck: set[asyncio.Task[Any]] = attrs.field(init=False, factory=set[asyncio.Task[Any]])

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        # The raw path: an encoded slash inside an id does not end the id.
        path = request.rel_url.raw_path
        if path.startswith(_RESULT_PREFIX) and "/" not in path[len(_RESULT_PREFIX) :]:
            return await self._query(request, unquote(path[len(_RESULT_PREFIX) :]))
        if path == _CREATE_PATH:
            return await self._submit(request)
        if path.startswith(_FILES_PREFIX) and path.endswith(".mp4"):
            return await self._download(request, unquote(path[len(_FILES_PREFIX) : -4]))
        self.requests.others += 1
        record = self._note(request, "other")
        record.status = HTTPStatus.NOT_FOUND
        message = f"No handler found for {request.method} {request.path}"
        return respond(RefusedError(HTTPStatus.NOT_FOUND, message).answer)

    def _note(self, request: web.BaseRequest, kind: str) -> RequestRecord:
        return self.requests.note(
            RequestRecord(
                at_s=self.clock.now_s(),
                method=request.method,
                path=request.rel_url.raw_path,
                kind=kind,
            )
        )

    async def _run(
        self, request: web.BaseRequest, phase: Phase, record: RequestRecord, take_up: TakeUp
    ) -> web.StreamResponse:
        """Let the script have its say about a call, and bring it to its end."""
        struck = self.script.strike(
            phase, prompt=record.prompt, task_id=record.task_id, now_s=record.at_s
        )
        if struck:
            # What strikes a body has nothing to strike in the answer to a HEAD.
            struck = [] if request.method == "HEAD" else struck
            record.faults = tuple(str(fault) for fault in struck)
        exchange = Exchange(
            request=request,
            phase=phase,
            struck=struck,
            clock=self.clock,
            record=record,
            on_refused=self.service.ledger.record_refusal,
        )
        response = await (self._bear(exchange, take_up) if struck else exchange.run(take_up))
        if self.script.taken_up(phase):
            # The port closes behind this call, and its connection with it.
            response.force_close()
        return response

    async def _bear(self, exchange: Exchange, take_up: TakeUp) -> web.StreamResponse:
        """Bring a call to its end that a fault may draw out for ever."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - aiohttp handles each request in a task
        self._struck.add(task)
        try:
            return await exchange.run(take_up)
        finally:
            self._struck.discard(task)

    def let_go(self) -> None:
        """Break off what faults draw out; closing would wait for it."""
        for task in self._struck:
            task.cancel()

    async def _submit(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.submits += 1
        record = self._note(request, Phase.SUBMIT)
        body = await _decoded_body(request)
        record.prompt = _prompt_in(body)

        async def take_up(faults: Sequence[Ordering]) -> Answer:
            _allow(request, "POST")
            self._authenticate(request)
            if isinstance(body, RefusedError):
                raise body
            task = self.service.accept(
                self._validated(body),
                now_s=self.clock.now_s(),
                idempotency_key=request.headers.get("Idempotency-Key"),
                faults=faults,
            )
            record.task_id = task.id
            # A new task is queued to its owner, even where a slot was free or policy ended it.
            payload = {**_head(task), "status": TaskStatus.QUEUED, "error": None}
            return Answer(payload=payload, is_task=True)

        return await self._run(request, Phase.SUBMIT, record, take_up)

    async def _query(self, request: web.BaseRequest, task_id: str) -> web.StreamResponse:
        self.requests.queries += 1
        record = self._about(request, Phase.QUERY, task_id)

        async def take_up(_: Sequence[Ordering]) -> Answer:
            _allow(request, "GET")
            self._authenticate(request)
            now_s = self.clock.now_s()
            task = self.service.find(task_id, now_s=now_s)
            if task is None:
                raise RefusedError(HTTPStatus.NOT_FOUND, f"there is no task {task_id!r}")
            payload = {**_head(task), "status": task.status, "video_url": None, "error": task.error}
            if task.status is TaskStatus.COMPLETED:
                origin = self.origin or f"{request.scheme}://{request.host}"
                payload["video_url"] = f"{origin}{self._video_path(task, now_s)}"
                payload["actualDuration"] = task.actual_duration_s
            return Answer(payload=payload, is_task=True)

        return await self._run(request, Phase.QUERY, record, take_up)

    async def _download(self, request: web.BaseRequest, task_id: str) -> web.StreamResponse:
        self.requests.downloads += 1
        self.requests.downloads_with_authorization += "Authorization" in request.headers
        record = self._about(request, Phase.DOWNLOAD, task_id)

        async def take_up(_: Sequence[Ordering]) -> Answer:
            _allow(request, "GET", "HEAD")
            return await self._file(request, task_id)

        return await self._run(request, Phase.DOWNLOAD, record, take_up)

    def _about(self, request: web.BaseRequest, phase: Phase, task_id: str) -> RequestRecord:
        record = self._note(request, phase)
        task = self.service.tasks.get(task_id)
        record.task_id = task_id
        record.prompt = None if task is None else task.request.prompt
        return record

    async def _file(self, request: web.BaseRequest, task_id: str) -> Answer:
        now_s = self.clock.now_s()
        query = request.query
        expires, signature = query.get("expires", ""), query.get("signature", "")
        flaw = self.signer.flaw(task_id, expires, signature, now_s=now_s)
        if flaw is not None:
            raise RefusedError(HTTPStatus.FORBIDDEN, flaw)
        task = self.service.find(task_id, now_s=now_s)
        if task is None or task.status is not TaskStatus.COMPLETED or task.ended_at_s is None:
            raise RefusedError(HTTPStatus.NOT_FOUND, f"there is no file of task {task_id!r}")
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
        if delivery.status in _UNDELIVERED:
            raise RefusedError(delivery.status, _UNDELIVERED[delivery.status], headers=headers)
        return Answer(
            status=delivery.status,
            body=file.content[delivery.start : delivery.stop],
            media_type="video/mp4",
            headers=headers,
        )

    def _authenticate(self, request: web.BaseRequest) -> None:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        given = key.strip().encode(errors="surrogateescape")
        # Every key is compared, each in constant time: how long it took tells nothing.
        matches = [hmac.compare_digest(given, known.encode()) for known in self.api_keys]
        if scheme.lower() != "bearer" or not any(matches):
            raise RefusedError(
                HTTPStatus.UNAUTHORIZED,
                "the API key is missing or not known: send it as 'Authorization: Bearer KEY'",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _validated(self, body: object) -> GenerationRequest:
        found = validate(body, self.models)
        if isinstance(found, GenerationRequest):
            return found
        raise RefusedError(
            HTTPStatus.BAD_REQUEST,
            "; ".join(violation.message for violation in found),
            errors=[attrs.asdict(violation) for violation in found],
        )

    def _video_path(self, task: EmulatedTask, now_s: float) -> str:
        # The same link from poll to poll, and a fresh one once half of its life is over.
        if task.link_expires_at_s - now_s < self.url_ttl_s / 2:
            task.link_expires_at_s = now_s + self.url_ttl_s
            task.link = self.signer.sign(task.id, task.link_expires_at_s)
        return f"{_FILES_PREFIX}{quote(task.id, safe='')}.mp4?{task.link}"


def _head(task: EmulatedTask) -> dict[str, Any]:
    return {
        "id": task.id,
        "object": "video",
        "created": int(task.accepted_at_s),
        "model": task.request.model,
    }


def _allow(request: web.BaseRequest, *methods: str) -> None:
    if request.method not in methods:
        raise RefusedError(
            HTTPStatus.METHOD_NOT_ALLOWED,
            f"{request.method} is not allowed here, {' and '.join(methods)} is",
            headers={"Allow": ", ".join(methods)},
        )


async def _decoded_body(request: web.BaseRequest) -> object:
    """Read a body to its end; a refusal stands for one that cannot be read."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        # curl holds a large body back until it hears this, or for a second.
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    try:
        raw = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        message = f"the body is too large: {error.text}"
        return RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)
    except web.RequestPayloadError as error:
        return RefusedError(HTTPStatus.BAD_REQUEST, f"the body cannot be read: {error}")
    try:
        return json.loads(raw.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return RefusedError(HTTPStatus.BAD_REQUEST, f"the body must be JSON in UTF-8: {error}")


def _prompt_in(body: object) -> str | None:
    fields = cast("dict[str, object]", body) if isinstance(body, dict) else {}
    prompt = fields.get("prompt")
    return prompt if isinstance(prompt, str) else None


def _no_constant(name: str) -> object:
    message = f"{name} is not JSON"
    raise ValueError(message)
