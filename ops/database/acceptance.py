"""Losses that a migration or down file accepts: `-- backout: accepts orders, users`.

The file is reviewed with its statements, so that a person decides about each table that loses rows.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ops.cloudflare.types.d1 import quote_identifier
from ops.core.errors import Reason, Refused
from ops.core.names import did_you_mean, join_sentences, quote_name
from ops.core.sql import fold_name
from ops.database.losses import QUOTED_OR_COMMENT, LossCounts, RowLoss, describe_losses, without_comments

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
    accepted = tuple(dict.fromkeys(_read_names(file, text)))
    known, words = {each.table for each in losses}, set(_WORD.findall(fold_name(without_comments(text))))
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
            line = ", ".join(map(_write_name, dict.fromkeys(loss.table for loss in each.unaccepted)))
            hints.append(f"To accept the loss, add this line to {file}: `-- backout: accepts {line}`.")
    if problems:
        keep = "Correct the file so that it keeps them." if hints else "Correct the comment."
        raise Refused(
            join_sentences(*problems),
            reason=Reason.MIGRATION_LOSES,
            hint=" ".join(filter(None, (keep, *hints, remedy))),
        )


def _read_names(file: str, text: str) -> Iterator[str]:
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


def _write_name(name: str) -> str:
    return quote_identifier(name) if "," in name or name.startswith('"') or name != name.strip() else name
