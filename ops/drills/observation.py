"""Probe the service of a drill, deploy a release in the past, and break the example."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app.configuration import read_config
from ops.config.probes import ProbeSet
from ops.core.clock import SystemClock
from ops.core.redaction import Redactor
from ops.core.verdict import ProbeObservation, Verdict
from ops.drills import scenario_release, scenario_switch
from ops.probes.http import ProbeClient
from ops.probes.runner import ProbeRunner
from ops.tools import process

if TYPE_CHECKING:
    from sandbox import Sandbox


@contextmanager
def back_in_time(sandbox: "Sandbox", ago: timedelta) -> Iterator[None]:
    sandbox.clock.advance(-ago.total_seconds())
    try:
        yield
    finally:
        sandbox.clock.advance(ago.total_seconds())


def run_probes(
    sandbox: "Sandbox", probes: ProbeSet, folder: Path, secret_headers: Mapping[str, str]
) -> ProbeObservation:
    """Run one round of the runbook's probes. `secret_headers`: variable → value."""
    web = ProbeClient(sandbox.edge_url)
    try:
        environ = {**process.clean_environment(os.environ), **secret_headers}
        prober = ProbeRunner(
            web=lambda: web,
            environ=lambda _: environ,
            redactor=Redactor(),
            clock=SystemClock(),
            folder=folder,
            pictures=folder,
        )
        return prober.run_round(probes)
    finally:
        web.close()


def first_answer(probe: Callable[[], ProbeObservation]) -> ProbeObservation:
    """Probe a new release, up to three times: the first answers of a cold Worker can be slow."""
    observed = probe()
    for _ in range(2):
        if observed.verdict != Verdict.UNHEALTHY:
            break
        observed = probe()
    return observed


MIGRATIONS_TABLE = (
    "CREATE TABLE d1_migrations (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, "
    "applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL)"
)
"""As wrangler makes it."""
RESPONDER, TOKEN = "mia", "sandbox-responder"


def break_example(sandbox: "Sandbox") -> dict[str, str]:
    """Deploy a good release of each service two hours ago, and a bad one of the Worker ten minutes ago.

    Returns the variables of a person on call, who may work on incidents of the sandbox's repository.
    """
    config, _ = read_config(scenario_release.EXAMPLES / "ops.yml")
    environment = config.environment("production")
    scenario_switch.write_normal_states(sandbox, environment.require_runtime())
    for name, database in environment.databases.items():
        sandbox.d1.add(name, database.id)
        sandbox.d1.query(database.id, MIGRATIONS_TABLE)
    services = environment.services.values()
    worker = next(each for each in services if each.worker)
    releases = [*((each, "good", timedelta(hours=2)) for each in services), (worker, "bad", timedelta(minutes=10))]
    for service, release, ago in releases:
        scenario = scenario_release.WORKER if service.worker else scenario_release.SITE
        with back_in_time(sandbox, ago):
            scenario.release(sandbox, service, release, "embedded", Path())
    sandbox.github.add_user(RESPONDER)
    token = sandbox.github.add_token(TOKEN, RESPONDER, ["issues:write", "actions:write"])
    return {**sandbox.github.environ(), "GITHUB_TOKEN": token}
