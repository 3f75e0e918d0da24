"""The workflow files: their inputs are the runbooks' parameters, their lists are ops.yml's, and they are hardened.

The files are those that `ops workflows sync` writes for the reference application.
"""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.app.registry import discover, kinds, recoveries
from ops.app.run import read_config
from ops.config import object_tokens
from ops.engine.runbook import JobSecret
from ops.setup.workflows import pressed, sync, synced
from tests.conftest import REFERENCE, ROOT, World
from tests.support.scenarios import shipped
from tests.support.workflows import generated

GITHUB = generated() / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
RUNBOOKS = shipped()
FORM = GITHUB / "ISSUE_TEMPLATE/incident.yml"
KINDS = kinds()
NO_RUNBOOKS = {"ci", "evidence", "incident", "limits", "secret-leak"}
"""Workflows that are no runbook's button: what they do changes nothing that runs, or a runbook of another name does it."""
OF_EVERY_RUNBOOK = {"incident", "environment", "dry_run"}
OTHER_VARIABLES = {"path": "URL_PATH"}
"""Input → the variable that hands it on, where that is not its own name: PATH is the shell's."""


@cache
def read(path: Path) -> dict[Any, Any]:
    return parsed(path.read_text())


@cache
def parsed(text: str) -> dict[Any, Any]:
    """The workflow, which is the same for every test that asks: do not change it."""
    data: dict[Any, Any] = yaml.safe_load(text)
    return data


def inputs(runbook: str) -> dict[str, Any]:
    # YAML 1.1 reads the key `on` as true.
    found: dict[str, Any] = read(GITHUB / "workflows" / f"{runbook}.yml")[True]["workflow_dispatch"]["inputs"]
    return found


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in read(path)["jobs"].values() for step in job["steps"]]


def test_every_workflow_is_a_runbooks_button_or_a_listed_exception() -> None:
    assert {path.stem for path in WORKFLOWS} == {*RUNBOOKS, *NO_RUNBOOKS}


def test_the_button_for_evidence_gives_its_command_all_inputs_and_every_token_of_cloudflare() -> None:
    path = GITHUB / "workflows/evidence.yml"
    (step,) = [step for step in steps(path) if "ops evidence" in step.get("run", "")]

    for key in inputs("evidence"):
        assert step["env"][key.upper()] == f"${{{{ inputs.{key} }}}}"
        assert f'"${key.upper()}"' in step["run"]
    config, _ = read_config(REFERENCE / "ops.yml")
    tokens = {environment.token for environment in config.environments.values()}
    assert {name for name, value in step["env"].items() if "secrets." in value} == tokens
    assert read(path)["jobs"]["evidence"]["environment"] == "evidence"


PROBES = re.compile(
    r"python3 -m ops (recover|limits (?:apply|reconcile)|maintenance due|ai-failback|[a-z-]+ --yes)(?: |$)",
    re.MULTILINE,
)
"""The commands that ask probes. A run in no GitHub environment holds no token, and asks none."""


def browsers(text: str) -> dict[str, bool]:
    """Job → whether it installs what a browser probe needs, of the jobs that ask probes."""
    jobs = parsed(text)["jobs"]
    found = {}
    for name, job in jobs.items():
        (setup, *_) = [step for step in job["steps"] if step.get("uses") == "./.github/actions/setup"] or [{}]
        if any(PROBES.search(step.get("run", "")) for step in job["steps"]) and "environment" in job:
            found[name] = setup["with"]["browser"]
    return found


@pytest.mark.parametrize("path", [path for path in WORKFLOWS if path.stem != "ci"], ids=lambda path: path.stem)
def test_a_job_that_asks_probes_installs_a_browsers_parts_where_one_is_configured(path: Path, world: World) -> None:
    assert set(browsers(path.read_text()).values()) <= {False}
    site = "          - name: site # the page"
    world.edit_config(site, "          - {name: visit, browser: {required: true}}\n" + site)
    config, _ = read_config(world.config)

    changed = synced(path.read_text(), config, KINDS.get(path.stem))

    asks_site = KINDS.get(path.stem) in {None, "pages"}
    assert set(browsers(changed).values()) <= {asks_site}
    assert browsers(changed).keys() == browsers(path.read_text()).keys()
    expected = path.stem in {*(name for name in RUNBOOKS if discover()[name].github_environment), "incident", "limits"}
    assert bool(browsers(changed)) is expected


def test_what_is_sent_of_a_leak_reaches_its_command_through_the_events_file_alone() -> None:
    path = GITHUB / "workflows/secret-leak.yml"
    text = path.read_text()

    assert "inputs." not in text
    assert "client_payload" not in text
    assert "secrets." not in text
    assert "environment" not in read(path)["jobs"]["open"]
    assert set(inputs("secret-leak")) == {"secret", "seen", "url", "source"}


@pytest.mark.parametrize("name", RUNBOOKS)
def test_the_inputs_of_a_button_are_the_parameters_of_its_runbook(name: str) -> None:
    params = discover()[name].params.__dataclass_fields__

    assert set(inputs(name)) == {*params, *OF_EVERY_RUNBOOK}
    assert {key: inputs(name)[key]["description"] for key in params} == {
        key: field.metadata["help"] for key, field in params.items()
    }


@pytest.mark.parametrize("name", RUNBOOKS)
def test_every_input_and_every_token_reaches_the_command_through_its_environment(name: str) -> None:
    """Where several jobs share the work, an input reaches the one that it is for, and the command what that one says."""
    all_steps = steps(GITHUB / "workflows" / f"{name}.yml")
    (step,) = [s for s in all_steps if f"ops {name} --" in s.get("run", "")]

    for key in inputs(name):
        variable = OTHER_VARIABLES.get(key, key.upper())
        given = [s for s in all_steps if f"inputs.{key}" in s.get("env", {}).get(variable, "")]
        assert given
        assert all(f'"${variable}"' in s["run"] for s in [step, *given])
    if not discover()[name].github_environment:
        assert not secrets_of(step)
        return
    secrets = discover()[name].job_secrets
    assert_secrets(
        step,
        values=JobSecret.ROTATION in secrets,
        admin=JobSecret.ADMIN_TOKENS in secrets,
        keys=JobSecret.AI_KEYS in secrets,
    )


@pytest.mark.parametrize("name", RUNBOOKS)
def test_the_job_of_a_button_has_the_permissions_of_its_runbook(name: str) -> None:
    (job,) = [
        job
        for job in read(GITHUB / "workflows" / f"{name}.yml")["jobs"].values()
        if any(f"ops {name} --" in step.get("run", "") for step in job["steps"])
    ]
    given = {f"{scope}: {right}" for scope, right in job["permissions"].items() if right == "write"}

    wanted = {each for each in discover()[name].permissions.github if not each.startswith("environments:")}
    assert given == {*wanted, "issues: write"}


def secrets_of(step: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in step["env"].items() if "secrets." in str(value)}


def assert_secrets(step: dict[str, Any], *, values: bool = False, admin: bool = False, keys: bool = False) -> None:
    """Every secret that ops.yml names, and no other; `values`: those of a rotation too, each by its name; `admin`: the
    tokens of applications; `keys`: those of AI providers."""
    config, _ = read_config(REFERENCE / "ops.yml")
    names = {environment.token for environment in config.environments.values()}
    names |= set(config.notify.webhooks.values()) | (object_tokens(config) if admin else set())
    if values:
        rules = {name: rule for env in config.environments.values() for name, rule in env.secrets.items()}
        names |= {
            "GH_SECRETS_TOKEN",
            "GH_SECRETS_APP_KEY",
            *(f"OLD_{name}" for name, rule in rules.items() if rule.rotate != "never"),
        }
        names |= {f"NEW_{name}" for name, rule in rules.items() if rule.rotate == "provided"}
    if keys:
        providers = [env.runtime.ai for env in config.environments.values() if env.runtime and env.runtime.ai]
        names |= {prefix + key for ai in providers for key in ai.keys.values() for prefix in ("NEW_", "OLD_")}
    assert secrets_of(step) == {name: f"${{{{ secrets.{name} }}}}" for name in names}


def test_a_schedule_opens_what_is_due_with_the_secrets_of_maintenance_and_a_press_does_not() -> None:
    """Nobody asks for it, so it has no gate; it starts nothing else."""
    config, _ = read_config(REFERENCE / "ops.yml")
    workflow = read(GITHUB / "workflows/maintenance.yml")
    due, pressed_ = workflow["jobs"]["due"], workflow["jobs"]["maintenance"]
    (step,) = [step for step in due["steps"] if "run" in step]

    assert workflow[True]["schedule"] == [{"cron": "7,22,37,52 * * * *"}]
    assert (due["if"], pressed_["if"]) == (
        "github.event_name == 'schedule'",
        "github.event_name == 'workflow_dispatch'",
    )
    assert due["environment"] == {"name": "security", "deployment": False}
    assert step["run"] == "exec python3 -m ops maintenance due --yes"
    assert due["concurrency"]["group"] == f"recover-{next(iter(config.environments))}"
    assert_secrets(step)


def test_a_pull_request_is_planned_by_the_base_without_an_environment_or_a_secret() -> None:
    workflow = read(GITHUB / "workflows/limits.yml")
    plan, apply, reconcile = (workflow["jobs"][name] for name in ("plan", "apply", "reconcile"))
    config, _ = read_config(REFERENCE / "ops.yml")

    assert workflow[True].keys() == {"pull_request", "push", "schedule"}
    assert (plan["if"], "environment" in plan) == ("github.event_name == 'pull_request'", False)
    assert plan["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert plan["steps"][0]["with"]["ref"] == "${{ github.event.pull_request.base.sha }}"
    assert "secrets." not in str(plan)
    for job in (apply, reconcile):
        assert job["concurrency"]["group"] == "limits-production"
        assert secrets_of(job["steps"][-1]).keys() == {each.token for each in config.environments.values()}


def test_a_schedule_takes_an_override_back_and_a_press_does_not() -> None:
    """Nobody asks for it, so it has no gate; it starts nothing else."""
    workflow = read(GITHUB / "workflows/ai-failover.yml")
    back, pressed_ = workflow["jobs"]["fail-back"], workflow["jobs"]["ai-failover"]
    (step,) = [step for step in back["steps"] if "run" in step]

    assert workflow[True]["schedule"] == [{"cron": "3,13,23,33,43,53 * * * *"}]
    assert (back["if"], pressed_["if"]) == (
        "github.event_name == 'schedule'",
        "github.event_name == 'workflow_dispatch'",
    )
    assert back["environment"] == {"name": "recovery", "deployment": False}
    assert step["run"] == "exec python3 -m ops ai-failback --yes"
    assert_secrets(step, keys=True)


def test_on_a_closed_incident_only_the_report_and_the_all_clear_start_a_job() -> None:
    gate = read(GITHUB / "workflows/incident.yml")["jobs"]["gate"]["if"]
    config, _ = read_config(REFERENCE / "ops.yml")
    named = re.findall(r"label\.name == '([^']+)'", gate)

    assert set(named) == {"report", "recover:all-clear"}
    assert discover()[config.labels["recover:all-clear"].runbook].on_closed


def acting() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Of incident.yml: GitHub environment, or none → the job that stands in it and recovers, and the step that does so."""
    jobs = read(GITHUB / "workflows/incident.yml")["jobs"].values()
    found = [(job, step) for job in jobs for step in job["steps"] if "ops recover" in step.get("run", "")]
    return {job.get("environment", "none"): (job, step) for job, step in found}


def test_of_the_jobs_that_a_label_starts_each_acts_for_the_runbooks_of_its_own_environment_alone() -> None:
    """Which job has which power is written there: no environment is chosen while it runs."""
    labelled = {
        runbook.github_environment or "none" for runbook in map(discover().__getitem__, RUNBOOKS) if runbook.by_label
    }
    report = read(GITHUB / "workflows/incident.yml")["jobs"]["report"]

    assert acting().keys() == labelled == {"recovery", "security", "none"}
    for environment, (job, step) in acting().items():
        wanted = f"needs.gate.outputs.go == 'true' && needs.gate.outputs.power == '{environment}'"
        assert (job["needs"], job["if"], job["name"] in report["needs"]) == ("gate", wanted, True)
        assert job["concurrency"]["group"] == "recover-${{ needs.gate.outputs.environment }}"
        assert step["run"] == acting()["recovery"][1]["run"]


@pytest.mark.parametrize("name", RUNBOOKS)
def test_a_button_stands_in_the_same_environment_as_the_job_of_its_label(name: str) -> None:
    jobs = read(GITHUB / "workflows" / f"{name}.yml")["jobs"].values()
    (job,) = [job for job in jobs if any(f"ops {name} --" in step.get("run", "") for step in job["steps"])]

    assert job.get("environment", "") == discover()[name].github_environment


def test_a_label_and_a_button_get_the_same_secrets_and_the_gate_none() -> None:
    for environment, (_, step) in acting().items():
        if environment == "none":
            assert not secrets_of(step)
        else:
            assert_secrets(step, values=environment == "security", admin=environment == "recovery")
    gates = [step for path in WORKFLOWS for step in steps(path) if "ops gate" in step.get("run", "")]
    assert len(gates) >= 2
    for step in gates:
        assert not [value for value in step["env"].values() if "secrets." in str(value)]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_no_permissions_but_what_a_job_asks_for(path: Path) -> None:
    assert read(path)["permissions"] == {}
    assert "concurrency" not in read(path)
    for job in read(path)["jobs"].values():
        assert job["timeout-minutes"] <= 30
        assert "concurrency" in job


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_step_runs_nothing_that_an_input_could_write(path: Path) -> None:
    for step in steps(path):
        assert "${{" not in step.get("run", "")
        assert step.get("run", "exec ").lstrip().startswith("exec "), "a cancel must reach the program"
        if "uses" in step and not step["uses"].startswith("./"):
            assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", step["uses"])
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_second_sync_changes_nothing(path: Path) -> None:
    config, _ = read_config(REFERENCE / "ops.yml")

    assert synced(path.read_text(), config, KINDS.get(path.stem)) == path.read_text()


def test_the_issue_form_says_what_starts_which_recovery() -> None:
    text = FORM.read_text()

    assert pressed(text, read_config(REFERENCE / "ops.yml")[0], recoveries()) == text
    (shown,) = [field["attributes"]["value"] for field in yaml.safe_load(text)["body"] if field["type"] == "markdown"]
    assert (
        "until a person opens it: the label `recover:api-off` (state=on) or `recover:api-on` (state=off) on the issue, "
        "or the button Actions → maintenance → Run workflow\n"
    ) in shown
    assert (
        "- **frontend in production.** A new release of the frontend breaks the UI, its assets or its build: the label "
        "`recover:rollback-frontend` on the issue, or the button Actions → rollback-pages → Run workflow\n"
    ) in shown
    assert "no earlier deployment to roll back to: the button Actions → redeploy-pages" in shown


def test_sync_rewrites_what_the_issue_form_says_and_nothing_else_of_it(world: World) -> None:
    form = world.folder / ".github" / "ISSUE_TEMPLATE" / "incident.yml"
    form.parent.mkdir(parents=True)
    form.write_text(FORM.read_text())
    world.edit_config("  recover:rollback-api:", "  recover:api:")

    outcome = world.ops("workflows", "sync", "--config", str(world.config))

    assert outcome.code == 0
    assert form.read_text() == FORM.read_text().replace("recover:rollback-api", "recover:api")


def test_sync_rewrites_the_lists_and_nothing_else(world: World) -> None:
    folder = world.folder / ".github" / "workflows"
    folder.mkdir(parents=True)
    button = GITHUB / "workflows/rollback-worker.yml"
    (folder / "rollback-worker.yml").write_text(button.read_text())
    world.edit_config("  staging:", "  rehearsal:")

    outcome = world.ops("workflows", "sync", "--config", str(world.config))

    assert outcome.code == 0
    assert (folder / "rollback-worker.yml").read_text() == button.read_text().replace("- staging", "- rehearsal")
    assert sync(folder, read_config(world.config)[0], recoveries()) == ()


def test_sync_writes_the_names_of_a_rotation(world: World) -> None:
    folder = world.folder / ".github" / "workflows"
    folder.mkdir(parents=True)
    button = (GITHUB / "workflows/rotate-secrets.yml").read_text()
    (folder / "rotate-secrets.yml").write_text(button)
    world.edit_config("CEREBRAS_API_KEY", "MISTRAL_API_KEY")

    assert world.ops("workflows", "sync", "--config", str(world.config)).code == 0

    assert (folder / "rotate-secrets.yml").read_text() == button.replace("CEREBRAS_API_KEY", "MISTRAL_API_KEY")
    assert "toJSON" not in button


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["actionlint", "-no-color", "-oneline"],
        ["zizmor", "--offline", "--no-progress", "-q", "--persona", "auditor", ".github"],
    ],
    ids=lambda command: command[0],
)
def test_the_linters_find_nothing(command: list[str]) -> None:
    program = Path(sys.executable).parent / command[0]

    done = subprocess.run([program, *command[1:]], cwd=GITHUB.parent, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def kinds_of_secrets(text: str) -> set[str]:
    """As the page on permissions calls them; `text` is a cell of its table, or what a job of a workflow names."""
    config, _ = read_config(REFERENCE / "ops.yml")
    tokens = {environment.token for environment in config.environments.values()}
    named = {
        "Cloudflare token": rf"Cloudflare token|secrets\.(?:{'|'.join(tokens)})\b",
        "webhooks": r"webhooks|secrets\.\w+_WEBHOOK_URL",
        "admin token": r"admin token|secrets\.\w*ADMIN_TOKEN",
        "APP_REPO_TOKEN": "APP_REPO_TOKEN",
        "GH_SECRETS_TOKEN": "GH_SECRETS_TOKEN",
        "GH_SECRETS_APP_KEY": "GH_SECRETS_APP_KEY",
        "values": r"NEW_\w+",
    }
    return {kind for kind, pattern in named.items() if re.search(pattern, text)}


def test_the_table_of_permissions_has_each_environment_with_the_secrets_that_its_jobs_name() -> None:
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|", (ROOT / "docs/permissions.md").read_text(), re.MULTILINE)
    used: dict[str, str] = {}
    for path in WORKFLOWS:
        for job in read(path)["jobs"].values():
            environment = job.get("environment")
            if name := environment["name"] if isinstance(environment, dict) else environment:
                used[name] = used.get(name, "") + str(job)

    assert {name: kinds_of_secrets(cell) for name, cell in rows} == {
        name: kinds_of_secrets(text) for name, text in used.items()
    }


def test_the_token_that_reads_most_is_in_an_environment_that_nothing_else_uses() -> None:
    users = [
        path.stem for path in WORKFLOWS for job in read(path)["jobs"].values() if job.get("environment") == "evidence"
    ]

    assert users == ["evidence"]
