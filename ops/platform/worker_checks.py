"""Check deployments, versions and secrets of the test Worker, and its KV and D1."""

from collections.abc import Callable

from ops.cloudflare.marks import DeploymentMark
from ops.cloudflare.response import CloudflareApiError
from ops.cloudflare.types.d1 import SqlStatement
from ops.core.errors import LatestNotDeployed, NotApplied, SecretsChanged
from ops.core.redaction import Secret
from ops.platform.account import MODULE, RunResources, VerificationAccount, verification_bindings
from ops.platform.edge import (
    NO_ANSWER,
    SAMPLE_SECONDS,
    await_edge,
    look_at_edge,
    record_settling,
    sample_edge,
    shown_edge_value,
    wait_for_edge,
    worker_url,
)
from ops.platform.measurements import Measurements
from ops.probes.http import Observation

SECRET = "GENERATION"  # noqa: S105  (its name)
MOST_READS = 10
"""Most reads until a change shows."""
PAGE, DEPLOYMENTS = 5, 12
"""Size of a page, and the deployments that the Worker has at the end."""
TOO_MANY_VARIABLES = 70
NO_HOST = "the account has no workers.dev domain"
NOT_SHOWN = "the edge did not show the deployed version in time"
QUIET, SHORT_QUIET = 15.0, 5.0
"""Seconds without an old answer after which a change has settled: a measured one, and one of a preparation."""


class WorkerChecks:
    """Checks of one Worker, in an order in which each finds the state that it needs."""

    def __init__(
        self, account: VerificationAccount, resources: RunResources, results: Measurements, code: bytes
    ) -> None:
        self._account, self._resources, self._results, self._code = account, resources, results, code
        self._name, self._deployments = resources.name, 1
        self._obstacle = "" if resources.host else NO_HOST
        """Why no later step waits for the edge; empty if it showed the second version in time."""

    def check_rollback(self) -> None:
        """Deploy a second version, roll back to the first one, and sample the edge."""
        first, second = self._resources.first_version, self._upload_measured_version("two")
        self._results.compare("version-readable", f"{self._count_reads(second)} reads too early")
        self._deploy_measured_versions({second: 100})
        self._obstacle = self._obstacle or self._await_measured_version(second)
        made = self._deploy_measured_versions({first: 100})
        stale = 0
        while stale < MOST_READS and self._read_newest() != made:
            stale += 1
        self._results.compare("deployment-listed", f"{stale} reads too early")
        self._sample_rollback(first)
        api, read_created = self._account.api, self._account.read_created
        fields = read_created(lambda: api.read_deployment_fields(self._name), "deployments")
        self._results.compare("code-update-strategy", "shown" if "code_update_strategy" in fields else "not shown")
        listed = read_created(lambda: api.read_listed_fields(self._name), "Workers")
        self._results.compare("has-assets", "shown" if "has_assets" in listed else "not shown")
        try:
            self._edit_measured_secret("0")
            self._results.compare("edit-of-former", "accepted")
        except LatestNotDeployed:
            self._results.compare("edit-of-former", "refused")
        self._deploy_measured_versions({second: 100})

    def _count_reads(self, version: str) -> int:
        for early in range(MOST_READS):
            if self._account.workers.read_version(self._name, version) is not None:
                return early
        return MOST_READS

    def _sample_rollback(self, target: str) -> None:
        if self._obstacle == NOT_SHOWN:
            self._results.compare_time("worker-propagation", None, SAMPLE_SECONDS)
        if self._obstacle:
            self._skip_sample(self._obstacle)
            return
        sample = sample_edge(
            self._account, worker_url(self._resources), self._shows_version(target), quiet=QUIET, is_dense=True
        )
        if not sample.places:
            self._skip_sample(NO_ANSWER)
            return
        record_settling(self._results, "worker-propagation", sample)
        self._results.record_sight("worker-mixing", is_seen=sample.is_mixed)
        is_named = len(sample.places) == 1 and "" not in sample.places
        self._results.compare("edge-place", "one" if is_named else f"{len(sample.places - {''})}")

    def _skip_sample(self, reason: str) -> None:
        for name in ("worker-propagation", "worker-mixing", "edge-place"):
            self._results.skip(name, reason)

    def check_secrets(self) -> None:
        """Edit a secret twice, then deploy the version with the former value, without and with force."""
        self._edit_measured_secret("1")
        former = self._live_version()
        self._edit_measured_secret("2")
        current = self._live_version()
        try:
            self._deploy_measured_versions({former: 100})
            self._results.compare("secrets-changed", "accepted")
        except SecretsChanged as error:
            self._results.compare("secrets-changed", "refused" if error.names == (SECRET,) else "refused unnamed")
        try:
            self._deploy_measured_versions({current: 100, former: 0})
            self._results.compare("secrets-without-traffic", "accepted")
        except SecretsChanged:
            self._results.compare("secrets-without-traffic", "refused")
            self._results.skip("secrets-after-rehearsal", "a deployment at 0 % was refused")
        try:
            self._deploy_measured_versions({former: 100})
            self._results.compare("secrets-after-rehearsal", "accepted")
        except SecretsChanged:
            self._results.compare("secrets-after-rehearsal", "refused")
        self._deploy_measured_versions(
            {current: 100}, force=True
        )  # a version that is deployed at 0 % keeps the secrets of then
        self._deploy_measured_versions({former: 100}, force=True)
        self._check_forced(former)
        self._deploy_measured_versions({current: 100}, force=True)

    def _check_forced(self, version: str) -> None:
        if obstacle := self._obstacle or self._await_measured_version(version):
            self._results.skip("forced-secrets", obstacle)
            return
        url = worker_url(self._resources)
        # A late machine may serve another version.
        answers = (look_at_edge(self._account, url) for _ in range(MOST_READS))
        value = next(
            (shown_edge_value(seen, "generation") for seen in answers if seen and self._shows_version(version)(seen)),
            "",
        )
        words = {"1": "the former value", "2": "the current value"}
        self._results.compare("forced-secrets", words.get(value, "no answer of that version"))

    def check_split(self) -> None:
        """Deploy a version at 0 % and request it by override; then edit a secret while it serves a half."""
        current, new = self._live_version(), self._upload_measured_version("three")
        self._deploy_measured_versions({current: 100, new: 0})
        if not self._obstacle:
            override = f'{self._name}="{new}"'
            url = worker_url(self._resources)
            took = wait_for_edge(
                self._account, url, self._shows_version(new), at_most=SAMPLE_SECONDS, override=override
            )
            self._results.compare("override-header", "this version" if took is not None else "another version", took)
        else:
            self._results.skip("override-header", self._obstacle)
        self._deploy_measured_versions({current: 50, new: 50})
        try:
            self._edit_measured_secret("3")
            self._results.compare("edit-in-split", "accepted")
        except LatestNotDeployed:
            self._results.compare("edit-in-split", "refused")

    def check_lists(self) -> None:
        """Read the list of deployments by page, and upload a version with too many variables."""
        live = self._live_version()
        while self._deployments < DEPLOYMENTS:
            self._deploy_measured_versions({live: 100})
        listed = self._account.workers.list_deployments(self._name, rehearsals=True)
        count = "10 rows" if len(listed) == 10 else "all rows" if len(listed) > 10 else "fewer rows"
        self._results.compare("deployments-page", count)
        first, second = self._list_page(1), self._list_page(2)
        is_paged = len(first) == PAGE and second and first.isdisjoint(second)
        self._results.compare("deployments-paged", "pages" if is_paged else "no pages")
        try:
            self._upload_measured_version("four", TOO_MANY_VARIABLES)
            self._results.compare("variables", "accepted")
        except CloudflareApiError:
            self._results.compare("variables", "refused")

    def _list_page(self, page: int) -> set[str]:
        listed = self._account.workers.list_deployments(self._name, page=page, size=PAGE, rehearsals=True)
        return {each.id for each in listed}

    def _shows_version(self, version: str) -> Callable[[Observation], bool]:
        return lambda seen: shown_edge_value(seen, "version") == version

    def _await_measured_version(self, version: str) -> str:
        """Wait until the edge shows a version. Return why it did not; empty if every answer soon came from it."""
        sample = await_edge(self._account, worker_url(self._resources), self._shows_version(version), quiet=SHORT_QUIET)
        if sample.is_quiet:
            return ""
        return NOT_SHOWN if sample.places else NO_ANSWER

    def _upload_measured_version(self, release: str, variables: int = 0) -> str:
        bindings = verification_bindings(self._resources.namespace.id, release, variables)
        return self._account.api.upload_version(self._name, MODULE, self._code, bindings)

    def _deploy_measured_versions(self, shares: dict[str, float], *, force: bool = False) -> str:
        mark = DeploymentMark(None, self._name, None, "verification")
        made = self._account.workers.deploy(self._name, tuple(shares.items()), mark=mark, force=force)
        self._deployments += 1
        return made

    def _edit_measured_secret(self, value: str) -> None:
        self._account.workers.secrets.edit(self._name, {SECRET: Secret(value)})
        self._deployments += 1

    def _live_version(self) -> str:
        live = self._account.read_created(lambda: self._account.workers.list_deployments(self._name), "deployments")
        return live.split[0][0]

    def _read_newest(self) -> str:
        """Return the ID of the newest deployment; empty for an empty list."""
        return next((each.id for each in self._account.workers.list_deployments(self._name)), "")


KEY = "measured"
STEP, EARLY_SECONDS, LATE_STEP = 2.0, 70.0, 15.0
"""Seconds between two reads of KV, which may be stale for 60 seconds or more, and between later ones."""
WRITE_INTERVAL = 1.1
"""Seconds between two writes of a key, of which KV takes one per second."""


def check_kv(account: VerificationAccount, resources: RunResources, results: Measurements) -> None:
    """Write a key twice, and read it through the API and at the edge until both show the second value."""
    namespace = resources.namespace.id
    account.kv.write_value(namespace, KEY, "one")
    try:
        account.kv.write_value(namespace, KEY, "one")
        results.record_sight("kv-write-rate", is_seen=False)
    except NotApplied:
        results.record_sight("kv-write-rate", is_seen=True)
    if resources.host:
        look_at_edge(account, worker_url(resources, KEY))  # the location keeps this value
    account.clock.sleep(WRITE_INTERVAL)
    account.kv.write_value(namespace, KEY, "two")
    began, by_api, by_edge, is_answered = account.clock.monotonic(), None, None, False
    while True:
        waited = account.clock.monotonic() - began
        if by_api is None and account.kv.read_value(namespace, KEY) == "two":
            by_api = waited
        if by_edge is None and resources.host and (seen := look_at_edge(account, worker_url(resources, KEY))):
            is_answered, by_edge = True, waited if shown_edge_value(seen, "value") == "two" else None
        is_done = by_api is not None and (by_edge is not None or not resources.host)
        if is_done or waited >= SAMPLE_SECONDS:
            break
        account.clock.sleep(STEP if waited < EARLY_SECONDS else LATE_STEP)
    results.compare_time("kv-api-lag", by_api, waited)
    if is_answered:
        results.compare_time("kv-edge-lag", by_edge, waited)
    else:
        results.skip("kv-edge-lag", NO_ANSWER if resources.host else NO_HOST)


class D1Checks:
    def __init__(self, account: VerificationAccount, resources: RunResources, results: Measurements) -> None:
        self._d1, self._database, self._results = account.d1, resources.database.id, results

    def check_restore(self) -> None:
        """Write three rows, restore the state with one, then a later one, and undo."""
        self._d1.run_batch(self._database, [SqlStatement("CREATE TABLE measured (number INTEGER PRIMARY KEY)")])
        self._insert_measured_row(1)
        self._results.compare("d1-read-after-write", f"{self._count_stale_reads(1)} reads too early")
        first = self._d1.read_bookmark(self._database)
        self._insert_measured_row(2)
        second = self._d1.read_bookmark(self._database)
        self._insert_measured_row(3)
        done = self._d1.restore(self._database, first)
        shown = self._d1.read_bookmark(self._database)
        self._results.compare("d1-bookmark-after-restore", "the new one" if shown == done.bookmark else "a former one")
        self._results.compare("d1-restore", self._describe_rows(1))
        try:
            self._d1.restore(self._database, second)
            self._results.compare("d1-later-bookmark", "restored")
        except CloudflareApiError:
            self._results.compare("d1-later-bookmark", "refused")
        self._d1.restore(self._database, done.previous_bookmark)
        self._results.compare("d1-undo", self._describe_rows(3))

    def _insert_measured_row(self, number: int) -> None:
        self._d1.run_batch(self._database, [SqlStatement("INSERT INTO measured VALUES (?)", (str(number),))])

    def _count_stale_reads(self, rows: int) -> int:
        return next((early for early in range(MOST_READS) if self._count_rows() == rows), MOST_READS)

    def _describe_rows(self, expected: int) -> str:
        """Return the number of rows in words; a stale read is repeated."""
        return f"rows: {expected}" if self._count_stale_reads(expected) < MOST_READS else "other rows"

    def _count_rows(self) -> int:
        (result,) = self._d1.query(self._database, [SqlStatement("SELECT number FROM measured")])
        return len(result.rows)
