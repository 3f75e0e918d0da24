"""The post-incident reports: issues with a label of their own, one for each incident.

They are found by listing, since GitHub's search is minutes behind.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops.github.comments import CommentNotSaved, author, is_saved, login
from ops.github.issues import TrustedAuthors, clean_title
from ops.report.regions import incident_of

if TYPE_CHECKING:
    from github.Issue import Issue
    from github.Repository import Repository

LABEL = "post-incident"


@dataclass(frozen=True)
class Written:
    number: int
    url: str
    body: str
    is_new: bool


def write(
    repository: "Repository", incident: int, *, title: str, new: Callable[[], str], renew: Callable[[str], str]
) -> Written:
    """Create the incident's report, or bring it up to date. Raises what PyGithub raises, and NotKept.

    GitHub has no compare-and-set for a text: it is read, renewed and written at once, and read again.
    """
    found = find(repository, incident)
    if found is None:
        return _created(repository, incident, title, new())
    before = found.body or ""
    after = renew(before)
    if after != before:
        found.edit(body=after)
        kept = repository.get_issue(found.number).body or ""
        if not is_saved(kept, after):
            raise CommentNotSaved
    return Written(found.number, found.html_url, after, is_new=False)


def find(repository: "Repository", incident: int) -> "Issue | None":
    """The first that was made of it, by this program or by somebody who may write here; open or closed."""
    writers = TrustedAuthors(repository)
    reports = repository.get_issues(labels=[LABEL], state="all", direction="asc")
    return next(
        (
            issue
            for issue in reports
            if incident_of(issue.body or "") == incident
            and (author(issue) == login(repository) or writers.includes(author(issue)))
        ),
        None,
    )


def _created(repository: "Repository", incident: int, title: str, body: str) -> Written:
    """Two that made one at the same time both look again: the first stays, and the other closes its own."""
    try:
        made = repository.create_issue(clean_title(title), body, labels=[LABEL])
    except Exception:  # the answer may be lost, and the report there all the same
        if (found := find(repository, incident)) is None:
            raise
        made = found
    first = find(repository, incident)
    if first is not None and first.number < made.number:
        made.edit(state="closed", state_reason="not_planned")
        return Written(first.number, first.html_url, first.body or "", is_new=False)
    return Written(made.number, made.html_url, body, is_new=True)
