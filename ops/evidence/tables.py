"""Tables and comment of `ops evidence`, built from the records of each source.

A table draws no conclusions: rows hold records, and notes name the limits of the source.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from ops.cloudflare.types import pages
from ops.cloudflare.types.records import (
    AuditLogEntry,
    DatabaseUsage,
    HostRequests,
    VerifiedToken,
    WorkerRequests,
)
from ops.cloudflare.types.workers import WorkerDeployment, WorkerVersion, describe_split
from ops.core.clock import Period, format_rfc3339
from ops.core.permissions import ANY_TOKEN, graphql_permissions, needed_permission
from ops.github.comments import MAX_TEXT
from ops.github.protection import GitHubEnvironmentUse
from ops.render import code_span, collapse_blank_lines, load_templates, to_one_line

AUDIT_KEPT = timedelta(days=548)
"""18 months (developers.cloudflare.com/fundamentals/account/account-security/audit-logs)."""
AUDIT_LAG = timedelta(minutes=5)
SECRET_EDIT = "secret"  # noqa: S105  (what Cloudflare writes as `workers/triggered_by`)

TableCell = str | int | datetime | None
"""None: the source does not report it."""

FOUND, NONE_FOUND, NOT_RETAINED, UNAVAILABLE = "found", "none found", "out of reach", "could not ask"


@dataclass(frozen=True)
class EvidenceTable:
    """A table of evidence. Rows and `unavailable_reason` are untrusted text; the other fields are ours."""

    title: str
    source: str
    """Source of the records, with its clock."""
    permission: str
    """Permission that a token needs, by its name in Cloudflare's dashboard or GitHub's workflow syntax."""
    columns: tuple[str, ...]
    rows: tuple[tuple[TableCell, ...], ...] = ()
    unavailable_reason: str = ""
    """Why the source could not be read."""
    may_lack_permission: bool = True
    """Whether a missing permission may be that reason; False if the provider failed."""
    retained_since: datetime | None = None
    """Start of the source's retention; None if it covers the whole period."""
    is_not_retained: bool = False
    """Whether the whole period is before `retained_since`, so that nothing was read."""
    notes: tuple[str, ...] = ()
    """Limits of the conclusions."""

    @property
    def outcome(self) -> str:
        if self.unavailable_reason:
            return UNAVAILABLE
        if self.is_not_retained:
            return NOT_RETAINED
        return FOUND if self.rows else NONE_FOUND

    def as_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "outcome": self.outcome,
            "source": self.source,
            "permission": self.permission,
            "why": self.unavailable_reason,
            "reaches_to": _plain_cell(self.retained_since),
            "notes": list(self.notes),
            "rows": [dict(zip(self.columns, map(_plain_cell, row), strict=True)) for row in self.rows],
        }


@dataclass(frozen=True)
class EvidenceCollection:
    """All evidence tables of one environment. `is_anonymized`: personal data was shortened."""

    environment: str
    period: Period
    collected_at: datetime
    is_anonymized: bool
    tables: tuple[EvidenceTable, ...]

    @property
    def unavailable_tables(self) -> tuple[EvidenceTable, ...]:
        return tuple(each for each in self.tables if each.outcome == UNAVAILABLE)

    def as_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "environment": self.environment,
            "since": _plain_cell(self.period.since),
            "until": _plain_cell(self.period.until),
            "collected_at": _plain_cell(self.collected_at),
            "shortened": self.is_anonymized,
            "exhibits": [exhibit.as_json() for exhibit in self.tables],
        }


def anonymize_table(table: EvidenceTable, anonymize: Callable[[str], str]) -> EvidenceTable:
    """Anonymize every untrusted text, and merge rows that became equal."""
    rows = [tuple(anonymize(cell) if isinstance(cell, str) else cell for cell in row) for row in table.rows]
    return replace(
        table,
        rows=tuple(_merge_equal_rows(table.columns, rows)),
        unavailable_reason=anonymize(table.unavailable_reason),
    )


def _merge_equal_rows(columns: tuple[str, ...], rows: list[tuple[TableCell, ...]]) -> Iterator[tuple[TableCell, ...]]:
    """Merge equal rows and add up their column `requests`, if there is one."""
    if "requests" not in columns:
        yield from rows
        return
    at = columns.index("requests")
    counts: dict[tuple[TableCell, ...], int] = {}
    for row in rows:
        key = (*row[:at], *row[at + 1 :])
        number = row[at]
        counts[key] = counts.get(key, 0) + (number if isinstance(number, int) else 0)
    yield from ((*key[:at], number, *key[at:]) for key, number in counts.items())


def _plain_cell(value: TableCell) -> str | int | None:
    return format_rfc3339(value) if isinstance(value, datetime) else value


AUDIT = EvidenceTable(
    "Audit log of the account",
    "Cloudflare's audit log, version 2, by its clock",
    needed_permission("GET /accounts/{account}/logs/audit"),
    ("at", "action", "result", "by", "with", "from", "request", "status", "program", "cf-ray"),
)
TOKEN_USE = EvidenceTable(
    "Use of each token, from the audit log",
    "Cloudflare's audit log, version 2, by its clock",
    needed_permission("GET /accounts/{account}/logs/audit"),
    ("token", "by", "first", "last", "requests", "failed", "from"),
    notes=("The audit log holds requests that change something. Reads with a stolen token are not in it.",),
)
VERIFIED = EvidenceTable(
    "Token of this command",
    "Cloudflare's token verification, at present",
    ANY_TOKEN,
    ("token", "kind", "status", "expires"),
)
DEPLOYMENTS = EvidenceTable(
    "Deployments and secret changes of {}",
    "Cloudflare's deployments and versions, by its clock",
    needed_permission("GET /accounts/{account}/workers/scripts/{script}/deployments"),
    ("at", "what", "id", "by", "through", "message"),
)
PAGES = EvidenceTable(
    "Production deployments of {}",
    "Cloudflare Pages, by its clock",
    needed_permission("GET /accounts/{account}/pages/projects/{project}/deployments"),
    ("at", "id", "status", "trigger", "branch", "commit", "message"),
    notes=("Pages has no history of its environment variables; a change of one is in the audit log.",),
)
REQUESTS = EvidenceTable(
    "Requests to {} by path and network",
    "Cloudflare's analytics (httpRequestsAdaptiveGroups), by the hour",
    f"{needed_permission('GET /zones')} and, of the zone, {graphql_permissions()['zones']}",
    ("hour", "path", "from", "country", "status", "requests"),
    notes=("Each count is an estimate from a sample. The last minutes are incomplete.",),
)
HANDLED = EvidenceTable(
    "Requests that {} handled, by path and status",
    "Cloudflare's Workers Observability, over the whole period",
    needed_permission("POST /accounts/{account}/workers/observability/telemetry/query"),
    ("request", "status", "requests"),
    notes=(
        "A Worker with observability off records nothing, and records are kept for a few days only.",
        "Sampled counts are estimates. A row without a status counts log lines.",
    ),
)
D1 = EvidenceTable(
    "Queries of D1 by database",
    "Cloudflare's analytics (d1AnalyticsAdaptiveGroups), by the hour",
    graphql_permissions()["accounts"],
    ("hour", "database", "reads", "writes", "rows read", "rows written"),
    notes=("Each number is an estimate from a sample. The statements are not collected.",),
)
ENVIRONMENTS = EvidenceTable(
    "Workflow runs that used an environment",
    "GitHub's deployments of this repository, by its clock",
    "deployments: read",
    ("at", "environment", "by", "of", "commit", "state", "log"),
    notes=("Jobs with `deployment: false` and uses of repository secrets are not recorded here.",),
)


def audit_table(
    entries: Sequence[AuditLogEntry], period: Period, now: datetime, most: int, *, may_be_cut: bool
) -> EvidenceTable:
    rows = tuple(
        (e.at, e.action, e.result, e.actor, e.token, e.address, f"{e.method} {e.uri}", e.status, e.user_agent, e.ray_id)
        for e in entries
    )
    kept_since = now - AUDIT_KEPT
    notes = ["The audit log holds requests that change something. Reads are not in it."]
    if period.until > now - AUDIT_LAG:
        notes.append("Entries are listed some minutes late: collect again for the newest ones.")
    if len(entries) >= most:
        notes.append(f"Only the newest {most} entries were read. Use a shorter period to see the others.")
    elif may_be_cut:
        notes.append(
            f"Cloudflare listed {len(entries)} entries without a next page, although the last page was full: older "
            "entries may be missing. Use a shorter period."
        )
    return replace(
        AUDIT,
        rows=rows,
        notes=tuple(notes),
        retained_since=kept_since if period.since < kept_since else None,
        is_not_retained=period.until <= kept_since,
    )


def token_table(entries: Sequence[AuditLogEntry]) -> EvidenceTable:
    """Return one row per token and actor, the most requests first."""
    by_token: dict[tuple[str, str], list[AuditLogEntry]] = {}
    for entry in entries:
        by_token.setdefault((entry.token, entry.actor), []).append(entry)
    rows: list[tuple[TableCell, ...]] = [
        (
            token,
            by,
            *_first_and_last_use(used),
            len(used),
            sum(entry.result != "success" for entry in used),
            _join_addresses(used),
        )
        for (token, by), used in sorted(by_token.items(), key=lambda found: -len(found[1]))
    ]
    return replace(TOKEN_USE, rows=tuple(rows))


def _first_and_last_use(used: Iterable[AuditLogEntry]) -> tuple[datetime, datetime]:
    moments = [entry.at for entry in used]
    return min(moments), max(moments)


def _join_addresses(used: Iterable[AuditLogEntry]) -> str:
    return ", ".join(sorted({entry.address for entry in used if entry.address}))


def verification_table(token: VerifiedToken) -> EvidenceTable:
    return replace(VERIFIED, rows=((token.id, token.kind, token.status, token.expires_on or None),))


def deployment_table(
    worker: str, listed: Sequence[WorkerDeployment], versions: Sequence[WorkerVersion], period: Period
) -> EvidenceTable:
    """List deployments, and versions made by a secret change (deployed or not), newest first."""
    served = [
        (d.created_on, f"deployed {describe_split(d.split)}", d.id, d.author, d.source, d.message)
        for d in listed
        if period.contains(d.created_on)
    ]
    edited = [
        (v.created_on, "a secret was changed", v.id, v.author, v.triggered_by, v.message)
        for v in versions
        if v.triggered_by == SECRET_EDIT and v.created_on is not None and period.contains(v.created_on)
    ]
    return replace(
        DEPLOYMENTS,
        title=DEPLOYMENTS.title.format(f"the Worker {worker}"),
        rows=tuple(sorted(served + edited, key=lambda row: str(row[0]), reverse=True)),
        notes=_note_list_limit([d.created_on for d in listed], period),
    )


def pages_table(project: str, listed: Sequence[pages.PagesDeployment], period: Period) -> EvidenceTable:
    rows = tuple(
        (d.created_on, d.id, f"{d.stage} {d.status}", d.trigger, d.branch, d.commit, d.message)
        for d in listed
        if period.contains(d.created_on)
    )
    notes = (*PAGES.notes, *_note_list_limit([d.created_on for d in listed], period))
    return replace(PAGES, title=PAGES.title.format(f"the site {project}"), rows=rows, notes=notes)


def _note_list_limit(moments: Sequence[datetime], period: Period) -> tuple[str, ...]:
    """Note that Cloudflare lists only the newest deployments, if the oldest one is within the period."""
    oldest = min(moments, default=None)
    if oldest is None or oldest <= period.since:
        return ()
    text = f"Cloudflare lists {len(moments)} deployments; the oldest is from {oldest:%Y-%m-%d %H:%M:%S} UTC"
    return (f"{text}. Earlier ones may exist.",)


def request_table(host: str, requests: Iterable[HostRequests], *, notes: Iterable[str]) -> EvidenceTable:
    rows = tuple((r.hour, r.path, r.address, r.country, r.status, r.count) for r in requests)
    return replace(REQUESTS, title=REQUESTS.title.format(host), rows=rows, notes=(*REQUESTS.notes, *notes))


def invocation_table(worker: str, requests: Sequence[WorkerRequests], most: int) -> EvidenceTable:
    rows = tuple((each.trigger, each.status, each.count) for each in requests)
    more = (f"The answer has the maximum of {most} rows: there may be others.",) if len(requests) >= most else ()
    title = HANDLED.title.format(f"the Worker {worker}")
    return replace(HANDLED, title=title, rows=rows, notes=(*HANDLED.notes, *more))


def database_table(usages: Iterable[DatabaseUsage], *, notes: Iterable[str]) -> EvidenceTable:
    rows = tuple((u.hour, u.database, u.read_queries, u.write_queries, u.rows_read, u.rows_written) for u in usages)
    return replace(D1, rows=rows, notes=(*D1.notes, *notes))


def environment_table(uses: Sequence[GitHubEnvironmentUse], most: int) -> EvidenceTable:
    rows = tuple((u.at, u.environment, u.actor, u.ref, u.sha[:12], u.state, u.url) for u in uses)
    more = (f"Only the newest {most} were read. Use a shorter period to see the others.",)
    return replace(ENVIRONMENTS, rows=rows, notes=(*ENVIRONMENTS.notes, *(more if len(uses) >= most else ())))


MAX_CELL_LENGTH = 160
FEWEST_ROWS = 3
"""Newest rows of a table that stay if sources are left out."""
_RANKS = (FOUND, UNAVAILABLE, NOT_RETAINED, NONE_FOUND)
"""Outcomes in the order in which a full comment keeps their sources."""


def render_evidence_comment(collection: EvidenceCollection) -> str:
    """Render the comment with as many rows, and then as many sources, as fit; it says where the rest is."""
    most = max([len(exhibit.rows) for exhibit in collection.tables], default=0)
    ranked = sorted(range(len(collection.tables)), key=lambda place: _RANKS.index(collection.tables[place].outcome))
    while len(text := _render_tables(collection, ranked, most)) > MAX_TEXT:
        if most > FEWEST_ROWS:  # the rows alone take at least their share of the text
            most = max(FEWEST_ROWS, min(most * 15 // 16, most * MAX_TEXT // len(text)))
        else:
            ranked = ranked[: len(ranked) * 3 // 4]
    return text


def _render_tables(collection: EvidenceCollection, places: Collection[int], most: int) -> str:
    """Render the tables at these places."""
    outcomes = Counter(each.outcome for place, each in enumerate(collection.tables) if place not in places)
    counted = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
    template = load_templates().get_template("evidence.md.j2")
    return collapse_blank_lines(
        template.render(
            collection=collection,
            tables=[collection.tables[place] for place in sorted(places)],
            left_out=f"{outcomes.total()} more sources do not fit here ({counted})" if counted else "",
            most=most,
            outcome=describe_outcome,
            shown=_format_cell,
            filled=_list_cells,
        )
    )


def describe_outcome(exhibit: EvidenceTable) -> str:
    """Describe the outcome of one source."""
    if exhibit.outcome == FOUND:
        return f"{len(exhibit.rows)} found"
    if exhibit.outcome in {NONE_FOUND, UNAVAILABLE}:
        return exhibit.outcome
    return "no longer kept"


def evidence_lines(collection: EvidenceCollection) -> list[str]:
    """Return one line per source for a terminal, followed by the reason if it could not be read."""
    lines = []
    for exhibit in collection.tables:
        lines.append(f"{exhibit.title}: {describe_outcome(exhibit)}{_describe_reach(exhibit)}")
        if exhibit.unavailable_reason:
            way = (
                f"needs the permission {exhibit.permission}"
                if exhibit.may_lack_permission
                else "collect it again later"
            )
            lines.append(f"  {to_one_line(exhibit.unavailable_reason)}; {way}")
    return lines


def _describe_reach(exhibit: EvidenceTable) -> str:
    return f" (unknown before {exhibit.retained_since:%Y-%m-%d %H:%M} UTC)" if exhibit.retained_since else ""


def _list_cells(columns: tuple[str, ...], row: tuple[TableCell, ...]) -> list[tuple[str, TableCell]]:
    """Return the columns of a row that have a value."""
    return [(column, value) for column, value in zip(columns, row, strict=True) if value not in (None, "")]


def _format_cell(value: TableCell) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return str(value) if isinstance(value, int) else code_span(value, MAX_CELL_LENGTH)
