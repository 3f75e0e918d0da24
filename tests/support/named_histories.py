"""Tables of releases and the target of a rollback, read as test cases."""

import re
from typing import NamedTuple

from tests.conftest import ROOT


class HistoryCase(NamedTuple):
    happened: str
    history: str
    press: str
    answer: str


def named_histories(runbook: str) -> list[HistoryCase]:
    """Return the rows of the runbook's page, and those only for tests."""
    pages = [ROOT / "docs" / "how-to", ROOT / "tests" / "runbooks" / "histories"]
    texts = [(folder / f"{runbook}.md").read_text(encoding="utf-8").partition("| Answer |\n")[2] for folder in pages]
    rows = [row for text in texts for row in re.findall(r"^\| (.+?) *\|$", text, re.MULTILINE) if "---" not in row]
    return [case([cell.strip() for cell in row.split("|")]) for row in rows]


def case(cells: list[str]) -> HistoryCase:
    """Return a row as a case. On a page of the docs, options follow the history, for narrow screens."""
    if len(cells) == 3:
        history, _, options = cells[1].partition(", ")
        cells = [cells[0], history, options, cells[2]]
    return HistoryCase(*(cell.strip("`") for cell in cells))
