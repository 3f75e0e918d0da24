"""What a delivery is to workflows, and what the expressions of a workflow may ask about a run before it starts."""

import re
from collections.abc import Mapping
from typing import Any

from sandbox.actions.expressions import Unsupported
from sandbox.github import GitHub
from sandbox.github.actions.state import Run
from sandbox.github.repository import Delivery


def contexts(run: Run, workflow: Mapping[str, Any], repository: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """github, inputs and vars."""
    ends = run.payload["pull_request"] if run.pull else {}
    full = ref(run)
    github = {
        "event": run.payload,
        "event_name": run.event,
        "ref": full,
        "ref_name": re.sub("^refs/(heads|pull)/", "", full),
        "head_ref": ends["head"]["ref"] if ends else "",
        "base_ref": ends["base"]["ref"] if ends else "",
        "sha": run.commit.sha,
        "repository": repository,
        "actor": run.actor.login,
        "triggering_actor": run.triggering_actor.login,
        "run_id": str(run.id),
        "run_attempt": str(run.run_attempt),
        "workflow": run.name,
    }
    return {"github": github, "inputs": _inputs(run, workflow["on"]), "vars": variables}


def ref(run: Run) -> str:
    """GITHUB_REF."""
    return f"refs/pull/{run.pull.number}/merge" if run.pull else f"refs/heads/{run.head_branch}"


def _inputs(run: Run, on: Any) -> dict[str, Any]:
    """Booleans as booleans, where the payload has texts."""
    given = run.payload.get("inputs") or {}
    declared = (on["workflow_dispatch"].get("inputs") or {}) if given else {}
    booleans = {name for name, rules in declared.items() if rules.get("type") == "boolean"}
    return {name: value == "true" if name in booleans else value for name, value in given.items()}


def source(delivery: Delivery) -> str | None:
    """The branch whose file runs, or the merge of a pull request; None for the default branch. Raises Unsupported.

    docs.github.com/actions/reference/workflows-and-actions/events-that-trigger-workflows#pull_request
    """
    event, payload = delivery
    if event == "pull_request":
        return f"refs/pull/{payload['number']}/merge"
    if event in {"push", "workflow_dispatch"}:
        if not str(payload["ref"]).startswith("refs/heads/"):
            raise Unsupported(f"this runner knows branches, and {payload['ref']} is none")
        return str(payload["ref"]).removeprefix("refs/heads/")
    return None


def changed(github: GitHub, delivery: Delivery) -> list[str]:
    """The paths: from end to end of a push to a branch that was there, and all that its commits changed of a new one.

    docs.github.com/actions/reference/workflows-and-actions/workflow-syntax#git-diff-comparisons
    """
    event, payload = delivery
    if event != "push":
        return github.changed_files(payload["number"])
    if not payload["created"]:
        return github.changed_between(payload["before"], payload["after"])
    kinds = ("added", "removed", "modified")
    return [path for commit in payload["commits"] for kind in kinds for path in commit[kind]]
