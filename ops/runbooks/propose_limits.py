"""Open a pull request that raises rate limits for a limited time.

A person merges it, and the merge applies it (docs/how-to/propose-limits.md). The values come from ops.yml, never from
an issue.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.config.probes import ProbeSet
from ops.core.errors import ConfigError, Decision, Reason, Refused
from ops.core.names import LIMITS_FILE as FILE
from ops.core.names import RAISE_BRANCH, did_you_mean
from ops.core.next_step import SuggestedCommand
from ops.core.plan import PlanSection, RunOutcome
from ops.engine.context import Context
from ops.engine.runbook import IncidentUse, Runbook, TokenPermissions, param
from ops.engine.step import ChangeState, ObservedState, ReadBackWords, Step, StepPlan
from ops.limits.raises import (
    OpenRaise,
    Proposal,
    RequestedRaise,
    live_limit,
    make_proposal,
    raised_limits,
)

if TYPE_CHECKING:
    from ops.config import Environment
    from ops.config.sections import LimitRaise
    from ops.core.runtime_contract import RuntimeState
    from ops.limits.file import Limit, Limits, Temporary

PATCH_SECTION = "Patch of limits.yml"

MAX_PATCH_LENGTH = 600
"""Most characters of the patch in a timeline row."""
PROPOSES_AGAIN = ReadBackWords(repeat="it proposes them on another branch, unless the pull request is open by then.")


class ProposeLimits(Runbook["ProposeLimits.Params"]):
    """Open a pull request that raises rate limits for a limited time."""

    @dataclass(frozen=True)
    class Params:
        only: tuple[str, ...] = param("Limits to raise, comma-separated (default: all in `raises`)", default=())
        reason: str = param("Reason, written to limits.yml and the timeline", default="")

    name = "propose-limits"
    section = "Limits and switches"
    when = "Users get HTTP 429: a rate limit is temporarily too low"
    incident_use = IncidentUse(menu_rank=3)
    kinds = ("runtime",)
    setting = "`limits` with `raises`"
    github_environment = ""
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

    def probes(self, ctx: Context[Params]) -> ProbeSet:
        """Probe the service for the record only; no probe sees a rate-limited user."""
        service = ctx.environment.service(ctx.environment.require_runtime().service)
        return ProbeSet(service.url, service.probes, service.verify)

    def plan(self, ctx: Context[Params]) -> StepPlan:
        requested = _requested_raises(ctx)
        others = _open_raises(ctx, requested)
        own = [other for other in others if other.answers(ctx.request.incident)]
        missing = {name: each for name, each in requested.items() if not any(name in other.names for other in own)}
        if not missing:
            return _plan_without_proposal(_hand_on(own))
        base = ctx.github.pulls.branch_head(ctx.github.pulls.default_branch)
        file = ctx.github.pulls.file(FILE, base) if base else None
        if base is None or file is None:
            raise Refused(
                f"the default branch has no {FILE}",
                reason=Reason.UNKNOWN_NAME,
                hint="Commit one: docs/how-to/propose-limits.md describes it.",
            )
        before, _ = _parse_proposal(ctx, file.text)
        runtime = ctx.environment.require_runtime()
        live = ctx.web.fetch_runtime_state(ctx.environment.service(runtime.service).url)
        proposal = make_proposal(_compare_raises(ctx, missing, before, live), others)
        if not proposal.raises or (proposal.no_raise and ctx.params.only):
            return _plan_without_proposal(_end_without_raise(ctx, own, proposal))
        return _build_plan(ctx, proposal, base, (file.text, file.sha), before, live)


@dataclass
class _PullRequest:
    """The pull request of a run, as planned and as found."""

    branch: str
    title: str
    body: str
    base: str
    """Commit that the branch starts at."""
    base_blob: str
    """Blob of limits.yml at `base`."""
    text: str
    patch: tuple[str, ...]
    is_forbidden: bool = False
    """Whether GitHub did not let the token open it."""
    number: int = 0
    """What was read back, so that it is not read again; 0 if it is not open."""
    url: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class _CreateBranch(Step):
    proposed: _PullRequest
    words: ReadBackWords = PROPOSES_AGAIN

    def check(self, ctx: Context[Any]) -> ObservedState:
        branch, head = self.proposed.branch, ctx.github.pulls.branch_head(self.proposed.branch)
        if head is None:
            return ObservedState(ChangeState.PLANNED, f"{branch} is missing")
        state = ChangeState.DONE if head == self.proposed.base else ChangeState.CHANGED_ELSEWHERE
        return ObservedState(state, f"{branch} is at {head[:12]}")

    def apply(self, ctx: Context[Any]) -> str:
        ctx.github.pulls.create_branch(self.proposed.branch, self.proposed.base)
        return f"created {self.proposed.branch}"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Commit(Step):
    proposed: _PullRequest
    words: ReadBackWords = PROPOSES_AGAIN

    def check(self, ctx: Context[Any]) -> ObservedState:
        branch, file = self.proposed.branch, ctx.github.pulls.file(FILE, self.proposed.branch)
        if file is not None and file.text == self.proposed.text:
            return ObservedState(ChangeState.DONE, f"{FILE} on {branch} is as planned")
        is_former = file is not None and file.sha == self.proposed.base_blob
        state = ChangeState.PLANNED if is_former else ChangeState.CHANGED_ELSEWHERE
        return ObservedState(state, f"{FILE} on {branch} differs from the plan")

    def apply(self, ctx: Context[Any]) -> str:
        planned = self.proposed
        ctx.github.pulls.commit(planned.branch, FILE, planned.text, replaces=planned.base_blob, message=planned.title)
        return f"committed {FILE} to {planned.branch}"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Open(Step):
    proposed: _PullRequest
    words: ReadBackWords = PROPOSES_AGAIN

    def check(self, ctx: Context[Any]) -> ObservedState:
        opened = ctx.github.pulls.open_pull_of(self.proposed.branch)
        if opened is not None:
            self.proposed.number, self.proposed.url = opened.number, opened.url
            return ObservedState(ChangeState.DONE, f"pull request {opened.number} is open: {opened.url}")
        state = ChangeState.DONE if self.proposed.is_forbidden else ChangeState.PLANNED
        return ObservedState(state, "no pull request is open")

    def apply(self, ctx: Context[Any]) -> str:
        planned = self.proposed
        if ctx.github.pulls.create_pull(planned.branch, title=planned.title, body=planned.body):
            return "opened the pull request"
        planned.is_forbidden = True
        lines = " ".join(line for line in planned.patch if line[:1] in "+-")
        return f"GitHub Actions may not open pull requests here; patch: {lines[:MAX_PATCH_LENGTH]}"


def _hand_over(ctx: Context[Any], proposed: _PullRequest, notes: Sequence[str]) -> RunOutcome:
    """Return the end of a run that proposed limits. `notes`: limits that it does not raise, and why."""
    if proposed.is_forbidden:
        message = f"{proposed.branch} is ready, but GitHub Actions may not open pull requests: open and merge one"
        command = SuggestedCommand(ctx.github.pulls.compare_url(proposed.branch))
        return RunOutcome(Decision.PLANNED, Reason.HANDED_ON, message, command)
    message = f"pull request {proposed.number} is open: review and merge it to apply the limits"
    message = "; ".join([message, *notes])
    return RunOutcome(Decision.PLANNED, Reason.HANDED_ON, message, SuggestedCommand(proposed.url))


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


def _plan_without_proposal(ending: RunOutcome) -> StepPlan:
    return StepPlan(summary=ending.message, decide=lambda: ending)


def _parse_proposal(
    ctx: Context[ProposeLimits.Params], text: str, base: "Limits | None" = None
) -> "tuple[dict[str, Limit], tuple[str, ...]]":
    """Return the limits and warnings of a limits.yml. Raises ConfigError with all of its problems."""
    from ops.limits.file import parse_limits

    limits = ctx.environment.require_runtime().limits
    names = limits.names if limits else ()
    return parse_limits(text, path=FILE, names=names, now=ctx.clock.now(), base=base)


def _open_raises(ctx: Context[ProposeLimits.Params], requested: "Mapping[str, LimitRaise]") -> list[OpenRaise]:
    """Return our open pull requests, with the requested limits that each raises: none if its file is invalid."""
    raises = []
    for pull in ctx.github.pulls.own_open_pulls(RAISE_BRANCH):
        file = ctx.github.pulls.file(FILE, pull.head)
        try:
            limits, _ = _parse_proposal(ctx, file.text if file else "")
        except ConfigError:
            limits = {}
        raises.append(OpenRaise(pull, frozenset(raised_limits(limits, requested, ctx.clock.now()))))
    return raises


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
) -> StepPlan:
    """Return the plan for limits.yml at the commit `base`; `file` is its text and its blob."""
    from ops.limits.diff import compare_limits, render_proposal
    from ops.limits.file import build_patch, set_temporary_limits

    text, blob = file
    edited = set_temporary_limits(text, _temporary_limits(ctx, proposal.raises))
    after, warnings = _parse_proposal(ctx, edited, before)
    table = compare_limits(before, after, live, ctx.clock.now())
    branch, raised, patch = f"{RAISE_BRANCH}{ctx.run_id}", proposal.summary, build_patch(text, edited)
    summary = f"Raise {raised} temporarily"
    proposed = _PullRequest(
        branch, summary, render_proposal(proposal, ctx.request.incident, table), base, blob, edited, patch
    )
    return StepPlan(
        summary=summary,
        changes=(
            _CreateBranch("a branch", "none", branch, f"{branch} is at {base[:12]}", None, proposed=proposed),
            _Commit(FILE, "current limits", f"{raised} temporarily", f"{FILE} there has them", None, proposed=proposed),
            _Open("a pull request", "none", f"from {branch}", "the pull request is open", None, proposed=proposed),
        ),
        sections=(
            PlanSection("Proposed limits", tuple(f"{row.name}: {row.change}" for row in table.changed)),
            PlanSection(PATCH_SECTION, patch),
        ),
        consequences=("the limits stay unchanged until a person merges it",),
        warnings=(*warnings, *proposal.not_compared, *proposal.notes),
        done_message=f"Proposed {raised}",
        proved_claim=f"proposed {raised}: limits are unchanged until a person merges it",
        proves_health=False,
        tasks=("Review and merge the pull request, then check that users no longer get HTTP 429",),
        decide=lambda: _hand_over(ctx, proposed, proposal.notes),
    )


def _temporary_limits(ctx: Context[ProposeLimits.Params], raises: Sequence[RequestedRaise]) -> "dict[str, Temporary]":
    from ops.limits.file import Temporary

    message = " ".join("".join(c if c.isprintable() else " " for c in ctx.params.reason).split())[:150]
    why = message or ("raised during an incident" if ctx.request.incident else "raised by hand")
    return {
        each.name: Temporary(limit=each.asked.limit, until=each.until, reason=why, incident=ctx.request.incident)
        for each in raises
    }
