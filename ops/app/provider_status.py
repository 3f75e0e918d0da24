"""Warn of trouble that Cloudflare's status page reports; no run waits for the page."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ops.core.outage import PageState, StatusReport
from ops.core.plan import Plan
from ops.core.threads import start_call
from ops.core.timeline import EventKind, Timeline
from ops.engine.engine import RunOptions

if TYPE_CHECKING:
    from ops.app.session import Session
    from ops.config import Service

STATUS_SECONDS = 2.0
"""Time limit of the page, which is least reachable when it matters."""


def read_status(session: "Session", *services: "Service") -> StatusReport:
    """Read what Cloudflare reports about the products that these services use."""
    from ops.probes import status_page

    return status_page.read_report(
        session.web(),
        status_page.CLOUDFLARE_STATUS,
        status_page.used_products(session.environment, *services),
        group=status_page.PRODUCTS_GROUP,
        within=STATUS_SECONDS,
    )


class StatusWarning:
    """Reads the page in the background, and records one warning with the plan or its confirmation."""

    def __init__(self, session: "Session", service: str, timeline: Timeline) -> None:
        services = session.environment.services
        used = [services[service]] if service in services else list(services.values())
        self._timeline = timeline
        self._reading: Future[StatusReport] | None = start_call(lambda: read_status(session, *used))

    def watch(self, options: RunOptions) -> RunOptions:
        """Return the options of a run that looks for the answer when it shows the plan, and when it confirms."""
        return replace(options, show_plan=self._before(options.show_plan), confirm=self._before(options.confirm))

    def _before(self, step: Callable[[Plan], Any]) -> Callable[[Plan], Any]:
        def looking(plan: Plan) -> Any:
            self._warn()
            return step(plan)

        return looking

    def _warn(self) -> None:
        if self._reading is None or not self._reading.done():
            return
        reading, self._reading = self._reading, None
        report = reading.result() if reading.exception() is None else None
        if report is not None and report.state == PageState.TROUBLE:
            signs = "; ".join(report.evidence)
            self._timeline.record(EventKind.WARNING, f"{report.page} reports trouble, so this may not help: {signs}")
