"""Read versions and deployments of Workers, and deploy them.

developers.cloudflare.com/api/resources/workers/subresources/scripts
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from ops.cloudflare.client import CloudflareClient, reads
from ops.cloudflare.marks import DeploymentMark
from ops.cloudflare.response import (
    CloudflareApiError,
    CloudflareResponse,
    ErrorKind,
    answer_flag,
    answer_text_or_empty,
    parse_result,
    require_answer_id,
    require_answer_text,
    unexpected_shape,
)
from ops.cloudflare.types.inventory import ListedWorker, WorkerBinding
from ops.cloudflare.types.workers import Split, WorkerDeployment, WorkerVersion, leave_out_rehearsals
from ops.cloudflare.types.zones import WorkersDevSubdomain
from ops.core.clock import parse_utc
from ops.core.errors import ProviderError, Reason, SecretsChanged, UnclearWrite
from ops.core.threads import start_call

T = TypeVar("T")

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ops.cloudflare.secrets import WorkerSecretsApi


ID_PATTERN = re.compile(r"[0-9a-f-]{32,36}")
MAX_PAGES = 10
"""Pages of deployments to read if those of page 1 are rehearsals only."""
ASSETS_WAIT = 1.0
"""Real seconds that a run waits for the list of scripts after all other reads."""

BINDING_TARGETS = {
    "d1": "id",
    "durable_object_namespace": "class_name",
    "kv_namespace": "namespace_id",
    "r2_bucket": "bucket_name",
    "service": "service",
}
"""Type of a binding → field that names the bound resource."""

SECRETS_CHANGED = 10220
CHANGED_SECRETS_PREFIX = "The following secrets have changed:"
"""Text before the names of changed secrets, joined by ", ". wrangler reads them in the same way."""


class WorkersApi:
    """Workers API of one account."""

    def __init__(self, client: CloudflareClient, account_id: str) -> None:
        self._client, self._account_id = client, account_id
        self._account = f"/accounts/{account_id}"
        self._scripts = f"{self._account}/workers/scripts"

    @cached_property
    def secrets(self) -> "WorkerSecretsApi":
        from ops.cloudflare.secrets import WorkerSecretsApi

        return WorkerSecretsApi(self._client, self._account_id)

    @reads("GET /accounts/{account}/workers/scripts/{script}/deployments")
    def list_deployments(
        self, worker: str, *, page: int = 1, size: int = 0, rehearsals: bool = False
    ) -> tuple[WorkerDeployment, ...]:
        """Return a page of deployments, newest first; the first one of page 1 is live.

        `rehearsals`: with those of rehearsals, which nobody wanted live. If page 1 has no others, older pages follow.

        `size`: of a page; 0 asks for none. Cloudflare documents no size, and a wrong `per_page` would fail the read
        [unsure: deployments-page].

        The live deployment is parsed strictly. An unreadable older row has no split and a `problem`.
        """
        by_id = {each.id: each for each in self._read_deployments(worker, page, size)}
        last = page
        while page == 1 and by_id and last < MAX_PAGES and all(each.is_rehearsal for each in by_id.values()):
            last += 1
            older = {each.id: each for each in self._read_deployments(worker, last, size) if each.id not in by_id}
            if not older:
                break
            by_id |= older
        deployments = sorted(by_id.values(), key=lambda deployment: deployment.created_on, reverse=True)
        return tuple(deployments) if rehearsals else leave_out_rehearsals(deployments)

    def _read_deployments(self, worker: str, page: int, size: int) -> list[WorkerDeployment]:
        path, asked = f"{self._scripts}/{worker}/deployments", {"page": str(page)} if page > 1 else {}
        if size:
            asked["per_page"] = str(size)
        answer = self._client.read(path, params=asked or None)
        rows = _worker_result_rows(answer, "deployments", f"the deployments of {worker}")
        deployments = sorted(
            _parse_deployments_leniently(rows), key=lambda deployment: deployment.created_on, reverse=True
        )
        if page == 1 and rows and (not deployments or deployments[0].problem):
            raise unexpected_shape(answer, f"the deployments of {worker}")
        return deployments

    def begin_row_read(self, worker: str) -> "Future[ListedWorker | None]":
        """Start to read the Worker's row in the list of scripts; None: the list has none."""
        return start_call(lambda: next((each for each in self.list_workers() if each.name == worker), None))

    def begin_assets_check(self, worker: str) -> Callable[[], bool | None]:
        """Start to read whether the Worker has static assets. The result waits at most ASSETS_WAIT; None: unknown."""
        reading = self.begin_row_read(worker)
        return lambda: self.await_assets(reading)

    @staticmethod
    def await_assets(reading: "Future[ListedWorker | None]") -> bool | None:
        """Return whether the Worker has static assets; wait at most ASSETS_WAIT. None: unknown.

        The list of scripts says so: a version shows static assets only if it has an assets binding.
        """
        try:
            listed = reading.result(timeout=ASSETS_WAIT)
        except (ProviderError, TimeoutError):
            return None
        return listed.has_assets if listed else None

    @reads("GET /accounts/{account}/workers/scripts")
    def list_workers(self) -> tuple[ListedWorker, ...]:
        """Return the Workers of the account. Rows without a name are left out. Raises MalformedCloudflareResponse.

        developers.cloudflare.com/api/resources/workers/subresources/scripts/methods/list
        """
        answer = self._client.read(self._scripts)
        if not isinstance(answer.result, list):
            raise unexpected_shape(answer, "the Workers")
        named = [row for row in answer.result if isinstance(row, dict) and answer_text_or_empty(row.get("id"))]
        return tuple(ListedWorker(row["id"], answer_flag(row.get("has_assets")), _parse_patterns(row)) for row in named)

    @reads("GET /accounts/{account}/workers/scripts/{script}/settings")
    def list_bindings(self, worker: str) -> tuple[WorkerBinding, ...]:
        """Return the bindings of the latest upload, deployed or not, without values.

        developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/script_and_version_settings
        """
        answer = self._client.read(f"{self._scripts}/{worker}/settings")
        return parse_result(
            answer, f"the settings of {worker}", lambda: tuple(map(_parse_binding, answer.result["bindings"] or ()))
        )

    def find_deployments(self, worker: str) -> tuple[WorkerDeployment, ...] | None:
        """Return the deployments; None if the Worker does not exist."""
        try:
            return self.list_deployments(worker)
        except CloudflareApiError as error:
            if error.kind == ErrorKind.NOT_FOUND:
                return None
            raise

    @reads("GET /accounts/{account}/workers/scripts/{script}/versions")
    def list_deployable_versions(self, worker: str) -> tuple[WorkerVersion, ...]:
        """Return the deployable versions, at most the 100 most recent. Cloudflare does not page this list."""
        path = f"{self._scripts}/{worker}/versions"
        answer = self._client.read(path, params={"deployable": "true"})
        rows = _worker_result_rows(answer, "items", f"the versions of {worker}")
        return parse_result(answer, f"the versions of {worker}", lambda: tuple(_parse_version(row) for row in rows))

    @reads("GET /accounts/{account}/workers/scripts/{script}/versions")
    def list_uploads(self, worker: str) -> tuple[WorkerVersion, ...]:
        """Return the newest 25 versions, newest first, deployable or not. The first one is the latest upload.

        The list is never empty, since a Worker starts with an upload. Raises MalformedCloudflareResponse.
        """
        path = f"{self._scripts}/{worker}/versions"
        answer = self._client.read(path, params={"page": "1", "per_page": "25"})
        rows = _worker_result_rows(answer, "items", f"the uploads of {worker}")
        if not rows:
            raise unexpected_shape(answer, f"the uploads of {worker}")
        versions = parse_result(answer, f"the uploads of {worker}", lambda: [_parse_version(row) for row in rows])
        return tuple(sorted(versions, key=lambda version: version.number or 0, reverse=True))

    @reads("GET /accounts/{account}/workers/scripts/{script}/versions/{version}")
    def read_version(self, worker: str, version: str) -> WorkerVersion | None:
        """Return a version with bindings and runtime; None if Cloudflare no longer has it."""
        try:
            answer = self._client.read(f"{self._scripts}/{worker}/versions/{version}")
        except CloudflareApiError as error:
            if error.kind == ErrorKind.NOT_FOUND:
                return None
            raise
        return parse_result(
            answer, f"version {version} of {worker}", lambda: _parse_detailed_version(answer.result or {})
        )

    def deploy(self, worker: str, split: Split, *, mark: DeploymentMark, force: bool = False) -> str:
        """Deploy `split` at once and return the deployment's ID; sent once.

        `code_update_strategy` is `immediate`, since the default leaves busy Durable Objects on the old code for five
        minutes (developers.cloudflare.com/durable-objects/deployments/durable-objects-code-updates). `force` skips
        the check for changed secrets. Raises SecretsChanged, NotApplied, UnclearWrite and CloudflareApiError.
        """
        body = {
            "strategy": "percentage",
            "versions": [{"version_id": version, "percentage": percent} for version, percent in split],
            "annotations": {"workers/message": str(mark)},
            "code_update_strategy": {"mode": "immediate"},
        }
        path = f"{self._scripts}/{worker}/deployments"
        params = {"force": "true"} if force else None
        try:
            answer = self._client.write("POST", path, params=params, json=body)
        except CloudflareApiError as error:
            if error.code == SECRETS_CHANGED:
                raise SecretsChanged(_parse_changed_secrets(error.text)) from None
            raise
        if not isinstance(answer.result, dict) or not isinstance(answer.result.get("id"), str):
            message = (
                f"the answer to POST deployments of {worker} names no deployment (cf-ray {answer.ray_id or 'none'})"
            )
            raise UnclearWrite(message, reason=Reason.UNCLEAR)
        return str(answer.result["id"])

    @reads("GET /accounts/{account}/workers/scripts/{script}/subdomain")
    def read_subdomain(self, worker: str) -> WorkersDevSubdomain:
        """Return whether workers.dev and previews are enabled (…/scripts/subresources/subdomain)."""
        answer = self._client.read(f"{self._scripts}/{worker}/subdomain")
        on = "enabled", "previews_enabled"
        return parse_result(
            answer,
            f"workers.dev of {worker}",
            lambda: WorkersDevSubdomain(*(_parse_workers_dev_switch(answer.result[key]) for key in on)),
        )

    def set_subdomain(self, worker: str, desired: WorkersDevSubdomain) -> None:
        """Set workers.dev and previews; sent once. Raises NotApplied, UnclearWrite and CloudflareApiError."""
        body = {"enabled": desired.enabled, "previews_enabled": desired.previews_enabled}
        self._client.write("POST", f"{self._scripts}/{worker}/subdomain", json=body)

    def read_workers_dev_host(self, worker: str) -> str:
        """Return the Worker's host on workers.dev, enabled or not; empty if the account has no subdomain."""
        domain = self.read_workers_dev_domain()
        return f"{worker}.{domain}" if domain else ""

    @reads("GET /accounts/{account}/workers/subdomain")
    def read_workers_dev_domain(self) -> str:
        """Return the account's domain, such as acme.workers.dev; empty if it has none."""
        try:
            answer = self._client.read(f"{self._account}/workers/subdomain")
        except CloudflareApiError as error:
            if error.kind == ErrorKind.NOT_FOUND:
                return ""
            raise
        return parse_result(
            answer,
            "the subdomain of the account",
            lambda: f"{require_answer_text(answer.result['subdomain'])}.workers.dev",
        )

    @reads("GET /accounts/{account}/workers/scripts/{script}/schedules")
    def list_cron_triggers(self, worker: str) -> tuple[str, ...]:
        answer = self._client.read(f"{self._scripts}/{worker}/schedules")
        return parse_result(
            answer,
            f"the cron triggers of {worker}",
            lambda: tuple(answer_text_or_empty(r["cron"]) for r in answer.result["schedules"]),
        )


def _parse_patterns(row: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the patterns of the routes of a listed Worker. The field is optional, so another value is unknown."""
    routes = row.get("routes")
    if not isinstance(routes, list):
        return None
    return tuple(answer_text_or_empty(each.get("pattern")) for each in routes if isinstance(each, dict))


def _parse_binding(row: Mapping[str, Any]) -> WorkerBinding:
    kind = require_answer_text(row["type"])
    target = answer_text_or_empty(row.get(BINDING_TARGETS.get(kind, "")))
    return WorkerBinding(kind, require_answer_text(row["name"]), target, answer_text_or_empty(row.get("script_name")))


def _parse_workers_dev_switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def _parse_changed_secrets(text: str) -> tuple[str, ...]:
    """Return the names from an error text. A text that cannot be split safely matches no accepted name."""
    listed = text.partition(CHANGED_SECRETS_PREFIX)[2].strip(" .")
    return tuple(filter(None, re.split(r",\s*", listed)))


def _worker_result_rows(answer: CloudflareResponse, key: str, what: str) -> list[Any]:
    rows = answer.result.get(key) if isinstance(answer.result, dict) else None
    if not isinstance(rows, list):
        raise unexpected_shape(answer, what)
    return rows


def _parse_worker_deployment(row: Mapping[str, Any]) -> WorkerDeployment:
    if row.get("strategy", "percentage") != "percentage":
        raise ValueError(row)
    split = [
        (require_answer_id(share["version_id"], ID_PATTERN), float(share["percentage"])) for share in row["versions"]
    ]
    if not abs(sum(percent for _, percent in split) - 100) < 0.01:  # also catches NaN
        raise ValueError(row)
    annotations = row.get("annotations") or {}
    return WorkerDeployment(
        id=require_answer_id(row["id"], ID_PATTERN),
        created_on=parse_utc(row["created_on"]),
        split=tuple(sorted(split, key=lambda share: -share[1])),
        author=answer_text_or_empty(row.get("author_email")),
        source=answer_text_or_empty(row.get("source")),
        message=answer_text_or_empty(annotations.get("workers/message")),
    )


def _parse_deployments_leniently(rows: list[Any]) -> Iterator[WorkerDeployment]:
    """Yield all rows if one of them is readable. An unreadable row keeps its position."""
    read = [_parse_or_none(_parse_worker_deployment, row) for row in rows]
    newer = next((deployment.created_on for deployment in read if deployment), None)
    for row, deployment in zip(rows, read, strict=True):
        if newer is None:
            return
        known = deployment or _unreadable_deployment(row, newer)
        newer = known.created_on
        yield known


def _unreadable_deployment(row: Any, newer: datetime) -> WorkerDeployment:
    """Return a placeholder for an unreadable row. `newer`: time of the next newer row."""
    row = row if isinstance(row, dict) else {}
    created_on = _parse_or_none(parse_utc, row.get("created_on")) or newer
    strategy = answer_text_or_empty(row.get("strategy")) or "percentage"
    problem = "an unknown strategy" if strategy != "percentage" else "unreadable versions"
    return WorkerDeployment(
        id=answer_text_or_empty(row.get("id"))[:36], created_on=created_on, split=(), problem=problem
    )


def _parse_or_none(build: Callable[[Any], T], value: Any) -> T | None:
    try:
        return build(value)
    except (LookupError, TypeError, ValueError, AttributeError):
        return None


def _parse_version(row: Mapping[str, Any], **details: Any) -> WorkerVersion:
    metadata, annotations = row.get("metadata") or {}, row.get("annotations") or {}
    created: str | None = metadata.get("created_on")
    return WorkerVersion(
        id=require_answer_id(row["id"], ID_PATTERN),
        number=row.get("number") if isinstance(row.get("number"), int) else None,
        created_on=_parse_optional_time(created),
        author=answer_text_or_empty(metadata.get("author_email")),
        message=answer_text_or_empty(annotations.get("workers/message")),
        tag=answer_text_or_empty(annotations.get("workers/tag")),
        triggered_by=answer_text_or_empty(annotations.get("workers/triggered_by")),
        **details,
    )


def _parse_optional_time(text: str | None) -> datetime | None:
    return parse_utc(text) if text else None


def _parse_detailed_version(row: Mapping[str, Any]) -> WorkerVersion:
    resources = row["resources"]
    script, runtime = resources.get("script") or {}, dict(resources.get("script_runtime") or {})
    migration_tag = runtime.pop(
        "migration_tag", None
    )  # reported only after a deployment, so it is not part of a release
    if script.get("placement_mode"):
        runtime["placement_mode"] = script["placement_mode"]
    named = [item for item in script.get("named_handlers") or [] if isinstance(item, dict)]
    return _parse_version(
        row,
        is_detailed=True,
        etag=answer_text_or_empty(script.get("etag")) or None,
        bindings={(b["type"], b["name"]): _canonical_json(b) for b in resources.get("bindings") or []},
        runtime={key: _canonical_json(value) for key, value in runtime.items() if value not in (None, {}, [])},
        handlers=frozenset(answer_text_or_empty(handler) for handler in script.get("handlers") or []),
        durable_object_classes=frozenset(
            answer_text_or_empty(n.get("name")) for n in named if "class" in (n.get("handlers") or [])
        ),
        migration_tag=answer_text_or_empty(migration_tag) or None,
    )


def _canonical_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
