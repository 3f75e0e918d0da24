"""Compare the output of `ops status` with the state of the sandbox after a drill."""

from pathlib import Path
from typing import TYPE_CHECKING

from ops.core.redaction import Redactor
from ops.core.runtime_contract import SWITCH_KEY_PREFIX, parse_switch_value
from ops.status.status import environment_status

if TYPE_CHECKING:
    from ops.config import Environment
    from ops.status.status import EnvironmentStatus
    from sandbox import Sandbox


def find_status_differences(sandbox: "Sandbox", environment: "Environment", config: Path) -> tuple[str, ...]:
    """Return the differences as text; empty if everything matches."""
    environ = {**sandbox.environ(), environment.token: sandbox.token}
    late = _lagging_switches(sandbox, environment)
    status = environment_status(environment.name, config, environ, Redactor())
    live_versions = {each["worker"]: each["live"] for each in sandbox.describe()["services"]}
    reported = {live.service: dict(live.split) for live in status.live}
    expected = {
        name: live_versions[each.worker] for name, each in environment.services.items() if each.worker in live_versions
    }
    differences = [
        f"of {name} that {reported.get(name)} serves, not {live}"
        for name, live in expected.items()
        if reported[name] != live
    ]
    on = {each.name: each.state(status.read_at) for each in status.switches}
    active, normal = _active_switches(sandbox, environment), _normal_states(environment)
    states = {name: active.get(name, normal[name]) for name in late}
    named = {name: state for name, state in states.items() if _reports_lag(status, name, state)}
    is_right = {name: state for name, state in {**on, **named}.items() if state != normal[name]} == active
    return (*differences, *([] if is_right else [f"that these switches are on: {on}, not {active}"]))


def _reports_lag(status: "EnvironmentStatus", name: str, state: str) -> bool:
    """Return whether the status says that the application has that state and KV another one."""
    return any(f" {name} = " in line and f"the application shows {state}: " in line for line in map(str, status.unread))


def _lagging_switches(sandbox: "Sandbox", environment: "Environment") -> set[str]:
    """Return the switches that KV's API does not show with their current values."""
    kv, keys = sandbox.kv, {name: f"{SWITCH_KEY_PREFIX}{name}" for name in _normal_states(environment)}
    namespace = environment.runtime.namespace if environment.runtime else ""
    if namespace not in kv.namespaces:
        return set()
    return {name for name, key in keys.items() if kv.api_entry(namespace, key) != kv.entry(namespace, key)}


def _normal_states(environment: "Environment") -> dict[str, str]:
    return {name: rules.normal for name, rules in environment.runtime.switches.items()} if environment.runtime else {}


def _active_switches(sandbox: "Sandbox", environment: "Environment") -> dict[str, str]:
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
