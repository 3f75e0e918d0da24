"""Action items of a report: the rows of the table under *Prevention*, and the state of each.

People write the table. A row is known by the issue that it links; without a link, by a digest of its action.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ops.core.names import count_of

PREVENTION = "## Prevention"
PLACEHOLDER = "_TODO_"
"""Placeholder for text that a person must write."""
ISSUE = "issue"
"""Name of the column with the links. Without it, a link may stand in the last column, and none is written."""
MAX_CELL = 4000
"""Characters of a cell that are read."""
MAX_OWNERS = 10
"""GitHub assigns no more people to an issue (docs.github.com/rest/issues/assignees)."""
_RULE = re.compile(r"\|[\s|:-]+\|?")
_BORDER = re.compile(r"(?<!\\)\|")
"""A pipe between two cells. One after a backslash is part of a text."""
_LINK = re.compile(r"(?<![\w/.-])(?:(?:https://[^/\s]+/)?([\w.-]+/[\w.-]+))?(?:#|/issues/)([1-9][0-9]{0,9})\b")
"""Its repository, if it names one, and the number of its issue."""
_DONE = re.compile(r"done|\[x\].*|~~.*~~", re.IGNORECASE)
_LOGIN = re.compile(r"@?([A-Za-z0-9][A-Za-z0-9-]{0,38})", re.ASCII)


class ItemState(StrEnum):
    OPEN = "open"
    CLOSED = "closed"
    """Its issue is closed."""
    DONE = "done"
    """The row itself says so."""
    NO_ISSUE = "no issue"
    ELSEWHERE = "elsewhere"
    """The row links something else than an issue of this repository, whose state is not read."""
    MISSING = "missing"
    """The linked issue does not exist."""
    UNREAD = "unread"
    """The state of the linked issue could not be read."""
    DUPLICATE = "duplicate"
    """Another row has the same action or issue. It does not count."""
    UNCLEAR = "unclear"
    """GitHub did not say whether it created the issue."""
    HELD = "held"
    """No issue was created, because the row may be another one that was renamed."""


@dataclass(frozen=True)
class ActionItem:
    """A written row. Its texts are untrusted."""

    text: str
    issue: int | None
    """Issue of the same repository that the row links; None without one."""
    is_done: bool
    """Whether the row itself says so: a cell `done` or `[x]`, or a text that is struck through."""
    kind: str = ""
    owner: str = ""
    due: str = ""
    elsewhere: str = ""
    """Text in place of a link to an issue of the same repository."""

    @property
    def key(self) -> str:
        """Return a digest of the action, without case and spaces."""
        return hashlib.sha256(" ".join(self.text.casefold().split()).encode(errors="replace")).hexdigest()[:12]

    @property
    def logins(self) -> tuple[str, ...]:
        """Return the owners if they may be logins of GitHub; empty if one cannot be, or if they are too many."""
        names = [name.strip() for name in self.owner.split(",", MAX_OWNERS)]
        matches = [_LOGIN.fullmatch(name) for name in names]
        return tuple(match[1] for match in matches if match) if all(matches) else ()


@dataclass(frozen=True)
class TrackedItem:
    """A row with the state of its issue."""

    item: ActionItem
    state: ItemState
    issue: int | None = None
    note: str = ""
    """What a person must know or do; empty if nothing."""

    @property
    def is_open(self) -> bool:
        return self.state not in {ItemState.CLOSED, ItemState.DONE, ItemState.DUPLICATE}

    def to_json(self) -> dict[str, Any]:
        item = self.item
        named = {"action": item.text, "type": item.kind, "owner": item.owner, "due": item.due}
        return {**named, "issue": self.issue, "state": self.state.value, "open": self.is_open, "note": self.note}


def find_action_items(body: str, repository: str) -> list[ActionItem] | None:
    """Return the rows that people wrote; None if the table or its heading is gone.

    A row with a placeholder is not written yet.
    """
    table = _ItemTable.find(body)
    return None if table is None else [item for _, item in table.items(repository)]


def track_items(items: Sequence[ActionItem], states: Mapping[int, ItemState]) -> tuple[TrackedItem, ...]:
    """Return the rows with the state of their issues: the one rule for what is open. `states`: those that were read."""
    linked = {item.key for item in items if item.issue}
    seen = Counter[str | int]()
    tracked = []
    for item in items:
        name = item.issue or item.key
        is_copy = seen[name] > 0 or (item.issue is None and item.key in linked)
        seen[name] += 1
        if is_copy:
            note = "another row has the same action or issue: change or delete one of the two"
            tracked.append(TrackedItem(item, ItemState.DUPLICATE, item.issue, note))
        else:
            tracked.append(
                TrackedItem(item, _find_action_state(item, states), item.issue, _describe_action_state(item, states))
            )
    return tuple(tracked)


def _find_action_state(item: ActionItem, states: Mapping[int, ItemState]) -> ItemState:
    if item.is_done:
        return ItemState.DONE
    if item.issue:
        return states.get(item.issue, ItemState.UNREAD)
    return ItemState.ELSEWHERE if item.elsewhere else ItemState.NO_ISSUE


def _describe_action_state(item: ActionItem, states: Mapping[int, ItemState]) -> str:
    return {
        ItemState.ELSEWHERE: f"tracked elsewhere ({item.elsewhere[:60]}): write done into the row when it is",
        ItemState.MISSING: f"#{item.issue} does not exist: delete the link for a new issue, or correct it",
        ItemState.UNREAD: f"#{item.issue} could not be read",
    }.get(_find_action_state(item, states), "")


def count_open(tracked: Sequence[TrackedItem]) -> int:
    return sum(each.is_open for each in tracked)


def describe_item_count(tracked: Sequence[TrackedItem]) -> str:
    """Return how many items are open, of how many."""
    counted = [each for each in tracked if each.state != ItemState.DUPLICATE]
    return f"{count_open(tracked)} of {count_of(len(counted), 'action item')} open"


def link_item_rows(body: str, numbers: Mapping[str, int]) -> tuple[str, frozenset[str]]:
    """Write the issues into the rows of these keys that link nothing. Return the text, and the keys of those rows."""
    lines, table = body.replace("\r\n", "\n").split("\n"), _ItemTable.find(body)
    linked = set[str]()
    for at, item in table.items("") if table and ISSUE in table.names else ():
        if table and item.key in numbers.keys() - linked and item.issue is None and not item.elsewhere:
            lines[at] = table.with_link(lines[at], numbers[item.key])
            linked.add(item.key)
    return ("\n".join(lines), frozenset(linked)) if linked else (body, frozenset())


@dataclass(frozen=True)
class _ItemTable:
    """The table under *Prevention*: names of its columns, and number and text of each line."""

    names: tuple[str, ...]
    rows: tuple[tuple[int, str], ...]

    @classmethod
    def find(cls, body: str) -> "_ItemTable | None":
        lines = body.replace("\r\n", "\n").split("\n")
        start = next((at + 1 for at, line in enumerate(lines) if at and line == PREVENTION), None)
        if start is None:
            return None
        end = next((at for at in range(start, len(lines)) if lines[at].startswith("## ")), len(lines))
        rows = [(at, lines[at]) for at in range(start, end) if lines[at].startswith("|")]
        rule = next((number for number, (_, row) in enumerate(rows) if _RULE.fullmatch(row.strip())), None)
        if rule is None:
            return None
        names = [name.casefold() for name in _read_item_cells(rows[rule - 1][1])] if rule else []
        return cls(tuple(names), tuple(rows[rule + 1 :]))

    def items(self, repository: str) -> Iterator[tuple[int, ActionItem]]:
        """Yield line number and item of each written row."""
        for at, row in self.rows:
            cells = _read_item_cells(row)
            text = self._action_cell(cells, "action", 0)
            if PLACEHOLDER not in row and text and not _RULE.fullmatch(row.strip()):
                yield at, self._parse_action_row(text, cells, repository)

    def _parse_action_row(self, text: str, cells: Sequence[str], repository: str) -> ActionItem:
        target = self._action_cell(cells, ISSUE, len(cells) - 1) if len(cells) > 1 else ""
        link = _LINK.search(target)
        is_own = link and (link[1] or repository).lower() == repository.lower()
        is_done = any(map(_DONE.fullmatch, cells))
        return ActionItem(
            text,
            int(link[2]) if link and is_own else None,
            is_done,
            self._action_cell(cells, "type"),
            self._action_cell(cells, "owner"),
            self._action_cell(cells, "due"),
            "" if is_own or _DONE.fullmatch(target) or ISSUE not in self.names else target,
        )

    def _action_cell(self, cells: Sequence[str], name: str, default: int | None = None) -> str:
        at = self.names.index(name) if name in self.names else default
        return cells[at] if at is not None and at < len(cells) else ""

    def with_link(self, row: str, number: int) -> str:
        """Return the row with a link in its column *issue*."""
        parts = _split_item_row(row)
        parts += [" "] * (len(self.names) - len(parts))
        parts[self.names.index(ISSUE)] = f" #{number} "
        return f"|{'|'.join(parts)}|"


def _read_item_cells(row: str) -> list[str]:
    """Return the texts of the cells."""
    return [part.strip().replace("\\|", "|")[:MAX_CELL] for part in _split_item_row(row)]


def _split_item_row(row: str) -> list[str]:
    parts = _BORDER.split(row.strip())[1:]
    return parts if not parts or parts[-1].strip() else parts[:-1]
