"""The admin page as HTML: tasks, ledger and last requests, on a phone and on a desk.

No script at all. Tables become lists of cards on a narrow screen; as browsers forget what a table
is once its display changes, the roles are written out.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from ._amounts import age, clock_time, count_of, moment
from ._fault_form import faults_section
from ._html import Html, document, tag
from ._paging import PAGE_SIZE, Choice, Pages
from ._service import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ._ledger import LedgerEntry
    from ._requests import RequestLog, RequestRecord
    from ._service import EmulatedTask, VideoService
    from ._switches import FaultSwitch

__all__ = ["STYLE_HASH", "Overview", "render"]

_REFRESH_S: Final = 5
_SECTIONS: Final = (
    ("tasks", "Tasks"),
    ("ledger", "Ledger"),
    ("faults", "Faults"),
    ("requests", "Last requests"),
)
_SHOWN_CHARACTERS: Final = 200
_STYLE: Final = Path(__file__).with_name("admin.css").read_text(encoding="utf-8")
STYLE_HASH: Final = f"sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}"
"""The style sheet in the words of a content security policy."""

_ICON: Final = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Crect width='16' height='16' rx='4' fill='%234f46e5'/%3E"
    "%3Cpath d='M6 4.5v7l6-3.5z' fill='white'/%3E%3C/svg%3E"
)


@attrs.frozen(kw_only=True, eq=False)
class Overview:
    """What there is to show.

    Attributes:
        service: Tasks and ledger.
        requests: The requests, by kind and the last of them.
        switches: The faults.
        now_s: The virtual Unix time.
        base_url: Where the API is.
        facts: Settings worth knowing, with their names.
        choice: What of it is to be shown.
        problem: What was wrong with the fault that somebody wrote, if it was.
        written: What that was.
    """

    service: VideoService
    requests: RequestLog
    switches: Sequence[FaultSwitch]
    now_s: float
    base_url: str
    facts: Sequence[tuple[str, str]]
    choice: Choice
    problem: str | None = None
    written: str = ""


def render(overview: Overview) -> bytes:
    """Make the page."""
    # A page that somebody writes on does not change under the pen.
    refreshes = overview.choice.refresh != "off" and overview.problem is None
    head = (
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        *([tag("meta", http_equiv="refresh", content=str(_REFRESH_S))] if refreshes else []),
        tag("title", f"{count_of(overview.service.ledger.billed, 'task')} · Videos API emulator"),
        tag("link", rel="icon", href=_ICON),
        tag("style", Html(_STYLE)),
    )
    main = tag(
        "main",
        _numbers(overview),
        _tasks(overview),
        _ledger(overview),
        faults_section(
            overview.switches, overview.choice, problem=overview.problem, written=overview.written
        ),
        _requests(overview),
    )
    return document(head=head, body=(_header(overview, refreshes=refreshes), main))


def _header(overview: Overview, *, refreshes: bool) -> Html:
    choice = overview.choice
    toggle = (
        tag("a", "Pause refreshing", href=choice.link("top", refresh="off"))
        if refreshes
        else tag("a", f"Refresh every {_REFRESH_S} s", href=choice.link("top", refresh="on"))
    )
    facts = [("Emulated time", moment(overview.now_s)), *overview.facts]
    return tag(
        "header",
        tag("h1", "Videos API emulator"),
        tag("p", tag("code", overview.base_url), class_="address"),
        tag("dl", *(tag("div", tag("dt", name), tag("dd", text)) for name, text in facts)),
        tag(
            "nav",
            *(tag("a", title, href=f"#{name}") for name, title in _SECTIONS),
            toggle,
            tag("a", "OpenAPI document", href="/openapi.json"),
            aria_label="This page",
        ),
        id="top",
    )


def _numbers(overview: Overview) -> Html:
    service, counts = overview.service, overview.requests
    statuses = Counter(task.status for task in service.tasks.values())
    numbers = [
        ("Billed", service.ledger.billed, "billed"),
        ("Refused", service.ledger.refused, ""),
        *((status.value.capitalize(), statuses[status], status.value) for status in TaskStatus),
    ]
    tiles = (
        tag("div", tag("dt", name), tag("dd", f"{number:,}"), class_=f"tile {kind}".strip())
        for name, number, kind in numbers
    )
    came = ", ".join(
        [
            count_of(counts.submits, "create call"),
            count_of(counts.queries, "query", "queries"),
            count_of(counts.downloads, "download"),
            count_of(counts.others, "other"),
        ]
    )
    return tag(
        "section",
        tag("h2", "At a glance", id="glance"),
        tag("dl", *tiles, class_="tiles"),
        tag("p", f"Requests so far: {came}.", class_="note"),
        aria_labelledby="glance",
    )


def _tasks(overview: Overview) -> Html:
    tasks = overview.service.tasks
    pages = Pages.of(len(tasks), overview.choice.tasks)
    rows = (
        _row(
            ("Task", tag("code", _shortened(task.id))),
            ("Status", tag("span", task.status.value, class_=f"badge {task.status.value}")),
            ("Age", age(overview.now_s - task.accepted_at_s)),
            ("Took", _took(task)),
            ("Model", f"{task.request.model}, {task.request.duration_s} s, {task.request.ratio}"),
            ("Prompt", _prompt(task.request.prompt, note=task.error)),
        )
        for task in pages.cut(reversed(tuple(tasks.values())))
    )
    columns = ("Task", "Status", "Age", "Took", "Model", "Prompt")
    return _section(
        "tasks",
        "Tasks",
        "No task yet: the first create call makes one." if not tasks else None,
        _table("tasks", columns, rows),
        pages.nav("tasks", overview.choice),
    )


def _ledger(overview: Overview) -> Html:
    ledger = overview.service.ledger
    entries = ledger.entries
    pages = Pages.of(len(entries), overview.choice.ledger)
    rows = (
        _ledger_row(entry, ledger.billed_for(entry.prompt))
        for entry in pages.cut(reversed(entries))
    )
    columns = ("Billed at", "Task", "Model", "Idempotency-Key", "Prompt")
    return _section(
        "ledger",
        "Ledger",
        "Nothing was billed yet." if not entries else None,
        _table("ledger", columns, rows),
        pages.nav("ledger", overview.choice),
    )


def _ledger_row(entry: LedgerEntry, times: int) -> Html:
    paid = None if times == 1 else f"This prompt was paid for {times} times."
    return _row(
        ("Billed at", clock_time(entry.accepted_at_s)),
        ("Task", tag("code", _shortened(entry.task_id))),
        ("Model", entry.model),
        ("Idempotency-Key", tag("code", _shortened(entry.idempotency_key or "none"))),
        ("Prompt", _prompt(entry.prompt, note=paid)),
    )


def _requests(overview: Overview) -> Html:
    last = overview.requests.recent
    columns = ("At", "Request", "Answer", "Faults")
    return _section(
        "requests",
        "Last requests",
        "No request yet." if not last else None,
        _table("requests", columns, map(_request_row, islice(reversed(last), PAGE_SIZE))),
    )


def _request_row(record: RequestRecord) -> Html:
    status = record.status
    kind = "none" if status is None else f"answer-{status // 100}"
    return _row(
        ("At", clock_time(record.at_s)),
        ("Request", tag("code", _shortened(f"{record.method} {record.path}"))),
        (
            "Answer",
            tag("span", "none" if status is None else f"{status:d}", class_=f"badge {kind}"),
        ),
        ("Faults", tag("code", _shortened("; ".join(record.faults))) if record.faults else ""),
    )


def _section(name: str, title: str, emptiness: str | None, *content: Html) -> Html:
    shown = content if emptiness is None else (tag("p", emptiness, class_="note"),)
    return tag("section", tag("h2", title, id=name), *shown, aria_labelledby=name)


def _table(name: str, columns: Sequence[str], rows: Iterable[Html]) -> Html:
    heads = (tag("th", column, scope="col", role="columnheader") for column in columns)
    return tag(
        "table",
        tag("thead", tag("tr", *heads, role="row"), role="rowgroup"),
        tag("tbody", *rows, role="rowgroup"),
        role="table",
        class_=f"table-{name}",
        aria_labelledby=name,
    )


def _row(*cells: tuple[str, str]) -> Html:
    return tag(
        "tr",
        *(tag("td", content, role="cell", data_label=label) for label, content in cells),
        role="row",
    )


def _prompt(prompt: str, *, note: str | None) -> Html:
    # Isolated: a prompt that turns the direction of writing must not turn the table's.
    text = tag("bdi", _shortened(prompt))
    return text if note is None else Html(text + tag("span", note, class_="note"))


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _took(task: EmulatedTask) -> str:
    return "" if task.ended_at_s is None else age(task.ended_at_s - task.accepted_at_s)
