from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.emulator.test_admin import Page, get
from tests.emulator.wire import KITTEN
from videos_async.emulator import Profile, profile_faults

if TYPE_CHECKING:
    from tests.emulator.wire import Reply, Wire

DECLINE = "decline style=failed"


async def post(wire: Wire, fields: dict[str, str], **headers: str) -> Reply:
    return await get(
        wire, "/faults", method="POST", data=fields, headers=headers, allow_redirects=False
    )


async def switches(wire: Wire) -> dict[str, str]:
    """The switches as they stand: text and whether it is checked."""
    shown = Page((await get(wire)).body.decode())
    buttons = [attrs for tag, attrs in shown.tags if tag == "button"]
    return {
        button["value"] or "": button["aria-checked"] or ""
        for button in buttons
        if button.get("role") == "switch"
    }


async def test_a_switch_takes_effect_on_the_next_call_and_off_again(wire: Wire) -> None:
    assert (await switches(wire))[DECLINE] == "false"
    reply = await post(wire, {"on": DECLINE})
    assert (reply.status, reply.headers["Location"]) == (303, "/#faults")
    assert (await wire.submit()).json["status"] == "failed"
    assert (await switches(wire))[DECLINE] == "true"

    await post(wire, {"off": DECLINE})
    assert (await wire.submit()).json["status"] == "queued"
    assert (await switches(wire))[DECLINE] == "false"
    assert wire.emulator.ledger.billed == 1


async def test_the_page_says_how_often_a_fault_struck_and_which_calls(wire: Wire) -> None:
    await post(wire, {"on": DECLINE})
    for _ in range(2):
        await wire.submit()
    body = (await get(wire)).body.decode()
    assert "Struck 2 times." in body
    assert Page(body).rows("requests")[0][-1] == DECLINE


async def test_a_switch_that_is_on_already_stays_on_once(wire: Wire) -> None:
    for _ in range(2):
        await post(wire, {"on": DECLINE})
    assert [str(fault) for fault in wire.emulator.faults] == [DECLINE]
    await post(wire, {"off": DECLINE})
    reply = await post(wire, {"off": DECLINE})
    assert (reply.status, len(wire.emulator.faults)) == (303, 0)


async def test_a_fault_can_be_written_and_stays_on_the_board_when_it_is_off(wire: Wire) -> None:
    written = "status code=503 on=query prompt=fox"
    await post(wire, {"write": "  status 503 on=query prompt=fox "})
    assert (await switches(wire))[written] == "true"
    await post(wire, {"off": written})
    assert (await switches(wire))[written] == "false"


async def test_faults_of_the_script_are_on_the_board(wire: Wire) -> None:
    wire.emulator.faults.add("delay 3 probability=0.25")
    assert (await switches(wire))["delay seconds=3 probability=0.25"] == "true"


async def test_a_profile_is_switched_on_as_a_whole_and_everything_off(wire: Wire) -> None:
    await post(wire, {"profile": "field"})
    assert tuple(wire.emulator.faults) == profile_faults(Profile.FIELD)
    await post(wire, {"profile": "hostile"})
    texts = [str(fault) for fault in profile_faults(Profile.HOSTILE)]
    assert sorted(map(str, wire.emulator.faults)) == sorted(texts)
    await post(wire, {"clear": "all"})
    assert len(wire.emulator.faults) == 0
    assert "true" not in (await switches(wire)).values()


@pytest.mark.parametrize("field", ["write", "on", "off", "profile"])
async def test_what_is_no_fault_is_refused_with_the_reason(wire: Wire, field: str) -> None:
    reply = await post(wire, {field: "<b>earthquake</b>"})
    assert reply.status == 400
    body = reply.body.decode()
    shown = Page(body)
    assert [attrs["id"] for _, attrs in shown.tags if attrs.get("role") == "alert"] == ["problem"]
    assert "&lt;b&gt;earthquake&lt;/b&gt;" in body
    assert "b" not in {tag for tag, _ in shown.tags}
    assert len(wire.emulator.faults) == 0


async def test_what_was_written_wrong_is_still_in_the_field(wire: Wire) -> None:
    shown = Page((await post(wire, {"write": 'status "7'})).body.decode())
    assert [attrs["value"] for _, attrs in shown.tags if attrs.get("name") == "write"] == [
        'status "7'
    ]


async def test_switching_keeps_what_else_the_page_shows(wire: Wire) -> None:
    fields = {"on": DECLINE, "tasks": "3", "ledger": "2", "refresh": "off"}
    reply = await post(wire, fields)
    assert reply.headers["Location"] == "/?tasks=3&ledger=2&refresh=off#faults"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
async def test_another_site_cannot_switch_faults(wire: Wire, headers: dict[str, str]) -> None:
    reply = await post(wire, {"on": DECLINE}, **headers)
    assert reply.status == 403
    assert len(wire.emulator.faults) == 0


async def test_a_foreign_name_cannot_switch_faults(wire: Wire) -> None:
    reply = await post(wire, {"on": DECLINE}, Host="evil.example", Origin="http://evil.example")
    assert reply.status == 421
    assert len(wire.emulator.faults) == 0


async def test_the_page_itself_can_switch_faults(wire: Wire) -> None:
    own = wire.emulator.page_url.removesuffix("/")
    reply = await post(wire, {"on": DECLINE}, **{"Origin": own, "Sec-Fetch-Site": "same-origin"})
    assert reply.status == 303


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"json": {"on": DECLINE}}, 415),
        ({"data": "on=" + "x" * 70_000}, 413),
        ({"data": b"\xff=\xfe&on=%ff"}, 400),
    ],
    ids=["json", "too long", "garbage"],
)
async def test_what_is_no_form_is_refused(wire: Wire, options: dict[str, Any], status: int) -> None:
    if "data" in options:
        options["headers"] = {"Content-Type": "application/x-www-form-urlencoded"}
    reply = await get(wire, "/faults", method="POST", **options)
    assert reply.status == status
    assert len(wire.emulator.faults) == 0


async def test_faults_are_not_switched_by_get(wire: Wire) -> None:
    reply = await get(wire, "/faults?on=reset")
    assert (reply.status, reply.headers["Allow"]) == (405, "POST")


async def test_no_fault_strikes_the_page(wire: Wire) -> None:
    wire.emulator.faults.extend(["status 503", "reset", "garbage"])
    assert (await get(wire)).status == 200
    assert (await post(wire, {"clear": "all"})).status == 303
    assert (await wire.submit(KITTEN)).status == 200
