"""Texts of a limits plan: table for the terminal, comment on the pull request, drift issue."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ops.limits.diff import COLUMNS, LimitChange, LimitsDiff, render_table
from ops.limits.raises import Proposal, incident_marker
from ops.render import collapse_blank_lines, escape_markdown, load_templates, to_one_line

RESULT_MARKER = "<!-- backout limits applied -->"
"""Marks the start of the result after the merge."""
MAX_COMMENT_ROWS = 100
"""Most rows in a comment; the job log has the whole table."""
REVIEW_TEXT = (
    "Please check that the numbers fit the incident, that `until` is soon, and that only `temporary` changed. GitHub "
    "starts no checks on a pull request that a workflow opened: close and reopen it to start them. After a person "
    "merges it, the workflow *limits* applies it and comments here; a merge by a workflow with GITHUB_TOKEN starts "
    "nothing. At `until` the previous limits apply again automatically."
)
CONFLICT_TEXT = "If GitHub shows a conflict after one of them is merged, request the other limits again."


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


def marker(environment: str) -> str:
    """Return the marker of our comment on a pull request, and of our drift issue, for an environment."""
    return f"<!-- backout limits {environment} -->"


def plan_lines(planned: LimitsPlan) -> Iterator[str]:
    """Yield the lines for a terminal."""
    yield f"limits.yml: {planned.proposed}, compared with {planned.base}"
    if planned.plan is None:
        yield "  invalid, so nothing is applied"
    else:
        yield from (f"  {line}" for line in _align_columns([COLUMNS, *(row.cells() for row in planned.plan.rows)]))
        yield f"  {planned.plan.summary}; {planned.plan.live_text}"
    yield from (f"  error: {to_one_line(problem)}" for problem in planned.problems)
    yield from (f"  warning: {to_one_line(warning)}" for warning in planned.warnings)


def _align_columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def render_comment(planned: LimitsPlan, *, log: str = "") -> str:
    """Render the comment for the pull request and the job summary."""
    rows: tuple[LimitChange, ...] = ()
    if planned.plan is not None:
        rows = tuple(sorted(planned.plan.rows, key=lambda row: not row.is_changed))
    template = load_templates().get_template("limits.md.j2")
    changed = [row for row in rows[:MAX_COMMENT_ROWS] if row.is_changed]
    same = [row for row in rows[:MAX_COMMENT_ROWS] if not row.is_changed]
    left = len(rows[MAX_COMMENT_ROWS:])
    body = template.render(planned=planned, changed=changed, same=same, left=left, log=log)
    return f"{marker(planned.environment)}\n{collapse_blank_lines(body)}"


def render_result(before: str, environment: str, message: str, notes: Sequence[str] = (), *, log: str = "") -> str:
    """Add the result after the merge to the comment `before`, which may be empty."""
    kept = before.partition(RESULT_MARKER)[0].strip() or marker(environment)
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
    return f"{marker(environment)}\n{collapse_blank_lines(body)}"


def render_drift_end(message: str) -> str:
    """Render the comment that closes the drift issue."""
    return f"KV matches limits.yml again: {escape_markdown(message)}\n"
