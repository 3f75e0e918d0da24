"""The incident of a staging drill: open it, find it, comment on it, close it.

Its body has a record. One that a person edited, or that somebody without write access wrote, is no drill of ours.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from ops.core.names import DRILL_LABEL
from ops.core.run_record import DRILL_SOURCE, RecordRow, RunRecord, embed_record, is_edited, read_record
from ops.core.standing_rollback import LIFTED
from ops.github.client import CHECK_HINT, provider_errors
from ops.github.comments import BOT, own_login, save_comment
from ops.github.issues import INCIDENT, TrustedAuthors, list_open_incidents
from ops.publish.comment import render_incident_body
from ops.render import collapse_blank_lines, load_templates

if TYPE_CHECKING:
    from ops.app.scope import Place
    from ops.github.client import Repository
    from ops.github.issues import Issue

REQUEST, END = "request", "end"
"""Names of the two comments."""
STOPPED = "not_planned"
"""Reason by which GitHub closes the issue of a drill that a person stopped."""
NEWEST = 5
"""Closed drills that are looked at for the newest one of ours."""


@dataclass(frozen=True)
class StagingDrillIncident:
    number: int
    url: str
    run: str
    """Run that deployed the bad version."""
    opened_at: datetime
    is_open: bool
    was_stopped: bool


def open_drill(repository: "Repository", run: str, place: "Place", text: str, now: datetime) -> StagingDrillIncident:
    """Open the incident. Sent once: after a lost answer a second drill would be worse. Raises ProviderError."""
    row = RecordRow(now, "requested", f"staging drill of {place.service} in {place.environment}")
    record = RunRecord(
        run,
        source=DRILL_SOURCE,
        environment=place.environment,
        service=place.service,
        rows=(row,),
    )
    body = embed_record(
        render_incident_body(service=place.service, environment=place.environment, symptom=text), record
    )
    title = f"Drill: recover {place.service} in {place.environment}"
    with provider_errors(CHECK_HINT):
        return _parse_staging_drill(repository.create_issue(title, body, labels=[INCIDENT, DRILL_LABEL]))


def split_open_drills(repository: "Repository") -> tuple[list[StagingDrillIncident], "list[Issue]"]:
    """Return the open drills of ours, newest first, and the other open incidents. Raises ProviderError."""
    with provider_errors(CHECK_HINT):
        listed = list_open_incidents(repository)
        ours = {each.number for each in _filter_drill_issues(repository, listed)}
    drills = [_parse_staging_drill(each) for each in listed if each.number in ours]
    return drills, [each for each in listed if each.number not in ours]


def find_last_drill(repository: "Repository") -> StagingDrillIncident | None:
    """Return the newest drill of ours that ended. Raises ProviderError."""
    with provider_errors(CHECK_HINT):
        listed = repository.get_issues(state="closed", labels=[INCIDENT, DRILL_LABEL], sort="created", direction="desc")
        return next(
            (_parse_staging_drill(each) for each in _filter_drill_issues(repository, islice(listed, NEWEST))), None
        )


def read_staging_drill(repository: "Repository", number: int) -> StagingDrillIncident:
    """Return the drill with this number, as it is now. Raises ProviderError."""
    with provider_errors(CHECK_HINT):
        return _parse_staging_drill(repository.get_issue(number))


def _filter_drill_issues(repository: "Repository", listed: "Iterable[Issue]") -> "Iterator[Issue]":
    trusted = TrustedAuthors(repository, has_own=True)
    for each in listed:
        record = read_record(each.body or "")
        if record is None or record.source != DRILL_SOURCE or is_edited(each.body or ""):
            continue
        if DRILL_LABEL in {label.name for label in each.labels} and trusted.wrote(each):
            yield each


def _parse_staging_drill(issue: "Issue") -> StagingDrillIncident:
    opened = issue.created_at.astimezone(UTC).replace(microsecond=0)
    is_open = issue.state == "open"
    record = read_record(issue.body or "")
    run = record.run if record else ""
    return StagingDrillIncident(
        issue.number, issue.html_url, run, opened, is_open, not is_open and issue.state_reason == STOPPED
    )


def comment_on_drill(repository: "Repository", number: int, name: str, **values: Any) -> None:
    """Write our comment of this name, or edit it. Raises ProviderError."""
    marker = f"<!-- backout:staging-drill {name} -->"
    text = load_templates().get_template("staging_drill.md.j2").render(number=number, **values)
    save_comment(repository, number, marker, f"{collapse_blank_lines(text).strip()}\n\n{marker}\n")


def close_drill(repository: "Repository", number: int, *, is_stopped: bool, lifts_hold: bool) -> None:
    """Close the issue if it is open. `lifts_hold`: our bot lifts the hold of the rollback. Raises ProviderError."""
    with provider_errors(CHECK_HINT):
        issue = repository.get_issue(number)
        if lifts_hold and own_login(repository) == BOT:
            issue.add_to_labels(LIFTED)
        if issue.state == "open":
            issue.edit(state="closed", state_reason=STOPPED if is_stopped else "completed")
