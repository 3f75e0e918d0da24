"""Pull requests between branches of the repository: list, open, read."""

from ops.sandbox.github.body import TEXT, Fields, fields, require_short
from ops.sandbox.github.changes import git as git_changes
from ops.sandbox.github.git import changes
from ops.sandbox.github.issues import Issue
from ops.sandbox.github.routing import REPO, Answer, ApiError, Call, Routes, custom, invalid, not_found
from ops.sandbox.github.shapes import git as git_shapes
from ops.sandbox.github.shapes import pulls as shapes
from ops.sandbox.github.users import GITHUB_ACTIONS

ROUTES = Routes()
_PULL = REPO + "/pulls/{pull_number}"


@ROUTES.add("GET", REPO + "/pulls", "pull_requests:read", "pulls/pulls#list-pull-requests")
def list_pulls(call: Call) -> Answer:
    """Newest first. `head` is `owner:branch`."""
    state = call.choice("state", "open", "closed", "all")
    head, base = call.query.get("head"), call.query.get("base")
    owner = call.repository.owner.login
    found = [
        issue
        for issue in reversed(call.repository.threads.values())
        if issue.pull
        and state in {"all", issue.state}
        and head in {None, f"{owner}:{issue.pull.head}"}
        and base in {None, issue.pull.base}
    ]
    return call.page(found, lambda issue: shapes.simple(call.repository, issue, call.urls))


_OPTIONAL: Fields = {"body": TEXT, "draft": bool, "maintainer_can_modify": bool}


@ROUTES.add("POST", REPO + "/pulls", "pull_requests:write", "pulls/pulls#create-a-pull-request", role="read")
def create_pull(call: Call) -> Answer:
    repository, app = call.repository, call.token.app
    if app == GITHUB_ACTIONS and not repository.switches.actions_may_create_pull_requests:
        raise ApiError(403, "GitHub Actions is not permitted to create or approve pull requests.")
    body = fields(call, required={"title": str, "head": str, "base": str}, optional=_OPTIONAL)
    if not body["title"].strip():
        raise invalid("PullRequest", "title", "missing_field")
    require_short("PullRequest", body.get("body"))
    head = body["head"].removeprefix(f"{repository.owner.login}:")
    _require_open(call, head, body["base"])
    issue = git_changes.open_pull(
        repository,
        call.by,
        title=body["title"],
        body=body.get("body"),
        head=head,
        base=body["base"],
        draft=body.get("draft", False),
    )
    return _answer(call, issue, status=201)


def _require_open(call: Call, head: str, base: str) -> None:
    """Both branches are there, the head has something new, and no other pull request asks for the same."""
    git = call.repository.git
    heads = {"head": git.head(head), "base": git.head(base)}
    for field, commit in heads.items():
        if commit is None:
            raise invalid("PullRequest", field, "invalid")
    if heads["head"] and heads["base"] and not git.missing(heads["head"], heads["base"]):
        raise _refused(f"No commits between {base} and {head}")
    for issue in call.repository.threads.values():
        if issue.pull and issue.state == "open" and (issue.pull.head, issue.pull.base) == (head, base):
            raise _refused(f"A pull request already exists for {call.repository.owner.login}:{head}.")


def _refused(message: str) -> ApiError:
    return custom("PullRequest", "head", message)


def _find(call: Call) -> Issue:
    issue = call.repository.threads.get(call.number("pull_number"))
    if issue is None or issue.pull is None:
        raise not_found()
    return issue


def _answer(call: Call, issue: Issue, *, status: int = 200) -> Answer:
    return Answer(status=status, body=shapes.full(call.repository, issue, call.urls))


@ROUTES.add("GET", _PULL, "pull_requests:read", "pulls/pulls#get-a-pull-request")
def get_pull(call: Call) -> Answer:
    return _answer(call, _find(call))


@ROUTES.add("GET", _PULL + "/files", "pull_requests:read", "pulls/pulls#list-pull-requests-files")
def list_pull_files(call: Call) -> Answer:
    pull, git = _find(call).pull, call.repository.git
    assert pull is not None
    head = git.commits[pull.head_sha]
    fork = git.merge_base(git.commits[pull.base_sha], head)
    found = changes(fork.files if fork else {}, head.files)
    return call.page(found, lambda change: git_shapes.change(change, head.sha, call.urls))
