"""Changes of pull requests: open from a branch or fork, edit and merge."""

from sandbox.github.git.changes import move_ref, update_pull_refs
from sandbox.github.git.state import FakeCommit, merge_trees
from sandbox.github.issues.changes import open_issue, record_event, set_state
from sandbox.github.issues.state import FakeIssue, FakePullRequest, Fork
from sandbox.github.payloads import deliver_issue
from sandbox.github.repository import Repository
from sandbox.github.users.state import GitHubActor


def open_pull(
    repository: Repository,
    by: GitHubActor,
    *,
    title: str,
    body: str | None,
    head: str,
    base: str,
    draft: bool = False,
    head_sha: str | None = None,
    fork: Fork | None = None,
) -> FakeIssue:
    """Open a pull request. `head_sha` is required for a fork, and otherwise read from the branch."""
    branches = repository.git.branches
    pull = FakePullRequest(
        id=repository.new_id(),
        head=head,
        base=base,
        head_sha=head_sha or branches[head],
        base_sha=branches[base],
        draft=draft,
        fork=fork,
    )
    number = repository.new_number()
    update_pull_refs(repository, number, pull, by.user)
    return open_issue(repository, by, title=title, body=body, pull=pull, number=number)


def synchronize(repository: Repository, issue: FakeIssue, by: GitHubActor, sha: str) -> None:
    """Move the head of a pull request from a fork. Branches of the repository are followed automatically."""
    assert issue.pull is not None
    before, issue.pull.head_sha = issue.pull.head_sha, sha
    update_pull_refs(repository, issue.number, issue.pull, issue.user)
    deliver_issue(repository, by, "synchronize", issue, before=before, after=sha)


def set_base(repository: Repository, issue: FakeIssue, by: GitHubActor, base: str) -> None:
    pull = issue.pull
    assert pull is not None
    if base == pull.base:
        return
    before = {"ref": {"from": pull.base}, "sha": {"from": pull.base_sha}}
    pull.base, pull.base_sha = base, repository.git.branches[base]
    update_pull_refs(repository, issue.number, pull, issue.user)
    record_event(repository, issue, "base_ref_changed", by)
    deliver_issue(repository, by, "edited", issue, changes={"base": before})


def merge(
    repository: Repository,
    issue: FakeIssue,
    by: GitHubActor,
    *,
    method: str = "merge",
    title: str | None = None,
    message: str | None = None,
) -> FakeCommit:
    """Commit the merge on the base, and close the pull request. It must be open and without conflict.

    `method` is merge or squash.
    """
    pull, git = issue.pull, repository.git
    assert pull is not None
    onto, head = git.commits[git.branches[pull.base]], git.commits[pull.head_sha]
    files = merge_trees(git, onto, head)
    assert files is not None
    usual_title, usual_message = _merge_message(repository, issue, pull, method)
    text = "\n\n".join(part for part in (title or usual_title, usual_message if message is None else message) if part)
    squashes = method == "squash"
    parents = (onto.sha,) if squashes else (onto.sha, head.sha)
    made = git.add(text, issue.user if squashes else by.user, repository.now(by), parents, files)
    pull.merged_at, pull.merged_by, pull.merge_commit_sha = repository.now(by), by.user, made.sha
    move_ref(repository, by, f"refs/heads/{pull.base}", made.sha)
    record_event(repository, issue, "merged", by, commit_id=made.sha)
    set_state(repository, issue, by, state="closed", reason=None)
    return made


def _merge_message(repository: Repository, issue: FakeIssue, pull: FakePullRequest, method: str) -> tuple[str, str]:
    """Return the default title and message.

    docs.github.com/pull-requests/collaborating-with-pull-requests/incorporating-changes-from-a-pull-request/about-pull-request-merges
    """
    if method == "merge":
        owner = (pull.fork or repository).owner.login
        return f"Merge pull request #{issue.number} from {owner}/{pull.head}", issue.title
    git = repository.git
    commits = git.commits_since(pull.merge_base_sha, git.commits[pull.head_sha])
    if len(commits) == 1:
        title, _, message = commits[0].message.partition("\n")
        return f"{title} (#{issue.number})", message.strip()
    return f"{issue.title} (#{issue.number})", "\n\n".join(f"* {commit.message}" for commit in commits)
