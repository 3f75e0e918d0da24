"""Every reader finds the answer within two clicks from the home page of the documentation."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

DOCS = ROOT / "docs"
ROLES: dict[str, list[dict[str, str]]] = tomllib.loads((ROOT / "tests" / "static" / "questions.toml").read_text())
CLICKS = 2


def links_of(page: Path) -> set[Path]:
    """Return the pages to which the page links."""
    if page.suffix != ".md" or not page.is_relative_to(DOCS):
        return set()
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    return {(page.parent / target).resolve() for target in targets}


def section(page: Path, heading: str) -> str:
    """Return the text below the heading, with line breaks as spaces."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", page.read_text(), re.MULTILINE | re.DOTALL)
    return " ".join(found[1].split()) if found else ""


@pytest.mark.parametrize("role", ROLES)
def test_questions_of_a_role_are_answered_within_two_clicks(role: str) -> None:
    clicks = {DOCS / "README.md": 0}
    for click in range(1, CLICKS + 1):
        for page in list(clicks):
            clicks |= {link: click for link in links_of(page) if link not in clicks}

    missing = []
    for question in ROLES[role]:
        page = (DOCS / question["page"]).resolve()
        text = section(page, question["heading"])
        if page not in clicks or question["phrase"] not in text:
            missing.append((question["asks"], page in clicks, text[:200]))

    assert missing == []
    assert len(ROLES[role]) == 8


def test_every_page_is_within_two_clicks_of_the_home_page() -> None:
    home = links_of(DOCS / "README.md")
    reached = {DOCS / "README.md"}.union(home, *map(links_of, home))

    assert sorted(str(page.relative_to(DOCS)) for page in set(DOCS.rglob("*.md")) - reached) == []
