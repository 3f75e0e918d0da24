"""The tables of docs/how-to/ that say which release a rollback goes to, read as cases."""

import re
from typing import NamedTuple

from tests.conftest import ROOT


class Case(NamedTuple):
    happened: str
    history: str
    press: str
    answer: str


def named_histories(page: str) -> list[Case]:
    """The rows of the last table of that page of docs/how-to/, without their backquotes."""
    text = (ROOT / "docs" / "how-to" / page).read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) *\|$", text.partition("| Answer |\n")[2], re.MULTILINE)
    return [Case(*(cell.strip(" `") for cell in row.split("|"))) for row in rows]
