"""Commits, and what lies between two of them."""

from collections.abc import Iterator
from typing import Any

from sandbox.github.call import REPO, Access, Answer, ApiError, Call, Routes, not_found
from sandbox.github.git import serializers as shapes
from sandbox.github.git.state import Commit, Git, changes
from sandbox.github.issues.api import instant
from sandbox.github.issues.state import Pull
from sandbox.github.pulls import serializers

ROUTES = Routes()


@ROUTES.add("GET", REPO + "/commits", Access("contents:read", "commits/commits#list-commits"))
def list_commits(call: Call) -> Answer:
    """Newest first."""
    git = call.repository.git
    head = git.resolve(call.query.get("sha", git.default_branch))
    if head is None:
        raise not_found()
    path = call.query.get("path", "").strip("/")
    found = git.history_of(path, head) if path else git.history(head)
    return call.page(_wanted(call, found), lambda commit: shapes.commit(commit, call.urls))


def _wanted(call: Call, commits: list[Commit]) -> Iterator[Commit]:
    since, until, author = instant(call, "since"), instant(call, "until"), call.query.get("author")
    for commit in commits:
        in_time = (since is None or commit.at >= since) and (until is None or commit.at <= until)
        if in_time and author in {None, commit.author.login, commit.email}:
            yield commit


@ROUTES.add(
    "GET",
    REPO + "/commits/{sha}/pulls",
    Access("contents:read", "commits/commits#list-pull-requests-associated-with-a-commit"),
)
def list_pulls_of_commit(call: Call) -> Answer:
    """Of a commit on the default branch those alone that were merged."""
    git, commit = call.repository.git, _find(call, call.parameters["sha"])
    main = git.head(git.default_branch)
    is_merged = main is not None and commit in git.history(main)
    found = [
        issue
        for issue in call.repository.threads.values()
        if issue.pull and (issue.pull.merged_at or not is_merged) and _belongs(git, commit, issue.pull)
    ]
    return call.page(found, lambda issue: serializers.simple(call.repository, issue, call.urls))


def _belongs(git: Git, commit: Commit, pull: Pull) -> bool:
    """Whether it asks for that commit, or was merged as it."""
    if pull.merged_at and commit.sha == pull.merge_commit_sha:
        return True
    return commit in git.since(pull.parted, git.commits[pull.head_sha])


@ROUTES.add("GET", REPO + "/commits/{ref*}", Access("contents:read", "commits/commits#get-a-commit"))
def get_commit(call: Call) -> Answer:
    commit = _find(call, call.parameters["ref"])
    return Answer(body=shapes.commit_with_files(commit, call.repository.git, call.urls))


def _find(call: Call, name: str) -> Commit:
    commit = call.repository.git.resolve(name)
    if commit is None:
        raise ApiError(422, f"No commit found for SHA: {name}")
    return commit


@ROUTES.add("GET", REPO + "/compare/{basehead*}", Access("contents:read", "commits/commits#compare-two-commits"))
def compare(call: Call) -> Answer:
    """Three dots: from where the two parted to the head."""
    git = call.repository.git
    names = call.parameters["basehead"].split("...")
    base, head = [*map(git.resolve, names)] if len(names) == 2 else [None, None]
    fork = git.merge_base(base, head) if base and head else None
    if base is None or head is None or fork is None:
        raise not_found()
    ahead = git.missing(head, base)
    page = call.page(ahead, lambda commit: shapes.commit(commit, call.urls))
    shown = _comparison(call, base, head, fork, len(ahead))
    files = [shapes.change(change, head.sha, call.urls) for change in changes(fork.files, head.files)]
    return Answer(body=shown | {"commits": page.body, "files": files}, headers=page.headers)


def _comparison(call: Call, base: Commit, head: Commit, fork: Commit, ahead: int) -> dict[str, Any]:
    behind = len(call.repository.git.missing(base, head))
    status = {(False, False): "identical", (True, False): "ahead", (False, True): "behind"}
    page = call.urls.page(f"/compare/{call.parameters['basehead']}")
    return {
        "url": call.urls.repo(f"/compare/{call.parameters['basehead']}"),
        "html_url": page,
        "permalink_url": call.urls.page(f"/compare/{base.sha[:7]}...{head.sha[:7]}"),
        "diff_url": f"{page}.diff",
        "patch_url": f"{page}.patch",
        "base_commit": shapes.commit(base, call.urls),
        "merge_base_commit": shapes.commit(fork, call.urls),
        "status": status.get((ahead > 0, behind > 0), "diverged"),
        "ahead_by": ahead,
        "behind_by": behind,
        "total_commits": ahead,
    }
