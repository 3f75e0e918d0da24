"""Render the post-incident report as Markdown: generated regions, and the page around them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ops.cloudflare.types.workers import describe_split
from ops.core.suggestions import count_of
from ops.github.comments import MAX_TEXT
from ops.github.issues import IssueRecord
from ops.publish.comment import AFTER, BEFORE, steps_for_people
from ops.render.markdown import collapse_blank_lines, load_templates
from ops.report.evidence import IncidentEvidence
from ops.report.impact import ImpactView
from ops.report.moments import IncidentMoment, IncidentSpan, MomentName, find_moments, measure_spans
from ops.report.regions import (
    PLACEHOLDER,
    build_region,
    count_open_rows,
    unanswered_prompts,
    unchecked_items,
    update_regions,
)
from ops.report.rows import RecoveryStage, RecoveryTiming, TimelineRow, build_rows, measure_recovery, visible_rows

MAX_BAR_LENGTH = 10
"""Characters of the longest bar; more do not fit on a phone."""
REGIONS = ("status", "summary", "timing", "timeline", "impact", "resolution", "evidence")
PROMPTS: Mapping[str, tuple[str, ...]] = {
    "Summary": ("In two sentences: what broke, for whom, and what ended it?",),
    "Impact": ("How many users were affected, and how many requests failed? (with the source of each number)",),
    "Root Cause": ("What made this possible, and why did tests, review and canary not show it? (every factor)",),
    "Resolution": ("What was done by hand, and what still has to be put right?",),
    "Lessons Learned": ("What went well, what went badly, and what would have halved the time to notice and recover?",),
}
"""Questions for people. They ask how and what, not who and why."""
CHECKLIST = (
    ("Before", steps_for_people(BEFORE)),
    ("After", steps_for_people(AFTER)),
)


@dataclass(frozen=True)
class _ReportView:
    """Values for the templates, with at most `most` timeline rows."""

    evidence: IncidentEvidence
    most: int

    @cached_property
    def every_line(self) -> tuple[TimelineRow, ...]:
        return build_rows(self.evidence)

    @property
    def all_lines(self) -> int:
        return len(self.every_line)

    @property
    def lines(self) -> tuple[TimelineRow, ...]:
        return self.every_line[: self.most]

    @cached_property
    def at_once(self) -> tuple[TimelineRow, ...]:
        return visible_rows(self.every_line)[: self.most]

    @cached_property
    def moments(self) -> tuple[IncidentMoment, ...]:
        return find_moments(self.evidence)

    @cached_property
    def spans(self) -> tuple[IncidentSpan, ...]:
        return measure_spans(self.moments)

    @cached_property
    def recovery(self) -> RecoveryTiming | None:
        return measure_recovery(self.evidence)

    @property
    def main(self) -> IssueRecord | None:
        return self.evidence.main_run

    @property
    def watch(self) -> IssueRecord | None:
        return self.evidence.find_watch(self.main) if self.main else None

    @property
    def change_verb(self) -> str:
        """Return the verb: a change counts as done only if it was read back."""
        return "went from" if self.main and self.main.first_event_at("read_back") else "was to go from"

    @property
    def doubt_note(self) -> str:
        sent = (
            self.main is not None and self.main.first_event_at("writing") and not self.main.first_event_at("read_back")
        )
        return "; the run could not verify it" if sent else ""

    @property
    def services(self) -> list[str]:
        blocks = [one.record for one in self.evidence.our_runs]
        return list(dict.fromkeys(f"{block.service} in {block.environment}" for block in blocks))

    @property
    def has_refusals(self) -> bool:
        return any(one.record.source == "gate" for one in self.evidence.records)

    @property
    def unavailable(self) -> tuple[str, ...]:
        return self.evidence.unavailable

    @property
    def runs(self) -> list[dict[str, Any]]:
        return [
            {
                "at": one.record.rows[0].at,
                "runbook": one.record.runbook,
                "service": f"{one.record.service} in {one.record.environment}",
                "decision": one.decision_text,
                "result": one.record.headline,
                "origin": one.origin,
                "url": one.url,
            }
            for one in self.evidence.our_runs[:50]
        ]

    @cached_property
    def day(self) -> str:
        """Return the date if everything happened on one day, else an empty string."""
        times = [*(line.at for line in self.every_line), *(moment.at for moment in self.moments if moment.at)]
        dates = {at.date() for at in times}
        return dates.pop().isoformat() if len(dates) == 1 else ""

    @property
    def heading(self) -> str:
        return f"{self.day}, UTC" if self.day else "UTC"

    def _span(self, first: MomentName, last: MomentName) -> float | None:
        return next(span.seconds for span in self.spans if (span.first, span.last) == (first, last))

    @property
    def recovery_seconds(self) -> float | None:
        return self._span(MomentName.REQUESTED, MomentName.MITIGATED)

    @property
    def duration(self) -> float | None:
        return self._span(MomentName.STARTED, MomentName.MITIGATED)

    @cached_property
    def impact(self) -> ImpactView | None:
        return ImpactView(self.evidence.impact) if self.evidence.impact else None

    @property
    def missing_times(self) -> str:
        missing = {moment.name for moment in self.moments if moment.at is None}
        lacks = [name for name in (MomentName.STARTED, MomentName.MITIGATED) if name in missing]
        ends = {MomentName.STARTED: "start time", MomentName.MITIGATED: "mitigation time"}
        return " and ".join(ends[name] for name in lacks) or "order of start and mitigation"

    @property
    def bars(self) -> list[tuple[RecoveryStage, str]]:
        """Return each stage with a text bar of its share, which e-mail clients show too."""
        stages = self.recovery.stages if self.recovery else ()
        whole = sum(stage.seconds for stage in stages) or 1.0
        return [
            (stage, "█" * max(1, round(MAX_BAR_LENGTH * stage.seconds / whole)))
            for stage in stages
            if stage.seconds >= 0.05
        ]


def report_title(evidence: IncidentEvidence) -> str:
    """Return the title in the format of the procedure."""
    drill = "Drill: " if evidence.is_drill else ""
    return f"{drill}Incident report: {evidence.opened_at:%Y-%m-%d}, incident {evidence.number}"


def render_report(evidence: IncidentEvidence) -> str:
    """Render a new report with all prompts."""

    def page(regions: Mapping[str, str]) -> str:
        marked = {name: build_region(name, evidence.number, text) for name, text in regions.items()}
        template = load_templates().get_template("report.md.j2")
        return collapse_blank_lines(template.render(regions=marked, asked=_render_prompts, checklist=CHECKLIST))

    return _fit_rows(evidence, page)


def update_report(body: str, evidence: IncidentEvidence) -> str:
    """Update the generated regions of a report."""
    return _fit_rows(evidence, lambda regions: update_regions(body, evidence.number, regions))


def _fit_rows(evidence: IncidentEvidence, page: Callable[[Mapping[str, str]], str]) -> str:
    """Return the page with as many timeline rows as fit."""
    most = 400
    while True:
        text = page(_render_regions(_ReportView(evidence, most)))
        if len(text) <= MAX_TEXT or most == 0:
            return text
        most = most * 3 // 4


def _render_regions(view: _ReportView) -> dict[str, str]:
    macros = load_templates().get_template("report_regions.md.j2", globals={"describe_split": describe_split}).module
    return {name: collapse_blank_lines(str(getattr(macros, name)(view))).strip() for name in REGIONS}


def _render_prompts(section: str) -> str:
    return "".join(f"**{prompt}**\n\n{PLACEHOLDER}\n\n" for prompt in PROMPTS[section])


def open_items(body: str) -> list[str]:
    """Return the prompts, rows and checks that people still have to complete, in page order."""
    items = list(unanswered_prompts(body, [prompt for prompts in PROMPTS.values() for prompt in prompts]))
    if rows_left := count_open_rows(body):
        items.append(f"{count_of(rows_left, 'action item')} under Prevention")
    return [*items, *unchecked_items(body, [item for _, items in CHECKLIST for item in items])]


def render_closing(number: int, items: list[str], evidence: IncidentEvidence) -> str:
    """Render the comment for a closed incident; `number` is the report's."""
    kind = "drill" if evidence.is_drill else "incident"
    template = load_templates().get_template("report_closing.md.j2")
    on, back = evidence.leftovers, evidence.reset_commands
    return template.render(number=number, items=items, kind=kind, leftovers=on, reset_commands=back)
