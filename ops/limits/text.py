"""The plan of a change of `limits.yml`: as a table for a terminal, and as the comment on its pull request."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ops.limits.diff import COLUMNS, LimitsPlan, Row
from ops.render.markdown import collapse_blank_lines, escape_markdown, load_templates
from ops.render.terminal import to_one_line

APPLIED = "<!-- backout limits applied -->"
"""Before what became of it once it was merged."""
MOST_ROWS = 100
"""In a comment; the whole table is in the job's log."""


@dataclass(frozen=True)
class Planned:
    """`plan` is None where limits.yml is not valid; then there are problems."""

    plan: LimitsPlan | None
    base: str
    """Which file it is compared with, in words."""
    proposed: str
    environment: str
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def marker(environment: str) -> str:
    """Return what marks our one comment of that environment on a pull request, and our open issue of a difference."""
    return f"<!-- backout limits {environment} -->"


def lines(planned: Planned) -> Iterator[str]:
    """For a terminal."""
    yield f"limits.yml: {planned.proposed}, against {planned.base}"
    if planned.plan is None:
        yield "  it is not valid, and nothing is applied"
    else:
        yield from (f"  {line}" for line in _table([COLUMNS, *(row.cells() for row in planned.plan.rows)]))
        yield f"  {planned.plan.summary}; {planned.plan.live_text}"
    yield from (f"  error: {to_one_line(problem)}" for problem in planned.problems)
    yield from (f"  warning: {to_one_line(warning)}" for warning in planned.warnings)


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def comment(planned: Planned, *, log: str = "") -> str:
    """For the pull request and the job's summary."""
    rows: tuple[Row, ...] = ()
    if planned.plan is not None:
        rows = tuple(sorted(planned.plan.rows, key=lambda row: not row.is_changed))
    template = load_templates().get_template("limits.md.j2")
    changed = [row for row in rows[:MOST_ROWS] if row.is_changed]
    same = [row for row in rows[:MOST_ROWS] if not row.is_changed]
    left = len(rows[MOST_ROWS:])
    shown = template.render(planned=planned, changed=changed, same=same, left=left, log=log)
    return f"{marker(planned.environment)}\n{collapse_blank_lines(shown)}"


def applied(before: str, environment: str, said: str, notes: Sequence[str] = (), *, log: str = "") -> str:
    """The same comment with what became of it; `before` is what it said, or nothing."""
    kept = before.partition(APPLIED)[0].strip() or marker(environment)
    text = load_templates().get_template("limits_applied.md.j2").render(said=said, notes=notes, log=log)
    return f"{kept}\n\n{APPLIED}\n{collapse_blank_lines(text)}"


def drift(differences: Sequence[str], environment: str, said: str) -> str:
    """The issue that says how KV differs from limits.yml."""
    shown = load_templates().get_template("limits_drift.md.j2").render(differences=differences, said=said)
    return f"{marker(environment)}\n{collapse_blank_lines(shown)}"


def settled(said: str) -> str:
    """What is said when it differs no more."""
    return f"It differs no more: {escape_markdown(said)}\n"
