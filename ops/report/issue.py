"""The post-incident issue: its Markdown with generated regions, and its update.

A region lies between two HTML comments; the first holds a digest of the generated text. If a person edited the text, it
stays as their text, and a new region follows below it. Reports are found by listing issues, because GitHub's search
lags by minutes.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING

from ops.cloudflare.types.workers import describe_split
from ops.core.clock import Clock
from ops.core.incident_state import IssueRecord
from ops.core.names import count_of
from ops.github.comments import MAX_TEXT, CommentNotSaved, is_pull_request, is_saved
from ops.github.issue_edits import edit_text
from ops.github.issues import TrustedAuthors, create_first
from ops.publish.comment import AFTER, BEFORE
from ops.render import collapse_blank_lines, load_templates
from ops.report.action_items import PLACEHOLDER, describe_item_count
from ops.report.checklist import OPEN, RECORDED, TICKED, list_checklist_steps, render_steps
from ops.report.evidence import IncidentEvidence
from ops.report.facts import embed_incident_facts, find_facts
from ops.report.impact import ImpactView
from ops.report.pictures import draw_incident, draw_requests
from ops.report.summary import describe_incident
from ops.report.timeline import (
    IncidentMoment,
    IncidentSpan,
    MomentName,
    RecoveryStage,
    RecoveryTiming,
    TimelineRow,
    build_rows,
    find_moments,
    measure_recovery,
    measure_spans,
    visible_rows,
)

if TYPE_CHECKING:
    from github.Issue import Issue
    from github.Repository import Repository

_MARK = re.compile(r"^<!-- backout:region (?P<name>[a-z]+) incident=(?P<incident>\d+) (?P<digest>[0-9a-f]{16}) -->$")
_END = "<!-- backout:region end -->"
EDITED_NOTE = "_The text above was edited by hand and is no longer updated. The generated text follows._"
MAX_BAR_LENGTH = 10
"""Characters of the longest bar; more do not fit on a phone."""
FACTS = "facts"
"""Region with the hidden facts for statistics."""
REGIONS = ("status", "summary", "timing", "timeline", "impact", "resolution", "checklist", "evidence")
PROMPTS: Mapping[str, tuple[str, ...]] = {
    "Summary": ("Which users saw the problem, and what did they see?",),
    "Impact": ("How many users were affected, and how many requests failed? (with the source of each number)",),
    "Root Cause": ("What made this possible, and why did tests, review and canary not show it? (every factor)",),
    "Resolution": ("What was done by hand, and what still has to be put right?",),
    "Lessons Learned": ("What went well, what went badly, and what would have halved the time to notice and recover?",),
}
"""Questions for people. They ask how and what, not who and why."""
LABEL = "post-incident"
MAX_RUNS = 50
"""Most runs in the list of what was done."""
TEMPLATE_FUNCTIONS = {"describe_split": describe_split, "draw_incident": draw_incident, "draw_requests": draw_requests}


def build_report_region(name: str, incident: int, text: str) -> str:
    text = text.strip("\n")
    return f"<!-- backout:region {name} incident={incident} {_report_region_digest(text)} -->\n{text}\n{_END}"


def incident_of_report(body: str) -> int | None:
    """Return the incident of a report; None if the body is not a report."""
    match = next((mark for line in (body or "").splitlines() if (mark := _MARK.match(line.rstrip()))), None)
    return int(match["incident"]) if match else None


def update_report_regions(body: str, incident: int, fresh: Mapping[str, str]) -> str:
    """Return the body with its regions updated. A removed region stays removed."""
    lines, out = body.replace("\r\n", "\n").split("\n"), []
    done: set[str] = set()
    at = 0
    while at < len(lines):
        mark = _MARK.match(lines[at].rstrip())
        end = _find_report_region_end(lines, at + 1) if mark else None
        if mark is None or end is None or mark["name"] in done or mark["name"] not in fresh:
            out.append(lines[at])
            at += 1
            continue
        done.add(mark["name"])
        written = "\n".join(lines[at + 1 : end])
        if _report_region_digest(written) != mark["digest"]:
            out += [*lines[at + 1 : end], "", EDITED_NOTE, ""]
        out.append(build_report_region(mark["name"], incident, _keep_report_ticks(written, fresh[mark["name"]])))
        at = end + 1
    return "\n".join(out)


def _find_report_region_end(lines: list[str], start: int) -> int | None:
    """Return the end of the region; None if a person deleted its end line."""
    for at in range(start, len(lines)):
        if _MARK.match(lines[at].rstrip()):
            return None
        if lines[at].rstrip() == _END:
            return at
    return None


def _keep_report_ticks(written: str, fresh: str) -> str:
    """Return the fresh text with the steps that people ticked. A recorded step is ticked by its check alone."""
    ticked = {line.rstrip()[len(TICKED) :] for line in written.splitlines() if line.startswith((TICKED, "- [X] "))}
    steps = {f"{OPEN}{step}": f"{TICKED}{step}" for step in ticked if not step.endswith(RECORDED)}
    return "\n".join(steps.get(line, line) for line in fresh.split("\n"))


def _report_region_digest(text: str) -> str:
    """Return a digest of the text; ticks do not count, because people tick steps in a region."""
    normalized = "\n".join(_without_report_tick(line.rstrip()) for line in text.strip().splitlines())
    return hashlib.sha256(normalized.encode(errors="backslashreplace")).hexdigest()[:16]


def _without_report_tick(line: str) -> str:
    is_step = line.startswith((OPEN, TICKED, "- [X] "))
    return f"{OPEN}{line[len(OPEN) :].removesuffix(RECORDED)}" if is_step else line


def unanswered_prompts(body: str, prompts: Iterable[str]) -> tuple[str, ...]:
    """Return the prompts without an answer. A rewritten question counts as answered."""
    lines = body.replace("\r\n", "\n").split("\n")
    places = {line.strip().strip("*"): at for at, line in enumerate(lines)}
    return tuple(prompt for prompt in prompts if prompt in places and not _find_answer(lines, places[prompt] + 1))


def _find_answer(lines: list[str], start: int) -> str:
    """Return the text between a question and the next section or question."""
    answer = []
    for line in lines[start:]:
        if line.startswith(("#", "**", "<!-- backout:")):
            break
        answer.append(line)
    return "\n".join(answer).replace(PLACEHOLDER, "").strip()


def count_open_rows(body: str) -> int:
    """Count table rows with a placeholder."""
    return sum(line.startswith("|") and PLACEHOLDER in line for line in body.splitlines())


def unchecked_items(body: str, items: Iterable[str]) -> tuple[str, ...]:
    lines = {line.strip() for line in body.replace("\r\n", "\n").split("\n")}
    return tuple(item for item in items if f"- [ ] {item}" in lines)


@dataclass(frozen=True)
class ReportedRun:
    """A run with its changes and its watch."""

    evidence: IncidentEvidence
    recorded: IssueRecord

    @property
    def change_verb(self) -> str:
        """Return the verb: a change counts as done only if it was read back."""
        return "went from" if self.recorded.first_event_at("read_back") else "was to go from"

    @property
    def doubt_note(self) -> str:
        is_sent = self.recorded.first_event_at("writing") and not self.recorded.first_event_at("read_back")
        return "; the run could not verify it" if is_sent else ""

    @property
    def watch(self) -> IssueRecord | None:
        """Return the watch after its change."""
        return self.evidence.find_watch(self.recorded) if self.recorded.first_event_at("writing") else None


@dataclass(frozen=True)
class _ReportView:
    """Values for the templates, with at most `most` timeline rows."""

    evidence: IncidentEvidence
    most: int

    @cached_property
    def every_line(self) -> tuple[TimelineRow, ...]:
        return build_rows(self.evidence)

    @property
    def lines(self) -> tuple[TimelineRow, ...]:
        return self.every_line[: self.most]

    @cached_property
    def at_once(self) -> tuple[TimelineRow, ...]:
        return visible_rows(self.every_line)[: self.most]

    @property
    def has_unordered(self) -> bool:
        return any(line.is_unordered for line in self.lines)

    @cached_property
    def moments(self) -> tuple[IncidentMoment, ...]:
        return find_moments(self.evidence)

    @cached_property
    def spans(self) -> tuple[IncidentSpan, ...]:
        return measure_spans(self.moments)

    @cached_property
    def recovery(self) -> RecoveryTiming | None:
        return measure_recovery(self.evidence)

    @cached_property
    def sentences(self) -> tuple[str, str, str]:
        return describe_incident(self.evidence)

    @property
    def checklists(self) -> tuple[tuple[str, str], ...]:
        """Return title and task list of both checklists."""
        return tuple(
            (title, render_steps([step for step, _ in steps], self.evidence))
            for title, steps in (("Before", BEFORE), ("After", AFTER))
        )

    @property
    def services(self) -> list[str]:
        blocks = [one.record for one in self.evidence.our_runs]
        return list(dict.fromkeys(f"{block.service} in {block.environment}" for block in blocks))

    @property
    def action_count(self) -> str:
        return describe_item_count(self.evidence.action_items or ())

    @property
    def runs(self) -> tuple[ReportedRun, ...]:
        return tuple(ReportedRun(self.evidence, one) for one in self.evidence.our_runs[:MAX_RUNS])

    @cached_property
    def day(self) -> str:
        """Return the date if everything happened on one day, else an empty string."""
        times = [*(line.at for line in self.every_line), *(moment.at for moment in self.moments if moment.at)]
        dates = {at.date() for at in times}
        return dates.pop().isoformat() if len(dates) == 1 else ""

    @property
    def heading(self) -> str:
        return f"{self.day}, UTC" if self.day else "UTC"

    @property
    def duration(self) -> float | None:
        whole = (MomentName.STARTED, MomentName.MITIGATED)
        return next(span.seconds for span in self.spans if (span.first, span.last) == whole)

    @cached_property
    def impact(self) -> tuple[ImpactView, ...]:
        return tuple(map(ImpactView, self.evidence.impact))

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

    def report_page(regions: Mapping[str, str]) -> str:
        marked = {name: build_report_region(name, evidence.number, text) for name, text in regions.items()}
        template = load_templates().get_template("report.md.j2")
        return collapse_blank_lines(template.render(regions=marked, asked=_render_prompts))

    return _fit_rows(evidence, report_page)


def update_report(body: str, evidence: IncidentEvidence) -> str:
    """Update the generated regions of a report. One of an older release gets the region with the facts."""
    has_facts = any((mark := _MARK.match(line.rstrip())) and mark["name"] == FACTS for line in body.splitlines())
    whole = body if has_facts else f"{body.rstrip()}\n\n{build_report_region(FACTS, evidence.number, '')}\n"
    return _fit_rows(evidence, lambda regions: update_report_regions(whole, evidence.number, regions))


def find_facts_region(body: str) -> str:
    """Return the text of the region with the facts; empty if there is none, or if it was edited."""
    lines = body.replace("\r\n", "\n").split("\n")
    for at, line in enumerate(lines):
        mark = _MARK.match(line.rstrip())
        end = _find_report_region_end(lines, at + 1) if mark and mark["name"] == FACTS else None
        written = "\n".join(lines[at + 1 : end]) if end is not None else ""
        if mark and written and _report_region_digest(written) == mark["digest"]:
            return written
    return ""


def _fit_rows(evidence: IncidentEvidence, page: Callable[[Mapping[str, str]], str]) -> str:
    """Return the page with as many timeline rows as fit."""
    most = 400
    while True:
        text = page(_render_regions(_ReportView(evidence, most)))
        if len(text) <= MAX_TEXT or most == 0:
            return text
        most = most * 3 // 4


def _render_regions(view: _ReportView) -> dict[str, str]:
    macros = load_templates().get_template("report_regions.md.j2", globals=TEMPLATE_FUNCTIONS).module
    shown = {name: collapse_blank_lines(str(getattr(macros, name)(view))).strip() for name in REGIONS}
    return {**shown, FACTS: embed_incident_facts(find_facts(view.evidence))}


def _render_prompts(section: str) -> str:
    return "".join(f"**{prompt}**\n\n{PLACEHOLDER}\n\n" for prompt in PROMPTS[section])


def open_report_items(body: str) -> list[str]:
    """Return the prompts, rows and checks that people still have to complete, in page order."""
    items = list(unanswered_prompts(body, [prompt for prompts in PROMPTS.values() for prompt in prompts]))
    if rows_left := count_open_rows(body):
        items.append(f"{count_of(rows_left, 'action item')} under Prevention")
    return [*items, *unchecked_items(body, list_checklist_steps())]


def render_closing(number: int, items: list[str], evidence: IncidentEvidence) -> str:
    """Render the comment for a closed incident; `number` is the report's."""
    kind = "drill" if evidence.is_drill else "incident"
    template = load_templates().get_template("report_closing.md.j2")
    on, back = evidence.leftovers, evidence.reset_commands
    lead = evidence.state.lead.login
    return template.render(number=number, items=items, kind=kind, leftovers=on, reset_commands=back, lead=lead)


@dataclass(frozen=True)
class PublishedReport:
    number: int
    url: str
    body: str
    is_new: bool
    notes: tuple[str, ...] = ()
    """Edits of people that only the history of the report has now."""


def publish_report(
    repository: "Repository",
    incident: int,
    *,
    title: str,
    new: Callable[[], str],
    renew: Callable[[str], str],
    clock: Clock,
) -> PublishedReport:
    """Create or update the incident's report. Raises what PyGithub raises, and CommentNotSaved.

    GitHub has no compare-and-set for a text, so it is read, updated, written at once, and read back. An edit of a
    person in between is named.
    """
    report_issue = find_report(repository, incident)
    if report_issue is None:
        return _create_report(repository, incident, title, new(), clock)
    edited = edit_text(report_issue, renew)
    if edited.is_changed and not is_saved(repository.get_issue(report_issue.number).body or "", edited.body):
        raise CommentNotSaved
    url = report_issue.html_url
    return PublishedReport(report_issue.number, url, edited.body, is_new=False, notes=edited.notes)


def list_reports(repository: "Repository", since: datetime) -> "dict[int, Issue]":
    """Return incident → its first report by a trusted author, of the reports that changed since then."""
    trusted, reports = TrustedAuthors(repository), dict[int, "Issue"]()
    for each in repository.get_issues(labels=[LABEL], state="all", since=since, sort="created", direction="asc"):
        number = None if is_pull_request(each) else incident_of_report(each.body or "")
        if number is not None and number not in reports and trusted.wrote(each):
            reports[number] = each
    return reports


def find_report(repository: "Repository", incident: int) -> "Issue | None":
    """Return the first report of the incident by a trusted author, open or closed."""
    trusted = TrustedAuthors(repository, has_own=True)
    reports = repository.get_issues(labels=[LABEL], state="all", direction="asc")
    return next(
        (each for each in reports if incident_of_report(each.body or "") == incident and trusted.wrote(each)), None
    )


def _create_report(repository: "Repository", incident: int, title: str, body: str, clock: Clock) -> PublishedReport:
    """Create the report. If two runs create one at the same time, the later one closes its own."""
    issue, is_new = create_first(
        repository, title, body, LABEL, partial(find_report, repository, incident), clock=clock
    )
    return PublishedReport(issue.number, issue.html_url, body if is_new else issue.body or "", is_new=is_new)
