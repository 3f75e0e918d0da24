"""Results of drills: comments with a hidden record on the tracking issue.

Only a comment that a workflow of ours wrote, or a responder from a laptop, and that nobody else edited counts. GitHub
deletes workflow runs, and then nothing proves who wrote a comment. So each comment also holds the results before it.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from ops.core.clock import Clock
from ops.core.drill_result import (
    MOST_RESULTS,
    DrillTrend,
    RecordedDrill,
    merge_drills,
    parse_drill_result,
    parse_earlier,
)
from ops.core.errors import ConfigError, Reason
from ops.core.names import DRILL_LABEL
from ops.core.run_record import DRILL_SOURCE, RecordRules, RunRecord, embed_record
from ops.core.threads import run_parallel_mixed
from ops.github.client import CHECK_HINT, provider_errors
from ops.github.comments import find_own_comment, is_pull_request, run_records
from ops.github.issues import TrustedAuthors, create_first
from ops.github.records import JudgedRecord, Trust, describe_doubts, judge_comments, read_comment_history

if TYPE_CHECKING:
    from github.Issue import Issue
    from github.Repository import Repository

MARKER = "<!-- backout:drill-results -->"
"""Line of the issue that we open for the results."""
MOST_ISSUES = 3
"""Tracking issues that are read. There are two if two first drills ended at once."""
NEAR = 100
"""Most numbers between the issues of two first drills: later issues with the label are not listed."""


def list_tracking_issues(repository: "Repository", number: int | None) -> "list[Issue]":
    """Return the issues with the results, oldest first: the one of ops.yml, else those with our marker.

    Raises ConfigError if the one of ops.yml does not exist, and what PyGithub raises.
    """
    from github import UnknownObjectException

    if number is not None:
        try:
            issue = repository.get_issue(number)
            issue.complete()
        except UnknownObjectException:
            hint = "Correct `staging_drill.tracking_issue` in ops.yml, or remove it: the next drill opens an issue."
            text = f"the tracking issue #{number} of ops.yml does not exist"
            raise ConfigError(text, reason=Reason.UNKNOWN_INCIDENT, hint=hint) from None
        return [issue]
    trusted, marked = TrustedAuthors(repository), list["Issue"]()
    for issue in repository.get_issues(state="all", labels=[DRILL_LABEL], sort="created", direction="asc"):
        if len(marked) == MOST_ISSUES or (marked and issue.number > marked[0].number + NEAR):
            break
        is_marked = MARKER in (issue.body or "").splitlines() and not is_pull_request(issue)
        if is_marked and trusted.wrote(issue):
            marked.append(issue)
    return marked


def read_trend(repository: "Repository", number: int | None, rules: RecordRules, now: datetime) -> DrillTrend:
    """Return the newest results. Raises ConfigError and ProviderError."""
    judged = list[JudgedRecord]()
    with provider_errors(CHECK_HINT):
        issues = list_tracking_issues(repository, number)
        for issue in issues:
            judged += _judge_drills(repository, issue, rules)
    drills = merge_drills(drill for each in judged for drill in _list_counted(each))
    known = {each.result.key for each in drills}
    doubts = describe_doubts((each for each in judged if each.record.run not in known), "issue of the drills")
    return DrillTrend(now, drills, doubts, issues[0].html_url if issues else "")


def _judge_drills(repository: "Repository", issue: "Issue", rules: RecordRules) -> list[JudgedRecord]:
    """Return the newest records of drills on the issue by people who may write here, with their weight."""
    comments, history = run_parallel_mixed(
        [lambda: list(run_records(issue)), lambda: read_comment_history(repository, issue.number)]
    )
    trusted = TrustedAuthors(repository)
    drills = [each for each in comments if each[1].source == DRILL_SOURCE and trusted.wrote(each[0])]
    return judge_comments(repository, rules, drills[-MOST_RESULTS:], history)


def _list_counted(judged: JudgedRecord) -> Iterator[RecordedDrill]:
    """Yield the result of the record, and those before it that only the record of a workflow of ours proves."""
    result = parse_drill_result(judged.record.drill) if judged.trust != Trust.NONE else None
    if result is not None:
        is_ours = judged.trust == Trust.OURS
        yield RecordedDrill(result, judged.comment.html_url, "" if is_ours else judged.author)
        yield from parse_earlier(judged.record.drill) if is_ours else ()


def open_tracking_issue(repository: "Repository", title: str, text: str, clock: Clock) -> "Issue":
    """Open the issue for the results. If another drill opened one at the same time, close ours, and return that one.

    Raises ConfigError, and what PyGithub raises.
    """

    def find_first() -> "Issue | None":
        return next(iter(list_tracking_issues(repository, None)), None)

    return create_first(repository, title, f"{MARKER}\n{text}", DRILL_LABEL, find_first, clock=clock)[0]


def add_result(issue: "Issue", text: str, record: RunRecord) -> str:
    """Add the comment, unless one of ours has its record. Return its URL. Raises ProviderError."""
    with provider_errors():
        own = find_own_comment(issue, record.run, of_bot=True)
        return (own or issue.create_comment(embed_record(text, record))).html_url
