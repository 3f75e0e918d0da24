"""Scenarios of rotate-secrets: the AI providers revoked leaked keys at once."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ops.drills.scenario_release import Scenario

if TYPE_CHECKING:
    from ops.config import Service
    from sandbox import Sandbox

KEYS = {"IFLOW_API_KEY": "iflow", "GROQ_API_KEY": "groq", "CEREBRAS_API_KEY": "cerebras"}
"""Secret → its provider in the sandbox."""
OTHER = "JWT_SECRET"
LEAKED = {name: f"drill-leaked-{provider}-0123456789" for name, provider in KEYS.items()}
FRESH = {name: f"drill-fresh-{provider}-9876543210" for name, provider in KEYS.items()}


def _release(
    sandbox: "Sandbox", service: "Service", name: str, _edge: str, _folder: Path
) -> Mapping[str, str | None] | None:
    """Deploy the release, or revoke the leaked keys.

    The application calls a provider for its charts, which fails without a valid key. A recovery deploys the fresh keys.
    """
    if name == "bad":
        for key, provider in KEYS.items():
            sandbox.providers[provider].revoke(LEAKED[key])
        return None
    paths_by_provider = {}
    for key, provider in KEYS.items():
        sandbox.providers[provider].add_key(LEAKED[key])
        sandbox.providers[provider].add_key(FRESH[key])
        paths_by_provider[f"/health/ai/{provider}"] = {"upstream": {"provider": provider, "secret": key}}
    paths = [probe.http.path.partition("?")[0] for probe in service.probes if probe.http]
    behaviour = {"paths": {**dict.fromkeys(paths, next(iter(paths_by_provider.values()))), **paths_by_provider}}
    secrets = {**LEAKED, OTHER: "drill"}
    version = sandbox.upload(service.worker, code=name, behaviour=behaviour, secrets=secrets, tag=name)
    sandbox.deploy(service.worker, version)
    return FRESH


def _roll_back_first(
    sandbox: "Sandbox", service: "Service", name: str, edge: str, folder: Path
) -> Mapping[str, str | None] | None:
    """Roll a bad release back before the leak, so that the newest upload is not live."""
    if name == "bad":
        (good,) = sandbox.live(service.worker)
        for version in (sandbox.upload(service.worker, code=name, behaviour={"status": 500}, tag=name), good):
            sandbox.deploy(service.worker, version)
    return _release(sandbox, service, name, edge, folder)


def _live_keys(sandbox: "Sandbox", service: "Service") -> Mapping[str, str | None]:
    """Return the keys of the live version."""
    (version,) = sandbox.live(service.worker)
    serving = sandbox.deployments(service.worker)[0].secrets[version]
    return {key: serving.get(key) for key in KEYS}


LEAK = Scenario(
    "worker",
    _release,
    live=_live_keys,
    changed_at=lambda sandbox, service: sandbox.deployments(service.worker)[0].made_at,
    environ=lambda _: {
        **{f"NEW_{key}": value for key, value in FRESH.items()},
        **{f"OLD_{key}": value for key, value in LEAKED.items()},
    },
    steps=("deployed the release", "the keys of the AI providers leaked, and the providers revoked them"),
    params={"only": tuple(KEYS)},
    unsupported={"workerd": "the example's probes pass without provider keys, so a revoked key breaks nothing"},
)
AFTER_A_ROLLBACK = replace(
    LEAK,
    release=_roll_back_first,
    steps=("deployed the release", "a bad release was rolled back, the keys leaked, and the providers revoked them"),
    params={"only": tuple(KEYS), "inherit_latest": (OTHER,)},
    runbook="rotate-secrets",
)
