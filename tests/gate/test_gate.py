"""Authorize requests through GitHub: the public command in a job, on the sandbox's GitHub."""

import json
from datetime import timedelta
from typing import Any

import pytest

from ops.app import registry
from ops.app.configuration import read_config
from sandbox.github.users.state import Role
from tests.conftest import REFERENCE
from tests.gate.support import LABEL, Job

PERMISSION = {"method": "GET", "path": "/repos/*/*/collaborators/*/permission"}


def set_responders(job: Job, *logins: str) -> None:
    job.world.edit_config("responders: []", f"responders: [{', '.join(logins)}]")


@pytest.mark.slow
def test_label_by_writer_is_accepted_and_removed(job: Job) -> None:
    payload = job.label()

    done = job.gate(payload)

    job.assert_accepted(done)
    assert json.loads(job.outputs["params"]) == {"service": "api"}
    assert {
        name: value for name, value in job.outputs.items() if name not in {"go", "params", "permission", "comment"}
    } == {
        "attempt": "1",
        "actor": "alice",
        "requesters": "",
        "approval": "",
        "ends_by": "",
        "repository": "",
        "stop": "",
        "message": "",
        "hint": "",
        "answered": "",
        "report": "true",
        "check": "",
        "job": "recovery-production",
        "runbook": "rollback-worker",
        "power": "recovery",
        "environment": "production",
        "incident": str(job.incident),
        "dry_run": "false",
        "requested_at": payload["issue"]["updated_at"].replace("Z", "+00:00"),
        "began": "",
        "reason": "",
    }
    assert (job.labels, job.answers, job.github.unknown_requests) == (["incident"], [], [])


LABELS = read_config(REFERENCE / "ops.yml")[0].labels


@pytest.mark.slow
@pytest.mark.parametrize("label", LABELS)
def test_label_selects_github_environment_of_runbook(job: Job, label: str) -> None:
    done = job.gate(job.label(name=label))

    job.assert_accepted(done)
    asked = LABELS[label]
    assert job.outputs["runbook"] == asked.runbook
    assert job.outputs["power"] == (registry.load_runbook(asked.runbook).github_environment or "none")
    assert json.loads(job.outputs["params"]) == json.loads(json.dumps(asked.params))
    assert job.labels == ["incident"]


@pytest.mark.parametrize(
    ("label", "repository"),
    [
        ("recover:redeploy-frontend", "fortunet/fortunet"),
        ("recover:rollback-frontend", ""),  # no job reads its files
    ],
)
def test_gate_names_the_repository_whose_files_a_job_reads(job: Job, label: str, repository: str) -> None:
    job.assert_accepted(job.gate(job.label(name=label)))

    assert job.outputs["repository"] == repository


def test_privileged_labels_use_security_environment() -> None:
    security = {
        label for label, one in LABELS.items() if registry.load_runbook(one.runbook).github_environment == "security"
    }

    assert security == {"recover:api-off", "recover:api-on", "recover:rotate-secrets"}


@pytest.mark.slow
@pytest.mark.parametrize("name", LABELS)
def test_label_without_write_access_gets_no_environment(job: Job, name: str) -> None:
    done = job.gate(job.label("tina", name))

    assert (done.code, job.outputs["go"], job.outputs["power"]) == (3, "false", "")
    assert (job.labels, "no_write_access" in job.comments[0]) == (["incident"], True)


@pytest.mark.slow
def test_gate_sends_only_three_parallel_reads_and_two_writes(job: Job) -> None:
    job.gate(job.label())

    sent = [(request.method, request.path.rsplit("/", 1)[1]) for request in job.github.requests]
    assert sorted(sent[:3]) == [("GET", str(job.incident)), ("GET", "issues"), ("GET", "permission")]
    assert sent[3:] == [("DELETE", "recover%3Arollback-api"), ("POST", "comments")]


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_login_with_changed_user_id_is_refused(job: Job) -> None:
    payload = {**job.label(), "sender": {"login": "alice", "id": 666, "type": "User"}}

    job.assert_refused(job.gate(payload), "no_write_access")


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("ago", [31, -2])
def test_event_of_another_time_is_refused(job: Job, ago: int) -> None:
    at = job.world.sandbox.clock.now() - timedelta(minutes=ago)

    done = job.gate(job.github.label(job.incident, LABEL, "alice", at=at))

    job.assert_refused(done, "request_too_old")


@pytest.mark.slow
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


@pytest.mark.slow
def test_unknown_label_is_refused_with_suggestion(job: Job) -> None:
    job.label()

    done = job.gate(job.label(name="recover:rollback-apl"))

    assert (done.code, job.outputs["reason"], job.labels) == (3, "unknown_label", ["incident", LABEL])
    assert f"did you mean `{LABEL}`?" in job.comments[0]
    assert f'did you mean "{LABEL}"?' in done.err


@pytest.mark.slow
def test_label_works_despite_invalid_config_of_another(job: Job) -> None:
    job.world.edit_config("      service: frontend\n", "      service: frontent\n")

    done = job.gate(job.label())

    job.assert_accepted(done)


@pytest.mark.slow
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


@pytest.mark.slow
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


# Ignored and malformed events.


def test_ignored_event_writes_nothing(job: Job) -> None:
    for event, payload in [("issues", job.label(name="bug")), ("push", {"ref": "x"}), ("fork", "no JSON")]:
        done = job.gate(payload, event)

        assert (done.code, done.err, job.outputs) == (0, "", {})
        assert done.out.startswith("not for us: ")
    assert (job.labels, job.comments, job.github.requests) == (["incident", "bug"], [], [])


@pytest.mark.parametrize(
    ("label", "without"), [("recover:rollback-api", "sender"), ("check-outage", "sender"), ("Report", "repository")]
)
def test_malformed_event_is_answered_on_its_issue(job: Job, label: str, without: str) -> None:
    payload = {**job.label(name=label), without: None}

    done = job.gate(payload)

    assert (done.code, job.outputs["go"], job.outputs["reason"]) == (2, "false", "event_malformed")
    assert (job.labels, len(job.comments)) == (["incident"], 1)
    assert f"{without}." in job.comments[0]


def test_malformed_event_of_a_foreign_label_gets_no_answer_on_its_issue(job: Job) -> None:
    payload = {**job.label(name="bug"), "action": None}

    done = job.gate(payload)

    assert (done.code, job.outputs["go"], job.outputs["reason"]) == (2, "false", "event_malformed")
    assert ": action" in done.err
    assert (job.labels, job.comments) == (["incident", "bug"], [])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GITHUB_RUN_ATTEMPT", "first"),
        ("GITHUB_OUTPUT", "/dev/full"),
        ("GITHUB_EVENT_PATH", "/dev/null/event.json"),
        ("GITHUB_REPOSITORY", "operations"),
    ],
)
def test_variable_that_is_not_as_github_sets_it_is_refused(job: Job, name: str, value: str) -> None:
    done = job.gate(job.label(), **{name: value})

    assert done.code == 2, done.out + done.err
    assert name in done.err
    assert job.outputs.get("go") != "true"


@pytest.mark.sampled(3)
@pytest.mark.usefixtures("without_collection")
@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"action": "labeled"', "\ud7ff\x00"])
def test_event_without_json_is_malformed(job: Job, text: str) -> None:
    done = job.gate(text)

    assert (done.code, job.outputs["reason"], job.comments) == (2, "event_malformed", [])


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "name",
    [
        *("GITHUB_EVENT_NAME", "GITHUB_EVENT_PATH", "GITHUB_REF", "GITHUB_RUN_ATTEMPT", "GITHUB_WORKFLOW_REF"),
        *("GITHUB_TOKEN", "GITHUB_OUTPUT"),
    ],
)
def test_missing_job_variable_is_named(job: Job, name: str) -> None:
    payload = job.label()

    job.environ[name] = None
    done = job.gate(payload)

    assert done.code == 2
    assert f"{name} " in done.err


def test_sandbox_clock_requires_sandbox_github(job: Job) -> None:
    done = job.gate(job.label(), GITHUB_API_URL=None)

    assert (done.code, job.outputs["go"]) == (2, "false")
    assert "OPS_CLOCK_URL" in done.err


# Hosts of GitHub.


@pytest.mark.slow
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


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("api", "server", "job_of_actions"),
    [
        ("https://github.shopdesk.example/api/v3", None, None),
        ("https://api.github.com", "https://github.shopdesk.example", None),
        ("https://api.github.com", "https://github.shopdesk.example", "true"),
        ("https://api.github.com", "https://shopdesk.ghe.com", "true"),
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
    assert "#not_loopback" in done.err
