"""Commits are added, refs moved, pull requests opened and merged."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ops.sandbox.github.changes.issues import open_issue, set_state
from ops.sandbox.github.changes.payloads import deliver
from ops.sandbox.github.git import Commit, changes
from ops.sandbox.github.issues import Issue, Pull
from ops.sandbox.github.repository import Repository
from ops.sandbox.github.urls import timestamp
from ops.sandbox.github.users import By

_NOWHERE = "0" * 40


def commit(
    repository: Repository, by: By, message: str, files: Mapping[str, bytes | None], parents: Sequence[str]
) -> Commit:
    """The tree of the first parent with these files; None takes one away. It is on no branch yet."""
    git = repository.git
    tree = {**(git.commits[parents[0]].files if parents else {}), **files}
    kept = {path: content for path, content in tree.items() if content is not None}
    return git.add(message, by.user, repository.now(by), tuple(parents), kept)


def move_ref(repository: Repository, by: By, ref: str, sha: str | None) -> None:
    """Make, move or delete it, delivered as `push`, and `create` or `delete`."""
    before = repository.git.refs.get(ref)
    if before == sha:
        return
    _set(repository, ref, sha)
    deliver(repository, by, "push", _push(repository, by, ref, before, sha))
    if before is None or sha is None:
        kind, _, name = ref.removeprefix("refs/").partition("/")
        fields: dict[str, Any] = {"ref": name, "ref_type": "tag" if kind == "tags" else "branch", "pusher_type": "user"}
        if before is None:
            fields |= {"master_branch": repository.git.default_branch, "description": None}
        deliver(repository, by, "create" if before is None else "delete", fields)


def _set(repository: Repository, ref: str, sha: str | None) -> None:
    if sha is None:
        del repository.git.refs[ref]
        return
    repository.git.refs[ref] = sha
    for issue in repository.threads.values():
        if issue.pull and issue.state == "open" and ref == f"refs/heads/{issue.pull.head}":
            issue.pull = replace(issue.pull, head_sha=sha)


def _push(repository: Repository, by: By, ref: str, before: str | None, after: str | None) -> dict[str, Any]:
    git = repository.git
    old, new = git.commits.get(before or ""), git.commits.get(after or "")
    pushed = (git.missing(new, old) if old else [new]) if new else []
    shown = [_pushed(repository, one) for one in pushed]
    return {
        "ref": ref,
        "before": before or _NOWHERE,
        "after": after or _NOWHERE,
        "created": before is None,
        "deleted": after is None,
        "forced": bool(old and new and old not in git.history(new)),
        "base_ref": None,
        "compare": repository.urls.page(f"/compare/{(before or _NOWHERE)[:12]}...{(after or _NOWHERE)[:12]}"),
        "commits": shown,
        "head_commit": shown[-1] if shown else None,
        "pusher": {"name": by.user.login, "email": f"{by.user.login}@users.noreply.github.com"},
    }


def _pushed(repository: Repository, commit: Commit) -> dict[str, Any]:
    author = {"name": commit.author.login, "email": commit.email, "username": commit.author.login}
    found = list(changes(repository.git.parent_files(commit), commit.files))
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


def open_pull(
    repository: Repository, by: By, *, title: str, body: str | None, head: str, base: str, draft: bool = False
) -> Issue:
    branches = repository.git.branches
    pull = Pull(
        id=repository.new_id(), head=head, base=base, head_sha=branches[head], base_sha=branches[base], draft=draft
    )
    return open_issue(repository, by, title=title, body=body, pull=pull)


def merge(repository: Repository, issue: Issue, by: By) -> Commit:
    """A merge commit on the base, and the pull request closed. What both changed is taken from the head."""
    assert issue.pull is not None
    git = repository.git
    onto, head = git.commits[git.branches[issue.pull.base]], git.commits[issue.pull.head_sha]
    fork = git.merge_base(onto, head)
    files = {change.filename: change.after for change in changes(fork.files if fork else {}, head.files)}
    message = f"Merge pull request #{issue.number} from {repository.owner.login}/{issue.pull.head}\n\n{issue.title}"
    merged = commit(repository, by, message, files, [onto.sha, head.sha])
    move_ref(repository, by, f"refs/heads/{issue.pull.base}", merged.sha)
    now = repository.now(by)
    issue.pull = replace(issue.pull, merged_at=now, merged_by=by.user, merge_commit_sha=merged.sha)
    set_state(repository, issue, by, state="closed", reason=None)
    return merged
