"""The documentation as a site: built once, equal in structure to GitHub, and read on a phone.

`PICTURES=folder ./run pytest tests/merge/test_site.py` keeps a picture of each page that is looked at.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Literal

import pytest

from tests.conftest import ROOT
from tests.support.axe import find_barriers
from tests.support.browser import CHROMIUM, needs_chromium
from tests.support.page_structure import structure_on_github, structure_on_site
from tests.support.phone import HEIGHT, WIDTH, needs_phone_font

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ViewportSize

DOCS = ROOT / "docs"
PHONE: "ViewportSize" = {"width": WIDTH, "height": HEIGHT}
LOOKED_AT = ("", "tutorial/first-incident/", "how-to/exit-5/", "how-to/set-up/", "explanation/architecture/")
"""Pages for axe, in both color schemes: home page, captures, steps, code within steps, a diagram and wide tables."""
TOO_WIDE = """() => document.documentElement.scrollWidth > innerWidth ? ["page"] :
  [...document.querySelectorAll("article *")].filter(one => one.getBoundingClientRect().right > innerWidth + 1
    && !one.closest("pre, .md-typeset__scrollwrap") && !one.parentElement.closest("table")).map(one => `${one.tagName}: ${one.textContent.trim().slice(0, 60)}`)"""
"""JavaScript: elements beyond the screen. Code and wide tables scroll by themselves."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(DOCS, folder / "docs")
    shutil.copy(ROOT / "mkdocs.yml", folder)
    subprocess.run([sys.executable, "-m", "zensical", "build"], cwd=folder, capture_output=True, check=True)
    return folder / "site"


def address(page: Path) -> str:
    """Return the path of the page on the site."""
    name = page.relative_to(DOCS)
    folder = name.parent if name.name == "README.md" else name.with_suffix("")
    return f"{folder}/".removeprefix("./")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_pages_have_the_structure_that_github_shows(site: Path) -> None:
    different = []
    for page in sorted(DOCS.rglob("*.md")):
        wanted = structure_on_github(page.read_text(encoding="utf-8"))
        shown = structure_on_site((site / address(page) / "index.html").read_text(encoding="utf-8"))
        different += [(page.name, pair) for pair in zip(wanted, shown, strict=False) if pair[0] != pair[1]][:1]
        different += [(page.name, ("length", f"{len(wanted)} and {len(shown)}"))] if len(wanted) != len(shown) else []

    assert different == [], "a list is interrupted, or indented by fewer than four spaces?"


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM)
        yield started
        started.close()


@needs_chromium
@needs_phone_font
def test_pages_fit_a_phone(site: Path, browser: "Browser") -> None:
    page = browser.new_context(viewport=PHONE, java_script_enabled=False).new_page()
    wide = []
    with served(site) as base:
        for path in map(address, sorted(DOCS.rglob("*.md"))):
            page.goto(f"{base}{path}")
            wide += [(path, each) for each in page.evaluate(TOO_WIDE)]

    assert wide == []


@needs_chromium
@needs_phone_font
@pytest.mark.parametrize(("scheme", "theme"), [("light", "default"), ("dark", "slate")])
def test_pages_have_no_barriers_and_load_nothing_from_elsewhere(
    site: Path, browser: "Browser", scheme: Literal["light", "dark"], theme: str
) -> None:
    page = browser.new_context(viewport=PHONE, color_scheme=scheme, reduced_motion="reduce").new_page()
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    found = []
    with served(site) as base:
        for path in LOOKED_AT:
            page.goto(f"{base}{path}")
            page.wait_for_selector("nav.md-code__nav", state="attached")
            found += [(path, each) for each in [*find_barriers(page), *page.evaluate(TOO_WIDE)]]
            assert page.evaluate("document.body.dataset.mdColorScheme") == theme
            if pictures := os.environ.get("PICTURES"):
                name = path.strip("/").replace("/", "-") or "home"
                page.screenshot(path=Path(pictures) / f"{name}-{scheme}.png", full_page=True)

    assert found == []
    assert {url for url in requested if not url.startswith((base, "data:", "blob:"))} == set()
