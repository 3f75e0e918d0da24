"""Git refs, and branches."""

import re

from sandbox.github.call import NO_CONTENT, REPO, Access, Answer, ApiError, Call, Routes, fields
from sandbox.github.git import changes, serializers

ROUTES = Routes()
_REFS = REPO + "/git/refs"
_HIDDEN = "refs/pull/"
"""These GitHub alone moves."""
_FORM = re.compile(r"refs/[^/\s~^:?*\[\\]+(/[^/\s~^:?*\[\\]+)+")


@ROUTES.add("GET", REPO + "/git/ref/{ref*}", Access("contents:read", "git/refs#get-a-reference"))
def get_ref(call: Call) -> Answer:
    name = f"refs/{call.parameters['ref']}"
    sha = call.repository.git.refs.get(name)
    if sha is None:
        raise ApiError(404, "Not Found")
    return Answer(body=serializers.ref(name, sha, call.urls))


@ROUTES.add("GET", REPO + "/git/matching-refs/{ref*}", Access("contents:read", "git/refs#list-matching-references"))
def list_matching_refs(call: Call) -> Answer:
    prefix = f"refs/{call.parameters['ref']}"
    found = [item for item in sorted(call.repository.git.refs.items()) if item[0].startswith(prefix)]
    return call.page(found, lambda item: serializers.ref(*item, call.urls))


@ROUTES.add("POST", _REFS, Access("contents:write", "git/refs#create-a-reference"))
def create_ref(call: Call) -> Answer:
    body = fields(call, required={"ref": str, "sha": str})
    if not _FORM.fullmatch(body["ref"]) or body["ref"].startswith(_HIDDEN):
        raise ApiError(422, f"{body['ref']} is not a valid ref name.")
    if body["ref"] in call.repository.git.refs:
        raise ApiError(422, "Reference already exists")
    _require_object(call, body["sha"])
    changes.move_ref(call.repository, call.by, body["ref"], body["sha"])
    shown = serializers.ref(body["ref"], body["sha"], call.urls)
    return Answer(status=201, body=shown, headers=[("location", shown["url"])])


@ROUTES.add("PATCH", _REFS + "/{ref*}", Access("contents:write", "git/refs#update-a-reference"))
def update_ref(call: Call) -> Answer:
    """Forward only, unless it is forced."""
    body = fields(call, required={"sha": str}, optional={"force": bool})
    git, name = call.repository.git, _existing(call)
    _require_object(call, body["sha"])
    is_forward = git.commits[git.refs[name]] in git.history(git.commits[body["sha"]])
    if not is_forward and not body.get("force"):
        raise ApiError(422, "Update is not a fast forward")
    changes.move_ref(call.repository, call.by, name, body["sha"])
    return Answer(body=serializers.ref(name, body["sha"], call.urls))


@ROUTES.add("DELETE", _REFS + "/{ref*}", Access("contents:write", "git/refs#delete-a-reference"))
def delete_ref(call: Call) -> Answer:
    name = _existing(call)
    if name == f"refs/heads/{call.repository.git.default_branch}":
        raise ApiError(422, "Cannot delete the default branch")
    changes.move_ref(call.repository, call.by, name, None)
    return NO_CONTENT


def _existing(call: Call) -> str:
    name = f"refs/{call.parameters['ref']}"
    if name not in call.repository.git.refs:
        raise ApiError(422, "Reference does not exist")
    if name.startswith(_HIDDEN):
        raise ApiError(422, f"{name} is not a ref that can be changed.")
    return name


def _require_object(call: Call, sha: str) -> None:
    if sha not in call.repository.git.commits:
        raise ApiError(422, "Object does not exist")


@ROUTES.add("GET", REPO + "/branches", Access("contents:read", "branches/branches#list-branches"))
def list_branches(call: Call) -> Answer:
    return call.page(call.repository.git.branches.items(), lambda item: serializers.short_branch(*item, call.urls))


@ROUTES.add("GET", REPO + "/branches/{branch*}", Access("contents:read", "branches/branches#get-a-branch"))
def get_branch(call: Call) -> Answer:
    name = call.parameters["branch"]
    head = call.repository.git.head(name)
    if head is None:
        raise ApiError(404, "Branch not found")
    return Answer(body=serializers.branch(name, head, call.urls))
