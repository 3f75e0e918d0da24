"""Write Backout's own comments and issues: create once, edit in place, read back."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from ops.core.errors import ProviderError, Reason
from ops.core.run_record import STATE_SOURCE, RunRecord, embed_record, parse_job_run, read_record
from ops.github.client import GitHubApiError, newest_first, provider_errors
from ops.github.list_lag import BOT as BOT  # noqa: PLC0414  comments.BOT is its name elsewhere
from ops.github.list_lag import read_login

if TYPE_CHECKING:
    from github.Issue import Issue
    from github.IssueComment import IssueComment
    from github.PullRequest import PullRequest
    from github.Repository import Repository

MAX_TEXT = 60_000
"""Longest text that we write, in characters, with its hidden record. People may add to it.

GitHub's error message names a limit of 65,536; measured limits differ.
"""


def request_comment_mark(run: int | str, attempt: int | str) -> str:
    """Return the line that marks the comment of a request before its run begins.

    The run of that attempt continues in that comment.
    """
    return f"<!-- backout:request run={run} attempt={attempt} -->"


class CommentNotSaved(ProviderError):
    """GitHub answered an edit with success and kept the old text."""

    def __init__(self) -> None:
        hint = "Nothing is lost. Do it again; if it stays so, the text may be longer than GitHub takes."
        super().__init__("GitHub took the text and kept the old one", reason=Reason.PROVIDER_REFUSED, hint=hint)


def own_login(repository: "Repository") -> str:
    """Return the login of the token's owner, as `read_login` does."""
    return read_login(repository.requester)


def author_login(written: "Issue | IssueComment | PullRequest") -> str:
    """Return the author's login; "" if the account was deleted."""
    user: Any = written.user  # GitHub may answer null, which PyGithub's types omit
    return user.login if user else ""


def is_pull_request(listed: "Issue") -> bool:
    """Return whether an entry of a list of issues is a pull request.

    Its field `pull_request` is missing in a list if it is none, and PyGithub then reads each issue on its own.
    """
    return listed.html_url.split("/")[-2] == "pull"


def find_announcement(repository: "Repository", number: int, mark: str, comment: int) -> "IssueComment | None":
    """Return the comment with this id if it is ours, on the issue, and has the mark; else None.

    Raises what PyGithub raises.
    """
    from github import UnknownObjectException

    try:
        found = repository.get_issue(number).get_comment(comment)
        is_marked = mark in found.body.splitlines() and found.issue_url.endswith(f"/issues/{number}")
    except UnknownObjectException:
        return None
    return found if is_marked and author_login(found) == own_login(repository) else None


def run_records(issue: "Issue") -> "Iterator[tuple[IssueComment, RunRecord]]":
    """Yield comments with a run record, oldest first, by any author. The caller checks the author."""
    for comment in issue.get_comments():
        if (record := read_record(comment.body)) is not None:
            yield comment, record


def own_records(issue: "Issue", *, of_bot: bool = False) -> "Iterator[tuple[IssueComment, RunRecord]]":
    """Yield the comments of the token's owner with a run record, oldest first; with `of_bot` those of the bot too.

    Only the owner can edit a comment. Raises what PyGithub raises.
    """
    own = {read_login(issue.requester), *([BOT] if of_bot else [])}
    for comment, record in run_records(issue):
        if author_login(comment) in own:
            yield comment, record


def find_own_comment(issue: "Issue", run: str, *, of_bot: bool = False) -> "IssueComment | None":
    """Return our oldest comment with the record of this run; None without one. Raises what PyGithub raises."""
    return next((comment for comment, record in own_records(issue, of_bot=of_bot) if record.run == run), None)


def newest_own_record(repository: "Repository", number: int) -> RunRecord | None:
    """Return the record of the newest comment on the issue; None if somebody else wrote it, or it has none.

    The comment with the state of the incident, which each job may make, is left out.

    Raises what PyGithub raises.
    """
    newest = newest_first(repository.get_issue(number).get_comments())
    for comment in islice(newest, 2):
        record = read_record(comment.body)
        if record is None or record.source != STATE_SOURCE:
            return record if author_login(comment) == own_login(repository) else None
    return None


class RunComments:
    """The comments of one run on an issue.

    `look`: an earlier process may have written them already.
    `completes`: they may also be comments of the bot about the same run without a decision, because the job could not
    continue.
    `request`: id of the comment that announced this run; the run continues in it.
    """

    def __init__(
        self,
        repository: "Repository",
        number: int,
        run: str,
        *,
        may_exist: bool = False,
        completes: bool = False,
        request: int | None = None,
    ) -> None:
        self._repository = repository
        self._number, self._issue = number, repository.get_issue(number)
        self._request = request
        self._run = run
        self._completes = completes
        self._unconfirmed = {1, 2} if may_exist else set()
        """Parts that may exist already, although their id is not known."""
        self._ids: dict[int, int] = {}
        self._replaced: set[int] = set()
        self.url = ""

    def put(self, part: int, body: str) -> None:
        """Create or edit the comment of that part.

        After an error, call it again with the text that is current then. Raises what PyGithub raises, and
        CommentNotSaved.
        """
        if part == 1 and self._request:
            self._continue_in(self._request)
        if part in self._unconfirmed:
            self._find_comment_part(part)
        if part not in self._ids:
            self._create_comment_part(part, body)
        elif not self._edit_comment_part(part, body):
            self._replace_comment_part(part, body)

    def _continue_in(self, comment: int) -> None:
        """Continue in the comment if it is ours and names this run and attempt of GitHub Actions."""
        job = parse_job_run(self._run)
        mark = request_comment_mark(*job) if job else ""
        announced = find_announcement(self._repository, self._number, mark, comment) if job else None
        self._request = None
        if announced is not None:
            self._remember_comment_part(1, announced)

    def _find_comment_part(self, part: int) -> None:
        own = own_login(self._repository)
        for comment, record in run_records(self._issue):
            is_open = self._completes and author_login(comment) == BOT and not record.decision
            if (record.run, record.part) == (self._run, part) and (author_login(comment) == own or is_open):
                self._remember_comment_part(part, comment)
                break
        self._unconfirmed.discard(part)

    def _create_comment_part(self, part: int, body: str) -> None:
        """Create the comment. It stays doubtful until GitHub answers: a retry first looks for it."""
        self._unconfirmed.add(part)
        self._remember_comment_part(part, self._issue.create_comment(body))
        self._unconfirmed.discard(part)

    def _remember_comment_part(self, part: int, comment: "IssueComment") -> None:
        self._ids[part] = comment.id
        if part == 1:
            self.url = comment.html_url

    def _edit_comment_part(self, part: int, body: str) -> bool:
        """Edit and read back.

        Return False if GitHub reported success and kept the old text, for instance if it is too long.
        """
        from github import UnknownObjectException

        try:
            self._issue.get_comment(self._ids[part]).edit(body)
            kept = self._issue.get_comment(self._ids[part]).body
        except UnknownObjectException:  # a person deleted it
            del self._ids[part]
            self._create_comment_part(part, body)
            return True
        return is_saved(kept, body)

    def _replace_comment_part(self, part: int, body: str) -> None:
        """Replace a comment that cannot be edited, once. The old one is deleted because its text is outdated."""
        if part in self._replaced:
            raise CommentNotSaved
        self._replaced.add(part)
        old = self._issue.get_comment(self._ids.pop(part))
        self._create_comment_part(part, body)
        old.delete()


def save_record(
    repository: "Repository", number: int, text: str, record: RunRecord, *, may_exist: bool = True, tries: int = 1
) -> str:
    """Write the comment with this record, or edit ours with a record of the same run. Return its URL.

    `may_exist`: an earlier process may have written it. After an error it tries again, and looks for the comment first:
    the answer may be lost. Raises what PyGithub raises, and CommentNotSaved.
    """
    comments, body = RunComments(repository, number, record.run, may_exist=may_exist), embed_record(text, record)
    for _ in range(tries - 1):
        with suppress(ProviderError), provider_errors():
            comments.put(1, body)
            return comments.url
    comments.put(1, body)
    return comments.url


class StateComment:
    """A comment that is edited often, with one request each time. Its methods raise ProviderError."""

    def __init__(self, issue: "Issue", comment: "IssueComment | None" = None) -> None:
        self._issue, self._comment = issue, comment
        self._is_unclear = False
        """Whether the answer to its creation was lost."""

    @property
    def url(self) -> str:
        return self._comment.html_url if self._comment else ""

    @property
    def id(self) -> int | None:
        return self._comment.id if self._comment else None

    def write(self, body: str) -> None:
        """Create or edit the comment. A new one replaces a comment that is deleted, or somebody else's.

        A refused edit of our own comment is an error: the next one may succeed, and a second comment would stay open.
        """
        from github import GithubException

        with provider_errors():
            if self._is_unclear:
                record = read_record(body)
                self._comment = find_own_comment(self._issue, record.run) if record else None
                self._is_unclear = False
            try:
                if self._comment is not None:
                    self._comment.edit(body)
                    return
            except GithubException as error:
                if error.status not in {403, 404} or (error.status == 403 and self._is_own()):
                    raise
            self._is_unclear = True
            self._comment, self._is_unclear = self._issue.create_comment(body), False

    def _is_own(self) -> bool:
        """Return whether the token's owner wrote the comment. Raises what PyGithub raises."""
        return self._comment is not None and author_login(self._comment) == read_login(self._issue.requester)

    def read(self) -> str:
        """Return its current text; empty if it is deleted or was never written."""
        from github import UnknownObjectException

        if self._comment is None:
            return ""
        with provider_errors():
            try:
                return self._issue.get_comment(self._comment.id).body
            except UnknownObjectException:
                return ""


def is_saved(saved: str, sent: str) -> bool:
    return "".join(saved.split()) == "".join(sent.split())


class CommentForbidden(Exception):
    """The token may not write comments, such as the token of a pull request from a fork."""


def read_comment(repository: "Repository", number: int, marker: str) -> str:
    """Return the text of our comment with the marker; "" if there is none. Raises ProviderError."""
    with provider_errors():
        comment = _find_comment(repository.get_issue(number), marker, own_login(repository))
        return comment.body if comment else ""


def save_comment(repository: "Repository", number: int, marker: str, body: str) -> str:
    """Create or edit our comment with the marker and return its URL.

    `body` contains the marker. Raises CommentForbidden and ProviderError.
    """
    with provider_errors():
        issue = repository.get_issue(number)
        own = _find_comment(issue, marker, own_login(repository))
    try:
        with provider_errors():
            if own is None:
                return issue.create_comment(body).html_url
            if own.body != body:
                own.edit(body)
    except GitHubApiError as error:
        if error.is_forbidden:
            raise CommentForbidden from None
        raise
    return own.html_url


def _find_comment(issue: "Issue", marker: str, own: str) -> "IssueComment | None":
    return next((one for one in issue.get_comments() if author_login(one) == own and marker in one.body), None)


@dataclass(frozen=True)
class OpenIssue:
    number: int
    url: str
    opened_at: datetime


def open_issue(repository: "Repository", label: str, marker: str) -> OpenIssue | None:
    """Return our newest open issue with the label and marker, or None. Issues by others do not count.

    Raises ProviderError.
    """
    with provider_errors():
        own = own_login(repository)
        for issue in repository.get_issues(state="open", labels=[label]):
            if author_login(issue) == own and not is_pull_request(issue) and marker in (issue.body or ""):
                return OpenIssue(issue.number, issue.html_url, issue.created_at.astimezone(UTC))
    return None


def is_any_open(repository: "Repository", label: str) -> bool:
    with provider_errors():
        return any(True for _ in repository.get_issues(state="open", labels=[label]))


def save_issue(repository: "Repository", label: str, marker: str, title: str, body: str) -> OpenIssue:
    """Create our issue, or edit it if its text differs. `body` contains the marker. Raises ProviderError."""
    existing = open_issue(repository, label, marker)
    with provider_errors():
        if existing is None:
            created = repository.create_issue(title, body, labels=[label])
            return OpenIssue(created.number, created.html_url, created.created_at.astimezone(UTC))
        issue = repository.get_issue(existing.number)
        if (issue.body or "").strip() != body.strip():
            issue.edit(body=body)
        return existing


def close_issue(repository: "Repository", number: int, text: str) -> None:
    with provider_errors():
        issue = repository.get_issue(number)
        issue.create_comment(text)
        issue.edit(state="closed")
