"""Faults in what an answer says: other revisions' shapes, and fields that are missing or odd."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from videos_async.emulator._checks import Choice, nonempty_text, positive

from ._base import Phase
from ._kinds import Answer, Order, Ordering, Rewriting

__all__ = [
    "Dialect",
    "DialectName",
    "ExpireUrls",
    "IdLoss",
    "LoseId",
    "NoUrl",
    "Slow",
    "UnknownStatus",
]

Fields = dict[str, Any]


class DialectName(Choice):
    """What other published revisions say, and what clients in the field have met."""

    ENVELOPE = "envelope"
    """``{"code": "0", "msg": null, "data": {"projectId": …}}``."""
    TASK_ID = "task_id"
    """The id stands under ``task_id``."""
    TASK_ID_CAMEL = "taskId"
    """The id stands under ``taskId``."""
    DATA_ID = "data_id"
    """Everything stands under ``data``."""
    DATA_PROJECT_ID = "data_project_id"
    """Everything stands under ``data``, the id under ``projectId``."""
    ACCEPTED = "accepted"
    """A submit is answered with 202."""
    ERROR_OBJECT = "error_object"
    """``error`` is an object with a ``message``."""
    ERROR_DETAIL = "error_detail"
    """``error`` is an object with a ``detail``."""
    ERROR_CODE = "error_code"
    """``error`` is an object with nothing but a ``code``."""
    MESSAGE = "message"
    """The reason of a failure stands under ``message``."""
    MSG = "msg"
    """The reason of a failure stands under ``msg``."""
    URL = "url"
    """The video's URL stands under ``url``."""
    RESULT_URL = "result_url"
    """The video's URL stands under ``result_url``."""
    PROGRESS = "progress"
    """A ``progress`` that is a number."""
    PROGRESS_TEXT = "progress_text"
    """A ``progress`` such as ``"42%"``."""
    EXTRA = "extra"
    """Fields that no document knows."""


def _renamed(fields: Fields, old: str, new: str) -> Fields:
    return {new if name == old else name: value for name, value in fields.items()}


def _envelope(answer: Answer, fields: Fields) -> Fields:
    inner = _renamed(fields, "id", "projectId")
    if answer.phase is Phase.SUBMIT:
        inner = {"projectId": fields.get("id")}
    return {"code": "0", "msg": None, "data": inner}


def _accepted(answer: Answer, fields: Fields) -> Fields:
    if answer.phase is Phase.SUBMIT:
        answer.status = 202
    return fields


def _error_under(name: str) -> Callable[[Answer, Fields], Fields]:
    def rewrite(_: Answer, fields: Fields) -> Fields:
        reason = fields.get("error")
        return fields if reason is None else {**fields, "error": {name: reason}}

    return rewrite


def _reason_under(name: str) -> Callable[[Answer, Fields], Fields]:
    def rewrite(_: Answer, fields: Fields) -> Fields:
        return fields if fields.get("error") is None else _renamed(fields, "error", name)

    return rewrite


def _url_under(name: str) -> Callable[[Answer, Fields], Fields]:
    def rewrite(_: Answer, fields: Fields) -> Fields:
        return fields if fields.get("video_url") is None else _renamed(fields, "video_url", name)

    return rewrite


_PROGRESS: Final = {"queued": 0, "processing": 42, "completed": 100}
_EXTRA: Final = {"amount": 1.25, "userId": 7, "costTime": None, "tags": ["a", {"b": 1}]}

_REWRITES: Final[Mapping[DialectName, Callable[[Answer, Fields], Fields]]] = {
    DialectName.ENVELOPE: _envelope,
    DialectName.TASK_ID: lambda _, fields: _renamed(fields, "id", "task_id"),
    DialectName.TASK_ID_CAMEL: lambda _, fields: _renamed(fields, "id", "taskId"),
    DialectName.DATA_ID: lambda _, fields: {"data": fields},
    DialectName.DATA_PROJECT_ID: lambda _, fields: {"data": _renamed(fields, "id", "projectId")},
    DialectName.ACCEPTED: _accepted,
    DialectName.ERROR_OBJECT: _error_under("message"),
    DialectName.ERROR_DETAIL: _error_under("detail"),
    DialectName.ERROR_CODE: _error_under("code"),
    DialectName.MESSAGE: _reason_under("message"),
    DialectName.MSG: _reason_under("msg"),
    DialectName.URL: _url_under("url"),
    DialectName.RESULT_URL: _url_under("result_url"),
    DialectName.PROGRESS: lambda _, fields: {**fields, "progress": _progress(fields)},
    DialectName.PROGRESS_TEXT: lambda _, fields: {**fields, "progress": f"{_progress(fields)}%"},
    DialectName.EXTRA: lambda _, fields: {**fields, **_EXTRA},
}


def _progress(fields: Fields) -> int:
    return _PROGRESS.get(str(fields.get("status")), 0)


@attrs.frozen
class Dialect(Rewriting):
    """Answers come in the shape of another revision.

    Attributes:
        dialect: Which; see `DialectName`.
    """

    PHASES = frozenset({Phase.SUBMIT, Phase.QUERY})

    dialect: DialectName = attrs.field(converter=DialectName)

    def rewrite(self, answer: Answer) -> None:
        """Rewrite an answer that tells of a task."""
        fields = answer.fields
        if fields is not None:
            answer.payload = _REWRITES[self.dialect](answer, fields)


@attrs.frozen
class UnknownStatus(Rewriting):
    """Queries tell a status that is in no document, whatever the task's own is.

    Attributes:
        status: That status.
    """

    PHASES = frozenset({Phase.QUERY})

    status: str = attrs.field(default="archiving", validator=nonempty_text)

    def rewrite(self, answer: Answer) -> None:
        """Put the status in, and take out what only an end brings."""
        fields = answer.fields
        if fields is not None:
            fields.update(status=self.status, video_url=None, error=None)
            fields.pop("actualDuration", None)


@attrs.frozen
class NoUrl(Rewriting):
    """``completed`` comes without a video URL."""

    PHASES = frozenset({Phase.QUERY})

    def rewrite(self, answer: Answer) -> None:
        """Take the URL out."""
        fields = answer.fields
        if fields is not None:
            fields["video_url"] = None


@attrs.frozen
class ExpireUrls(Rewriting):
    """A video URL has run out: on downloads the file server says so, whatever the link says.

    With ``on="query"`` the URLs that are handed out are used up from the start.
    """

    PHASES = frozenset({Phase.DOWNLOAD, Phase.QUERY})

    def rewrite(self, answer: Answer) -> None:
        """Replace a file by the refusal of a link, or a link by one that has run out."""
        if answer.phase is Phase.DOWNLOAD:
            answer.status, answer.body = 403, None
            answer.media_type = "application/json"
            answer.headers = {}
            answer.payload = {
                "message": "this link has expired, query the task again for a fresh one"
            }
            return
        fields = answer.fields
        if fields is not None and fields.get("video_url"):
            # The signature is for another time, so the file server refuses it.
            start, _, rest = fields["video_url"].partition("?expires=")
            fields["video_url"] = f"{start}?expires=0{rest}" if rest else start


class IdLoss(Choice):
    """How an id is lost on its way."""

    MISSING = "missing"
    """No id, and a message."""
    NULL = "null"
    """The id is null."""
    EMPTY = "empty"
    """The id is an empty text."""
    NUMBER = "number"
    """The id is a number."""
    HTML = "html"
    """A proxy's page comes in place of the JSON."""
    NO_BODY = "no_body"
    """The body is empty."""
    CUT = "cut"
    """The JSON ends in the middle of the id."""


_PAGE: Final = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


@attrs.frozen
class LoseId(Rewriting):
    """A submit is accepted and billed, and the answer, HTTP 200, brings no usable id.

    Attributes:
        how: How it is lost; see `IdLoss`.
    """

    PHASES = frozenset({Phase.SUBMIT})

    how: IdLoss = attrs.field(default=IdLoss.MISSING, converter=IdLoss)

    def rewrite(self, answer: Answer) -> None:
        """Take the id out of the answer."""
        fields = answer.fields
        if fields is None:
            return
        if self.how is IdLoss.MISSING:
            fields.pop("id", None)
            fields["message"] = "task is being created"
        elif self.how is IdLoss.NULL:
            fields["id"] = None
        elif self.how is IdLoss.EMPTY:
            fields["id"] = ""
        elif self.how is IdLoss.NUMBER:
            fields["id"] = 1234567890
        elif self.how is IdLoss.HTML:
            answer.body, answer.media_type = _PAGE, "text/html"
        elif self.how is IdLoss.NO_BODY:
            answer.body = b""
        else:
            # The contract's answer begins with the id.
            answer.body = answer.content[:14]


@attrs.frozen
class Slow(Ordering):
    """A task is processed for as long as is said here.

    Attributes:
        processing: Virtual seconds.
    """

    processing: float = attrs.field(validator=positive)

    def apply(self, order: Order) -> None:
        """Set the lifetime."""
        order.lifetime_s = self.processing
