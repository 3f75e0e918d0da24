"""`ops limits apply`: what was merged into limits.yml, written to KV once and watched until it is seen in effect.

It has a plan and a comparison like a runbook; but nothing is broken when somebody wants it, so it is no button.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ops.core.errors import ConfigError, Decision, OpsError, Reason, Refused
from ops.core.names import LIMITS_FILE as FILE
from ops.core.plan import Change, Plan, PlanSection, RunOutcome
from ops.core.redaction import Redactor
from ops.core.result import RunResult
from ops.core.runtime_contract import LIMITS_KEY, RUNTIME_PATH, make_revision
from ops.core.threads import run_parallel_mixed
from ops.core.verdict import RateLimitCheck
from ops.engine.context import Context
from ops.engine.runbook import ChangeState, ObservedState, Runbook, TokenPermissions
from ops.github import actions, comments
from ops.github.committed_file import FileCommits
from ops.github.pulls import PullRequests
from ops.limits import text
from ops.limits.value import NewerVersionError, Value, limits_of, parse_value, value_of
from ops.probes.runner import ProbeSet

if TYPE_CHECKING:
    from ops.config import Environment
    from ops.config.runtime import RuntimeConfig
    from ops.limits.file import Limits

MOST_PROVED = 200
"""Requests in a period: a larger limit is not proved by asking."""


@dataclass(frozen=True)
class Params:
    """None: what is written stands in limits.yml."""


@dataclass(frozen=True)
class Details:
    commits: FileCommits
    value: Value
    before: str | None
    """The text in KV as the plan found it."""
    revision: str = ""
    """What the application has to show."""
    prove: RateLimitCheck | None = None
    ending: RunOutcome | None = None
    limits: "Limits" = field(default_factory=dict)
    """As limits.yml has them."""
    drift: tuple[str, ...] | None = None
    """How KV differs from limits.yml; None where that was not compared."""


class ApplyLimits(Runbook[Params, Details]):
    """Write what was merged into limits.yml to KV, and watch until it is seen in effect."""

    name = "limits apply"
    when = "Nothing: it is for what was merged"
    kind = "runtime"
    by_label = False
    github_environment = "limits"
    is_routine = True
    params = Params
    example = Params()
    writes = (("PUT", "/accounts/*/storage/kv/namespaces/*/values/*"),)
    permissions = TokenPermissions(cloudflare=("Workers KV Storage Write",), github=("pull-requests: write",))

    def fits(self, environment: "Environment", service: str) -> list[dict[str, Any]]:  # noqa: ARG002
        return [{}] if environment.runtime and environment.runtime.limits else []

    def service(self, params: Params, environment: "Environment") -> str:  # noqa: ARG002
        """That which reads them."""
        return environment.require_runtime().service

    def probes(self, ctx: Context[Params], plan: Plan[Details] | None) -> ProbeSet:
        """Its public endpoint, known once there is a plan: one healthy answer is one location, and no more is said."""
        from ops.config.probes import HttpProbe, Probe

        runtime = ctx.environment.require_runtime()
        service = ctx.environment.service(runtime.service)
        url = service.url
        verify = service.verify.model_copy(update={"successes": 1, "interval": 1.0, "deadline": runtime.settle})
        if plan is None:
            return ProbeSet(url, (), verify)
        told = plan.details
        asked = HttpProbe.model_validate({"path": RUNTIME_PATH, "json": {"limits.revision": told.revision}})
        return ProbeSet(url, (Probe(name="runtime", http=asked),), verify, limit=told.prove, deciding="runtime")

    def preflight(self, ctx: Context[Params]) -> Plan[Details]:
        runtime = ctx.environment.require_runtime()
        commits, text = run_parallel_mixed(
            [ctx.github.limits.commits, lambda: ctx.cloudflare.kv.read_value(runtime.namespace, LIMITS_KEY)]
        )
        if not commits.is_newest:
            return _superseded(commits, text)
        limits, warnings = _wanted(ctx, runtime)
        value = value_of(limits, commits.checked_out, ctx.clock.now())
        return self._plan(ctx, Details(commits, value, text, limits=limits), warnings)

    def _plan(self, ctx: Context[Params], found: Details, warnings: tuple[str, ...]) -> Plan[Details]:
        stored, told = stored_in(found.before)
        if stored is not None and (stored.revision, stored.limits) == (found.value.revision, found.value.limits):
            return plan_of(ctx, found, stored, changes=(), reason=Reason.ALREADY_LIVE, warnings=warnings)
        warnings = (*warnings, told) if told else warnings
        if stored is not None:
            warnings = (*warnings, *_steps(found.limits, limits_of(stored)))
        return plan_of(ctx, found, stored, changes=(write(found),), warnings=warnings)

    def decide_outcome(self, ctx: Context[Params], plan: Plan[Details]) -> RunOutcome | None:  # noqa: ARG002
        return plan.details.ending

    def check(self, ctx: Context[Params], plan: Plan[Details], change: Change) -> ObservedState:  # noqa: ARG002  there is one
        told = plan.details
        text = ctx.cloudflare.kv.read_value(ctx.environment.require_runtime().namespace, LIMITS_KEY)
        stored, _ = stored_in(text)
        holds = f"KV holds {named(text)}"
        if stored is not None and (stored.revision, stored.limits) == (told.value.revision, told.value.limits):
            return ObservedState(ChangeState.DONE, holds)
        return ObservedState(
            ChangeState.PLANNED if text == told.before else ChangeState.CHANGED_ELSEWHERE, holds, may_lag=True
        )

    def apply(self, ctx: Context[Params], plan: Plan[Details], change: Change) -> str:  # noqa: ARG002
        value = plan.details.value
        ctx.cloudflare.kv.write_value(ctx.environment.require_runtime().namespace, LIMITS_KEY, value.text)
        return f"KV took revision {value.revision}"

    def publish_result(self, result: RunResult, environ: Mapping[str, str], redactor: Redactor) -> Iterator[str]:
        """Complete the comment that has the plan of the merged pull request."""
        found = details_of(result)
        if found is None or result.decision == Decision.PLANNED or not actions.is_job(environ):
            return
        with closing(PullRequests.of(environ, redactor)) as pulls:
            try:
                yield _report(result, found, pulls, environ, redactor)
            except (OpsError, comments.CommentForbidden) as error:
                yield f"warning: the pull request could not be told ({reason_of(error)})"


def details_of(result: RunResult) -> Details | None:
    """Return what the plan of a run was made of; None: it ended before its plan."""
    found: Details | None = result.plan.details if result.plan else None
    return found


def reason_of(error: Exception) -> str:
    return error.message if isinstance(error, OpsError) else "the token may not"


def _report(
    result: RunResult, found: Details, pulls: PullRequests, environ: Mapping[str, str], redactor: Redactor
) -> str:
    pull = pulls.merged_pull(found.commits.checked_out)
    if pull is None:
        return f"no pull request brought commit {found.commits.checked_out[:12]}, so there is none to tell"
    mark = text.marker(result.environment)
    before = comments.comment(pulls.repository, pull.number, mark)
    said = f"{result.decision.value.replace('_', ' ')}: {result.message}"
    notes = result.after.notes if result.after else ()
    body = text.applied(before, result.environment, said, notes, log=actions.run_links(environ, None).get("run", ""))
    return f"told at {comments.keep_comment(pulls.repository, pull.number, mark, redactor.text(body))}"


def _superseded(commits: FileCommits, text: str | None) -> Plan[Details]:
    newest, own = commits.newest[:12], commits.checked_out[:12]
    said = f"{FILE} was changed again by commit {newest}, which applies itself; this is {own}"
    ending = RunOutcome(Decision.NOTHING_TO_DO, Reason.SUPERSEDED, said)
    found = Details(commits, Value("", "", {}), text, ending=ending)
    return Plan(summary=said, reason=ending.reason, details=found)


def write(found: Details) -> Change:
    revision = found.value.revision
    return Change(f"{LIMITS_KEY} in KV", named(found.before), f"revision {revision}", f"KV holds {revision}", None)


def named(text: str | None) -> str:
    """What stands in KV, in words."""
    if text is None:
        return "nothing yet"
    stored, told = stored_in(text)
    return f"revision {stored.revision}" if stored else told


def stored_in(text: str | None) -> tuple[Value | None, str]:
    """What stands in KV, or what it is instead. Raises Refused where a later program wrote it."""
    if text is None:
        return None, ""
    try:
        return parse_value(text), ""
    except NewerVersionError as error:
        raise Refused(
            f"{LIMITS_KEY} in KV is of {error}",
            reason=Reason.UNKNOWN_VALUE,
            hint="Bring this program up to date first.",
        ) from None
    except ValueError as error:
        return None, f"something that is {error}"


def _wanted(ctx: Context[Any], runtime: "RuntimeConfig") -> "tuple[Limits, tuple[str, ...]]":
    """Raises ConfigError: with every problem of limits.yml."""
    from ops.limits.file import parse

    if runtime.limits is None:
        raise ConfigError(
            f"{ctx.environment.name} has no limits in ops.yml", hint="Write them under `runtime.limits.names`."
        )
    return parse(ctx.github.limits.text(), path=FILE, names=runtime.limits.names, now=ctx.clock.now())


def _steps(limits: "Limits", applied: "Limits") -> tuple[str, ...]:
    """Warnings about large steps from what KV holds. Raises ConfigError where one is too large."""
    from ops.limits.file import steps

    found = [
        (f"{'.'.join(map(str, where))}: {text}", is_wrong)
        for name, limit in limits.items()
        for where, text, is_wrong in steps(name, limit, applied.get(name))
    ]
    if problems := tuple(text for text, is_wrong in found if is_wrong):
        raise ConfigError(
            f"{FILE} raises a limit too far above what KV holds: {'; '.join(problems)}",
            hint="Merge a smaller step, or the reason under `override` of that limit. Then it is applied.",
            problems=problems,
        )
    return tuple(text for text, _ in found)


def plan_of(
    ctx: Context[Any],
    found: Details,
    stored: Value | None,
    *,
    changes: tuple[Change, ...],
    reason: Reason | None = None,
    warnings: tuple[str, ...] = (),
) -> Plan[Details]:
    revision = found.value.revision
    differences = tuple(difference(stored.limits if stored else {}, found.value.limits))
    told = replace(found, revision=revision, prove=_proof(ctx, found.value, stored), drift=differences)
    return Plan(
        summary=f"revision {revision} of {FILE} is {'to be written to KV' if changes else 'in KV already'}",
        changes=changes,
        sections=(PlanSection("Limits", differences or ("none changes",)),),
        consequences=(f"to undo it, revert the pull request: what is merged into {FILE} is applied",)
        if changes
        else (),
        warnings=warnings,
        reason=reason,
        done_message=f"Applied revision {revision} of {FILE}",
        proved_claim=(
            f"revision {revision} of {FILE} is in effect at the one location that was asked, and others follow"
        ),
        details=told,
    )


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Each limit whose value in KV is another."""
    for name in dict.fromkeys([*after, *before]):
        if before.get(name) != after.get(name):
            yield f"{name}: {_shown(before.get(name))} → {_shown(after.get(name))}"


def _shown(value: Any) -> str:
    if not isinstance(value, Mapping):
        return "what the code declares"
    told = f"{value.get('limit')} in {value.get('period')} s per {value.get('key')}"
    temporary = value.get("temporary")
    if isinstance(temporary, Mapping):
        told += f", {temporary.get('limit')} until {temporary.get('until')}"
    return told + (", to be probed" if value.get("probe") else "")


def _proof(ctx: Context[Any], value: Value, stored: Value | None) -> RateLimitCheck | None:
    """A limit that changed before one that did not, and the smallest: each costs up to twice as many requests."""
    before = stored.limits if stored else {}
    found = [
        (each == before.get(name), each.get("temporary", each)["limit"], name)
        for name, each in value.limits.items()
        if each.get("probe")
    ]
    fitting = sorted(each for each in found if each[1] <= MOST_PROVED)
    if not fitting:
        return None
    _, limit, name = fitting[0]
    return RateLimitCheck(name, limit, f"ops-{make_revision(ctx.run_id, name)}")
