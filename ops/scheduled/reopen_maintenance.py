"""`ops maintenance due`: reopen windows at their end, and check that others are closed.

A schedule starts it. The run that started maintenance stored what may be reopened, and when. Each window is reopened
by a run of its own, with the code of `--state off`. An opening of another one is reported, and nothing closes it.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from ops.app.session import Session
from ops.core.clock import format_utc, parse_utc
from ops.core.due_notice import DueNotice
from ops.core.errors import Reason, Refused
from ops.engine.context import Context
from ops.engine.runbook import DueRun, DueRuns, Schedule
from ops.maintenance import steps
from ops.maintenance.former_configuration import EDGE, find_service
from ops.maintenance.plan_by_routes import MaintenanceSnapshot
from ops.maintenance.state import MaintenanceRequest, MaintenanceWindow
from ops.runbooks.maintenance import Maintenance
from ops.watch.closure import ScheduledLook

if TYPE_CHECKING:
    from ops.config import Config, Environment, Service
    from ops.core.redaction import Redactor


def _find_windows_to_reopen(
    config: "Config", environment: "Environment", environ: Mapping[str, str], redactor: "Redactor"
) -> Iterator[DueRun | DueNotice | str]:
    with ExitStack() as ending:
        session = Session(config, environment.name, environ, ending)
        worker = steps.read_maintenance_worker(session.cloudflare.workers)
        due = [each for each in worker.state.windows if each.is_due(session.clock.now())] if worker else []
        services = [each for each in environment.services.values() if each.name not in {one.service for one in due}]
        openings = list(ScheduledLook(session, config, environ, redactor).find_notices(services))
    for window in due:
        service = find_service(window, environment.services) or window.service
        reason = f"planned end {format_utc(parse_utc(window.until))} has passed"
        yield DueRun(
            Maintenance.Params(state="off", service=service, path=window.path, reason=reason),
            window.incident,
        )
    yield from openings


class ReopenMaintenance(Maintenance):
    """Reopen maintenance windows whose end has passed, and report closed services that are open.

    Only windows that were started with --reopen-at-end. Each is a run of its own, on its incident. If one fails, the
    others follow; after an interruption none follows. Exit code 7: a closed service is open.
    """

    name = "maintenance due"
    section = ""
    when = "No incident: a schedule starts it"
    label_use = None
    schedule = Schedule("reopen-maintenance", minute=7)
    job = replace(Maintenance.job, due=DueRuns(_find_windows_to_reopen))
    example = Maintenance.Params(state="off", service="api")

    def opening_methods(
        self,
        ctx: Context[Maintenance.Params],  # noqa: ARG002  an application ends its switch by its own clock
        service: "Service",  # noqa: ARG002
        request: MaintenanceRequest,  # noqa: ARG002
    ) -> tuple[str, ...]:
        return (EDGE,)

    def windows_to_reopen(
        self, ctx: Context[Maintenance.Params], snapshot: MaintenanceSnapshot
    ) -> tuple[MaintenanceWindow, ...]:
        """Return the one window that is due; others of the service stay closed. Raises Refused."""
        windows = super().windows_to_reopen(ctx, snapshot)
        window = next((each for each in windows if each.path == snapshot.request.path), None)
        if window is None or not window.is_due(ctx.clock.now()):
            what = f"{snapshot.service.name} {snapshot.request.path}".strip()
            raise Refused(
                f"{what} no longer reopens automatically",
                reason=Reason.NOT_DUE,
                hint="Do nothing: it was reopened, or its end was changed.",
            )
        if foreign := {window.worker, *(each.previous_worker for each in window.closed if each.id)} - {
            snapshot.ingress.worker
        }:
            other = ", ".join(sorted(foreign))
            raise Refused(
                f"{window.scope} would be reopened to {other}, but ops.yml says {snapshot.ingress.worker}",
                reason=Reason.NOT_DUE,
                hint="Check ops.yml and the variables of ops-maintenance, then reopen it by hand.",
                suggested_command=ctx.suggest(
                    "maintenance", service=snapshot.service.name, state="off", path=snapshot.request.path
                ),
            )
        return (window,)
