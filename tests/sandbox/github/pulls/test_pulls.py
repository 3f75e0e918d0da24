"""Pull requests: edits, merges and forks. Deliveries are checked with GitHub's schemas."""

import base64
from typing import Any

import pytest

from tests.sandbox.github.conftest import WORKFLOW, Api
from tests.sandbox.github.test_deliveries import delivered_events

LINES = "a: 1\n# ---\nb: 1\n# ---\nc: 1\n"


def open_pull(api: Api, new: str = LINES.replace("a: 1", "a: 2"), branch: str = "limits") -> int:
    """Open a pull request that changes limits.yml."""
    api.github.add_commit("Raise a limit", "alice", branch=branch, files={"limits.yml": new})
    return api.github.open_pull("Raise a", branch, "alice")


@pytest.fixture
def pull(api: Api) -> int:
    api.github.add_commit("Limits", "alice", files={"limits.yml": LINES})
    return open_pull(api)


def content(api: Api, ref: str) -> str:
    return base64.b64decode(api.get(f"contents/limits.yml?ref={ref}")["content"]).decode()


def test_merge_commit_is_delivered_as_push_and_closing(api: Api, pull: int, alice: str) -> None:
    head, before = (api.get(f"pulls/{pull}")[end]["sha"] for end in ("head", "base"))
    api.github.deliveries.clear()

    answer = api.ok("PUT", f"pulls/{pull}/merge", token=alice, json={"sha": head})

    commit = api.get("commits/main")
    assert answer == {"sha": commit["sha"], "merged": True, "message": "Pull Request successfully merged"}
    assert [parent["sha"] for parent in commit["parents"]] == [before, head]
    assert commit["commit"]["message"] == "Merge pull request #1 from acme/limits\n\nRaise a"
    assert delivered_events(api.github) == ["push", "pull_request.closed"]
    (_, push), (_, closed) = api.github.deliveries
    assert (push["before"], push["after"], push["sender"]["login"]) == (before, commit["sha"], "alice")
    assert (closed["pull_request"]["merged"], closed["pull_request"]["merge_commit_sha"]) == (True, commit["sha"])
    assert [event["event"] for event in api.get(f"issues/{pull}/events")] == ["merged", "closed"]
    assert api.refusal("PUT", f"pulls/{pull}/merge", token=alice) == (405, "Pull Request is not mergeable")


def test_squash_merge_creates_one_commit_of_author(api: Api, pull: int) -> None:
    api.github.add_user("mia", "maintain")
    mia = api.github.add_token("ghp_mia", "mia")

    api.ok("PUT", f"pulls/{pull}/merge", token=mia, json={"merge_method": "squash"})

    commit = api.get("commits/main")
    assert (commit["commit"]["message"], commit["author"]["login"]) == (f"Raise a limit (#{pull})", "alice")
    assert len(commit["parents"]) == 1
    assert api.github.deliveries[-1].payload["sender"]["login"] == "mia"


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({"sha": "0" * 40}, (409, "Head branch was modified. Review and try the merge again.")),
        ({"merge_method": "rebase"}, (405, "Rebase merges are not allowed on this repository.")),
        ({"merge_method": "octopus"}, (422, "merge_method invalid")),
    ],
)
def test_invalid_merge_is_refused(api: Api, pull: int, alice: str, body: Any, refusal: tuple[int, str]) -> None:
    assert api.refusal("PUT", f"pulls/{pull}/merge", token=alice, json=body) == refusal
    assert api.get(f"pulls/{pull}")["state"] == "open"


def test_merge_requires_write_access(api: Api, pull: int, tina: str) -> None:
    assert api.refusal("PUT", f"pulls/{pull}/merge", token=tina)[0] == 403
    reads = api.github.add_workflow_token("ghs_reads", {"contents": "read", "pull-requests": "write"})
    assert api.refusal("PUT", f"pulls/{pull}/merge", token=reads)[0] == 403


def test_github_token_cannot_merge_workflows_nor_trigger_push(api: Api, pull: int) -> None:
    api.github.add_commit("A workflow", "alice", branch="evil", files={WORKFLOW: "on: push\n"})
    evil = api.github.open_pull("Evil", "evil", "alice")
    api.github.deliveries.clear()
    assert api.refusal("PUT", f"pulls/{evil}/merge")[0] == 403
    api.ok("PUT", f"pulls/{pull}/merge")
    assert delivered_events(api.github) == []


def test_merge_conflicts_only_on_same_lines(api: Api, pull: int, alice: str) -> None:
    other, same = (open_pull(api, LINES.replace(*change), change[1]) for change in (("c: 1", "c: 3"), ("a: 1", "a: 9")))

    api.ok("PUT", f"pulls/{pull}/merge", token=alice)

    assert content(api, f"refs/pull/{other}/merge") == "a: 2\n# ---\nb: 1\n# ---\nc: 3\n"
    assert [api.get(f"pulls/{number}")["mergeable"] for number in (other, same)] == [True, False]
    assert api.refusal("GET", f"git/ref/pull/{same}/merge")[0] == 404
    assert api.refusal("PUT", f"pulls/{same}/merge", token=alice) == (405, "Pull Request is not mergeable")
    api.ok("PUT", f"pulls/{other}/merge", token=alice)
    assert content(api, "main") == "a: 2\n# ---\nb: 1\n# ---\nc: 3\n"


def test_push_is_delivered_as_synchronize_unless_by_github_token(api: Api, pull: int, alice: str) -> None:
    file = api.get("contents/limits.yml?ref=limits")
    body = {"message": "More", "content": base64.b64encode(b"a: 3\n").decode(), "branch": "limits", "sha": file["sha"]}
    api.github.deliveries.clear()

    made = api.ok("PUT", "contents/limits.yml", token=alice, json=body)

    assert delivered_events(api.github) == ["push", "pull_request.synchronize"]
    _, payload = api.github.deliveries[-1]
    after = made["commit"]["sha"]
    assert (payload["after"], payload["pull_request"]["head"]["sha"], payload["number"]) == (after, after, pull)
    assert content(api, f"refs/pull/{pull}/merge") == "a: 3\n"
    api.ok("PUT", "contents/limits.yml", json={**body, "sha": made["content"]["sha"], "content": ""})
    assert len(api.github.deliveries) == 2
    assert api.get(f"git/ref/pull/{pull}/head")["object"]["sha"] != after


def test_pull_request_is_edited_closed_and_reopened(api: Api, pull: int, alice: str) -> None:
    api.github.add_commit("Release", "alice", branch="release")
    api.github.deliveries.clear()
    path = f"pulls/{pull}"

    edited = api.ok("PATCH", path, token=alice, json={"title": "Raise", "body": "why", "base": "release"})
    closed = api.ok("PATCH", path, token=alice, json={"state": "closed"})
    api.ok("PATCH", path, token=alice, json={"state": "open"})

    assert (edited["title"], edited["body"], edited["base"]["ref"]) == ("Raise", "why", "release")
    assert (closed["state"], closed["merged"]) == ("closed", False)
    actions = ["edited", "edited", "closed", "reopened"]
    assert delivered_events(api.github) == [f"pull_request.{action}" for action in actions]


def test_reopened_pull_request_uses_current_base(api: Api, pull: int, alice: str) -> None:
    api.github.close(pull, "alice")
    api.github.add_commit("Meanwhile", "alice", files={"limits.yml": LINES.replace("a: 1", "a: 9")})
    reopened = api.ok("PATCH", f"pulls/{pull}", token=alice, json={"state": "open"})
    assert (reopened["state"], reopened["mergeable"]) == ("open", False)
    assert api.refusal("PUT", f"pulls/{pull}/merge", token=alice) == (405, "Pull Request is not mergeable")


def test_merged_or_branchless_pull_request_cannot_be_reopened(api: Api, pull: int, alice: str) -> None:
    gone = open_pull(api, "a: 9\n", "gone")
    api.ok("DELETE", "git/refs/heads/gone", token=alice)
    assert delivered_events(api.github)[-1] == "pull_request.closed"
    api.ok("PUT", f"pulls/{pull}/merge", token=alice)
    for number in (gone, pull):
        status, message = api.refusal("PATCH", f"pulls/{number}", token=alice, json={"state": "open"})
        assert (status, message.partition(".")[0]) == (422, "state cannot be changed")
    assert api.refusal("PATCH", f"issues/{pull}", token=alice, json={"state": "open"})[0] == 422


@pytest.mark.parametrize(("body", "field"), [({"state": "merged"}, "state"), ({"base": "nope"}, "base")])
def test_invalid_edit_is_refused(api: Api, pull: int, alice: str, body: Any, field: str) -> None:
    assert api.refusal("PATCH", f"pulls/{pull}", token=alice, json=body) == (422, f"{field} invalid")


def test_reader_cannot_edit_pull_request_of_others(api: Api, pull: int, rita: str) -> None:
    assert api.refusal("PATCH", f"pulls/{pull}", token=rita, json={"title": "x"})[0] == 403


def test_commit_lists_its_pull_requests(api: Api, pull: int, alice: str) -> None:
    head = api.get(f"pulls/{pull}")["head"]["sha"]

    def asked(sha: str) -> list[int]:
        return [one["number"] for one in api.get(f"commits/{sha}/pulls")]

    api.github.add_commit("On top", "alice", [head], branch="top", files={"more": "1"})
    top = api.github.open_pull("Top", "top", "alice")
    assert asked(head) == [pull, top]
    merged = api.ok("PUT", f"pulls/{pull}/merge", token=alice, json={"merge_method": "merge"})["sha"]
    assert (asked(head), asked(merged)) == ([pull], [pull])
    assert asked(api.get("commits?sha=main&per_page=100")[-1]["sha"]) == []


def test_file_history_omits_one_sided_merges(api: Api, pull: int, alice: str) -> None:
    hub = api.github
    hub.add_commit("Elsewhere", "alice", files={"other": "1"})
    hub.merge(pull, "alice")
    asks = open_pull(api, content(api, "main").replace("c: 1", "c: 3"), "both")

    def messages(path: str) -> list[str]:
        return [commit["commit"]["message"].partition(" #")[0] for commit in api.get(f"commits?path={path}")]

    assert messages("limits.yml") == ["Raise a limit", "Limits"]
    assert messages("other") == ["Elsewhere"]
    hub.add_commit("Lower b", "alice", files={"limits.yml": content(api, "main").replace("b: 1", "b: 0")})
    hub.merge(asks, "alice")
    assert messages("limits.yml") == ["Merge pull request", "Lower b", "Raise a limit", "Raise a limit", "Limits"]


def test_fork_pull_request_head_is_readable_in_repository(api: Api) -> None:
    hub = api.github
    hub.add_commit("Limits", "alice", files={"limits.yml": LINES})
    hub.deliveries.clear()

    number = hub.open_fork_pull("Raise all", "zoe", {"limits.yml": "a: 99\n"})

    pull = api.get(f"pulls/{number}")
    head, base = pull["head"], pull["base"]
    assert delivered_events(hub) == ["pull_request.opened"]
    assert hub.deliveries[0].payload["pull_request"]["head"]["repo"] == head["repo"]
    assert (head["label"], head["repo"]["full_name"], head["repo"]["fork"]) == ("zoe:patch-1", "zoe/operations", True)
    assert (base["repo"]["full_name"], base["repo"]["fork"]) == ("acme/operations", False)
    assert head["repo"]["id"] != base["repo"]["id"]
    for ref in (head["sha"], f"refs/pull/{number}/head", f"refs/pull/{number}/merge"):
        assert content(api, ref) == "a: 99\n"
    assert content(api, "main") == LINES
    assert [one["name"] for one in api.get("branches")] == ["main"]
    assert [one["number"] for one in api.get("pulls?head=zoe:patch-1")] == [number]
    assert api.get("pulls?head=acme:patch-1") == []


def test_fork_push_is_delivered_as_synchronize_only(api: Api, alice: str) -> None:
    hub = api.github
    number = hub.open_fork_pull("Limits", "zoe", {"limits.yml": "a: 1\n"})
    hub.deliveries.clear()

    sha = hub.push_to_fork(number, {"limits.yml": "a: 2\n"})
    api.ok("PUT", f"pulls/{number}/merge", token=alice, json={"sha": sha})

    assert delivered_events(hub) == ["pull_request.synchronize", "push", "pull_request.closed"]
    assert hub.deliveries[0].payload["sender"]["login"] == "zoe"
    assert content(api, "main") == "a: 2\n"
    assert api.get("commits/main")["commit"]["message"].startswith(f"Merge pull request #{number} from zoe/patch-1")


def test_pull_request_refs_are_read_only(api: Api, pull: int, alice: str) -> None:
    sha = api.get("commits/main")["sha"]
    for method, path, body in (
        ("POST", "git/refs", {"ref": "refs/pull/9/head", "sha": sha}),
        ("PATCH", f"git/refs/pull/{pull}/head", {"sha": sha, "force": True}),
        ("DELETE", f"git/refs/pull/{pull}/merge", None),
    ):
        options = {} if body is None else {"json": body}
        assert api.refusal(method, path, token=alice, **options)[0] == 422


@pytest.mark.parametrize("is_fork", [False, True])
def test_pull_request_run_shows_head_and_repository(api: Api, pull: int, is_fork: bool) -> None:
    hub = api.github
    hub.add_commit("A workflow", "alice", files={WORKFLOW: "name: Plan\non: pull_request\n"})
    number = hub.open_fork_pull("Raise all", "zoe", {"limits.yml": "a: 99\n"}) if is_fork else pull
    opened = next(body for event, body in hub.deliveries if event == "pull_request" and body["number"] == number)

    made = hub.start_run(WORKFLOW, "pull_request", opened, "alice", f"refs/pull/{number}/merge")

    run, head = api.get(f"actions/runs/{made.id}"), api.get(f"pulls/{number}")["head"]
    assert (run["head_sha"], run["head_branch"], run["name"]) == (head["sha"], head["ref"], "Plan")
    assert run["head_repository"]["full_name"] == head["repo"]["full_name"]
    assert run["repository"]["full_name"] == "acme/operations"
    assert [one["number"] for one in run["pull_requests"]] == ([] if is_fork else [number])
