"""`ops ai-failback`: takes an override of the AI providers back once the preferred one is healthy. For a schedule.

It holds no memory: the override's age is in KV, and the application itself shows what it saw in its last minutes. Where
there is nothing to take back it leaves no trace; else it is a run of its own on the incident of the override.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.app.secret_values import ProcessSecretValues
from ops.app.session import Session
from ops.core.clock import format_utc
from ops.core.errors import ConfigError, Reason, Refused
from ops.core.plan import Plan
from ops.core.redaction import Redactor
from ops.core.runtime_contract import AI, SWITCHES, SwitchValue
from ops.engine.context import Context
from ops.engine.runbook import DueRun, Schedule
from ops.runbooks.ai_failover import RESTORE, AiFailover
from ops.runbooks.ai_failover import Params as Asked
from ops.switches import ai_providers, values
from ops.switches.ai_providers import Judged
from ops.switches.steps import Settings, shown_switches

if TYPE_CHECKING:
    from datetime import datetime

    from ops.config import Config, Environment
    from ops.config.runtime import AiConfig
    from ops.engine.context import WebPort


@dataclass(frozen=True)
class Params(Asked):
    revision: str = ""
    """Of the override that was judged: another one is none of its business."""


class AiFailback(AiFailover):
    """Take an override of the AI providers back once the preferred one is healthy."""

    name = "ai-failback"
    schedule = Schedule("ai-failback", minute=3)
    when = "Nothing: it is for a schedule"
    by_label = False
    finds_due = True
    params = Params
    example = Params(to=RESTORE)

    def may_be_due(self, environment: "Environment") -> bool:
        return environment.runtime is not None and environment.runtime.ai is not None

    def due(
        self, config: "Config", environment: "Environment", environ: Mapping[str, str], redactor: Redactor
    ) -> Iterator[DueRun | str]:
        found, override = _judged(config, environment, environ, redactor)
        yield f"{environment.name}: {'to be taken back' if found.restore else 'nothing to do'}: {found.why}"
        if override is not None and found.restore:
            yield DueRun(Params(to=RESTORE, reason=found.why, revision=override.revision), override.incident)

    def preflight(self, ctx: Context[Any]) -> Plan[Settings]:
        plan = super().preflight(ctx)
        seen = shown_switches(ctx).get(AI)
        for setting in plan.details.of.values():
            former = setting.standing.value
            held = {former.revision if former else "", seen.revision if seen else ctx.params.revision}
            if held != {ctx.params.revision}:
                raise Refused(
                    f"{AI} was set again since it was judged: KV holds {setting.standing.told(ctx.clock.now())}",
                    reason=Reason.WORLD_MOVED,
                    hint="The next run judges it.",
                )
        return plan


@dataclass(frozen=True)
class Outside:
    """What `watching` needs, without a run."""

    environment: "Environment"
    web: "WebPort"
    secret_values: ProcessSecretValues


def _judged(
    config: "Config", environment: "Environment", environ: Mapping[str, str], redactor: Redactor
) -> tuple[Judged, SwitchValue | None]:
    """Whether to take it back, and the override; None where there is none. Raises ConfigError and ProviderError."""
    runtime = environment.needed_runtime()
    if runtime.ai is None:
        raise ConfigError("ops.yml names no AI providers", hint="Write them under `runtime`, `ai`, `order`.")
    with ExitStack() as ending:
        session = Session(environment, environ, ending)
        standing = values.standing(
            AI, runtime.switches[AI], session.kv.read_value(runtime.namespace, f"{SWITCHES}{AI}")
        )
        override = standing.value
        if override is None or not standing.is_on(session.clock.now()):
            return Judged(restore=False, why=f"no override is on: {standing.told(session.clock.now())}"), None
        if override.incident is None:
            end = f", and ends by itself at {format_utc(override.until)}" if override.until else ""
            return Judged(restore=False, why=f"the override names no incident on which to tell of it{end}"), override
        asks = Outside(environment, session, ProcessSecretValues(environ, redactor, config))
        return _judge(asks, runtime.ai, override, session.clock.now()), override


def _judge(asks: Outside, ai: "AiConfig", override: SwitchValue, now: "datetime") -> Judged:
    preferred = ai.order[0]
    seen = ai_providers.look(asks, ai, probe=False)
    found = ai_providers.fail_back(preferred, override, seen.outcomes.get(preferred), least=ai.fail_back, now=now)
    if not found.ask:
        return found
    answer = ai_providers.ask(asks, ai, preferred) if ai_providers.key_of(asks, ai, preferred) else None
    return ai_providers.by_probe(found, answer, override.until)
