"""Scenario of reset-durable-object: the mutex for the AI providers locks up in memory."""

import http.client
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ops.core.errors import ConfigError
from ops.core.verdict import ObjectObservation
from ops.drills import example
from ops.drills.example import INTERPRET
from ops.drills.scenario_release import Scenario
from ops.probes.application import DurableObjectAdmin
from ops.probes.http import ProbeClient

if TYPE_CHECKING:
    from ops.config import Environment, Service
    from sandbox import Sandbox

OBJECT = "ai-mutex"
VARIABLE, ADMIN = "FORTUNET_ADMIN_TOKEN", "drill-admin-0123456789"
LOCKS_AT = 3
"""Number of requests in memory at which it locks up."""


def _has_durable_object(service: "Service") -> bool:
    return OBJECT in service.durable_objects and service.durable_objects[OBJECT].token == VARIABLE


def _require_durable_object(_environment: "Environment", service: "Service") -> None:
    """Raise ConfigError if the service has no such Durable Object."""
    if not _has_durable_object(service):
        raise ConfigError(
            f"{service.name} has no Durable Object {OBJECT} with the token {VARIABLE}, which this drill locks up",
            hint="Leave --config out, to drill the reference application.",
        )


def _lock_object(sandbox: "Sandbox", service: "Service", name: str, _edge: str, _folder: Path) -> None:
    if name == "good":
        version = sandbox.upload(
            service.worker,
            code=name,
            behaviour={"objects": {OBJECT: {"stuck": LOCKS_AT}}},
            bindings=[{"type": "durable_object_namespace", "name": "AI_MUTEX", "class_name": "AiMutexDO"}],
            durable_objects=["AiMutexDO"],
            secrets={"ADMIN_TOKEN": ADMIN},
            tag=name,
        )
        sandbox.deploy(service.worker, version)
        return
    for _ in range(LOCKS_AT):
        _request_interpretation(sandbox, service)


def _deploy_example(sandbox: "Sandbox", service: "Service", name: str, _edge: str, _folder: Path) -> None:
    """Deploy a release that is bad from the start. Its mutex locks up with the first interpretation."""
    if name == "good":
        example.deploy_example(sandbox, service, example.STUCK, admin=ADMIN)
    else:
        example.interpret_example(sandbox, service)


def _request_interpretation(sandbox: "Sandbox", service: "Service") -> None:
    """Request an interpretation, as a user does."""
    edge = urlsplit(sandbox.edge_url)
    connection = http.client.HTTPConnection(edge.hostname or "", edge.port)
    try:
        connection.request("GET", INTERPRET, headers={"host": urlsplit(service.url).netloc})
        connection.getresponse().read()
    finally:
        connection.close()


def _read_memory(sandbox: "Sandbox", service: "Service") -> Any:
    """Return the state in memory by the application's own endpoint; healthy is empty."""
    web = ProbeClient(sandbox.edge_url)
    try:
        counts = service.durable_objects[OBJECT].model_copy(update={"proof": "memory.answered", "keeps": None})
        observed = DurableObjectAdmin(lambda: web, {VARIABLE: ADMIN}, frozenset([VARIABLE])).read_state(
            service.url, counts
        )
    finally:
        web.close()
    return observed.proof if isinstance(observed, ObjectObservation) else observed


EMBEDDED = Scenario(
    "worker",
    _lock_object,
    live=_read_memory,
    changed_at=lambda sandbox, service: sandbox.deployments(service.worker)[0].made_at,
    environ=lambda _: {VARIABLE: ADMIN},
    steps=("deployed the release", f"{OBJECT} locked up"),
    suits=lambda environment, service: _has_durable_object(environment.services[service]),
    require=_require_durable_object,
    probes=lambda _, service: service.probes_with(service.durable_objects),
)
# workerd restarts if its clock is moved, and an object forgets after ten seconds without a request.
SCENARIO = replace(EMBEDDED, in_workerd=replace(EMBEDDED, release=_deploy_example, broken_ago=timedelta()))
