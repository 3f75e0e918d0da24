"""What the expressions of a workflow may ask about a run before it starts."""

from collections.abc import Mapping
from typing import Any

from ops.sandbox.github.actions import Run
from ops.sandbox.github.repository import Delivery
from ops.sandbox.runner.expressions import Unsupported


def contexts(run: Run, workflow: Mapping[str, Any], repository: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """github, inputs and vars."""
    github = {
        "event": run.payload,
        "event_name": run.event,
        "ref": run.payload.get("ref", f"refs/heads/{run.head_branch}"),
        "ref_name": run.head_branch,
        "repository": repository,
        "actor": run.actor.login,
        "triggering_actor": run.triggering_actor.login,
        "run_id": str(run.id),
        "run_attempt": str(run.run_attempt),
        "workflow": run.name,
    }
    return {"github": github, "inputs": _inputs(run, workflow["on"]), "vars": variables}


def _inputs(run: Run, on: Any) -> dict[str, Any]:
    """Booleans as booleans, where the payload has texts."""
    given = run.payload.get("inputs") or {}
    declared = (on["workflow_dispatch"].get("inputs") or {}) if given else {}
    booleans = {name for name, rules in declared.items() if rules.get("type") == "boolean"}
    return {name: value == "true" if name in booleans else value for name, value in given.items()}


def branch(delivery: Delivery) -> str | None:
    """Whose file runs, None for the default branch. Raises Unsupported."""
    event, payload = delivery
    if event == "pull_request":
        return str(payload["pull_request"]["head"]["ref"])
    if event in {"push", "workflow_dispatch"}:
        if not str(payload["ref"]).startswith("refs/heads/"):
            raise Unsupported(f"this runner knows branches, and {payload['ref']} is none")
        return str(payload["ref"]).removeprefix("refs/heads/")
    return None
