"""Losses of a change: rows and values that a database had before it, and their acceptance.

One model for `hold migrate`, `revert-migration` and `restore-database`. A migration or down file accepts losses with
`-- backout: accepts orders, users`. The file is reviewed with its statements, so that a person decides about each table
that loses rows.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from ops.cloudflare.types.d1 import quote_identifier
from ops.core.errors import Reason, Refused
from ops.core.names import count_of, did_you_mean, join_sentences, quote_name
from ops.core.sql import QUOTED_OR_COMMENT, fold_name, without_sql_comments

SHOWN = 1000
"""Characters of a statement from which a message quotes the start."""
SHOWN_LOSSES = 20
"""Losses that a message names at most."""


class Effect(StrEnum):
    """What happens to the rows of a table."""

    DELETED = "deleted"
    CHANGED = "changed"
    REPLACED = "replaced"
    """A new row takes the place of each row with an equal key."""
    REMOVED = "removed"
    """The values of a column."""


_DELETING = (Effect.DELETED, Effect.REPLACED)


@dataclass(frozen=True)
class Affected:
    """Rows of a table, as the database has them before the change."""

    table: str
    """Name in the database."""
    where: str = ""
    """Condition in SQL; empty for all rows."""
    alias: str = ""
    is_bound: bool = False
    """Whether fewer of these rows may be lost, such as if a row has the new value already."""


@dataclass(frozen=True)
class RowLoss:
    """An effect of a transaction on a table from before it: rows, values, a column or the table may be lost."""

    table: str
    """Name before the transaction."""
    origin: str
    """Name in the database of the copy; empty if an earlier transaction on the copy made the table."""
    statement: int
    """Number within the transaction, from 1."""
    effect: Effect
    sql: str
    """Start of the statement, on one line; empty for the whole transaction."""
    by: str = ""
    """Such as `by a foreign key`."""
    column: str = ""
    """Removed column; empty for another loss."""
    affected: Affected | None = None
    """None if nobody can tell which rows."""
    key: str = ""
    """Column whose numbers new rows get again if the highest one is deleted; empty if there is none."""
    is_kept: bool = True
    """Whether the table, or another one of its name, exists after the transaction."""


@dataclass(frozen=True)
class LossCounts:
    """Rows of a database before a change."""

    tables: Mapping[str, int | None]
    """Table → number of its rows; None if it was not counted."""
    affected: Mapping[Affected, int]
    """Counted rows that a change affects."""
    highest: frozenset[Affected] = frozenset()
    """Rows among which is the one with the highest number of its table."""

    def find(self, loss: RowLoss) -> int | None:
        """Return how many rows a loss affects at most; None if it is unknown."""
        if loss.affected is None:
            return None
        return self.affected.get(loss.affected, None if loss.affected.where else self.tables.get(loss.origin))

    def reuses_ids(self, loss: RowLoss) -> bool:
        """Return whether new rows get ids of deleted rows."""
        if not loss.key or not loss.is_kept or loss.effect != Effect.DELETED or loss.affected is None:
            return False
        return loss.affected in self.highest or (not loss.affected.where and bool(self.find(loss)))

    def find_most(self, losses: Sequence[RowLoss], table: str) -> int | None:
        """Return the greatest number of rows of a table that are lost; None if it is unknown."""
        total = self.tables.get(table)
        counts = [self.find(each) for each in losses if each.origin == table]
        known = [count for count in counts if count is not None]
        if len(known) < len(counts):
            return total
        return sum(known) if total is None else min(total, sum(known))

    def find_deleted(self, losses: Sequence[RowLoss], table: str) -> int | None:
        """Return how many rows of a table are deleted; None if that is unknown, or at most a number is known."""
        deleting = [each for each in losses if each.origin == table and each.effect in _DELETING]
        counts = [self.find(each) for each in deleting if each.affected and not each.affected.is_bound]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(deleting) else None


def describe_losses(losses: Sequence[RowLoss], counts: LossCounts) -> Iterator[str]:
    """Yield a text for each statement that loses something: per table how many of how many rows."""
    for (number, sql), group in groupby(losses[:SHOWN_LOSSES], lambda each: (each.statement, each.sql)):
        texts = ", ".join(dict.fromkeys(_describe_row_loss(each, counts) for each in group))
        yield f"{texts} ({f'statement {number}: {sql}' if sql else 'whole file'})"
    if len(losses) > SHOWN_LOSSES:
        yield f"{len(losses) - SHOWN_LOSSES} more losses"


def _describe_row_loss(loss: RowLoss, counts: LossCounts) -> str:
    table, total = quote_name(loss.table), counts.tables.get(loss.origin)
    how_many = describe_share(counts.find(loss), total, is_bound=bool(loss.affected and loss.affected.is_bound))
    by = f" {loss.by}" if loss.by else ""
    if loss.column:
        return f"{table}: column {quote_name(loss.column)} removed{by}, with the values of {how_many}"
    reuse = " (new rows reuse ids)" if counts.reuses_ids(loss) else ""
    return f"{table}: {how_many} {loss.effect}{by}{reuse}"


def describe_share(count: int | None, total: int | None, *, is_bound: bool = False) -> str:
    """Return such as `12 of 40 rows`."""
    if count is None:
        return f"an unknown number of {'rows' if total is None else count_of(total, 'row')}"
    most = "at most " if is_bound and count else ""
    return f"{most}{count_of(count, 'row')}" if total is None else f"{most}{count} of {count_of(total, 'row')}"


def shorten_statement(sql: str) -> str:
    """Return a statement on one line, without comments and its semicolon; at most the start of a long one."""
    return " ".join(without_sql_comments(sql).split())[:SHOWN].rstrip("; ")


_MARKED = re.compile(r"--\s*backout\s*:(?P<words>.*)", re.IGNORECASE)
_NAME = re.compile(r'(?<![^,])\s*+(?:"(?P<quoted>(?:[^"]|"")++)"\s*+|(?P<plain>[^",][^,]*+))(?:,|\Z)')
"""Name of a table in a list with commas; a name with a comma, or that begins with a quote, is quoted as in SQL."""
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class FileLosses:
    """Losses of one file, and what it accepts."""

    file: str
    losses: tuple[RowLoss, ...]
    accepted: tuple[str, ...] = ()
    """Names of tables, as the file is written."""
    wrong: tuple[str, ...] = ()
    """Accepted names that neither lose rows nor occur in a statement."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the tables that lose something."""
        return tuple(dict.fromkeys(each.table for each in self.losses))

    @property
    def unaccepted(self) -> tuple[RowLoss, ...]:
        return tuple(each for each in self.losses if each.table not in self.accepted)


def read_losses(file: str, text: str, losses: Sequence[RowLoss]) -> FileLosses:
    """Return the losses of a file with what its comments accept. Raises Refused for a comment that is not understood.

    A name that occurs in a statement is no mistake: `DROP TABLE IF EXISTS` loses nothing where there is no such table.
    """
    accepted = tuple(dict.fromkeys(_read_accepted_losses(file, text)))
    known, words = {each.table for each in losses}, set(_WORD.findall(fold_name(without_sql_comments(text))))
    wrong = [
        each for each in accepted if each not in known and not words.issuperset(_WORD.findall(fold_name(each)) or "?")
    ]
    return FileLosses(file, tuple(losses), accepted, tuple(wrong))


def refuse_losses(files: Sequence[FileLosses], counts: LossCounts, *, remedy: str = "") -> None:
    """Raise Refused if a file loses what it does not accept, or accepts a table that it does not know.

    `remedy` ends the hint.
    """
    problems, hints = list[str](), list[str]()
    for each in files:
        file = quote_name(each.file)
        for name in each.wrong:
            known = did_you_mean(name, each.tables) if each.tables else ", and it loses nothing"
            problems.append(f"{file} accepts a loss of {quote_name(name)}, and no statement names that table{known}")
        if each.unaccepted:
            listed = "; ".join(describe_losses(each.unaccepted, counts))
            problems.append(f"{file} loses rows or values, and does not accept it: {listed}")
            line = ", ".join(map(_quote_accepted_loss, dict.fromkeys(loss.table for loss in each.unaccepted)))
            hints.append(f"To accept the loss, add this line to {file}: `-- backout: accepts {line}`.")
    if problems:
        keep = "Correct the file so that it keeps them." if hints else "Correct the comment."
        raise Refused(
            join_sentences(*problems),
            reason=Reason.MIGRATION_LOSES,
            hint=" ".join(filter(None, (keep, *hints, remedy))),
        )


def _read_accepted_losses(file: str, text: str) -> Iterator[str]:
    """Yield the accepted names. Raises Refused for a comment of Backout's that is not understood."""
    for part in QUOTED_OR_COMMENT.finditer(text):
        if marked := _MARKED.match(part[0]):
            verb, names = "", list[str]()
            if words := marked["words"].split(maxsplit=1):
                verb, names = words[0], list(_split_names("".join(words[1:]).rstrip()))
            if verb != "accepts" or not names:
                raise Refused(
                    f"{quote_name(file)} has a comment that is not understood: {quote_name(part[0].strip())}",
                    reason=Reason.MIGRATION_LOSES,
                    hint="Write `-- backout: accepts TABLE`, with commas between several tables.",
                )
            yield from names


def _split_names(text: str) -> Iterator[str]:
    """Yield the names of a list; none if it is malformed."""
    names, end = list[str](), 0
    while name := _NAME.match(text, end):
        names.append(name["quoted"].replace('""', '"') if name["quoted"] else name["plain"].rstrip())
        end = name.end()
    if end == len(text) and all(names) and not text.endswith(","):
        yield from names


def _quote_accepted_loss(name: str) -> str:
    return quote_identifier(name) if "," in name or name.startswith('"') or name != name.strip() else name
