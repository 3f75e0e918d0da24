"""Check how soon Cloudflare's records show the run, and which permission they need."""

from collections.abc import Callable
from datetime import timedelta

from ops.cloudflare import records
from ops.cloudflare.client import next_cursor
from ops.cloudflare.response import CloudflareResponse, parse_result
from ops.cloudflare.types.records import WorkerTraffic
from ops.cloudflare.types.zones import WorkersDevSubdomain
from ops.core.clock import Period
from ops.core.errors import ProviderError
from ops.platform.account import RunResources, VerificationAccount
from ops.platform.edge import NO_ANSWER, look_at_edge, worker_url
from ops.platform.measurements import Measurements, is_outage
from ops.platform.worker_checks import NO_HOST

LONGEST_WAIT, STEP = 300.0, 20.0
"""Seconds to wait for records, and between two reads."""
REQUESTS = 20
"""Requests whose records are awaited."""
SHORT_PAGE = 2
CLOCK_SKEW = 5.0
"""Seconds by which Cloudflare's clock may differ from this machine's."""
Found = Callable[[], bool]


class RecordChecks:
    def __init__(self, account: VerificationAccount, resources: RunResources, results: Measurements) -> None:
        self._account, self._resources, self._results = account, resources, results
        self._since, self._answered = account.clock.now(), REQUESTS
        self._outages: dict[str, ProviderError] = {}
        """Assumption whose latest read failed → why."""

    def check_lags(self) -> None:
        """Make a write and some requests, and read audit log, telemetry and analytics until each shows them."""
        if not self._resources.host:
            for name in ("audit-lag", "telemetry-lag", "analytics-lag"):
                self._results.skip(name, NO_HOST)
            return
        self._account.clock.sleep(2 * CLOCK_SKEW)
        self._since = self._account.clock.now() - timedelta(seconds=CLOCK_SKEW)
        self._account.workers.set_subdomain(
            self._resources.name, WorkersDevSubdomain(enabled=True, previews_enabled=False)
        )
        answers = [look_at_edge(self._account, worker_url(self._resources)) for _ in range(REQUESTS)]
        self._answered = len([each for each in answers if each is not None])
        awaited: dict[str, Found] = {
            "audit-lag": self._is_in_audit_log,
            "telemetry-lag": self._is_in_telemetry,
            "analytics-lag": self._is_in_analytics,
        }
        if not self._answered:
            for name in ("telemetry-lag", "analytics-lag"):
                self._results.skip(name, NO_ANSWER)
                del awaited[name]
        began = self._account.clock.monotonic()
        while awaited:
            waited = self._account.clock.monotonic() - began
            awaited = {name: found for name, found in awaited.items() if not self._is_found(name, found, waited)}
            if waited >= LONGEST_WAIT:
                break
            self._account.clock.sleep(STEP)
        for name in awaited:
            if name in self._outages:
                self._results.record_error(name, self._outages[name])
            else:
                self._results.compare_time(name, None, LONGEST_WAIT)

    def _is_found(self, name: str, found: Found, waited: float) -> bool:
        """Return whether a record is there, or the token may not read it. The next read may end an outage."""
        self._outages.pop(name, None)
        try:
            if not found():
                return False
        except ProviderError as error:
            if is_outage(error):
                self._outages[name] = error
                return False
            self._results.record_error(name, error)
            return True
        self._results.compare_time(name, waited, waited)
        return True

    @property
    def _measured_period(self) -> Period:
        return Period(self._since, self._account.clock.now() + timedelta(seconds=1))

    def _is_in_audit_log(self) -> bool:
        log = records.read_audit_log(self._account.client, self._account.account_id, self._measured_period)
        ending = f"/workers/scripts/{self._resources.name}/subdomain"
        return any(entry.uri.endswith(ending) for entry in log.entries)

    def _is_in_telemetry(self) -> bool:
        name, period = self._resources.name, self._measured_period
        return bool(records.count_requests(self._account.client, self._account.account_id, name, period))

    def _is_in_analytics(self) -> bool:
        traffic = self._read_traffic(timedelta())
        return sum(minute.requests for minute in traffic.minutes) >= self._answered

    def _read_traffic(self, history: timedelta) -> WorkerTraffic:
        return records.read_worker_traffic(
            self._account.client,
            self._account.account_id,
            self._resources.name,
            self._measured_period,
            now=self._account.clock.now(),
            history=history,
        )

    def check_shapes(self) -> None:
        """Read a short page of the audit log, a long period of analytics, and a group of telemetry without a value."""
        self._attempt_measurement("audit-pages", self._check_audit_pages)
        self._attempt_measurement("analytics-history", self._check_history)
        self._attempt_measurement("telemetry-groups", self._check_groups)

    def _attempt_measurement(self, name: str, check: Callable[[], None]) -> None:
        try:
            check()
        except ProviderError as error:
            self._results.record_error(name, error)

    def _check_audit_pages(self) -> None:
        period = Period(self._since - timedelta(hours=1), self._account.clock.now())
        page = self._account.api.read_audit_page(period, SHORT_PAGE)
        if len(page.result) < SHORT_PAGE:
            self._results.skip("audit-pages", "the audit log did not show enough entries")
            return
        cursors = page.result_info.get("cursors")
        in_after = isinstance(cursors, dict) and cursors.get("after")
        place = "cursors.after" if in_after else "cursor" if next_cursor(page) else "no next page"
        self._results.compare("audit-pages", place)

    def _check_history(self) -> None:
        self._read_traffic(records.LONGEST_HISTORY)
        self._results.compare("analytics-history", "answered")

    def _check_groups(self) -> None:
        answer = records.count_groups(
            self._account.client,
            self._account.account_id,
            self._resources.name,
            self._measured_period,
            {records.ERROR: "string"},
        )
        rows = _read_aggregates(answer)
        if not rows:
            self._results.skip("telemetry-groups", "the telemetry did not show the requests")
            return
        is_named = any(each.get("key") == records.ERROR for row in rows for each in row.get("groups") or ())
        self._results.compare("telemetry-groups", "named" if is_named else "left out")


def _read_aggregates(answer: CloudflareResponse) -> list[dict[str, list[dict[str, object]]]]:
    return parse_result(
        answer,
        "the groups of telemetry",
        lambda: [row for each in answer.result["calculations"] for row in each["aggregates"]],
    )
