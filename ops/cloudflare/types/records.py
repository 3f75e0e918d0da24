"""Records of Cloudflare: audit log, tokens, analytics; requests and errors of versions."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import unquote

from ops.cloudflare.types.workers import short_id
from ops.core.clock import Period, format_duration
from ops.core.sequential_test import MAX_ERROR_RATE, FailureCount, error_rate, is_above

MAX_LOGGED_ERRORS = 5
MAX_ERROR_LENGTH, MAX_SCANNED_LENGTH = 160, 4_000
"""Characters of an error text to show, and to search for e-mail addresses."""


@dataclass(frozen=True)
class AuditLogEntry:
    """An entry of the audit log: a write or an attempted write; reads are not logged. `at`: Cloudflare's clock."""

    at: datetime
    action: str
    result: str
    actor: str
    """E-mail address, or the kind of actor."""
    context: str
    """Authentication: api_token, api_key, dash, oauth."""
    token_id: str
    token_name: str
    address: str
    method: str
    uri: str
    status: str
    user_agent: str
    ray_id: str

    @property
    def token(self) -> str:
        """Return the token's name in the dashboard with the start of its ID."""
        return f"{self.token_name} ({self.token_id[:8]})" if self.token_id else self.context


@dataclass(frozen=True)
class VerifiedToken:
    """A token that Cloudflare verified."""

    id: str
    kind: str
    """`user` or `account`."""
    status: str
    expires_on: str


@dataclass(frozen=True)
class HostRequests:
    """Equal requests to one host within an hour. A sampled count is an estimate."""

    hour: datetime
    host: str
    path: str
    address: str
    country: str
    status: str
    count: int


@dataclass(frozen=True)
class LoggedError:
    """An error that a Worker logged. Its text is untrusted."""

    text: str
    count: int
    """Number of requests with this error."""


def describe_logged_errors(errors: tuple[LoggedError, ...] | str) -> tuple[str, ...]:
    """Return the most frequent logged errors, without e-mail addresses."""
    if isinstance(errors, str):
        return (f"unknown: {errors}",)
    from ops.core.anonymization import anonymize_text  # here, because the gate never needs it

    rows = tuple(
        f"in {each.count} requests: {_shorten_telemetry_error(anonymize_text(each.text[:MAX_SCANNED_LENGTH]))}"
        for each in errors[:MAX_LOGGED_ERRORS]
    )
    more = (f"and {len(errors) - MAX_LOGGED_ERRORS} other errors",) if len(errors) > MAX_LOGGED_ERRORS else ()
    return (*rows, *more) or ("none, or the Worker's observability is off",)


def _shorten_telemetry_error(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_ERROR_LENGTH else f"{line[:MAX_ERROR_LENGTH]}…"


@dataclass(frozen=True)
class WorkerRequests:
    """Requests that a Worker handled, with equal method, path and status; an estimate."""

    trigger: str
    """Such as `GET /path`; another word for other events."""
    status: str
    count: int


@dataclass(frozen=True)
class DatabaseUsage:
    """Usage of one D1 database within an hour."""

    hour: datetime
    database: str
    read_queries: int
    write_queries: int
    rows_read: int
    rows_written: int


@dataclass(frozen=True)
class VersionRequests:
    """Requests to one version of a Worker in a minute or a day, which begins at `start`; an estimate.

    `errors` are uncaught exceptions and exceeded limits. A response with an error status is no error.
    """

    start: datetime
    version: str
    requests: int
    errors: int
    sample_interval: float = 1.0
    """Requests that one sample in this row stands for, on average; 1 if all were counted."""

    @property
    def samples(self) -> float:
        return self.requests / self.sample_interval

    @property
    def failed_samples(self) -> float:
        return min(self.errors, self.requests) / self.sample_interval


@dataclass(frozen=True)
class WorkerTraffic:
    """Requests to a Worker by version, by minute and by day."""

    recent: Period
    minutes: tuple[VersionRequests, ...]
    """In `recent`, oldest first."""
    days: tuple[VersionRequests, ...]
    """In a longer period, oldest first."""
    sample_interval: float
    """Average number of requests that one sample in `minutes` stands for; 1 if all were counted."""
    complete_until: datetime
    """Later minutes are incomplete."""
    may_be_cut: bool
    """Whether an answer has the maximum of rows: there may be others."""


@dataclass(frozen=True)
class HostMinute:
    """Responses of a host with one status in the minute that begins at `start`; an estimate."""

    start: datetime
    status: int
    requests: int
    sample_interval: float = 1.0
    """Requests that one sample stands for, on average; 1 if all were counted."""

    @property
    def samples(self) -> float:
        return self.requests / self.sample_interval


@dataclass(frozen=True)
class HostTraffic:
    """Responses of a host to clients other than our probes; estimates. IP addresses are counted, not kept."""

    by_status: Mapping[int, int]
    """Status → its responses in the period."""
    minutes: tuple[HostMinute, ...]
    """In a longer period, oldest first."""
    clients: int
    """Different IP addresses that got a status from 500 on."""
    has_more_clients: bool
    """Whether the answer has the maximum of rows."""
    own_requests: int
    """Requests of our probes in the period, by their user agent."""
    sample_interval: float
    """Average number of requests that one sample stands for; 1 if all were counted."""
    complete_until: datetime
    """Later minutes are incomplete."""
    may_be_cut: bool
    """Whether `minutes` has the maximum of rows: there may be later ones."""


@dataclass(frozen=True)
class DatasetLimits:
    """Limits of a data set: retention and longest period in seconds, and rows of a response."""

    is_enabled: bool
    retention_seconds: float
    max_period_seconds: float
    max_rows: int


CAVEAT = "Estimates of Cloudflare's analytics. An error that the code catches counts as success."


@dataclass(frozen=True)
class RequestFigures:
    """Total of the requests to some versions; `first` and `last` are the starts of its first and last row."""

    requests: int
    errors: int
    first: datetime
    last: datetime
    samples: FailureCount

    @property
    def rate(self) -> float | None:
        """Return the error rate; None with too few requests."""
        return error_rate(self.requests, self.errors)

    @property
    def is_high(self) -> bool:
        """Return whether the samples show a rate above MAX_ERROR_RATE."""
        return is_above(self.samples, MAX_ERROR_RATE)

    @property
    def text(self) -> str:
        """Return such as "1,204 requests, 31 % failed"."""
        return f"{self.requests:,} requests, {format_request_share(self.errors / self.requests)} failed"

    @property
    def days(self) -> str:
        first, last = self.first.date().isoformat(), self.last.date().isoformat()
        return first if first == last else f"{first} to {last}"


def format_request_share(share: float) -> str:
    """Format a share in percent, with one decimal below one percent: 31 %, 0.2 %, < 0.1 %."""
    percent = 100 * share
    if 0 < percent < 0.05:
        return "< 0.1 %"
    return f"{percent:.1f} %" if 0 < percent < 0.95 else f"{percent:.0f} %"


def sum_version_requests(rows: Iterable[VersionRequests], versions: Collection[str]) -> RequestFigures | None:
    """Return the total of these versions; None without requests."""
    counted = [row for row in rows if row.version in versions]
    requests = sum(row.requests for row in counted)
    if not requests:
        return None
    starts = [row.start for row in counted]
    samples = FailureCount(min(starts), sum(row.samples for row in counted), sum(row.failed_samples for row in counted))
    return RequestFigures(requests, sum(row.errors for row in counted), min(starts), max(starts), samples)


def sum_version_requests_by_day(traffic: WorkerTraffic | None, versions: Collection[str]) -> RequestFigures | None:
    """Return the requests to these versions on the days on which they served; None if none are known."""
    return sum_version_requests(traffic.days, versions) if traffic else None


def describe_traffic(traffic: WorkerTraffic, versions: Iterable[str]) -> Iterator[str]:
    """Yield a line per version: its last minutes, or the days on which it served. Nothing without numbers."""
    lines = [line for version in dict.fromkeys(versions) if (line := _describe_version_requests(traffic, version))]
    yield from lines
    if lines:
        is_sampled = traffic.sample_interval > 1
        sampling = f" One sample stands for {traffic.sample_interval:.3g} requests." if is_sampled else ""
        yield f"{CAVEAT} Minutes since {traffic.complete_until:%H:%M} UTC are incomplete.{sampling}"


def _describe_version_requests(traffic: WorkerTraffic, version: str) -> str:
    if recent := sum_version_requests(traffic.minutes, {version}):
        period = format_duration((traffic.recent.until - traffic.recent.since).total_seconds())
        return f"{short_id(version)}, last {period}: {recent.text}"
    past = sum_version_requests(traffic.days, {version})
    return f"{short_id(version)}, {past.days}: {past.text}" if past else ""


NOT_LOGGED = "values in KV (switches, limits) and D1 migrations that no button here changed: no audit log has them"
_DASHBOARD = "https://dash.cloudflare.com"
_WORKER = r"/workers/(?:scripts|services)/(?P<worker>[^/]+)"
_KINDS: tuple[tuple[str, str], ...] = (
    (rf"{_WORKER}/deployments", "deployment of Worker {worker}"),
    (rf"{_WORKER}/secrets.*", "secret of Worker {worker}"),
    (rf"{_WORKER}/schedules", "cron triggers of Worker {worker}"),
    (rf"{_WORKER}/versions.*", "version of Worker {worker}, uploaded"),
    (rf"{_WORKER}/subdomain", "workers.dev address of Worker {worker}"),
    (rf"{_WORKER}", "Worker {worker}, upload or removal"),
    (rf"{_WORKER}/.*", "settings of Worker {worker}"),
    (r"/zones/[^/]+/workers/routes.*", "route of a Worker"),
    (r"/workers/domains.*", "custom domain of a Worker"),
    (r"/pages/projects/(?P<site>[^/]+)/deployments.*", "deployment of site {site}"),
    (r"/pages/projects/(?P<site>[^/]+)/domains.*", "domain of site {site}"),
    (r"/pages/projects/(?P<site>[^/]+).*", "settings of site {site}, such as variables and secrets"),
    (r"/d1/database.*", "D1 database"),
    (r"/storage/kv/namespaces.*", "KV namespace"),
    (r"/zones/[^/]+/rulesets.*|/rulesets.*", "rules: firewall, rate limit, cache or redirect"),
    (r"/zones/[^/]+/dns_records.*", "DNS record"),
    (r"/zones/[^/]+/purge_cache", "cache purge"),
    (r"/zones/[^/]+/settings.*", "settings of a zone"),
)
"""Path below the account → what it changes. The first one that fits counts."""
_PATTERNS = tuple((re.compile(pattern), text) for pattern, text in _KINDS)
_ACCOUNT = re.compile(r"(?:/client/v4)?(?:/accounts/[^/]+)?(?P<path>/.*)")


@dataclass(frozen=True)
class AuditChange:
    """A request that succeeded. Its texts are untrusted."""

    what: str
    worker: str = ""
    site: str = ""

    def page(self, account: str) -> str:
        """Return its page in the dashboard."""
        if re.fullmatch(r"[\w-]+", self.worker):
            return f"{_DASHBOARD}/{account}/workers/services/view/{self.worker}/production/deployments"
        if re.fullmatch(r"[\w-]+", self.site):
            return f"{_DASHBOARD}/{account}/pages/view/{self.site}"
        return f"{_DASHBOARD}/{account}/audit-log"


def read_audit_change(entry: AuditLogEntry) -> AuditChange | None:
    """Return the change of an entry; None if the request failed."""
    if entry.result not in {"", "success"} or (entry.status.isdigit() and int(entry.status) >= 400):
        return None
    match = _ACCOUNT.fullmatch(entry.uri)
    path = match["path"] if match else entry.uri
    for pattern, text in _PATTERNS:
        if found := pattern.fullmatch(path):
            names = {name: unquote(value) for name, value in found.groupdict().items()}
            return AuditChange(text.format_map(names), **names)
    return AuditChange(f"{entry.method} {path}")
