"""The page in a browser: what a person sees, and what a script in a prompt does not do."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.error import HTTPError

import pytest

from tests.browser import BROWSER, DRIVER, chromium
from tests.emulator.standalone import standalone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.browser import Browser
    from tests.emulator.standalone import Standalone

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        BROWSER is None or DRIVER is None,
        reason="needs chromium and chromedriver on the path (Debian: chromium, chromium-driver)",
    ),
]

PHONE = (390, 844)
DESK = (1280, 800)
NASTY = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def emulator() -> Iterator[Standalone]:
    # Tasks of a hundred emulated seconds do not end while the tests last.
    with standalone("--speed", "1", "--fault", "delay 0.001 on=download") as emulator:
        emulator.submit("a kitten")
        emulator.submit(NASTY)
        emulator.submit("unbroken" * 180)
        emulator.submit("\u202eturned around\u202e")
        yield emulator


def is_wider_than_screen(browser: Browser) -> bool:
    script = "return document.documentElement.scrollWidth > document.documentElement.clientWidth"
    found: bool = browser.run(script)
    return found


@pytest.mark.parametrize("query", ["", "?refresh=off"])
def test_a_phone_shows_the_page_without_sideways_scrolling(
    browser: Browser, emulator: Standalone, query: str
) -> None:
    browser.screen(*PHONE)
    browser.open(f"{emulator.origin}/{query}")
    assert browser.run("return innerWidth") == 390
    assert not is_wider_than_screen(browser)


def test_a_phone_shows_a_whole_profile_without_sideways_scrolling(browser: Browser) -> None:
    with standalone("--profile", "hostile") as emulator:
        browser.screen(*PHONE)
        browser.open(emulator.origin)
        assert len(browser.texts("[role=switch]")) > 50
        assert not is_wider_than_screen(browser)


@pytest.mark.parametrize("kind", ["long", "markup", "control"])
def test_a_malicious_id_neither_breaks_the_page_nor_widens_it(browser: Browser, kind: str) -> None:
    with standalone("--fault", f"hostile_id {kind}") as emulator:
        emulator.submit("a kitten")
        browser.screen(*PHONE)
        browser.open(emulator.origin)
        assert browser.texts(".table-tasks bdi") == ["a kitten"]
        assert browser.run("return document.images.length") == 0
        assert not is_wider_than_screen(browser)
        assert len(emulator.page()) < 50_000


@pytest.mark.parametrize("screen", [PHONE, DESK], ids=["phone", "desk"])
def test_a_task_shows_with_status_and_age(
    browser: Browser, emulator: Standalone, screen: tuple[int, int]
) -> None:
    browser.screen(*screen)
    browser.open(emulator.origin)
    assert "processing" in browser.texts(".table-tasks [data-label=Status]")
    assert all(age.endswith(" s") for age in browser.texts(".table-tasks [data-label=Age]"))
    assert "a kitten" in browser.texts(".table-tasks bdi")
    assert "a kitten" in browser.texts(".table-ledger bdi")


def test_a_script_in_a_prompt_is_inert(browser: Browser, emulator: Standalone) -> None:
    browser.console()
    browser.screen(*DESK)
    browser.open(emulator.origin)
    assert NASTY in browser.texts(".table-tasks bdi")
    assert browser.run("return document.title") == "4 tasks · Videos API emulator"
    assert browser.run("return document.scripts.length + document.images.length") == 0
    # Nothing was blocked either, the page's own style least of all.
    assert browser.console() == []
    assert (
        browser.run("return getComputedStyle(document.querySelector('.tiles')).display") == "grid"
    )


def test_a_switch_changes_what_the_service_does(browser: Browser) -> None:
    with standalone() as emulator:
        browser.screen(*PHONE)
        browser.open(f"{emulator.origin}/?refresh=off")
        switch = "[role=switch][value='status code=503 on=query']"
        task_id = emulator.submit()["id"]
        browser.follow(switch)
        assert browser.run("return location.pathname + location.search") == "/?refresh=off"
        with pytest.raises(HTTPError, match="503"):
            emulator.query(task_id)
        assert browser.run(f'return document.querySelector("{switch}").ariaChecked') == "true"
        browser.follow(switch)
        assert emulator.query(task_id)["id"] == task_id


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(
    browser: Browser, emulator: Standalone, scheme: str
) -> None:
    browser.screen(*DESK, scheme=scheme)
    browser.open(f"{emulator.origin}/?refresh=off")
    # WCAG 2.2, 1.4.3: 4.5 to 1.
    faint = browser.run("""
        const light = (color) => {
            const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map(Number).map(
                (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const ground = (element) => {
            for (let e = element; e; e = e.parentElement) {
                const color = getComputedStyle(e).backgroundColor;
                if (color !== "rgba(0, 0, 0, 0)") return color;
            }
            return "rgb(255, 255, 255)";
        };
        return [...document.querySelectorAll("body *")]
            .filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
            .map((e) => {
                const both = [light(getComputedStyle(e).color), light(ground(e))];
                return [(Math.max(...both) + 0.05) / (Math.min(...both) + 0.05), e.innerText];
            })
            .filter(([ratio]) => ratio < 4.5);
    """)
    assert faint == []
    back = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert (back == "rgb(16, 18, 22)") == (scheme == "dark")


def test_every_field_and_button_has_a_name_and_every_table_heads(
    browser: Browser, emulator: Standalone
) -> None:
    browser.screen(*DESK)
    browser.open(f"{emulator.origin}/?refresh=off")
    nameless = """
        return [...document.querySelectorAll("input:not([type=hidden]), button, a")]
            .filter((e) => !(e.labels?.length || e.innerText.trim())).map((e) => e.outerHTML)
    """
    assert browser.run(nameless) == []
    headless = """
        return [...document.querySelectorAll("table")]
            .filter((t) => t.rows[0].cells.length !== t.querySelectorAll("th[scope=col]").length)
            .map((t) => t.className)
    """
    assert browser.run("return document.querySelectorAll('table').length") == 3
    assert browser.run(headless) == []
