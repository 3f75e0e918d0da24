"""Parse and write the mark with the migrations of a D1 database, in a deployment's message.

`ops-schema1 db=ID last=NAME|- applied=NAME,NAME|- bookmark=BOOKMARK|-`, anywhere in the message, once per database. The
guard writes it, and so can everyone who may deploy: it may add a warning or a refusal, and never a target.
"""

import re
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

MAX_BYTES = 700
"""Longest mark; a message holds 1000 bytes, with the team's own text."""
MAX_MARKS = 10
"""Marks that are read of one message."""
OTHERS = "*"
"""Replaces the names that did not fit."""
_PATTERN = re.compile(
    r"(?<!\S)ops-schema1 db=(?P<database>[0-9a-f-]{36}) last=(?P<last>\S{1,800}) applied=(?P<applied>\S{1,900})"
    r" bookmark=(?P<bookmark>[0-9a-f-]{1,80})(?!\S)"
)


@dataclass(frozen=True)
class SchemaMark:
    database: str
    """Id of the database."""
    last: str
    """Migration that was applied last; empty before the first one."""
    applied: tuple[str, ...] = ()
    """Migrations that were applied for this deployment, in order. `OTHERS`: more did not fit."""
    bookmark: str = ""
    """State before they were applied; for people, never a target of a run."""

    def __str__(self) -> str:
        head = f"ops-schema1 db={self.database} last={_escape(self.last) or '-'} applied="
        tail = f" bookmark={self.bookmark or '-'}"
        names = list(_fitting(self.applied, MAX_BYTES - len(head) - len(tail)))
        return f"{head}{','.join(names) or '-'}{tail}"


@dataclass(frozen=True)
class CodeAge:
    """When the code of a version was uploaded, and the schema marks around it."""

    uploaded_at: datetime | None
    """First upload of the same code; None if Cloudflare does not say so."""
    own: tuple[SchemaMark, ...] = ()
    """Marks of the versions and deployments with this code."""
    later: tuple[SchemaMark, ...] = ()
    """Marks of code that was uploaded after it, oldest first."""


def parse_schema_marks(message: str) -> tuple[SchemaMark, ...]:
    """Return the schema marks of a version's or deployment's message."""
    found = (_mark(each) for each in islice(_PATTERN.finditer(message), MAX_MARKS))
    return tuple(mark for mark in found if all(name.isprintable() for name in (mark.last, *mark.applied)))


def without_schema_marks(message: str) -> str:
    """Return the message without its schema marks, for people."""
    return _PATTERN.sub("", message).rstrip()


def _mark(found: re.Match[str]) -> SchemaMark:
    applied = "" if found["applied"] == "-" else found["applied"]
    return SchemaMark(
        database=found["database"],
        last="" if found["last"] == "-" else urllib.parse.unquote(found["last"]),
        applied=tuple(urllib.parse.unquote(name) for name in applied.split(",") if name),
        bookmark="" if found["bookmark"] == "-" else found["bookmark"],
    )


def _escape(name: str) -> str:
    return urllib.parse.quote(name, safe="*" if name == OTHERS else "/")


def _fitting(names: Sequence[str], size: int) -> Iterator[str]:
    """Yield escaped names that fit. A name is never cut, since that would name another migration."""
    left = size - len(f",{OTHERS}")
    for name in names:
        left -= len(f",{_escape(name)}")
        if left < 0:
            yield OTHERS
            return
        yield _escape(name)
