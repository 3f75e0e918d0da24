"""The gate acts only for workflows that `ops workflows sync` writes, each for its own event and its own runbooks."""

import json
from typing import Any

import pytest

from ops.app.registry import (
    CALLED_WORKFLOWS,
    DIRECT,
    DIRECT_RUNBOOK,
    called_workflow,
    load_runbook,
    record_rules,
    runbook_names,
)
from tests.conftest import World
from tests.gate.support import LABEL, Job
from tests.gate.test_button import press_button
from tests.support.second_person import open_desk

MAIN, FOLDER = "refs/heads/main", ".github/workflows"
RAISE = "recover:raise-limits"
FOREIGN = {
    "copy with another name": f"acme/operations/{FOLDER}/incident-2.yml@{MAIN}",
    "button that reads labels": f"acme/operations/{FOLDER}/rollback-worker.yml@{MAIN}",
    "called workflow that reads labels": f"acme/operations/{FOLDER}/recover.yml@{MAIN}",
    "another ending": f"acme/operations/{FOLDER}/incident.yaml@{MAIN}",
    "other capitals": f"acme/operations/{FOLDER}/Incident.yml@{MAIN}",
    "another folder": f"acme/operations/old/{FOLDER}/incident.yml@{MAIN}",
    "workflow of a fork": f"mallory/operations/{FOLDER}/incident.yml@{MAIN}",
    "tag": f"acme/operations/{FOLDER}/incident.yml@refs/tags/main",
    "commit": f"acme/operations/{FOLDER}/incident.yml@{'a' * 40}",
    "old branch": f"acme/operations/{FOLDER}/incident.yml@refs/heads/old",
    "branch with our ref in its name": f"acme/operations/{FOLDER}/incident.yml@refs/heads/x@{MAIN}",
    "file with our ref in its name": f"acme/operations/{FOLDER}/x@{MAIN}/{FOLDER}/incident.yml@{MAIN}",
    "text for people": f"acme/operations/{FOLDER}/`@acme/team` {{incident}}.yml@{MAIN}",
}


@pytest.mark.parametrize("workflow", FOREIGN.values(), ids=FOREIGN)
def test_label_counts_only_in_its_own_workflow(job: Job, workflow: str) -> None:
    """The label stays, because the right workflow may run for the same event."""
    payload = job.label()

    done = job.gate(payload, GITHUB_WORKFLOW_REF=workflow)

    assert (done.code, job.outputs["go"], job.outputs["reason"]) == (3, "false", "other_ref"), done.err
    assert (job.outputs["runbook"], job.outputs["answered"], LABEL in job.labels) == ("", "true", True)
    (comment,) = job.comments
    assert f"`{workflow.removeprefix('acme/operations/')}`" in comment or "`@acme/team`" in workflow
    job.assert_accepted(job.gate(payload))


def button(file: str) -> dict[str, Any]:
    return {"workflow": f"{FOLDER}/{file}"}


BUTTONS: dict[str, tuple[dict[str, Any], str]] = {
    "copy with another name": (button("my-rollback.yml"), "my-rollback.yml"),
    "copy that claims to be ours": (button("rollback-worker.yml"), "my-rollback.yml"),
    "button of another runbook": (button("rollback-worker.yml"), "maintenance.yml"),
    "payload of another runbook": (button("maintenance.yml"), "rollback-worker.yml"),
    "called workflow with a button": (button("recover.yml"), "recover.yml"),
    "workflow of labels with a button": (button("incident.yml"), "incident.yml"),
    "workflow without a request": (button("doctor.yml"), "doctor.yml"),
    "button without a call, which we do not write": (button("maintenance-direct.yml"), "maintenance-direct.yml"),
    "another ending": (button("rollback-worker.yaml"), "rollback-worker.yaml"),
    "another folder": ({"workflow": f"old/{FOLDER}/rollback-worker.yml"}, "rollback-worker.yml"),
    "approval in another file": (button("approve-restore.yml"), "rollback-worker.yml"),
    "other file of an approval": (button("rollback-worker.yml"), "approve-restore.yml"),
}


@pytest.mark.parametrize(("said", "file"), BUTTONS.values(), ids=BUTTONS)
def test_button_starts_only_its_own_runbook(job: Job, said: dict[str, Any], file: str) -> None:
    payload, run = press_button(job)
    pressed = {**payload, **said, "inputs": {**payload["inputs"], "digest": "0" * 32}}
    workflow = f"acme/operations/{FOLDER}/{file}@{MAIN}"

    done = job.gate(pressed, "workflow_dispatch", GITHUB_RUN_ID=run, GITHUB_WORKFLOW_REF=workflow)

    job.assert_refused(done, "other_ref")


def test_button_without_a_call_starts_the_runbook_of_its_name(job: Job) -> None:
    payload, run = press_button(job)
    direct = {**payload, **button(f"{DIRECT_RUNBOOK}{DIRECT}.yml")}

    job.assert_accepted(job.gate(direct, "workflow_dispatch", GITHUB_RUN_ID=run))
    assert job.outputs["runbook"] == DIRECT_RUNBOOK


@pytest.mark.parametrize("ref", ["refs/heads/evil`@acme/team`", "refs/tags/main"])
def test_button_of_another_branch_is_refused(job: Job, ref: str) -> None:
    payload, run = press_button(job)
    workflow = {"GITHUB_REF": ref, "GITHUB_WORKFLOW_REF": f"acme/operations/{FOLDER}/rollback-worker.yml@{ref}"}

    done = job.gate(payload, "workflow_dispatch", GITHUB_RUN_ID=run, **workflow)

    job.assert_refused(done, "other_ref")


@pytest.mark.parametrize(
    ("label", "called", "goes"),
    [
        (LABEL, "recover", True),
        (LABEL, "", True),
        (LABEL, "propose", False),
        (RAISE, "propose", True),
        (RAISE, "", True),
        (RAISE, "recover", False),
    ],
)
def test_called_workflow_runs_only_its_runbooks(job: Job, label: str, called: str, goes: bool) -> None:
    """A label leads to the wrong one if `ops.yml` gave it another runbook after the last sync."""
    done = job.gate(job.label(name=label), OPS_CALLED=called)

    if goes:
        job.assert_accepted(done)
        return
    job.assert_refused(done, "other_ref")
    assert label not in job.labels
    assert "`ops workflows sync`" in job.comments[0]
    assert f"on a laptop: `./run ops {'rollback-worker' if label == LABEL else 'propose-limits'} " in job.comments[0]


CAFE = """
environments:
  production:
    account_id: cccccccccccccccccccccccccccccccc
    services:
      site: {pages: site, url: "https://cafe.example"}
      api: {worker: api, url: "https://api.cafe.example"}
  staging:
    account_id: dddddddddddddddddddddddddddddddd
    services:
      site: {pages: site, url: "https://cafe.test", build: {command: [make]}}
labels:
  recover:rebuild: {runbook: redeploy-pages, environment: production, params: {service: site}}
  recover:raise: {runbook: propose-limits, environment: production, params: {reason: launch}}
  recover:calm: {runbook: all-clear, environment: production}
"""


@pytest.mark.parametrize(
    ("label", "called", "goes"),
    [
        ("recover:rebuild", "recover", False),
        ("recover:rebuild", "", False),
        ("recover:raise", "recover", False),
        ("recover:calm", "recover", True),
    ],
)
def test_runbook_without_a_job_is_refused(job: Job, label: str, called: str, goes: bool) -> None:
    """The site has no `build` in production, and there are no limits and switches. all-clear has the job of rollback-worker."""
    job.world.config.write_text(CAFE)

    done = job.gate(job.label(name=label), OPS_CALLED=called)

    if goes:
        job.assert_accepted(done)
        return
    job.assert_refused(done, "unknown_name")
    assert label not in job.labels


@pytest.mark.parametrize(
    ("jobs", "goes"),
    [("recovery-production", True), ("recovery-staging security-production", False), ("", True)],
)
def test_request_without_a_job_in_the_files_is_refused(job: Job, jobs: str, goes: bool) -> None:
    """Somebody merged an environment of ops.yml without sync. Files of an older version name no jobs."""
    job.world.config.write_text(CAFE)

    done = job.gate(job.label(name="recover:calm"), OPS_CALLED="recover", OPS_JOBS=jobs)

    if goes:
        job.assert_accepted(done)
        return
    job.assert_refused(done, "other_ref")
    assert "recover:calm" not in job.labels


@pytest.mark.parametrize(("called", "code"), [("recover", 0), ("propose", 3)])
def test_approval_runs_only_in_the_called_workflow_of_its_runbook(world: World, called: str, code: int) -> None:
    desk = open_desk(world)
    desk.post()

    done = desk.press_approve(OPS_CALLED=called)

    assert done.code == code, done.err
    assert json.loads(desk.outputs["params"] or "{}").get("database") == (None if code else "orders")
    assert desk.outputs["reason"] == ("other_ref" if code else "")


def test_each_runbook_has_one_called_workflow_and_no_record_may_name_one() -> None:
    called = {name: called_workflow(load_runbook(name)) for name in runbook_names()}

    assert set(called.values()) == set(CALLED_WORKFLOWS)
    assert (called["redeploy-pages"], called["propose-limits"]) == ("recover", "propose")
    assert not {f"{FOLDER}/{name}.yml" for name in CALLED_WORKFLOWS} & {*record_rules(None).workflows}
    assert not {*CALLED_WORKFLOWS} & {*runbook_names()}
