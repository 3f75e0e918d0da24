"""Open a pull request that raises rate limits for a limited time.

A person merges it, and the merge applies it (docs/how-to/propose-limits.md). The values come from ops.yml, never from
an issue.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ops.config.probes import ProbeSet
from ops.core.errors import ConfigError, Decision, Reason, Refused
from ops.core.names import LIMITS_FILE as FILE
from ops.core.next_step import SuggestedCommand
from ops.core.plan import Change, Plan, PlanSection, RunOutcome
from ops.core.suggestions import did_you_mean
from ops.engine.context import Context
from ops.engine.runbook import ChangeState, ObservedState, Runbook, TokenPermissions, param

if TYPE_CHECKING:
    from ops.config import Environment
    from ops.config.runtime import LimitRaise
    from ops.limits.file import Limits, Temporary

BRANCH_PREFIX = "ops/raise-limits-"
BRANCH, COMMIT, PULL = "a branch", FILE, "a pull request"
MAX_PATCH_LENGTH = 600
"""Most characters of the patch in a timeline row."""
REVIEW_TEXT = (
    "Please check that the numbers fit the incident, that `until` is soon, and that only `temporary` changed. GitHub "
    "starts no checks on a pull request that a workflow opened: close and reopen it to start them. After a person "
    "merges it, the workflow *limits* applies it and comments here; a merge by a workflow with GITHUB_TOKEN starts "
    "nothing. At `until` the previous limits apply again automatically."
)


class ProposeLimits(Runbook["ProposeLimits.Params", "ProposeLimits.Details"]):
    """Open a pull request that raises rate limits for a limited time."""

    @dataclass(frozen=True)
    class Params:
        only: tuple[str, ...] = param("Limits to raise, comma-separated (default: all in `raises`)", default=())
        reason: str = param("Reason, written to limits.yml and the timeline", default="")

    @dataclass(frozen=True)
    class Details:
        branch: str = ""
        base: str = ""
        """Commit that the branch starts at."""
        base_blob: str = ""
        """Blob of limits.yml at `base`."""
        text: str = ""
        body: str = ""
        ending: RunOutcome | None = None
        patch: tuple[str, ...] = ()
        not_permitted: list[bool] = field(default_factory=list)
        """Set after the write if GitHub does not let the token open pull requests."""
        opened: list[RunOutcome] = field(default_factory=list)
        """Set after the pull request was read back, so that it is not read again."""

    name = "propose-limits"
    section = "Limits and switches"
    when = "Users get HTTP 429: a rate limit is temporarily too low"
    menu_rank = 3
    kind = "runtime"
    github_environment = ""
    params = Params
    example = Params(only=("calc",))
    writes = (
        ("POST", "/repos/*/*/git/refs"),
        ("PUT", "/repos/*/*/contents/*"),
        ("POST", "/repos/*/*/pulls"),
    )
    permissions = TokenPermissions(github=("contents: write", "pull-requests: write"))

    def fits(self, environment: "Environment", service: str) -> list[dict[str, Any]]:  # noqa: ARG002
        limits = environment.runtime and environment.runtime.limits
        return [{}] if limits and limits.raises else []

    def service(self, params: Params, environment: "Environment") -> str:  # noqa: ARG002
        """Return the service that reads the limits."""
        return environment.require_runtime().service

    def probes(self, ctx: Context[Params], plan: Plan[Details] | None) -> ProbeSet:  # noqa: ARG002  it verifies nothing
        """Probe the service for the record only; no probe sees a rate-limited user."""
        service = ctx.environment.service(ctx.environment.require_runtime().service)
        return ProbeSet(service.url, service.probes, service.verify)

    def preflight(self, ctx: Context[Params]) -> Plan[Details]:
        raises_by_name = _requested_raises(ctx)
        if (
            ctx.request.incident
            and (existing := ctx.github.pulls.own_open_pull(BRANCH_PREFIX, _incident_marker(ctx.request.incident)))
            is not None
        ):
            message = f"pull request {existing.number} for incident {ctx.request.incident} is open: review and merge it"
            ending = RunOutcome(Decision.PLANNED, Reason.HANDED_ON, message, SuggestedCommand(existing.url))
            return Plan(summary=message, details=ProposeLimits.Details(ending=ending))
        base = ctx.github.pulls.branch_head(ctx.github.pulls.default_branch)
        file = ctx.github.pulls.file(FILE, base) if base else None
        if base is None or file is None:
            raise Refused(
                f"the default branch has no {FILE}",
                reason=Reason.UNKNOWN_NAME,
                hint="Commit one: docs/how-to/propose-limits.md describes it.",
            )
        return _build_plan(ctx, raises_by_name, base, file.text, file.sha)

    def decide_outcome(self, ctx: Context[Params], plan: Plan[Details]) -> RunOutcome | None:
        details = plan.details
        if details.ending is not None:
            return details.ending
        if details.not_permitted:
            message = f"{details.branch} is ready, but GitHub Actions may not open pull requests: open and merge one"
            return RunOutcome(
                Decision.PLANNED,
                Reason.HANDED_ON,
                message,
                SuggestedCommand(ctx.github.pulls.compare_url(details.branch)),
            )
        if not details.opened and self.check(ctx, plan, plan.changes[-1]).state != ChangeState.DONE:
            message = f"the pull request of {details.branch} is already closed"
            return RunOutcome(Decision.PLANNED, Reason.HANDED_ON, message)
        return details.opened[-1]

    def check(self, ctx: Context[Params], plan: Plan[Details], change: Change) -> ObservedState:
        details = plan.details
        if change.target == BRANCH:
            head = ctx.github.pulls.branch_head(details.branch)
            state = (
                ChangeState.PLANNED
                if head is None
                else ChangeState.DONE
                if head == details.base
                else ChangeState.CHANGED_ELSEWHERE
            )
            return ObservedState(state, f"{details.branch} is {'missing' if head is None else f'at {head[:12]}'}")
        if change.target == COMMIT:
            file = ctx.github.pulls.file(FILE, details.branch)
            if file is not None and file.text == details.text:
                return ObservedState(ChangeState.DONE, f"{FILE} on {details.branch} is as planned")
            is_former = file is not None and file.sha == details.base_blob
            return ObservedState(
                ChangeState.PLANNED if is_former else ChangeState.CHANGED_ELSEWHERE,
                f"{FILE} on {details.branch} differs from the plan",
            )
        opened = ctx.github.pulls.open_pull_of(details.branch)
        if opened is not None:
            message = f"pull request {opened.number} is open: review and merge it to apply the limits"
            details.opened.append(RunOutcome(Decision.PLANNED, Reason.HANDED_ON, message, SuggestedCommand(opened.url)))
            return ObservedState(ChangeState.DONE, f"pull request {opened.number} is open: {opened.url}")
        return ObservedState(
            ChangeState.DONE if details.not_permitted else ChangeState.PLANNED, "no pull request is open"
        )

    def apply(self, ctx: Context[Params], plan: Plan[Details], change: Change) -> str:
        details = plan.details
        if change.target == BRANCH:
            ctx.github.pulls.create_branch(details.branch, details.base)
            return f"created {details.branch}"
        if change.target == COMMIT:
            ctx.github.pulls.commit(
                details.branch, FILE, details.text, replaces=details.base_blob, message=plan.summary
            )
            return f"committed {FILE} to {details.branch}"
        if ctx.github.pulls.create_pull(details.branch, title=plan.summary, body=details.body):
            return "opened the pull request"
        details.not_permitted.append(True)
        lines = " ".join(line for line in details.patch if line[:1] in "+-")
        return f"GitHub Actions may not open pull requests here; patch: {lines[:MAX_PATCH_LENGTH]}"


def _incident_marker(incident: int) -> str:
    return f"<!-- backout limits incident={incident} -->"


def _requested_raises(ctx: Context[ProposeLimits.Params]) -> "Mapping[str, LimitRaise]":
    """Return the planned values for the requested limits from ops.yml. Raises ConfigError."""
    limits = ctx.environment.require_runtime().limits
    raises = limits.raises if limits else {}
    if not raises:
        raise ConfigError(
            f"{ctx.environment.name} has no `runtime.limits.raises` in ops.yml",
            hint="Set there the temporary value and duration of each limit.",
        )
    for name in ctx.params.only:
        if name not in raises:
            raise ConfigError(
                f'no limit "{name}" in `raises` of ops.yml{did_you_mean(name, raises)}', reason=Reason.UNKNOWN_NAME
            )
    return {name: raises[name] for name in ctx.params.only or raises}


def _build_plan(
    ctx: Context[ProposeLimits.Params], raises_by_name: "Mapping[str, LimitRaise]", base: str, text: str, blob: str
) -> Plan[ProposeLimits.Details]:
    from ops.limits.diff import compare_limits, render_table
    from ops.limits.edit import build_patch, set_temporary_limits
    from ops.limits.file import parse_limits

    runtime, now = ctx.environment.require_runtime(), ctx.clock.now()
    names = runtime.limits.names if runtime.limits else ()
    before, _ = parse_limits(text, path=FILE, names=names, now=now)
    edited = set_temporary_limits(text, _temporary_limits(ctx, raises_by_name, before))
    after, warnings = parse_limits(edited, path=FILE, names=names, now=now, base=before)
    table = compare_limits(
        before, after, ctx.web.fetch_runtime_state(ctx.environment.service(runtime.service).url), now
    )
    branch = f"{BRANCH_PREFIX}{ctx.run_id}"
    raised = ", ".join(f"{name} to {each.limit}" for name, each in raises_by_name.items())
    incident = ctx.request.incident
    body = f"{render_table(table)}\n\n{'' if incident is None else f'For incident #{incident}. '}{REVIEW_TEXT}"
    return Plan(
        summary=f"Raise {raised} temporarily",
        changes=(
            Change(BRANCH, "none", branch, f"{branch} is at {base[:12]}", None),
            Change(COMMIT, "current limits", f"{raised} temporarily", f"{FILE} there has them", None),
            Change(PULL, "none", f"from {branch}", "the pull request is open", None),
        ),
        sections=(
            PlanSection("Limits", tuple(f"{row.name}: {row.change}" for row in table.changed)),
            PlanSection("Patch", build_patch(text, edited)),
        ),
        consequences=("the limits stay unchanged until a person merges it",),
        warnings=warnings,
        done_message=f"Proposed {raised}",
        proved_claim=f"proposed {raised}: limits are unchanged until a person merges it",
        proves_health=False,
        tasks=("Review and merge the pull request, then check that users no longer get HTTP 429",),
        details=ProposeLimits.Details(
            branch=branch,
            base=base,
            base_blob=blob,
            text=edited,
            body=f"{body}\n{_incident_marker(ctx.request.incident) if ctx.request.incident else ''}\n",
            patch=build_patch(text, edited),
        ),
    )


def _temporary_limits(
    ctx: Context[ProposeLimits.Params], raises_by_name: "Mapping[str, LimitRaise]", before: "Limits"
) -> "dict[str, Temporary]":
    from ops.limits.file import Temporary

    missing = [name for name in raises_by_name if name not in before]
    if missing:
        raise Refused(
            f"{FILE} has no limit {', '.join(missing)}",
            reason=Reason.UNKNOWN_NAME,
            hint="Add it with the value that the code declares, or choose other limits with `--only`.",
        )
    now = ctx.clock.now().replace(microsecond=0)
    message = " ".join("".join(c if c.isprintable() else " " for c in ctx.params.reason).split())[:150]
    why = message or ("raised during an incident" if ctx.request.incident else "raised by hand")
    return {
        name: Temporary(
            limit=each.limit, until=now + timedelta(seconds=each.lasts), reason=why, incident=ctx.request.incident
        )
        for name, each in raises_by_name.items()
    }
