"""Scenario 5 of the rollback procedure: another AI provider first, or interpretations off, by the switch `ai`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ops.core.clock import format_duration, format_utc
from ops.core.errors import ConfigError, Reason, Refused
from ops.core.plan import Plan, PlanSection
from ops.core.runtime_contract import AI
from ops.core.suggestions import shown, suggestion
from ops.engine.context import Context
from ops.engine.runbook import JobSecret, param
from ops.switches import ai_providers, steps, values
from ops.switches.ai_providers import OFF, Health, Seen, logged
from ops.switches.steps import Setting, SwitchRunbook
from ops.switches.values import Standing, Wanted

if TYPE_CHECKING:
    from ops.cloudflare.types.records import LoggedError
    from ops.config import Environment, Service
    from ops.config.probes import Probe
    from ops.config.runtime import AiConfig, RuntimeConfig

AUTO, RESTORE = "auto", "restore"
LOGS_REACH = timedelta(minutes=15)
LOGS = f"What {format_duration(LOGS_REACH.total_seconds())} of logs say, its Durable Objects' too"


@dataclass(frozen=True)
class Params:
    to: str = param("a provider of ops.yml; auto: the first healthy one; off: none is asked; restore: as on a calm day")
    until: str = param(
        "when it ends by itself, as 2h or 2026-11-24T05:00Z; without it, `longest` of ops.yml", default=""
    )
    probe: bool = param("ask each provider once with a key of ours, which may cost a token", default=False)
    reason: str = param("why, in a few words, for the timeline", default="")


class AiFailover(SwitchRunbook[Params]):
    """Let another AI provider be asked first, or none, and see it in effect."""

    name = "ai-failover"
    when = "An AI provider fails and the application does not get past it by itself, or all of them fail"
    params = Params
    example = Params(to="cerebras")
    job_secrets = (JobSecret.AI_KEYS,)

    def fits(self, environment: "Environment", service: str) -> list[dict[str, Any]]:  # noqa: ARG002
        return [{"to": "auto"}] if environment.runtime and environment.runtime.ai else []

    def choices(self, environment: "Environment") -> Mapping[str, Sequence[str]]:
        providers = environment.runtime.ai.order if environment.runtime and environment.runtime.ai else ()
        return {"to": (AUTO, *providers, "off", RESTORE)}

    def wanted(self, ctx: Context[Params]) -> Mapping[str, Any]:
        _asked(ctx)
        return {} if ctx.params.to == AUTO else values.shown_json(AI, _state(ctx, ctx.params.to), None)

    def own_probes(
        self,
        ctx: Context[Params],
        service: "Service",
        plan: Plan[steps.Settings] | None,  # noqa: ARG002  known before it
    ) -> "tuple[Probe, ...]":
        return (*service.probes, *ctx.environment.needed_runtime().switches[AI].probes)

    def preflight(self, ctx: Context[Params]) -> Plan[steps.Settings]:
        runtime, ai = _asked(ctx)
        errors = _errors(ctx)
        seen = ai_providers.look(ctx, ai, probe=ctx.params.probe)
        standing = steps.read(ctx, AI)  # last: this is the comparison
        to = _chosen(ctx, ai, seen) if ctx.params.to == AUTO else ctx.params.to
        state = _state(ctx, to)
        made = steps.setting(ctx, standing, _wanted(ctx, runtime, ai, state))
        normal = standing.rules.normal
        undo = ctx.press(self.name, to=RESTORE) if state != normal else None
        first = {f"{AI}.order.0": state} if state in ai.order else {}
        details = steps.planned(ctx, standing, made, undo, first)
        return Plan(
            summary=_summary(made, state, normal),
            changes=tuple(details.of),
            sections=(
                PlanSection("The providers, as far as is known", seen.lines),
                PlanSection(LOGS, logged(errors())),
            ),
            consequences=_follows(standing, made, state),
            warnings=(*steps.warnings([made] if made else []), *_doubts(seen, state, ai)),
            reason=None if made else Reason.ALREADY_SET,
            done_message="AI interpretations are off" if state == OFF else f"Set {AI} to {state}",
            proved_claim=f"{AI} is {state}, {steps.ELSEWHERE}; the probes are healthy",
            tasks=_tasks(ai) if state == OFF else (),
            details=details,
        )


def _errors(ctx: Context[Params]) -> "Callable[[], tuple[LoggedError, ...] | str]":
    _, service = steps.reader(ctx)
    now = ctx.clock.now()
    return ctx.cloudflare.logged_errors(service.worker, now - LOGS_REACH, now)


def _asked(ctx: Context[Params]) -> "tuple[RuntimeConfig, AiConfig]":
    """Raises ConfigError."""
    runtime, to = ctx.environment.needed_runtime(), ctx.params.to
    if runtime.ai is None:
        hint = "Write the providers, the preferred first, under `runtime`, `ai`, `order`."
        raise ConfigError("ops.yml names no AI providers", hint=hint)
    known = (*runtime.ai.order, AUTO, OFF, RESTORE)
    if to not in known:
        text = f'"{shown(to)}" is no AI provider in ops.yml{suggestion(to, known)}'
        raise ConfigError(text, reason=Reason.UNKNOWN_NAME, hint=f"Write one of: {', '.join(known)}.")
    if ctx.params.until and to == RESTORE:
        hint = "Leave --until out: what is restored stays."
        raise ConfigError("restore is the normal state, which has no end", hint=hint)
    return runtime, runtime.ai


def _state(ctx: Context[Any], to: str) -> str:
    return ctx.environment.needed_runtime().switches[AI].normal if to == RESTORE else to


def _chosen(ctx: Context[Params], ai: "AiConfig", seen: Seen) -> str:
    """Raises Refused where nothing at all is known: then a person has to choose."""
    if seen.lacks and all(each == Health.UNKNOWN for each in seen.found.values()):
        raise Refused(
            f"which provider is healthy is not known: {seen.lacks}",
            reason=Reason.NO_EVIDENCE,
            hint=f"Name one of {', '.join(ai.order)}, or switch all off.",
            suggested_command=ctx.press(AiFailover.name, to=OFF),
        )
    to = ai_providers.choose(ai.order, seen.found)
    return RESTORE if to == ai.order[0] else to


def _wanted(ctx: Context[Params], runtime: "RuntimeConfig", ai: "AiConfig", state: str) -> Wanted:
    rules = runtime.switches[AI]
    # Where auto finds that the preferred one may go on, there is nothing that could end.
    given = "" if state == rules.normal else ctx.params.until
    until = values.until_of(AI, rules, state, given, ctx.clock.now())
    return Wanted(state, ctx.request.actor, ctx.request.incident, until, message=ai.message if state == OFF else "")


def _summary(made: Setting | None, state: str, normal: str) -> str:
    what = {OFF: "no provider is asked", normal: "the application's own order"}.get(state, f"{state} is asked first")
    if made is None:
        return f"{AI} is {state} already: {what}"
    return f"{AI}: {state}, {what}{f' until {format_utc(made.value.until)}' if made.value.until else ''}"


def _follows(standing: Standing, made: Setting | None, state: str) -> tuple[str, ...]:
    effect = standing.rules.effect.get(state)
    until = made.value.until if made else None
    return (
        *([f"while it is {state}: {effect}"] if effect else []),
        *(
            [f"at {format_utc(until)} it is {standing.rules.normal} again by itself, or earlier by `ops ai-failback`"]
            if until
            else []
        ),
    )


def _doubts(seen: Seen, state: str, ai: "AiConfig") -> tuple[str, ...]:
    found = [f"what the application saw of its providers is not known: {seen.lacks}"] if seen.lacks else []
    if state in ai.order and seen.found[state] != Health.HEALTHY:
        found.append(f"{state} is {seen.found[state]}, as far as is known")
    return tuple(found)


def _tasks(ai: "AiConfig") -> tuple[str, ...]:
    return (
        f'check that the application shows the banner "{ai.message}"',
        (
            f'post on the status page: "{ai.message}. Everything else works as usual. We are watching our providers, '
            'and will say here when interpretations are back."'
        ),
    )
