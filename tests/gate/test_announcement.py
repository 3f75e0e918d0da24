"""The gate announces the run of an accepted label in one comment, in which the run continues."""

import re
import shlex
from typing import Any

import pytest

from tests.conftest import World
from tests.gate.support import LABEL, Job
from tests.gate.test_button import press_button
from tests.support.in_process import held
from tests.support.shop import OPS_YML, WORKER
from tests.templates.scripts import COMMENTS, RUN

MARK = f"<!-- backout:request run={RUN} attempt=1 -->"


def gate(job: Job, payload: Any = None, **environ: str) -> Any:
    return job.gate(payload or job.label(), **{"GITHUB_RUN_ID": RUN, **environ})


def test_accepted_label_is_answered_with_run_and_laptop_command(job: Job) -> None:
    payload = job.label()

    job.assert_accepted(gate(job, payload))

    (comment,) = job.github.issue(job.incident).comments
    page = f"{job.github.urls.html}/{job.github.repository}/actions/runs/{RUN}"
    assert comment.body == (
        f"**Received** `{LABEL}` from `@alice` at {payload['issue']['updated_at'][11:16]} UTC, "
        f"starting: [run]({page})\n\n"
        f"No answer after 2 minutes? Run on a laptop: `./run ops label {LABEL} --incident {job.incident}`\n\n{MARK}\n"
    )
    assert job.outputs["comment"] == str(comment.id)


def test_label_of_another_application_is_named(world: World) -> None:
    label = "recover:it's web"
    recovery = "{runbook: rollback-worker, environment: live, params: {service: web}}"
    world.config.write_text(f'{OPS_YML}labels:\n  "{label}": {recovery}\n')
    github = world.sandbox.github
    github.add_user("alice")
    job = Job(world, github.open_issue(f"{WORKER} fails", "", ["incident"], "alice"))

    job.assert_accepted(gate(job, job.label(name=label)))

    (shown,) = re.findall("Run on a laptop: `(.*)`\n", job.comments[0])
    assert shlex.split(shown)[-4:] == ["label", label, "--incident", str(job.incident)]


def test_rerun_gets_its_own_comment_naming_its_starter(job: Job) -> None:
    job.github.add_user("bob")
    job.github.add_commit("Add ops.yml", "alice", files={"ops.yml": job.world.config.read_text()})
    payload = job.label()
    gate(job, payload)

    gate(job, payload, GITHUB_RUN_ATTEMPT="2", GITHUB_TRIGGERING_ACTOR="bob", GITHUB_ACTOR="alice")

    first, second = job.comments
    assert MARK in first
    assert "from `@alice`" in second
    assert "started again by `@bob`" in second
    assert f"/runs/{RUN}/attempts/2)" in second
    assert f"<!-- backout:request run={RUN} attempt=2 -->" in second


@pytest.mark.parametrize("by", ["tina", "zoe"])
def test_refused_label_is_not_announced(job: Job, by: str) -> None:
    job.assert_refused(gate(job, job.label(by)), "no_write_access")


def test_button_is_not_announced(job: Job) -> None:
    payload, run = press_button(job, incident=str(job.incident))

    job.assert_accepted(job.gate(payload, "workflow_dispatch", GITHUB_RUN_ID=run))

    assert (job.comments, job.outputs["comment"]) == ([], "")


FAILING: dict[str, dict[str, Any]] = {
    "forbidden": {"status": 403},
    "gone": {"status": 410},
    "every answer is 500": {"status": 500, "times": None},
    "no JSON": {"status": 201, "body": "<html>", "times": None},
    "lost": {"lost": "before", "times": None},
}


@pytest.mark.parametrize("fault", FAILING.values(), ids=FAILING)
def test_failing_api_is_one_warning(job: Job, fault: dict[str, Any]) -> None:
    job.github.fault(method="POST", path=COMMENTS, **fault)

    done = gate(job)

    job.assert_accepted(done)
    assert (job.outputs["comment"], job.comments) == ("", [])
    assert done.err.count("the comment that announces the run could not be written") == 1


@pytest.mark.parametrize(
    "fault", [{"lost": "after"}, {"status": 502, "applied": True}, {"body": "<html>", "applied": True}], ids=str
)
def test_comment_is_found_after_a_lost_response(job: Job, fault: dict[str, Any]) -> None:
    payload = job.label()
    job.github.comment(job.incident, MARK, "tina")
    job.github.fault(method="POST", path=COMMENTS, **fault)

    job.assert_accepted(gate(job, payload))

    _, comment = job.github.issue(job.incident).comments
    assert job.outputs["comment"] == str(comment.id)


@pytest.mark.slow
def test_gate_does_not_wait_for_a_hanging_github(job: Job) -> None:
    payload = job.label()

    with held(job.github.faults, method="POST", path=COMMENTS):
        done = gate(job, payload)

    job.assert_accepted(done)
    assert job.outputs["comment"] == ""
