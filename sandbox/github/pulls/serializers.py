"""JSON of pull requests.

docs.github.com/rest/pulls/pulls#get-a-pull-request
"""

from typing import Any

from sandbox.github.git.state import list_changes
from sandbox.github.issues import serializers
from sandbox.github.issues.state import FakeIssue, FakePullRequest, Fork
from sandbox.github.repository import Repository
from sandbox.github.urls import Urls, node_id, timestamp_or_none
from sandbox.github.users import serializers as users

_SAME = frozenset(
    {
        "number",
        "title",
        "user",
        "body",
        "state",
        "locked",
        "created_at",
        "updated_at",
        "closed_at",
        "assignee",
        "assignees",
        "labels",
        "milestone",
        "author_association",
        "active_lock_reason",
        "draft",
        "html_url",
        "comments_url",
    }
)

_STATES = {True: "clean", False: "dirty", None: "unknown"}


def simple(repository: Repository, issue: FakeIssue, urls: Urls) -> dict[str, Any]:
    """Return a pull request as in lists."""
    pull = issue.pull
    assert pull is not None
    shown = serializers.issue(issue, urls)
    url, page = urls.repo(f"/pulls/{issue.number}"), urls.page(f"/pull/{issue.number}")
    links = {
        "review_comments_url": f"{url}/comments",
        "commits_url": f"{url}/commits",
        "statuses_url": urls.repo(f"/statuses/{pull.head_sha}"),
    }
    return {
        **{name: value for name, value in shown.items() if name in _SAME},
        "id": pull.id,
        "node_id": node_id("PR", pull.id),
        "url": url,
        "diff_url": f"{page}.diff",
        "patch_url": f"{page}.patch",
        "issue_url": shown["url"],
        **links,
        "review_comment_url": urls.repo("/pulls/comments{/number}"),
        "merged_at": timestamp_or_none(pull.merged_at),
        "merge_commit_sha": pull.merge_commit_sha,
        "requested_reviewers": [],
        "requested_teams": [],
        "head": _end(repository, pull.head, pull.head_sha, pull.fork, urls),
        "base": _end(repository, pull.base, pull.base_sha, None, urls),
        "auto_merge": None,
        "_links": _links(url, page, shown["url"], links),
    }


def full(repository: Repository, issue: FakeIssue, urls: Urls) -> dict[str, Any]:
    pull, git = issue.pull, repository.git
    assert pull is not None
    head = git.commits[pull.head_sha]
    found = list(list_changes(git.files_at(pull.merge_base_sha), head.files))
    is_known = issue.state == "open" and repository.switches.mergeable_is_known
    merges = pull.merge_commit_sha is not None if is_known else None
    return {
        **simple(repository, issue, urls),
        "merged": pull.merged_at is not None,
        "mergeable": merges,
        "rebaseable": merges,
        "mergeable_state": _STATES[merges] if not (merges and pull.draft) else "draft",
        "merged_by": users.user_or_none(pull.merged_by, urls),
        "comments": len(issue.comments),
        "review_comments": 0,
        "maintainer_can_modify": False,
        "commits": len(git.commits_since(pull.merge_base_sha, head)),
        "additions": sum(change.count("+") for change in found),
        "deletions": sum(change.count("-") for change in found),
        "changed_files": len(found),
    }


def minimal(repository: Repository, issue: FakeIssue, urls: Urls) -> dict[str, Any]:
    """Return a pull request as in runs. Both of its branches are in the repository."""
    pull = issue.pull
    assert pull is not None
    repo = {"id": repository.id, "url": urls.repo(), "name": repository.name}
    ends = {"head": (pull.head, pull.head_sha), "base": (pull.base, pull.base_sha)}
    shown = {end: {"ref": ref, "sha": sha, "repo": repo} for end, (ref, sha) in ends.items()}
    return {"id": pull.id, "number": issue.number, "url": urls.repo(f"/pulls/{issue.number}"), **shown}


def label(repository: Repository, pull: FakePullRequest) -> str:
    """Return the head as `owner:branch`."""
    return f"{(pull.fork or repository).owner.login}:{pull.head}"


def _end(repository: Repository, branch: str, sha: str, fork: Fork | None, urls: Urls) -> dict[str, Any]:
    owner = (fork or repository).owner
    return {
        "label": f"{owner.login}:{branch}",
        "ref": branch,
        "sha": sha,
        "user": users.user(owner, urls),
        "repo": users.fork(repository, fork, urls),
    }


def _links(url: str, page: str, issue: str, links: dict[str, str]) -> dict[str, Any]:
    named = {
        "self": url,
        "html": page,
        "issue": issue,
        "comments": f"{issue}/comments",
        "review_comments": links["review_comments_url"],
        "review_comment": f"{url.rpartition('/')[0]}/comments{{/number}}",
        "commits": links["commits_url"],
        "statuses": links["statuses_url"],
    }
    return {name: {"href": address} for name, address in named.items()}
