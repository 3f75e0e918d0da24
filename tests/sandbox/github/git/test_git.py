"""Commits, files, refs and pull requests in GitHub's API."""

import base64
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.sandbox.github.conftest import WORKFLOW, Api


def encode_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_repository_starts_with_commit_on_default_branch(api: Api) -> None:
    assert api.get("/repos/acme/operations")["default_branch"] == "main"
    (first,) = api.get("commits")
    assert api.get("branches/main")["commit"]["sha"] == first["sha"]
    assert api.get("branches")[0]["name"] == "main"
    assert api.get("git/ref/heads/main")["object"]["sha"] == first["sha"]
    assert api.get(f"commits/{first['sha'][:7]}")["files"][0]["filename"] == "README.md"


def test_file_is_read_at_ref_as_json_and_raw(api: Api) -> None:
    old = api.github.add_commit("One", "alice", files={"limits.yml": "a: 1\n"})
    api.github.add_commit("Two", "alice", files={"limits.yml": "a: 2\n"})
    now, before = api.get("contents/limits.yml"), api.get(f"contents/limits.yml?ref={old}")
    assert [base64.b64decode(file["content"]) for file in (now, before)] == [b"a: 2\n", b"a: 1\n"]
    assert api.get(now["url"].removeprefix(api.github.api_url)) == now
    raw = api("GET", "contents/limits.yml", headers={"accept": "application/vnd.github.raw+json"})
    assert raw.text == "a: 2\n"
    assert now["sha"] == "9dfc208dffa85f841e9202337485b96367a625ee"  # as git hash-object says


def test_folder_is_listed(api: Api) -> None:
    api.github.add_commit("Docs", "alice", files={"docs/a.md": "a", "docs/more/b.md": "b"})
    assert [(one["path"], one["type"]) for one in api.get("contents/docs")] == [
        ("docs/a.md", "file"),
        ("docs/more", "dir"),
    ]
    assert [one["name"] for one in api.get("contents")] == ["README.md", "docs"]
    assert api.refusal("GET", "contents/nope") == (404, "Not Found")
    assert api.refusal("GET", "contents/README.md?ref=nope") == (404, "No commit found for the ref nope")


def test_file_is_created_changed_and_deleted(api: Api) -> None:
    made = api("PUT", "contents/limits.yml", json={"message": "One", "content": encode_base64("a: 1\n")})
    sha = made.json()["content"]["sha"]
    changed = api("PUT", "contents/limits.yml", json={"message": "Two", "content": encode_base64("a: 2\n"), "sha": sha})
    assert (made.status_code, changed.status_code) == (201, 200)
    assert [commit["commit"]["message"] for commit in api.get("commits?path=limits.yml")] == ["Two", "One"]
    assert api.get("commits/main")["files"][0]["patch"] == "@@ -1 +1 @@\n-a: 1\n+a: 2"
    body = {"message": "Gone", "sha": changed.json()["content"]["sha"]}
    assert api.ok("DELETE", "contents/limits.yml", json=body)["content"] is None
    assert api.refusal("GET", "contents/limits.yml")[0] == 404


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({}, (422, '"sha" wasn\'t supplied.')),
        ({"sha": "0" * 40}, (409, f"README.md does not match {'0' * 40}")),
        ({"content": "%"}, (422, "content is not valid Base64")),
        ({"branch": "nope"}, (404, "Branch nope not found")),
    ],
)
def test_invalid_file_write_is_refused(api: Api, body: Any, refusal: tuple[int, str]) -> None:
    assert api.refusal("PUT", "contents/README.md", json={"message": "x", "content": "", **body}) == refusal


def test_github_token_cannot_change_workflow(api: Api, alice: str) -> None:
    body = {"message": "New", "content": encode_base64("on: push\n")}
    assert api.refusal("PUT", f"contents/{WORKFLOW}", json=body)[0] == 403
    assert api("PUT", f"contents/{WORKFLOW}", token=alice, json=body).status_code == 201


def test_refs_are_created_moved_and_deleted(api: Api) -> None:
    first, second = api.get("commits")[0]["sha"], api.github.add_commit("Two", "alice")
    made = api.ok("POST", "git/refs", json={"ref": "refs/heads/fix/a", "sha": first})
    assert api.get("branches/fix/a")["commit"]["sha"] == first
    path = made["url"].removeprefix(api.github.api_url).replace("/git/refs/", "/git/ref/")
    assert api.get(path) == made
    assert [ref["ref"] for ref in api.get("git/matching-refs/heads/fix")] == ["refs/heads/fix/a"]
    assert api.ok("PATCH", "git/refs/heads/fix/a", json={"sha": second})["object"]["sha"] == second
    assert api.refusal("PATCH", "git/refs/heads/fix/a", json={"sha": first}) == (422, "Update is not a fast forward")
    assert api.ok("PATCH", "git/refs/heads/fix/a", json={"sha": first, "force": True})
    assert api("DELETE", "git/refs/heads/fix/a").status_code == 204
    assert api.refusal("DELETE", "git/refs/heads/fix/a") == (422, "Reference does not exist")


@pytest.mark.parametrize(
    ("ref", "sha", "refusal"),
    [
        ("refs/heads/main", None, "Reference already exists"),
        ("main", None, "main is not a valid ref name."),
        ("refs/heads/new", "0" * 40, "Object does not exist"),
    ],
)
def test_invalid_ref_is_refused(api: Api, ref: str, sha: str | None, refusal: str) -> None:
    body = {"ref": ref, "sha": sha or api.get("commits")[0]["sha"]}
    assert api.refusal("POST", "git/refs", json=body) == (422, refusal)


def test_commits_are_newest_first_and_filtered(api: Api) -> None:
    hub = api.github
    hub.clock.advance(60)
    hub.add_commit("One", "alice", files={"src/a.js": "1"})
    hub.clock.advance(60)
    hub.add_commit("Two", "tina", files={"src/b.js": "1"})
    since = hub.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")

    def messages(query: str) -> list[str]:
        return [commit["commit"]["message"] for commit in api.get(f"commits?{query}")]

    assert messages("") == ["Two", "One", "Initial commit"]
    assert messages("author=alice") == ["One"]
    assert messages("path=src") == ["Two", "One"]
    assert messages(f"since={since}") == ["Two"]
    assert messages(f"until={since}&per_page=1") == ["Two"]
    assert api.refusal("GET", "commits/nope") == (422, "No commit found for SHA: nope")


def test_commits_are_compared_from_merge_base(api: Api) -> None:
    hub = api.github
    earlier = datetime(2020, 1, 1, tzinfo=UTC)  # as after a clock was set back: the first commit is newer
    base = hub.add_commit("Base", "alice", files={"a": "1\n", "b": "1\n"}, at=earlier)
    head = hub.add_commit("Fix", "alice", branch="fix", files={"a": "2\n", "b": None, "c": "new\n"})
    ahead = api.get(f"compare/{base}...{head}")
    assert (ahead["status"], ahead["ahead_by"], ahead["behind_by"]) == ("ahead", 1, 0)
    assert [(file["filename"], file["status"]) for file in ahead["files"]] == [
        ("a", "modified"),
        ("b", "removed"),
        ("c", "added"),
    ]
    assert api.get("compare/fix...main")["status"] == "behind"
    hub.add_commit("Other", "alice", files={"d": "1\n"})
    apart = api.get("compare/main...fix")
    assert (apart["status"], apart["merge_base_commit"]["sha"], len(apart["files"])) == ("diverged", base, 3)
    assert api.get("compare/main...main")["status"] == "identical"
    assert api.refusal("GET", "compare/main...nope")[0] == 404


def test_pull_request_is_opened_read_listed_and_merged(api: Api, alice: str) -> None:
    hub = api.github
    sha = hub.add_commit("Raise limit", "alice", branch="limits", files={"limits.yml": "a: 2\n"})
    body = {"title": "Raise limit", "head": "limits", "base": "main", "draft": True}
    made = api("POST", "pulls", token=alice, json=body)
    pull = made.json()
    assert (made.status_code, pull["head"]["sha"], pull["changed_files"], pull["draft"]) == (201, sha, 1, True)
    assert api.get("pulls/1") == pull
    assert [one["number"] for one in api.get("pulls?head=acme:limits&base=main")] == [1]
    assert [file["filename"] for file in api.get("pulls/1/files")] == ["limits.yml"]
    assert [one["number"] for one in api.get(f"commits/{sha}/pulls")] == [1]
    merged = hub.merge(1, "alice")
    assert api.get("pulls") == []
    closed = api.get("pulls/1")
    assert (closed["merged"], closed["merge_commit_sha"], closed["merged_by"]["login"]) == (True, merged, "alice")
    assert api.get("contents/limits.yml")["size"] == 5


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({"head": "nope"}, "head invalid"),
        ({"base": "nope"}, "base invalid"),
        ({"head": "main"}, "No commits between main and main"),
        ({"title": ""}, "title missing_field"),
        ({"head": "open"}, "A pull request already exists for acme:open."),
    ],
)
def test_invalid_pull_request_is_refused(api: Api, alice: str, body: Any, refusal: str) -> None:
    for branch in ("fix", "open"):
        api.github.add_commit("Fix", "alice", branch=branch, files={branch: "1"})
    api.github.open_pull("Open", "open", "alice")
    whole = {"title": "Fix", "head": "fix", "base": "main", **body}
    assert api.refusal("POST", "pulls", token=alice, json=whole) == (422, refusal)
