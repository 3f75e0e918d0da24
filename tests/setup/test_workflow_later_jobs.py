"""Jobs that follow a recovery: watch, automatic step, wait for the end of maintenance, and last answer."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ops.app.registry import called_workflow, discover_runbooks
from ops.config import check_config
from ops.setup import workflows
from tests.setup.test_workflows import CONFIGURATIONS, NEXT, config, files, parse_file, secrets_of, workflow

SHARED = ("environment", "concurrency", "permissions")
"""What the job of the automatic step has in common with the job before it."""


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_watch_only_reads_and_stays_out_of_the_recovery_group(path: Path) -> None:
    tokens, buttons = {each.token for each in config(path).environments.values()}, 0
    for file in files(path):
        found = parse_file(file)["jobs"]
        running = [
            name for name, job in found.items() if "recover" in {each.get("id") for each in job.get("steps", ())}
        ]
        acting = [name for name in running if not name.startswith(NEXT)]
        if not [name for name in acting if name != "unprivileged"] or file.stem.endswith("-direct"):
            assert "watch" not in found
            continue
        buttons += 1
        job = found["watch"]
        assert job["permissions"] == {"contents": "read", "issues": "write", "actions": "read"}
        assert job.get("environment", "report") == "report"
        assert job["concurrency"]["group"] == "watch-${{ github.run_id }}"
        assert {*job["needs"]} == {"gate", *acting} - {"unprivileged"}
        assert "watch" in found["tell-later"]["needs"]
        assert "watch" not in found["report"]["needs"]
        watched, report = job["steps"][-2:]
        assert [watched["with"]["command"], report["with"]["command"]] == ["watch", "incident report"]
        names = {name.removeprefix("REPORT_") for name in secrets_of(watched)}
        assert names >= tokens
    assert buttons


def test_automatic_step_follows_a_relapse_in_the_recovery_group() -> None:
    """Where a reviewer approves, GitHub asks again: a job of its own waits, outside of the recovery group."""
    path = CONFIGURATIONS["ten_services"]
    for name in ("recover",):
        found = workflow(name, path)["jobs"]
        added = {
            "next-approve-prod": "recovery-prod",
            "next-recovery-prod": "recovery-prod",
            "next-recovery-eu": "recovery-eu",
        }
        assert [key for key in found if key.startswith(NEXT)] == [*added]
        assert {*found["tell-later"]["needs"]} >= {*added}
        for key, acting in added.items():
            assert {"gate", acting, "watch"} <= {*found[key]["needs"]}
            assert "!cancelled() &&" in found[key]["if"]
            assert "needs.watch.outputs.decision == 'relapsed'" in found[key]["if"]
            assert "needs.gate.outputs.attempt == github.run_attempt" in found[key]["if"]
            assert (
                f"needs.{acting}.outputs.watch && (needs.gate.outputs.runbook == 'rollback-worker')" in found[key]["if"]
            )
        waiting, job = found["next-approve-prod"], found["next-recovery-prod"]
        assert (waiting["environment"], waiting["permissions"]) == ("approve-prod", {})
        assert not waiting["concurrency"]["group"].startswith("recover-")
        assert "needs.next-approve-prod.result == 'success'" in job["if"]
        for key, acting in (("next-recovery-prod", "recovery-prod"), ("next-recovery-eu", "recovery-eu")):
            job, first = found[key], found[acting]
            assert {each: job[each] for each in SHARED} == {each: first[each] for each in SHARED}
            step, given = job["steps"][-1], first["steps"][-1]["with"]
            assert step["env"] == first["steps"][-1]["env"]
            assert step["with"]["relapsed"] == "${{ needs.watch.outputs.deployment || '-' }}"
            assert step["with"]["requested-at"] == "${{ needs.watch.outputs.ended_at }}"
            assert {each: step["with"][each] for each in ("environment", "approved-for")} == {
                each: given[each] for each in ("environment", "approved-for")
            }
            approved = {"params": "params", "attempt": "attempt", "approved-environment": "environment"}
            for option, output in {**approved, "approved-runbook": "runbook"}.items():
                assert step["with"][option] == f"${{{{ needs.gate.outputs.{output} }}}}"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "path"), CONFIGURATIONS.items(), ids=CONFIGURATIONS)
def test_only_the_setting_adds_automatic_steps(name: str, path: Path) -> None:
    found = {each.stem for each in files(path) if any(key.startswith(NEXT) for key in parse_file(each)["jobs"])}

    assert found == ({"recover"} if name == "ten_services" else set())


def test_canceled_run_stops_waiting() -> None:
    """GitHub evaluates the condition again: a job with always() would wait for hours, and cost minutes."""
    jobs_ = workflow("recover")["jobs"]

    for name in ("wait", "end-security-production"):
        assert jobs_[name]["if"].startswith("!cancelled() && ")
        assert "always()" not in jobs_[name]["if"]


@pytest.mark.parametrize("name", ["reference", "ten_services"])
def test_job_that_ends_a_state_has_the_secrets_of_that_command_alone(name: str) -> None:
    path = CONFIGURATIONS[name]
    found = workflow("recover", path)["jobs"]
    acting = {key.removeprefix("end-"): key for key in found if key.startswith("end-")}

    for first, key in acting.items():
        given, secrets = secrets_of(found[first]["steps"][-1]), secrets_of(found[key]["steps"][-1])
        token = config(path).environments[first.partition("-")[2]].token
        assert token in secrets < given
        assert not {each for each in secrets if each.startswith(("NEW_", "OLD_", "GH_"))}
    assert acting


@pytest.mark.sampled
@pytest.mark.parametrize("end", ["1h", "2020-01-01T00:00Z"])
def test_reopening_jobs_have_unique_ids_per_github_environment(end: str) -> None:
    """GitHub refuses a file with two jobs of one ID. A past end does not change the file."""
    maintenance = discover_runbooks()["maintenance"]
    other = type("Other", (type(maintenance),), {"name": "other", "github_environment": "recovery"})()
    params = f"params: {{service: hello, state: 'on', until: '{end}', reopen_at_end: true}}"
    labels = [
        f"  recover:{name}: {{runbook: {name}, environment: production, {params}}}" for name in ("maintenance", "other")
    ]
    text = "\n".join([CONFIGURATIONS["one_url"].read_text(), "labels:", *labels, ""])
    accepted, _ = check_config(text).require_valid("ops.yml")

    recover = dict(workflows.render_workflows(accepted, {**discover_runbooks(), "other": other}))["recover"]

    ids = re.findall(r"^  ([a-z][\w-]*):\n    name:", recover, re.MULTILINE)
    assert {"wait", "end-recovery-production", "end-security-production"} <= {*ids}
    assert len(ids) == len({*ids})


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_answer_about_the_recovery_waits_for_no_long_job(path: Path) -> None:
    """A watch lasts up to two hours, and a wait for an end up to five."""
    for each in files(path):
        found = parse_file(each)["jobs"]
        if "tell" not in found:
            continue
        late = {key for key in found if key.startswith(("watch", "wait", "end-", NEXT))}
        assert not _all_needs(found, "tell") & late
        if not late:
            assert "tell-later" not in found
            continue
        assert {*found["tell-later"]["needs"]} == {"tell", *found["tell"]["needs"], *late}
        for key in late:
            assert f"needs.{key}.result == 'failure' || needs.{key}.result == 'cancelled'" in found["tell-later"]["if"]


def _all_needs(found: Mapping[str, Any], job: str) -> set[str]:
    """Return the jobs that must end before this one."""
    needs = found[job].get("needs", [])
    direct = {needs} if isinstance(needs, str) else {*needs}
    return direct.union(*(_all_needs(found, each) for each in direct))


def test_commit_is_built_in_a_job_without_a_token() -> None:
    found = workflow("recover")["jobs"]
    fetch, build, deploy = "fetch-site-production", "build-site", "redeploy-production"

    assert {fetch, build, deploy} <= found.keys()
    assert "environment" not in found[build]
    assert not secrets_of(found[build])
    assert "GITHUB_TOKEN" not in str(found[build])
    building = [key for key, job in found.items() if "command: site build" in str(job).replace("'", "")]
    assert building == [build]
    asked = next(step for step in found[fetch]["steps"] if step.get("id") == "fetch")["with"]
    assert asked["commit"] == "${{ fromJSON(needs.gate.outputs.params).commit || 'previous' }}"
    assert {fetch, build, deploy} <= {*found["tell"]["needs"]}
    assert {deploy} <= {*found["watch"]["needs"]} & {*found["report"]["needs"]}


@pytest.mark.parametrize("path", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_label_calls_the_file_with_the_jobs_of_its_runbook(path: Path) -> None:
    labels = {name: called_workflow(discover_runbooks()[each.runbook]) for name, each in config(path).labels.items()}
    jobs = workflow("incident", path)["jobs"]
    calls = {name: job for name, job in jobs.items() if "uses" in job}

    assert calls.keys() == {"recover", *labels.values()}
    for name, job in calls.items():
        assert job["uses"] == f"./.github/workflows/{name}.yml"
        assert job["if"].startswith("always() && ")
    for label, called in labels.items():
        chosen = [name for name, job in calls.items() if f'"{label}"' in job["if"].replace("!contains", "")]
        assert chosen == ([] if called == "recover" else ["recover", called])


@pytest.mark.parametrize("path", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_answer_starts_for_the_labels_of_incidents_alone(path: Path) -> None:
    """Its condition is that of incident.yml for a label, without the choice of the called file."""
    words = " ".join(workflow("answer", path)["jobs"]["answer"]["if"].split())
    assert words.startswith("(((")
    (call, *others) = [job for job in workflow("incident", path)["jobs"].values() if "uses" in job]
    incident = re.sub(
        r" && !contains\(fromJSON\('[^']*'\), github\.event\.label\.name\)",
        "",
        " ".join(call["if"].split()).replace("( (", "(("),
    )

    labeled, _, closed = incident.partition(" || (github.event.action == 'closed'")
    assert labeled == f"always() && ((github.event.action == 'labeled' && {words})"
    assert closed
    assert all(job["if"].startswith("always() && github.event.action == 'labeled'") for job in others)


@pytest.mark.parametrize("path", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_ways_around_call_no_file(path: Path) -> None:
    """The answer uses no action, and has no secret and no environment."""
    answer = workflow("answer", path)["jobs"]["answer"]
    assert not [step for step in answer["steps"] if "uses" in step]
    assert "environment" not in answer
    assert "secrets." not in str(answer)
    names = {each.stem for each in files(path)}
    assert ("rollback-worker-direct" in names) == ("rollback-worker" in names)
    if "rollback-worker" in names:
        jobs = workflow("rollback-worker-direct", path)["jobs"]
        assert not [name for name, job in jobs.items() if "uses" in job or name == "watch"]
