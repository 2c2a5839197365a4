"""The pages in a real browser: phone and desk, light and dark, by keyboard, and with axe's eyes."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Literal

import pytest
import uvicorn

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, Request

    from serve.dashboard.conftest import Running

_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(_CHROMIUM is None, reason="there is no Chromium here")

#: Notes what the page's own policy forbids.
_NOTE_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective} ${event.blockedURI}`);
});
"""

#: What can be reached by keyboard, whether it is seen or not.
_FOCUSABLE = """
() => [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, summary, [tabindex='0']")]
  .filter((element) => element.checkVisibility() && !element.disabled).length
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api")
    pytest.importorskip("axe_playwright_python")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])  # root may not have one
        yield browser
        browser.close()


@contextmanager
def _served(running: Running) -> Iterator[str]:
    """Serve the dashboard on a free port."""
    server = uvicorn.Server(uvicorn.Config(running.app, port=0, log_level="error", ws="none", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/dashboard"
    server.should_exit = True
    thread.join()


@contextmanager
def _watched(context: BrowserContext) -> Iterator[tuple[Page, list[str]]]:
    """Open a page, and note every error of it."""
    faults: list[str] = []
    context.add_init_script(_NOTE_VIOLATIONS)
    page = context.new_page()
    page.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "requestfailed",
        lambda request: faults.append(f"{request.url} {request.failure}") if not _left(request) else None,
    )
    yield page, faults
    context.close()


def _left(request: Request) -> bool:
    """Tell whether a request was given up because the page was left."""
    return request.failure is not None and "ERR_ABORTED" in request.failure


def _addresses(running: Running) -> list[str]:
    last = running.service.writer.state.seq
    verdicts = [f"/verdicts/{last - back}" for back in (13, 9, 0)]
    return ["/", "/verdicts", *verdicts, "/guards/heartbeats", "/log", "/tokens", "/verdicts/99999"]


def _check(page: Page, where: str) -> None:
    """Check what an open page loads, and its width."""
    assert page.evaluate("window.violations") == [], where
    beyond = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert beyond == 0, f"{where} scrolls sideways by {beyond}"


def _ask_axe(page: Page, where: str) -> None:
    """Have axe look at an open page."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(_axe())
    violations = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then((results) => results.violations)")
    found = [(each["id"], [node["html"] for node in each["nodes"]]) for each in violations]
    assert found == [], where


@cache
def _axe() -> str:
    return (files("axe_playwright_python") / "axe.min.js").read_text()


def _walk(page: Page, where: str) -> None:
    """Reach everything by keyboard, and see where the focus is."""
    page.evaluate("document.activeElement?.blur()")
    count = page.evaluate(_FOCUSABLE)
    reached = []
    for _ in range(count + 3):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                """() => {
                  const element = document.activeElement;
                  if (element === document.body) return null;
                  window.places ??= new Map();
                  if (!window.places.has(element)) window.places.set(element, window.places.size);
                  const style = getComputedStyle(element);
                  return [window.places.get(element), style.outlineStyle !== "none" && style.outlineWidth !== "0px"];
                }"""
            )
        )
    places = {place[0] for place in reached if place is not None}
    assert len(places) == count, f"{where}: {len(places)} of {count} were reached"
    assert all(place[1] for place in reached if place is not None), f"{where}: a focus is not seen"


Look = tuple[int, Literal["light", "dark"]]


def _look(running: Running, browser: Browser, looks: Sequence[Look], *, closely: Collection[str]) -> None:
    """Open every page once, and look at it in each width and colour; at some closely, the others in the last alone."""
    running.service.tokens.add("ward", ["judge"])
    with _served(running) as home, _watched(browser.new_context()) as (page, faults):
        for address in ("/login", "/login?code=the-code", *_addresses(running)):
            page.goto(f"{home}{address}")
            if page.locator("[data-plot]").count():
                page.wait_for_selector(".plot canvas")
            for width, scheme in looks:
                page.set_viewport_size({"width": width, "height": 800})
                page.emulate_media(color_scheme=scheme)
                _check(page, f"{address} at {width}, {scheme}")
                if address in closely or (width, scheme) == looks[-1]:
                    _ask_axe(page, f"{address} at {width}, {scheme}")
            if address in closely:
                _walk(page, address)
        assert [fault for fault in faults if "404" not in fault] == []  # of the page that there is not


def test_pages_fit_a_phone_and_a_desk_and_axe_finds_nothing(busy: Running, browser: Browser) -> None:
    _look(busy, browser, [(1280, "light"), (360, "dark")], closely=("/tokens",))


@pytest.mark.soak
def test_every_page_at_every_width_and_in_every_colour_and_by_keyboard(busy: Running, browser: Browser) -> None:
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    looks = [(width, scheme) for width in (1920, 1280, 768, 360, 320) for scheme in schemes]
    _look(busy, browser, looks, closely=("/login", *_addresses(busy)))


def test_the_overview_updates_by_itself_and_can_be_paused(busy: Running, browser: Browser) -> None:
    with _served(busy) as home, _watched(browser.new_context()) as (page, faults):
        page.goto(f"{home}/login?code=the-code")
        link = page.locator("#verdicts tbody a").first
        link.focus()
        seq = busy.ask("heartbeats", busy.clean("heartbeats", 1))
        page.evaluate("htmx.trigger('#verdicts', 'every'); htmx.ajax('GET', '/dashboard/part/verdicts', '#verdicts')")
        page.wait_for_selector(f"#verdict-{seq}")
        assert page.evaluate("document.activeElement.id") == f"verdict-{seq - 1}"  # the focus stays where it was
        page.locator("#rejected-numbers summary").click()
        page.evaluate("htmx.ajax('GET', '/dashboard/part/charts', '#charts')")
        page.wait_for_function("document.querySelectorAll('#charts .plot canvas').length === 3")
        assert page.locator("#rejected-numbers").get_attribute("open") is not None  # what was opened stays open
        pause = page.get_by_role("button", name="Pause updates")
        pause.click()
        seq = busy.ask("heartbeats", busy.clean("heartbeats", 1))
        page.evaluate("htmx.ajax('GET', '/dashboard/part/verdicts', '#verdicts')")
        page.get_by_role("button", name="Go on updating").click()
        assert page.locator(f"#verdict-{seq}").count() == 0
        assert faults == []


def test_a_service_that_went_away_is_said_on_the_page(busy: Running, browser: Browser) -> None:
    with _served(busy) as home, _watched(browser.new_context()) as (page, _):
        page.goto(f"{home}/login?code=the-code")
        page.context.set_offline(True)
        page.evaluate("htmx.ajax('GET', '/dashboard/part/now', '#now').catch(() => null)")
        page.wait_for_selector("#away:not([hidden])")
        assert "does not answer" in page.locator("#away").inner_text()
        page.context.set_offline(False)
        page.evaluate("htmx.ajax('GET', '/dashboard/part/now', '#now')")
        page.wait_for_selector("#away", state="hidden")


def test_the_dashboard_is_used_from_the_login_to_the_logout(busy: Running, browser: Browser) -> None:
    secret = busy.service.tokens.add("nurse", ["admin"])
    with _served(busy) as home, _watched(browser.new_context()) as (page, faults):
        page.goto(f"{home}/log")
        page.get_by_label("Token with the scope").fill(secret)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("button", name="Check the whole log").click()
        page.get_by_text("Intact.").wait_for()
        page.get_by_role("link", name="Tokens").click()
        page.get_by_label("Who it is for").fill("ward")
        page.get_by_role("button", name="Make it").click()
        assert busy.service.tokens.check(page.locator("#secret").inner_text()) is not None
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Revoke the token of ward").click()
        page.get_by_text("revoked", exact=True).wait_for()
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("**/login")
        page.goto(f"{home}/")
        assert page.url.endswith("/login?next=/dashboard/")
        assert faults == []
