"""Switch the AI provider, or turn AI off (procedure scenario 5)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from ops.cloudflare.types.records import LoggedError, describe_logged_errors
from ops.config.probes import ProbeSet
from ops.core.clock import format_duration, format_utc
from ops.core.errors import ConfigError, Reason, Refused
from ops.core.names import did_you_mean, quote_name
from ops.core.owners import StateOwner, advise_asking_owners, describe_owners
from ops.core.plan import PlanSection
from ops.core.runtime_contract import AI_SWITCH
from ops.core.verdict import SEEN
from ops.engine.context import Context
from ops.engine.runbook import IncidentUse, JobNeeds, JobSecret, RequestEffect, param
from ops.engine.step import StepPlan
from ops.switches import ai_providers, steps, values
from ops.switches.ai_providers import OFF, ProviderHealth, ProviderObservation
from ops.switches.steps import SetSwitch, SwitchRunbook, SwitchWrite
from ops.switches.values import DesiredValue, SwitchState

if TYPE_CHECKING:
    from ops.config import Environment
    from ops.config.sections import AiConfig, RuntimeConfig

PROVIDERS_SECTION = "AI providers"

AUTO, RESTORE = "auto", "restore"
LOG_PERIOD = timedelta(minutes=15)
LOG_SECTION_TITLE = f"Errors in the logs of the last {format_duration(LOG_PERIOD.total_seconds())}"


def _list_ai_targets(environment: "Environment") -> tuple[str, ...]:
    providers = environment.runtime.ai.order if environment.runtime and environment.runtime.ai else ()
    return (AUTO, *providers, "off", RESTORE)


class AiFailover(SwitchRunbook["AiFailover.Params"]):
    """Switch the AI provider, or turn AI off."""

    @dataclass(frozen=True)
    class Params:
        to: str = param(
            "AI provider in ops.yml, auto (first healthy one), off, or restore (normal order)", choices=_list_ai_targets
        )
        until: str = param("End, such as 2h or 2026-11-24T05:00Z (default: `longest` in ops.yml)", default="")
        accept_owners: tuple[str, ...] = param(steps.ACCEPT_OWNERS, default=())
        accept_longer: bool = param(steps.ACCEPT_LONGER, default=False)
        probe: bool = param("Send each provider one request with our key; may cost a token", default=False)
        reason: str = param("Reason, shown in the timeline", default="")

    name = "ai-failover"
    section = "Limits and switches"
    when = "An AI provider fails and the application does not recover from it, or all fail"
    setting = "`ai`"
    incident_use = IncidentUse(menu_rank=2)
    example = Params(to="cerebras")
    job = JobNeeds(secrets=(JobSecret.AI_KEYS,))

    def fits(self, environment: "Environment", service: str) -> list[dict[str, Any]]:  # noqa: ARG002
        return [{"to": "auto"}] if environment.runtime and environment.runtime.ai else []

    def effect(self, params: Mapping[str, Any], environment: "Environment") -> RequestEffect:  # noqa: ARG002
        return RequestEffect(ends_state=params.get("to") == RESTORE)

    def probes(self, ctx: Context[Params]) -> ProbeSet:
        _find_ai_settings(ctx)
        to = ctx.params.to
        shown = {} if to == AUTO else values.expected_switch_json(AI_SWITCH, _switch_state(ctx, to), None)
        return steps.build_switch_probes(ctx, shown, steps.own_switch_probes(ctx, AI_SWITCH))

    def plan(self, ctx: Context[Params]) -> StepPlan:
        runtime, ai = _find_ai_settings(ctx)
        errors = _start_error_read(ctx)
        observed = ai_providers.observe_providers(ctx, ai, probe=ctx.params.probe)
        current = steps.read_switch(ctx, AI_SWITCH)  # last: this is the comparison
        to = _choose_automatically(ctx, ai, observed) if ctx.params.to == AUTO else ctx.params.to
        state = _switch_state(ctx, to)
        desired = _desired_value(ctx, runtime, ai, state)
        write = self.plan_switch(ctx, current, desired)
        stays = write.stays_for(desired) if write else ()
        planned, before = write.value.state if write else state, current.state(ctx.clock.now())
        undo = ctx.suggest(self.typed_name, to=RESTORE) if state != current.rules.normal else None
        first = {f"{AI_SWITCH}.order.0": planned} if planned in ai.order else {}
        shown = steps.expect_shown(ctx, current, write) | first
        own = () if stays else steps.own_switch_probes(ctx, AI_SWITCH)
        return StepPlan(
            summary=_summarize_ai_switch(write, desired, current.rules.normal),
            changes=(SetSwitch.of(ctx, write, undo),) if write else (),
            sections=(
                PlanSection(PROVIDERS_SECTION, observed.lines),
                PlanSection(LOG_SECTION_TITLE, describe_logged_errors(errors())),
            ),
            consequences=_ai_consequences(current, write),
            warnings=(
                *steps.write_warnings([write] if write else []),
                *steps.end_warnings(write, desired, ctx.clock.now()),
                *_find_doubts(observed, state, ai),
            ),
            reason=None if write else Reason.ALREADY_SET,
            next_step=steps.suggest_acceptance(ctx, self.typed_name, stays),
            done_message=_describe_done(desired, stays),
            proved_claim=f"{AI_SWITCH} stays {planned}, {SEEN}, held by {describe_owners(stays)}"
            if stays
            else f"{AI_SWITCH} is {state}, {SEEN}; {steps.describe_health_by_switch(ctx, AI_SWITCH)}",
            proof_limit=steps.ONE_LOCATION_NOTE,
            proves_health=not stays,
            tasks=(
                *advise_asking_owners(stays),
                *ai_providers.provider_tasks(ai.message, before=before, after=planned),
            ),
            notices=steps.list_switch_notices(ctx, [write] if write else []),
            probes=partial(steps.build_switch_probes, ctx, shown, own),
        )


def _start_error_read(ctx: Context[AiFailover.Params]) -> "Callable[[], tuple[LoggedError, ...] | str]":
    _, service = steps.switch_reader(ctx)
    now = ctx.clock.now()
    return ctx.cloudflare.logged_errors(service.worker, now - LOG_PERIOD, now)


def _find_ai_settings(ctx: Context[AiFailover.Params]) -> "tuple[RuntimeConfig, AiConfig]":
    """Return the settings of AI_SWITCH. Raises ConfigError."""
    runtime, to = ctx.environment.require_runtime(), ctx.params.to
    if runtime.ai is None:
        hint = "List them under `runtime.ai.order`, the preferred one first."
        raise ConfigError("ops.yml names no AI providers", hint=hint)
    known = (*runtime.ai.order, AUTO, OFF, RESTORE)
    if to not in known:
        text = f'no AI provider "{quote_name(to)}" in ops.yml{did_you_mean(to, known)}'
        raise ConfigError(text, reason=Reason.UNKNOWN_NAME, hint=f"Use one of: {', '.join(known)}.")
    if ctx.params.until and to == RESTORE:
        hint = "Omit `--until`: the normal order stays until it is changed."
        raise ConfigError("`--until` does not apply to restore, which sets the normal state", hint=hint)
    return runtime, runtime.ai


def _switch_state(ctx: Context[Any], to: str) -> str:
    return ctx.environment.require_runtime().switches[AI_SWITCH].normal if to == RESTORE else to


def _choose_automatically(ctx: Context[AiFailover.Params], ai: "AiConfig", observed: ProviderObservation) -> str:
    """Choose by health. Raises Refused if the health of all providers is unknown."""
    if observed.missing and all(each == ProviderHealth.UNKNOWN for each in observed.health.values()):
        raise Refused(
            f"the health of all AI providers is unknown: {observed.missing}",
            reason=Reason.NO_EVIDENCE,
            hint=f"Choose one of {', '.join(ai.order)} with `--to`, or turn AI off.",
            suggested_command=ctx.suggest(AiFailover.name, to=OFF),
        )
    to = ai_providers.choose_provider(ai.order, observed.health)
    return RESTORE if to == ai.order[0] else to


def _desired_value(
    ctx: Context[AiFailover.Params], runtime: "RuntimeConfig", ai: "AiConfig", state: str
) -> DesiredValue:
    rules = runtime.switches[AI_SWITCH]
    # If auto keeps the preferred provider, nothing ends.
    given = "" if state == rules.normal else ctx.params.until
    return DesiredValue(
        state,
        ctx.request.actor,
        ctx.request.incident,
        values.parse_switch_end(AI_SWITCH, rules, state, given, ctx.clock.now()),
        message=ai.message if state == OFF else "",
        accepted_owners=ctx.params.accept_owners,
        accepts_longer=ctx.params.accept_longer,
    )


def _summarize_ai_switch(write: SwitchWrite | None, desired: DesiredValue, normal: str) -> str:
    state = desired.state
    what = {OFF: "no provider", normal: "the application's order"}.get(state, f"{state} first")
    if write is None:
        return f"{AI_SWITCH} is already {state}: {what}"
    if stays := write.stays_for(desired):
        return f"{AI_SWITCH}: stays {write.value.state}, held by {describe_owners(stays)}"
    return f"{AI_SWITCH}: {state}, {what}{f' until {format_utc(write.value.until)}' if write.value.until else ''}"


def _describe_done(desired: DesiredValue, stays: Sequence[StateOwner]) -> str:
    if stays:
        return f"Released {AI_SWITCH}"
    return "Turned AI interpretations off" if desired.state == OFF else f"Set {AI_SWITCH} to {desired.state}"


def _ai_consequences(current: SwitchState, write: SwitchWrite | None) -> tuple[str, ...]:
    if write is None:
        return ()
    effect = current.rules.effect.get(write.value.state)
    earlier = ("it returns to normal earlier by `ops ai-failback`",) if write.value.until else ()
    return (
        *([f"while it is {write.value.state}: {effect}"] if effect else []),
        *steps.describe_switch_end(write),
        *earlier,
    )


def _find_doubts(observed: ProviderObservation, state: str, ai: "AiConfig") -> tuple[str, ...]:
    doubts = [f"the application's outcomes are unknown: {observed.missing}"] if observed.missing else []
    if state in ai.order and observed.health[state] != ProviderHealth.HEALTHY:
        doubts.append(f"health of {state}: {observed.health[state]}")
    return tuple(doubts)
