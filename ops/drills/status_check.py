"""Compare the output of `ops status` with the state of the sandbox after a drill."""

from pathlib import Path
from typing import TYPE_CHECKING

from ops.core.redaction import Redactor
from ops.core.runtime_contract import SWITCH_KEY_PREFIX, parse_switch_value
from ops.status import read

if TYPE_CHECKING:
    from ops.config import Environment
    from ops.status.status import EnvironmentStatus
    from sandbox import Sandbox


def contradictions(sandbox: "Sandbox", environment: "Environment", config: Path) -> tuple[str, ...]:
    """Return the differences as text; empty if everything matches."""
    environ = {**sandbox.environ(), environment.token: sandbox.token}
    late = _late(sandbox, environment)
    found = read.environment_status(environment.name, config, environ, Redactor())
    serves = {each["worker"]: each["live"] for each in sandbox.describe()["services"]}
    told = {live.service: dict(live.split) for live in found.live}
    truth = {name: serves[each.worker] for name, each in environment.services.items() if each.worker in serves}
    wrong = [
        f"of {name} that {told.get(name)} serves, not {live}" for name, live in truth.items() if told[name] != live
    ]
    on = {each.name: each.state(found.read_at) for each in found.switches}
    held = _held(sandbox, environment)
    named = {name: held[name] for name in late & held.keys() if _names(found, name, held[name])}
    is_right = {**on, **named} == held
    return (*wrong, *([] if is_right else [f"that these switches are on: {on}, not {held}"]))


def _names(found: "EnvironmentStatus", name: str, state: str) -> bool:
    """Return whether the status says that the application has that state and KV another one."""
    return any(f" {name} = " in line and f"the application {state}: " in line for line in found.unread)


def _late(sandbox: "Sandbox", environment: "Environment") -> set[str]:
    """Return the switches that KV's API does not show with their current values."""
    kv, keys = sandbox.kv, {name: f"{SWITCH_KEY_PREFIX}{name}" for name in _held(sandbox, environment)}
    namespace = environment.require_runtime().namespace if keys else ""
    return {name for name, key in keys.items() if kv.api_entry(namespace, key) != kv.entry(namespace, key)}


def _held(sandbox: "Sandbox", environment: "Environment") -> dict[str, str]:
    """Return the switches that KV holds in another state than the normal one."""
    runtime = environment.runtime
    if runtime is None or runtime.namespace not in sandbox.kv.namespaces:
        return {}
    held = {name: sandbox.kv.get(runtime.namespace, f"{SWITCH_KEY_PREFIX}{name}") for name in runtime.switches}
    values = {name: parse_switch_value(text) for name, text in held.items() if text}
    now = sandbox.clock.now()
    return {
        name: value.state
        for name, value in values.items()
        if value.state != runtime.switches[name].normal and not value.is_over(now)
    }
