"""Files at a ref: read, written, deleted."""

import base64
import binascii
from typing import Any

from sandbox.github.actions.state import FOLDER
from sandbox.github.call import REPO, Access, Answer, ApiError, Call, Routes, fields, not_found, refused
from sandbox.github.git import changes, serializers
from sandbox.github.git.state import Commit, blob_sha

ROUTES = Routes()
_CONTENTS = REPO + "/contents/{path*}"


@ROUTES.add("GET", REPO + "/contents", Access("contents:read", "repos/contents#get-repository-content"))
@ROUTES.add("GET", _CONTENTS, Access("contents:read", "repos/contents#get-repository-content"))
def get_content(call: Call) -> Answer:
    """A file, or the files and folders of a folder; the bytes themselves with the media type `raw`."""
    name = call.query.get("ref", call.repository.git.default_branch)
    path, commit = call.parameters.get("path", "").strip("/"), _commit(call, name)
    content = commit.files.get(path)
    if content is None:
        entries = [_entry(call, commit, entry, name) for entry in _children(commit, path)]
        if not entries and path:
            raise not_found()
        return Answer(body=entries)
    if "raw" in call.request.headers.get("accept", ""):
        return Answer(body=content, headers=[("content-type", "application/vnd.github.raw+json; charset=utf-8")])
    return Answer(body=serializers.file(path, content, name, call.urls))


def _commit(call: Call, name: str) -> Commit:
    commit = call.repository.git.resolve(name)
    if commit is None:
        raise ApiError(404, f"No commit found for the ref {name}")
    return commit


def _children(commit: Commit, path: str) -> list[str]:
    prefix = f"{path}/" if path else ""
    found = {prefix + file.removeprefix(prefix).partition("/")[0] for file in commit.files if file.startswith(prefix)}
    return sorted(found)


def _entry(call: Call, commit: Commit, path: str, name: str) -> dict[str, Any]:
    content = commit.files.get(path)
    if content is None:
        return serializers.folder(path, name, call.urls)
    return serializers.file(path, content, name, call.urls, whole=False)


_OPTIONAL = {"sha": str, "branch": str, "committer": dict, "author": dict}


@ROUTES.add("PUT", _CONTENTS, Access("contents:write", "repos/contents#create-or-update-file-contents"))
def put_content(call: Call) -> Answer:
    """The `sha` of a file that is there must be sent, and be the current one."""
    body = fields(call, required={"message": str, "content": str}, optional=_OPTIONAL)
    try:
        content = base64.b64decode("".join(body["content"].split()), validate=True)
    except binascii.Error as error:
        raise ApiError(422, "content is not valid Base64") from error
    path, branch = call.parameters["path"], body.get("branch", call.repository.git.default_branch)
    head = _writable(call, path, branch)
    before = head.files.get(path)
    _require_current(path, before, body.get("sha"))
    made = _commit_on(call, branch, head, body["message"], {path: content})
    shown = serializers.file(path, content, branch, call.urls)
    written = {name: value for name, value in shown.items() if name not in {"content", "encoding"}}
    status = 201 if before is None else 200
    return Answer(status=status, body={"content": written, "commit": serializers.file_commit(made, call.urls)})


@ROUTES.add("DELETE", _CONTENTS, Access("contents:write", "repos/contents#delete-a-file"))
def delete_content(call: Call) -> Answer:
    body = fields(call, required={"message": str, "sha": str}, optional=_OPTIONAL)
    path, branch = call.parameters["path"], body.get("branch", call.repository.git.default_branch)
    head = _writable(call, path, branch)
    if path not in head.files:
        raise not_found()
    _require_current(path, head.files[path], body["sha"])
    made = _commit_on(call, branch, head, body["message"], {path: None})
    return Answer(body={"content": None, "commit": serializers.file_commit(made, call.urls)})


def _writable(call: Call, path: str, branch: str) -> Commit:
    head = call.repository.git.head(branch)
    if head is None:
        raise ApiError(404, f"Branch {branch} not found")
    if path.startswith(FOLDER):
        require_workflows(call)
    return head


def require_workflows(call: Call) -> None:
    """GITHUB_TOKEN cannot be given the right to change workflows.

    docs.github.com/actions/reference/workflows-and-actions/workflow-syntax#permissions
    """
    if not call.token.may("workflows:write"):
        raise ApiError(403, call.token.refusal)


def _require_current(path: str, before: bytes | None, sha: str | None) -> None:
    if before is not None and sha is None:
        raise refused('"sha" wasn\'t supplied.')
    if sha is not None and (before is None or sha != blob_sha(before)):
        raise ApiError(409, f"{path} does not match {sha}")


def _commit_on(call: Call, branch: str, head: Commit, message: str, files: dict[str, bytes | None]) -> Commit:
    made = changes.commit(call.repository, call.by, message, files, [head.sha])
    changes.move_ref(call.repository, call.by, f"refs/heads/{branch}", made.sha)
    return made
