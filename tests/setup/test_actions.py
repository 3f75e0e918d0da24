"""Actions `setup`, `gate` and `run`: closed commands, no shell, inputs and outputs that older workflows use."""

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest

from ops.app.registry import discover_runbooks, runbook_names, scheduled_files
from ops.cli import cli
from ops.core.version import __version__
from ops.github.actions import GATE_OUTPUTS, RUN_OUTPUTS
from ops.tools import own_program
from sandbox.actions.expressions import render_text
from tests.conftest import REFERENCE, ROOT
from tests.support import plain_yaml
from tests.support.configurations import CONFIGURATIONS
from tests.support.workflows import generated

ACTIONS = ROOT / ".github/actions"
PROGRAM = ACTIONS / "run/command.py"
DEFINED = runpy.run_path(str(PROGRAM))
COMMANDS = DEFINED["COMMANDS"]
FROZEN = Path(__file__).with_name("workflow_steps.json")
OURS = re.compile(r"^(?:\./|[\w.-]+/[\w.-]+/)\.github/actions/(setup|gate|run)(?:@[0-9a-f]{40})?$")
SAMPLES = {
    "pass": '{"runbook": "rollback-worker", "attempt": "1", "requested_at": "2026-11-24T03:00Z", "dry_run": "true"}',
    "params": '{"service": "api"}',
    "attempt": "1",
    "incident": "42",
    "comment": "7",
    "requested-at": "2026-11-24T03:12:00Z",
    "began": "2026-11-24T03:12:00Z",
    "ends-by": "2026-11-24T03:12:00Z",
    "latest": "2026-11-24T03:12:00Z",
    "dry-run": "true",
    "only-if-recorded": "true",
    "param": "commit=abc",
}


@cache
def read_action(name: str) -> dict[str, Any]:
    data: dict[str, Any] = plain_yaml.load((ACTIONS / name / "action.yml").read_text())
    return data


def steps(folder: Path) -> dict[str, dict[str, Any]]:
    """Return workflow, job and step → action, inputs and outputs of each step that uses one of our actions."""
    found = {}
    for path in sorted((folder / ".github/workflows").glob("*.yml")):
        text = path.read_text()
        for key, job in plain_yaml.load(text)["jobs"].items():
            for step in job.get("steps", ()):
                if match := OURS.match(step.get("uses", "")):
                    used = set(re.findall(rf"steps\.{step.get('id', '-')}\.outputs\.(\w+)", str(job)))
                    name = f"{path.stem} {key} {step.get('name', step['uses'])}"
                    given = {key: value for key, value in step.get("with", {}).items() if key != "generated-by"}
                    found[name] = {"action": match[1], "with": given, "outputs": sorted(used)}
    return found


def arguments(inputs: dict[str, str]) -> list[str]:
    built: list[str] = DEFINED["build_arguments"](inputs["command"], inputs)
    return built


FAKE = """
import importlib.util, json, sys

def main():
    print("pytest is", "there" if importlib.util.find_spec("pytest") else "missing")
    print(json.dumps(sys.argv))
    sys.exit(0)
"""


def run_program(tmp_path: Path, command: str, inputs: dict[str, str], *, version: str = "") -> tuple[str, list[str]]:
    """Run the program with a module `ops` that prints its arguments. Return the output and the arguments."""
    module = tmp_path / "fake/ops"
    (module / "core").mkdir(parents=True, exist_ok=True)
    (module / "core/version.py").write_text(f"__version__ = {version or __version__!r}\n")
    (module / "__main__.py").write_text(FAKE)
    environ = {
        "PYTHONPATH": str(tmp_path / "fake"),
        "GITHUB_WORKSPACE": str(tmp_path),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        "OPS_COMMAND": command,
        "OPS_INPUTS": json.dumps(inputs),
    }
    done = subprocess.run(
        [sys.executable, "-P", "-B", PROGRAM], env=environ, capture_output=True, text=True, check=False
    )
    out = done.stdout + done.stderr
    return out, json.loads(done.stdout.splitlines()[-1])[1:] if done.returncode == 0 else []


def test_action_declares_every_output_of_its_command() -> None:
    assert list(read_action("gate")["outputs"]) == list(GATE_OUTPUTS)
    assert list(read_action("run")["outputs"]) == [
        *RUN_OUTPUTS,
        "deployment",
        "ended_at",
        "commit",
        "branch",
        "configuration",
        "source",
        "published",
        "over",
        "page",
        "results",
    ]
    for name in ("hold-migrate", "database-guard"):
        assert list(read_action(name)["outputs"]) == ["bookmark", "applied", "message"]
    assert list(read_action("hold-check")["outputs"]) == ["decision"]
    for name in ("setup", "gate", "run", "hold-migrate", "database-guard", "hold-check"):
        (step,) = read_action(name)["runs"]["steps"]
        for output, each in read_action(name)["outputs"].items():
            assert each["value"] == f"${{{{ steps.{step['id']}.outputs.{output} }}}}"


def test_run_declares_every_input_of_its_commands() -> None:
    used = {
        name: {*each.always, *each.optional, *each.flags, each.positional} - {""} for name, each in COMMANDS.items()
    }

    assert set(read_action("database-guard")["inputs"]) == used.pop("database guard")
    assert set(read_action("hold-migrate")["inputs"]) == used.pop("hold migrate")
    assert set(read_action("guard")["inputs"]) == used.pop("guard") - {"recent"}
    own = {"command", "generated-by", "pass", "recent"}
    assert set(read_action("run")["inputs"]) == set().union(*used.values()) | own
    assert [name for name, each in read_action("run")["inputs"].items() if each.get("required")] == ["command"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["setup", "gate", "run", "hold-migrate", "database-guard", "guard", "hold-check"])
def test_action_passes_inputs_as_variables_only(name: str) -> None:
    """GitHub inserts an expression into the text of a script before a shell reads it."""
    (step,) = read_action(name)["runs"]["steps"]

    assert "${{" not in step["run"]
    assert "secrets" not in str(step)


@pytest.mark.parametrize("name", sorted(path.parent.name for path in ACTIONS.glob("*/action.yml")))
def test_action_runs_from_another_repository(name: str) -> None:
    """There `uses: OWNER/NAME/.github/actions/ACTION@SHA` brings this repository, and the workspace has none of it."""
    (step,) = read_action(name)["runs"]["steps"]
    program = {*own_program.read_program()}

    assert "uses" not in step
    assert "$GITHUB_ACTION_PATH" in step["run"].replace("{", "")
    assert not re.findall(r"(?<![\w}$/.])\.{1,2}/", step["run"])
    named = re.findall(r"\$(?:program|\{GITHUB_ACTION_PATH%/\.github/actions/\*\})/([\w./-]+\.\w+)", step["run"])
    own = re.findall(r"\$GITHUB_ACTION_PATH/([\w./-]+\.\w+)", step["run"])
    assert {*named, *(f".github/actions/{name}/{each}" for each in own)} <= program


@pytest.mark.slow
@pytest.mark.parametrize("path", [REFERENCE / "ops.yml", *CONFIGURATIONS], ids=lambda path: path.parent.name)
def test_workflow_steps_fit_the_actions(path: Path) -> None:
    text = "".join(each.read_text() for each in (generated(path) / ".github/workflows").glob("*.yml"))
    version = set(re.findall(r"generated-by: (\S+)", text))

    assert version == {__version__}
    check(steps(generated(path)))


@pytest.mark.slow
@pytest.mark.parametrize("path", [REFERENCE / "ops.yml", *CONFIGURATIONS], ids=lambda path: path.parent.name)
def test_steps_give_what_their_command_needs(path: Path) -> None:
    """An input that is empty anyway is refused by the command, and its job fails."""
    from_gate = {"runbook", *(DEFINED["FROM_GATE"].get(name, name.replace("_", "-")) for name in GATE_OUTPUTS)}

    for name, step in steps(generated(path)).items():
        given = {*step["with"], *(from_gate if "pass" in step["with"] else ())}
        needed = COMMANDS[step["with"]["command"]].always if step["action"] == "run" else ()
        assert {*needed} <= given, name


@pytest.mark.slow
def test_steps_of_older_workflows_fit_the_actions() -> None:
    """The steps that 0.1 generated for the reference application. A newer version keeps this file."""
    frozen = json.loads(FROZEN.read_text())

    assert {each["action"] for each in frozen.values()} == {"setup", "gate", "run"}
    check(frozen)


def check(found: dict[str, dict[str, Any]]) -> None:
    """Fail if an action lacks an input or output, or if the program refuses the arguments of a step."""
    for name, step in found.items():
        action = read_action(step["action"])
        assert set(step["with"]) <= set(action["inputs"]), name
        assert set(step["outputs"]) <= set(action["outputs"]), name
        if step["action"] == "run":
            inputs = {key: SAMPLES.get(key, str(value)) for key, value in step["with"].items()}
            built = arguments(inputs)
            command, words = (
                cli.get_command(click.Context(cli), inputs["command"]),
                built[len(inputs["command"].split()) :],
            )
            group = cli.get_command(click.Context(cli), built[0])
            if command is None:
                assert isinstance(group, click.Group)
                command = group.get_command(click.Context(group), built[1])
            assert command is not None, name
            command.make_context(inputs["command"], words)


@pytest.mark.slow
def test_no_command_but_the_listed_ones_runs(tmp_path: Path) -> None:
    out, _ = run_program(tmp_path, "labels sync", {})

    assert "::error title=ops::The action has no command of this name" in out
    assert "drill" not in COMMANDS
    assert not {*runbook_names(), "incident open", "workflows environments"} & COMMANDS.keys()
    due = {name for name in scheduled_files() if discover_runbooks().get(name) is None}
    assert {"ai-failback", "limits reconcile", "maintenance due"} <= due & COMMANDS.keys()


@pytest.mark.slow
def test_input_becomes_one_argument(tmp_path: Path) -> None:
    hostile = "--yes $(touch pwned) `id` ; 'a' \"b\"\n::error::x"
    out, words = run_program(tmp_path, "evidence", {"environment": hostile, "since": "", "json": "f", "other": "new"})

    assert words == ["evidence", f"--environment={hostile}", "--since=", "--json=f"], out
    assert not (tmp_path / "pwned").exists()
    assert (
        shlex.join(run_program(tmp_path, "incident report", {"incident": "--help"})[1]) == "incident report -- --help"
    )


ACTION_ENVIRON = {
    "gate": {"OPS_COMMAND": "gate"},
    "run": {"OPS_COMMAND": "config check"},
    "hold-migrate": {"OPS_COMMAND": "hold migrate"},
    "database-guard": {"OPS_COMMAND": "database guard"},
    "tell": {"NEEDS": "1"},
    "hold-check": {"WORKER": "api"},
}
"""Action → variables with which its program ends early with an error."""


@pytest.mark.slow
@pytest.mark.parametrize("name", ACTION_ENVIRON)
def test_files_of_the_workspace_are_not_imported(tmp_path: Path, name: str) -> None:
    """In the small form the workspace is the operations repository, and holds no code that jobs run."""
    workspace, packages = tmp_path / "workspace", tmp_path / "temp/ops-packages"
    (workspace / "ops").mkdir(parents=True)
    packages.parent.mkdir()
    packages.symlink_to(sysconfig.get_path("purelib"))
    hostile = "import pathlib; pathlib.Path('pwned').touch()\n"
    for module in ("ops/__init__", "ops/__main__", "json", "click", "sitecustomize", "usercustomize", "pydantic"):
        (workspace / f"{module}.py").write_text(hostile)
    (workspace / "ops.yml").write_text("environments: 1\n")
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(workspace),
        "GITHUB_ACTION_PATH": str(ACTIONS / name),
        "GITHUB_WORKSPACE": str(workspace),
        "RUNNER_TEMP": str(tmp_path / "temp"),
        "OPS_INPUTS": "{}",
        **ACTION_ENVIRON[name],
    }
    (step,) = read_action(name)["runs"]["steps"]
    done = subprocess.run(
        ["bash", "-e", "-c", step["run"]], env=environ, cwd=workspace, capture_output=True, text=True, check=False
    )

    expected = (1, "TypeError: ") if name == "tell" else (2, "error: ")
    assert (done.returncode, expected[1] in done.stderr) == (expected[0], True), done.stderr
    assert not (workspace / "pwned").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "missing", ["approved-for", "approved-runbook", "approved-environment", "attempt", "permission"]
)
def test_approval_without_a_value_is_refused(missing: str) -> None:
    inputs = {name: SAMPLES.get(name, "x") for name in COMMANDS["recover"].always}

    assert f"--{missing}=" in arguments({"command": "recover", **inputs, missing: ""})


def test_outputs_of_the_gate_become_the_same_options_as_single_inputs() -> None:
    outputs = {name: f"{name} 1" for name in GATE_OUTPUTS} | {"dry_run": "true"}
    old = json.loads(FROZEN.read_text())["maintenance security-production Recover"]["with"]
    single = {key: render_text(value, {"needs": {"gate": {"outputs": outputs}}}) for key, value in old.items()}
    whole = {key: single[key] for key in ("command", "environment", "approved-for")}

    options = arguments({**whole, "pass": json.dumps(outputs), "runbook": ""})

    assert {*arguments(single)} <= {*options} | {"--runbook=maintenance"}
    assert {"--runbook=runbook 1", "--approved-runbook=runbook 1", f"--environment={single['environment']}"} <= {
        *options
    }
    assert {"--requesters=requesters 1", "--ends-by=ends_by 1", "--dry-run"} <= {*options}


@pytest.mark.slow
def test_packages_of_the_runner_are_not_imported(tmp_path: Path) -> None:
    """This Python has pytest. No lock file of a job names it."""
    out, _ = run_program(tmp_path, "config check", {})

    assert "pytest is missing" in out


@pytest.mark.slow
def test_notice_that_cannot_be_written_stops_no_recovery(tmp_path: Path) -> None:
    (tmp_path / "summary").mkdir()

    _, words = run_program(tmp_path, "config check", {"generated-by": "0.1.0"}, version="0.2.0")

    assert words == ["config", "check"]


@pytest.mark.slow
@pytest.mark.parametrize(("version", "is_due"), [("0.1.9", False), ("0.1.0", False), ("0.2.0", True), ("1.1.0", True)])
def test_notice_names_the_version_that_generated_the_workflow(version: str, is_due: bool, tmp_path: Path) -> None:
    out, words = run_program(tmp_path, "config check", {"generated-by": "0.1.0"}, version=version)

    assert words == ["config", "check"]
    assert ("generated by 0.1.0" in out, (tmp_path / "summary").exists()) == (is_due, is_due)
    if is_due:
        assert re.match(rf"::notice title=ops workflows sync::.* 0\.1\.0\b.* {re.escape(version)}\b", out)
        assert "`ops workflows sync`" in (tmp_path / "summary").read_text()
