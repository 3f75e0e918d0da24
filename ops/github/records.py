"""Judge the records on an incident: which may act, and why others do not count.

Everyone with write access can edit a comment of the bot, and every workflow of the repository comments as the same bot.
So a record acts only if a workflow of ours wrote it, and nobody else edited its comment.

GitHub deletes a run after the retention of the repository; then nobody can verify its records.

docs.github.com/graphql/reference/objects#usercontentedit, docs.github.com/rest/actions/workflow-runs#get-a-workflow-run
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any

from ops.core.clock import parse_http_date, parse_utc
from ops.core.errors import ProviderError
from ops.core.names import first_of, quote_name
from ops.core.run_record import PreviousRuns, RecordRules, RunRecord, parse_job_run
from ops.core.threads import run_in_batches, run_parallel_mixed
from ops.github.client import provider_errors, read_json
from ops.github.comments import BOT, author_login, own_login, run_records
from ops.github.issues import TrustedAuthors

if TYPE_CHECKING:
    from github import GithubException
    from github.Issue import Issue
    from github.IssueComment import IssueComment
    from github.Repository import Repository

EVENTS = {"issues", "push", "repository_dispatch", "schedule", "workflow_dispatch"}
"""Events whose runs take the workflow file from the branch that GitHub names. A pull request brings its own."""
NEWER = "it was written or deleted while its history was read"
"""Doubt about a comment that only one of the parallel reads shows, such as that of the run itself."""
STRANGER = "who may not write here"
"""End of the doubt about a person without write access. In a public repository everybody can comment."""
DENIED, MISSING, DELETED = 403, 404, 410
"""Statuses of an answer without a workflow run. GitHub answers 404 to a deleted one too."""
SHORTEST_RETENTION = timedelta(days=1)
"""Shortest time that GitHub keeps a workflow run; 90 days by default, and at most in public repositories.

github.blog/changelog/2026-08-27-actions-retention-will-cover-checks-workflow-runs-and-statuses
"""
PARALLEL_READS = 16
MOST_SINGLE, RUN_PAGES = 10, 3
"""Workflow runs that are read one by one; of more, so many pages of a hundred are read first."""
RUN_AGE = timedelta(days=2)
"""Longest time from the start of a workflow run to its first comment: a watch, or a wait for a reviewer."""
LONGEST_HISTORY = 10
"""Pages of edits of one comment. A watch edits its comment every 30 seconds, for two hours at most."""
_EDITS = """userContentEdits(first: 100, after: $after) {
  pageInfo { hasNextPage endCursor }
  nodes { editor { __typename login } }
}"""
_COMMENTS = f"""query($owner: String!, $name: String!, $number: Int!, $page: String, $after: String) {{
  repository(owner: $owner, name: $name) {{
    defaultBranchRef {{ name }}
    issue(number: $number) {{
      comments(first: 100, after: $page) {{
        pageInfo {{ hasNextPage endCursor }}
        nodes {{ id fullDatabaseId {_EDITS} }}
      }}
    }}
  }}
}}"""
_COMMENT = f"query($id: ID!, $after: String) {{ node(id: $id) {{ ... on IssueComment {{ {_EDITS} }} }} }}"


class Trust(Enum):
    """The weight of a record."""

    OURS = "ours"
    """A workflow of ours wrote it, and nobody else edited it: it may act."""
    LAPTOP = "laptop"
    """A responder wrote it: it may make a run stricter, and never less strict."""
    NONE = "none"


@dataclass(frozen=True)
class JudgedRecord:
    """A record on an issue. `doubt` says why it does not count, or only makes a run stricter."""

    record: RunRecord
    comment: "IssueComment"
    trust: Trust
    doubt: str = ""
    is_unreadable: bool = False
    """Whether GitHub did not say who edited it, or which workflow ran."""
    is_missing: bool = False
    """Whether GitHub has no workflow run of that number, although it deletes none so soon."""
    is_denied: bool = False
    """Whether our own token may not read workflow runs: it lacks the permission *Actions: read*."""
    is_former: bool = False
    """Whether it has the form of release 0.1.1, whose watches and steps named no workflow run."""
    editor: str = ""
    """The only other person who edited it, if a record of that person may make a run stricter."""

    @property
    def author(self) -> str:
        return author_login(self.comment)

    @property
    def is_unverified(self) -> bool:
        """Whether only GitHub's silence makes it doubtful: it may be shown, with the reason, and never act."""
        return self.trust == Trust.NONE and self.is_unreadable and not self.is_missing


def judge_records(
    issue: "Issue", rules: RecordRules, matches: Callable[[RunRecord], bool] = lambda _: True
) -> list[JudgedRecord]:
    """Return the matching records on the issue, oldest first, each with its weight.

    Comments and their edits are read in parallel, then their workflow runs and authors. Raises ProviderError if the
    comments cannot be read.
    """
    repository, number = _locate_issue(issue)
    with provider_errors():
        found, history = run_parallel_mixed(_incident_reads(repository, issue, number))
        return judge_comments(repository, rules, [each for each in found if matches(each[1])], history)


def _locate_issue(issue: "Issue") -> "tuple[Repository, int]":
    """Return repository and number of an issue by its URL. PyGithub would read the issue for them first."""
    from github.Repository import Repository

    base, _, number = issue.url.rpartition("/issues/")
    return Repository(issue.requester, url=base), int(number)


def _incident_reads(repository: "Repository", issue: "Issue", number: int) -> list[Callable[[], Any]]:
    return [lambda: list(run_records(issue)), lambda: read_comment_history(repository, number)]


def judge_comments(
    repository: "Repository",
    rules: RecordRules,
    found: "list[tuple[IssueComment, RunRecord]]",
    history: "CommentHistory | None",
    listed: Mapping[int, Any] | None = None,
) -> list[JudgedRecord]:
    """Return the records with their weight, after reading their workflow runs and authors.

    `listed`: workflow runs that are known already (default: those of the days of the comments, if there are many).
    """
    written = _writing_times(found)
    numbers = sorted(written)
    is_long = listed is None and len(numbers) > MOST_SINGLE
    known = _list_runs(repository, [comment.created_at for comment, _ in found]) if is_long else {**(listed or {})}
    missing = [number for number in numbers if number not in known]
    runs = run_in_batches([partial(_read_run, repository, each, written[each]) for each in missing], PARALLEL_READS)
    known |= dict(zip(missing, runs, strict=True))
    judge = _RecordJudge(rules, TrustedAuthors(repository), history, _full_name(repository), known)
    return [judge.judge(comment, record) for comment, record in found]


def _writing_times(found: "list[tuple[IssueComment, RunRecord]]") -> dict[int, datetime]:
    """Return number of each workflow run that a record of the bot names → time of its newest comment."""
    times = dict[int, datetime]()
    for comment, record in found:
        if author_login(comment) == BOT and (number := workflow_run_number(record)) is not None:
            times[number] = max(times.get(number, comment.created_at), comment.created_at)
    return times


def read_previous_runs(repository: "Repository", number: int, rules: RecordRules) -> PreviousRuns:
    """Return the records of an incident that count, and when it was opened.

    It takes two rounds of parallel reads, because a plan may wait for it. Raises what PyGithub raises.
    """
    from github.Issue import Issue

    issue = Issue(repository.requester, url=f"{repository.url}/issues/{number}")  # without a request
    reads = _incident_reads(repository, issue, number)
    found, history, read = run_parallel_mixed([*reads, lambda: read_json(repository, f"/issues/{number}")])
    judged = judge_comments(repository, rules, found, history)
    return PreviousRuns(
        tuple(each.record for each in judged if each.trust != Trust.NONE),
        parse_utc(read["created_at"]),
        tuple(each.record for each in judged if each.trust == Trust.OURS),
        describe_doubts(judged),
    )


def acting_records(
    issue: "Issue", rules: RecordRules, matches: Callable[[RunRecord], bool] = lambda _: True
) -> list[JudgedRecord]:
    """Return the records that may act, oldest first: on a laptop also those that its own token wrote.

    Raises ProviderError.
    """
    return keep_acting(issue, judge_records(issue, rules, matches))


def keep_acting(issue: "Issue", judged: Iterable[JudgedRecord]) -> list[JudgedRecord]:
    """Return those of the judged records that `acting_records` returns. Raises ProviderError."""
    judged = list(judged)
    with provider_errors():
        own = own_login(_locate_issue(issue)[0]) if any(each.trust == Trust.LAPTOP for each in judged) else ""
    return [each for each in judged if each.trust == Trust.OURS or (each.trust == Trust.LAPTOP and each.author == own)]


def describe_doubts(judged: Iterable[JudgedRecord], issue: str = "incident") -> str:
    """Return which records do not count, and why, for people; empty if all do, but those of strangers."""
    doubted = (each for each in judged if each.trust == Trust.NONE and not each.doubt.endswith((NEWER, STRANGER)))
    doubts = dict.fromkeys(f"{quote_name(each.record.run)}: {each.doubt}" for each in doubted)
    return f"records on the {issue} that do not count: {'; '.join(first_of([*doubts], 3))}" if doubts else ""


def workflow_run_number(record: RunRecord) -> int | None:
    """Return the number of the workflow run that wrote the record; None on a laptop, or before it was recorded."""
    job = parse_job_run(record.run)
    if job is not None:
        return job[0]
    match = re.fullmatch(r"([0-9]{1,20})\.[0-9]{1,5}", record.job)
    if match is None and isinstance(event := record.approval.get("event"), str):
        match = re.fullmatch(r"([0-9]{1,20})", event)
    return int(match[1]) if match else None


@dataclass(frozen=True)
class CommentHistory:
    """Default branch and editors: ID of a comment → logins; "" is a deleted account."""

    branch: str
    editors: Mapping[int, Collection[str] | None]
    """None: the comment has too many edits. A comment that is missing is newer."""


@dataclass(frozen=True)
class _RecordJudge:
    rules: RecordRules
    authors: TrustedAuthors
    history: CommentHistory | None
    """None: GitHub did not give it."""
    repository: str
    runs: Mapping[int, Any]
    """Number → GitHub's answer; the status if it gave none, and 0 without any answer."""

    def judge(self, comment: "IssueComment", record: RunRecord) -> JudgedRecord:
        author = author_login(comment)
        if self.history is not None and comment.id not in self.history.editors:
            return JudgedRecord(record, comment, Trust.NONE, NEWER, is_unreadable=True)
        editors = self.history.editors[comment.id] if self.history else None
        if editors is None:
            return JudgedRecord(record, comment, Trust.NONE, "GitHub does not say who edited it", is_unreadable=True)
        if others := sorted({*editors} - {author, BOT}):
            who = f"@{quote_name(others[0])}" if others[0] else "a deleted account"
            editor = others[0] if len(others) == 1 and not self._doubt_person(others[0]) else ""
            return JudgedRecord(record, comment, Trust.NONE, f"{who} edited it", editor=editor)
        if author != BOT:
            doubt = self._doubt_person(author)
            return JudgedRecord(record, comment, Trust.NONE if doubt else Trust.LAPTOP, doubt)
        doubt, number = self._doubt_run(record), workflow_run_number(record)
        run = None if number is None else self.runs[number]
        return JudgedRecord(
            record,
            comment,
            Trust.NONE if doubt else Trust.OURS,
            doubt,
            is_unreadable=isinstance(run, int),
            is_missing=run == MISSING,
            is_denied=run == DENIED,
            is_former=number is None,
        )

    def _doubt_person(self, login: str) -> str:
        """Return why a person's record does not count; empty if it may make a run stricter."""
        if not self.authors.includes(login):
            return f"@{quote_name(login)} wrote it, {STRANGER}"
        responders = {each.lower() for each in self.rules.responders}
        is_other = responders and login.lower() not in responders
        return f"@{quote_name(login)} wrote it, who is no responder of ops.yml" if is_other else ""

    def _doubt_run(self, record: RunRecord) -> str:
        """Return why the workflow run of a record is none of ours; empty if it is."""
        number = workflow_run_number(record)
        if number is None:
            return "it names no workflow run"
        run = self.runs[number]
        if run == DENIED:
            return "this token lacks Actions: read, which `ops workflows sync` gives to jobs"
        if run == DELETED:
            return f"GitHub no longer shows workflow run {number}"
        if isinstance(run, int):
            return f"GitHub shows no workflow run {number}" + ("" if run == MISSING else ", or did not answer")
        path, branch = run["path"].partition("@")[0], self.history.branch if self.history else ""
        home = (run["head_repository"] or {}).get("full_name", "")
        if path not in self.rules.workflows:
            return f"run {number} is of {quote_name(path)}, which `ops workflows sync` does not write"
        if run["event"] not in EVENTS:
            return f"run {number} was started by {quote_name(run['event'])}"
        if run["head_branch"] != branch or home.lower() != self.repository.lower():
            return f"run {number} is of branch {quote_name(run['head_branch'] or 'unknown')}, not of {branch}"
        return ""


def _full_name(repository: "Repository") -> str:
    """Return owner/name from its URL: PyGithub would send a request for it."""
    return "/".join(repository.url.rsplit("/", 2)[-2:])


def _list_runs(repository: "Repository", times: Collection[datetime]) -> dict[int, Any]:
    """Return the newest workflow runs of the days of these comments, by number; none if GitHub does not list them."""
    import requests
    from github import GithubException

    days = f"{min(times) - RUN_AGE:%Y-%m-%d}..{max(times) + timedelta(days=1):%Y-%m-%d}"
    known = dict[int, Any]()
    try:
        for page in range(1, RUN_PAGES + 1):
            listed = read_json(repository, f"/actions/runs?per_page=100&page={page}&created={days}")["workflow_runs"]
            known |= {run["id"]: run for run in listed}
            if len(listed) < 100:
                break
    except (GithubException, ProviderError, requests.RequestException):
        return known
    return known


def _read_run(repository: "Repository", number: int, written_at: datetime) -> Any:
    """Return GitHub's answer; its status if it gives none, and 0 without an answer or after too many requests.

    A run is DELETED if GitHub may have deleted it since the newest comment that names it.
    """
    import requests
    from github import GithubException, RateLimitExceededException

    try:
        return read_json(repository, f"/actions/runs/{number}")
    except (RateLimitExceededException, ProviderError, requests.RequestException):
        return 0
    except GithubException as error:
        return DELETED if error.status == MISSING and _may_be_deleted(error, written_at) else error.status


def _may_be_deleted(error: "GithubException", written_at: datetime) -> bool:
    """Return whether GitHub's answer is so much later that it may have deleted the run; False without its time."""
    try:
        answered_at = parse_http_date((error.headers or {}).get("date", ""))
    except ValueError:
        return False
    return answered_at - written_at > SHORTEST_RETENTION


def read_comment_history(repository: "Repository", number: int) -> CommentHistory | None:
    """Return who edited each comment of the issue; None if GitHub does not say so."""
    import requests
    from github import GithubException

    owner, _, name = _full_name(repository).partition("/")
    where, editors = {"owner": owner, "name": name, "number": number}, dict[int, Collection[str] | None]()
    page, branch = None, ""
    try:
        while True:
            read = query_graphql(repository, _COMMENTS, {**where, "page": page, "after": None})["repository"]
            branch, comments = read["defaultBranchRef"]["name"], read["issue"]["comments"]
            reads = [partial(_read_editors, repository, node) for node in comments["nodes"]]
            ids = (int(node["fullDatabaseId"]) for node in comments["nodes"])
            editors.update(zip(ids, run_in_batches(reads, PARALLEL_READS), strict=True))
            if not comments["pageInfo"]["hasNextPage"]:
                return CommentHistory(branch, editors)
            page = comments["pageInfo"]["endCursor"]
    except (GithubException, ProviderError, requests.RequestException, LookupError, TypeError, ValueError):
        return None


def _read_editors(repository: "Repository", node: Mapping[str, Any]) -> Collection[str] | None:
    """Return the logins of all editors of a comment; None if it has too many edits."""
    logins, edits = set[str](), node["userContentEdits"]
    for _ in range(LONGEST_HISTORY):
        logins |= {editor_login(each["editor"]) for each in edits["nodes"]}
        if not edits["pageInfo"]["hasNextPage"]:
            return logins
        more = {"id": node["id"], "after": edits["pageInfo"]["endCursor"]}
        edits = query_graphql(repository, _COMMENT, more)["node"]["userContentEdits"]
    return None


def editor_login(editor: Mapping[str, Any] | None) -> str:
    """Return the login as the REST API spells it: the GraphQL API leaves out the `[bot]` of a bot."""
    return "" if editor is None else f"{editor['login']}[bot]" if editor["__typename"] == "Bot" else editor["login"]


def query_graphql(repository: "Repository", query: str, variables: Mapping[str, Any]) -> Any:
    """Return the data of a GraphQL query. Raises what PyGithub raises."""
    return repository.requester.graphql_query(query, dict(variables))[1]["data"]
