"""Check a page for barriers with axe-core 4.14.1 (npm package axe-core: `axe.min.js`, MPL 2.0, unchanged)."""

import gzip
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

PROGRAM = Path(__file__).with_name("axe.min.js.gz")
RUN = """() => axe.run(document, {resultTypes: ["violations", "incomplete"]}).then(found =>
  [...found.violations, ...found.incomplete].flatMap(rule => rule.nodes.map(node => `${rule.id}: ${node.html}`)))"""
"""JavaScript: also what axe cannot decide, such as the contrast of a text whose background it cannot compute."""


def find_barriers(page: "Page") -> list[str]:
    """Return rule and element of each violation of WCAG 2.2 A and AA and of axe's best practices."""
    page.evaluate(gzip.decompress(PROGRAM.read_bytes()).decode())
    found: list[str] = page.evaluate(RUN)
    return found
