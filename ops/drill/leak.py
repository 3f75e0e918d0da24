"""What the drills of rotate-secrets break: the key of an AI provider leaked, and the provider revoked it at once."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ops.drill.releases import Kind
from ops.model.errors import ConfigError

if TYPE_CHECKING:
    from ops.model.config import Service
    from ops.sandbox import Sandbox

KEY, PROVIDER = "GROQ_API_KEY", "groq"
OTHER = "JWT_SECRET"
LEAKED, FRESH = "drill-leaked-0123456789", "drill-fresh-9876543210"


def _release(sandbox: "Sandbox", service: "Service", name: str, edge: str, _folder: Path) -> str | None:
    """The application asks the provider for its charts: they fail without a key. Well is that the fresh one serves."""
    if edge != "embedded":
        hint = "Leave --edge out."
        raise ConfigError("this drill runs on the embedded edge: its Worker asks the sandbox's provider", hint=hint)
    provider = sandbox.providers[PROVIDER]
    if name == "bad":
        provider.revoke(LEAKED)
        return None
    provider.add_key(LEAKED)
    provider.add_key(FRESH)
    asks = {"upstream": {"provider": PROVIDER, "secret": KEY}}
    paths = [probe.http.path.partition("?")[0] for probe in service.probes if probe.http]
    behaviour = {"paths": dict.fromkeys((*paths, f"/health/ai/{PROVIDER}"), asks)}
    version = sandbox.upload(
        service.worker, code=name, behaviour=behaviour, secrets={KEY: LEAKED, OTHER: "drill"}, tag=name
    )
    sandbox.deploy(service.worker, version)
    return FRESH


def _roll_back_first(sandbox: "Sandbox", service: "Service", name: str, edge: str, folder: Path) -> str | None:
    """Before the leak a bad release was rolled back, so that the newest upload is not what serves."""
    if name == "bad":
        (good,) = sandbox.live(service.worker)
        for version in (sandbox.upload(service.worker, code=name, behaviour={"status": 500}, tag=name), good):
            sandbox.deploy(service.worker, version)
    return _release(sandbox, service, name, edge, folder)


def _which_key(sandbox: "Sandbox", service: "Service") -> str | None:
    """The generation that serves."""
    (version,) = sandbox.live(service.worker)
    return sandbox.deployments(service.worker)[0].secrets[version].get(KEY)


LEAK = Kind(
    "worker",
    _release,
    live=_which_key,
    changed_at=lambda sandbox, service: sandbox.deployments(service.worker)[0].made_at,
    environ=lambda _: {f"NEW_{KEY}": FRESH, f"OLD_{KEY}": LEAKED},
    by_command_only="the values come out of the environment `security`, which a drill does not fill",
    steps=("deployed the release", f"{KEY} leaked, and its provider revoked it"),
    arguments=("--only", KEY),
)
AFTER_A_ROLLBACK = replace(
    LEAK,
    release=_roll_back_first,
    steps=("deployed the release", f"a bad release was rolled back, {KEY} leaked, and its provider revoked it"),
    arguments=("--only", KEY, "--inherit-latest", OTHER),
    runbook="rotate-secrets",
)
