"""What a drill adds to the result of the run: where it ran, what was wanted of it, and whether that was reached."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ops.core.errors import EXIT_CODES, Decision

if TYPE_CHECKING:
    from ops.config import RecoveryTarget


def add_score(
    result: Mapping[str, Any], target: "RecoveryTarget | None", *, runbook: str, edge: str, with_incident: bool
) -> dict[str, Any]:
    """`target` is None if `ops.yml` names none: a recovery is then neither in time nor late.

    With an incident a report is wanted too.
    """
    durations = result["durations"]
    targets = {
        name: {"seconds": seconds, "within": _is_within(durations, name, seconds)}
        for name, seconds in _wanted(target).items()
    }
    reported = not with_incident or result.get("report") is not None
    recovered = result["decision"] == Decision.RECOVERED
    reached = recovered and reported and all(each["within"] for each in targets.values())
    late = EXIT_CODES[Decision.STILL_UNHEALTHY]
    return {
        **result,
        "drill": runbook,
        "edge": edge,
        "targets": targets,
        "within_target": reached if targets or not reached else None,
        "exit_code": 0 if reached else int(result["exit_code"]) or late,
    }


def _wanted(target: "RecoveryTarget | None") -> dict[str, float]:
    """By the names of the durations."""
    if target is None:
        return {}
    write = {} if target.write is None else {"trigger_to_write": target.write}
    return {**write, "trigger_to_verified": target.recovery}


def _is_within(durations: Mapping[str, float | None], name: str, seconds: float) -> bool:
    """Where GitHub lost the journal, the end of the job is known, which is later. Nothing known is not within."""
    took = durations[name] if durations[name] is not None else durations.get("total")
    return took is not None and took <= seconds
