"""Webhook deliveries of GitHub. The fixture checks each with GitHub's schemas."""

from sandbox.github import GitHub
from tests.sandbox.github.conftest import Api


def delivered_events(github: GitHub) -> list[str]:
    return [f"{event}.{payload['action']}" if "action" in payload else event for event, payload in github.deliveries]


def test_label_payload_is_delivered(github: GitHub, incident: int) -> None:
    payload = github.label(incident, "recover:rollback-worker", "tina")
    assert github.deliveries[-1] == ("issues", payload)
    assert (payload["action"], payload["label"]["name"]) == ("labeled", "recover:rollback-worker")
    assert (payload["sender"]["login"], payload["sender"]["type"]) == ("tina", "User")
    assert payload["issue"]["number"] == incident
    assert payload["repository"]["full_name"] == "acme/operations"
    assert [label["name"] for label in payload["issue"]["labels"]] == ["incident", "recover:rollback-worker"]


def test_payload_keeps_state_at_delivery(github: GitHub, incident: int) -> None:
    payload = github.label(incident, "sev1", "tina")
    github.close(incident, "tina")
    assert payload["issue"]["state"] == "open"


def test_labels_of_new_issue_are_delivered_one_by_one(github: GitHub) -> None:
    github.open_issue("Down", None, ["incident", "sev1"], "alice")
    assert delivered_events(github) == [
        "label.created",
        "label.created",
        "issues.opened",
        "issues.labeled",
        "issues.labeled",
    ]


def test_changes_by_person_are_delivered(api: Api, incident: int, alice: str) -> None:
    api.github.deliveries.clear()
    issue = f"issues/{incident}"
    api.ok("PATCH", issue, token=alice, json={"title": "x", "body": "y", "assignees": ["tina"], "state": "closed"})
    api.ok("PATCH", issue, token=alice, json={"state": "open", "assignees": []})
    comment = api.ok("POST", f"{issue}/comments", token=alice, json={"body": "x"})["id"]
    api.ok("PATCH", f"issues/comments/{comment}", token=alice, json={"body": "y"})
    api.ok("DELETE", f"issues/comments/{comment}", token=alice)
    api.ok("DELETE", f"{issue}/labels/incident", token=alice)
    api.ok("PATCH", "labels/incident", token=alice, json={"new_name": "Incident"})
    api.ok("DELETE", "labels/incident", token=alice)
    assert delivered_events(api.github) == [
        *("issues.edited", "issues.assigned", "issues.closed", "issues.unassigned", "issues.reopened"),
        *("issue_comment.created", "issue_comment.edited", "issue_comment.deleted"),
        *("issues.unlabeled", "label.edited", "label.deleted"),
    ]


def test_edit_without_change_is_not_delivered(api: Api, incident: int, alice: str) -> None:
    api.github.deliveries.clear()
    api.ok("POST", f"issues/{incident}/labels", token=alice, json=["incident"])
    api.ok("PATCH", f"issues/{incident}", token=alice, json={"state": "open", "title": "API answers 500"})
    assert delivered_events(api.github) == []


def test_github_token_triggers_only_dispatches(api: Api, incident: int, workflow: str) -> None:
    api.github.deliveries.clear()
    api.ok("POST", "issues", json={"title": "Report", "labels": ["post-incident"]})
    api.ok("DELETE", f"issues/{incident}/labels/incident")
    api.ok("POST", f"issues/{incident}/comments", json={"body": "received"})
    api.ok("PUT", "contents/a", json={"message": "x", "content": ""})
    assert delivered_events(api.github) == []
    body = {"ref": "main", "inputs": {"service": "api"}}
    api.ok("POST", "actions/workflows/rollback-worker.yml/dispatches", json=body)
    api.ok("POST", "dispatches", json={"event_type": "recover"})
    assert delivered_events(api.github) == ["workflow_dispatch", "repository_dispatch.recover"]
    assert api.github.deliveries[0].payload["sender"]["login"] == "github-actions[bot]"


def test_changes_by_other_app_are_delivered(api: Api, incident: int) -> None:
    api.github.add_user("acme-ops[bot]", None, kind="Bot")
    token = api.github.add_token("ghs_acme", "acme-ops[bot]", ["issues:write"])
    comment = api.ok("POST", f"issues/{incident}/comments", token=token, json={"body": "x"})
    assert comment["performed_via_github_app"]["slug"] == "acme-ops"
    assert delivered_events(api.github)[-1] == "issue_comment.created"
    assert api.github.deliveries[-1].payload["sender"]["type"] == "Bot"


def test_pushes_branches_and_pull_requests_are_delivered(api: Api) -> None:
    hub = api.github
    hub.add_commit("Fix", "alice", branch="fix", files={"a": "1", "README.md": None})
    push = hub.deliveries[0].payload
    assert (push["ref"], push["created"], push["commits"]) == ("refs/heads/fix", True, [push["head_commit"]])
    pull = hub.open_pull("Fix", "fix", "alice")
    hub.label(pull, "sev1", "alice")
    hub.merge(pull, "alice")
    assert delivered_events(hub) == [
        *("push", "create", "pull_request.opened", "label.created", "pull_request.labeled"),
        *("push", "pull_request.closed"),
    ]
    assert hub.deliveries[-1].payload["pull_request"]["merged"] is True
    merge = hub.deliveries[-2].payload["head_commit"]
    assert (merge["added"], merge["removed"]) == (["a"], ["README.md"])


def test_closed_issue_is_delivered_with_closer(github: GitHub, incident: int) -> None:
    payload = github.close(incident, "zoe")
    assert (payload["action"], payload["sender"]["login"], payload["issue"]["state"]) == ("closed", "zoe", "closed")
    assert github.close(incident, "zoe") == {}
