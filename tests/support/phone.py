"""Render Markdown as GitHub shows it on a phone, 390 pixels wide."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.browser import CHROMIUM
from tests.support.hostile import render

if TYPE_CHECKING:
    from playwright.sync_api import Page

STYLE = (Path(__file__).parent / "github-markdown.css").read_text()
WIDTH, HEIGHT = 390, 844
PAGE = """\
<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<style>{style} body {{ margin: 0; padding: 16px }}</style><body class="markdown-body">{body}
"""
TOO_WIDE = """() => [...document.body.querySelectorAll("*")]
  .filter(one => one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).overflowX != "visible"
    || one.getBoundingClientRect().right > innerWidth + 1)
  .map(one => `${one.tagName}: ${one.textContent.trim().slice(0, 100)}`)"""
"""JavaScript: elements that scroll sideways or extend beyond the screen."""


def _has_font() -> bool:
    """Return whether Chromium has a font as wide as those of phones. Debian's default font is wider."""
    if not shutil.which("fc-match"):
        return True
    found = subprocess.run(["fc-match", "Arial"], capture_output=True, text=True, check=False).stdout
    return "Arial" in found or "Liberation" in found


needs_phone_font = pytest.mark.skipif(not _has_font(), reason="no font of phones: apt-get install fonts-liberation")


@dataclass(frozen=True)
class Phone:
    page: "Page"

    def show(self, markdown: str, picture: Path | None = None) -> list[str]:
        """Return the elements that are too wide when everything is unfolded.

        `picture` is a file for the page as it is at first.
        """
        self.page.set_content(PAGE.format(style=STYLE, body=render(markdown)))
        if picture:
            self.page.screenshot(path=picture, full_page=True)
        self.page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        found: list[str] = self.page.evaluate(TOO_WIDE)
        return found


@contextmanager
def phone() -> Iterator[Phone]:
    from playwright.sync_api import sync_playwright  # here, because each worker of the tests imports this module

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        try:
            yield Phone(browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}))
        finally:
            browser.close()
