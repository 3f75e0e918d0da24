"""Git API: file contents, commits and their comparison, refs, branches."""

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any

from sandbox.github.actions.state import FOLDER
from sandbox.github.call import (
    NO_CONTENT,
    REPO,
    TEXT,
    GitHubAnswer,
    GitHubCall,
    GitHubRefusal,
    Routes,
    check_fields,
    fields,
    not_found,
    validation_failed,
)
from sandbox.github.git import changes, serializers
from sandbox.github.git.state import FakeCommit, Git, blob_sha, list_changes
from sandbox.github.issues.api import query_time
from sandbox.github.issues.state import FakePullRequest
from sandbox.github.pulls import serializers as pulls
from sandbox.github.rulesets.api import require_push

ROUTES = Routes()
_CONTENTS = REPO + "/contents/{path*}"


@ROUTES.add("GET", REPO + "/contents")
@ROUTES.add("GET", _CONTENTS)
def get_content(call: GitHubCall) -> GitHubAnswer:
    """Return a file or the entries of a folder; with the media type `raw`, the bytes of the file."""
    name = call.query.get("ref", call.repository.git.default_branch)
    path, commit = call.parameters.get("path", "").strip("/"), _commit_at(call, name)
    content = commit.files.get(path)
    if content is None:
        entries = [_content(call, commit, entry, name) for entry in _children(commit, path)]
        if not entries and path:
            raise not_found()
        return GitHubAnswer(body=entries)
    if "raw" in call.request.headers.get("accept", ""):
        return GitHubAnswer(body=content, headers=[("content-type", "application/vnd.github.raw+json; charset=utf-8")])
    return GitHubAnswer(body=serializers.file(path, content, name, call.urls))


def _commit_at(call: GitHubCall, name: str) -> FakeCommit:
    commit = call.repository.git.resolve(name)
    if commit is None:
        raise GitHubRefusal(404, f"No commit found for the ref {name}")
    return commit


def _children(commit: FakeCommit, path: str) -> list[str]:
    prefix = f"{path}/" if path else ""
    found = {prefix + file.removeprefix(prefix).partition("/")[0] for file in commit.files if file.startswith(prefix)}
    return sorted(found)


def _content(call: GitHubCall, commit: FakeCommit, path: str, name: str) -> dict[str, Any]:
    content = commit.files.get(path)
    if content is None:
        return serializers.folder(path, name, call.urls)
    return serializers.file(path, content, name, call.urls, whole=False)


_OPTIONAL = {"sha": str, "branch": str, "committer": dict, "author": dict}


@ROUTES.add("PUT", _CONTENTS)
def put_content(call: GitHubCall) -> GitHubAnswer:
    """Create or update a file. An update must send the current `sha` of the file."""
    body = fields(call, required={"message": str, "content": str}, optional=_OPTIONAL)
    try:
        content = base64.b64decode("".join(body["content"].split()), validate=True)
    except binascii.Error as error:
        raise GitHubRefusal(422, "content is not valid Base64") from error
    path, branch = call.parameters["path"], body.get("branch", call.repository.git.default_branch)
    head = _writable_head(call, path, branch)
    before = head.files.get(path)
    _require_current(path, before, body.get("sha"))
    made = _commit_on(call, branch, head, body["message"], {path: content})
    shown = serializers.file(path, content, branch, call.urls)
    written = {name: value for name, value in shown.items() if name not in {"content", "encoding"}}
    status = 201 if before is None else 200
    return GitHubAnswer(status=status, body={"content": written, "commit": serializers.file_commit(made, call.urls)})


@ROUTES.add("DELETE", _CONTENTS)
def delete_content(call: GitHubCall) -> GitHubAnswer:
    body = fields(call, required={"message": str, "sha": str}, optional=_OPTIONAL)
    path, branch = call.parameters["path"], body.get("branch", call.repository.git.default_branch)
    head = _writable_head(call, path, branch)
    if path not in head.files:
        raise not_found()
    _require_current(path, head.files[path], body["sha"])
    made = _commit_on(call, branch, head, body["message"], {path: None})
    return GitHubAnswer(body={"content": None, "commit": serializers.file_commit(made, call.urls)})


def _writable_head(call: GitHubCall, path: str, branch: str) -> FakeCommit:
    head = call.repository.git.head(branch)
    if head is None:
        raise GitHubRefusal(404, f"Branch {branch} not found")
    if path.startswith(FOLDER):
        require_workflows(call)
    require_push(call, branch)
    return head


def require_workflows(call: GitHubCall) -> None:
    """Refuse a token without the permission `workflows`, which GITHUB_TOKEN cannot get.

    docs.github.com/actions/reference/workflows-and-actions/workflow-syntax#permissions
    """
    if not call.token.may("workflows:write"):
        raise GitHubRefusal(403, call.token.refusal)


def _require_current(path: str, before: bytes | None, sha: str | None) -> None:
    if before is not None and sha is None:
        raise validation_failed('"sha" wasn\'t supplied.')
    if sha is not None and (before is None or sha != blob_sha(before)):
        raise GitHubRefusal(409, f"{path} does not match {sha}")


def _commit_on(
    call: GitHubCall, branch: str, head: FakeCommit, message: str, files: dict[str, bytes | None]
) -> FakeCommit:
    made = changes.commit(call.repository, call.by, message, files, [head.sha])
    changes.move_ref(call.repository, call.by, f"refs/heads/{branch}", made.sha)
    return made


@ROUTES.add("GET", REPO + "/commits")
def list_commits(call: GitHubCall) -> GitHubAnswer:
    """Return the commits, newest first."""
    git = call.repository.git
    head = git.resolve(call.query.get("sha", git.default_branch))
    if head is None:
        raise not_found()
    path = call.query.get("path", "").strip("/")
    found = git.history_of(path, head) if path else git.history(head)
    return call.page(_filtered(call, found), lambda commit: serializers.commit(commit, call.urls))


def _filtered(call: GitHubCall, commits: list[FakeCommit]) -> Iterator[FakeCommit]:
    since, until, author = query_time(call, "since"), query_time(call, "until"), call.query.get("author")
    for commit in commits:
        in_time = (since is None or commit.at >= since) and (until is None or commit.at <= until)
        if in_time and author in {None, commit.author.login, commit.email}:
            yield commit


@ROUTES.add("GET", REPO + "/commits/{sha}/pulls")
def list_pulls_of_commit(call: GitHubCall) -> GitHubAnswer:
    """Return the pull requests of a commit; only merged ones if it is on the default branch."""
    git, commit = call.repository.git, _find_commit(call, call.parameters["sha"])
    main = git.head(git.default_branch)
    is_merged = main is not None and commit in git.history(main)
    found = [
        issue
        for issue in call.repository.threads.values()
        if issue.pull and (issue.pull.merged_at or not is_merged) and _is_in_pull(git, commit, issue.pull)
    ]
    return call.page(found, lambda issue: pulls.simple(call.repository, issue, call.urls))


def _is_in_pull(git: Git, commit: FakeCommit, pull: FakePullRequest) -> bool:
    """Return whether the pull request contains the commit, or was merged as it."""
    if pull.merged_at and commit.sha == pull.merge_commit_sha:
        return True
    return commit in git.commits_since(pull.merge_base_sha, git.commits[pull.head_sha])


@ROUTES.add("GET", REPO + "/commits/{ref*}")
def get_commit(call: GitHubCall) -> GitHubAnswer:
    commit = _find_commit(call, call.parameters["ref"])
    return GitHubAnswer(body=serializers.commit_with_files(commit, call.repository.git, call.urls))


def _find_commit(call: GitHubCall, name: str) -> FakeCommit:
    commit = call.repository.git.resolve(name)
    if commit is None and not call.repository.git.commits:
        raise GitHubRefusal(409, "Git Repository is empty.")
    if commit is None:
        raise GitHubRefusal(422, f"No commit found for SHA: {name}")
    return commit


UNPAGED = 250
"""Most commits of a comparison without a page."""


@ROUTES.add("GET", REPO + "/compare/{basehead*}")
def compare(call: GitHubCall) -> GitHubAnswer:
    """Compare as with three dots: from the merge base to the head."""
    git = call.repository.git
    names = call.parameters["basehead"].split("...")
    base, head = [*map(git.resolve, names)] if len(names) == 2 else [None, None]
    fork = git.merge_base(base, head) if base and head else None
    if base is None or head is None or fork is None:
        raise not_found()
    ahead = git.commits_ahead(head, base)
    # Without a page these are the newest 250: docs.github.com/rest/commits/commits#compare-two-commits
    is_paged = not call.query.keys().isdisjoint({"page", "per_page"})
    newest = GitHubAnswer(body=[serializers.commit(commit, call.urls) for commit in ahead[-UNPAGED:]])
    page = call.page(ahead, lambda commit: serializers.commit(commit, call.urls)) if is_paged else newest
    shown = _comparison(call, base, head, fork, len(ahead))
    files = [serializers.change(change, head.sha, call.urls) for change in list_changes(fork.files, head.files)]
    return GitHubAnswer(body=shown | {"commits": page.body, "files": files}, headers=page.headers)


def _comparison(call: GitHubCall, base: FakeCommit, head: FakeCommit, fork: FakeCommit, ahead: int) -> dict[str, Any]:
    behind = len(call.repository.git.commits_ahead(base, head))
    status = {(False, False): "identical", (True, False): "ahead", (False, True): "behind"}
    page = call.urls.page(f"/compare/{call.parameters['basehead']}")
    return {
        "url": call.urls.repo(f"/compare/{call.parameters['basehead']}"),
        "html_url": page,
        "permalink_url": call.urls.page(f"/compare/{base.sha[:7]}...{head.sha[:7]}"),
        "diff_url": f"{page}.diff",
        "patch_url": f"{page}.patch",
        "base_commit": serializers.commit(base, call.urls),
        "merge_base_commit": serializers.commit(fork, call.urls),
        "status": status.get((ahead > 0, behind > 0), "diverged"),
        "ahead_by": ahead,
        "behind_by": behind,
        "total_commits": ahead,
    }


@ROUTES.add("POST", REPO + "/git/trees")
def create_tree(call: GitHubCall) -> GitHubAnswer:
    """Create a tree on top of another one: an entry with a content is a file, one with `sha: null` deletes it."""
    body = fields(call, required={"tree": list}, optional={"base_tree": str})
    git = call.repository.git
    before = git.find_tree(body["base_tree"]) if "base_tree" in body else {}
    if before is None:
        raise GitHubRefusal(422, "base_tree is not a valid tree oid")
    files = dict(before)
    for entry in body["tree"]:
        given = check_fields(
            entry, required={"path": str, "mode": str, "type": str}, optional={"content": str, "sha": TEXT}
        )
        if given["path"].startswith(FOLDER):
            require_workflows(call)
        if "content" in given:
            files[given["path"]] = given["content"].encode()
        elif given.get("sha", "") is None and given["path"] in files:
            del files[given["path"]]
        else:
            raise GitHubRefusal(422, "tree.sha is not a valid object of this repository")
    return GitHubAnswer(status=201, body={"sha": git.add_tree(files), "url": "", "tree": [], "truncated": False})


@ROUTES.add("POST", REPO + "/git/commits")
def create_commit(call: GitHubCall) -> GitHubAnswer:
    """Create a commit on no branch."""
    body = fields(
        call, required={"message": str, "tree": str}, optional={"parents": list, "author": dict, "committer": dict}
    )
    repository, parents = call.repository, body.get("parents", [])
    files = repository.git.find_tree(body["tree"])
    if files is None or not all(each in repository.git.commits for each in parents):
        raise GitHubRefusal(422, "Tree SHA or a parent does not exist")
    made = repository.git.add(body["message"], call.user, repository.now(call.by), tuple(parents), files)
    return GitHubAnswer(status=201, body=serializers.file_commit(made, call.urls))


@ROUTES.add("GET", REPO + "/git/commits/{sha}")
def get_git_commit(call: GitHubCall) -> GitHubAnswer:
    found = call.repository.git.commits.get(call.parameters["sha"])
    if found is None:
        raise not_found()
    return GitHubAnswer(body=serializers.file_commit(found, call.urls))


_REFS = REPO + "/git/refs"
_PULL_REFS = "refs/pull/"
"""Refs that only GitHub moves."""
_REF_NAME = re.compile(r"refs/[^/\s~^:?*\[\\]+(/[^/\s~^:?*\[\\]+)+")


@ROUTES.add("GET", REPO + "/git/ref/{ref*}")
def get_ref(call: GitHubCall) -> GitHubAnswer:
    name = f"refs/{call.parameters['ref']}"
    sha = call.repository.git.refs.get(name)
    if sha is None:
        raise GitHubRefusal(404, "Not Found")
    return GitHubAnswer(body=serializers.ref(name, sha, call.urls))


@ROUTES.add("GET", REPO + "/git/matching-refs/{ref*}")
def list_matching_refs(call: GitHubCall) -> GitHubAnswer:
    prefix = f"refs/{call.parameters['ref']}"
    found = [item for item in sorted(call.repository.git.refs.items()) if item[0].startswith(prefix)]
    return call.page(found, lambda item: serializers.ref(*item, call.urls))


@ROUTES.add("POST", _REFS)
def create_ref(call: GitHubCall) -> GitHubAnswer:
    body = fields(call, required={"ref": str, "sha": str})
    if not _REF_NAME.fullmatch(body["ref"]) or body["ref"].startswith(_PULL_REFS):
        raise GitHubRefusal(422, f"{body['ref']} is not a valid ref name.")
    if body["ref"] in call.repository.git.refs:
        raise GitHubRefusal(422, "Reference already exists")
    _require_object(call, body["sha"])
    changes.move_ref(call.repository, call.by, body["ref"], body["sha"])
    shown = serializers.ref(body["ref"], body["sha"], call.urls)
    return GitHubAnswer(status=201, body=shown, headers=[("location", shown["url"])])


@ROUTES.add("PATCH", _REFS + "/{ref*}")
def update_ref(call: GitHubCall) -> GitHubAnswer:
    """Move a ref; only a fast-forward unless `force` is set."""
    body = fields(call, required={"sha": str}, optional={"force": bool})
    git, name = call.repository.git, _find_ref(call)
    _require_object(call, body["sha"])
    is_forward = git.commits[git.refs[name]] in git.history(git.commits[body["sha"]])
    if not is_forward and not body.get("force"):
        raise GitHubRefusal(422, "Update is not a fast forward")
    require_push(call, name.removeprefix("refs/heads/"), 422)
    changes.move_ref(call.repository, call.by, name, body["sha"])
    return GitHubAnswer(body=serializers.ref(name, body["sha"], call.urls))


@ROUTES.add("DELETE", _REFS + "/{ref*}")
def delete_ref(call: GitHubCall) -> GitHubAnswer:
    name = _find_ref(call)
    if name == f"refs/heads/{call.repository.git.default_branch}":
        raise GitHubRefusal(422, "Cannot delete the default branch")
    changes.move_ref(call.repository, call.by, name, None)
    return NO_CONTENT


def _find_ref(call: GitHubCall) -> str:
    name = f"refs/{call.parameters['ref']}"
    if name not in call.repository.git.refs:
        raise GitHubRefusal(422, "Reference does not exist")
    if name.startswith(_PULL_REFS):
        raise GitHubRefusal(422, f"{name} is not a ref that can be changed.")
    return name


def _require_object(call: GitHubCall, sha: str) -> None:
    if sha not in call.repository.git.commits:
        raise GitHubRefusal(422, "Object does not exist")


@ROUTES.add("GET", REPO + "/branches")
def list_branches(call: GitHubCall) -> GitHubAnswer:
    return call.page(call.repository.git.branches.items(), lambda item: serializers.short_branch(*item, call.urls))


@ROUTES.add("GET", REPO + "/branches/{branch*}")
def get_branch(call: GitHubCall) -> GitHubAnswer:
    name = call.parameters["branch"]
    head = call.repository.git.head(name)
    if head is None:
        raise GitHubRefusal(404, "Branch not found")
    return GitHubAnswer(body=serializers.branch(name, head, call.urls))
