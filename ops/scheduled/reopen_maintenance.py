"""`ops maintenance due`: what was to open at its end, opened by the code of `--state off`, each by a run of its own.

Nobody asks for it but a schedule. What may be opened, and when, was stored by the run that took it off.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ops.app.session import Session
from ops.core.clock import format_utc, parse_utc
from ops.core.errors import Reason, Refused
from ops.engine.context import Context
from ops.engine.runbook import DueRun, Schedule
from ops.maintenance import steps
from ops.maintenance.state import MaintenanceWindow
from ops.runbooks.maintenance import Maintenance, MaintenanceSnapshot, Params

if TYPE_CHECKING:
    from ops.config import Config, Environment
    from ops.core.redaction import Redactor


class ReopenMaintenance(Maintenance):
    """Open what was taken offline with --reopen-at-end and whose end is over.

    Each is a run of its own, on its incident. If one fails, the others follow; if one is interrupted, none does.
    """

    name = "maintenance due"
    schedule = Schedule("reopen-maintenance", minute=7)
    when = "Nothing: it is for a schedule"
    by_label = False
    finds_due = True
    example = Params(state="off", service="api")

    def due(
        self,
        config: "Config",  # noqa: ARG002
        environment: "Environment",
        environ: Mapping[str, str],
        redactor: "Redactor",  # noqa: ARG002
    ) -> Iterator[DueRun | str]:
        with ExitStack() as ending:
            session = Session(environment, environ, ending)
            worker = steps.read_worker(session.workers)
            now = session.clock.now()
        for window in worker.state.windows if worker else ():
            if window.is_due(now):
                reason = f"its end, {format_utc(parse_utc(window.until))}, is over"
                yield DueRun(
                    Params(state="off", service=window.service, path=window.path, reason=reason), window.incident
                )

    def windows_to_reopen(self, ctx: Context[Params], snapshot: MaintenanceSnapshot) -> tuple[MaintenanceWindow, ...]:
        """What else of the service is off stays off. Raises Refused."""
        window = snapshot.state.find_window(snapshot.service.name, snapshot.request.path)
        if window is None or not window.is_due(ctx.clock.now()):
            what = f"{snapshot.service.name} {snapshot.request.path}".strip()
            raise Refused(
                f"{what} is not to be opened by itself any more",
                reason=Reason.NOT_DUE,
                hint="Do nothing: somebody opened it, or gave it another end.",
            )
        if foreign := {window.worker, *(each.previous_worker for each in window.closed if each.id)} - {
            snapshot.ingress.worker
        }:
            other = ", ".join(sorted(foreign))
            raise Refused(
                f"{window.scope} would be opened to {other}, and ops.yml says {snapshot.ingress.worker}",
                reason=Reason.NOT_DUE,
                hint="Let a person look: ops.yml was changed since, or the variables of ops-maintenance were.",
                suggested_command=ctx.press(
                    "maintenance", service=snapshot.service.name, state="off", path=snapshot.request.path
                ),
            )
        return (window,)
