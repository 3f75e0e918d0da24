"""The hidden record at the end of our comments, and the records of previous runs.

Everyone who can comment can write a record. So it is data for display and reports; `ops.github.records` tells which
one may act. It has no mention and nothing that could end the HTML comment around it.
"""

import hashlib
import json
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import MAXYEAR, MINYEAR, UTC, datetime
from typing import Any

from ops.core.clock import parse_utc
from ops.core.errors import current_decision_name
from ops.core.json_fields import require_object, require_text
from ops.core.version import __version__

RECORD_VERSION = 1
MAX_RECORD_BYTES = 4000
"""Largest record in bytes. E-mail notifications show it as text."""
MAX_TEXT = 160
MAX_ROWS = 100
"""More rows never fit, because the time of a row takes forty bytes."""
MAX_SERIES = 5
"""Most changes of one kind in a record that is too large, such as routes."""
RUN_ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
MINOR_KINDS = {"probed", "compared", "confirmed", "rehearsed", "warning"}
"""Kinds of rows to drop first if not all fit; the visible table shows them."""
KEPT_KINDS = {"prepared", "approved"}
"""Kinds of rows to drop last, because later runs need them: an undo, a hold, an approval."""

ADDED_LATER = {
    *("approval", "watch", "state", "live", "headline", "job", "health_before", "notified", "drill", "update", "chat")
}
"""Fields that older records lack. An empty one is not written, so that the digest of an older record stays."""
DONE = "Done"
"""State of a run whose proof says nothing about health, such as a service that was closed."""
HEALTHY = "Healthy"
"""State in the record of an outage check whose probes were healthy, without a sign of an outage."""
STATE_SOURCE = "state"
"""Source of the record in the comment with the state of an incident."""
MESSAGES_SOURCE = "messages"
"""Source of the record in the comment with the texts about an incident."""
NOTE_SOURCE = "note"
"""Source of the record of a note, and kind of its row."""
DRILL_SOURCE = "drill"
"""Source of the record of a finished drill."""
ENDED_KIND = "ended"
"""Kind of the row whose text is the decision."""

MAX_SECONDS = 1e9
"""Longest duration in a record. With greater ones, which are forged, no time can be computed."""

_BLOCK = re.compile(r"<!-- backout:v1 (\{[^<>&@]*\}) -->\s*\Z")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?')
_ESCAPED = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&@-"})


@dataclass(frozen=True)
class RecordRow:
    """One event of a run in a record."""

    at: datetime
    kind: str
    text: str


@dataclass(frozen=True)
class RunRecord:
    """Record of a run. `part` 2 is the comment with older rows.

    `source` is run, laptop, note, gate, report, evidence, leak, outage, watch, drill, update, step or messages.
    `durations` are seconds. Field names are persisted.
    """

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
    """Changes: target, before and after."""
    rows: tuple[RecordRow, ...] = ()
    program: str = __version__
    """Version of the program that wrote the record."""
    state: str = ""
    """Result in one or two words, such as "Done"; empty until the run has ended, and in older records."""
    live: str = ""
    """What was live at the end, as `LiveState` has it; empty like `state`."""
    headline: str = ""
    """Result in one sentence, as the heading of the comment has it; empty like `state`."""
    health_before: str = ""
    """Verdict of the probes of health before the run; empty if unknown, and in older records."""
    digest: str = ""
    approval: Mapping[str, Any] = field(default_factory=dict)
    """A request that waits for a second person, or the use of an approval; see `ops.core.approval`."""
    watch: Mapping[str, Any] = field(default_factory=dict)
    """State of a watch, from which another runner continues it; see `ops.watch.state`."""
    drill: Mapping[str, Any] = field(default_factory=dict)
    """Result of a finished drill; see `ops.core.drill_result`."""
    update: Mapping[str, Any] = field(default_factory=dict)
    """A public update of the incident; see `ops.core.public_update`."""
    notified: bool = False
    """Whether the team's chat accepted a notice of the run; older records lack it."""
    chat: Mapping[str, Any] = field(default_factory=dict)
    """Chat channel → id of the message that began the incident's thread there."""
    job: str = ""
    """Number and attempt of the workflow run that wrote the record, if `run` does not name it; older ones lack it."""

    @property
    def is_run(self) -> bool:
        """Whether it is the record of a run, and not of its older rows."""
        return self.source in {"run", "laptop"} and self.part == 1


def make_note(run: str, at: datetime, text: str, job: str = "") -> RunRecord:
    """Return the record of a note: one row in the timeline of the incident. `job` is empty on a laptop."""
    return RunRecord(run, source=NOTE_SOURCE, rows=(RecordRow(at, NOTE_SOURCE, text),), job=job)


def merge_runs(recorded: Iterable[RunRecord], local: Sequence[RunRecord]) -> tuple[RunRecord, ...]:
    """Return the runs on an incident and on this machine, oldest first; of one run the whole record of this machine."""
    known = {each.run for each in local}
    runs = (*(each for each in recorded if each.run not in known), *local)
    return tuple(
        sorted(runs, key=lambda run: min((row.at for row in run.rows), default=datetime.min.replace(tzinfo=UTC)))
    )


def parse_job_run(run: str) -> tuple[int, int] | None:
    """Return the number and attempt of the workflow run in a run id; None for a run on a laptop."""
    match = re.fullmatch(r"([0-9]{1,20})\.([0-9]{1,5})-[0-9a-f]{4}", run)
    return (int(match[1]), int(match[2])) if match else None


def job_of(run: str) -> str:
    """Return number and attempt of the workflow run in a run id, as the field `job` has them; empty for a laptop."""
    return ".".join(map(str, parse_job_run(run) or ()))


def is_closed_watch(watch: Mapping[str, Any]) -> bool:
    """Return whether a record's state is that of a watch of a closed service. Version 0.1.0 had none."""
    return watch.get("closed") is True


def embed_record(text: str, record: RunRecord) -> str:
    """Return the text with the record appended. Its digest shows later edits of either."""
    record = _shrink_record(replace(record, digest=""))
    return f"{text.rstrip()}\n\n{_write_record(replace(record, digest=_record_digest(text, record)))}\n"


def replace_visible_text(body: str, change: Callable[[str], str]) -> str:
    """Return a comment with its visible text changed and its record kept."""
    record = read_record(body)
    return body if record is None else embed_record(change(_BLOCK.sub("", body)), record)


def read_record(body: str) -> RunRecord | None:
    """Return the record at the end of the text, with current names; None without a complete one. Never raises."""
    record = _read_written_record(body)
    return None if record is None else _with_current_names(record)


def _with_current_names(record: RunRecord) -> RunRecord:
    rows = tuple(
        replace(row, text=current_decision_name(row.text)) if row.kind == ENDED_KIND else row for row in record.rows
    )
    return replace(record, decision=current_decision_name(record.decision), rows=rows)


def _read_written_record(body: str) -> RunRecord | None:
    """Return the record with its names as written, which the digest covers."""
    match = _BLOCK.search(body or "")
    if match is None or len(match[0]) > MAX_RECORD_BYTES + 100:
        return None
    try:
        data = json.loads(match[1], parse_constant=_refuse_constant)
        return _parse_record_block(data) if data["v"] == RECORD_VERSION else None
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None


def is_edited(body: str) -> bool:
    """Return whether the comment was edited. The digest is no signature: it shows edits that nobody hid."""
    record = _read_written_record(body)
    return record is not None and _record_digest(_BLOCK.sub("", body), replace(record, digest="")) != record.digest


def _refuse_constant(constant: str) -> None:
    raise ValueError(constant)


def _write_record(record: RunRecord) -> str:
    plain = json.dumps(_record_to_json(record), separators=(",", ":"), allow_nan=False)
    return f"<!-- backout:v1 {escape_hidden(plain)} -->"


def escape_hidden(plain: str) -> str:
    """Return JSON that may stand in an HTML comment: it mentions nobody, and nothing in it ends the comment."""
    # Escape inside strings only: the minus sign of a number is JSON, and alone it cannot end the comment.
    return _STRING.sub(lambda found: found[0].translate(_ESCAPED), plain)


def _record_digest(text: str, record: RunRecord) -> str:
    """Return a digest of the visible and the hidden part; trailing spaces and line ends do not count."""
    visible = "\n".join(line.rstrip() for line in text.strip().splitlines())
    content = json.dumps([visible, _record_to_json(record)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _shrink_record(record: RunRecord) -> RunRecord:
    """Shorten a record to fit: cut texts and series of changes, then drop minor rows, other rows, kept ones, changes.

    Hundreds of routes must neither displace all rows nor the change of a database among them.
    """
    rows = tuple(replace(row, text=row.text[:MAX_TEXT]) for row in record.rows)
    versions = tuple((a[:MAX_TEXT], b[:MAX_TEXT], c[:MAX_TEXT]) for a, b, c in record.versions)
    names = {name: getattr(record, name)[:100] for name in ("runbook", "environment", "service", "decision", "reason")}
    record = replace(record, rows=rows, versions=versions, headline=record.headline[:MAX_TEXT], **names)
    if len(rows) <= MAX_ROWS and _fits_comment(record):  # as most do
        return record
    record = replace(record, versions=_limit_recorded_series(versions))
    order = _row_drop_order(rows)
    few = max(0, len(order) - MAX_ROWS)
    count = bisect_left(
        range(len(order)), x=True, lo=few, key=lambda count: _fits_comment(_drop_rows(record, order[:count]))
    )
    record = _drop_rows(record, order[:count])
    while record.versions and not _fits_comment(record):
        record = replace(record, versions=record.versions[:-1])
    return record


def _limit_recorded_series(versions: tuple[tuple[str, str, str], ...]) -> tuple[tuple[str, str, str], ...]:
    """Return the changes without those after the first MAX_SERIES whose targets begin with the same word."""
    seen, kept = Counter[str](), list[tuple[str, str, str]]()
    for change in versions:
        word = change[0].partition(" ")[0]
        seen[word] += 1
        if seen[word] <= MAX_SERIES:
            kept.append(change)
    return tuple(kept)


def _row_drop_order(rows: tuple[RecordRow, ...]) -> list[int]:
    """Return row numbers in the order of dropping: minor rows, then others, then kept ones, then the first other."""
    minor = [number for number, row in enumerate(rows) if row.kind in MINOR_KINDS]
    kept = [number for number, row in enumerate(rows) if row.kind in KEPT_KINDS]
    major = [number for number, row in enumerate(rows) if row.kind not in MINOR_KINDS | KEPT_KINDS]
    return [*minor, *major[1:], *kept, *major[:1]]


def _drop_rows(record: RunRecord, gone: list[int]) -> RunRecord:
    numbers = set(gone)
    return replace(record, rows=tuple(row for number, row in enumerate(record.rows) if number not in numbers))


def _fits_comment(record: RunRecord) -> bool:
    return len(_write_record(record)) <= MAX_RECORD_BYTES


def _record_to_json(record: RunRecord) -> dict[str, Any]:
    rows = [[row.at.astimezone(UTC).isoformat(timespec="seconds"), row.kind, row.text] for row in record.rows]
    durations = {name: None if s is None else round(float(s), 3) for name, s in record.durations.items()}
    fixed = {
        "v": RECORD_VERSION,
        "rows": rows,
        "durations": durations,
        "versions": [list(one) for one in record.versions],
    }
    whole = {**vars(record), **fixed}
    return {name: value for name, value in whole.items() if value or name not in ADDED_LATER}


def _parse_record_block(data: Mapping[str, Any]) -> RunRecord:
    if not re.fullmatch(RUN_ID_PATTERN, data["run"]):
        raise ValueError("no run")
    names = ("run", "source", "runbook", "environment", "service", "decision", "reason", "program", "digest")
    return RunRecord(
        **{name: require_text(data[name]) for name in names},
        part=2 if data["part"] == 2 else 1,
        durations={require_text(name): _parse_record_seconds(value) for name, value in data["durations"].items()},
        versions=tuple((require_text(a), require_text(b), require_text(c)) for a, b, c in data["versions"]),
        rows=tuple(_parse_event_row(row) for row in data["rows"]),
        state=require_text(data.get("state", "")),
        live=require_text(data.get("live", "")),
        headline=require_text(data.get("headline", "")),
        health_before=require_text(data.get("health_before", "")),
        approval=require_object(data.get("approval", {})),
        watch=require_object(data.get("watch", {})),
        drill=require_object(data.get("drill", {})),
        update=require_object(data.get("update", {})),
        notified=data.get("notified") is True,
        chat=require_object(data.get("chat", {})),
        job=require_text(data.get("job", "")),
    )


def _parse_event_row(row: Sequence[Any]) -> RecordRow:
    at, kind, text = row
    moment = parse_utc(require_text(at))
    if not MINYEAR < moment.year < MAXYEAR:
        raise ValueError("no time that can be computed with")
    return RecordRow(moment, require_text(kind), require_text(text))


def _parse_record_seconds(value: Any) -> float | None:
    if value is None:
        return None
    seconds = float(value)
    if not -MAX_SECONDS <= seconds <= MAX_SECONDS:
        raise ValueError("no duration of a run")
    return seconds


_UPLOADED = re.compile(r"version ([0-9a-f]{8}-[0-9a-f-]{27}), not deployed")
_DEPLOYED = re.compile(r"deployment ([0-9a-f]{8}-[0-9a-f-]{27})\b")


@dataclass(frozen=True)
class RecordRules:
    """Rules that tell whose records count."""

    workflows: Collection[str] = ()
    """Paths of the files that `ops workflows sync` writes."""
    responders: Collection[str] = ()
    """Logins in ops.yml; empty: everyone with write access."""


@dataclass(frozen=True)
class PreviousRuns:
    """Records of previous runs on the incident; empty without one, or if GitHub did not answer in time.

    They may make a run stricter, and never less strict; only `confirmed` ones may do more.
    """

    runs: tuple[RunRecord, ...] = ()
    """Records that count, oldest first."""
    opened_at: datetime | None = None
    confirmed: tuple[RunRecord, ...] = ()
    """Those of them that a workflow of ours wrote, and nobody else edited."""
    doubts: str = ""
    """Records that do not count, and why, for people; empty if there are none."""

    @property
    def reported(self) -> tuple[RunRecord, ...]:
        """Return the records of laptops, which may only make a run stricter."""
        return tuple(each for each in self.runs if each not in self.confirmed)

    @property
    def uploaded_versions(self) -> frozenset[str]:
        """Return the Worker versions that these runs uploaded."""
        return self._find_written_ids(_UPLOADED)

    @property
    def deployments(self) -> frozenset[str]:
        """Return the IDs of the Worker deployments that these runs created."""
        return self._find_written_ids(_DEPLOYED)

    def _find_written_ids(self, named: re.Pattern[str]) -> frozenset[str]:
        """Return the IDs in the answers to writes that begin like `named`."""
        written = (row.text for run in self.runs for row in run.rows if row.kind == "written")
        return frozenset(match[1] for text in written if (match := named.match(text)))
