"""Workers: deployments and versions (developers.cloudflare.com/api/resources/workers/subresources/scripts)."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, TypeVar

from ops.cloudflare.client import Client
from ops.cloudflare.codes import Kind
from ops.cloudflare.deployment_mark import Mark
from ops.cloudflare.reads import reads
from ops.cloudflare.response import Answer, ApiError, identifier, misshapen, shaped, text
from ops.cloudflare.secrets import Secrets
from ops.cloudflare.types.workers import Deployment, Split, Version
from ops.cloudflare.types.zones import Subdomain
from ops.core.clock import parse_utc
from ops.core.errors import ProviderError, Reason, SecretsChanged, UnclearWrite
from ops.core.threads import start

T = TypeVar("T")

READ = "Workers Scripts Read"
WRITE = "Workers Scripts Write"

IDENTIFIER = re.compile(r"[0-9a-f-]{32,36}")
ASSETS_WAIT = 1.0
"""Real seconds that a run waits for the list of scripts, once all else is read."""

SECRETS_CHANGED = 10220
SECRETS_PHRASE = "The following secrets have changed:"
"""The names follow it, joined by ", ": the answer has them nowhere else (wrangler reads them in the same way)."""


class Workers:
    """The Workers of one account."""

    def __init__(self, client: Client, account_id: str) -> None:
        self._client = client
        self.secrets = Secrets(client, account_id)
        self._account = f"/accounts/{account_id}"
        self._scripts = f"{self._account}/workers/scripts"

    @reads("GET /accounts/{account}/workers/scripts/{script}/deployments")
    def deployments(self, worker: str, *, page: int = 1) -> tuple[Deployment, ...]:
        """One page of the deployments, newest first; the first deployment of page 1 serves.

        The size of a page is Cloudflare's choice: none is documented, and a wrong `per_page` would fail the read. The
        deployment that serves is read strictly. An older row of another shape has no split and a `problem`.
        """
        path = f"{self._scripts}/{worker}/deployments"
        answer = self._client.read(path, permission=READ, params={"page": str(page)} if page > 1 else None)
        rows = _rows(answer, "deployments", f"the deployments of {worker}")
        deployments = sorted(_leniently(rows), key=lambda deployment: deployment.created_on, reverse=True)
        if page == 1 and rows and (not deployments or deployments[0].problem):
            raise misshapen(answer, f"the deployments of {worker}")
        return tuple(deployments)

    def begin_has_assets(self, worker: str) -> Callable[[], bool | None]:
        """Start to ask whether the Worker has static assets. The answer waits at most ASSETS_WAIT; None: unknown."""
        asked = start(lambda: self._has_assets(worker))

        def answer() -> bool | None:
            try:
                return asked.result(timeout=ASSETS_WAIT)
            except (ProviderError, TimeoutError):
                return None

        return answer

    @reads("GET /accounts/{account}/workers/scripts")
    def _has_assets(self, worker: str) -> bool | None:
        """As the list of scripts says it: no version does, unless its configuration names a binding.

        developers.cloudflare.com/api/resources/workers/subresources/scripts/methods/list
        """
        rows = self._client.read(self._scripts, permission=READ).result
        listed = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        found = next((row.get("has_assets") for row in listed if row.get("id") == worker), None)
        return found if isinstance(found, bool) else None

    def find(self, worker: str) -> tuple[Deployment, ...] | None:
        """Its deployments; None where there is no such Worker."""
        try:
            return self.deployments(worker)
        except ApiError as error:
            if error.kind == Kind.NOT_FOUND:
                return None
            raise

    @reads("GET /accounts/{account}/workers/scripts/{script}/versions")
    def deployable(self, worker: str) -> tuple[Version, ...]:
        """The versions that may be deployed, the 100 most recent at most; Cloudflare does not page this list."""
        path = f"{self._scripts}/{worker}/versions"
        answer = self._client.read(path, permission=READ, params={"deployable": "true"})
        rows = _rows(answer, "items", f"the versions of {worker}")
        return shaped(answer, f"the versions of {worker}", lambda: tuple(_version(row) for row in rows))

    @reads("GET /accounts/{account}/workers/scripts/{script}/versions")
    def uploads(self, worker: str) -> tuple[Version, ...]:
        """The newest 25 versions, newest first, whether they may be deployed or not: the first one is the latest.

        There is one, since a Worker begins with an upload.
        """
        path = f"{self._scripts}/{worker}/versions"
        answer = self._client.read(path, permission=READ, params={"page": "1", "per_page": "25"})
        rows = _rows(answer, "items", f"the uploads of {worker}")
        if not rows:
            raise misshapen(answer, f"the uploads of {worker}")
        found = shaped(answer, f"the uploads of {worker}", lambda: [_version(row) for row in rows])
        return tuple(sorted(found, key=lambda version: version.number or 0, reverse=True))

    @reads("GET /accounts/{account}/workers/scripts/{script}/versions/{version}")
    def version(self, worker: str, version: str) -> Version | None:
        """With code, bindings and runtime; None where Cloudflare no longer has it."""
        try:
            answer = self._client.read(f"{self._scripts}/{worker}/versions/{version}", permission=READ)
        except ApiError as error:
            if error.kind == Kind.NOT_FOUND:
                return None
            raise
        return shaped(answer, f"version {version} of {worker}", lambda: _detailed(answer.result or {}))

    def deploy(self, worker: str, split: Split, *, mark: Mark, force: bool = False) -> str:
        """Put `split` into service at once and answer the deployment's id; sent once.

        `code_update_strategy: immediate` because the default leaves busy Durable Objects on the old code for five
        minutes (developers.cloudflare.com/durable-objects/deployments/durable-objects-code-updates). `force` passes
        the check for changed secrets. Raises SecretsChanged, NotApplied, Unclear, ApiError.
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
            answer = self._client.write("POST", path, permission=WRITE, params=params, json=body)
        except ApiError as error:
            if error.code == SECRETS_CHANGED:
                raise SecretsChanged(_changed_secrets(error.text)) from None
            raise
        if not isinstance(answer.result, dict) or not isinstance(answer.result.get("id"), str):
            message = f"the answer to POST deployments of {worker} names no deployment (cf-ray {answer.ray or 'none'})"
            raise UnclearWrite(message, reason=Reason.UNCLEAR)
        return str(answer.result["id"])

    @reads("GET /accounts/{account}/workers/scripts/{script}/subdomain")
    def subdomain(self, worker: str) -> Subdomain:
        """Its switches of workers.dev (…/scripts/subresources/subdomain)."""
        answer = self._client.read(f"{self._scripts}/{worker}/subdomain", permission=READ)
        on = "enabled", "previews_enabled"
        return shaped(
            answer, f"workers.dev of {worker}", lambda: Subdomain(*(_switch(answer.result[key]) for key in on))
        )

    def switch_subdomain(self, worker: str, wanted: Subdomain) -> None:
        """Sent once. Raises NotApplied, Unclear, ApiError."""
        body = {"enabled": wanted.enabled, "previews_enabled": wanted.previews}
        self._client.write("POST", f"{self._scripts}/{worker}/subdomain", permission=WRITE, json=body)

    @reads("GET /accounts/{account}/workers/subdomain")
    def address(self, worker: str) -> str:
        """Its host on workers.dev, switched on or not; nothing where the account has no subdomain there."""
        try:
            answer = self._client.read(f"{self._account}/workers/subdomain", permission=READ)
        except ApiError as error:
            if error.kind == Kind.NOT_FOUND:
                return ""
            raise
        return shaped(
            answer, "the subdomain of the account", lambda: f"{worker}.{answer.result['subdomain']}.workers.dev"
        )

    @reads("GET /accounts/{account}/workers/scripts/{script}/schedules")
    def crons(self, worker: str) -> tuple[str, ...]:
        answer = self._client.read(f"{self._scripts}/{worker}/schedules", permission=READ)
        return shaped(
            answer, f"the cron triggers of {worker}", lambda: tuple(text(r["cron"]) for r in answer.result["schedules"])
        )


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def _changed_secrets(text: str) -> tuple[str, ...]:
    """Each name as it was answered: what cannot be taken apart for certain is nothing that anybody accepted."""
    listed = text.partition(SECRETS_PHRASE)[2].strip(" .")
    return tuple(filter(None, re.split(r",\s*", listed)))


def _rows(answer: Answer, key: str, what: str) -> list[Any]:
    rows = answer.result.get(key) if isinstance(answer.result, dict) else None
    if not isinstance(rows, list):
        raise misshapen(answer, what)
    return rows


def _deployment(row: Mapping[str, Any]) -> Deployment:
    if row.get("strategy", "percentage") != "percentage":
        raise ValueError(row)
    split = [(identifier(share["version_id"], IDENTIFIER), float(share["percentage"])) for share in row["versions"]]
    if not abs(sum(percent for _, percent in split) - 100) < 0.01:  # so that not a number is caught as well
        raise ValueError(row)
    annotations = row.get("annotations") or {}
    return Deployment(
        id=identifier(row["id"], IDENTIFIER),
        created_on=parse_utc(row["created_on"]),
        split=tuple(sorted(split, key=lambda share: -share[1])),
        author=text(row.get("author_email")),
        source=text(row.get("source")),
        message=text(annotations.get("workers/message")),
    )


def _leniently(rows: list[Any]) -> Iterator[Deployment]:
    """All rows, if one of them can be read; one of another shape keeps its place in the order."""
    read = [_or_none(_deployment, row) for row in rows]
    newer = next((deployment.created_on for deployment in read if deployment), None)
    for row, deployment in zip(rows, read, strict=True):
        if newer is None:
            return
        known = deployment or _unreadable(row, newer)
        newer = known.created_on
        yield known


def _unreadable(row: Any, newer: datetime) -> Deployment:
    """`newer` is the moment of the next newer row."""
    row = row if isinstance(row, dict) else {}
    created_on = _or_none(parse_utc, row.get("created_on")) or newer
    strategy = text(row.get("strategy")) or "percentage"
    problem = "an unknown strategy" if strategy != "percentage" else "versions that cannot be read"
    return Deployment(id=text(row.get("id"))[:36], created_on=created_on, split=(), problem=problem)


def _or_none(build: Callable[[Any], T], value: Any) -> T | None:
    try:
        return build(value)
    except (LookupError, TypeError, ValueError, AttributeError):
        return None


def _version(row: Mapping[str, Any], **details: Any) -> Version:
    metadata, annotations = row.get("metadata") or {}, row.get("annotations") or {}
    created: str | None = metadata.get("created_on")
    return Version(
        id=identifier(row["id"], IDENTIFIER),
        number=row.get("number") if isinstance(row.get("number"), int) else None,
        created_on=_moment(created),
        author=text(metadata.get("author_email")),
        message=text(annotations.get("workers/message")),
        tag=text(annotations.get("workers/tag")),
        triggered_by=text(annotations.get("workers/triggered_by")),
        **details,
    )


def _moment(text: str | None) -> datetime | None:
    return parse_utc(text) if text else None


def _detailed(row: Mapping[str, Any]) -> Version:
    resources = row["resources"]
    script, runtime = resources.get("script") or {}, dict(resources.get("script_runtime") or {})
    migration_tag = runtime.pop("migration_tag", None)  # shown only once a version was deployed: no part of a release
    if script.get("placement_mode"):
        runtime["placement_mode"] = script["placement_mode"]
    named = [item for item in script.get("named_handlers") or [] if isinstance(item, dict)]
    return _version(
        row,
        detailed=True,
        etag=text(script.get("etag")) or None,
        bindings={(b["type"], b["name"]): _canonical(b) for b in resources.get("bindings") or []},
        runtime={key: _canonical(value) for key, value in runtime.items() if value not in (None, {}, [])},
        handlers=frozenset(text(handler) for handler in script.get("handlers") or []),
        durable_objects=frozenset(text(n.get("name")) for n in named if "class" in (n.get("handlers") or [])),
        migration_tag=text(migration_tag) or None,
    )


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
