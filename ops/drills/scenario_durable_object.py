"""What the drill of reset-durable-object breaks: the mutex before the AI providers locks up in memory."""

import http.client
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ops.core.errors import ConfigError
from ops.core.observations import ObjectObservation
from ops.drills import example
from ops.drills.example import INTERPRET
from ops.drills.scenario_release import Scenario
from ops.probes.durable_object import DurableObjectAdmin
from ops.probes.http import ProbeClient

if TYPE_CHECKING:
    from ops.config import Environment, Service
    from sandbox import Sandbox

OBJECT = "ai-mutex"
VARIABLE, ADMIN = "FORTUNET_ADMIN_TOKEN", "drill-admin-0123456789"
LOCKS_AT = 3
"""Requests that it has in memory by then."""


def _prepare(_sandbox: "Sandbox", _environment: "Environment", service: "Service") -> None:
    """Raises ConfigError."""
    if OBJECT not in service.durable_objects or service.durable_objects[OBJECT].token != VARIABLE:
        raise ConfigError(
            f"{service.name} has no Durable Object {OBJECT} with the token {VARIABLE}, which this drill locks up",
            hint="Leave --config out, to drill the reference application.",
        )


def _release(sandbox: "Sandbox", service: "Service", name: str, _edge: str, _folder: Path) -> None:
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
        _ask(sandbox, service)


def _real_release(sandbox: "Sandbox", service: "Service", name: str, _edge: str, _folder: Path) -> None:
    """The release is a bad one from the beginning; its mutex locks up with the first interpretation."""
    if name == "good":
        example.deploy_example(sandbox, service, example.STUCK, admin=ADMIN)
    else:
        example.interpret(sandbox, service)


def _ask(sandbox: "Sandbox", service: "Service") -> None:
    """As a person does who wants an interpretation."""
    edge = urlsplit(sandbox.edge_url)
    connection = http.client.HTTPConnection(edge.hostname or "", edge.port)
    try:
        connection.request("GET", INTERPRET, headers={"host": urlsplit(service.url).netloc})
        connection.getresponse().read()
    finally:
        connection.close()


def _memory(sandbox: "Sandbox", service: "Service") -> Any:
    """What it has in memory, by the application's own endpoint; well is nothing."""
    web = ProbeClient(sandbox.edge_url)
    try:
        counts = service.durable_objects[OBJECT].model_copy(update={"proof": "memory.answered", "keeps": None})
        seen = DurableObjectAdmin(lambda: web, {VARIABLE: ADMIN}, frozenset([VARIABLE])).read_state(service.url, counts)
    finally:
        web.close()
    return seen.proof if isinstance(seen, ObjectObservation) else seen


EMBEDDED = Scenario(
    "worker",
    _release,
    live=_memory,
    changed_at=lambda sandbox, service: sandbox.deployments(service.worker)[0].made_at,
    environ=lambda _: {VARIABLE: ADMIN},
    steps=("deployed the release", f"{OBJECT} locked up"),
    prepare=_prepare,
    probes=lambda _, service: service.probes_with(service.durable_objects),
)
# A clock that is moved starts what runs in workerd anew, and an object that nobody asks for ten seconds forgets.
KIND = replace(EMBEDDED, in_workerd=replace(EMBEDDED, release=_real_release, broken_ago=timedelta()))
