"""The Cloudflare account of a sandbox: its products, and every change of a Worker."""

import bisect
import random
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sandbox.clock import FakeClock
from sandbox.cloudflare.access.state import FakeAccess
from sandbox.cloudflare.analytics.state import Analytics
from sandbox.cloudflare.audit.state import FakeAuditEntry
from sandbox.cloudflare.d1.sqlite import StatementResult
from sandbox.cloudflare.d1.state import D1Databases
from sandbox.cloudflare.kv.state import KvStore
from sandbox.cloudflare.pages.state import Asset, Pages
from sandbox.cloudflare.r2.state import R2Buckets
from sandbox.cloudflare.tokens.state import CloudflareTokens
from sandbox.cloudflare.workers.state import (
    FakeWorker,
    FakeWorkerDeployment,
    FakeWorkerVersion,
    WorkerUpload,
    make_annotations,
)
from sandbox.cloudflare.zones.state import Zones
from sandbox.switches import Switches


@dataclass(frozen=True, kw_only=True)
class ChangeAuthor:
    """Author of a change: person, client, annotations, and time (`at`; None for now)."""

    author: str
    source: str
    message: str | None = None
    tag: str | None = None
    at: datetime | None = None


class FakeAccount:
    """State of the account. Validates nothing: the API handlers refuse invalid requests first."""

    def __init__(self, account_id: str, clock: FakeClock, switches: Switches, tokens: CloudflareTokens) -> None:
        self.id = account_id
        self.name = "Sandbox"
        self.visible: list[FakeAccount] = [self]
        """Accounts that a token may list if they know it."""
        self.clock = clock
        self.switches = switches
        self.lock = threading.RLock()
        self.workers: dict[str, FakeWorker] = {}
        self.deleted_resources: set[str] = set()
        """IDs and names of deleted KV namespaces, R2 buckets and queues."""
        self._random = random.Random(account_id)  # noqa: S311  (the same account makes the same ids)
        self.pages = Pages(clock, switches, self.lock, self.new_id)
        self.zones = Zones(self.new_id)
        self.d1 = D1Databases(clock, switches, self.new_id, self._add_statement)
        self.kv = KvStore(clock, switches, self.lock, self.new_id)
        self.r2 = R2Buckets()
        self.access = FakeAccess(clock, self.new_id)
        self.tokens = tokens
        self.assets: dict[str, Asset] = {}
        """Hash → static file of any Worker."""
        self.analytics = Analytics(switches)
        self.audit: list[FakeAuditEntry] = []
        """Oldest first."""

    def _add_statement(self, database: str, sql: str, result: StatementResult) -> None:
        self.analytics.add_statement(self.id, database, sql, result, at=self.clock.now())

    def worker(self, name: str) -> FakeWorker:
        """Return the Worker, created if it is missing."""
        if name not in self.workers:
            self.workers[name] = FakeWorker(name=name, tag=self.new_id().hex)
        return self.workers[name]

    def new_id(self) -> uuid.UUID:
        return uuid.UUID(int=self._random.getrandbits(128), version=4)

    def add_version(
        self, worker: FakeWorker, upload: WorkerUpload, by: ChangeAuthor, *, triggered_by: str = "upload"
    ) -> FakeWorkerVersion:
        worker.last_number += 1
        version = FakeWorkerVersion(
            id=str(self.new_id()),
            number=worker.last_number,
            created_on=by.at or self._next_instant(worker),
            author_email=by.author,
            source=by.source,
            annotations=make_annotations(message=by.message, tag=by.tag, triggered_by=triggered_by),
            upload=upload,
        )
        worker.versions[version.id] = version
        return version

    def deploy(
        self,
        worker: FakeWorker,
        percentages: Mapping[str, float],
        by: ChangeAuthor,
        *,
        triggered_by: str = "deployment",
        code_update_strategy: Mapping[str, Any] | None = None,
    ) -> FakeWorkerDeployment:
        deployment = FakeWorkerDeployment(
            id=str(self.new_id()),
            made_at=by.at or self.clock.now(),
            created_on=by.at or self._next_instant(worker),
            author_email=by.author,
            source=by.source,
            annotations=make_annotations(message=by.message, triggered_by=triggered_by),
            percentages=dict(percentages),
            secrets={id: self._secrets_for(worker, worker.versions[id]) for id in percentages},  # noqa: A001
            code_update_strategy=code_update_strategy,
        )
        bisect.insort(worker.history, deployment, key=lambda deployment: deployment.created_on)
        return deployment

    def edit_secrets(self, worker: FakeWorker, edits: Mapping[str, str | None], by: ChangeAuthor) -> FakeWorkerVersion:
        """Create a version like the latest but with other secrets, and deploy it. None removes a secret.

        developers.cloudflare.com/workers/configuration/secrets
        """
        version = self.add_version_with_secrets(worker, edits, by)
        self.deploy(worker, {version.id: 100}, by, triggered_by="secret")
        return version

    def add_version_with_secrets(
        self, worker: FakeWorker, edits: Mapping[str, str | None], by: ChangeAuthor
    ) -> FakeWorkerVersion:
        assert worker.latest is not None
        upload = worker.latest.upload
        secrets = {name: text for name, text in {**upload.secrets, **edits}.items() if text is not None}
        return self.add_version(worker, replace(upload, secrets=secrets), by, triggered_by="secret")

    def served_at(self, worker: FakeWorker, instant: datetime, lag: float) -> FakeWorkerDeployment | None:
        """Return the deployment that a machine of the edge serves. The first one reaches it at once.

        `lag`: its lag as a multiple of `propagation_seconds`.
        """
        known = instant - timedelta(seconds=lag * self.switches.propagation_seconds)
        arrived = [deployment for deployment in worker.history if deployment.made_at <= known]
        return next(reversed(arrived), next(iter(worker.history), None))

    def _secrets_for(self, worker: FakeWorker, version: FakeWorkerVersion) -> Mapping[str, str]:
        if version.id in worker.live:
            return worker.history[-1].secrets[version.id]
        stays = worker.changed_secrets(version) and not self.switches.forced_rollback_restores_secrets
        return worker.secrets_in_effect if stays else version.upload.secrets

    def _next_instant(self, worker: FakeWorker) -> datetime:
        """Return now, or a later instant: each version and deployment is newer than the Worker's previous ones."""
        stamps = [*worker.versions.values(), *worker.history]
        latest = max((stamp.created_on for stamp in stamps), default=None)
        now = self.clock.now()
        return now if latest is None or latest < now else latest + timedelta(microseconds=1)
