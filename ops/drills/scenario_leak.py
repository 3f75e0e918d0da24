"""Scenarios of rotate-secrets: the AI providers revoked leaked keys at once.

Before the rotation ends, a person rolls back to the version with the leaked keys, and CI deploys those keys again.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.core.errors import ConfigError, Decision
from ops.core.verdict import ProbeObservation, Verdict
from ops.drills import command, github
from ops.drills.command import DrillWorld, Params, Say
from ops.drills.scenario_release import Scenario
from ops.drills.score import mark_drill_unhealthy

if TYPE_CHECKING:
    from ops.config import Environment, Service
    from sandbox import Sandbox

KEYS = {"IFLOW_API_KEY": "iflow", "GROQ_API_KEY": "groq", "CEREBRAS_API_KEY": "cerebras"}
"""Secret → its provider in the sandbox."""
OTHER = "JWT_SECRET"
LEAKED = {name: f"drill-leaked-{provider}-0123456789" for name, provider in KEYS.items()}
FRESH = {name: f"drill-fresh-{provider}-9876543210" for name, provider in KEYS.items()}


def _leak_or_revoke_keys(
    sandbox: "Sandbox", service: "Service", name: str, _edge: str, _folder: Path
) -> Mapping[str, str | None] | None:
    """Deploy the release, or revoke the leaked keys.

    The application calls a provider for its charts, which fails without a valid key. A recovery deploys the fresh keys.
    """
    if name == "bad":
        for key, provider in KEYS.items():
            sandbox.providers[provider].revoke(LEAKED[key])
        return None
    for key, provider in KEYS.items():
        sandbox.providers[provider].add_key(LEAKED[key])
        sandbox.providers[provider].add_key(FRESH[key])
    _deploy_with_leaked_keys(sandbox, service, name)
    return FRESH


def _deploy_with_leaked_keys(sandbox: "Sandbox", service: "Service", name: str) -> None:
    providers = {
        f"/health/ai/{provider}": {"upstream": {"provider": provider, "secret": key}} for key, provider in KEYS.items()
    }
    paths = [probe.http.path.partition("?")[0] for probe in service.probes if probe.http]
    behaviour = {"paths": {**dict.fromkeys(paths, next(iter(providers.values()))), **providers}}
    secrets = {**LEAKED, OTHER: "drill"}
    version = sandbox.upload(service.worker, code=name, behaviour=behaviour, secrets=secrets, tag=name)
    sandbox.deploy(service.worker, version)


def _require_keys(environment: "Environment", _service: "Service") -> None:
    """Raise ConfigError if ops.yml does not rotate the keys that leak."""
    if not KEYS.keys() <= environment.secrets.keys():
        hint = "Leave --config out, to drill the reference application."
        raise ConfigError(f"{environment.name} lacks the secrets {', '.join(KEYS)}, which this drill leaks", hint=hint)


def _roll_back_first(
    sandbox: "Sandbox", service: "Service", name: str, edge: str, folder: Path
) -> Mapping[str, str | None] | None:
    """Roll a bad release back before the leak, so that the newest upload is not live."""
    if name == "bad":
        (good,) = sandbox.live(service.worker)
        for version in (sandbox.upload(service.worker, code=name, behaviour={"status": 500}, tag=name), good):
            sandbox.deploy(service.worker, version)
    return _leak_or_revoke_keys(sandbox, service, name, edge, folder)


def _live_keys(sandbox: "Sandbox", service: "Service") -> Mapping[str, str | None]:
    """Return the keys of the live version."""
    (version,) = sandbox.live(service.worker)
    serving = sandbox.deployments(service.worker)[0].secrets[version]
    return {key: serving.get(key) for key in KEYS}


def run(
    world: DrillWorld,
    service: "Service",
    probe: Callable[[], ProbeObservation],
    start_runbook: github.DrillTrigger,
    say: Say,
) -> dict[str, Any]:
    """Rotate, and bring the leaked keys back in two ways. Return the result of the rotation with what came of them."""
    sandbox = world.sandbox
    (leaked,) = sandbox.live(service.worker)
    result = start_runbook(LEAK.params)
    if result["decision"] != Decision.RECOVERED:
        return result
    responder, keys = _Responder(world, start_runbook.incident, say), tuple(KEYS)
    say("a person rolls back to the version with the leaked keys")
    responder.run("rollback-worker", Decision.REFUSED, {"to": leaked})
    _deploy_with_leaked_keys(sandbox, service, "good")
    say("CI deployed the leaked keys again")
    responder.run("rotate-secrets", Decision.STILL_UNHEALTHY, {"confirm_revoked": keys})
    if marked := _revoked_keys(sandbox, service):
        responder.problems.append(f"{', '.join(marked)} are marked as revoked, although the leaked values are live")
    responder.run("rotate-secrets", Decision.RECOVERED, {"only": keys})
    responder.run("rotate-secrets", Decision.HEALTHY_AS_BEFORE, {"confirm_revoked": keys})
    if _revoked_keys(sandbox, service) != set(KEYS):
        responder.problems.append("the keys are not marked as revoked")
    live, is_healthy = _live_keys(sandbox, service), probe().verdict == Verdict.HEALTHY
    if responder.problems:
        return mark_drill_unhealthy(result, "; ".join([result["message"], *responder.problems]))
    return github.compare_with_sandbox(
        result, live_release="good" if live == FRESH else "no known", is_healthy=is_healthy
    )


@dataclass
class _Responder:
    """Runs commands after the rotation, and collects unexpected ends and missing answers on the incident."""

    world: DrillWorld
    incident: github.DrillIncident | None
    say: Say
    problems: list[str] = field(default_factory=list)

    def run(self, runbook: str, expected: Decision, params: Params) -> None:
        incident = self.incident
        before = incident.last_record if incident else None
        ended = command.run_drilled_command(
            replace(self.world, runbook=runbook),
            say=self.say,
            on_event=lambda _: None,
            params=params,
            incident=incident.number if incident else None,
            environ=incident.environ() if incident else None,
        )
        self.say(f"{ended['decision']}: {ended['message']}")
        if ended["decision"] != expected:
            self.problems.append(f"{runbook} ended {ended['decision']} instead of {expected}: {ended['message']}")
        if incident is not None and not incident.has_complete_record(before):
            self.problems.append(f"the incident has no answer of {runbook}")


def _revoked_keys(sandbox: "Sandbox", service: "Service") -> set[str]:
    """Return the keys that the mark of the live deployment calls revoked."""
    message = sandbox.deployments(service.worker)[0].annotations.get("workers/message", "")
    marked = re.match(r"ops1 [^;]* revoked=([^ ;]+)", message)
    return set(marked[1].split(",")) if marked else set()


LEAK = Scenario(
    "worker",
    _leak_or_revoke_keys,
    live=_live_keys,
    changed_at=lambda sandbox, service: sandbox.deployments(service.worker)[0].made_at,
    environ=lambda _: {
        **{f"NEW_{key}": value for key, value in FRESH.items()},
        **{f"OLD_{key}": value for key, value in LEAKED.items()},
    },
    steps=("deployed the release", "the keys of the AI providers leaked, and the providers revoked them"),
    params={"only": tuple(KEYS)},
    run=run,
    require=_require_keys,
    unsupported={"workerd": "the example's probes pass without provider keys, so a revoked key breaks nothing"},
)
AFTER_A_ROLLBACK = replace(
    LEAK,
    release=_roll_back_first,
    steps=("deployed the release", "a bad release was rolled back, the keys leaked, and the providers revoked them"),
    params={"only": tuple(KEYS), "inherit_latest": (OTHER,)},
    runbook="rotate-secrets",
    run=None,
)
