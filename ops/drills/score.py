"""Add to the result of a run what its drill found: the score, or that it is not recovered."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ops.core.errors import EXIT_CODES, Decision, Reason
from ops.core.verdict import ProbeObservation, Verdict
from ops.drills.command import NO_RESULT
from ops.drills.support import Edge

if TYPE_CHECKING:
    from ops.config.sections import RecoveryTarget


def add_score(
    result: Mapping[str, Any],
    target: "RecoveryTarget | None",
    *,
    runbook: str,
    edge: str,
    with_incident: bool,
    expected: Decision = Decision.RECOVERED,
) -> dict[str, Any]:
    """Return the result with targets and exit code.

    `target` is None if `ops.yml` has none for the runbook: a recovery then has no limit. With an incident, a report is
    required too. `expected`: the decision of a drill that succeeds.
    """
    durations = result["durations"]
    reported = not with_incident or result.get("report") is not None
    recovered = result["decision"] == expected
    targets = dict[str, dict[str, float | bool]]()
    for name, seconds in _target_seconds(target).items():
        taken = time_taken(durations, name) if recovered else durations[name]
        targets[name] = {"seconds": seconds, "within": taken is not None and taken <= seconds}
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


def _target_seconds(target: "RecoveryTarget | None") -> dict[str, float]:
    """Return duration → target in seconds."""
    if target is None:
        return {}
    write = {} if target.write is None else {"trigger_to_write": target.write}
    return {**write, "trigger_to_verified": target.recovery}


def time_taken(durations: Mapping[str, float | None], name: str) -> float | None:
    """Return the seconds that count against a target; None if unknown.

    If GitHub lost the record, the end of the job counts, which is later.
    """
    return durations[name] if durations[name] is not None else durations.get("total")


def describe_unanswered(observed: ProbeObservation, edge: Edge) -> dict[str, Any]:
    failed = tuple(result for result in observed.results if result.verdict == Verdict.UNHEALTHY)
    message = (
        f"the drill's own release does not pass the probes of ops.yml ({replace(observed, results=failed).detail}); "
        "this says nothing about your real application"
    )
    hint = "Remove --edge workerd." if edge == "workerd" else "Drill with a copy of ops.yml without these probes."
    return {**_no_evidence(message), "hint": hint}


def describe_unbroken(observed: ProbeObservation) -> dict[str, Any]:
    message = f"the bad release is {observed.verdict.value}, so there was nothing to recover from"
    return {**_no_evidence(message), "hint": observed.hint}


def _no_evidence(message: str) -> dict[str, Any]:
    return {
        **NO_RESULT,
        "schema": 1,
        "decision": Decision.NO_EVIDENCE.value,
        "reason": Reason.NO_EVIDENCE.value,
        "exit_code": EXIT_CODES[Decision.NO_EVIDENCE],
        "message": message,
    }


def mark_drill_unhealthy(result: Mapping[str, Any], message: str) -> dict[str, Any]:
    """Return the result with the decision `still_unhealthy`."""
    decision = Decision.STILL_UNHEALTHY
    fields = {"decision": decision.value, "reason": Reason.STILL_UNHEALTHY.value, "exit_code": EXIT_CODES[decision]}
    return {**result, **fields, "message": message}
