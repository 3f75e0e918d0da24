"""`ops ai-failback`: remove an AI override once the preferred provider is healthy.

A schedule starts it. It keeps no state: KV holds the age of the override, and the application shows its outcomes of the
last minutes. In an outage of Cloudflare the override stays, with its own end. If there is nothing to remove it leaves
no trace; else it is a run on the incident of the override.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ops.app.configuration import SecretVariables
from ops.app.session import Session
from ops.core.clock import format_utc
from ops.core.errors import ConfigError, Reason, Refused
from ops.core.redaction import Redactor
from ops.core.runtime_contract import AI_SWITCH, SWITCH_KEY_PREFIX, SwitchValue
from ops.engine.context import Context
from ops.engine.runbook import DueRun, DueRuns, Schedule
from ops.runbooks.ai_failover import RESTORE, AiFailover
from ops.switches import ai_providers, values
from ops.switches.ai_providers import FailbackDecision
from ops.switches.steps import SwitchWrite, read_shown_switches
from ops.switches.values import DesiredValue, SwitchState

if TYPE_CHECKING:
    from datetime import datetime

    from ops.config import Config, Environment
    from ops.config.sections import AiConfig
    from ops.engine.context import WebClients


@dataclass(frozen=True)
class FailbackParams(AiFailover.Params):
    revision: str = ""
    """Revision of the judged override; any other override stays."""


def _find_due_ai_failback(
    config: "Config", environment: "Environment", environ: Mapping[str, str], redactor: Redactor
) -> Iterator[DueRun | str]:
    failback, override = _decide_ai_failback(config, environment, environ, redactor)
    verb = "remove the override" if failback.should_restore else "nothing to do"
    yield f"{environment.name}: {verb}: {failback.reason}"
    if override is not None and failback.should_restore:
        incident, *others = [each.incident for each in override.owners]
        params = FailbackParams(
            to=RESTORE,
            reason=failback.reason,
            revision=override.revision,
            accept_owners=tuple(map(str, others)),
        )
        yield DueRun(params, incident)


class AiFailback(AiFailover):
    """Remove an AI override once the preferred provider is healthy."""

    name = "ai-failback"
    section = ""
    when = "No incident: a schedule starts it"
    label_use = None
    schedule = Schedule("ai-failback", minute=3, pauses=True)
    job = replace(
        AiFailover.job,
        due=DueRuns(_find_due_ai_failback, lambda environment: bool(environment.runtime and environment.runtime.ai)),
    )
    example = FailbackParams(to=RESTORE)

    def plan_switch(self, ctx: Context[Any], current: SwitchState, desired: DesiredValue) -> SwitchWrite | None:
        """Plan only while KV and the application still show the judged override. Raises Refused."""
        observed = read_shown_switches(ctx).get(AI_SWITCH)
        revisions = {
            current.value.revision if current.value else "",
            observed.revision if observed else ctx.params.revision,
        }
        if current.is_on(ctx.clock.now()) and revisions != {ctx.params.revision}:
            raise Refused(
                f"{AI_SWITCH} was set again after the check: KV holds {current.describe(ctx.clock.now())}",
                reason=Reason.WORLD_MOVED,
                hint="Do nothing: the next run checks it again.",
            )
        return super().plan_switch(ctx, current, desired)


@dataclass(frozen=True)
class FailbackPorts:
    """Ports for probes of the providers, without a run."""

    environment: "Environment"
    web: "WebClients"
    secret_values: SecretVariables


def _decide_ai_failback(
    config: "Config", environment: "Environment", environ: Mapping[str, str], redactor: Redactor
) -> tuple[FailbackDecision, SwitchValue | None]:
    """Return the decision, and the override with its active owners or None. Raises ConfigError and ProviderError."""
    runtime = environment.require_runtime()
    if runtime.ai is None:
        raise ConfigError("ops.yml names no AI providers", hint="List them under `runtime.ai.order`.")
    with ExitStack() as stack:
        session = Session(config, environment.name, environ, stack)
        current = values.parse_switch_state(
            AI_SWITCH,
            runtime.switches[AI_SWITCH],
            session.cloudflare.kv.read_value(runtime.namespace, f"{SWITCH_KEY_PREFIX}{AI_SWITCH}"),
        )
        override = current.value
        if override is None or not current.is_on(session.clock.now()):
            return FailbackDecision(
                should_restore=False, reason=f"no override: {current.describe(session.clock.now())}"
            ), None
        override = replace(override, owners=current.owners(session.clock.now()))
        if not all(each.incident for each in override.owners):
            end = f"; it ends automatically at {format_utc(override.until)}" if override.until else ""
            return FailbackDecision(
                should_restore=False,
                reason=f"the override belongs to no incident, so a change could not be reported{end}",
            ), override
        ports = FailbackPorts(environment, session.web, SecretVariables(environ, redactor, config))
        return _decide_with_probe(ports, runtime.ai, override, session.clock.now()), override


def _decide_with_probe(
    ports: FailbackPorts, ai: "AiConfig", override: SwitchValue, now: "datetime"
) -> FailbackDecision:
    preferred = ai.order[0]
    observed = ai_providers.observe_providers(ports, ai, probe=False)
    failback = ai_providers.decide_failback(
        preferred, override, observed.outcomes.get(preferred), least=ai.fail_back, now=now
    )
    if not failback.needs_probe:
        return failback
    answer = ai_providers.probe_provider(ports, ai, preferred) if ai_providers.find_key(ports, ai, preferred) else None
    return ai_providers.decide_by_probe(failback, answer, override.until)
