"""The reference for rollback targets stands apart from the product, and each of its rules names its page."""

import ast
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.syntax import parsed

REFERENCES = ("tests/support/target_reference.py", "tests/support/site_reference.py")
CLOUDFLARE = re.compile(r"https://developers\.cloudflare\.com/(workers|pages|d1|api/resources)/\S+/")
OURS = re.compile(r"docs/\S+\.md(?:#[a-z0-9-]+)?")


def imported(path: Path) -> set[str]:
    """Return the modules that a module imports, also those of the tests that these import."""
    names: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or "."}
    own = [ROOT / f"{name.replace('.', '/')}.py" for name in names if name.startswith("tests.")]
    return names.union(*map(imported, own))


def headings(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("reference", REFERENCES)
def test_reference_imports_nothing_of_the_product(reference: str) -> None:
    outside = {"ops", "sandbox", "."}

    assert not [name for name in imported(ROOT / reference) if name.split(".")[0] in outside]


@pytest.mark.parametrize("reference", REFERENCES)
def test_each_rule_of_the_reference_names_an_existing_page(reference: str) -> None:
    judge = next(n for n in parsed(ROOT / reference).body if isinstance(n, ast.ClassDef) and n.name.endswith("Judge"))
    rules = [n for n in judge.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")]
    texts = {rule.name: ast.get_docstring(rule) or "" for rule in rules}

    assert len(rules) >= 8
    assert [name for name, text in texts.items() if not CLOUDFLARE.search(text) and not OURS.search(text)] == []
    for place in {place for text in texts.values() for place in OURS.findall(text)}:
        page, _, anchor = place.partition("#")
        assert not anchor or anchor in headings(ROOT / page), place
        assert (ROOT / page).is_file(), place
