"""Compare two `limits.yml` files with each other and with the live limits, and show it.

Texts: table for the terminal, comment on the pull request, drift issue.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ops.core.clock import format_rfc3339
from ops.core.runtime_contract import ReportedLimit, RuntimeState
from ops.limits.file import Limit, Limits
from ops.limits.raises import Proposal, incident_marker
from ops.render import collapse_blank_lines, escape_markdown, load_templates, to_one_line

NO_CHANGE = "no change"
COLUMNS = ("limit", "base", "proposed", "effective now", "live", "change")
RESULT_MARKER = "<!-- backout limits applied -->"
"""Marks the start of the result after the merge."""
MAX_COMMENT_ROWS = 100
"""Most rows in a comment; the job log has the whole table."""
REVIEW_TEXT = (
    "Please check that the numbers fit the incident, that `until` is soon, and that only `temporary` changed. A "
    "workflow opened this pull request, so its checks wait: press *Approve workflows to run*. If there is no such "
    "button, close and reopen the pull request. After a person merges it, the workflow *limits* applies it and "
    "comments here; a merge by a workflow with GITHUB_TOKEN starts nothing. At `until` the previous limits apply again "
    "automatically."
)
CONFLICT_TEXT = "If GitHub shows a conflict after one of them is merged, request the other limits again."


@dataclass(frozen=True)
class LimitChange:
    """One limit in both files and live. None: not in that file, or not shown by the application."""

    name: str
    base: Limit | None
    proposed: Limit | None
    live: ReportedLimit | None
    at: datetime

    @property
    def percent(self) -> float | None:
        """Change in requests over time, from the base to the proposal, at `at`."""
        if self.base is None or self.proposed is None:
            return None
        was = self.base.effective(self.at) / self.base.period
        return (self.proposed.effective(self.at) / self.proposed.period / was - 1) * 100

    @property
    def is_changed(self) -> bool:
        return self.base != self.proposed

    @property
    def change(self) -> str:
        """Describe the change, with its percentage if there is one."""
        if not self.is_changed:
            return NO_CHANGE
        if self.base is None:
            return "new"
        if self.proposed is None:
            return "removed: the value in the code applies"
        return "; ".join(self._describe_parts(self.base, self.proposed))

    def _describe_parts(self, base: Limit, proposed: Limit) -> list[str]:
        percent = self.percent
        assert percent is not None
        parts = [f"{percent:+.0f} %"] if abs(percent) >= 0.5 else []
        if proposed.temporary != base.temporary:
            parts.append(_describe_temporary(proposed, self.at))
        elif not parts and proposed.limit != base.limit:
            parts.append(f"{base.limit} → {proposed.limit}, current rate unchanged")
        for field in ("key", "probe"):
            was, now = getattr(base, field), getattr(proposed, field)
            if was != now:
                parts.append(f"{field} {_format_limit_value(was)} → {_format_limit_value(now)}")
        return parts or ["only notes for people"]

    def cells(self) -> tuple[str, ...]:
        """Return the cells in the order of `COLUMNS`."""
        now = "-" if self.base is None else str(self.base.effective(self.at))
        live = "-" if self.live is None else describe_live_limit(self.live)
        return self.name, describe_limit(self.base), describe_limit(self.proposed), now, live, self.change

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "base": _limit_json(self.base),
            "proposed": _limit_json(self.proposed),
            "effective_now": None if self.base is None else self.base.effective(self.at),
            "live": None if self.live is None else {"limit": self.live.limit, "period": self.live.period},
            "percent": None if self.percent is None else round(self.percent, 1),
            "changed": self.is_changed,
            "change": self.change,
        }


@dataclass(frozen=True)
class LimitsDiff:
    rows: tuple[LimitChange, ...]
    live: RuntimeState | str
    """Limits that the application shows at one location, or the reason that they are unknown."""
    at: datetime

    @property
    def changed(self) -> tuple[LimitChange, ...]:
        return tuple(row for row in self.rows if row.is_changed)

    @property
    def summary(self) -> str:
        count = len(self.changed)
        if not count:
            return NO_CHANGE
        return f"{count} of {len(self.rows)} limit{'s' if len(self.rows) > 1 else ''} change{'s' if count == 1 else ''}"

    @property
    def live_text(self) -> str:
        """Describe the source of the column `live`."""
        if isinstance(self.live, str):
            return f"live limits are unknown: {self.live}"
        revision = self.live.revision
        source = f"revision {revision}" if revision else "no limits.yml, so the values in the code apply"
        return f"live limits are read at one location: {source}"

    def to_json(self) -> dict[str, Any]:
        return {
            "at": format_rfc3339(self.at),
            "summary": self.summary,
            "changed": [row.name for row in self.changed],
            "limits": [row.to_json() for row in self.rows],
            "live_revision": None if isinstance(self.live, str) else self.live.revision,
            "live_unknown": self.live if isinstance(self.live, str) else "",
        }


def compare_limits(base: Limits | None, proposed: Limits, live: RuntimeState | str, now: datetime) -> LimitsDiff:
    """Compare the files; rows follow the order of the proposed file, and removed limits come last."""
    was: Mapping[str, Limit] = base or {}
    live_limits = {} if isinstance(live, str) else live.limits
    names = [*proposed, *(name for name in was if name not in proposed)]
    rows = tuple(LimitChange(name, was.get(name), proposed.get(name), live_limits.get(name), now) for name in names)
    return LimitsDiff(rows, live, now)


def render_table(plan: LimitsDiff) -> str:
    """Render a Markdown table. It holds only names from ops.yml, numbers and times, so nothing needs escaping."""
    rows = [" | ".join(f"`{cell}`" for cell in row.cells()) for row in plan.rows]
    head = [" | ".join(COLUMNS), " | ".join("---" for _ in COLUMNS)]
    return "\n".join(f"| {line} |" for line in [*head, *rows])


def describe_limit(limit: Limit | None) -> str:
    """Describe a limit in one cell: `30 in 60 s per ip, 60 until 2026-11-25 06:00`."""
    if limit is None:
        return "-"
    line = f"{limit.limit} in {limit.period} s per {limit.key}"
    if limit.temporary is not None:
        line += f", {limit.temporary.limit} until {_format_limit_minute(limit.temporary.until)}"
    return line


def describe_live_limit(limit: ReportedLimit) -> str:
    until = f" until {_format_limit_minute(limit.until)}" if limit.until else ""
    return f"{limit.limit} in {limit.period} s{until}"


def _describe_temporary(limit: Limit, now: datetime) -> str:
    if limit.temporary is None:
        return "no temporary limit"
    if limit.temporary.is_over(now):
        return "its temporary limit has ended"
    return f"until {_format_limit_minute(limit.temporary.until)}, then {limit.limit}"


def _format_limit_minute(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M")


def _format_limit_value(value: Any) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def _limit_json(limit: Limit | None) -> dict[str, Any] | None:
    return None if limit is None else limit.model_dump(mode="json", exclude_none=True)


@dataclass(frozen=True)
class LimitsPlan:
    """Result of `ops limits plan`; `plan` is None if limits.yml is invalid, which `problems` explain."""

    plan: LimitsDiff | None
    base: str
    """Description of the compared file."""
    proposed: str
    environment: str
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def limits_marker(environment: str) -> str:
    """Return the marker of our comment on a pull request, and of our drift issue, for an environment."""
    return f"<!-- backout limits {environment} -->"


def plan_lines(planned: LimitsPlan) -> Iterator[str]:
    """Yield the lines for a terminal."""
    yield f"limits.yml: {planned.proposed}, compared with {planned.base}"
    if planned.plan is None:
        yield "  invalid, so nothing is applied"
    else:
        yield from (
            f"  {line}" for line in _align_limit_columns([COLUMNS, *(row.cells() for row in planned.plan.rows)])
        )
        yield f"  {planned.plan.summary}; {planned.plan.live_text}"
    yield from (f"  error: {to_one_line(problem)}" for problem in planned.problems)
    yield from (f"  warning: {to_one_line(warning)}" for warning in planned.warnings)


def _align_limit_columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def render_limits_comment(planned: LimitsPlan, *, log: str = "") -> str:
    """Render the comment for the pull request and the job summary."""
    rows: tuple[LimitChange, ...] = ()
    if planned.plan is not None:
        rows = tuple(sorted(planned.plan.rows, key=lambda row: not row.is_changed))
    template = load_templates().get_template("limits.md.j2")
    changed = [row for row in rows[:MAX_COMMENT_ROWS] if row.is_changed]
    same = [row for row in rows[:MAX_COMMENT_ROWS] if not row.is_changed]
    left = len(rows[MAX_COMMENT_ROWS:])
    body = template.render(planned=planned, changed=changed, same=same, left=left, log=log)
    return f"{limits_marker(planned.environment)}\n{collapse_blank_lines(body)}"


def render_unchanged(environment: str, proposed: str) -> str:
    """Render the comment that replaces the plan of a pull request which no longer changes the file."""
    text = f"The earlier plan in this comment no longer applies: {escape_markdown(proposed)} does not change the file."
    return f"{limits_marker(environment)}\n### limits.yml is unchanged\n\n{text}\n"


def render_limits_result(
    before: str, environment: str, message: str, notes: Sequence[str] = (), *, log: str = ""
) -> str:
    """Add the result after the merge to the comment `before`, which may be empty."""
    kept = before.partition(RESULT_MARKER)[0].strip() or limits_marker(environment)
    text = load_templates().get_template("limits_applied.md.j2").render(message=message, notes=notes, log=log)
    return f"{kept}\n\n{RESULT_MARKER}\n{collapse_blank_lines(text)}"


def render_proposal(proposal: Proposal, incident: int | None, table: LimitsDiff) -> str:
    """Render the body of a pull request that raises limits."""
    notes = [f"- {escape_markdown(text)}." for text in (*proposal.not_compared, *proposal.left_out)]
    notes += [f"- #{other.pull.number} {other}." for other in proposal.others]
    parts = [
        render_table(table),
        f"{'' if incident is None else f'For incident #{incident}. '}{REVIEW_TEXT}",
        "\n".join(notes),
        CONFLICT_TEXT if proposal.others else "",
        "" if incident is None else incident_marker(incident),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def render_drift(differences: Sequence[str], environment: str, message: str) -> str:
    """Render the issue that lists the differences between KV and limits.yml."""
    body = load_templates().get_template("limits_drift.md.j2").render(differences=differences, message=message)
    return f"{limits_marker(environment)}\n{collapse_blank_lines(body)}"


def render_drift_end(message: str) -> str:
    """Render the comment that closes the drift issue."""
    return f"KV matches limits.yml again: {escape_markdown(message)}\n"


def list_limit_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Yield the limits with different values."""
    for name in dict.fromkeys([*after, *before]):
        if before.get(name) != after.get(name):
            yield f"{name}: {_describe_limit_value(before.get(name))} → {_describe_limit_value(after.get(name))}"


def _describe_limit_value(value: Any) -> str:
    if not isinstance(value, Mapping):
        return "value in the code"
    text = f"{value.get('limit')} in {value.get('period')} s per {value.get('key')}"
    temporary = value.get("temporary")
    if isinstance(temporary, Mapping):
        text += f", {temporary.get('limit')} until {temporary.get('until')}"
    return text + (", probed" if value.get("probe") else "")
