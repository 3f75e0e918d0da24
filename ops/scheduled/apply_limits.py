"""`ops limits apply`: write the merged limits.yml to KV, and wait until it is in effect.

It is planned and checked like any runbook. It has no button, because a merge starts it.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ops.config.probes import ProbeSet
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
from ops.limits.value import LimitsValue, NewerVersionError, build_value, parse_value, value_limits

if TYPE_CHECKING:
    from ops.config import Environment
    from ops.config.runtime import RuntimeConfig
    from ops.limits.file import Limits

MAX_PROBED_LIMIT = 200
"""Largest limit to probe, in requests per period, because the probe sends more requests than the limit."""


class ApplyLimits(Runbook["ApplyLimits.Params", "ApplyLimits.Details"]):
    """Write the merged limits.yml to KV, and wait until it is in effect."""

    @dataclass(frozen=True)
    class Params:
        """No parameters: limits.yml holds the values."""

    @dataclass(frozen=True)
    class Details:
        commits: FileCommits
        value: LimitsValue
        before: str | None
        """Raw value in KV when the plan was made; None if there was none."""
        revision: str = ""
        """Revision that the application must show."""
        proof: RateLimitCheck | None = None
        ending: RunOutcome | None = None
        limits: "Limits" = field(default_factory=dict)
        """Limits in limits.yml."""
        drift: tuple[str, ...] | None = None
        """Differences between KV and limits.yml; None if they were not compared."""

    name = "limits apply"
    section = "Limits and switches"
    when = "No incident: a merge of limits.yml starts it"
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
        """Return the service that reads the limits."""
        return environment.require_runtime().service

    def probes(self, ctx: Context[Params], plan: Plan[Details] | None) -> ProbeSet:
        """Probe the public endpoint for the planned revision. One healthy answer covers one location."""
        from ops.config.probes import HttpProbe, Probe

        runtime = ctx.environment.require_runtime()
        service = ctx.environment.service(runtime.service)
        url = service.url
        verify = service.verify.model_copy(update={"successes": 1, "interval": 1.0, "deadline": runtime.settle})
        if plan is None:
            return ProbeSet(url, (), verify)
        details = plan.details
        probe = HttpProbe.model_validate({"path": RUNTIME_PATH, "json": {"limits.revision": details.revision}})
        return ProbeSet(url, (Probe(name="runtime", http=probe),), verify, limit=details.proof, deciding="runtime")

    def preflight(self, ctx: Context[Params]) -> Plan[Details]:
        runtime = ctx.environment.require_runtime()
        commits, text = run_parallel_mixed(
            [ctx.github.limits.commits, lambda: ctx.cloudflare.kv.read_value(runtime.namespace, LIMITS_KEY)]
        )
        if not commits.is_newest:
            return _superseded_plan(commits, text)
        limits, warnings = _read_limits(ctx, runtime)
        value = build_value(limits, commits.checked_out, ctx.clock.now())
        return self._plan(ctx, ApplyLimits.Details(commits, value, text, limits=limits), warnings)

    def _plan(self, ctx: Context[Params], found: Details, warnings: tuple[str, ...]) -> Plan[Details]:
        stored, problem = parse_kv(found.before)
        if stored is not None and (stored.revision, stored.limits) == (found.value.revision, found.value.limits):
            return build_plan(ctx, found, stored, changes=(), reason=Reason.ALREADY_LIVE, warnings=warnings)
        warnings = (*warnings, problem) if problem else warnings
        if stored is not None:
            warnings = (*warnings, *_check_large_steps(found.limits, value_limits(stored)))
        return build_plan(ctx, found, stored, changes=(kv_change(found),), warnings=warnings)

    def decide_outcome(self, ctx: Context[Params], plan: Plan[Details]) -> RunOutcome | None:  # noqa: ARG002
        return plan.details.ending

    def check(self, ctx: Context[Params], plan: Plan[Details], change: Change) -> ObservedState:  # noqa: ARG002  there is one
        details = plan.details
        text = ctx.cloudflare.kv.read_value(ctx.environment.require_runtime().namespace, LIMITS_KEY)
        stored, _ = parse_kv(text)
        holds = f"KV holds {describe_kv(text)}"
        if stored is not None and (stored.revision, stored.limits) == (details.value.revision, details.value.limits):
            return ObservedState(ChangeState.DONE, holds)
        return ObservedState(
            ChangeState.PLANNED if text == details.before else ChangeState.CHANGED_ELSEWHERE, holds, may_lag=True
        )

    def apply(self, ctx: Context[Params], plan: Plan[Details], change: Change) -> str:  # noqa: ARG002
        value = plan.details.value
        ctx.cloudflare.kv.write_value(ctx.environment.require_runtime().namespace, LIMITS_KEY, value.text)
        return f"KV took revision {value.revision}"

    def publish_result(self, result: RunResult, environ: Mapping[str, str], redactor: Redactor) -> Iterator[str]:
        """Add the result to the plan comment on the merged pull request."""
        found = find_details(result)
        if found is None or result.decision == Decision.PLANNED or not actions.is_job(environ):
            return
        with closing(PullRequests.of(environ, redactor)) as pulls:
            try:
                yield _comment_result(result, found, pulls, environ, redactor)
            except (OpsError, comments.CommentForbidden) as error:
                yield f"warning: could not comment on the pull request ({describe_error(error)})"


def find_details(result: RunResult) -> ApplyLimits.Details | None:
    """Return the details of a run's plan; None if it ended without a plan."""
    found: ApplyLimits.Details | None = result.plan.details if result.plan else None
    return found


def describe_error(error: Exception) -> str:
    return error.message if isinstance(error, OpsError) else "the token lacks the permission"


def _comment_result(
    result: RunResult, found: ApplyLimits.Details, pulls: PullRequests, environ: Mapping[str, str], redactor: Redactor
) -> str:
    pull = pulls.merged_pull(found.commits.checked_out)
    if pull is None:
        return f"no pull request for commit {found.commits.checked_out[:12]}, so there is no comment to update"
    mark = text.marker(result.environment)
    before = comments.read_comment(pulls.repository, pull.number, mark)
    message = f"{result.decision.value.replace('_', ' ')}: {result.message}"
    notes = result.after.notes if result.after else ()
    body = text.render_result(
        before, result.environment, message, notes, log=actions.run_links(environ, None).get("run", "")
    )
    return f"commented at {comments.save_comment(pulls.repository, pull.number, mark, redactor.redact_text(body))}"


def _superseded_plan(commits: FileCommits, text: str | None) -> Plan[ApplyLimits.Details]:
    newest, own = commits.newest[:12], commits.checked_out[:12]
    message = f"commit {newest} changed {FILE} again, and its own run applies it; this run is for {own}"
    ending = RunOutcome(Decision.NOTHING_TO_DO, Reason.SUPERSEDED, message)
    found = ApplyLimits.Details(commits, LimitsValue("", "", {}), text, ending=ending)
    return Plan(summary=message, reason=ending.reason, details=found)


def kv_change(found: ApplyLimits.Details) -> Change:
    revision = found.value.revision
    return Change(
        f"{LIMITS_KEY} in KV", describe_kv(found.before), f"revision {revision}", f"KV holds {revision}", None
    )


def describe_kv(text: str | None) -> str:
    """Describe the value in KV."""
    if text is None:
        return "no value"
    stored, problem = parse_kv(text)
    return f"revision {stored.revision}" if stored else problem


def parse_kv(text: str | None) -> tuple[LimitsValue | None, str]:
    """Return the value in KV, or its description if it is malformed. Raises Refused for a newer version."""
    if text is None:
        return None, ""
    try:
        return parse_value(text), ""
    except NewerVersionError as error:
        raise Refused(
            f"{LIMITS_KEY} in KV has {error}", reason=Reason.UNKNOWN_VALUE, hint="Update Backout, then run this again."
        ) from None
    except ValueError as error:
        return None, f"malformed text: {error}"


def _read_limits(ctx: Context[Any], runtime: "RuntimeConfig") -> "tuple[Limits, tuple[str, ...]]":
    """Return limits.yml with its warnings. Raises ConfigError with all of its problems."""
    from ops.limits.file import parse_limits

    if runtime.limits is None:
        raise ConfigError(
            f"{ctx.environment.name} has no limits in ops.yml", hint="List them under `runtime.limits.names`."
        )
    return parse_limits(ctx.github.limits.text(), path=FILE, names=runtime.limits.names, now=ctx.clock.now())


def _check_large_steps(limits: "Limits", applied: "Limits") -> tuple[str, ...]:
    """Return warnings about large cuts of the value in KV. Raises ConfigError for a large raise without `override`."""
    from ops.limits.file import check_steps

    found = [
        (f"{'.'.join(map(str, where))}: {text}", is_wrong)
        for name, limit in limits.items()
        for where, text, is_wrong in check_steps(name, limit, applied.get(name))
    ]
    if problems := tuple(text for text, is_wrong in found if is_wrong):
        raise ConfigError(
            f"{FILE} raises a limit too far above the value in KV: {'; '.join(problems)}",
            hint="Merge a smaller step, or set `override` of that limit to the reason.",
            problems=problems,
        )
    return tuple(text for text, _ in found)


def build_plan(
    ctx: Context[Any],
    found: ApplyLimits.Details,
    stored: LimitsValue | None,
    *,
    changes: tuple[Change, ...],
    reason: Reason | None = None,
    warnings: tuple[str, ...] = (),
) -> Plan[ApplyLimits.Details]:
    revision = found.value.revision
    differences = tuple(list_differences(stored.limits if stored else {}, found.value.limits))
    details = replace(found, revision=revision, proof=_choose_probed_limit(ctx, found.value, stored), drift=differences)
    return Plan(
        summary=f"write revision {revision} of {FILE} to KV"
        if changes
        else f"revision {revision} of {FILE} is already in KV",
        changes=changes,
        sections=(PlanSection("Limits", differences or ("no change",)),),
        consequences=(f"to undo it, revert the pull request: each merge of {FILE} is applied",) if changes else (),
        warnings=warnings,
        reason=reason,
        done_message=f"Applied revision {revision} of {FILE}",
        proved_claim=f"revision {revision} of {FILE} is in effect, seen at one location",
        proof_limit="other locations follow within about a minute",
        proves_health=False,
        details=details,
    )


def list_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Yield the limits with different values."""
    for name in dict.fromkeys([*after, *before]):
        if before.get(name) != after.get(name):
            yield f"{name}: {_describe_value(before.get(name))} → {_describe_value(after.get(name))}"


def _describe_value(value: Any) -> str:
    if not isinstance(value, Mapping):
        return "value in the code"
    text = f"{value.get('limit')} in {value.get('period')} s per {value.get('key')}"
    temporary = value.get("temporary")
    if isinstance(temporary, Mapping):
        text += f", {temporary.get('limit')} until {temporary.get('until')}"
    return text + (", probed" if value.get("probe") else "")


def _choose_probed_limit(ctx: Context[Any], value: LimitsValue, stored: LimitsValue | None) -> RateLimitCheck | None:
    """Choose the limit to probe: a changed one first, then the smallest, which needs the fewest requests."""
    before = stored.limits if stored else {}
    found = [
        (each == before.get(name), each.get("temporary", each)["limit"], name)
        for name, each in value.limits.items()
        if each.get("probe")
    ]
    fitting = sorted(each for each in found if each[1] <= MAX_PROBED_LIMIT)
    if not fitting:
        return None
    _, limit, name = fitting[0]
    return RateLimitCheck(name, limit, f"ops-{make_revision(ctx.run_id, name)}")
