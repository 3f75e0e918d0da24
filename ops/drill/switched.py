"""The drills of switches: the application fails until one is set.

On the embedded edge, where a version can be told what it answers in which state of a switch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.drill.releases import Kind
from ops.model.errors import ConfigError
from ops.model.runtime import AI, SWITCHES, Switch, parse_switch

if TYPE_CHECKING:
    from ops.model.config import Environment, Service
    from ops.sandbox import Sandbox

SESSIONS = "session-do"
DOWN, WELL = {"ok": 0, "failed": 9}, {"ok": 9, "failed": 0}


def _prepare(sandbox: "Sandbox", environment: "Environment", service: "Service") -> None:
    """The keys of a calm day, in the namespace of ops.yml. Raises ConfigError."""
    runtime = environment.needed_runtime()
    if runtime.service != service.name:
        hint = f"Leave --service out, or write --service {runtime.service}."
        raise ConfigError(f"{service.name} reads no switches in {environment.name}", hint=hint)
    sandbox.kv.add(runtime.namespace)
    for name, rules in runtime.switches.items():
        calm = Switch(rules.normal, "drill", None, sandbox.clock.now(), "calm")
        sandbox.kv.put(runtime.namespace, f"{SWITCHES}{name}", calm.to_json())


@dataclass(frozen=True)
class _Illness:
    """While `switch` is in its normal state, the bad release is ill; well is that it is `cured`."""

    switch: str
    cured: str
    outcomes: Mapping[str, Mapping[str, int]]
    """What the application saw of its providers, in the order of preference."""

    def release(self, sandbox: "Sandbox", service: "Service", name: str, edge: str, _folder: Path) -> str | None:
        if edge != "embedded":
            hint = "Leave --edge out."
            raise ConfigError("this drill runs on the embedded edge: there a release fails by a switch", hint=hint)
        (namespace,) = sandbox.kv.namespaces
        states = {key.removeprefix(SWITCHES): _state(sandbox, key) for key in sandbox.kv.entries(namespace)}
        declared = {each: {"normal": state, "on_unknown": state} for each, state in states.items()}
        paths = [probe.http.path.partition("?")[0] for probe in service.probes if probe.http]
        ill = {"path": next(iter(paths), "/"), "status": 500}
        behaviour: dict[str, Any] = {"runtime": {"switches": declared, "ai": {"order": list(self.outcomes)}}}
        behaviour |= {"switched": {self.switch: {states[self.switch]: ill}}} if name == "bad" else {}
        bound = [{"type": "kv_namespace", "name": "OPS_RUNTIME", "namespace_id": namespace}]
        version = sandbox.upload(service.worker, code=name, behaviour=behaviour, bindings=bound, tag=name)
        sandbox.deploy(service.worker, version)
        sandbox.outcomes(service.worker, self.outcomes)
        return self.cured if name == "good" else None

    def live(self, sandbox: "Sandbox", _service: "Service") -> str:
        return _state(sandbox, f"{SWITCHES}{self.switch}")

    def changed_at(self, sandbox: "Sandbox", _service: "Service") -> datetime | None:
        (namespace,) = sandbox.kv.namespaces.values()
        return namespace.written.get(f"{SWITCHES}{self.switch}")

    def kind(self, params: Mapping[str, str], *, runbook: str = "") -> Kind:
        return Kind(
            "worker",
            self.release,
            live=self.live,
            changed_at=self.changed_at,
            prepare=_prepare,
            names_service=False,
            params=params,
            runbook=runbook,
        )


def _state(sandbox: "Sandbox", key: str) -> str:
    (namespace,) = sandbox.kv.namespaces
    return parse_switch(sandbox.kv.get(namespace, key) or "").state


ALL_WELL = {"iflow": WELL, "groq": WELL, "cerebras": WELL}
FEATURE = _Illness(SESSIONS, "off", ALL_WELL).kind({"name": SESSIONS, "state": "off"})
FAILOVER = _Illness(AI, "groq", {**ALL_WELL, "iflow": DOWN}).kind({"to": "auto"})
ALL_DOWN = _Illness(AI, "off", dict.fromkeys(ALL_WELL, DOWN)).kind({"to": "off"}, runbook="ai-failover")
