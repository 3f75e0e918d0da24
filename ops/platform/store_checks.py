"""Check how soon KV shows a write, and what Time Travel of D1 restores."""

from ops.cloudflare.response import CloudflareApiError
from ops.cloudflare.types.d1 import SqlStatement
from ops.core.errors import NotApplied
from ops.platform.account import RunResources, VerificationAccount
from ops.platform.edge import NO_ANSWER, SAMPLE_SECONDS, look, shown_value, worker_url
from ops.platform.measurements import Measurements
from ops.platform.worker_checks import NO_HOST

KEY = "measured"
STEP, EARLY_SECONDS, LATE_STEP = 2.0, 70.0, 15.0
"""Seconds between two reads of KV, which may be stale for 60 seconds or more, and between later ones."""
WRITE_INTERVAL = 1.1
"""Seconds between two writes of a key, of which KV takes one per second."""
MOST_READS = 10


def check_kv(account: VerificationAccount, resources: RunResources, results: Measurements) -> None:
    """Write a key twice, and read it through the API and at the edge until both show the second value."""
    namespace = resources.namespace.id
    account.kv.write_value(namespace, KEY, "one")
    try:
        account.kv.write_value(namespace, KEY, "one")
        results.compare("kv-write-rate", "accepted")
    except NotApplied:
        results.compare("kv-write-rate", "refused")
    if resources.host:
        look(account, worker_url(resources, KEY))  # the location keeps this value
    account.clock.sleep(WRITE_INTERVAL)
    account.kv.write_value(namespace, KEY, "two")
    began, by_api, by_edge, is_answered = account.clock.monotonic(), None, None, False
    while True:
        waited = account.clock.monotonic() - began
        if by_api is None and account.kv.read_value(namespace, KEY) == "two":
            by_api = waited
        if by_edge is None and resources.host and (seen := look(account, worker_url(resources, KEY))):
            is_answered, by_edge = True, waited if shown_value(seen, "value") == "two" else None
        is_done = by_api is not None and (by_edge is not None or not resources.host)
        if is_done or waited >= SAMPLE_SECONDS:
            break
        account.clock.sleep(STEP if waited < EARLY_SECONDS else LATE_STEP)
    results.compare_time("kv-api-lag", by_api, waited)
    if is_answered:
        results.compare_time("kv-edge-lag", by_edge, waited)
    else:
        results.skip("kv-edge-lag", NO_ANSWER if resources.host else NO_HOST)


class DatabaseChecks:
    def __init__(self, account: VerificationAccount, resources: RunResources, results: Measurements) -> None:
        self._d1, self._database, self._results = account.d1, resources.database.id, results

    def check_restore(self) -> None:
        """Write three rows, restore the state with one, then a later one, and undo."""
        self._d1.run_batch(self._database, [SqlStatement("CREATE TABLE measured (number INTEGER PRIMARY KEY)")])
        self._insert(1)
        self._results.compare("d1-read-after-write", f"{self._count_stale_reads(1)} reads too early")
        first = self._d1.read_bookmark(self._database)
        self._insert(2)
        second = self._d1.read_bookmark(self._database)
        self._insert(3)
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

    def _insert(self, number: int) -> None:
        self._d1.run_batch(self._database, [SqlStatement("INSERT INTO measured VALUES (?)", (str(number),))])

    def _count_stale_reads(self, rows: int) -> int:
        return next((early for early in range(MOST_READS) if self._count_rows() == rows), MOST_READS)

    def _describe_rows(self, expected: int) -> str:
        """Return the number of rows in words; a stale read is repeated."""
        return f"rows: {expected}" if self._count_stale_reads(expected) < MOST_READS else "other rows"

    def _count_rows(self) -> int:
        (result,) = self._d1.query(self._database, [SqlStatement("SELECT number FROM measured")])
        return len(result.rows)
