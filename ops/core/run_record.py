"""The hidden record at the end of our comments, and the records of earlier runs on an incident.

Anybody who may comment can write one too. So a record is display and report data, trusted only from an author who may
write here, and never a reason to act. It holds no mention and nothing that could end the HTML comment around it.
"""

import hashlib
import json
import re
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from ops.core.errors import current_decision_name

VERSION = 1
LONGEST = 4000
"""In bytes, all of it: notifications by mail show it as it is."""
LONGEST_TEXT = 160
MOST_ROWS = 100
"""More never fit: a row's moment alone takes forty bytes."""
RUN_ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
MINOR = {"probed", "prepared", "compared", "confirmed", "warning"}
"""Rows that go first where not all fit; the visible table has them."""

ENDED = "ended"
"""The row whose text is the decision."""

_BLOCK = re.compile(r"<!-- backout:v1 (\{[^<>&@]*\}) -->\s*\Z")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?')
_ESCAPED = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&@-"})


@dataclass(frozen=True)
class RecordRow:
    at: datetime
    kind: str
    text: str


@dataclass(frozen=True)
class RunRecord:
    """`part` 2 is the comment that took the older rows. `source`: run, laptop, note, gate, report, evidence or leak."""

    run: str
    part: int = 1
    source: str = "run"
    runbook: str = ""
    environment: str = ""
    service: str = ""
    decision: str = ""
    reason: str = ""
    durations: Mapping[str, float | None] = field(default_factory=dict)
    versions: tuple[tuple[str, str, str], ...] = ()
    """What was changed: target, before, after."""
    rows: tuple[RecordRow, ...] = ()
    program: str = ""
    """The version of this program."""
    digest: str = ""


def parse_job_run(run: str) -> tuple[int, int] | None:
    """Number and attempt of GitHub's run, with which the id of a run begins that was a job; None for a laptop's."""
    found = re.fullmatch(r"([0-9]{1,20})\.([0-9]{1,5})-[0-9a-f]{4}", run)
    return (int(found[1]), int(found[2])) if found else None


def embed_record(text: str, block: RunRecord) -> str:
    """The text with its block, which tells later whether either was edited."""
    block = _shrunk(replace(block, digest=""))
    return f"{text.rstrip()}\n\n{_written(replace(block, digest=_digest(text, block)))}\n"


def replace_visible_text(body: str, change: Callable[[str], str]) -> str:
    """A sealed text with its visible part changed."""
    block = read_record(body)
    return body if block is None else embed_record(change(_BLOCK.sub("", body)), block)


def read_record(body: str) -> RunRecord | None:
    """Return the block at the end of the text, in today's names; None if there is no whole one. Never raises."""
    block = _read(body)
    return None if block is None else _in_current_names(block)


def _in_current_names(block: RunRecord) -> RunRecord:
    rows = tuple(replace(row, text=current_decision_name(row.text)) if row.kind == ENDED else row for row in block.rows)
    return replace(block, decision=current_decision_name(block.decision), rows=rows)


def _read(body: str) -> RunRecord | None:
    """Return the block as it was written; its digest covers that."""
    found = _BLOCK.search(body or "")
    if found is None or len(found[0]) > LONGEST + 100:
        return None
    try:
        data = json.loads(found[1], parse_constant=_refuse)
        return _block(data) if data["v"] == VERSION else None
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def is_edited(body: str) -> bool:
    """Whether somebody changed the comment since it was written. It finds what was not meant to be hidden."""
    block = _read(body)
    return block is not None and _digest(_BLOCK.sub("", body), replace(block, digest="")) != block.digest


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _written(block: RunRecord) -> str:
    plain = json.dumps(_json(block), separators=(",", ":"), allow_nan=False)
    # Only inside strings: a minus sign of a number is JSON, and alone it ends nothing.
    return f"<!-- backout:v1 {_STRING.sub(lambda found: found[0].translate(_ESCAPED), plain)} -->"


def _digest(text: str, block: RunRecord) -> str:
    """Over what is shown and what is hidden, whatever became of the ends of lines on the way."""
    shown = "\n".join(line.rstrip() for line in text.strip().splitlines())
    whole = json.dumps([shown, _json(block)], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def _shrunk(block: RunRecord) -> RunRecord:
    """Texts are cut; then minor rows go, then those after the first, then what was changed."""
    rows = tuple(replace(row, text=row.text[:LONGEST_TEXT]) for row in block.rows)
    versions = tuple((a[:LONGEST_TEXT], b[:LONGEST_TEXT], c[:LONGEST_TEXT]) for a, b, c in block.versions)
    names = {name: getattr(block, name)[:100] for name in ("runbook", "environment", "service", "decision", "reason")}
    block = replace(block, rows=rows, versions=versions, **names)
    order = _order(rows)
    few = max(0, len(order) - MOST_ROWS)
    count = bisect_left(range(len(order)), x=True, lo=few, key=lambda count: _fits(_without(block, order[:count])))
    block = _without(block, order[:count])
    while block.versions and not _fits(block):
        block = replace(block, versions=block.versions[:-1])
    return block


def _order(rows: tuple[RecordRow, ...]) -> list[int]:
    """The numbers of the rows, those that can be missed first: the minor ones, then those after the first."""
    minor = [number for number, row in enumerate(rows) if row.kind in MINOR]
    major = [number for number, row in enumerate(rows) if row.kind not in MINOR]
    return [*minor, *major[1:], *major[:1]]


def _without(block: RunRecord, gone: list[int]) -> RunRecord:
    numbers = set(gone)
    return replace(block, rows=tuple(row for number, row in enumerate(block.rows) if number not in numbers))


def _fits(block: RunRecord) -> bool:
    return len(_written(block)) <= LONGEST


def _json(block: RunRecord) -> dict[str, Any]:
    rows = [[row.at.astimezone(UTC).isoformat(timespec="seconds"), row.kind, row.text] for row in block.rows]
    durations = {name: None if s is None else round(float(s), 3) for name, s in block.durations.items()}
    fixed = {"v": VERSION, "rows": rows, "durations": durations, "versions": [list(one) for one in block.versions]}
    return {**vars(block), **fixed}


def _block(data: Mapping[str, Any]) -> RunRecord:
    if not re.fullmatch(RUN_ID_PATTERN, data["run"]):
        raise ValueError("no run")
    names = ("run", "source", "runbook", "environment", "service", "decision", "reason", "program", "digest")
    return RunRecord(
        **{name: _text(data[name]) for name in names},
        part=2 if data["part"] == 2 else 1,
        durations={_text(name): _seconds(value) for name, value in data["durations"].items()},
        versions=tuple((_text(a), _text(b), _text(c)) for a, b, c in data["versions"]),
        rows=tuple(_row(row) for row in data["rows"]),
    )


def _row(row: Sequence[Any]) -> RecordRow:
    at, kind, text = row
    moment = datetime.fromisoformat(at)
    return RecordRow(
        (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC), _text(kind), _text(text)
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _seconds(value: Any) -> float | None:
    return None if value is None else float(value)


_UPLOADED = re.compile(r"version ([0-9a-f]{8}-[0-9a-f-]{27}), not deployed")


@dataclass(frozen=True)
class PreviousRuns:
    """Empty if there is no incident, or GitHub did not answer in time. At most it makes a run stricter."""

    runs: tuple[RunRecord, ...] = ()
    """Oldest first."""
    opened_at: datetime | None = None

    @property
    def uploads(self) -> frozenset[str]:
        """Return the Worker versions that these runs uploaded."""
        written = (row.text for run in self.runs for row in run.rows if row.kind == "written")
        return frozenset(found[1] for text in written if (found := _UPLOADED.match(text)))
