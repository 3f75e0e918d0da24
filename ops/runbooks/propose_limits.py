"""Users are refused by a rate limit that is too low for tonight: a pull request that raises it for a while.

A person merges it, and merging applies it (docs/how-to/propose-limits.md). The proposed numbers stand in ops.yml, never
in an issue.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ops.core.errors import ConfigError, Decision, Reason, Refused
from ops.core.names import LIMITS_FILE as FILE
from ops.core.next_step import SuggestedCommand
from ops.core.plan import Change, Plan, PlanSection, RunOutcome
from ops.core.suggestions import did_you_mean
from ops.engine.context import Context
from ops.engine.runbook import ChangeState, ObservedState, Runbook, TokenPermissions, param
from ops.probes.runner import ProbeSet

if TYPE_CHECKING:
    from ops.config import Environment
    from ops.config.runtime import LimitRaise
    from ops.limits.file import Limits, Temporary

PREFIX = "ops/raise-limits-"
BRANCH, COMMIT, PULL = "a branch", FILE, "a pull request"
MOST_SAID = 600
"""Characters of the patch in a row of the timeline."""
REVIEW = (
    "What a reviewer checks: that the numbers are what tonight needs, that `until` is soon, and that nothing but "
    "`temporary` is changed. Checks do not start by themselves on a pull request that a workflow opened: close and "
    "reopen it to start them. Once a person merges it, *limits* applies it and says here what it saw; a merge by a "
    "workflow with GITHUB_TOKEN starts nothing. At `until` the former limits hold again; nobody has to take "
    "anything back."
)


@dataclass(frozen=True)
class Params:
    only: tuple[str, ...] = param("limits to raise, with commas between; without it, all under raises", default=())
    reason: str = param("why, in a few words, for limits.yml and the timeline", default="")


@dataclass(frozen=True)
class Details:
    branch: str = ""
    base: str = ""
    """The commit that the branch begins at."""
    replaces: str = ""
    """The blob of limits.yml there."""
    text: str = ""
    body: str = ""
    ending: RunOutcome | None = None
    patch: tuple[str, ...] = ()
    not_permitted: list[bool] = field(default_factory=list)
    """Filled in where GitHub lets this program open no pull request: the write was answered, and made none."""
    opened: list[RunOutcome] = field(default_factory=list)
    """Filled in where the pull request was read back: it needs no further read."""


class ProposeLimits(Runbook[Params, Details]):
    """Propose temporary rate limits by a pull request on limits.yml, which a person merges."""

    name = "propose-limits"
    when = "Users are answered 429: a rate limit is too low for a while"
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
        """That which reads the limits."""
        return environment.require_runtime().service

    def probes(self, ctx: Context[Params], plan: Plan[Details] | None) -> ProbeSet:  # noqa: ARG002  nothing is proved by it
        """Those of the service, for the record: a refused user is seen by none of them."""
        service = ctx.environment.service(ctx.environment.require_runtime().service)
        return ProbeSet(service.url, service.probes, service.verify)

    def preflight(self, ctx: Context[Params]) -> Plan[Details]:
        wanted = _wanted(ctx)
        if (
            ctx.request.incident
            and (there := ctx.github.pulls.own_open_pulls(PREFIX, _marker(ctx.request.incident))) is not None
        ):
            said = (
                f"pull request {there.number} for incident {ctx.request.incident} is open already: review and merge it"
            )
            ending = RunOutcome(Decision.PLANNED, Reason.HANDED_ON, said, SuggestedCommand(there.url))
            return Plan(summary=said, details=Details(ending=ending))
        base = ctx.github.pulls.branch_head(ctx.github.pulls.default_branch)
        file = ctx.github.pulls.file(FILE, base) if base else None
        if base is None or file is None:
            raise Refused(
                f"the default branch has no {FILE}",
                reason=Reason.UNKNOWN_NAME,
                hint="Commit one: docs/how-to/propose-limits.md says what it holds.",
            )
        return _plan(ctx, wanted, base, file.text, file.sha)

    def decide_outcome(self, ctx: Context[Params], plan: Plan[Details]) -> RunOutcome | None:
        told = plan.details
        if told.ending is not None:
            return told.ending
        if told.not_permitted:
            said = f"{told.branch} is ready, and GitHub Actions may open no pull request here: open it, and merge it"
            return RunOutcome(
                Decision.PLANNED, Reason.HANDED_ON, said, SuggestedCommand(ctx.github.pulls.compare_url(told.branch))
            )
        if not told.opened and self.check(ctx, plan, plan.changes[-1]).state != ChangeState.DONE:
            said = f"the pull request of {told.branch} is closed already"
            return RunOutcome(Decision.PLANNED, Reason.HANDED_ON, said)
        return told.opened[-1]

    def check(self, ctx: Context[Params], plan: Plan[Details], change: Change) -> ObservedState:
        told = plan.details
        if change.target == BRANCH:
            head = ctx.github.pulls.branch_head(told.branch)
            state = (
                ChangeState.PLANNED
                if head is None
                else ChangeState.DONE
                if head == told.base
                else ChangeState.CHANGED_ELSEWHERE
            )
            return ObservedState(state, f"{told.branch} is {'not there' if head is None else f'at {head[:12]}'}")
        if change.target == COMMIT:
            file = ctx.github.pulls.file(FILE, told.branch)
            if file is not None and file.text == told.text:
                return ObservedState(ChangeState.DONE, f"{FILE} on {told.branch} is as planned")
            is_former = file is not None and file.sha == told.replaces
            return ObservedState(
                ChangeState.PLANNED if is_former else ChangeState.CHANGED_ELSEWHERE,
                f"{FILE} on {told.branch} is another",
            )
        opened = ctx.github.pulls.open_pull_of(told.branch)
        if opened is not None:
            said = f"pull request {opened.number} is open: a person reviews and merges it, and then it is applied"
            told.opened.append(RunOutcome(Decision.PLANNED, Reason.HANDED_ON, said, SuggestedCommand(opened.url)))
            return ObservedState(ChangeState.DONE, f"pull request {opened.number} is open: {opened.url}")
        return ObservedState(ChangeState.DONE if told.not_permitted else ChangeState.PLANNED, "no pull request is open")

    def apply(self, ctx: Context[Params], plan: Plan[Details], change: Change) -> str:
        told = plan.details
        if change.target == BRANCH:
            ctx.github.pulls.create_branch(told.branch, told.base)
            return f"made {told.branch}"
        if change.target == COMMIT:
            ctx.github.pulls.commit(told.branch, FILE, told.text, replaces=told.replaces, message=plan.summary)
            return f"committed {FILE} to {told.branch}"
        if ctx.github.pulls.propose(told.branch, title=plan.summary, body=told.body):
            return "opened the pull request"
        told.not_permitted.append(True)
        lines = " ".join(line for line in told.patch if line[:1] in "+-")
        return f"GitHub Actions may open no pull request here; the patch: {lines[:MOST_SAID]}"


def _marker(incident: int) -> str:
    return f"<!-- backout limits incident={incident} -->"


def _wanted(ctx: Context[Params]) -> "Mapping[str, LimitRaise]":
    """What ops.yml says for each limit that was asked for. Raises ConfigError."""
    limits = ctx.environment.require_runtime().limits
    raises = limits.raises if limits else {}
    if not raises:
        raise ConfigError(
            f"{ctx.environment.name} has no runtime.limits.raises in ops.yml",
            hint="Write there what is proposed for each limit, and for how long.",
        )
    for name in ctx.params.only:
        if name not in raises:
            raise ConfigError(
                f'nothing is to be raised by the name "{name}"{did_you_mean(name, raises)}', reason=Reason.UNKNOWN_NAME
            )
    return {name: raises[name] for name in ctx.params.only or raises}


def _plan(ctx: Context[Params], wanted: "Mapping[str, LimitRaise]", base: str, text: str, blob: str) -> Plan[Details]:
    from ops.limits.diff import compare, markdown
    from ops.limits.edit import patch, with_temporary
    from ops.limits.file import parse

    runtime, now = ctx.environment.require_runtime(), ctx.clock.now()
    names = runtime.limits.names if runtime.limits else ()
    before, _ = parse(text, path=FILE, names=names, now=now)
    edited = with_temporary(text, _temporary(ctx, wanted, before))
    after, warnings = parse(edited, path=FILE, names=names, now=now, base=before)
    table = compare(before, after, ctx.web.fetch_runtime_state(ctx.environment.service(runtime.service).url), now)
    branch = f"{PREFIX}{ctx.run_id}"
    raised = ", ".join(f"{name} to {each.limit}" for name, each in wanted.items())
    incident = ctx.request.incident
    body = f"{markdown(table)}\n\n{'' if incident is None else f'For incident #{incident}. '}{REVIEW}"
    return Plan(
        summary=f"Raise {raised} for a while",
        changes=(
            Change(BRANCH, "none", branch, f"{branch} is at {base[:12]}", None),
            Change(COMMIT, "the limits of now", f"{raised} for a while", f"{FILE} there has them", None),
            Change(PULL, "none", f"from {branch}", "it is open", None),
        ),
        sections=(
            PlanSection("Limits", tuple(f"{row.name}: {row.change}" for row in table.changed)),
            PlanSection("Patch", patch(text, edited)),
        ),
        consequences=("nothing is raised before a person merges it",),
        warnings=warnings,
        done_message=f"Proposed to raise {raised}",
        tasks=("Review the pull request and merge it; then look whether users are let through",),
        details=Details(
            branch=branch,
            base=base,
            replaces=blob,
            text=edited,
            body=f"{body}\n{_marker(ctx.request.incident) if ctx.request.incident else ''}\n",
            patch=patch(text, edited),
        ),
    )


def _temporary(ctx: Context[Params], wanted: "Mapping[str, LimitRaise]", before: "Limits") -> "dict[str, Temporary]":
    from ops.limits.file import Temporary

    missing = [name for name in wanted if name not in before]
    if missing:
        raise Refused(
            f"{FILE} has no limit {', '.join(missing)}",
            reason=Reason.UNKNOWN_NAME,
            hint="Write it there with the value that the code declares, or raise others with --only.",
        )
    now = ctx.clock.now().replace(microsecond=0)
    said = " ".join("".join(c if c.isprintable() else " " for c in ctx.params.reason).split())[:150]
    why = said or ("raised during an incident" if ctx.request.incident else "raised by hand")
    return {
        name: Temporary(
            limit=each.limit, until=now + timedelta(seconds=each.lasts), reason=why, incident=ctx.request.incident
        )
        for name, each in wanted.items()
    }
