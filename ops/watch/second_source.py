"""Ask Cloudflare's figures whether they show the failure that the probes found.

The probes of a watch have one runner and one network, so they are one source. What other clients got is a second one.
Our own requests are left out: of a host by their user agent; of a Worker by their greatest number.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from ops.app.session import Session
from ops.cloudflare import records
from ops.core.bounded_http import MAX_PAGE_URLS, PROBE_AGENT
from ops.core.clock import Period
from ops.core.errors import ConfigError, ProviderError
from ops.core.sequential_test import FailureCount, judge_share
from ops.core.verdict import Verdict
from ops.watch.judgment import MINUTE, RATES, SETTLED, GuardedDeployment
from ops.watch.state import WatchState

if TYPE_CHECKING:
    from ops.cloudflare.types.records import HostMinute
    from ops.config import Service
    from ops.config.probes import Probe


def probes_with_other_agent(service: "Service") -> tuple["Probe", ...]:
    """Return the probes of a watch whose requests do not have our user agent."""
    return tuple(each for each in service.watched_probes if not _has_our_agent(each))


def _has_our_agent(probe: "Probe") -> bool:
    request = probe.http or probe.page
    return request is not None and "user-agent" not in {name.lower() for name in request.request_headers}


def require_counted_probes(probes: "Iterable[Probe]") -> int:
    """Return the most requests of one round. Raises ConfigError for probes whose requests cannot be counted."""
    probes = tuple(probes)
    if uncountable := [each.name for each in probes if not (each.http or each.page)]:
        raise ConfigError(f"the requests of probe {', '.join(uncountable)} cannot be counted")
    return sum(MAX_PAGE_URLS if each.page else 1 for each in probes)


WITHIN = timedelta(minutes=8)
"""Longest wait for the figures after a relapse. A complete minute is five minutes old, and two are needed."""
PAUSE = timedelta(minutes=1)
BEFORE = timedelta(minutes=10)
"""Time before a guarded deployment whose requests are judged too: what failed then already is not its fault."""
QUERY_TIMEOUT = 5.0
"""Seconds after which a query of the analytics ends; it is sent once."""
SERVER_ERROR, MAINTENANCE = 500, 503
"""Lowest status of a failed response; the status of a closed service."""
WATCHES = 2
"""Watches or guards at the same time, at most: a person may start one beside that of the job."""


@dataclass(frozen=True)
class SecondSource:
    """What the figures say about a failure of the probes."""

    text: str
    """Such as "web.shop.example failed 41 of 45 requests of others since 03:41:00 UTC"."""
    is_shown: bool = False
    """Whether they show it."""
    failed_before: str = ""
    """The same of the time before the guarded deployment, if requests failed then too."""


def read_second_source(
    session: Session, service: "Service", state: WatchState, guarded: GuardedDeployment | None = None
) -> SecondSource:
    """Read the failures of the host and of the Worker since the start of the watch; what cannot be read shows nothing.

    Both have limits for an unknown share before the bad deployment, because only a plain failure may start a step. Of
    a `guarded` one only its own versions count, and the same query tells whether requests failed before it too.
    """
    now = session.clock.now()
    since = state.started_at - BEFORE if guarded else state.started_at
    period = Period(since, max(now, state.started_at + timedelta(seconds=1)))
    said = []
    for name, read in (
        ("host", _count_host),
        ("Worker", partial(_count_worker, interval=state.interval, guarded=guarded)),
    ):
        try:
            subject, counts = read(session, service, period)
        except (ProviderError, ConfigError) as error:
            said.append(f"those of the {name} do not count: {error.message}")
            continue
        seen = _judge_traffic(subject, [each for each in counts if each.at >= state.started_at + MINUTE], state)
        if seen.is_shown and guarded:
            before = _judge_traffic(subject, [each for each in counts if each.at + MINUTE <= guarded.created_on], state)
            return replace(seen, failed_before=before.text if before.is_shown else "")
        if seen.is_shown:
            return seen
        said.append(seen.text)
    return SecondSource("; ".join(said))


def _judge_traffic(subject: str, counts: Sequence[FailureCount], state: WatchState) -> SecondSource:
    complete = [each for each in counts if each.total > 0]
    judged = judge_share(complete, RATES, settled_at=state.started_at + SETTLED)
    total, failed = sum(each.total for each in complete), sum(each.failed for each in complete)
    if judged.verdict == Verdict.UNHEALTHY and judged.since is not None:
        counted = f"{judged.failed:,.0f} of {judged.total:,.0f}"
        text = f"{subject} failed {counted} requests of others since {judged.since:%H:%M:%S} UTC"
        return SecondSource(text, is_shown=True)
    return SecondSource(f"{subject} failed {failed:,.0f} of {total:,.0f} requests of others so far")


def _count_host(session: Session, service: "Service", period: Period) -> tuple[str, list[FailureCount]]:
    """Return the host, and per complete minute the responses of Cloudflare's edge: those from 500 on failed, but 503.

    Raises ProviderError, also if the host is in no zone; ConfigError if other services or probes cannot be told apart.
    """
    if unknown := [each.name for each in probes_with_other_agent(service)]:
        raise ConfigError(f"the requests of probe {', '.join(unknown)} have another user agent")
    host, services = service.host, session.environment.services.values()
    if others := [each.name for each in services if each.host == host and each.name != service.name]:
        raise ConfigError(f"{host} is also the host of {', '.join(others)}")
    zone = records.find_zone(session.client, session.account_id, host)
    rows = records.read_host_minutes(
        session.client, zone, host, period, without_agent=PROBE_AGENT, timeout=QUERY_TIMEOUT
    )
    complete_until = session.clock.now() - records.COMPLETE_AFTER
    return host, list(_count_host_minutes(row for row in rows if row.start + MINUTE <= complete_until))


def _count_host_minutes(rows: "Iterable[HostMinute]") -> Iterator[FailureCount]:
    """Yield the samples of each minute. A 503 did not fail: a person may have closed the host meanwhile."""
    for start, each in groupby(rows, key=lambda row: row.start):
        of = list(each)
        failed = sum(row.samples for row in of if row.status >= SERVER_ERROR and row.status != MAINTENANCE)
        yield FailureCount(start, sum(row.samples for row in of), failed)


def _count_worker(
    session: Session,
    service: "Service",
    period: Period,
    *,
    interval: timedelta,
    guarded: GuardedDeployment | None,
) -> tuple[str, list[FailureCount]]:
    """Return the Worker, and per complete minute the samples beyond our own requests, which may all have failed.

    `interval`: from round to round. From a `guarded` deployment on only its own versions count.

    Raises ProviderError; ConfigError if the number of our own requests is unknown.
    """
    own = _max_own_requests(session, service, interval)
    traffic = records.read_worker_traffic(
        session.client,
        session.account_id,
        service.worker,
        period,
        now=session.clock.now(),
        history=timedelta(0),
        timeout=QUERY_TIMEOUT,
    )
    minutes = [
        row
        for row in traffic.minutes
        if guarded is None or row.start < guarded.created_on or row.version in guarded.versions
    ]
    starts = sorted({row.start for row in minutes if row.start < traffic.complete_until})

    def count_both_sources() -> Iterator[FailureCount]:
        for start in starts:
            rows = [row for row in minutes if row.start == start]
            total, failed = (sum(getattr(row, name) for row in rows) for name in ("samples", "failed_samples"))
            yield FailureCount(start, max(0.0, total - own), max(0.0, failed - own))

    return service.worker, list(count_both_sources())


def _max_own_requests(session: Session, service: "Service", interval: timedelta) -> int:
    """Return the most requests a minute that watches send to the Worker, and one other command.

    Raises ConfigError if that is unknown.
    """
    sharing = [each for each in session.environment.services.values() if each.worker == service.worker]
    probes = [probe for each in sharing for probe in each.watched_probes]
    return WATCHES * (MINUTE // interval + 1) * require_counted_probes(probes)
