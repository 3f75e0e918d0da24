"""Compare `ops targets` with the dry run of the rollback of the same service."""

from collections.abc import Callable
from typing import Any

from tests.conftest import Outcome

RunOps = Callable[..., Outcome]
"""Runs a command with the configuration of a world."""


def targets_of(run: RunOps, *arguments: str, **environ: Any) -> dict[str, dict[str, Any]]:
    """Return "SERVICE in ENVIRONMENT" → its row in the JSON of `ops targets`."""
    outcome = run("targets", "--json", *arguments, **environ)
    return {f"{row['service']} in {row['environment']}": row for row in outcome.result["services"]}


def assert_same_as_plan(run: RunOps, row: dict[str, Any]) -> None:
    """Check that the row says what `rollback-worker` or `rollback-pages` would plan now."""
    where = ("--service", row["service"], "--environment", row["environment"])
    result = run(f"rollback-{row['kind']}", *where, "--dry-run", "--json").result
    plan = result["plan"]
    if row["state"] == "blocked":
        assert result["decision"] == "refused", result["message"]
        assert (result["reason"], result["hint"]) == (row["reason"], row["hint"])
        assert row["why"] in result["message"]
        assert result["press"] == row["command"]
        return
    targets = [each["after"] for each in plan["changes"]]
    assert (plan["summary"], plan["reason"]) == (row["why"], row["reason"])
    assert targets == ([row["target"]] if row["target"] else [])
    assert row["state"] == ("ready" if targets else "nothing_to_do")
    assert plan["warnings"] == row["warnings"]
