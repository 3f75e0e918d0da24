"""Pull requests API: list, open between branches of the repository, read, edit, merge."""

from sandbox.github.actions.state import FOLDER
from sandbox.github.call import (
    REPO,
    TEXT,
    Fields,
    GitHubAnswer,
    GitHubCall,
    GitHubRefusal,
    Routes,
    custom,
    fields,
    invalid,
    not_found,
    require_short,
)
from sandbox.github.git import serializers as git_serializers
from sandbox.github.git.api import require_workflows
from sandbox.github.git.state import FileChange, list_changes
from sandbox.github.issues import changes as issue_changes
from sandbox.github.issues.state import MAX_TITLE, FakeIssue, FakePullRequest
from sandbox.github.pulls import changes as pull_changes
from sandbox.github.pulls import serializers
from sandbox.github.rulesets.api import require_merge
from sandbox.github.users.state import GITHUB_ACTIONS

ROUTES = Routes()
_PULL = REPO + "/pulls/{pull_number}"


@ROUTES.add("GET", REPO + "/pulls")
def list_pulls(call: GitHubCall) -> GitHubAnswer:
    """Return the pull requests, newest first. The filter `head` is `owner:branch`."""
    state = call.choice("state", "open", "closed", "all")
    head, base = call.query.get("head"), call.query.get("base")
    found = [
        issue
        for issue in reversed(call.listed(call.repository.threads.values()))
        if issue.pull
        and state in {"all", issue.state}
        and head in {None, serializers.label(call.repository, issue.pull)}
        and base in {None, issue.pull.base}
    ]
    return call.page(found, lambda issue: serializers.simple(call.repository, issue, call.urls))


_OPTIONAL: Fields = {"body": TEXT, "draft": bool, "maintainer_can_modify": bool}


@ROUTES.add("POST", REPO + "/pulls")
def create_pull(call: GitHubCall) -> GitHubAnswer:
    repository, app = call.repository, call.token.app
    if app == GITHUB_ACTIONS and not repository.switches.actions_may_create_pull_requests:
        raise GitHubRefusal(403, "GitHub Actions is not permitted to create or approve pull requests.")
    body = fields(call, required={"title": str, "head": str, "base": str}, optional=_OPTIONAL)
    if not body["title"].strip():
        raise invalid("PullRequest", "title", "missing_field")
    require_short("PullRequest", body.get("body"))
    head = body["head"].removeprefix(f"{repository.owner.login}:")
    _require_open(call, head, body["base"])
    issue = pull_changes.open_pull(
        repository,
        call.by,
        title=body["title"],
        body=body.get("body"),
        head=head,
        base=body["base"],
        draft=body.get("draft", False),
    )
    return _answer(call, issue, status=201)


def _require_open(call: GitHubCall, head: str, base: str) -> None:
    """Require that both branches exist, the head has new commits, and no open pull request is equal."""
    git = call.repository.git
    heads = {"head": git.head(head), "base": git.head(base)}
    for field, commit in heads.items():
        if commit is None:
            raise invalid("PullRequest", field, "invalid")
    if heads["head"] and heads["base"] and not git.commits_ahead(heads["head"], heads["base"]):
        raise _refused(f"No commits between {base} and {head}")
    label = f"{call.repository.owner.login}:{head}"
    for issue in call.repository.threads.values():
        pull = issue.pull if issue.state == "open" else None
        if pull and (serializers.label(call.repository, pull), pull.base) == (label, base):
            raise _refused(f"A pull request already exists for {label}.")


def _refused(message: str) -> GitHubRefusal:
    return custom("PullRequest", "head", message)


def _find(call: GitHubCall) -> tuple[FakeIssue, FakePullRequest]:
    issue = call.repository.threads.get(call.number("pull_number"))
    if issue is None or issue.pull is None:
        raise not_found()
    return issue, issue.pull


def _answer(call: GitHubCall, issue: FakeIssue, *, status: int = 200) -> GitHubAnswer:
    return GitHubAnswer(status=status, body=serializers.full(call.repository, issue, call.urls))


@ROUTES.add("GET", _PULL)
def get_pull(call: GitHubCall) -> GitHubAnswer:
    return _answer(call, _find(call)[0])


_EDITABLE: Fields = {"title": str, "body": TEXT, "state": str, "base": str, "maintainer_can_modify": bool}


@ROUTES.add("PATCH", _PULL)
def update_pull(call: GitHubCall) -> GitHubAnswer:
    """Edit a pull request, as its author or with the write role."""
    issue, pull = _find(call)
    if not call.may("write") and call.user is not issue.user:
        raise GitHubRefusal(403, "Must have admin rights to Repository.")
    body = fields(call, optional=_EDITABLE)
    title, text, base = body.get("title", issue.title), body.get("body", issue.body), body.get("base", pull.base)
    if not title.strip() or len(title) > MAX_TITLE:
        raise invalid("PullRequest", "title", "invalid")
    require_short("PullRequest", text)
    if call.repository.git.head(base) is None or (base != pull.base and issue.state == "closed"):
        raise invalid("PullRequest", "base", "invalid")
    state = body.get("state", issue.state)
    _require_state(call, issue, pull, state)
    issue_changes.edit_issue(call.repository, issue, call.by, title=title, body=text)
    pull_changes.set_base(call.repository, issue, call.by, base)
    issue_changes.set_state(call.repository, issue, call.by, state=state, reason=None)
    return _answer(call, issue)


def _require_state(call: GitHubCall, issue: FakeIssue, pull: FakePullRequest, state: str) -> None:
    if state not in {"open", "closed"}:
        raise invalid("PullRequest", "state", "invalid", value=state)
    if state in {issue.state, "closed"}:
        return
    if pull.merged_at:
        raise custom("PullRequest", "state", "state cannot be changed. The pull request is merged.")
    if pull.fork is None and call.repository.git.head(pull.head) is None:
        raise custom("PullRequest", "state", f"state cannot be changed. The {pull.head} branch has been deleted.")


_MERGE: Fields = {"commit_title": str, "commit_message": str, "sha": str, "merge_method": str}


@ROUTES.add("PUT", _PULL + "/merge")
def merge_pull(call: GitHubCall) -> GitHubAnswer:
    """Merge with a merge commit or as a squash; the repository does not allow rebase merges."""
    issue, pull = _find(call)
    body = fields(call, optional=_MERGE)
    method = body.get("merge_method", "merge")
    if method not in {"merge", "squash", "rebase"}:
        raise invalid("PullRequest", "merge_method", "invalid", value=method)
    if method == "rebase":
        raise GitHubRefusal(405, "Rebase merges are not allowed on this repository.")
    is_there = call.repository.git.head(pull.base) is not None
    if issue.state == "closed" or pull.merge_commit_sha is None or not is_there:
        raise GitHubRefusal(405, "Pull Request is not mergeable")
    require_merge(call, pull.base)
    if pull.draft:
        raise GitHubRefusal(405, "Pull Request is still a draft")
    if body.get("sha", pull.head_sha) != pull.head_sha:
        raise GitHubRefusal(409, "Head branch was modified. Review and try the merge again.")
    if any(change.filename.startswith(FOLDER) for change in _changes(call, pull)):
        require_workflows(call)
    message = {"title": body.get("commit_title"), "message": body.get("commit_message")}
    made = pull_changes.merge(call.repository, issue, call.by, method=method, **message)
    return GitHubAnswer(body={"sha": made.sha, "merged": True, "message": "Pull Request successfully merged"})


@ROUTES.add("GET", _PULL + "/files")
def list_pull_files(call: GitHubCall) -> GitHubAnswer:
    _, pull = _find(call)
    return call.page(_changes(call, pull), lambda change: git_serializers.change(change, pull.head_sha, call.urls))


def _changes(call: GitHubCall, pull: FakePullRequest) -> list[FileChange]:
    git = call.repository.git
    return list(list_changes(git.files_at(pull.merge_base_sha), git.commits[pull.head_sha].files))
