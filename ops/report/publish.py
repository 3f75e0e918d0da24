"""Publish post-incident reports as labeled issues, one per incident.

Reports are found by listing issues, because GitHub's search lags by minutes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops.github.comments import CommentNotSaved, author_login, is_saved, own_login
from ops.github.issues import TrustedAuthors, clean_title
from ops.report.regions import incident_of

if TYPE_CHECKING:
    from github.Issue import Issue
    from github.Repository import Repository

LABEL = "post-incident"


@dataclass(frozen=True)
class PublishedReport:
    number: int
    url: str
    body: str
    is_new: bool


def publish_report(
    repository: "Repository", incident: int, *, title: str, new: Callable[[], str], renew: Callable[[str], str]
) -> PublishedReport:
    """Create or update the incident's report. Raises PyGithub's exceptions, and NotKept.

    GitHub has no compare-and-set for a text, so it is read, updated, written at once, and read back.
    """
    found = find_report(repository, incident)
    if found is None:
        return _create_report(repository, incident, title, new())
    before = found.body or ""
    after = renew(before)
    if after != before:
        found.edit(body=after)
        kept = repository.get_issue(found.number).body or ""
        if not is_saved(kept, after):
            raise CommentNotSaved
    return PublishedReport(found.number, found.html_url, after, is_new=False)


def find_report(repository: "Repository", incident: int) -> "Issue | None":
    """Return the first report of the incident by a trusted author, open or closed."""
    writers = TrustedAuthors(repository)
    reports = repository.get_issues(labels=[LABEL], state="all", direction="asc")
    return next(
        (
            issue
            for issue in reports
            if incident_of(issue.body or "") == incident
            and (author_login(issue) == own_login(repository) or writers.includes(author_login(issue)))
        ),
        None,
    )


def _create_report(repository: "Repository", incident: int, title: str, body: str) -> PublishedReport:
    """Create the report. If two runs create one at the same time, the later one closes its own."""
    try:
        made = repository.create_issue(clean_title(title), body, labels=[LABEL])
    except Exception:  # the answer may be lost although the report was created
        if (found := find_report(repository, incident)) is None:
            raise
        made = found
    first = find_report(repository, incident)
    if first is not None and first.number < made.number:
        made.edit(state="closed", state_reason="not_planned")
        return PublishedReport(first.number, first.html_url, first.body or "", is_new=False)
    return PublishedReport(made.number, made.html_url, body, is_new=True)
