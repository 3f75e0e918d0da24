"""Probe the service of a drill, as its runbook does, and deploy a release in the past."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ops.config.probes import ProbeSet
from ops.core.clock import SystemClock
from ops.core.redaction import Redactor
from ops.core.verdict import ProbeObservation, Verdict
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
