"""Action items of a report: the rows of the table under *Prevention*."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

PREVENTION = "## Prevention"
PLACEHOLDER = "_TODO_"
"""Placeholder for text that a person must write."""
_RULE = re.compile(r"\|[\s|:-]+\|?")
_LINK = re.compile(r"(?<![\w/.-])(?:(?:https://[^/\s]+/)?([\w.-]+/[\w.-]+))?(?:#|/issues/)([1-9][0-9]{0,9})\b")
"""Its repository, if it names one, and the number of its issue."""
_DONE = re.compile(r"done|\[x\].*|~~.*~~", re.IGNORECASE)


@dataclass(frozen=True)
class ActionItem:
    """A written row. Its text is untrusted."""

    text: str
    issue: int | None
    """Issue of the same repository that the row links; None without one."""
    is_done: bool
    """Whether the row itself says so: a cell `done` or `[x]`, or a text that is struck through."""


def find_action_items(body: str, repository: str) -> list[ActionItem] | None:
    """Return the rows that people wrote; None if the table or its heading is gone.

    A row with a placeholder is not written yet.
    """
    _, _, section = body.replace("\r\n", "\n").partition(f"\n{PREVENTION}\n")
    rows = [line for line in section.partition("\n## ")[0].split("\n") if line.startswith("|")]
    rule = next((at for at, row in enumerate(rows) if _RULE.fullmatch(row.strip())), None)
    return None if rule is None else [*_parse_rows(rows[rule + 1 :], repository)]


def _parse_rows(rows: list[str], repository: str) -> Iterator[ActionItem]:
    for row in rows:
        cells = [cell.strip() for cell in row.strip().strip("|").split("|")]
        if PLACEHOLDER in row or not cells[0]:
            continue
        link = _LINK.search(cells[-1]) if len(cells) > 1 else None
        is_own = link and (link[1] or repository).lower() == repository.lower()
        yield ActionItem(cells[0], int(link[2]) if link and is_own else None, any(map(_DONE.fullmatch, cells)))
