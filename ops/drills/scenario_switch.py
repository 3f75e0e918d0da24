"""Scenarios of switches: the application fails until a switch is set.

On the embedded edge, a version gets its answer for each state of a switch. On the workerd edge, the example itself
fails: by a bad release of its sessions, or by providers that are slow or down.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.core.errors import ConfigError
from ops.core.runtime_contract import AI_SWITCH, SWITCH_KEY_PREFIX, SwitchValue, parse_switch_value
from ops.drills import example, scenario_release
from ops.drills.scenario_leak import KEYS
from ops.drills.scenario_release import Scenario

if TYPE_CHECKING:
    from ops.config import Environment, Service
    from ops.config.probes import Probe
    from ops.config.sections import RuntimeConfig
    from sandbox import Sandbox

SESSIONS = "session-do"
SLOW = 5.0
"""Seconds for each answer: slow for the application, but below its timeout."""
RECENTLY = timedelta(minutes=2)
"""The application forgets the outcomes of its providers after five minutes."""
FAILED_CALLS, GOOD_CALLS = {"ok": 0, "failed": 9}, {"ok": 9, "failed": 0}


def _write_normal_states(sandbox: "Sandbox", environment: "Environment", _service: "Service") -> None:
    """Write the normal states to the namespace of ops.yml."""
    write_normal_states(sandbox, environment.require_runtime())


def reads_switches(environment: "Environment", service: str) -> bool:
    return environment.runtime is not None and environment.runtime.service == service


def write_normal_states(sandbox: "Sandbox", runtime: "RuntimeConfig") -> None:
    sandbox.kv.add(runtime.namespace)
    for name, rules in runtime.switches.items():
        normal = SwitchValue(rules.normal, "drill", None, sandbox.clock.now(), "calm")
        sandbox.kv.put(runtime.namespace, f"{SWITCH_KEY_PREFIX}{name}", normal.to_json())


@dataclass(frozen=True)
class _DrilledFailure:
    """The bad release fails while `switch` has its normal state; it is healthy in `recovered_state`."""

    switch: str
    recovered_state: str
    outcomes: Mapping[str, Mapping[str, int]]
    """Provider, in order of preference → outcomes that the application observed."""

    def release(self, sandbox: "Sandbox", service: "Service", name: str, _edge: str, _folder: Path) -> str | None:
        (namespace,) = sandbox.kv.namespaces
        states = {
            key.removeprefix(SWITCH_KEY_PREFIX): _switch_state(sandbox, key) for key in sandbox.kv.entries(namespace)
        }
        declared = {each: {"normal": state, "on_unknown": state} for each, state in states.items()}
        paths = [probe.http.path.partition("?")[0] for probe in service.probes if probe.http]
        failing = {"path": next(iter(paths), "/"), "status": 500}
        behaviour: dict[str, Any] = {"runtime": {"switches": declared, "ai": {"order": list(self.outcomes)}}}
        behaviour |= {"switched": {self.switch: {states[self.switch]: failing}}} if name == "bad" else {}
        bound = [{"type": "kv_namespace", "name": "OPS_RUNTIME", "namespace_id": namespace}]
        version = sandbox.upload(service.worker, code=name, behaviour=behaviour, bindings=bound, tag=name)
        sandbox.deploy(service.worker, version)
        sandbox.set_outcomes(service.worker, self.outcomes)
        return self.recovered_state if name == "good" else None

    def live(self, sandbox: "Sandbox", _service: "Service") -> str:
        return _switch_state(sandbox, f"{SWITCH_KEY_PREFIX}{self.switch}")

    def changed_at(self, sandbox: "Sandbox", _service: "Service") -> datetime | None:
        (namespace,) = sandbox.kv.namespaces.values()
        return namespace.written_at.get(f"{SWITCH_KEY_PREFIX}{self.switch}")

    def require(self, environment: "Environment", service: "Service") -> None:
        """Raise ConfigError if the service does not read the switch."""
        runtime = environment.require_runtime()
        if runtime.service != service.name:
            hint = f"Leave --service out, or write --service {runtime.service}."
            text = f"the drill changes {self.switch}, and {service.name} reads no switches in {environment.name}"
            raise ConfigError(text, hint=hint)
        if self.switch not in runtime.switches:
            hint = "Leave --config out, to drill the reference application."
            raise ConfigError(f"{environment.name} has no switch {self.switch}, which this drill uses", hint=hint)

    def scenario(self, params: Mapping[str, str], *, runbook: str = "") -> Scenario:
        return Scenario(
            "worker",
            self.release,
            live=self.live,
            changed_at=self.changed_at,
            prepare=_write_normal_states,
            suits=reads_switches,
            require=self.require,
            names_service=False,
            params=params,
            runbook=runbook,
            probes=self.probes,
        )

    def probes(self, environment: "Environment", service: "Service") -> "tuple[Probe, ...]":
        return (*service.probes, *environment.require_runtime().switches[self.switch].probes)


def _with_workerd(
    embedded: Scenario,
    recovered_state: str,
    break_example: "Callable[[Sandbox, Service], None]",
    *,
    step: str,
    params: Mapping[str, str] | None = None,
    broken_ago: timedelta = RECENTLY,
) -> Scenario:
    """Return the scenario with an example that `break_example` breaks until the switch has `recovered_state`."""

    def release_switch_state(
        sandbox: "Sandbox", service: "Service", name: str, _edge: str, _folder: Path
    ) -> str | None:
        if name == "bad":
            break_example(sandbox, service)
            return None
        example.deploy_example(sandbox, service, example.GOOD, admin="drill-admin-0123456789")
        return recovered_state

    real = replace(
        embedded,
        release=release_switch_state,
        steps=("deployed the good release", step),
        params=params or embedded.params,
        broken_ago=broken_ago,
    )
    return replace(embedded, in_workerd=real)


def _bad_sessions(sandbox: "Sandbox", service: "Service") -> None:
    scenario_release.deploy_with_wrangler(sandbox, service, "bad", example.BAD_SESSIONS)


def _slow_provider(sandbox: "Sandbox", service: "Service") -> None:
    sandbox.providers["iflow"].delay = SLOW
    example.interpret_example(sandbox, service)


def _no_provider(sandbox: "Sandbox", service: "Service") -> None:
    for provider in KEYS.values():
        sandbox.providers[provider].down = True
    example.interpret_example(sandbox, service)


def _switch_state(sandbox: "Sandbox", key: str) -> str:
    (namespace,) = sandbox.kv.namespaces
    return parse_switch_value(sandbox.kv.get(namespace, key) or "").state


ALL_WELL = {"iflow": GOOD_CALLS, "groq": GOOD_CALLS, "cerebras": GOOD_CALLS}
FEATURE = _with_workerd(
    _DrilledFailure(SESSIONS, "off", ALL_WELL).scenario({"name": SESSIONS, "state": "off"}),
    "off",
    _bad_sessions,
    step="deployed a release with bad sessions",
    broken_ago=timedelta(minutes=10),
)
# A slow provider still answers, so it is healthy and `auto` would keep it. A person must name another one.
FAILOVER = _with_workerd(
    _DrilledFailure(AI_SWITCH, "groq", {**ALL_WELL, "iflow": FAILED_CALLS}).scenario({"to": "auto"}),
    "groq",
    _slow_provider,
    step="the provider iflow became slow",
    params={"to": "groq"},
)
ALL_DOWN = _with_workerd(
    _DrilledFailure(AI_SWITCH, "off", dict.fromkeys(ALL_WELL, FAILED_CALLS)).scenario(
        {"to": "off"}, runbook="ai-failover"
    ),
    "off",
    _no_provider,
    step="all AI providers failed",
)
