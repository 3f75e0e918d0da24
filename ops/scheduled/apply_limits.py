"""`ops limits apply`: write the merged limits.yml to KV, and wait until it is in effect.

It is planned and checked like any runbook. It has no button, because a merge starts it.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ops.config.probes import ProbeSet
from ops.core.errors import ConfigError, Decision, OpsError, Reason, Refused
from ops.core.names import LIMITS_FILE as FILE
from ops.core.names import RAISE_BRANCH, join_sentences
from ops.core.plan import PlanSection, RunOutcome
from ops.core.redaction import Redactor
from ops.core.run import EndedRun
from ops.core.runtime_contract import LIMITS_KEY, RUNTIME_PATH, make_revision
from ops.core.threads import run_parallel_mixed
from ops.core.timeline import EventKind
from ops.core.verdict import SEEN, RateLimitCheck
from ops.engine.context import Context
from ops.engine.runbook import IncidentUse, Publications, Runbook, TokenPermissions
from ops.engine.step import ChangeState, ObservedState, Step, StepPlan
from ops.github import actions, comments
from ops.github.files import FileCommits
from ops.github.pulls import PullRequests
from ops.limits import publication
from ops.limits.diff import list_limit_differences
from ops.limits.file import Limits, LimitsValue, Temporary, build_value, parse_stored_limits, value_limits
from ops.limits.publication import RaiseNote, raise_notes
from ops.limits.raises import ended_limits, keep_rates, leave_out_limits, low_raises

if TYPE_CHECKING:
    from ops.config import Environment
    from ops.config.sections import RuntimeConfig

VALUES_SECTION = "Limits in KV"

KEPT_HINT = f"Open a pull request of your own that changes {FILE}: it may lower a limit."
MAX_PROBED_LIMIT = 200
"""Largest limit to probe, in requests per period, because the probe sends more requests than the limit."""


@dataclass(frozen=True)
class LimitsRead:
    """What a run read and decided about limits.yml and KV."""

    commits: FileCommits
    value: LimitsValue
    before: str | None
    """Raw value in KV when the plan was made; None if there was none."""
    revision: str = ""
    """Revision that the application must show."""
    proof: RateLimitCheck | None = None
    ending: RunOutcome | None = None
    limits: "Limits" = field(default_factory=dict)
    """Limits to write: those in limits.yml, but for `kept`."""
    drift: tuple[str, ...] | None = None
    """Differences between KV and limits.yml; None if they were not compared."""
    file: "Limits" = field(default_factory=dict)
    """Limits as limits.yml has them, also those that KV does not get."""
    kept: Mapping[str, str] = field(default_factory=dict)
    """Limit → why KV does not get it as limits.yml has it."""


@dataclass(frozen=True, kw_only=True)
class ApplyLimitsPlan(StepPlan):
    """A plan of limits, with what its publications need."""

    read: LimitsRead


@dataclass(frozen=True, kw_only=True, eq=False)
class _WriteLimits(Step):
    """Write the limits to KV."""

    read: LimitsRead

    def check(self, ctx: Context[Any]) -> ObservedState:
        text, value = ctx.cloudflare.kv.read_value(_limits_namespace(ctx), LIMITS_KEY), self.read.value
        stored, _ = parse_stored_limits(text)
        holds = f"KV holds {describe_limits_in_kv(text)}"
        if stored is not None and (stored.revision, stored.limits) == (value.revision, value.limits):
            return ObservedState(ChangeState.DONE, holds)
        state = ChangeState.PLANNED if text == self.read.before else ChangeState.CHANGED_ELSEWHERE
        return ObservedState(state, holds, may_lag=True)

    def apply(self, ctx: Context[Any]) -> str:
        ctx.cloudflare.kv.write_value(_limits_namespace(ctx), LIMITS_KEY, self.read.value.text)
        return f"KV took revision {self.read.value.revision}"


def _limits_namespace(ctx: Context[Any]) -> str:
    return ctx.environment.require_runtime().namespace


def _publish_result(result: EndedRun, environ: Mapping[str, str], redactor: Redactor) -> Iterator[str]:
    """Publish the result on the merged pull request and on the incidents, and a refusal as a difference."""
    with closing(PullRequests.of(environ, redactor)) as pulls:
        if not pulls.is_available:
            return
        steps = [partial(_post_notes, pulls, result, redactor)]
        if actions.is_job(environ):
            steps = [partial(_publish_in_job, pulls, result, environ, redactor), *steps]
        for step in steps:
            try:
                yield from step()
            except (OpsError, comments.CommentForbidden) as error:
                yield f"warning: could not publish the result on GitHub ({describe_limits_error(error)})"


def _publish_early_end(
    error: OpsError, environment: str, environ: Mapping[str, str], redactor: Redactor
) -> Iterator[str]:
    """Comment on the merged pull request that its run could not begin, such as without a token."""
    if not actions.is_job(environ):
        return
    message = join_sentences(f"not applied: {error.message}", error.hint)
    log = actions.run_links(environ, None).get("run", "")
    try:
        with closing(PullRequests.of(environ, redactor)) as pulls:
            yield publication.comment_message(
                pulls, _limits_job_commit(environ), environment, message, redactor, log=log
            )
    except (OpsError, comments.CommentForbidden) as problem:
        yield f"warning: could not publish the result on GitHub ({describe_limits_error(problem)})"


class ApplyLimits(Runbook["ApplyLimits.Params"]):
    """Write the merged limits.yml to KV, and wait until it is in effect."""

    @dataclass(frozen=True)
    class Params:
        """No parameters: limits.yml holds the values."""

    name = "limits apply"
    section = "Limits and switches"
    when = "No incident: a merge of limits.yml starts it"
    kinds = ("runtime",)
    label_use = None
    github_environment = "limits"
    publications = Publications(_publish_result, _publish_early_end)
    incident_use = IncidentUse(is_routine=True)
    example = Params()
    writes = (("PUT", "/accounts/*/storage/kv/namespaces/*/values/*"),)
    permissions = TokenPermissions(
        cloudflare=("Workers KV Storage Write",), github=("pull-requests: write", "issues: write")
    )

    def fits(self, environment: "Environment", service: str) -> list[dict[str, Any]]:  # noqa: ARG002
        return [{}] if environment.runtime and environment.runtime.limits else []

    def service(self, params: Params, environment: "Environment") -> str:  # noqa: ARG002
        """Return the service that reads the limits."""
        return environment.require_runtime().service

    def probes(self, ctx: Context[Params]) -> ProbeSet:
        """Probe nothing: the expected revision is known once there is a plan."""
        return _build_revision_probe(ctx, None)

    def plan(self, ctx: Context[Params]) -> StepPlan:
        runtime = ctx.environment.require_runtime()
        commits, text = run_parallel_mixed(
            [ctx.github.limits.commits, lambda: ctx.cloudflare.kv.read_value(runtime.namespace, LIMITS_KEY)]
        )
        if not commits.is_newest:
            return _superseded_plan(commits, text)
        limits, warnings = _read_limits(ctx, runtime)
        value = build_value(limits, commits.checked_out, ctx.clock.now())
        return self._plan_limits_write(ctx, LimitsRead(commits, value, text, limits=limits, file=limits), warnings)

    def _plan_limits_write(self, ctx: Context[Params], read: LimitsRead, warnings: tuple[str, ...]) -> StepPlan:
        stored, problem = parse_stored_limits(read.before)
        warnings, is_raise = (*warnings, problem) if problem else warnings, False
        if stored is not None:
            read, is_raise = _keep_higher_rates(ctx, read, value_limits(stored))
            warnings = (*warnings, *read.kept.values())
        if stored is not None and stored.limits == read.value.limits:
            if read.kept and is_raise:
                _record_refusal(ctx, read, stored)
                raise Refused("; ".join(read.kept.values()), reason=Reason.WOULD_LOWER, hint=KEPT_HINT)
            return build_limits_plan(ctx, replace(read, value=stored), stored, changes=(), warnings=warnings)
        if stored is not None:
            warnings = (*warnings, *_check_large_steps(ctx, read, stored))
        return build_limits_plan(ctx, read, stored, changes=(limits_write_step(read),), warnings=warnings)


def _build_revision_probe(ctx: Context[Any], read: LimitsRead | None) -> ProbeSet:
    """Return the probe of the public endpoint for the revision. One healthy answer covers one location."""
    from ops.config.probes import HttpProbe, Probe

    runtime = ctx.environment.require_runtime()
    service = ctx.environment.service(runtime.service)
    verify = service.verify.model_copy(update={"successes": 1, "interval": 1.0, "deadline": runtime.settle})
    if read is None:
        return ProbeSet(service.url, (), verify)
    probe = HttpProbe.model_validate({"path": RUNTIME_PATH, "json": {"limits.revision": read.revision}})
    named = (Probe(name="runtime", http=probe),)
    return ProbeSet(service.url, named, verify, limit=read.proof, deciding="runtime")


def _limits_job_commit(environ: Mapping[str, str]) -> str:
    return environ.get("OPS_COMMIT") or environ.get("GITHUB_SHA", "")


def find_limits_read(result: EndedRun) -> LimitsRead | None:
    """Return what a run read; None if it ended without a plan."""
    return result.full_plan.read if isinstance(result.full_plan, ApplyLimitsPlan) else None


def describe_limits_error(error: Exception) -> str:
    return error.message if isinstance(error, OpsError) else "the token lacks the permission"


def _publish_in_job(
    pulls: PullRequests, result: EndedRun, environ: Mapping[str, str], redactor: Redactor
) -> Iterator[str]:
    """Comment the result on the pull request; report what was not applied, or that KV matches again."""
    read = find_limits_read(result)
    sha = read.commits.checked_out if read else _limits_job_commit(environ)
    log = actions.run_links(environ, None).get("run", "")
    yield publication.comment_result(pulls, sha, result, redactor, log=log)
    if result.decision == Decision.REFUSED:
        differences = [*_refused_entries(result, "differences")] or [result.message]
        yield publication.save_drift(pulls, differences, result, redactor)
    elif read is not None and read.kept and result.decision in publication.APPLIED:
        yield publication.save_drift(pulls, [*read.kept.values()], result, redactor)
    elif result.decision in publication.APPLIED and result.reason != Reason.SUPERSEDED:
        yield from publication.close_drift(pulls, result, redactor)


def _post_notes(pulls: PullRequests, result: EndedRun, redactor: Redactor) -> Iterator[str]:
    """Post the lines on the incidents of raised limits."""
    read = find_limits_read(result)
    notes = [RaiseNote(incident, name, text) for incident, name, text in _refused_entries(result, "not_raised")]
    if read is not None and read.ending is None:
        notes += find_notes(pulls, read, result)
    yield from publication.post_notes(pulls, notes, result, redactor)


def find_notes(pulls: PullRequests, read: LimitsRead, result: EndedRun) -> list[RaiseNote]:
    """Return the lines on incidents. The former limits.yml is read only if KV or the file has a temporary limit."""
    from ops.limits.file import parse_limits

    stored, _ = parse_stored_limits(read.before)
    live = value_limits(stored) if stored else {}
    before: Limits = {}
    if read.commits.previous and any(limit.temporary for limit in (*read.file.values(), *live.values())):
        file, now = pulls.file(FILE, read.commits.previous), result.events[-1].at
        with suppress(ConfigError):
            before, _ = parse_limits(file.text if file else "", path=FILE, names=[*read.file, *live], now=now)
    not_raised = {
        name: text
        for name, text in read.kept.items()
        if read.limits[name].temporary != read.file[name].temporary  # else only its base differs
    }
    return [*raise_notes(read.file, before, live, not_raised, result.events[-1].at)]


def _refused_entries(result: EndedRun, name: str) -> Iterator[Any]:
    """Yield the entries that a refusal recorded under that name."""
    for event in result.events:
        yield from event.data.get(name, ())


def _superseded_plan(commits: FileCommits, text: str | None) -> StepPlan:
    newest, own = commits.newest[:12], commits.checked_out[:12]
    message = (
        f"commit {newest} changed {FILE} again, and its own run applies or refuses the file; this run is for {own}"
    )
    ending = RunOutcome(Decision.NOTHING_TO_DO, Reason.SUPERSEDED, message)
    read = LimitsRead(commits, LimitsValue("", "", {}), text, ending=ending)
    return plan_without_write(read)


def plan_without_write(read: LimitsRead) -> ApplyLimitsPlan:
    """Return the plan of a run that changes nothing, and has its `ending`."""
    ending = read.ending
    assert ending is not None
    return ApplyLimitsPlan(
        summary=ending.message,
        reason=ending.reason,
        decide=lambda: ending,
        read=read,
    )


def limits_write_step(read: LimitsRead) -> Step:
    target, revision = f"{LIMITS_KEY} in KV", read.value.revision
    return _WriteLimits(
        target, describe_limits_in_kv(read.before), f"revision {revision}", f"KV holds {revision}", None, read=read
    )


def describe_limits_in_kv(text: str | None) -> str:
    """Describe the value in KV."""
    if text is None:
        return "no value"
    stored, problem = parse_stored_limits(text)
    return f"revision {stored.revision}" if stored else problem


def _read_limits(ctx: Context[Any], runtime: "RuntimeConfig") -> "tuple[Limits, tuple[str, ...]]":
    """Return limits.yml with its warnings. Raises ConfigError with all of its problems."""
    from ops.limits.file import parse_limits

    if runtime.limits is None:
        raise ConfigError(
            f"{ctx.environment.name} has no limits in ops.yml", hint="List them under `runtime.limits.names`."
        )
    return parse_limits(ctx.github.limits.text(), path=FILE, names=runtime.limits.names, now=ctx.clock.now())


def _keep_higher_rates(ctx: Context[Any], read: LimitsRead, live: "Limits") -> tuple[LimitsRead, bool]:
    """Keep the limits of KV that our own pull request would lower; return also whether its merge is applied.

    Its branch shows it, also if a person opened it. A branch that somebody else named so can only keep a higher rate.
    A later merge of another pull request applies no temporary limit of ours that was left out.
    """
    limits, kept = keep_rates(read.limits, live, ctx.clock.now())
    pulls = ctx.github.pulls
    if not kept or not pulls.is_available:
        return read, False
    pull = pulls.merged_pull(read.commits.checked_out)
    if pull is not None and pull.branch.startswith(RAISE_BRANCH):
        return _keep_limits(ctx, read, limits, kept), True
    return _keep_limits(ctx, read, *leave_out_limits(read.limits, _find_own_raises(ctx, read, live))), False


def _keep_limits(ctx: Context[Any], read: LimitsRead, limits: "Limits", kept: Mapping[str, str]) -> LimitsRead:
    """Return what was read with other limits to write; `kept` says why each differs from the file."""
    value = build_value(limits, read.commits.checked_out, ctx.clock.now())
    return replace(read, value=value, limits=limits, kept=kept)


def _find_own_raises(ctx: Context[Any], read: LimitsRead, live: "Limits") -> "dict[str, Temporary]":
    """Return the temporary limits below the base that a merge of our pull request added."""
    from ops.limits.file import MAX_AHEAD, is_own_raise

    now = ctx.clock.now()
    entries = low_raises(read.limits, live, now)
    states = ctx.github.limits.states(read.commits.checked_out, now - MAX_AHEAD) if entries else ()
    return {name: entry for name, entry in entries.items() if is_own_raise(name, entry, states)}


def _check_large_steps(ctx: Context[Any], read: LimitsRead, stored: LimitsValue) -> tuple[str, ...]:
    """Return warnings about large cuts of the value in KV. Raises ConfigError for a large raise without `override`."""
    from ops.limits.file import RESTORABLE, check_steps, earlier_limits

    applied, now = value_limits(stored), ctx.clock.now()
    earlier = earlier_limits(lambda: ctx.github.limits.states(read.commits.checked_out, now - RESTORABLE)[:-1], now)
    steps = [
        (f"{'.'.join(map(str, where))}: {text}", is_wrong)
        for name, limit in read.limits.items()
        for where, text, is_wrong in check_steps(name, limit, applied.get(name), earlier)
    ]
    if problems := tuple(text for text, is_wrong in steps if is_wrong):
        _record_refusal(ctx, read, stored)
        raise ConfigError(
            f"{FILE} raises a limit too far above the value in KV: {'; '.join(problems)}",
            hint="Merge a smaller step, or set `override` of that limit to the reason.",
            problems=problems,
        )
    return tuple(text for text, _ in steps)


def _record_refusal(ctx: Context[Any], read: LimitsRead, stored: LimitsValue) -> None:
    """Record the differences that stay, and the raises of incidents that are not applied, for the publication."""
    wanted = build_value(read.file, read.commits.checked_out, ctx.clock.now()).limits
    differences = [*list_limit_differences(stored.limits, wanted)]
    not_raised = [
        (entry.incident, name, read.kept.get(name) or f"{name} was not raised to {entry.limit}: {FILE} is refused")
        for name, limit in read.file.items()
        if (entry := limit.temporary) and entry.incident is not None and stored.limits.get(name) != wanted.get(name)
    ]
    text = f"KV keeps its values: {'; '.join(differences)}"
    ctx.timeline.record(EventKind.WARNING, text, differences=differences, not_raised=not_raised)


def build_limits_plan(
    ctx: Context[Any],
    read: LimitsRead,
    stored: LimitsValue | None,
    *,
    changes: tuple[Step, ...],
    warnings: tuple[str, ...] = (),
) -> ApplyLimitsPlan:
    revision = read.value.revision
    differences = tuple(list_limit_differences(stored.limits if stored else {}, read.value.limits))
    exceptions = (*read.kept.values(), *ended_limits(read.limits, ctx.clock.now()))
    unchanged = f"{FILE} changes nothing: KV has its values as revision {revision}"
    read = replace(read, revision=revision, proof=_choose_probed_limit(ctx, read.value, stored), drift=differences)
    return ApplyLimitsPlan(
        summary=f"write revision {revision} of {FILE} to KV" if changes else "; ".join([unchanged, *exceptions]),
        changes=changes,
        sections=(PlanSection(VALUES_SECTION, differences or ("no change",)),),
        consequences=(f"to undo it, revert the pull request: each merge of {FILE} is applied",) if changes else (),
        warnings=warnings,
        reason=None if changes else Reason.ALREADY_LIVE,
        remaining_message="; ".join(exceptions),
        done_message=f"Applied revision {revision} of {FILE}",
        proved_claim=f"revision {revision} of {FILE} is in effect, {SEEN}",
        proof_limit="other locations follow within about a minute",
        proves_health=False,
        probes=partial(_build_revision_probe, ctx, read),
        read=read,
    )


def _choose_probed_limit(ctx: Context[Any], value: LimitsValue, stored: LimitsValue | None) -> RateLimitCheck | None:
    """Choose the limit to probe: a changed one first, then the smallest, which needs the fewest requests."""
    before = stored.limits if stored else {}
    candidates = [
        (each == before.get(name), each.get("temporary", each)["limit"], name)
        for name, each in value.limits.items()
        if each.get("probe")
    ]
    fitting = sorted(each for each in candidates if each[1] <= MAX_PROBED_LIMIT)
    if not fitting:
        return None
    _, limit, name = fitting[0]
    return RateLimitCheck(name, limit, f"ops-{make_revision(ctx.run_id, name)}")
