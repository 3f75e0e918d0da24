"""Refuse a staging drill that may hurt anything, and probe the services around it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app.session import Session
from ops.cloudflare.tokens import AccountsApi
from ops.config.probes import Probe, ProbeSet
from ops.core.clock import format_utc
from ops.core.errors import Reason, Refused
from ops.core.redaction import Redactor
from ops.core.responders import RequestScope
from ops.core.threads import run_in_batches
from ops.core.verdict import Verdict
from ops.gate.attempts import refuse_requester
from ops.gate.stop import find_stop
from ops.github import actions
from ops.scheduled.staging_drill.bad_version import HEADER, HEADER_VALUE, DrillFault
from ops.scheduled.staging_drill.runbooks import check_live
from ops.workers.steps import no_deployments_error

if TYPE_CHECKING:
    from ops.app.scope import Place
    from ops.config import Config, Environment, Service
    from ops.scheduled.staging_drill.bad_version import DrillTrace

PARALLEL = 16
"""Services of production that are probed at the same time."""


def check_requester(place: "Place", runbook: str, environ: Mapping[str, str], redactor: Redactor) -> None:
    """Refuse a button of a person who may not recover the service; on a laptop the token of staging decides.

    A schedule has no requester, but a person may start it again.
    """
    is_scheduled = environ.get("GITHUB_EVENT_NAME") == "schedule" and environ.get("GITHUB_RUN_ATTEMPT", "1") == "1"
    if not actions.is_job(environ) or is_scheduled:
        return
    login = environ.get("GITHUB_TRIGGERING_ACTOR") or environ.get("GITHUB_ACTOR", "")
    scope = RequestScope(place.environment, (place.service,), runbook)
    refuse_requester(environ, redactor, login, "Ask a responder to press the button.", scope)


def check_account(config: "Config", environment: "Environment", session: Session) -> None:
    """Refuse a token of another account, or one that reaches an account of another environment.

    Cloudflare may list no account for a token of the account itself; each request then names the account.
    """
    listed = {each.id for each in AccountsApi(session.client).list_accounts()}
    own = environment.account_id
    if listed and own not in listed:
        raise Refused(
            f"{environment.token} belongs to account {', '.join(sorted(listed))}, and {environment.name} to {own}",
            reason=Reason.NOT_AUTHORISED,
            hint="Correct account_id in ops.yml, or store the token of that account.",
        )
    others = {each.account_id: each.name for each in config.environments.values() if each.account_id != own}
    if reached := [others[account] for account in sorted(listed & others.keys())]:
        raise Refused(
            f"{environment.token} also reaches the account of {', '.join(reached)}, which a drill must not touch",
            reason=Reason.NOT_AUTHORISED,
            hint=f"Create a token for account {own} alone.",
        )


def open_incidents_refusal(numbers: Sequence[int]) -> Refused:
    listed = ", ".join(f"#{number}" for number in numbers)
    return Refused(
        f"{'an incident is' if len(numbers) == 1 else 'incidents are'} open: {listed}",
        reason=Reason.RUN_OPEN,
        hint="Close them first. `ops staging-drill resume --now` ends a drill that was left open.",
    )


def stopped_refusal(number: int) -> Refused:
    return Refused(
        f"drills are stopped: somebody stopped the last one, #{number}",
        reason=Reason.STOPPED,
        hint="If drills may start again: `ops staging-drill run --again`.",
    )


def check_no_stop_before_drill(
    config: "Config", environ: Mapping[str, str], redactor: Redactor, warn: Callable[[str], object]
) -> None:
    """Refuse while all recoveries are stopped: nobody could answer the drill."""
    if stop := find_stop(config, environ, redactor, warn):
        raise Refused(str(stop), reason=Reason.STOPPED, hint="Wait for its end, or lift it with `ops stop --lift`.")


def bad_version_refusal(trace: "DrillTrace") -> Refused:
    return Refused(
        f"the bad version of the drill of {format_utc(trace.bad.created_on)} is still live",
        reason=Reason.WORLD_MOVED,
        hint="Undo it: `ops staging-drill resume --now`.",
    )


def check_live_version(service: "Service", session: Session) -> None:
    """Refuse a live deployment to which no rollback could return."""
    deployments = session.cloudflare.workers.list_deployments(service.worker)
    if not deployments:
        raise no_deployments_error(service.worker)
    check_live(service, deployments[0], age=(session.clock.now() - deployments[0].created_on).total_seconds())


@dataclass(frozen=True)
class DrillProber:
    """Probes the drill's service, and those of all other environments."""

    config: "Config"
    place: "Place"
    session: Session
    environ: Mapping[str, str]
    variables: "Callable[[Probe], Mapping[str, str]]"
    redactor: Redactor

    @property
    def _drilled_service(self) -> "Service":
        return self.config.environment(self.place.environment).service(self.place.service)

    def require_healthy(self) -> None:
        """Refuse unless the service is healthy, and no probe of another environment fails."""
        runner = self.session.probe_runner(self.variables, self.redactor, Path())
        seen = runner.run_round(
            ProbeSet(self._drilled_service.url, self._drilled_service.quick_probes, self._drilled_service.verify)
        )
        if seen.verdict != Verdict.HEALTHY:
            raise Refused(
                f"{self.place} is not healthy before the drill: {seen.detail}",
                reason=Reason.STILL_UNHEALTHY,
                hint="Repair it first: a drill could not tell its own fault from this one.",
            )
        if failing := self.find_failing_production():
            raise Refused(failing, reason=Reason.STILL_UNHEALTHY, hint="Look there first. The drill can wait.")

    def find_failing_production(self) -> str:
        """Return the services of other environments whose probes fail, for people; empty if none fails."""
        with ExitStack() as ending:
            probes = [
                partial(
                    self._probe_drilled_service, Session(self.config, environment.name, self.environ, ending), service
                )
                for environment in self.config.environments.values()
                if environment.name != self.place.environment
                for service in environment.services.values()
                if service.quick_probes
            ]
            failing = list(filter(None, run_in_batches(probes, PARALLEL)))
        return f"a probe outside of the drill fails: {', '.join(failing)}" if failing else ""

    def _probe_drilled_service(self, session: Session, service: "Service") -> str:
        """Return the service if it is unhealthy; else nothing. A page with all its assets is requested only in need."""
        runner = session.probe_runner(self.variables, self.redactor, Path())
        probes = tuple(each for each in service.probes if each.http) or service.quick_probes
        seen = runner.run_round(ProbeSet(service.url, probes, service.verify))
        return f"{service.name} in {session.environment.name}" if seen.verdict == Verdict.UNHEALTHY else ""

    def sees_fault(self, fault: DrillFault) -> bool:
        """Return whether the bad version answers, and is bad."""
        service, runner = self._drilled_service, self.session.probe_runner(self.variables, self.redactor, Path())
        if fault is DrillFault.HEALTH:
            probes = ProbeSet(service.url, service.quick_probes, service.verify)
            return runner.run_round(probes).verdict == Verdict.UNHEALTHY
        http = next(each.http for each in service.probes if each.http)
        marked = Probe(name="drill", http=http.model_copy(update={"headers": {HEADER: HEADER_VALUE}}))
        return runner.run_round(ProbeSet(service.url, (marked,), service.verify)).verdict == Verdict.HEALTHY
