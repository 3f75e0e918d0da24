"""Parse and write our marks in the message of a deployment: of a run, and of migrations.

At the start of the message:
`ops1 incident=42|- run=ID blames=VERSION|- rotated=A,B|restored=A,B|revoked=A,B|reset=A,B|rehearsed=VERSION; text`.
Everyone who may deploy can write a mark, so it is trusted only if the deployment history confirms it (`history.py`).

`ops-schema1 db=ID last=NAME|- applied=NAME,NAME|- bookmark=BOOKMARK|-`, anywhere in the message, once per database. The
guard writes it, and so can everyone who may deploy: it may add a warning or a refusal, and never a target.
"""

import re
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

AUTOMATIC_STEP = "automatic step after a relapse"
"""Text of the mark that a job writes after a relapse; later steps of the incident are counted by it."""
DRILL_BREAK, DRILL_UNDO = "staging drill: harmless bad version", "staging drill: undo"
"""Texts of the marks of a staging drill: of its bad version, and of the deployment that puts back the former one."""
ON_THE_WORD = "on the word of"
"""Start of the text of a mark that rests on the statement of a person, whose name follows."""
MAX_MESSAGE_BYTES = 1000
"""Cloudflare truncates `workers/message` here (developers.cloudflare.com/api: workers.scripts.deployments.create)."""

PATTERN = re.compile(
    r"ops1 incident=(?P<incident>[0-9]{1,18}|-) run=(?P<run>[A-Za-z0-9._-]+) blames=(?P<blames>[0-9a-f-]{36}|-)"
    r"(?: (?P<what>rotated|restored|revoked|reset|rehearsed)=(?P<names>[^ ;]+))?(?:; (?P<text>.*))?\Z",
    re.DOTALL,
)


ANY_NAME = "*"
"""Replaces the names that did not fit: any name may be meant."""
MAX_SCHEMA_BYTES = 700
"""Longest mark of migrations; a message holds 1000 bytes, with the team's own text."""
MAX_SCHEMA_MARKS = 10
"""Marks of migrations that are read of one message."""
_SCHEMA_PATTERN = re.compile(
    r"(?<!\S)ops-schema1 db=(?P<database>[0-9a-f-]{36}) last=(?P<last>\S{1,800}) applied=(?P<applied>\S{1,900})"
    r" bookmark=(?P<bookmark>[0-9a-f-]{1,80})(?!\S)"
)


@dataclass(frozen=True, slots=True)
class DeploymentMark:
    incident: int | None
    run: str
    blames: str | None
    text: str = ""
    rotated: tuple[str, ...] = ()
    """Secrets with a new value since this deployment. Only one of these five has names."""
    revoked: tuple[str, ...] = ()
    """Secrets whose values before the deployed version are revoked."""
    reset: tuple[str, ...] = ()
    """Durable Object classes whose memory was cleared."""
    rehearsed: str = ""
    """Version that this deployment adds at 0 %, or removes again."""
    restored: tuple[str, ...] = ()
    """Secrets that a person set back to the value from before their rotation."""

    @property
    def keeps_release(self) -> bool:
        """Return whether the deployment concerns only secrets, memory or a rehearsal, not a release."""
        return bool(self.rehearsed or any(names for _, names in self._name_lists))

    @property
    def _name_lists(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        names = ("revoked", "rotated", "restored", "reset")
        return tuple((name, getattr(self, name)) for name in names)

    def __str__(self) -> str:
        head = f"ops1 incident={self.incident or '-'} run={self.run} blames={self.blames or '-'}"
        if self.rehearsed:
            head += f" rehearsed={self.rehearsed}"
        elif what := next(((name, names) for name, names in self._name_lists if names), None):
            head += f" {what[0]}="
            head += ",".join(_escape_fitting_names(what[1], MAX_MESSAGE_BYTES - len(head)))
        text = " ".join(self.text.split()) if len(head) < MAX_MESSAGE_BYTES - len("; ") else ""
        return f"{head}; {text}".encode()[:MAX_MESSAGE_BYTES].decode(errors="ignore") if text else head


def parse_mark(message: str) -> DeploymentMark | None:
    """Parse a deployment message; None if it has no mark of Backout."""
    match = PATTERN.match(message)
    if match is None:
        return None
    incident, blames = match["incident"], match["blames"]
    names = tuple(urllib.parse.unquote(name) for name in (match["names"] or "").split(",") if name)
    return DeploymentMark(
        incident=None if incident == "-" else int(incident),
        run=match["run"],
        blames=None if blames == "-" else blames,
        text=match["text"] or "",
        rehearsed=names[0] if match["what"] == "rehearsed" and names else "",
        **({match["what"]: names} if match["what"] not in {None, "rehearsed"} else {}),
    )


def _escape_fitting_names(names: tuple[str, ...], size: int) -> Iterator[str]:
    """Yield escaped names that fit. A name is never truncated, since that would name another secret."""
    left = size - len(f",{ANY_NAME}")
    for name in names:
        escaped = name if name == ANY_NAME else urllib.parse.quote(name, safe="")
        left -= len(f",{escaped}")
        if left < 0:
            yield ANY_NAME
            return
        yield escaped


@dataclass(frozen=True)
class SchemaMark:
    database: str
    """Id of the database."""
    last: str
    """Migration that was applied last; empty before the first one."""
    applied: tuple[str, ...] = ()
    """Migrations that were applied for this deployment, in order. `ANY_NAME`: more did not fit."""
    bookmark: str = ""
    """State before they were applied; for people, never a target of a run."""

    def __str__(self) -> str:
        head = f"ops-schema1 db={self.database} last={_escape_migration(self.last) or '-'} applied="
        tail = f" bookmark={self.bookmark or '-'}"
        names = list(_escape_fitting_migrations(self.applied, MAX_SCHEMA_BYTES - len(head) - len(tail)))
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
    marks = (_parse_schema_mark(each) for each in islice(_SCHEMA_PATTERN.finditer(message), MAX_SCHEMA_MARKS))
    return tuple(mark for mark in marks if all(name.isprintable() for name in (mark.last, *mark.applied)))


def without_schema_marks(message: str) -> str:
    """Return the message without its schema marks, for people."""
    return _SCHEMA_PATTERN.sub("", message).rstrip()


def _parse_schema_mark(match: re.Match[str]) -> SchemaMark:
    applied = "" if match["applied"] == "-" else match["applied"]
    return SchemaMark(
        database=match["database"],
        last="" if match["last"] == "-" else urllib.parse.unquote(match["last"]),
        applied=tuple(urllib.parse.unquote(name) for name in applied.split(",") if name),
        bookmark="" if match["bookmark"] == "-" else match["bookmark"],
    )


def _escape_migration(name: str) -> str:
    return urllib.parse.quote(name, safe="*" if name == ANY_NAME else "/")


def _escape_fitting_migrations(names: Sequence[str], size: int) -> Iterator[str]:
    """Yield escaped names that fit. A name is never cut, since that would name another migration."""
    left = size - len(f",{ANY_NAME}")
    for name in names:
        left -= len(f",{_escape_migration(name)}")
        if left < 0:
            yield ANY_NAME
            return
        yield _escape_migration(name)
