"""Texts of `ops drill all`: its scorecard as a table and as Markdown, and its progress."""

import shlex
from collections.abc import Iterator, Sequence

from ops.core.clock import format_duration, format_seconds
from ops.core.drill_result import DrillOutcome, DrillTime
from ops.core.names import count_of
from ops.drills.scorecard import PlannedDrill, Scorecard, ScoredDrill
from ops.drills.suite import SuiteSettings, command_words
from ops.render import load_templates, to_one_line

WORDS = {DrillOutcome.PASSED: "pass", DrillOutcome.FAILED: "FAIL", DrillOutcome.NO_EVIDENCE: "NO EVIDENCE"}
MOST_RUNNING = 2
"""Most running drills that the line about the progress names."""


def describe_drill_progress(running: Sequence[PlannedDrill], ended: int, total: int) -> str:
    """Return the line that a terminal shows while drills run."""
    more = f" and {len(running) - MOST_RUNNING} more" if len(running) > MOST_RUNNING else ""
    return f"{ended} of {total} drills ended; running {', '.join(map(str, running[:MOST_RUNNING]))}{more}"


def describe_drill_end(drill: ScoredDrill, ended: int, total: int) -> str:
    """Return the line for a drill that ended."""
    word = WORDS[drill.result.outcome]
    return f"[{ended}/{total}] {word}  {drill.planned}: verified {_describe_drill_time(drill.result.verified)}"


def summarize_scorecard(scorecard: Scorecard) -> str:
    """Return the counts of the scorecard in one sentence."""
    total, passed = len(scorecard.scored), scorecard.count(DrillOutcome.PASSED)
    parts = [f"{passed} of {count_of(total, 'drill')} passed" if total else "no drill ran"]
    for outcome, text in ((DrillOutcome.FAILED, "failed"), (DrillOutcome.NO_EVIDENCE, "without evidence")):
        parts += [f"{scorecard.count(outcome)} {text}"] if scorecard.count(outcome) else []
    parts += [f"{len(scorecard.unfit)} skipped"] if scorecard.unfit else []
    parts += [f"{len(scorecard.not_run)} not finished"] if scorecard.not_run else []
    return f"{', '.join(parts)}, in {format_duration(round(scorecard.seconds))}"


def scorecard_lines(scorecard: Scorecard, settings: SuiteSettings, program: str) -> Iterator[str]:
    """Yield the table, then each drill that did not pass, with its command, and those that did not run."""
    rows = [
        ("drill", "by", "edge", "result", "write", "verified"),
        *(_scorecard_row(each) for each in scorecard.scored),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows if scorecard.scored else ():
        yield f"  {'  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))}".rstrip()
    for drill in scorecard.scored:
        if not drill.is_passed:
            yield ""
            yield to_one_line(f"{WORDS[drill.result.outcome]}  {drill.planned}: {drill.message}")
            yield f"  {_repeat_command(drill, settings, program)}"
    if scorecard.unfit:
        yield ""
        yield "These drills do not fit this configuration. They are not counted:"
    for reason, drills in _group_unfit_drills(scorecard.unfit):
        yield to_one_line(f"  {'; '.join(drills)}: {reason}")
    if settings.platform:
        yield ""
        yield from (f"  {to_one_line(each)}" for each in settings.platform.describe())
    if scorecard.not_run:
        yield ""
        yield f"These drills did not run or did not end: {', '.join(map(str, scorecard.not_run))}"


def render_scorecard(scorecard: Scorecard, settings: SuiteSettings, program: str) -> str:
    """Return the scorecard as Markdown. Its table has three columns, which fit a phone."""
    failed = [each for each in scorecard.scored if not each.is_passed]
    return (
        load_templates()
        .get_template("scorecard.md.j2")
        .render(
            sign="✅" if scorecard.exit_code == 0 else "❌",
            summary=summarize_scorecard(scorecard),
            environment=scorecard.environment,
            failed=[(each, _repeat_command(each, settings, program)) for each in failed],
            rows=[(each, WORDS[each.result.outcome], *_describe_times(each)) for each in scorecard.scored],
            unfit=list(_group_unfit_drills(scorecard.unfit)),
            platform=list(settings.platform.describe()) if settings.platform else [],
            not_run=[str(each) for each in scorecard.not_run],
        )
    )


def _repeat_command(drill: ScoredDrill, settings: SuiteSettings, program: str) -> str:
    return f"{program} {shlex.join(command_words(drill.planned, settings))}"


def _scorecard_row(drill: ScoredDrill) -> tuple[str, ...]:
    planned = drill.planned
    return (planned.name, planned.trigger, planned.edge, WORDS[drill.result.outcome], *_describe_times(drill))


def _describe_times(drill: ScoredDrill) -> tuple[str, str]:
    return _describe_drill_time(drill.result.write), _describe_drill_time(drill.result.verified)


def _describe_drill_time(time: DrillTime) -> str:
    seconds = "unknown" if time.seconds is None else format_seconds(time.seconds)
    return seconds if time.target is None else f"{seconds} of {format_seconds(time.target)}"


def _group_unfit_drills(unfit: Sequence[PlannedDrill]) -> Iterator[tuple[str, list[str]]]:
    """Yield each reason once, with its drills and their triggers."""
    reasons = dict[str, dict[str, list[str]]]()
    for each in unfit:
        triggers = reasons.setdefault(each.unfit, {}).setdefault(each.name, [])
        triggers += [] if each.trigger in triggers else [each.trigger]
    for reason, drills in reasons.items():
        yield reason, [f"{name} by {', '.join(triggers)}" for name, triggers in drills.items()]
