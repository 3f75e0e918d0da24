"""Open a pull request that raises rate limits for a limited time.

A person merges it, and the merge applies it (docs/how-to/propose-limits.md). The values come from ops.yml, never from
an issue.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ops.config.probes import ProbeSet
from ops.core.errors import ConfigError, Decision, Reason, Refused
from ops.core.names import LIMITS_FILE as FILE
from ops.core.next_step import SuggestedCommand
from ops.core.plan import Change, Plan, PlanSection, RunOutcome
from ops.core.suggestions import did_you_mean
from ops.engine.context import Context
from ops.engine.runbook import Runbook, TokenPermissions, param
from ops.engine.step import ChangeState, ObservedState
from ops.limits.raises import (
    RAISE_BRANCH,
    OpenRaise,
    Proposal,
    RequestedRaise,
    live_limit,
    make_proposal,
    raised_limits,
)

if TYPE_CHECKING:
    from ops.config import Environment
    from ops.config.runtime import LimitRaise
    from ops.core.runtime_contract import RuntimeState
    from ops.limits.file import Limit, Limits, Temporary

BRANCH, COMMIT, PULL = "a branch", FILE, "a pull request"
MAX_PATCH_LENGTH = 600
"""Most characters of the patch in a timeline row."""


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
        notes: tuple[str, ...] = ()
        """Limits that the pull request does not raise, and the reasons."""
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
        requested = _requested_raises(ctx)
        others = _open_raises(ctx, requested)
        own = [other for other in others if other.answers(ctx.request.incident)]
        missing = {name: each for name, each in requested.items() if not any(name in other.names for other in own)}
        if not missing:
            return _ending_plan(_hand_on(own))
        base = ctx.github.pulls.branch_head(ctx.github.pulls.default_branch)
        file = ctx.github.pulls.file(FILE, base) if base else None
        if base is None or file is None:
            raise Refused(
                f"the default branch has no {FILE}",
                reason=Reason.UNKNOWN_NAME,
                hint="Commit one: docs/how-to/propose-limits.md describes it.",
            )
        before, _ = _parse(ctx, file.text)
        runtime = ctx.environment.require_runtime()
        live = ctx.web.fetch_runtime_state(ctx.environment.service(runtime.service).url)
        proposal = make_proposal(_compare_raises(ctx, missing, before, live), others)
        if not proposal.raises or (proposal.no_raise and ctx.params.only):
            return _ending_plan(_end_without_raise(ctx, own, proposal))
        return _build_plan(ctx, proposal, base, (file.text, file.sha), before, live)

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
            message = "; ".join([message, *details.notes])
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


def _ending_plan(ending: RunOutcome) -> Plan[ProposeLimits.Details]:
    return Plan(summary=ending.message, details=ProposeLimits.Details(ending=ending))


def _parse(
    ctx: Context[ProposeLimits.Params], text: str, base: "Limits | None" = None
) -> "tuple[dict[str, Limit], tuple[str, ...]]":
    """Return the limits and warnings of a limits.yml. Raises ConfigError with all of its problems."""
    from ops.limits.file import parse_limits

    limits = ctx.environment.require_runtime().limits
    names = limits.names if limits else ()
    return parse_limits(text, path=FILE, names=names, now=ctx.clock.now(), base=base)


def _open_raises(ctx: Context[ProposeLimits.Params], requested: "Mapping[str, LimitRaise]") -> list[OpenRaise]:
    """Return our open pull requests, with the requested limits that each raises: none if its file is invalid."""
    found = []
    for pull in ctx.github.pulls.own_open_pulls(RAISE_BRANCH):
        file = ctx.github.pulls.file(FILE, pull.head)
        try:
            limits, _ = _parse(ctx, file.text if file else "")
        except ConfigError:
            limits = {}
        found.append(OpenRaise(pull, frozenset(raised_limits(limits, requested, ctx.clock.now()))))
    return found


def _hand_on(own: Sequence[OpenRaise], left_out: Sequence[str] = ()) -> RunOutcome:
    """Return the end of a request that open pull requests fulfill, but for the limits left out."""
    answers = [other for other in own if other.names]
    opened = "; ".join(f"pull request {other.pull.number} {other}" for other in answers)
    message = f"{opened}: review and merge {'it' if len(answers) == 1 else 'them'}"
    message = "; ".join([message, *left_out])
    return RunOutcome(Decision.PLANNED, Reason.HANDED_ON, message, SuggestedCommand(answers[0].pull.url))


def _compare_raises(
    ctx: Context[ProposeLimits.Params],
    requested: "Mapping[str, LimitRaise]",
    before: "Limits",
    live: "RuntimeState | str",
) -> list[RequestedRaise]:
    """Return each requested raise with the values to compare. Raises Refused for a limit that the file lacks."""
    if absent := [name for name in requested if name not in before]:
        raise Refused(
            f"{FILE} has no limit {', '.join(absent)}",
            reason=Reason.UNKNOWN_NAME,
            hint="Add it with the value that the code declares, or choose other limits with `--only`.",
        )
    now, incident = ctx.clock.now().replace(microsecond=0), ctx.request.incident
    return [
        RequestedRaise(name, each, before[name], live_limit(live, name), now, incident)
        for name, each in requested.items()
    ]


def _end_without_raise(ctx: Context[ProposeLimits.Params], own: Sequence[OpenRaise], proposal: Proposal) -> RunOutcome:
    """Return the end of a request that proposes nothing more. Raises Refused for a limit that would be lowered."""
    if proposal.no_raise and (ctx.params.only or not any(other.names for other in own)):
        raise Refused(
            f"the value in ops.yml raises nothing: {'; '.join(each.describe() for each in proposal.no_raise)}",
            reason=Reason.WOULD_LOWER,
            hint=f"Set a higher value under `runtime.limits.raises` in ops.yml, or change {FILE} by a pull request.",
        )
    if any(other.names for other in own):
        return _hand_on(own, proposal.left_out)
    return RunOutcome(
        Decision.NOTHING_TO_DO, Reason.ALREADY_SET, f"nothing is proposed: {'; '.join(proposal.left_out)}"
    )


def _build_plan(  # noqa: PLR0917
    ctx: Context[ProposeLimits.Params],
    proposal: Proposal,
    base: str,
    file: tuple[str, str],
    before: "Limits",
    live: "RuntimeState | str",
) -> Plan[ProposeLimits.Details]:
    """Return the plan for limits.yml at the commit `base`; `file` is its text and its blob."""
    from ops.limits.diff import compare_limits
    from ops.limits.edit import build_patch, set_temporary_limits
    from ops.limits.text import render_proposal

    text, blob = file
    edited = set_temporary_limits(text, _temporary_limits(ctx, proposal.raises))
    after, warnings = _parse(ctx, edited, before)
    table = compare_limits(before, after, live, ctx.clock.now())
    branch, raised, patch = f"{RAISE_BRANCH}{ctx.run_id}", proposal.summary, build_patch(text, edited)
    return Plan(
        summary=f"Raise {raised} temporarily",
        changes=(
            Change(BRANCH, "none", branch, f"{branch} is at {base[:12]}", None),
            Change(COMMIT, "current limits", f"{raised} temporarily", f"{FILE} there has them", None),
            Change(PULL, "none", f"from {branch}", "the pull request is open", None),
        ),
        sections=(
            PlanSection("Limits", tuple(f"{row.name}: {row.change}" for row in table.changed)),
            PlanSection("Patch", patch),
        ),
        consequences=("the limits stay unchanged until a person merges it",),
        warnings=(*warnings, *proposal.not_compared, *proposal.notes),
        done_message=f"Proposed {raised}",
        proved_claim=f"proposed {raised}: limits are unchanged until a person merges it",
        proves_health=False,
        tasks=("Review and merge the pull request, then check that users no longer get HTTP 429",),
        details=ProposeLimits.Details(
            branch=branch,
            base=base,
            base_blob=blob,
            text=edited,
            body=render_proposal(proposal, ctx.request.incident, table),
            notes=proposal.notes,
            patch=patch,
        ),
    )


def _temporary_limits(ctx: Context[ProposeLimits.Params], raises: Sequence[RequestedRaise]) -> "dict[str, Temporary]":
    from ops.limits.file import Temporary

    message = " ".join("".join(c if c.isprintable() else " " for c in ctx.params.reason).split())[:150]
    why = message or ("raised during an incident" if ctx.request.incident else "raised by hand")
    return {
        each.name: Temporary(limit=each.asked.limit, until=each.until, reason=why, incident=ctx.request.incident)
        for each in raises
    }
