"""The gate's pass: it lets one job act, in one attempt of a workflow run.

GitHub keeps the outputs of the gate when somebody re-runs only a later job, so the job compares them with itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ops.core.errors import Reason, Refused
from ops.core.names import quote_name
from ops.gate.refusals import PRESS_AGAIN
from ops.github import actions

SYNC = "Run `ops workflows sync` and merge the workflow files that it writes."
NO_ENVIRONMENT = "none"
"""In place of a GitHub environment: the job has none."""


@dataclass(frozen=True, kw_only=True)
class GatePass:
    """The gate's pass and the purpose of this job, as the workflow states them.

    None: the workflow does not state it. A job must have all four.
    """

    attempt: str | None = None
    """Attempt of the gate."""
    runbook: str | None = None
    """Runbook, from the gate."""
    environment: str | None = None
    """Environment of `ops.yml`, from the gate."""
    github_environment: str | None = None
    """GitHub environment of the job itself."""


def refuse_without_pass(
    gate_pass: GatePass, environ: Mapping[str, str], *, environment: str, github_environment: str, runbook: str
) -> None:
    """Raise Refused if the pass is for another job than this one. Pure.

    `environment` and `runbook` are those of the job. `github_environment` is the one that the runbook needs.
    """
    if actions.is_job(environ) and None in vars(gate_pass).values():
        raise _no_pass("the workflow does not hand on the gate's pass", hint=SYNC)
    attempt = environ.get("GITHUB_RUN_ATTEMPT", "")
    if gate_pass.attempt is not None and gate_pass.attempt != attempt:
        given = f"the gate's pass is for attempt {gate_pass.attempt}" if gate_pass.attempt else "the gate gave no pass"
        raise _no_pass(f"{given}, and this is attempt {attempt}")
    if gate_pass.runbook is not None and gate_pass.runbook != runbook:
        raise _no_pass(f'the gate\'s pass is for "{quote_name(gate_pass.runbook)}", and this job runs {runbook}')
    if gate_pass.environment is not None and gate_pass.environment != environment:
        there = quote_name(gate_pass.environment)
        raise _no_pass(f'the gate\'s pass is for "{there}", and this job is for "{environment}"')
    needed = github_environment or NO_ENVIRONMENT
    if gate_pass.github_environment is not None and gate_pass.github_environment != needed:
        there = quote_name(gate_pass.github_environment)
        raise _no_pass(f'{runbook} needs the GitHub environment "{needed}", and this job is for "{there}"')


def _no_pass(message: str, *, hint: str = PRESS_AGAIN) -> Refused:
    return Refused(message, reason=Reason.RERUN, hint=hint)
