"""Changes of commits and refs, and their effects on pull requests."""

from collections.abc import Mapping, Sequence
from typing import Any

from sandbox.github.git.state import FakeCommit, list_changes, merge_trees
from sandbox.github.issues.changes import set_state
from sandbox.github.issues.state import FakeIssue, FakePullRequest
from sandbox.github.payloads import deliver, deliver_issue
from sandbox.github.repository import Repository
from sandbox.github.urls import timestamp
from sandbox.github.users.state import GitHubActor, User

_ZERO_SHA = "0" * 40


def commit(
    repository: Repository, by: GitHubActor, message: str, files: Mapping[str, bytes | None], parents: Sequence[str]
) -> FakeCommit:
    """Create a commit on no branch: the tree of the first parent with these files. None deletes a file."""
    git = repository.git
    tree = {**(git.commits[parents[0]].files if parents else {}), **files}
    kept = {path: content for path, content in tree.items() if content is not None}
    return git.add(message, by.user, repository.now(by), tuple(parents), kept)


def move_ref(repository: Repository, by: GitHubActor, ref: str, sha: str | None) -> None:
    """Create, move or delete a ref, deliver the events, and update the affected pull requests."""
    before = repository.git.refs.get(ref)
    if before == sha:
        return
    if sha is None:
        del repository.git.refs[ref]
    else:
        repository.git.refs[ref] = sha
        _update_pulls(repository, ref, sha)
    deliver(repository, by, "push", _push_payload(repository, by, ref, before, sha))
    if before is None or sha is None:
        kind, _, name = ref.removeprefix("refs/").partition("/")
        fields: dict[str, Any] = {"ref": name, "ref_type": "tag" if kind == "tags" else "branch", "pusher_type": "user"}
        if before is None:
            fields |= {"master_branch": repository.git.default_branch, "description": None}
        deliver(repository, by, "create" if before is None else "delete", fields)
    for issue, pull in _unmerged(repository):
        if issue.state == "closed":
            continue
        if sha is None and ref in {_head_ref(pull), f"refs/heads/{pull.base}"}:
            set_state(repository, issue, by, state="closed", reason=None)
        elif sha is not None and ref == _head_ref(pull):
            deliver_issue(repository, by, "synchronize", issue, before=before, after=sha)


def _update_pulls(repository: Repository, ref: str, sha: str) -> None:
    """Update unmerged pull requests. A closed one keeps its head, and can be reopened on its current base."""
    for issue, pull in _unmerged(repository):
        is_head = ref == _head_ref(pull) and issue.state == "open"
        if is_head:
            pull.head_sha = sha
        if is_head or ref == f"refs/heads/{pull.base}":
            update_pull_refs(repository, issue.number, pull, issue.user)


def _unmerged(repository: Repository) -> list[tuple[FakeIssue, FakePullRequest]]:
    found = [(issue, issue.pull) for issue in repository.threads.values() if issue.pull]
    return [(issue, pull) for issue, pull in found if pull.merged_at is None]


def _head_ref(pull: FakePullRequest) -> str | None:
    """Return the ref of the head; None if it is in a fork."""
    return None if pull.fork else f"refs/heads/{pull.head}"


def update_pull_refs(repository: Repository, number: int, pull: FakePullRequest, author: User) -> None:
    """Update `refs/pull/N/head` and `refs/pull/N/merge`; the latter exists only without a conflict.

    docs.github.com/rest/pulls/pulls#get-a-pull-request
    """
    git, ref = repository.git, f"refs/pull/{number}"
    base, head = git.commits[git.branches[pull.base]], git.commits[pull.head_sha]
    parted = git.merge_base(base, head)
    pull.merge_base_sha = parted.sha if parted else None
    git.refs[f"{ref}/head"] = head.sha
    git.refs.pop(f"{ref}/merge", None)
    pull.merge_commit_sha = None
    files = merge_trees(git, base, head)
    if files is not None:
        message = f"Merge {head.sha} into {base.sha}"
        made = git.add(message, author, repository.now(), (base.sha, head.sha), files)
        git.refs[f"{ref}/merge"] = pull.merge_commit_sha = made.sha


def _push_payload(
    repository: Repository, by: GitHubActor, ref: str, before: str | None, after: str | None
) -> dict[str, Any]:
    git = repository.git
    old, new = git.commits.get(before or ""), git.commits.get(after or "")
    pushed = (git.commits_ahead(new, old) if old else [new]) if new else []
    shown = [_pushed_commit(repository, one) for one in pushed]
    return {
        "ref": ref,
        "before": before or _ZERO_SHA,
        "after": after or _ZERO_SHA,
        "created": before is None,
        "deleted": after is None,
        "forced": bool(old and new and old not in git.history(new)),
        "base_ref": None,
        "compare": repository.urls.page(f"/compare/{(before or _ZERO_SHA)[:12]}...{(after or _ZERO_SHA)[:12]}"),
        "commits": shown,
        "head_commit": shown[-1] if shown else None,
        "pusher": {"name": by.user.login, "email": f"{by.user.login}@users.noreply.github.com"},
    }


def _pushed_commit(repository: Repository, commit: FakeCommit) -> dict[str, Any]:
    author = {"name": commit.author.login, "email": commit.email, "username": commit.author.login}
    found = list(list_changes(repository.git.parent_files(commit), commit.files))
    return {
        "id": commit.sha,
        "tree_id": commit.tree,
        "distinct": True,
        "message": commit.message,
        "timestamp": timestamp(commit.at),
        "url": repository.urls.page(f"/commit/{commit.sha}"),
        "author": author,
        "committer": author,
        **{
            status: [change.filename for change in found if change.status == status]
            for status in ("added", "removed", "modified")
        },
    }
