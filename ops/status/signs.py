"""Read the signs of services: their probes, and deployments of the last hour."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.app.configuration import probe_environ, register_secrets
from ops.app.session import Session
from ops.cloudflare.response import CloudflareApiError
from ops.config.probes import ProbeSet
from ops.core.clock import current_time, format_age
from ops.core.errors import ConfigError, OpsError, ProviderError, Reason
from ops.core.outage import ApiState, LiveSigns, ServiceSigns
from ops.core.redaction import Redactor
from ops.core.threads import run_in_time, run_parallel_mixed
from ops.core.verdict import Verdict
from ops.pages.snapshot import live_content

if TYPE_CHECKING:
    from ops.config import Config, Service

RECENT = timedelta(hours=1)
"""Age up to which a deployment may be the cause."""
SUSPENDED = "suspended"
"""Word in Cloudflare's refusal of a suspended account; its error code is not documented [unsure: suspended-account]."""
SECONDS = 5.0
"""Real seconds after which missing answers are left out."""
MAX_CALLS = 32
"""Services that are probed at the same time: some that hang must not hold up the others."""
PROBLEMS = {
    ApiState.WORKS: "",
    ApiState.FAILS: "Cloudflare's API fails",
    ApiState.SUSPENDED: "Cloudflare suspended the account",
    ApiState.UNKNOWN: "Cloudflare refused to list them",
}
NO_PROBE, NO_ANSWER, UNCLEAR = "no probe", f"no answer within {SECONDS:g} s", "no clear result"


def read_deployment(session: Session, service: "Service", now: datetime) -> tuple[ApiState, str | None]:
    """Return the state of the API, and a description of a recent deployment."""
    try:
        if service.worker:
            times = [each.created_on for each in session.cloudflare.workers.list_deployments(service.worker)[:1]]
        else:
            listed = session.cloudflare.pages.list_deployments(service.pages)
            times = sorted((each.created_on for each in listed if each.can_serve_production), reverse=True)[:1]
    except ProviderError as error:
        if isinstance(error, CloudflareApiError) and SUSPENDED in error.text.casefold():
            return ApiState.SUSPENDED, None
        is_outage = error.reason in {Reason.PROVIDER_UNAVAILABLE, Reason.MALFORMED_ANSWER}
        return ApiState.FAILS if is_outage else ApiState.UNKNOWN, None
    recent = [at for at in times if now - at <= RECENT]
    described = (f"a deployment {format_age(now - at)}" for at in recent)
    return ApiState.WORKS, next(described, "")


def probe_service(session: Session, service: "Service", *, environ: Any, redactor: Redactor, folder: Path) -> Verdict:
    """Run one round of the probes that only send requests."""
    runner = session.probe_runner(environ, redactor, folder.resolve())
    content = live_content(session, service) if service.pages else None
    return runner.run_round(ProbeSet(service.url, service.quick_probes, service.verify, find_content=content)).verdict


def read_live_signs(
    config: "Config",
    places: Collection[tuple[str, str]],
    config_path: Path,
    environ: Mapping[str, str],
    redactor: Redactor,
) -> LiveSigns:
    """Return the signs of the services in these places that answer within SECONDS.

    `places`: environment and service. Nothing that fails is an error: it is named in the result.
    """
    names, now = register_secrets(environ, config, redactor), current_time(environ)
    with ExitStack() as ending:
        sessions = {
            name: Session(config, name, environ, ending)
            for name in dict.fromkeys(environment for environment, _ in places)
        }
        services = {place: config.environments[place[0]].services[place[1]] for place in places}
        probe = partial(
            probe_service, environ=probe_environ(environ, names), redactor=redactor, folder=config_path.parent
        )
        probes = {
            place: partial(probe, sessions[place[0]], each) for place, each in services.items() if each.quick_probes
        }
        reads = {place: partial(_try_deployment, sessions[place[0]], each, now) for place, each in services.items()}
        verdicts, deployments = run_parallel_mixed(
            [partial(run_in_time, probes, MAX_CALLS, SECONDS), partial(run_in_time, reads, MAX_CALLS, SECONDS)]
        )
    found = {
        (environment, service): ServiceSigns(
            service,
            verdicts.get((environment, service), Verdict.INCONCLUSIVE),
            deployments.get((environment, service), (None, ""))[0],
        )
        for environment, service in places
    }
    unseen = (*_unseen_probes(services, verdicts), *_unseen_deployments(places, deployments))
    signs: LiveSigns = redactor.redact_value(LiveSigns(now, found, unseen))
    return signs


def _try_deployment(session: Session, service: "Service", now: datetime) -> tuple[str | None, str]:
    """Return the description of a recent deployment, or None and why it is unknown."""
    try:
        state, recent = read_deployment(session, service, now)
    except ConfigError:
        return None, f"no usable token in {session.environment.token}"
    except OpsError:
        state, recent = ApiState.UNKNOWN, None
    return recent, PROBLEMS[state]


def _unseen_probes(
    services: "Mapping[tuple[str, str], Service]", verdicts: Mapping[tuple[str, str], Verdict]
) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    """Yield why probes are unknown, and where."""
    silent = tuple(place for place, each in services.items() if each.quick_probes and place not in verdicts)
    unclear = tuple(place for place, verdict in verdicts.items() if verdict == Verdict.INCONCLUSIVE)
    bare = tuple(place for place, each in services.items() if not each.quick_probes)
    for why, where in ((NO_ANSWER, silent), (UNCLEAR, unclear), (NO_PROBE, bare)):
        if where:
            yield f"health, {why}", where


def _unseen_deployments(
    places: Collection[tuple[str, str]], deployments: Mapping[tuple[str, str], tuple[str | None, str]]
) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    """Yield why deployments are unknown, and where."""
    problems = {place: deployments.get(place, (None, NO_ANSWER))[1] for place in places}
    for why in dict.fromkeys(filter(None, problems.values())):
        yield f"deployments, {why}", tuple(place for place, problem in problems.items() if problem == why)
