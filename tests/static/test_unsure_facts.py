"""Each fact that no page of a provider states has a row in the table of assumptions.

`[unsure: ROW]` in code and decisions, `<!-- unsure: ROW -->` in pages for people.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.platform.measurements import read_assumptions

ROOT = Path(__file__).parents[2]
FOLDERS = ("ops", "sandbox", "docs", "templates", "examples")
KINDS = {".py", ".md", ".yml", ".js", ".toml"}
TABLES = {"ops/platform/assumptions.toml", "sandbox/switches.py", "docs/reference/platform-assumptions.md"}
"""Each row and each switch has a source or reason of its own."""
GENERATED = {"docs/reference/sandbox.md"}
MARK = re.compile(r"\bunsure: ([a-z0-9-]+)(?:\]| -->)")
DOUBT = re.compile(
    r"\[unsure\b(?!\] if)|\bunsure[,:] |\bis unsure\b|\bundocumented\b|\bnot documented\b|\bnothing is documented\b"
    r"|\b(?:nobody|neither|cloudflare|github|slack|instatus|statuspage) documents? (?:no|none|neither|how)\b"
    r"|\bdocuments no \w+|\bdo(?:es)? not document\b|\bno (?:page|report) (?:says|names|of it)\b|\bno [a-z ]*(?:is|are) documented\b",
    re.IGNORECASE,
)
WORDS = ("unsure", "document", "no page", "no report")
"""One of them is in each doubt. The pattern takes 2 s on all lines."""
NEAR = 3
"""Lines between a doubt and its mark, at most."""


def texts() -> Iterator[tuple[str, str]]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            name = path.relative_to(ROOT).as_posix()
            if (
                path.suffix in KINDS
                and not re.search(r"(^|/)(\.|__pycache__)", name)
                and name not in TABLES | GENERATED
            ):
                yield name, path.read_text()


def unmarked(text: str) -> list[int]:
    """Return the lines with a doubt that have no mark near them."""
    lines = text.splitlines()
    marked = {number for number, line in enumerate(lines) if MARK.search(line)}
    possible = [number for number, line in enumerate(lines) if any(word in line.lower() for word in WORDS)]
    doubtful = [number for number in possible if DOUBT.search(lines[number])]
    return [number + 1 for number in doubtful if not any(abs(number - each) <= NEAR for each in marked)]


def test_each_unsure_fact_names_its_row() -> None:
    found = {name: lines for name, text in texts() if (lines := unmarked(text))}

    assert found == {}, "add a row to ops/platform/assumptions.toml, and `[unsure: ROW]` beside the fact"


def test_each_named_row_exists() -> None:
    rows = {each.id for each in read_assumptions()}

    unknown = {(name, row) for name, text in texts() for row in MARK.findall(text) if row not in rows}
    assert unknown == set()


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("# the answer is not documented", [1]),
        ("# Cloudflare documents no code", [1]),
        ("# no page says it", [1]),
        ("# GitHub does not document it", [1]),
        ("# the answer is not documented\n# [unsure: error-codes]", []),
        ("# the answer is not documented\n\n\n\n\n# [unsure: error-codes]", [1]),
        ("# [unsure]", [1]),
        ("# the answer is documented", []),
    ],
)
def test_doubts_without_a_mark_are_found(text: str, lines: list[int]) -> None:
    assert unmarked(text) == lines
