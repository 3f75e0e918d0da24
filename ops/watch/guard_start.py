"""Start guards with clients and probes, and ask for the second source of a rollback."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app.configuration import probe_environ, read_config, register_secrets
from ops.app.scope import Place
from ops.app.session import Session
from ops.config.probes import ProbeSet
from ops.config.sections import ScheduleInterval, interval_length
from ops.core.errors import OpsError
from ops.core.redaction import Redactor
from ops.core.verdict import ProbeObservation, Verdict
from ops.pages.snapshot import SiteContent, live_content
from ops.watch.guard import Guard, GuardRequest, GuardResult, list_deployed
from ops.watch.second_source import PAUSE, WITHIN, SecondSource, read_second_source
from ops.watch.watch import run_side_by_side

if TYPE_CHECKING:
    from ops.config import Service

UNSCHEDULED: ScheduleInterval = "1h"
"""Age of a recent deployment where no schedule guards one."""
MARGIN = timedelta(minutes=15)
"""A schedule starts late, by this time at most as a rule."""


@dataclass(frozen=True)
class GuardPlace:
    """A deployment to guard."""

    place: Place
    request: GuardRequest
    duration: timedelta


@dataclass(frozen=True)
class RollbackEvidence:
    """Evidence for the rollback of a bad deployment, beside its probes."""

    result: GuardResult
    """The guard, with what is live now."""
    source: SecondSource
    is_healthy_now: bool = False

    @property
    def is_not_the_cause(self) -> bool:
        """Return whether a rollback mends nothing: another deployment is live, or requests failed before this one."""
        return self.result.is_replaced or bool(self.source.failed_before)

    @property
    def objection(self) -> str:
        """Return why it is not enough for a rollback; empty if it is."""
        if self.result.is_replaced:
            return f"another deployment is live: {self.result.deployment.replacement}"
        if not self.source.is_shown:
            return f"the probes are one source only, and Cloudflare's figures say: {self.source.text}"
        if self.source.failed_before:
            return f"requests failed before the deployment too: {self.source.failed_before}"
        return "the probes are healthy now" if self.is_healthy_now else ""


class Guards:
    """Guards of services in one environment, side by side."""

    def __init__(
        self,
        session: Session,
        run_round: Callable[[ProbeSet], ProbeObservation],
        redactor: Redactor,
        on_round: Callable[[GuardResult], object],
        interval: timedelta,
    ) -> None:
        """`interval`: of the schedule that guards recent deployments."""
        self._session, self._run_round, self._interval = session, run_round, interval
        self._redactor, self._on_round = redactor, on_round
        self._guards: dict[str, Guard] = {}

    def run(self, places: Sequence[GuardPlace]) -> Iterator[GuardResult | OpsError]:
        """Guard the deployments. Yield each redacted result, or why there is none, at the end of its guard."""
        for _, ended in run_side_by_side([self._guard_rounds(each) for each in places], self._session.clock):
            yield ended

    def _guard_rounds(self, each: GuardPlace) -> Generator[datetime, None, GuardResult | OpsError]:
        """Guard one deployment. Its failure is a result, so that the other guards go on."""
        try:
            return (yield from self._find_guard(each.place.service).rounds(each.request, each.duration))
        except OpsError as error:
            return error

    def find_recent(self, service: str = "") -> tuple[list[GuardPlace], list[OpsError]]:
        """Return the live deployments of services with `guard` that no run of ours made, and failures to read others.

        They are younger than the interval of the schedule, with a margin: GitHub starts schedules late.
        """
        environment, now = self._session.environment, self._session.clock.now()
        found, failures = list[GuardPlace](), list[OpsError]()
        for each in environment.services.values():
            if each.guard is None or service not in {"", each.name}:
                continue
            try:
                live = next(iter(list_deployed(self._session, each)), None)
            except OpsError as error:
                failures.append(error)
                continue
            if live is not None and not live.is_ours and now - live.created_on <= self._interval + MARGIN:
                request = GuardRequest(deployment=live.id)
                found.append(GuardPlace(Place(environment.name, each.name), request, each.guard.length))
        return found, failures

    def wait_for_second_source(self, result: GuardResult, show: Callable[[str], object]) -> RollbackEvidence:
        """Wait until Cloudflare's figures show that requests of others fail too, and probe once more.

        The figures come about five minutes late. The wait ends early if another deployment is live.
        """
        guard, clock = self._find_guard(result.service), self._session.clock
        service, until = self._session.environment.service(result.service), clock.now() + WITHIN
        while True:
            seen = read_second_source(self._session, service, result.state, result.deployment)
            result = replace(result, deployment=guard.look_again(result.deployment))
            if seen.is_shown or result.is_replaced or clock.now() >= until:
                is_healthy = seen.is_shown and guard.is_healthy_now(result.deployment)
                return RollbackEvidence(result, self._redactor.redact_value(seen), is_healthy)
            show(self._redactor.redact_text(seen.text))
            clock.sleep(PAUSE.total_seconds())

    def _find_guard(self, name: str) -> Guard:
        if name not in self._guards:
            service = self._session.environment.service(name)
            content = live_content(self._session, service) if service.pages else None
            probe = partial(_probe_deployment, self._run_round, service, content)
            self._guards[name] = Guard(self._session, service, probe, redactor=self._redactor, on_round=self._on_round)
        return self._guards[name]


@contextmanager
def open_guards(
    environment: str,
    config_path: Path,
    environ: Mapping[str, str],
    redactor: Redactor,
    *,
    on_round: Callable[[GuardResult], object],
) -> Iterator[Guards]:
    """Yield the guards of an environment. Raises ConfigError."""
    config, _ = read_config(config_path)
    names = register_secrets(environ, config, redactor)
    with ExitStack() as ending:
        session = Session(config, environment, environ, ending)
        runner = session.probe_runner(probe_environ(environ, names), redactor, config_path.parent.resolve())
        interval = interval_length(config.github.schedules.get("guard", UNSCHEDULED))
        yield Guards(session, runner.run_round, redactor, on_round, interval)


def _probe_deployment(
    run_round: Callable[[ProbeSet], ProbeObservation],
    service: "Service",
    content: SiteContent | None,
    versions: frozenset[str],
) -> ProbeObservation:
    """Run one round without browsers, which take too long for it."""
    seen = run_round(ProbeSet(service.url, service.watched_probes, service.verify, versions, find_content=content))
    if content is not None and seen.verdict == Verdict.INCONCLUSIVE:
        content.forget()
    return seen
