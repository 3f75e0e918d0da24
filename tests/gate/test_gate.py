"""Authorize requests through GitHub: the public command in a job, on the sandbox's GitHub."""

import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from ops.app import registry
from ops.app.run import read_config
from ops.core.run_record import is_edited, read_record
from ops.github import actions, client
from sandbox.github.users.state import Role
from tests.conftest import REFERENCE
from tests.gate.support import LABEL, Job, parse_outputs

PERMISSION = {"method": "GET", "path": "/repos/*/*/collaborators/*/permission"}
REMOVAL = {"method": "DELETE", "path": "/repos/*/*/issues/*/labels/*"}
COMMENT = {"method": "POST", "path": "/repos/*/*/issues/*/comments"}
BUTTON = """\
on:
  workflow_dispatch:
    inputs:
      service: {default: ""}
      environment: {default: production}
      incident: {default: ""}
      reason: {default: ""}
"""
FLAG = "      current_secrets: {type: boolean, default: false}\n"


def set_responders(job: Job, *logins: str) -> None:
    job.world.edit_config("responders: []", f"responders: [{', '.join(logins)}]")


def test_label_by_writer_is_accepted_and_removed(job: Job) -> None:
    payload = job.label()

    done = job.gate(payload)

    job.assert_accepted(done)
    assert json.loads(job.outputs["params"]) == {"service": "api"}
    assert {name: value for name, value in job.outputs.items() if name not in {"go", "params", "permission"}} == {
        "attempt": "1",
        "actor": "alice",
        "comment": "",
        "requesters": "",
        "approval": "",
        "ends_by": "",
        "message": "",
        "hint": "",
        "answered": "",
        "report": "true",
        "check": "",
        "runbook": "rollback-worker",
        "power": "recovery",
        "environment": "production",
        "incident": str(job.incident),
        "dry_run": "false",
        "requested_at": payload["issue"]["updated_at"].replace("Z", "+00:00"),
        "began": "",
        "reason": "",
    }
    assert (job.labels, job.comments, job.github.unknown_requests) == (["incident"], [], [])


LABELS = read_config(REFERENCE / "ops.yml")[0].labels


@pytest.mark.parametrize("label", LABELS)
def test_label_selects_github_environment_of_runbook(job: Job, label: str) -> None:
    done = job.gate(job.label(name=label))

    job.assert_accepted(done)
    asked = LABELS[label]
    assert job.outputs["runbook"] == asked.runbook
    assert job.outputs["power"] == (registry.load_runbook(asked.runbook).github_environment or "none")
    assert json.loads(job.outputs["params"]) == json.loads(json.dumps(asked.params))
    assert job.labels == ["incident"]


def test_privileged_labels_use_security_environment() -> None:
    security = {label for label, one in LABELS.items() if registry.github_environment(one.runbook) == "security"}

    assert security == {"recover:api-off", "recover:api-on", "recover:rotate-secrets"}


@pytest.mark.parametrize("name", LABELS)
def test_label_without_write_access_gets_no_environment(job: Job, name: str) -> None:
    done = job.gate(job.label("tina", name))

    assert (done.code, job.outputs["go"], job.outputs["power"]) == (3, "false", "")
    assert (job.labels, "no_write_access" in job.comments[0]) == (["incident"], True)


def test_gate_sends_only_permission_read_and_label_removal(job: Job) -> None:
    job.gate(job.label())

    assert [(request.method, request.path.rsplit("/", 1)[1]) for request in job.github.requests] == [
        ("GET", "permission"),
        ("DELETE", "recover%3Arollback-api"),
    ]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("role", ["write", "maintain", "admin", "triage", "read", None])
def test_role_with_write_access_is_required(job: Job, role: Role | None) -> None:
    job.github.add_user("bob", role)

    done = job.gate(job.label("bob"))

    if role in {"write", "maintain", "admin"}:
        job.assert_accepted(done)
    else:
        job.assert_refused(done, "no_write_access")
        command = f"./run ops rollback-worker --service api --environment production --incident {job.incident}"
        assert command in job.comments[0]
        assert command in done.err
        assert "gh workflow run rollback-worker.yml -f service=api" in job.comments[0]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("role", "permission", "goes"),
    [
        ("deployer", "write", True),
        ("deployer", "admin", True),
        ("deployer", "read", False),
        ("triage", "write", False),
        ("none", "none", False),
    ],
)
def test_custom_role_counts_as_its_base_permission(job: Job, role: str, permission: str, goes: bool) -> None:
    payload = job.label()
    user = {"login": "alice", "id": payload["sender"]["id"], "type": "User"}
    job.github.fault(
        **PERMISSION, status=200, body=json.dumps({"permission": permission, "role_name": role, "user": user})
    )

    done = job.gate(payload)

    assert (done.code == 0) == goes


def test_login_with_changed_user_id_is_refused(job: Job) -> None:
    payload = {**job.label(), "sender": {"login": "alice", "id": 666, "type": "User"}}

    job.assert_refused(job.gate(payload), "no_write_access")


def test_responders_list_restricts_writers(job: Job) -> None:
    set_responders(job, "Alice", "tina")
    job.github.add_user("bob")
    job.assert_accepted(job.gate(job.label()))

    done = job.gate(job.label("bob"))

    job.assert_refused(done, "not_a_responder")
    assert job.gate(job.label("tina")).code == 3
    assert job.outputs["reason"] == "no_write_access"


def test_bot_is_refused_without_permission_read(job: Job) -> None:
    job.github.add_user("helper[bot]", None, "Bot")

    job.assert_refused(job.gate(job.label("helper[bot]")), "not_a_person")
    assert job.permission_reads() == 0


@pytest.mark.sampled(2)
@pytest.mark.parametrize("actor", ["tina", "zoe", "helper[bot]", "nobody-here"])
def test_triggering_actor_is_checked_too(job: Job, actor: str) -> None:
    done = job.gate(job.label(), GITHUB_TRIGGERING_ACTOR=actor)

    job.assert_refused(done, "not_a_person" if "[" in actor else "no_write_access")
    assert f"`{actor}`" in job.comments[0]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("ago", "environ", "reason"),
    [
        (31, {}, "request_too_old"),
        (-2, {}, "request_too_old"),
        (0, {"GITHUB_REF": "refs/heads/evil`@org/team`"}, "other_ref"),
    ],
)
def test_old_event_or_other_branch_is_refused(job: Job, ago: int, environ: dict[str, str], reason: str) -> None:
    at = job.world.sandbox.clock.now() - timedelta(minutes=ago)

    done = job.gate(job.github.label(job.incident, LABEL, "alice", at=at), **environ)

    job.assert_refused(done, reason)


def test_label_on_closed_incident_is_refused(job: Job) -> None:
    job.github.close(job.incident, "alice")

    job.assert_refused(job.gate(job.label()), "incident_closed")


@pytest.mark.parametrize(("days", "goes"), [(6.9, True), (7.1, False)])
def test_all_clear_label_works_for_week_after_closing(job: Job, days: float, goes: bool) -> None:
    job.github.close(job.incident, "alice")
    job.world.sandbox.clock.advance(days * 86400)

    done = job.gate(job.label(name="recover:all-clear"))

    if goes:
        job.assert_accepted(done)
        assert (job.outputs["runbook"], job.outputs["incident"]) == ("all-clear", str(job.incident))
    else:
        job.assert_refused(done, "incident_closed")
        assert "more than 7 days ago" in done.err


def test_unknown_label_is_refused_with_suggestion(job: Job) -> None:
    job.label()

    done = job.gate(job.label(name="recover:rollback-apl"))

    assert (done.code, job.outputs["reason"], job.labels) == (3, "unknown_label", ["incident", LABEL])
    assert f"did you mean `{LABEL}`?" in job.comments[0]
    assert f'did you mean "{LABEL}"?' in done.err


def test_label_works_despite_invalid_config_of_another(job: Job) -> None:
    job.world.edit_config("      service: frontend\n", "      service: frontent\n")

    done = job.gate(job.label())

    job.assert_accepted(done)


def test_label_with_invalid_config_is_an_error(job: Job) -> None:
    job.world.edit_config("    params:\n      service: api\n  recover:rollback-frontend", "  recover:rollback-frontend")

    done = job.gate(job.label(name=LABEL.upper()))

    assert done.code == 2
    assert f"labels.{LABEL}.params: service is missing; rollback-worker cannot run without it" in done.err
    assert (job.outputs["go"], job.outputs["reason"]) == ("false", "config_invalid")
    assert "service is missing" in job.outputs["message"]


# Unreadable permissions.


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("listed", "login", "goes"), [("alice", "alice", True), ("Alice", "alice", False), ("", "alice", False)]
)
def test_unreadable_permission_admits_only_listed_responders(job: Job, listed: str, login: str, goes: bool) -> None:
    job.github.switches.github_token_reads_permissions = False
    set_responders(job, *filter(None, [listed]))

    done = job.gate(job.label(login))

    if goes:
        job.assert_accepted(done, "not checked")
        assert "permission not checked" in done.out
    else:
        job.assert_refused(done, "permission_unreadable")
        assert "on a laptop: `./run ops rollback-worker" in job.comments[0]
        none = "ops.yml lists no responders" in job.comments[0]
        assert none or "ask one of the responders: `Alice`." in job.comments[0]
        assert none is (not listed)
        assert "by the button: **rollback-worker** → **Run workflow**: service `api`, " in job.comments[0]
        assert "with gh: `gh workflow run" in job.comments[0]


def test_unreadable_permission_refuses_other_triggering_actor(job: Job) -> None:
    job.github.switches.github_token_reads_permissions = False
    set_responders(job, "alice")

    job.assert_refused(job.gate(job.label(), GITHUB_TRIGGERING_ACTOR="zoe"), "not_a_responder")


def test_missing_collaborator_is_refused_even_as_responder(job: Job) -> None:
    set_responders(job, "alice")
    job.github.fault(**PERMISSION, status=404, message="alice is not a user")

    job.assert_refused(job.gate(job.label()), "no_write_access")


@pytest.mark.parametrize("status", [429, 503])
def test_permission_read_is_retried(job: Job, status: int) -> None:
    job.github.fault(**PERMISSION, status=status, headers={"Retry-After": "60"})

    job.assert_accepted(job.gate(job.label()))

    assert job.permission_reads() == 2


@pytest.mark.slow
@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "fault",
    [
        {"status": 503},
        {"status": 500},
        {"status": 401, "message": "Bad credentials"},
        {"lost": "before"},
        {"status": 200, "body": "<html>"},
        {"status": 200, "body": "[]"},
        {"status": 200, "body": '{"permission": "admin", "role_name": "admin"}'},
        {"status": 403, "message": "API rate limit exceeded for installation ID 1."},
        {"status": 403, "message": "You have exceeded a secondary rate limit", "headers": {"Retry-After": "600"}},
    ],
    ids=str,
)
def test_failed_permission_read_refuses_even_responder(job: Job, fault: dict[str, Any]) -> None:
    set_responders(job, "alice")
    job.github.fault(**PERMISSION, times=None, **fault)

    done = job.gate(job.label())

    job.assert_refused(done, "permission_unknown")
    assert "laptop" in job.comments[0]


@pytest.mark.slow
def test_github_outage_refuses_request_in_job_log(job: Job) -> None:
    payload = job.label()
    job.github.fault(status=503, times=None)

    done = job.gate(payload)

    assert (done.code, job.outputs["go"], job.outputs["reason"]) == (3, "false", "permission_unknown")
    assert "./run ops rollback-worker --service api" in done.err
    assert done.err.count("warning:") == 2


# Failures that do not stop a recovery.


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "fault", [{"status": 500}, {"status": 403}, {"status": 404, "message": "Not Found"}, {"lost": "before"}]
)
def test_failed_label_removal_is_one_warning(job: Job, fault: dict[str, Any]) -> None:
    job.github.fault(**REMOVAL, times=None, **fault)

    done = job.gate(job.label())

    job.assert_accepted(done)
    assert done.err.count("\n") == 1
    assert done.err.startswith("warning: the label could not be removed")


@pytest.mark.parametrize("said", ["Label does not exist", "Not Found", "This label is not on the issue"])
def test_removed_label_starts_nothing(job: Job, said: str) -> None:
    payload = job.label()
    job.github.unlabel(job.incident, LABEL, "alice")
    job.github.fault(**REMOVAL, status=404, message=said)

    done = job.gate(payload)

    job.assert_refused(done, "label_taken")


@pytest.mark.parametrize("fault", [{"lost": "before"}, {"lost": "after"}, {"status": 502}, {"status": 200, "body": ""}])
def test_label_removal_survives_lost_response(job: Job, fault: dict[str, Any]) -> None:
    job.github.fault(**REMOVAL, **fault)

    done = job.gate(job.label())

    job.assert_accepted(done)
    assert (done.err, job.labels) == ("", ["incident"])


@pytest.mark.parametrize(
    ("rule", "moment", "lost"),
    [
        (PERMISSION, "before", None),
        (REMOVAL, "before", None),
        (REMOVAL, "after", None),
        (REMOVAL, "after", "after"),
    ],
)
def test_concurrent_gates_accept_delivery_once(job: Job, rule: dict[str, Any], moment: str, lost: str | None) -> None:
    """The second gate runs completely while the first waits for a response, which may be lost."""
    payload, others = job.label(), list[dict[str, str]]()

    def other() -> None:
        job.gate(payload)
        others.append(job.outputs)

    job.github.fault(**rule, **{moment: other, "lost": lost})

    job.gate(payload)

    assert sorted(outputs["go"] for outputs in (*others, job.outputs)) == ["false", "true"]


def test_refusals_share_one_comment_with_row_each(job: Job) -> None:
    job.gate(job.label("tina"))
    job.world.sandbox.clock.advance(60)

    job.gate(job.label("tina", "recover:rollback-apj"))

    (comment,) = job.comments
    assert "`unknown_label`" in comment
    assert "This is the latest of 2 refused requests on this issue" in comment
    block = read_record(comment)
    assert block is not None
    assert [row.kind for row in block.rows] == ["refused", "refused"]
    assert '"tina" may not write' in block.rows[0].text
    assert not is_edited(comment)


def test_refusal_posts_new_comment_if_listing_fails(job: Job) -> None:
    job.gate(job.label("tina"))
    job.github.fault(method="GET", path="/repos/*/*/issues/*/comments", times=None, status=500)

    job.gate(job.label("tina"))

    assert len(job.comments) == 2


@pytest.mark.parametrize("fault", [{"status": 500}, {"lost": "before"}])
def test_failed_refusal_comment_still_removes_label(job: Job, fault: dict[str, Any]) -> None:
    job.github.fault(**COMMENT, times=None, **fault)

    done = job.gate(job.label("tina"))

    assert (done.code, job.labels, job.comments) == (3, ["incident"], [])
    assert "warning: the answer could not be written" in done.err


def test_repeated_delivery_is_refused(job: Job) -> None:
    payload = job.label()
    job.assert_accepted(job.gate(payload))

    done = job.gate(payload)

    job.assert_refused(done, "label_taken")


@pytest.mark.parametrize("status", [404, 410], ids=["transferred", "deleted"])
def test_missing_issue_is_refused_in_job_summary(job: Job, status: int) -> None:
    """docs.github.com/rest/issues/issues#get-an-issue: 404 if the token cannot read the issue's new repository."""
    payload = job.label()
    job.github.fault(path=f"/repos/*/*/issues/{job.incident}**", status=status, times=None)
    page = job.world.folder / "summary.md"

    done = job.gate(payload, GITHUB_STEP_SUMMARY=str(page))

    assert (done.code, job.outputs["go"], job.outputs["reason"]) == (3, "false", "unknown_incident")
    said = f"#{job.incident} was transferred or deleted"
    assert f"refused: {said}\n" in done.err
    assert f"**Refused, and nothing was changed:** {said}." in page.read_text()


def test_transferred_issue_is_refused(job: Job) -> None:
    """GitHub redirects each request to the issue's new place. GITHUB_TOKEN may write to its own repository only.

    docs.github.com/rest/issues/issues#get-an-issue, docs.github.com/actions/concepts/security/github_token
    """
    payload, repository = job.label(), f"/repos/{job.github.repository}"
    new = {**payload["issue"], "repository_url": f"{job.github.api_url}/repos/acme/shop"}
    place = "/repositories/7/issues/9"
    job.github.fault(path=f"{place}/labels**", method="GET", body=json.dumps(payload["issue"]["labels"]), times=None)
    job.github.fault(path=f"{place}/labels**", method="DELETE", status=403, times=None)
    job.github.fault(path=place, body=json.dumps(new), times=None)
    for path in ("", "/labels", f"/labels/{quote(LABEL, safe='')}"):
        headers = {"Location": f"{job.github.api_url}{place}{path}"}
        job.github.fault(path=f"{repository}/issues/{job.incident}{path}", status=301, headers=headers, times=None)
    page = job.world.folder / "summary.md"

    done = job.gate(payload, GITHUB_STEP_SUMMARY=str(page))

    assert (done.code, job.outputs["go"], job.outputs["reason"]) == (3, "false", "unknown_incident"), done.err
    assert "was transferred or deleted" in page.read_text()
    assert "`./run ops rollback-worker --service api --environment production`" in page.read_text()


def test_renamed_label_is_refused(job: Job) -> None:
    payload = job.label()
    label = f"{job.github.api_url}/repos/{job.github.repository}/labels/{LABEL}"
    headers = {"authorization": f"Bearer {job.github.token}"}
    httpx.patch(label, headers=headers, json={"new_name": "recover:renamed"}, verify=False).raise_for_status()

    job.assert_refused(job.gate(payload), "label_taken")

    assert job.labels == ["incident", "recover:renamed"]


def test_label_removed_within_a_second_is_refused(job: Job) -> None:
    at = job.world.sandbox.clock.now()
    payload = job.github.label(job.incident, LABEL, "alice", at=at)
    job.github.unlabel(job.incident, LABEL, "alice", at=at)

    job.assert_refused(job.gate(payload), "label_taken")


def test_label_in_other_case_is_refused_with_correction(job: Job) -> None:
    job.assert_refused(job.gate(job.label(name="Recover:Rollback-API")), "unknown_label")

    (comment,) = job.comments
    assert f"the label `Recover:Rollback-API` is spelled `{LABEL}` in ops.yml" in comment
    assert "Run `ops labels sync`, which corrects it" in comment
    assert f"`./run ops rollback-worker --service api --environment production --incident {job.incident}`" in comment
    assert job.labels == ["incident"]


def add_two_labels(job: Job, seconds: float = 0, by: str = "alice", among: int = 0) -> tuple[Any, Any]:
    """Add two conflicting labels `seconds` apart, after `among` other labels."""
    for number in range(among):
        job.label(name=f"other-{number}")
    at = job.world.sandbox.clock.now()
    first = job.github.label(job.incident, "recover:api-on", "alice", at=at)
    second = job.github.label(job.incident, "recover:api-off", by, at=at + timedelta(seconds=seconds))
    return first, second


@pytest.mark.parametrize(("seconds", "among"), [(0, 0), (1, 0), (0, 110)], ids=["at once", "1 s", "many events"])
def test_labels_added_within_a_second_are_refused(job: Job, seconds: float, among: int) -> None:
    """GitHub's label picker adds all selected labels at once; the order of their runs is random."""
    first, second = add_two_labels(job, seconds, among=among)
    both = {**first, "issue": {**first["issue"], "labels": second["issue"]["labels"]}}

    for payload in (both, second):
        done = job.gate(payload)
        assert (done.code, job.outputs["go"], job.outputs["reason"]) == (3, "false", "labels_at_once"), done.err

    (comment,) = job.comments
    assert "`recover:api-off` and `recover:api-on` were put on within one second" in comment
    assert "Put one label on, wait for its answer, and then put on the next." in comment
    assert not {"recover:api-on", "recover:api-off"} & set(job.labels)


@pytest.mark.parametrize(("seconds", "by"), [(2, "alice"), (0, "bob")], ids=["2 s", "another person"])
def test_label_added_separately_does_not_block_request(job: Job, seconds: float, by: str) -> None:
    """The other label may be left from a failed removal, or from a user without write access."""
    job.github.add_user("bob")
    _, second = add_two_labels(job, seconds, by)

    job.assert_accepted(job.gate(second))


def test_unreadable_label_events_are_a_warning(job: Job) -> None:
    _, second = add_two_labels(job)
    job.github.fault(method="GET", path="/repos/*/*/issues/*/events", status=403)

    done = job.gate(second)

    job.assert_accepted(done)
    assert "warning: cannot check for a second label within the same second (GitHub answered 403)" in done.err


# Ignored and malformed events.


def test_ignored_event_writes_nothing(job: Job) -> None:
    for event, payload in [("issues", job.label(name="bug")), ("push", {"ref": "x"}), ("fork", "no JSON")]:
        done = job.gate(payload, event)

        assert (done.code, done.err, job.outputs) == (0, "", {})
        assert done.out.startswith("not for us: ")
    assert (job.labels, job.comments, job.github.requests) == (["incident", "bug"], [], [])


def test_malformed_event_is_answered_on_its_issue(job: Job) -> None:
    payload = {**job.label(), "sender": None}

    done = job.gate(payload)

    assert (done.code, job.outputs["go"], job.outputs["reason"]) == (2, "false", "event_malformed")
    assert (job.labels, len(job.comments)) == (["incident"], 1)
    assert "sender.type" in job.comments[0] or "sender.login" in job.comments[0]


@pytest.mark.sampled(3)
@pytest.mark.usefixtures("without_collection")
@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"action": "labeled"', "\ud7ff\x00"])
def test_event_without_json_is_malformed(job: Job, text: str) -> None:
    done = job.gate(text)

    assert (done.code, job.outputs["reason"], job.comments) == (2, "event_malformed", [])


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "name",
    ["GITHUB_EVENT_NAME", "GITHUB_EVENT_PATH", "GITHUB_REF", "GITHUB_RUN_ATTEMPT", "GITHUB_TOKEN", "GITHUB_OUTPUT"],
)
def test_missing_job_variable_is_named(job: Job, name: str) -> None:
    payload = job.label()

    job.environ[name] = None
    done = job.gate(payload)

    assert done.code == 2
    assert f"{name} is not set" in done.err


def test_sandbox_clock_requires_sandbox_github(job: Job) -> None:
    done = job.gate(job.label(), GITHUB_API_URL=None)

    assert (done.code, job.outputs["go"]) == (2, "false")
    assert "OPS_CLOCK_URL" in done.err


# Hosts of GitHub.


def test_gate_works_on_enterprise_server(job: Job) -> None:
    """The host is not a loopback address: the API is reached through a proxy, as in many companies."""
    job.github.switches.enterprise_server = True
    server = {"GITHUB_SERVER_URL": "http://github.shopdesk.example"}
    server["GITHUB_API_URL"] = f"{server['GITHUB_SERVER_URL']}/api/v3"
    proxy = {"HTTP_PROXY": job.github.api_url, "NO_PROXY": "127.0.0.1", "http_proxy": None, "no_proxy": None}

    done = job.gate(job.label(), "issues", OPS_CLOCK_URL=None, **server, **proxy)

    job.assert_accepted(done)
    assert job.labels == ["incident"]
    assert {each.headers["host"] for each in job.github.requests} == {"github.shopdesk.example:80"}


@pytest.mark.parametrize(
    ("api", "server", "job_of_actions"),
    [
        ("https://github.shopdesk.example/api/v3", "https://github.shopdesk.example", None),
        ("https://github.shopdesk.example/api/v3", None, "true"),
        ("https://evil.example/api/v3", "https://github.shopdesk.example", "true"),
        ("https://api.github.shopdesk.example", "https://github.shopdesk.example", "true"),
        ("https://shopdesk.ghe.com.evil.example", "https://shopdesk.ghe.com", "true"),
        ("http://api.shopdesk.ghe.com", "https://shopdesk.ghe.com", "true"),
        ("https://github.shopdesk.example:444/api/v3", "https://github.shopdesk.example", "true"),
        ("https://a:b@github.shopdesk.example/api/v3", "https://a:b@github.shopdesk.example", "true"),
    ],
)
def test_token_is_not_sent_to_other_hosts(job: Job, api: str, server: str | None, job_of_actions: str | None) -> None:
    environ = {"GITHUB_API_URL": api, "GITHUB_SERVER_URL": server, "GITHUB_ACTIONS": job_of_actions}

    done = job.gate(job.label(), "issues", OPS_CLOCK_URL=None, **environ)

    assert (done.code, job.outputs["go"], job.github.requests) == (2, "false", [])
    assert "GITHUB_API_URL is the URL of another machine" in done.err


@pytest.mark.parametrize("api", ["https://api.shopdesk.ghe.com", "https://api.github.com"])
def test_ghe_com_api_url_is_accepted(api: str) -> None:
    environ = {"GITHUB_ACTIONS": "true", "GITHUB_SERVER_URL": "https://shopdesk.ghe.com", "GITHUB_API_URL": api}

    assert client.api_url(environ) == api


# Buttons, closing and reports.


def press_button(job: Job, by: str = "alice", button: str = BUTTON, **inputs: str) -> tuple[Any, str]:
    """Dispatch the workflow; return the payload and the ID of its run."""
    files = {".github/workflows/rollback-worker.yml": button}
    job.github.add_commit("Add the button", "alice", files=files)
    run = job.github.dispatch("rollback-worker.yml", {"service": "api", "incident": str(job.incident), **inputs}, by=by)
    return run.payload, str(run.id)


def test_button_passes_inputs_and_run_time(job: Job) -> None:
    payload, run = press_button(job, reason="it's slow")
    at = job.github.runs[0].created_at
    job.world.sandbox.clock.advance(600)

    done = job.gate(payload, "workflow_dispatch", GITHUB_RUN_ID=run)

    job.assert_accepted(done)
    assert json.loads(job.outputs["params"]) == {"service": "api", "reason": "it's slow"}
    assert (job.outputs["requested_at"], job.outputs["incident"]) == (at.isoformat(), str(job.incident))


@pytest.mark.parametrize(
    ("inputs", "ends"),
    [
        ({"until": "2h", "reopen_at_end": "true"}, timedelta(hours=2, minutes=30)),
        ({"until": "5h", "reopen_at_end": "true"}, timedelta(hours=5, minutes=30)),
        ({"until": "6h", "reopen_at_end": "true"}, None),
        ({"until": "2h"}, None),
        ({"until": "soon", "reopen_at_end": "true"}, None),
        ({"until": "2h", "reopen_at_end": "true", "dry_run": "true"}, None),
    ],
    ids=["soon enough", "the longest", "too long to wait", "only a reminder", "no moment", "a dry run"],
)
def test_gate_outputs_deadline_of_timed_reopening(job: Job, inputs: dict[str, str], ends: timedelta | None) -> None:
    names = ["service", "environment", "state", "until", "reopen_at_end", "incident", "dry_run"]
    button = "on:\n  workflow_dispatch:\n    inputs: {" + ", ".join(f"{name}: {{}}" for name in names) + "}\n"
    job.github.add_commit("Add the button", "alice", files={".github/workflows/maintenance.yml": button})
    given = {"service": "api", "environment": "production", "state": "on", "incident": str(job.incident), **inputs}
    run = job.github.dispatch("maintenance.yml", given, by="alice")

    job.assert_accepted(job.gate(run.payload, "workflow_dispatch", GITHUB_RUN_ID=str(run.id)))

    said = job.outputs["ends_by"]
    assert bool(said) == (ends is not None)
    if ends is not None:
        assert timedelta() <= job.world.sandbox.clock.now() + ends - datetime.fromisoformat(said) < timedelta(minutes=1)


def test_button_that_waited_too_long_is_refused(job: Job) -> None:
    payload, run = press_button(job)
    job.world.sandbox.clock.advance(3600)

    job.assert_refused(job.gate(payload, "workflow_dispatch", GITHUB_RUN_ID=run), "request_too_old")


def test_unreadable_run_time_is_a_warning(job: Job) -> None:
    payload, run = press_button(job)
    job.github.fault(method="GET", path="/repos/*/*/actions/runs/*", status=403)

    done = job.gate(payload, "workflow_dispatch", GITHUB_RUN_ID=run)

    job.assert_accepted(done)
    assert "warning: cannot read when the button was pressed" in done.err


def test_button_without_write_access_is_refused_on_incident(job: Job) -> None:
    payload, run = press_button(job, by="tina", reason="$(id) `@org/team`")

    done = job.gate(payload, "workflow_dispatch", GITHUB_RUN_ID=run)

    job.assert_refused(done, "no_write_access")
    assert "--reason '$(id)" in done.err


@pytest.mark.parametrize("pressed_with", ["true", "false"])
def test_refusal_translates_button_flag_to_laptop_option(job: Job, pressed_with: str) -> None:
    payload, run = press_button(job, by="tina", button=BUTTON + FLAG, current_secrets=pressed_with)

    done = job.gate(payload, "workflow_dispatch", GITHUB_RUN_ID=run)

    laptop, _, button = done.err.partition("by the button")
    is_on = pressed_with == "true"
    assert (" --current-secrets " in laptop, "-f current_secrets=true" in button) == (is_on, is_on)
    assert "--current-secrets true" not in laptop
    assert "current_secrets=false" not in button


FORM = "### Service\n\napi\n\n### When it began (UTC)\n\n{began}\n\n### Impact\n\n_No response_\n"
ISSUE = {"method": "GET", "path": "/repos/*/*/issues/*"}


@pytest.mark.parametrize("by_label", [True, False], ids=["label", "button"])
def test_stated_incident_start_is_passed_on(job: Job, by_label: bool) -> None:
    at = job.world.sandbox.clock.now() - timedelta(minutes=20)
    body = FORM.format(began=at.strftime("%Y-%m-%d %H:%M"))
    job.incident = job.github.open_issue("The API answers 500", body, ["incident"], "alice")
    if by_label:
        done = job.gate(job.label())
    else:
        payload, run = press_button(job)
        done = job.gate(payload, "workflow_dispatch", GITHUB_RUN_ID=run)

    job.assert_accepted(done)
    assert job.outputs["began"] == at.replace(second=0, microsecond=0).isoformat()


def test_button_for_closed_incident_is_refused(job: Job) -> None:
    job.github.close(job.incident, "alice")
    payload, run = press_button(job)

    done = job.gate(payload, "workflow_dispatch", GITHUB_RUN_ID=run)

    job.assert_refused(done, "incident_closed")
    assert "press the button again" in done.err


def test_all_clear_button_works_on_closed_incident(job: Job) -> None:
    job.github.close(job.incident, "alice")
    payload, run = press_button(job)
    named = {**payload, "workflow": ".github/workflows/all-clear.yml"}

    job.assert_accepted(job.gate(named, "workflow_dispatch", GITHUB_RUN_ID=run))
    assert job.outputs["runbook"] == "all-clear"


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({"status": 404}, "is no issue of this repository"),
        ({"status": 410}, "is no issue of this repository"),
        (None, "is a pull request"),
    ],
    ids=["missing", "deleted", "a pull request"],
)
def test_button_for_non_incident_is_refused_with_hint(job: Job, fault: dict[str, Any] | None, why: str) -> None:
    number = job.incident
    if fault is None:
        job.github.add_commit("A change", "alice", files={"a": "b"}, branch="a-change")
        number = job.github.open_pull("A change", "a-change", "alice")
    else:
        job.github.fault(**ISSUE, **fault)
    payload, run = press_button(job, incident=str(number))

    done = job.gate(payload, "workflow_dispatch", GITHUB_RUN_ID=run)

    assert (done.code, job.outputs["go"], job.outputs["reason"]) == (3, "false", "unknown_incident")
    assert f"#{number} {why}" in done.err
    assert "--incident" not in done.err
    assert job.comments == []


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "fault",
    [{"status": 403}, {"status": 500, "times": None}, {"lost": "before", "times": None}, {"body": "x"}, {"body": "[]"}],
    ids=str,
)
def test_unreadable_incident_state_is_a_warning(job: Job, fault: dict[str, Any]) -> None:
    payload, run = press_button(job)
    job.github.fault(**ISSUE, **fault)

    done = job.gate(payload, "workflow_dispatch", GITHUB_RUN_ID=run)

    job.assert_accepted(done)
    assert f"cannot check whether #{job.incident} is an open incident" in done.err
    assert job.outputs["incident"] == str(job.incident)


def test_refusal_is_written_to_job_summary(job: Job) -> None:
    page = job.world.folder / "summary.md"

    done = job.gate(job.label("tina"), GITHUB_STEP_SUMMARY=str(page))

    job.assert_refused(done, "no_write_access")
    assert page.read_text().strip() == job.comments[0].partition("<!-- backout")[0].strip()
    assert "::error title=refused::" in done.err
    page.unlink()
    page.mkdir()
    refused = job.gate(job.label("tina"), GITHUB_STEP_SUMMARY=str(page))
    assert (refused.code, job.outputs["reason"], len(job.comments)) == (3, "no_write_access", 1)
    assert "the job's summary page cannot be written (Is a directory)" in refused.err


@pytest.mark.parametrize(("login", "permission"), [("alice", "checked"), ("zoe", "refused")])
def test_closing_requests_report_and_checks_closer(job: Job, login: str, permission: str) -> None:
    done = job.gate(job.github.close(job.incident, login))

    assert (done.code, job.comments) == (0, [])
    assert (job.outputs["go"], job.outputs["report"], job.outputs["permission"]) == ("false", "true", permission)
    assert job.outputs["incident"] == str(job.incident)


@pytest.mark.parametrize(("login", "permission"), [("alice", "checked"), ("tina", "refused")])
def test_report_label_works_on_closed_incident(job: Job, login: str, permission: str) -> None:
    job.github.close(job.incident, "alice")

    done = job.gate(job.label(login, "report"))

    assert (done.code, job.comments, job.labels) == (0, [], ["incident"])
    assert (job.outputs["go"], job.outputs["report"], job.outputs["permission"]) == ("false", "true", permission)


@pytest.mark.parametrize("is_closed", [False, True])
def test_label_requests_a_check_for_an_outage(job: Job, is_closed: bool) -> None:
    if is_closed:
        job.github.close(job.incident, "alice")

    done = job.gate(job.label("alice", "Check-Outage"))

    assert (done.code, job.comments, job.labels) == (0, [], ["incident"])
    assert (job.outputs["go"], job.outputs["report"], job.outputs["check"]) == ("false", "false", "true")
    assert (job.outputs["incident"], job.outputs["environment"]) == (str(job.incident), "production")


def test_check_for_an_outage_by_somebody_without_access_is_refused(job: Job) -> None:
    done = job.gate(job.label("tina", "check-outage"))

    assert (done.code, job.outputs["check"], job.labels) == (3, "", ["incident"])
    assert "may not write to this repository" in job.comments[0]


# Hostile text.


HOSTILE = "</details>--> @org/team #1 | `x` ${{ secrets.X }} \u202e\x1b[31m\ngo=true\nEOF\n::set-output name=go::true"


def test_hostile_issue_text_is_not_copied(job: Job) -> None:
    number = job.github.open_issue(HOSTILE.replace("\n", " "), HOSTILE * 1000, [], "alice")
    payload = job.github.label(number, LABEL, "tina")

    done = job.gate(payload)

    (comment,) = [comment.body for comment in job.github.issue(number).comments]
    written = done.out + done.err + comment + job.output.read_text()
    assert not any(piece in written for piece in ("@org/team", "secrets.X", "\u202e", "\x1b", "set-output"))


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "name", ["recover:@org/team", "recover:`x` @a", "recover:</b>|#1", "recover:\u202eabc", "recover:{0}/x"]
)
def test_hostile_label_is_escaped_and_removed(job: Job, name: str) -> None:
    done = job.gate(job.label(name=name))

    assert (done.code, job.labels) == (3, ["incident"])
    shown, _, hidden = job.comments[0].partition("<!-- backout:v1 ")
    assert not re.search(r"[@<>]|--", hidden.removesuffix(" -->\n"))
    outside_of_code = re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "", shown)
    assert not re.search(r"[@#|<\u202e{]", outside_of_code)
    assert "\u202e" not in done.err


def test_output_value_cannot_contain_its_delimiter(tmp_path: Path) -> None:
    """The value contains the first candidate for the delimiter."""
    path, tokens = tmp_path / "output", iter(["guessed", "other", "third"])
    path.write_text("earlier<<x\n1\nx\n")
    values = {"go": "false", "reason": "ops_other\ngo<<ops_other\ntrue\r\nops_other\n"}

    actions.write_outputs({"GITHUB_OUTPUT": str(path)}, values, token=lambda: next(tokens))

    assert parse_outputs(path.read_bytes().decode()) == {"earlier": "1", **values}
    assert "reason<<ops_third" in path.read_text()


def test_output_delimiters_are_unique(job: Job) -> None:
    job.gate(job.label(name="recover:x"))

    delimiters = re.findall(r"<<(ops_[0-9a-f]{32})$", job.output.read_text(), re.MULTILINE)
    assert len(set(delimiters)) == len(delimiters) >= len(job.outputs) > 5
