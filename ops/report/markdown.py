"""The post-incident report as Markdown: its regions from the evidence, and the page around them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ops.github.issues import IssueRecord
from ops.publish.comment import AFTER, BEFORE, steps_for_people
from ops.render.markdown import collapse_blank_lines, load_templates
from ops.report.evidence import Evidence
from ops.report.moments import Moment, Name, Span, moments, spans
from ops.report.regions import OPEN, region, renewed, still_open, todo_rows, unticked
from ops.report.rows import Line, Recovery, Stage, at_once, lines, recovery

BUDGET = 60_000
"""In characters. GitHub takes 65,536, and people's words come on top."""
BAR = 10
"""Characters of the longest possible bar; more do not fit on a phone."""
REGIONS = ("status", "summary", "timing", "timeline", "impact", "resolution", "evidence")
PROMPTS: Mapping[str, tuple[str, ...]] = {
    "Summary": ("In two sentences: what broke, for whom, and what ended it?",),
    "Impact": ("How many users were affected, and how many requests failed? (with the source of each number)",),
    "Root Cause": ("What made this possible, and why did tests, review and canary not show it? (every factor)",),
    "Resolution": ("What was done by hand, and what still has to be put right?",),
    "Lessons Learned": ("What went well, what went badly, and what would have halved the time to notice and recover?",),
}
"""How and what, not who and why: people answer those."""
CHECKLIST = (
    ("Before", steps_for_people(BEFORE)),
    ("After", steps_for_people(AFTER)),
)


@dataclass(frozen=True)
class _View:
    """What the templates see. `most` rows of the timeline find room."""

    evidence: Evidence
    most: int

    @cached_property
    def every_line(self) -> tuple[Line, ...]:
        return lines(self.evidence)

    @property
    def all_lines(self) -> int:
        return len(self.every_line)

    @property
    def lines(self) -> tuple[Line, ...]:
        return self.every_line[: self.most]

    @cached_property
    def at_once(self) -> tuple[Line, ...]:
        return at_once(self.every_line)[: self.most]

    @cached_property
    def moments(self) -> tuple[Moment, ...]:
        return moments(self.evidence)

    @cached_property
    def spans(self) -> tuple[Span, ...]:
        return spans(self.moments)

    @cached_property
    def recovery(self) -> Recovery | None:
        return recovery(self.evidence)

    @property
    def main(self) -> IssueRecord | None:
        return self.evidence.main_run

    @property
    def went(self) -> str:
        """Only what was read back is said to have happened."""
        return "went from" if self.main and self.main.first_event_at("read_back") else "was to go from"

    @property
    def doubt(self) -> str:
        sent = (
            self.main is not None and self.main.first_event_at("writing") and not self.main.first_event_at("read_back")
        )
        return "; whether it did, the run could not tell" if sent else ""

    @property
    def services(self) -> list[str]:
        blocks = [one.record for one in self.evidence.our_runs]
        return list(dict.fromkeys(f"{block.service} in {block.environment}" for block in blocks))

    @property
    def refusals(self) -> bool:
        return any(one.record.source == "gate" for one in self.evidence.recorded)

    @property
    def unasked(self) -> tuple[str, ...]:
        return self.evidence.unasked

    @property
    def runs(self) -> list[dict[str, Any]]:
        return [
            {
                "at": one.record.rows[0].at,
                "runbook": one.record.runbook,
                "service": f"{one.record.service} in {one.record.environment}",
                "decision": one.decision_text,
                "origin": one.origin,
                "url": one.url,
            }
            for one in self.evidence.our_runs[:50]
        ]

    @cached_property
    def day(self) -> str:
        """The date, where all happened on one."""
        told = [*(line.at for line in self.every_line), *(moment.at for moment in self.moments if moment.at)]
        dates = {at.date() for at in told}
        return dates.pop().isoformat() if len(dates) == 1 else ""

    @property
    def heading(self) -> str:
        return f"{self.day}, UTC" if self.day else "UTC"

    def _span(self, first: Name, last: Name) -> float | None:
        return next(span.seconds for span in self.spans if (span.first, span.last) == (first, last))

    @property
    def recovery_seconds(self) -> float | None:
        return self._span(Name.REQUESTED, Name.MITIGATED)

    @property
    def duration(self) -> float | None:
        return self._span(Name.STARTED, Name.MITIGATED)

    @property
    def duration_lacks(self) -> str:
        missing = {moment.name for moment in self.moments if moment.at is None}
        lacks = [name for name in (Name.STARTED, Name.MITIGATED) if name in missing]
        ends = {Name.STARTED: "when it started", Name.MITIGATED: "when it was mitigated"}
        return " and ".join(ends[name] for name in lacks) or "which of the two came first"

    @property
    def bars(self) -> list[tuple[Stage, str]]:
        """Return each stage with a bar of its share: a picture that also an e-mail shows."""
        stages = self.recovery.stages if self.recovery else ()
        whole = sum(stage.seconds for stage in stages) or 1.0
        return [(stage, "█" * max(1, round(BAR * stage.seconds / whole))) for stage in stages if stage.seconds >= 0.05]


def title(evidence: Evidence) -> str:
    """The procedure's own, with what it is about."""
    drill = "Drill: " if evidence.is_drill else ""
    return f"{drill}Incident report: {evidence.opened_at:%Y-%m-%d}, incident {evidence.number}"


def new(evidence: Evidence) -> str:
    """A report with all its prompts."""

    def page(regions: Mapping[str, str]) -> str:
        marked = {name: region(name, evidence.number, text) for name, text in regions.items()}
        template = load_templates().get_template("report.md.j2")
        return collapse_blank_lines(template.render(regions=marked, asked=_asked, checklist=CHECKLIST))

    return _fitted(evidence, page)


def renew(body: str, evidence: Evidence) -> str:
    """The same report with its regions as they are now."""
    return _fitted(evidence, lambda regions: renewed(body, evidence.number, regions))


def _fitted(evidence: Evidence, page: Callable[[Mapping[str, str]], str]) -> str:
    """With as many rows of the timeline as there is room for."""
    most = 400
    while True:
        text = page(_regions(_View(evidence, most)))
        if len(text) <= BUDGET or most == 0:
            return text
        most = most * 3 // 4


def _regions(view: _View) -> dict[str, str]:
    macros = load_templates().get_template("report_regions.md.j2").module
    return {name: collapse_blank_lines(str(getattr(macros, name)(view))).strip() for name in REGIONS}


def _asked(section: str) -> str:
    return "".join(f"**{prompt}**\n\n{OPEN}\n\n" for prompt in PROMPTS[section])


def open_items(body: str) -> list[str]:
    """What people have still to write or to tick, in the order of the page."""
    items = list(still_open(body, [prompt for prompts in PROMPTS.values() for prompt in prompts]))
    if rows_left := todo_rows(body):
        items.append(f"{rows_left} action item{'s' if rows_left > 1 else ''} under Prevention")
    return [*items, *unticked(body, [item for _, items in CHECKLIST for item in items])]


def closing(number: int, items: list[str], evidence: Evidence) -> str:
    """What is said on an incident that was closed. `number`: the report's."""
    what = "drill" if evidence.is_drill else "incident"
    template = load_templates().get_template("report_closing.md.j2")
    on, back = evidence.still_on, evidence.sets_back
    return template.render(number=number, items=items, what=what, still_on=on, sets_back=back)
