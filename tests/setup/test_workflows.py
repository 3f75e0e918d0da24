"""Workflow files of `ops workflows sync`: valid, hardened and complete for any ops.yml."""

import dataclasses
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ops.app.configuration import read_config
from ops.app.registry import discover_runbooks
from ops.app.scope import fitting_environments
from ops.config import Config, durable_object_token_names
from ops.config.checks import DEFAULT_TOKEN
from ops.core.names import HOLD_LIFT
from ops.engine.runbook import JobSecret, job_parameters, params_type
from ops.setup import github_environments
from ops.setup.labels import desired_labels
from tests.conftest import REFERENCE
from tests.support import plain_yaml
from tests.support.configurations import CONFIGURATIONS as OTHERS
from tests.support.configurations import STAGED_SHOP
from tests.support.scenarios import shipped
from tests.support.workflows import generated

RUNBOOKS = shipped()
CONFIGURATIONS = {"reference": REFERENCE / "ops.yml"} | {path.parent.name: path for path in (*OTHERS, STAGED_SHOP)}
CALLED = {"propose", "recover"}
NO_RUNBOOKS = {
    *("check-outage", "doctor", "evidence", "incident", "limits", "ops-check", "scheduled", "secret-leak"),
    "staging-drill",
    *CALLED,
    *("answer", "rollback-worker-direct"),
}
OF_EVERY_RUNBOOK = {"incident", "environment", "dry_run"}
SECRET = re.compile(r"secrets\.(\w+)")
NEXT = "next-"
"""Start of the names of jobs that make the automatic step after a relapse."""
NAMED_SECRET = re.compile(r"(?<!-)secrets\.")
"""A name in the context `secrets`, and not the workflow `rotate-secrets.yml`."""


@cache
def config(path: Path = REFERENCE / "ops.yml") -> Config:
    return read_config(path, labels=None)[0]


def folder(path: Path = REFERENCE / "ops.yml") -> Path:
    return generated(path) / ".github" / "workflows"


@cache
def parse_file(path: Path) -> dict[Any, Any]:
    """Return the parsed workflow. All tests share it: do not change it."""
    data: dict[Any, Any] = plain_yaml.load(path.read_text())
    return data


def workflow(name: str, path: Path = REFERENCE / "ops.yml") -> dict[Any, Any]:
    return parse_file(folder(path) / f"{name}.yml")


def files(path: Path) -> list[Path]:
    """Return the generated files; a repository may have others."""
    return [each for each in sorted(folder(path).glob("*.yml")) if each.stem in {*RUNBOOKS, *NO_RUNBOOKS}]


def inputs(runbook: str, path: Path = REFERENCE / "ops.yml") -> dict[str, Any]:
    # YAML 1.1 reads the key `on` as true.
    found: dict[str, Any] = workflow(runbook, path)[True]["workflow_dispatch"]["inputs"]
    return found


def recovery_jobs(
    name: str, path: Path = REFERENCE / "ops.yml"
) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield each job that runs a runbook: its ID, the job, and the step that runs `ops recover`."""
    for key, job in workflow(name, path)["jobs"].items():
        for step in job.get("steps", ()) if not key.startswith(NEXT) else ():
            if step.get("with", {}).get("command") == "recover":
                yield key, job, step


def secrets_of(step: dict[str, Any]) -> set[str]:
    return {name for value in step.get("env", {}).values() for name in SECRET.findall(str(value))}


def test_runbook_names_differ_from_other_workflows() -> None:
    """The button would replace the other workflow, or would not be written."""
    assert not discover_runbooks().keys() & NO_RUNBOOKS


def test_reference_application_has_every_button() -> None:
    assert {path.stem for path in files(REFERENCE / "ops.yml")} == {*RUNBOOKS, *NO_RUNBOOKS} - {
        "scheduled",
        "staging-drill",
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "buttons"),
    [
        ("one_url", {"rollback-worker", "maintenance"}),
        ("one_worker", {"rollback-worker", "maintenance"}),
        ("pages_only", {"rollback-pages"}),
    ],
)
def test_unusable_button_is_not_written(name: str, buttons: set[str]) -> None:
    written = {path.stem for path in files(CONFIGURATIONS[name])}

    assert written - NO_RUNBOOKS >= buttons
    assert written & {*RUNBOOKS} <= {
        runbook
        for runbook in RUNBOOKS
        if fitting_environments(config(CONFIGURATIONS[name]), discover_runbooks()[runbook])
    }
    assert "limits" not in written
    assert "scheduled" not in written


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CONFIGURATIONS if name != "reference"])
def test_workflow_files_do_not_name_reference_application(name: str) -> None:
    """Compare with the names that only the reference application has."""
    theirs = CONFIGURATIONS[name].read_text()
    ours = config()
    names = {
        *ours.labels,
        *(name for each in ours.environments.values() for name in (each.token, each.account_id, *each.secrets)),
        *(service.url for each in ours.environments.values() for service in each.services.values()),
        *("fortunet", "FORTUNET", "session-do", "iflow", "groq", "cerebras"),
        *durable_object_token_names(ours),
        *ours.notify.secret_names,
        "STAGING_",
    } - {DEFAULT_TOKEN, HOLD_LIFT}

    for path in files(CONFIGURATIONS[name]):
        for each in sorted(name for name in names if name not in theirs):
            assert each not in path.read_text(), f"{each} in {path.name}"


@pytest.mark.slow
@pytest.mark.parametrize("runbook", RUNBOOKS)
def test_button_inputs_match_runbook_parameters(runbook: str) -> None:
    params = {field.name: field for field in job_parameters(params_type(discover_runbooks()[runbook]))}

    assert set(inputs(runbook)) == {*params, *OF_EVERY_RUNBOOK}
    assert {key: inputs(runbook)[key]["description"] for key in params} == {
        key: field.metadata["help"] for key, field in params.items()
    }
    required = {key for key, field in params.items() if field.default is dataclasses.MISSING}
    made = discover_runbooks()[runbook]
    incident = {"incident"} if made.incident_use.is_required or made.incident_use.needs_approval else set()
    assert {key for key, each in inputs(runbook).items() if each.get("required")} == required | {
        "environment"
    } | incident


def test_button_offers_values_of_ops_yml() -> None:
    assert inputs("rollback-worker")["service"]["options"] == ["api"]
    assert inputs("rollback-pages")["service"]["options"] == ["frontend"]
    assert inputs("feature")["name"]["options"] == ["session-do"]
    assert inputs("feature")["state"]["options"] == ["on", "off"]
    assert inputs("maintenance")["state"]["options"] == ["on", "off"]
    assert inputs("ai-failover")["to"]["options"] == ["auto", "iflow", "groq", "cerebras", "off", "restore"]
    assert inputs("rollback-worker")["environment"]["options"] == ["production", "staging"]


def expected_secrets(of: Config, runbooks: list[str], place: str) -> set[str]:
    """Return the token of the environment, the webhooks, and the secrets that the runbooks declare."""
    environment = of.environments[place]
    names = {environment.token, *of.notify.secret_names}
    wanted = {secret for name in runbooks for secret in discover_runbooks()[name].job.secrets}
    rules = environment.secrets
    if JobSecret.ROTATION in wanted:
        names |= {"GH_SECRETS_TOKEN", "GH_SECRETS_APP_KEY"}
        names |= {f"OLD_{name}" for name, rule in rules.items() if rule.rotate != "never"}
        names |= {f"NEW_{name}" for name, rule in rules.items() if rule.rotate == "provided"}
    if JobSecret.ADMIN_TOKENS in wanted:
        services = environment.services.values()
        names |= {each.token for service in services for each in service.durable_objects.values() if each.token}
    if JobSecret.AI_KEYS in wanted and environment.runtime and environment.runtime.ai:
        keys = environment.runtime.ai.keys.values()
        names |= {prefix + key for key in keys for prefix in ("NEW_", "OLD_")}
    return names


@pytest.mark.parametrize("path", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_labels_of_the_lead_exist_only_where_configured(path: Path) -> None:
    of = config(path)
    call = parse_file(folder(path) / "incident.yml")["jobs"]["recover"]

    labels = [name for name in desired_labels(of) if name.startswith("lead:")]

    assert labels == [f"lead:{login}" for login in of.github.leads]
    assert ("startsWith(github.event.label.name, 'lead:')" in call["if"]) == bool(labels)
    steps = parse_file(folder(path) / "recover.yml")["jobs"]["report"]["steps"]
    assert ("lead:" in str(steps)) == bool(labels)


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_gate_job_has_no_secret_environment_or_recovery_group(path: Path) -> None:
    gates = [job for each in files(path) for key, job in parse_file(each)["jobs"].items() if key == "gate"]

    assert gates
    for job in gates:
        assert "environment" not in job
        assert "secrets." not in str(job)
        assert not job["concurrency"]["group"].startswith("recover-")


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_secrets_are_passed_to_single_steps_by_name(path: Path) -> None:
    for each in files(path):
        for job in parse_file(each)["jobs"].values():
            assert "secrets." not in str({key: value for key, value in job.items() if key != "steps"})
            for step in job.get("steps", ()):
                places = [step.get("with", {}).get("token", ""), *step.get("env", {}).values()]
                found = [str(value) for value in places if NAMED_SECRET.search(str(value))]
                assert len(NAMED_SECRET.findall(str(step))) == len(found)
                for value in found:
                    assert re.fullmatch(r"\$\{\{ secrets\.\w+(?: \|\| github\.token)? \}\}", value)
        assert "secrets[" not in each.read_text()
        assert "toJSON(secrets" not in each.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_permissions_timeouts_and_groups_are_per_job(path: Path) -> None:
    for each in files(path):
        assert parse_file(each)["permissions"] == {}
        assert "concurrency" not in parse_file(each)
        for key, job in parse_file(each)["jobs"].items():
            if "uses" in job:
                continue
            assert job["timeout-minutes"] <= (310 if key == "wait" else 70 if key in {"watch", "drill"} else 30)
            assert key != "wait" or ("environment" not in job and "secrets." not in str(job["steps"]))
            assert ("concurrency" in job) == (key not in {"tell", "tell-later", "answer"})


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_step_variables_have_values(path: Path) -> None:
    """ACTING of an ops.yml without labels is an empty text, not null."""
    for each in files(path):
        for job in parse_file(each)["jobs"].values():
            assert not [step["env"] for step in job.get("steps", ()) if None in step.get("env", {}).values()]


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_steps_do_not_interpolate_inputs(path: Path) -> None:
    for each in files(path):
        for step in (step for job in parse_file(each)["jobs"].values() for step in job.get("steps", ())):
            assert "${{" not in step.get("run", "")
            assert step.get("run", "exec ").lstrip().startswith("exec "), "a cancel must reach the program"
            if "uses" in step and not step["uses"].startswith("./"):
                assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", step["uses"])
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_leak_report_is_read_from_event_file_only() -> None:
    text = (folder() / "secret-leak.yml").read_text()

    assert "inputs." not in text
    assert "client_payload" not in text
    assert "secrets." not in text
    assert "environment" not in workflow("secret-leak")["jobs"]["open"]
    assert set(inputs("secret-leak")) == {"secret", "seen", "url", "source"}


@pytest.mark.slow
def test_evidence_job_alone_uses_evidence_environment() -> None:
    (job,) = workflow("evidence")["jobs"].values()

    assert job["environment"] == "evidence"
    tokens = {environment.token for environment in config().environments.values()}
    assert {name for step in job["steps"] for name in secrets_of(step)} == tokens
    users = [path.stem for path in files(REFERENCE / "ops.yml") if "environment: evidence" in path.read_text()]
    assert users == ["evidence"]


def test_pull_request_plan_uses_base_without_secrets() -> None:
    found = workflow("limits")

    assert found[True].keys() == {"pull_request", "push"}
    assert found[True]["push"]["branches"] == ["main"]
    plan = found["jobs"]["plan"]
    assert (plan["if"], "environment" in plan) == ("github.event_name == 'pull_request'", False)
    assert plan["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert plan["steps"][0]["with"]["ref"] == "${{ github.event.pull_request.base.sha }}"
    assert "secrets." not in str(plan)
    planned = [step["with"]["environment"] for step in plan["steps"] if "environment" in step.get("with", {})]
    assert planned == list(config().environments)
    for place, environment in config().environments.items():
        apply = found["jobs"][f"apply-{place}"]
        assert (apply["environment"], apply["concurrency"]["group"]) == ("limits", f"limits-{place}")
        assert secrets_of(apply["steps"][-1]) == {environment.token}


def test_jobs_that_wait_for_a_reviewer_hold_no_recovery_group() -> None:
    """GitHub waits up to 30 days for a reviewer, and a recovery for every job of its group."""
    jobs = [job for each in files(CONFIGURATIONS["ten_services"]) for job in parse_file(each)["jobs"].items()]
    waiting = {key: job for key, job in jobs if "approve-" in key}

    assert {"approve-prod", "next-approve-prod"} <= waiting.keys()
    for key, job in waiting.items():
        assert job["concurrency"]["group"] == f"{key}-${{{{ github.run_id }}}}"
        assert job["environment"].startswith("approve-")


def test_jobs_behind_approval_verify_it() -> None:
    """GitHub creates a missing environment without reviewers, so its job passes without a review."""
    path = CONFIGURATIONS["ten_services"]
    behind = [
        job
        for each in files(path)
        for job in parse_file(each)["jobs"].values()
        if any(name.startswith("approve-") for name in job.get("needs", ()))
        and any(SECRET.search(str(step.get("env"))) for step in job.get("steps", ()))
    ]

    assert "fetch-site-prod" in {job["name"] for job in behind}
    for job in behind:
        steps = [step for step in job["steps"] if SECRET.search(str(step.get("env")))]
        assert job["permissions"]["actions"] == "read", job["name"]
        given = [step["with"].get("requested-by") or step["with"]["pass"] for step in steps]
        assert {*given} <= {"${{ needs.gate.outputs.actor }}", "${{ needs.gate.outputs.pass }}"}, job["name"]


@pytest.mark.parametrize("path", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_environments_table_matches_job_secrets(path: Path) -> None:
    used: dict[str, set[str]] = {}
    for file in files(path):
        for job in parse_file(file)["jobs"].values():
            environment = job.get("environment")
            if name := environment["name"] if isinstance(environment, dict) else environment:
                used.setdefault(name, set()).update(SECRET.findall(str(job["steps"])))

    listed = github_environments.needed_environments(
        config(path), {name: discover_runbooks()[name] for name in RUNBOOKS}
    )

    assert {each.name: {name for name in each.secrets if not name.startswith("vars.")} for each in listed} == used
    assert {each.name for each in listed if each.has_reviewers} == {
        name for name in used if name.startswith("approve-")
    }
    assert all(each.permissions for each in listed if not each.has_reviewers)


def test_doctor_has_a_read_only_job_for_each_github_environment() -> None:
    found = workflow("doctor")["jobs"]

    last = found.pop("doctor")
    assert set(found) == {"recovery", "security", "database", "limits", "report"}
    assert (last["needs"], last["if"], "environment" in last) == (list(found), "always()", False)
    for job in found.values():
        assert (job["permissions"], job["environment"]["deployment"]) == ({"contents": "read", "issues": "read"}, False)
        assert not job["concurrency"]["group"].startswith("recover-")
        assert not {name for step in job["steps"] for name in secrets_of(step) if name.startswith(("NEW_", "OLD_"))}
