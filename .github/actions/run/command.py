"""Run one command of ops in a job, with options from the inputs of the action.

    OPS_COMMAND='limits plan' OPS_INPUTS='{"environment": "production"}' python3 -P -B command.py

Each input becomes one argument, `--name=value`, and no shell reads it. An input that the command lacks is ignored: the
workflow may be of another version. Only the standard library, this checkout and the packages of `setup` are imported,
never the workspace, and no package of the runner.
"""

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

PROGRAM = Path(__file__).resolve().parents[3]
SYSTEM_PACKAGES = ("/site-packages", "/dist-packages")
"""Ends of folders with packages of the runner, which no lock file names. PyJWT imports `cryptography` where it is."""


class Command(NamedTuple):
    """The inputs that a command takes."""

    always: tuple[str, ...] = ()
    """Passed on even if they are empty, so that the command refuses them."""
    optional: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    """Passed on as an option without a value if they are `true`."""
    positional: str = ""
    fixed: tuple[str, ...] = ()
    """Arguments without an input."""


APPROVED = ("approved-for", "attempt", "approved-runbook", "approved-environment", "requested-at", "permission")
FROM_GATE = {"runbook": "approved-runbook", "environment": "approved-environment", "actor": "requested-by"}
"""Output of the gate → input; the others have the same name."""
END = Command(("environment",), ("requested-by", "latest"), fixed=("--yes",))
MIGRATE = Command(
    optional=("wrangler", "database", "env", "account-id", "known-as", "checks", "message"), flags=("dry-run",)
)
COMMANDS: Mapping[str, Command] = {
    "gate": Command(),
    "recover": Command(
        ("runbook", "params", "environment", *APPROVED),
        (
            "requested-by",
            "began",
            "incident",
            "comment",
            "ends-by",
            "param",
            "requesters",
            "approval",
            "stop",
            "relapsed",
        ),
        ("dry-run",),
        fixed=("--yes",),
    ),
    "ai-failback": END,
    "limits reconcile": END,
    "maintenance due": END,
    "remove-banner": END,
    "limits plan": Command(("environment",)),
    "limits apply": Command(("environment",), fixed=("--yes",)),
    "watch": Command(("service", "environment"), ("incident",), ("closed", "stopped")),
    "guard": Command(("environment",), ("service", "config", "for", "commit", "version", "on-bad"), ("recent",)),
    "evidence": Command(("environment", "since", "json"), ("incident",)),
    "check-outage": Command(("environment",), ("incident",)),
    "incident report": Command(flags=("only-if-recorded",), positional="incident"),
    "incident actions": Command(positional="incident", fixed=("--create",)),
    "incident remind": Command(),
    "incident menu": Command(positional="incident"),
    "incident leak": Command(),
    "site fetch": Command(("service", "environment", "commit", "into"), ("configuration", "incident", "requested-by")),
    "site build": Command(("service", "environment", "commit", "branch", "tree", "into")),
    "database fetch": Command(("params", "environment", "into")),
    "config check": Command(),
    "hold migrate": MIGRATE,
    "database guard": MIGRATE,  # its former name, in workflows that use the action database-guard
    "status-page build": Command(positional="into"),
    "status-page compare": Command(positional="page"),
    "doctor": Command(optional=("environment", "github-environment"), flags=("collect", "issue")),
    "publish-update": Command(),
    "staging-drill run": Command(flags=("again",), fixed=("--yes",)),
    "staging-drill resume": Command(flags=("own",)),
    "staging-drill stop": Command(),
    "workflows sync": Command(fixed=("--check",)),
}
"""Command → its inputs. No other command runs."""


def read_pass(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs, and those that `pass` holds: the outputs of the gate as JSON."""
    outputs = json.loads(inputs.get("pass") or "{}")
    taken = {FROM_GATE.get(name, name.replace("_", "-")): value for name, value in outputs.items()}
    own = {key: value for key, value in inputs.items() if value not in (None, "")}
    return {"runbook": outputs.get("runbook"), **taken, **own}


def build_arguments(name: str, inputs: Mapping[str, Any]) -> list[str]:
    """Return the arguments of the program. Raises KeyError for a command that is not in the list."""
    command = COMMANDS[name]
    given = {key: str(value) for key, value in read_pass(inputs).items() if value not in (None, "")}
    options = [f"--{key}={given.get(key, '')}" for key in command.always]
    options += [f"--{key}={given[key]}" for key in command.optional if key in given]
    options += [f"--{key}" for key in command.flags if given.get(key) == "true"]
    last = ["--", given.get(command.positional, "")] if command.positional else []
    return [*name.split(), *command.fixed, *options, *last]


def main() -> NoReturn:
    name, inputs = os.environ.pop("OPS_COMMAND"), json.loads(os.environ.pop("OPS_INPUTS"))
    try:
        arguments = build_arguments(name, inputs)
    except KeyError:
        sys.exit(f"::error title=ops::The action has no command of this name: {json.dumps(name)}")
    if Path(os.environ["GITHUB_WORKSPACE"]).resolve() != PROGRAM:
        os.environ["OPS_PROGRAM"] = "ops"  # the repository has no `./run`
    sys.argv = ["ops", *arguments]
    sys.path[:] = [path for path in sys.path if not path.endswith(SYSTEM_PACKAGES)]

    from ops import __main__
    from ops.core.version import __version__

    note_other_version(str(inputs.get("generated-by") or ""), __version__)
    __main__.main()


def note_other_version(generated: str, version: str) -> None:
    """Show on the run's page that `ops workflows sync` is due, if another minor version wrote the workflow.

    It stops no recovery.
    """
    if not generated or generated.split(".")[:2] == version.split(".")[:2]:
        return
    text = f"These workflows were generated by {json.dumps(generated)[1:-1]}, and this is {version}. "
    text += f"Run `{os.environ.get('OPS_PROGRAM', './run ops')} workflows sync`, and merge the result."
    print(f"::notice title=ops workflows sync::{text.replace('##[', '## [').replace('%', '%25')}", flush=True)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with contextlib.suppress(OSError), Path(summary).open("a", encoding="utf-8") as file:
            file.write(f"> {text}\n\n")


if __name__ == "__main__":
    main()
