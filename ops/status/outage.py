"""Read the signs of an outage: status page, API, probes, deployments, AI providers."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.app import run
from ops.app.place import Place
from ops.app.provider_status import read_status
from ops.app.session import Session
from ops.cloudflare.response import CloudflareApiError
from ops.config.probes import ProbeSet
from ops.core.clock import format_duration, format_rfc3339
from ops.core.errors import OpsError, ProviderError, Reason
from ops.core.observations import KeyAnswer, KeyVerdict
from ops.core.outage import ApiState, OutageEvidence, OutageFinding, OutageVerdict, judge_outage
from ops.core.redaction import Redactor
from ops.core.threads import run_parallel, run_parallel_mixed
from ops.core.verdict import Verdict
from ops.probes.runner import ProbeRunner

if TYPE_CHECKING:
    from ops.config import Environment, Service
    from ops.config.secrets import KeyProvider

RECENT = timedelta(hours=1)
"""Age up to which a deployment may be the cause."""
SUSPENDED = "suspended"
"""Word in Cloudflare's refusal of a suspended account; its error code is not documented."""
SUPPORT = "https://support.cloudflare.com"


@dataclass(frozen=True)
class OutageReport:
    """Finding for one service. Texts of providers in it are untrusted."""

    service: str
    environment: str
    read_at: datetime
    finding: OutageFinding
    is_suspended: bool

    def to_json(self) -> dict[str, Any]:
        found = self.finding
        return {
            "schema": 1,
            "environment": self.environment,
            "service": self.service,
            "read_at": format_rfc3339(self.read_at),
            "verdict": found.verdict.value,
            "theirs": list(found.theirs),
            "ours": list(found.ours),
            "notes": list(found.notes),
            "next": self.next_step,
        }

    @property
    def next_step(self) -> str:
        if self.is_suspended:
            return f"Contact Cloudflare support at {SUPPORT}, with the ID of the account."
        return {
            OutageVerdict.THEIRS: "Do not roll back. Tell users, and wait for the provider.",
            OutageVerdict.OURS: "Recover the service: see its recoveries on the incident.",
            OutageVerdict.UNCLEAR: "Decide by the signs: a rollback helps only against a fault of our own.",
        }[self.finding.verdict]


def read_outage(place: Place, config_path: Path, environ: Mapping[str, str], redactor: Redactor) -> OutageReport:
    """Read all signs in parallel, and judge them.

    Raises:
        ConfigError: the configuration is invalid, or the token is missing.
    """
    config, _ = run.read_config(config_path)
    names = run.register_secrets(environ, config, redactor)
    environment = config.environment(place.environment)
    service = environment.service(place.service)
    with ExitStack() as ending:
        session = Session(environment, environ, ending, config)
        now = session.clock.now()
        page, (api, deployment), verdict, providers = run_parallel_mixed(
            [
                lambda: read_status(session, service),
                lambda: _read_deployment(session, service, now),
                lambda: _probe(session, service, run.probe_environ(environ, names), redactor, config_path.parent),
                lambda: _check_providers(session, environment),
            ]
        )
    evidence = OutageEvidence((page,), api, verdict, deployment, providers)
    report = OutageReport(
        service.name, environment.name, now, judge_outage(evidence), is_suspended=api == ApiState.SUSPENDED
    )
    redacted: OutageReport = redactor.redact_value(report)
    return redacted


def _read_deployment(session: Session, service: "Service", now: datetime) -> tuple[ApiState, str | None]:
    """Return the state of the API, and a description of a recent deployment."""
    try:
        if service.worker:
            times = [each.created_on for each in session.workers.list_deployments(service.worker)[:1]]
        else:
            listed = session.pages.list_deployments(service.pages)
            times = sorted((each.created_on for each in listed if each.can_serve_production), reverse=True)[:1]
    except ProviderError as error:
        if isinstance(error, CloudflareApiError) and SUSPENDED in error.text.casefold():
            return ApiState.SUSPENDED, None
        is_outage = error.reason in {Reason.PROVIDER_UNAVAILABLE, Reason.MALFORMED_ANSWER}
        return ApiState.FAILS if is_outage else ApiState.UNKNOWN, None
    recent = [at for at in times if now - at <= RECENT]
    described = (f"a deployment {format_duration((now - at).total_seconds())} ago" for at in recent)
    return ApiState.WORKS, next(described, "")


def _probe(session: Session, service: "Service", environ: Any, redactor: Redactor, folder: Path) -> Verdict:
    """Run one round of the probes that only send requests."""
    quick = tuple(each for each in service.probes if each.http or each.page)
    runner = ProbeRunner(
        web=session.web,
        environ=environ,
        redactor=redactor,
        clock=session.clock,
        folder=folder.resolve(),
        pictures=folder.resolve(),
    )
    return runner.run_round(ProbeSet(service.url, quick, service.verify)).verdict


def _check_providers(session: Session, environment: "Environment") -> Mapping[str, Verdict]:
    """Return AI provider → whether it answers to a random key."""
    found = dict(_providers(environment))
    verdicts = run_parallel([partial(_check_provider, session, spec) for spec in found.values()])
    return dict(zip(found, verdicts, strict=True))


def _providers(environment: "Environment") -> Iterator[tuple[str, "KeyProvider"]]:
    """Yield the address and settings of each AI provider of the environment."""
    for secret in environment.secrets.values():
        if secret.provider is not None:
            yield secret.provider.url.partition("://")[2].partition("/")[0], secret.provider


def _check_provider(session: Session, spec: "KeyProvider") -> Verdict:
    try:
        return _judge_answer(session.check_provider_key(spec, None))
    except OpsError:
        return Verdict.INCONCLUSIVE


def _judge_answer(answer: KeyAnswer) -> Verdict:
    if answer.verdict in {KeyVerdict.ACCEPTED, KeyVerdict.REFUSED}:
        return Verdict.HEALTHY
    return Verdict.UNHEALTHY if answer.text.startswith(("no answer", "status 5")) else Verdict.INCONCLUSIVE
