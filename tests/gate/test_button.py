"""Authorize a button: its inputs, its time, and the incident that it names."""

import json
import re
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.gate.support import Job

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


def press_button(job: Job, by: str = "alice", button: str = BUTTON, **inputs: str) -> tuple[Any, str]:
    """Dispatch the workflow; return the payload and the ID of its run."""
    files = {".github/workflows/rollback-worker.yml": button}
    job.github.add_commit("Add the button", "alice", files=files)
    run = job.github.dispatch("rollback-worker.yml", {"service": "api", "incident": str(job.incident), **inputs}, by=by)
    return run.payload, str(run.id)


@pytest.mark.slow
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
    (warning,) = (line for line in done.err.splitlines() if line.startswith("warning: "))
    assert "button" in warning


@pytest.mark.slow
def test_button_without_write_access_is_refused_on_incident(job: Job) -> None:
    payload, run = press_button(job, by="tina", reason="$(id) `@org/team`")

    done = job.gate(payload, "workflow_dispatch", GITHUB_RUN_ID=run)

    job.assert_refused(done, "no_write_access")
    assert "--reason '$(id)" in done.err


@pytest.mark.slow
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


@pytest.mark.slow
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


OURS, OURS_SPELLED = "acme/operations", "Acme/Operations"


@pytest.mark.parametrize(
    ("named", "own"),
    [(OURS, OURS), (OURS_SPELLED, OURS), (OURS, OURS_SPELLED), ("acme/shop", OURS), ("b/operations", OURS)],
)
def test_incident_may_be_an_issue_address_of_this_repository_only(job: Job, named: str, own: str) -> None:
    """The number of another repository's issue is another incident here. GitHub's names ignore case."""
    payload, run = press_button(job, incident=f"https://github.com/{named}/issues/{job.incident}")

    done = job.gate(payload, "workflow_dispatch", GITHUB_RUN_ID=run, GITHUB_REPOSITORY=own)

    if named.lower() == own.lower():
        job.assert_accepted(done)
        assert job.outputs["incident"] == str(job.incident)
    else:
        assert (done.code, job.outputs["go"], job.outputs["reason"]) == (2, "false", "event_malformed")
        assert "no address of an issue of this repository" in done.err
        assert job.comments == []


def test_button_for_closed_incident_is_refused(job: Job) -> None:
    job.github.close(job.incident, "alice")
    payload, run = press_button(job)

    done = job.gate(payload, "workflow_dispatch", GITHUB_RUN_ID=run)

    job.assert_refused(done, "incident_closed")
    assert re.search("(?m)^ hint: .*button", done.err)


@pytest.mark.slow
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


@pytest.mark.parametrize("runbook", ["redeploy-pages", "restore-database", "revert-migration"])
def test_button_without_the_name_of_its_source_names_no_repository(job: Job, runbook: str) -> None:
    """The run that follows names the missing value."""
    button = BUTTON.replace("service: ", "commit: ")
    job.github.add_commit("Add the button", "alice", files={f".github/workflows/{runbook}.yml": button})
    run = job.github.dispatch(f"{runbook}.yml", {"incident": str(job.incident)}, by="alice")

    job.assert_accepted(job.gate(run.payload, "workflow_dispatch", GITHUB_RUN_ID=str(run.id)))

    assert (job.outputs["params"], job.outputs["repository"]) == ("{}", "")
