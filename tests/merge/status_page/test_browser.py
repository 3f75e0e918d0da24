"""The page in Chromium: readable for everybody, and never green because of an old file.

`PICTURES=folder ./run pytest tests/merge/status_page/test_browser.py` keeps a picture of each page and state.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from ops.status_page.pages import render_site
from tests.status_page.support import (
    ALL_WORK,
    DEGRADED,
    MAJOR,
    NOW,
    OFF,
    OUTAGE,
    PARTIAL,
    PLANNED,
    SETTINGS,
    WORKS,
    overview,
    public_id,
    update,
)
from tests.support.axe import find_barriers
from tests.support.browser import CHROMIUM, needs_chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

pytestmark = needs_chromium
LATER = timedelta(minutes=41)
TYPES = {".html": "text/html", ".json": "application/json", ".atom": "application/atom+xml"}
GREEN = """() => {
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.color = "var(--good)";
  const good = getComputedStyle(probe).color;
  probe.remove();
  return [...document.body.querySelectorAll("*")].filter(one => one.checkVisibility() && one.innerText
    && ["color", "borderColor", "backgroundColor"].some(name => getComputedStyle(one)[name] == good)).length;
}"""
"""JavaScript: number of visible green elements."""
LONG = "Pneumonoultramicroscopicsilicovolcanoconiosis" * 3
ALL_STATES = (
    update("a", 1, "investigating", {"Shop": MAJOR, "Kitchen": PARTIAL, "Delivery": DEGRADED}, LONG, ago=50),
    update("a", 2, "identified", {"Shop": MAJOR}, "<b>The oven</b> & the \N{HEBREW LETTER ALEF} fail. " * 20, ago=40),
    update("a", 3, "identified", {"Shop": PARTIAL}, "Both ovens fail.", ago=30, corrects=2),
    update("b", 1, "in_progress", {"Museum of bread " * 3: OFF}, "We clean.", ago=20, ends=NOW + timedelta(hours=1)),
)
STATES: Mapping[str, tuple[Any, ...]] = {
    "empty": (),
    "operational": (ALL_WORK,),
    "outage": (ALL_WORK, *OUTAGE, PLANNED),
    "all": (ALL_WORK, *ALL_STATES, PLANNED),
    "monitoring": (ALL_WORK, *OUTAGE, update("outage", 3, "monitoring", {"Shop": WORKS})),
    "past": tuple(update(f"p{each}", 1, "resolved", {"Shop": WORKS}, ago=5000 * each) for each in range(1, 600)),
}
IRREGULAR = replace(SETTINGS, interval=None)


@dataclass
class Host:
    """Serves files at the URL of the page, and nothing else, as a cache in front of it would."""

    files: Mapping[str, bytes]
    status: int = 200
    date: datetime = NOW
    paths: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def answer(self, route: "Route") -> None:
        parts = urlsplit(route.request.url)
        if f"{parts.scheme}://{parts.netloc}" != SETTINGS.url:
            self.foreign.append(route.request.url)
            route.abort()
            return
        path = parts.path.lstrip("/") or "index.html"
        self.paths.append(f"{path}?{parts.query}")
        headers = {"date": format_datetime(self.date, usegmt=True), "content-type": TYPES[Path(path).suffix]}
        status = self.status if path == "status.json" else 200
        route.fulfill(status=status, body=self.files[path], headers=headers)


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM)
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def visit(browser: "Browser", host: Host, *, at: datetime = NOW, width: int = 390, **options: Any) -> Iterator["Page"]:
    """Open a window whose clock stands at `at`; at its end, no request went elsewhere and no error was logged."""
    context = browser.new_context(viewport={"width": width, "height": 844}, **options)
    try:
        page, errors = context.new_page(), list[str]()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if "status of" not in line.text else None)
        page.clock.install(time=at)
        context.route("**/*", host.answer)
        yield page
        assert (errors, host.foreign) == ([], [])
    finally:
        context.close()


def read(page: "Page", path: str = "") -> str:
    """Open a page, wait until it judged its age, and return the judgment."""
    page.goto(f"{SETTINGS.url}/{path}")
    page.wait_for_selector("html[data-age]")
    return str(page.evaluate("document.documentElement.dataset.age"))


VIEWS = (
    ("empty", SETTINGS, timedelta()),
    ("operational", SETTINGS, timedelta()),
    ("operational", SETTINGS, LATER),
    ("operational", IRREGULAR, timedelta()),
    ("outage", SETTINGS, timedelta()),
    ("outage", IRREGULAR, LATER),
    ("all", SETTINGS, LATER),
    ("monitoring", SETTINGS, timedelta()),
    ("past", SETTINGS, timedelta()),
)
"""Updates, settings, and the age of the build."""
OTHER_PAGES = {"all": ("history.html", f"incidents/{public_id('a')}.html"), "past": ("history-2.html",)}
WIDTHS = (320, 390, 1280)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_each_page_and_state_has_no_barrier_and_fits(browser: "Browser", scheme: str) -> None:
    folder = os.environ.get("PICTURES")
    for state, settings, late in VIEWS:
        host = Host(render_site(overview(*STATES[state], settings=settings)), date=NOW + late)
        with visit(browser, host, at=NOW + late, color_scheme=scheme) as page:
            for path in ("index.html", *OTHER_PAGES.get(state, ())):
                name = f"{state}-{read(page, path)}-{Path(path).stem}-{scheme}"
                assert find_barriers(page) == [], name
                for width in WIDTHS:
                    page.set_viewport_size({"width": width, "height": 844})
                    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
                    if folder:
                        page.screenshot(path=Path(folder) / f"{name}-{width}.png", full_page=True)


def test_a_fresh_page_is_green_only_with_regular_builds(browser: "Browser") -> None:
    with visit(browser, Host(render_site(overview(ALL_WORK)))) as page:
        assert read(page) == "fresh"
        assert page.evaluate(GREEN) > 0
        assert page.inner_text(".headline").endswith("All components are operational")
    for updates, settings in (((), SETTINGS), ((ALL_WORK,), IRREGULAR), ((ALL_WORK, *OUTAGE), IRREGULAR)):
        with visit(browser, Host(render_site(overview(*updates, settings=settings)))) as page:
            read(page)
            assert page.evaluate(GREEN) == 0


@pytest.mark.parametrize(
    ("late", "clock", "status", "age"),
    [
        pytest.param(LATER, LATER, 200, "late", id="dead-generator"),
        pytest.param(LATER, timedelta(days=-1), 200, "late", id="dead-generator-and-slow-clock"),
        pytest.param(timedelta(), LATER, 200, "late", id="dead-generator-behind-a-cache"),
        pytest.param(timedelta(), timedelta(), 404, "unread", id="missing"),
        pytest.param(timedelta(), timedelta(), 503, "unread", id="failing"),
    ],
)
def test_an_old_or_unchecked_page_is_never_green(
    browser: "Browser", late: timedelta, clock: timedelta, status: int, age: str
) -> None:
    host = Host(render_site(overview(ALL_WORK)), status, NOW + late)
    with visit(browser, host, at=NOW + clock) as page:
        assert read(page) == age
        assert page.evaluate(GREEN) == 0
        assert "perational" not in page.inner_text("main")
        assert "Warning" in page.inner_text("#age")
        assert page.get_attribute("#age", "role") == "status"


def test_an_open_page_notices_that_builds_stopped_and_went_on(browser: "Browser") -> None:
    host = Host(render_site(overview(ALL_WORK)))
    with visit(browser, host) as page:
        assert read(page) == "fresh"
        host.date = NOW + LATER
        page.clock.run_for(int(LATER.total_seconds()) * 1000)
        page.wait_for_selector('html[data-age="late"]')
        host.files = {**host.files, "status.json": render_site(overview(ALL_WORK, built_at=host.date))["status.json"]}
        page.clock.run_for(60_000)
        page.wait_for_selector('html[data-age="newer"]')
        assert page.evaluate(GREEN) == 0
        assert "?at=" in str(page.get_attribute("#age a", "href"))
    asked = [each for each in host.paths if each.startswith("status.json?")]
    assert len({*asked}) == len(asked) > 2


def test_a_page_without_scripts_is_whole_and_not_green(browser: "Browser") -> None:
    host = Host(render_site(overview(ALL_WORK, *OUTAGE)))
    context = browser.new_context(java_script_enabled=False)
    try:
        context.route("**/*", host.answer)
        page = context.new_page()
        page.goto(SETTINGS.url)
        text = page.inner_text("body")
        for each in ("Partial outage", "The oven is at fault.", "Kitchen", "Operational at 2026-11-25 03:00 UTC"):
            assert each in text
        page.click("text=Problems with Shop >> nth=0")
        assert "Orders fail." in page.inner_text("main")
        assert [each for each in host.paths if "status.json" in each] == []
    finally:
        context.close()


def test_print_is_black_on_white_without_menus(browser: "Browser") -> None:
    with visit(browser, Host(render_site(overview(ALL_WORK, *OUTAGE))), color_scheme="dark") as page:
        read(page)
        page.emulate_media(media="print")
        colors = "[...document.querySelectorAll('body, .condition, a')].map(one => getComputedStyle(one).color)"
        assert {*page.evaluate(colors)} == {"rgb(0, 0, 0)"}
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert not page.is_visible("footer nav")
