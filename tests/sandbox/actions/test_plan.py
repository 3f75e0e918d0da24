"""Run plans: jobs, groups, environments, secrets and commits, before and after `needs`."""

from typing import Any

import pytest

from sandbox.actions.expressions import JobStatus, UnsupportedExpression
from sandbox.actions.plan import (
    GroupClaim,
    PlannedJob,
    RunPlan,
    checkout_commit,
    parse_workflow,
    plan_job,
    plan_run,
    values_used,
)
from tests.support.workflows import generated

INCIDENT = (generated() / ".github/workflows/incident.yml").read_text()
RECOVER = (generated() / ".github/workflows/recover.yml").read_text()


def label_contexts(label: str, state: str = "open") -> dict[str, Any]:
    event = {
        "action": "labeled",
        "label": {"name": label},
        "issue": {"number": 7, "state": state},
        "sender": {"type": "User", "id": 2},
    }
    return {"github": {"event": event}, "inputs": {}, "vars": {}}


def answers(context: dict[str, Any]) -> set[bool]:
    """Return whether the jobs may run that answer a request, or the closing of an incident."""
    return {job.may_run for job in plan_run(parse_workflow(INCIDENT), context).jobs if job.id == "recover"}


def plan_jobs(jobs: dict[str, Any], **more: Any) -> RunPlan:
    whole = {name: {"runs-on": "ubuntu-latest", "steps": [], **rules} for name, rules in jobs.items()}
    return plan_run({"on": "push", "jobs": whole, **more}, {"github": {"ref": "main"}, "inputs": {}, "vars": {}})


def test_unrelated_label_runs_no_job() -> None:
    plan = plan_run(parse_workflow(INCIDENT), label_contexts("triage"))

    assert [job.may_run for job in plan.jobs] == [False] * len(plan.jobs)
    assert plan.claims == ()


def test_recovery_label_claims_issue_and_environments() -> None:
    plan = plan_run(parse_workflow(RECOVER), label_contexts("recover:rollback-api"))

    assert answers(label_contexts("recover:rollback-api")) == {True}
    assert plan.claims[0] == GroupClaim("gate-7-2", False, True)
    assert GroupClaim("recover-production", False, True) in plan.claims
    assert all(
        job.permissions["issues"] == "write"
        for job in plan.jobs
        if job.id not in {"fetch-migrations", "build-site", "wait"}
    )


@pytest.mark.parametrize(
    ("label", "called"),
    [
        ("recover:rollback-api", "recover"),
        ("recover:redeploy-frontend", "recover"),
        ("Recover:Raise-Limits", "propose"),
        ("recover:unknown", "recover"),
        ("report", "recover"),
    ],
)
def test_label_starts_one_call(label: str, called: str) -> None:
    jobs = plan_run(parse_workflow(INCIDENT), label_contexts(label)).jobs

    assert [job.id for job in jobs if job.may_run and not job.id.startswith("menu")] == [called]


@pytest.mark.parametrize(("label", "runs"), [("recover:rollback-api", True), ("report", False), ("triage", False)])
def test_bot_label_starts_gate_only_for_requests(label: str, runs: bool) -> None:
    context = label_contexts(label)
    context["github"]["event"]["sender"]["type"] = "Bot"

    assert answers(context) == {runs}


@pytest.mark.parametrize(
    ("label", "runs"),
    [("recover:all-clear", True), ("report", True), ("recover:rollback-api", True), ("triage", False)],
)
def test_request_on_closed_issue_starts_gate(label: str, runs: bool) -> None:
    assert answers(label_contexts(label, "closed")) == {runs}


CLOSED = (
    # Closer, author, association of the author, visibility of the repository, and whether a job starts.
    ({"id": 5}, 5, "NONE", "public", False),
    ({"id": 5}, 5, "CONTRIBUTOR", "public", False),
    ({"id": 5}, 5, "COLLABORATOR", "public", True),
    ({"id": 5}, 5, "NONE", "private", True),
    ({"id": 2}, 5, "NONE", "public", True),
    ({"id": 2, "type": "Bot"}, 5, "NONE", "public", False),
)


@pytest.mark.parametrize(("sender", "author", "association", "visibility", "runs"), CLOSED)
def test_closing_by_outside_author_starts_no_job(
    sender: dict[str, Any], author: int, association: str, visibility: str, runs: bool
) -> None:
    context = label_contexts("unused", "closed")
    issue = {"labels": [{"name": "incident"}], "user": {"id": author}, "author_association": association}
    event = context["github"]["event"]
    event |= {"action": "closed", "repository": {"private": visibility == "private"}}
    event["issue"] |= issue
    event["sender"] |= sender

    assert answers(context) == {runs}


@pytest.mark.parametrize(("sender", "author", "association", "visibility", "runs"), CLOSED[:5])
def test_form_of_outside_author_starts_no_menu(
    sender: dict[str, Any], author: int, association: str, visibility: str, runs: bool
) -> None:
    """GitHub runs 20 jobs at once and allows 1,000 requests an hour, also for the gate of a recovery."""
    context = label_contexts("incident", "open")
    event = context["github"]["event"]
    event["repository"] = {"private": visibility == "private"}
    event["issue"] |= {"user": {"id": author}, "author_association": association}
    event["sender"] |= sender

    started = {job.id for job in plan_run(parse_workflow(INCIDENT), context).jobs if job.may_run}
    assert started == ({"menu", "menu-fallback"} if runs else set())


def test_job_receives_only_named_secrets() -> None:
    uses = {"A": "${{ secrets.CF }}", "B": "${{ secrets.GITHUB_TOKEN }}", "C": "${{ secrets.none }}"}
    (job,) = plan_jobs({"gate": {"env": uses}}).jobs
    top = {"env": {"D": "${{ secrets.TOP }}"}}

    values = {"CF": "writes", "OTHER": "other", "GITHUB_TOKEN": "ghs", "TOP": "of all"}

    assert values_used(top, job, "secrets", values) == {"CF": "writes", "TOP": "of all"}
    assert values_used(top, job, "vars", values) == {}


@pytest.mark.parametrize("inside", ["toJSON(secrets)", "secrets['CF']"])
def test_unnamed_secret_access_raises(inside: str) -> None:
    (job,) = plan_jobs({"one": {"env": {"A": f"${{{{ {inside} }}}}"}}}).jobs

    with pytest.raises(UnsupportedExpression, match="other than by a name"):
        values_used({}, job, "secrets", {})


def test_skipped_need_skips_job_without_always() -> None:
    gate = {"if": "github.ref == 'other'"}
    plan = plan_jobs(
        {"then": {"needs": "gate"}, "gate": gate, "report": {"needs": ["gate"], "if": "always()"}}, permissions={}
    )

    assert [(job.id, job.may_run) for job in plan.jobs] == [("then", False), ("gate", False), ("report", True)]


@pytest.mark.parametrize(
    "rules",
    [
        {"strategy": {"matrix": {"a": [1]}}},
        {"concurrency": {"group": "g", "queue": "max", "cancel-in-progress": "${{ true }}"}},
        {"permissions": "write-all"},
    ],
)
def test_unsupported_job_rules_raise(rules: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedExpression):
        plan_jobs({"gate": {}, "one": rules})


def checkout_job(*refs: str, **more: Any) -> PlannedJob:
    """Return a job with a checkout of each ref; an empty ref is the default."""
    gives = [{"with": {"ref": ref, **more}} if ref else {} for ref in refs]
    steps = [{"uses": "actions/checkout@v5", **given} for given in gives]
    return plan_jobs({"one": {"steps": steps}}).jobs[0]


def test_unsupported_checkout_input_raises() -> None:
    with pytest.raises(UnsupportedExpression, match="in actions/checkout: submodules"):
        checkout_commit(checkout_job("main", submodules=True), str, "0")


@pytest.mark.parametrize(
    ("refs", "sha"),
    [
        (["base", "base"], "1"),
        (["base", "1"], "1"),
        (["${{ github.ref }}"], "0"),
        (["", "main"], "0"),
        ([], "0"),
        (["${{ github.head_ref }}"], "0"),
    ],
)
def test_job_checks_out_named_commit(refs: list[str], sha: str) -> None:
    assert checkout_commit(checkout_job(*refs), {"base": "1", "1": "1", "main": "0"}.get, "0") == sha


@pytest.mark.parametrize(
    ("refs", "reason"),
    [
        (["base", "main"], "base and main"),
        (["", "base"], "checks out one commit per job"),
        (["nope"], "the ref nope of a checkout does not exist"),
        (["${{ steps.a.outputs.ref }}"], "depends on a step"),
    ],
)
def test_unresolvable_checkout_raises(refs: list[str], reason: str) -> None:
    with pytest.raises(UnsupportedExpression, match=reason):
        checkout_commit(checkout_job(*refs), {"base": "1", "main": "0"}.get, "0")


NEEDS = {"gate": {"result": "failure", "outputs": {"environment": "eu", "minutes": "7", "queue": "false"}}}


@pytest.mark.parametrize(
    ("condition", "cancelled", "runs"),
    [
        ("", False, False),
        ("needs.gate.result == 'failure'", False, False),
        ("always()", False, True),
        ("always()", True, True),
        ("failure()", False, True),
        ("success()", False, False),
        ("cancelled()", False, False),
        ("cancelled()", True, True),
        ("!cancelled() && contains(needs.*.result, 'failure')", False, True),
        ("always() && needs.gate.outputs.environment == 'prod'", False, False),
    ],
)
def test_condition_is_decided_after_needs(condition: str, cancelled: bool, runs: bool) -> None:
    status = JobStatus(success=False, failure=True, cancelled=cancelled)
    workflow = {"on": "push", "jobs": {"one": {"needs": "gate", "if": condition, "steps": []}}}

    assert plan_job("one", workflow, {"github": {}}, NEEDS, status).may_run is runs


def test_environment_group_and_timeout_are_known_after_needs() -> None:
    rules = {
        "needs": "gate",
        "environment": {"name": "recovery-${{ needs.gate.outputs.environment }}", "deployment": False},
        "concurrency": {"group": "recover-${{ needs.gate.outputs.environment }}", "queue": "max"},
        "timeout-minutes": "${{ fromJSON(needs.gate.outputs.minutes) }}",
    }
    status = JobStatus(success=True, failure=False, cancelled=False)

    job = plan_job("one", {"on": "push", "jobs": {"one": rules}}, {"github": {}}, NEEDS, status)

    assert (job.environment, job.deploys) == ("recovery-eu", False)
    assert (job.claim, job.timeout_minutes) == (GroupClaim("recover-eu", cancels_running=False, queues_all=True), 7)
