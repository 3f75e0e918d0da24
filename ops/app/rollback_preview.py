"""Plan the rollback of a service as a dry run does, for commands that only show its target."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app.context import planning_context
from ops.app.registry import load_rollback, record_rules
from ops.app.run_files import RUNS, read_records
from ops.app.session import Session
from ops.core.errors import Refused
from ops.core.redaction import Redactor
from ops.engine.runbook import RollbackReach, params_type
from ops.engine.step import StepPlan
from ops.publish import Publisher

if TYPE_CHECKING:
    from ops.config import Service


@dataclass(frozen=True)
class RollbackPreview:
    """Plan of a rollback with its default target, or the refusal."""

    outcome: StepPlan | Refused
    reach: RollbackReach | None
    """None if the rollback was refused before its history was read."""


def preview_rollback(
    session: Session,
    service: "Service",
    *,
    path: Path,
    environ: Mapping[str, str],
    redactor: Redactor,
    ending: ExitStack,
) -> RollbackPreview:
    """Plan the rollback with the default target; `path` is that of ops.yml.

    It reads the same records as a run without an incident, so that both refuse the same. Raises OpsError if the state
    cannot be read.
    """
    runbook, folder = load_rollback(service.kind), path.resolve().parent
    context = planning_context(
        params=params_type(runbook)(service=service.name),
        session=session,
        path=path,
        environ=environ,
        redactor=redactor,
        ending=ending,
    )
    publisher = Publisher(environ, session.config, redactor, session.clock, run=context.run_id, incident=None)
    context = replace(
        context,
        runs_of_incidents=lambda numbers: publisher.read_runs_of(
            numbers, context.timeline, record_rules(session.config)
        ),
        local_runs=partial(read_records, folder / RUNS, runbook.name, session.sandbox, redactor),
    )
    reach: RollbackReach | None = None
    try:
        situation = runbook.read(context)
        reach = situation.reach
        return RollbackPreview(runbook.choose(context, situation), reach)
    except Refused as refusal:
        return RollbackPreview(refusal, reach)
