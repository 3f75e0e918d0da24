"""Publish the result of a drill on the tracking issue, with a chart of the last ones."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ops.app.registry import record_rules
from ops.core.clock import find_clock
from ops.core.drill_result import DrillResult, DrillTrend, RecordedDrill, merge_drills, pack_results
from ops.core.redaction import Redactor
from ops.core.run_record import DRILL_SOURCE, RecordRow, RunRecord
from ops.github import actions, drill_results
from ops.github.client import CHECK_HINT, connect, provider_errors
from ops.render import collapse_blank_lines, load_templates
from ops.report.pictures import draw_drills

if TYPE_CHECKING:
    from ops.config import Config

TITLE = "Results of staging drills"
TEXT = "Each comment is the result of one drill. The newest one has the chart of the last drills."


def publish_drill_result(result: DrillResult, config: "Config", environ: Mapping[str, str], redactor: Redactor) -> str:
    """Add the result to the tracking issue, once, and return the URL of its comment.

    Without a tracking issue it opens one. Raises ConfigError and ProviderError.
    """
    drill = config.staging_drill
    number = drill.tracking_issue if drill else None
    clock = find_clock(environ)
    with provider_errors(CHECK_HINT):
        repository = connect(environ, redactor)
        trend = drill_results.read_trend(repository, number, record_rules(config), clock.now())
        issues = drill_results.list_tracking_issues(repository, number)
        issue = issues[0] if issues else drill_results.open_tracking_issue(repository, TITLE, TEXT, clock)
        drills = merge_drills([*trend.drills, RecordedDrill(result)])
        body = redactor.redact_text(render_drill_result(result, replace(trend, drills=drills)))
        record = redactor.redact_value(build_drill_record(result, trend, environ))
        return drill_results.add_result(issue, body, record)


def render_drill_result(result: DrillResult, trend: DrillTrend) -> str:
    """Return the comment, without its record."""
    template = load_templates().get_template("drill_result.md.j2")
    text = template.render(result=result, trend=trend, warnings=[*trend.warnings()], picture=draw_drills(trend))
    return collapse_blank_lines(text).strip()


def build_drill_record(result: DrillResult, trend: DrillTrend, environ: Mapping[str, str]) -> RunRecord:
    return RunRecord(
        result.key,
        source=DRILL_SOURCE,
        runbook=result.name,
        environment=result.environment,
        service=result.service,
        rows=(RecordRow(result.started, DRILL_SOURCE, result.outcome.value),),
        job=actions.job_number(environ),
        drill=pack_results(result, [each for each in trend.drills if each.result.key != result.key]),
    )
