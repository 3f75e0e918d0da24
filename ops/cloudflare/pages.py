"""Pages projects, deployments and rollbacks (developers.cloudflare.com/api/resources/pages)."""

import base64
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from ops.cloudflare.client import CloudflareClient, paginate_by_length, paginate_by_total, reads
from ops.cloudflare.response import (
    UUID,
    CloudflareApiError,
    CloudflareResponse,
    answer_flag,
    answer_text_or_empty,
    parse_result,
    require_answer_id,
    require_answer_text,
    unexpected_shape,
)
from ops.cloudflare.types.pages import PRODUCTION, PagesDeployment, PagesProject
from ops.cloudflare.types.site_config import describe_binding, nested_table
from ops.core.clock import parse_utc
from ops.core.errors import Reason, UnclearWrite

NO_SUCH_DEPLOYMENT = 8000009
DEFAULT_FILE_LIMIT = 20_000
"""File limit of every project (developers.cloudflare.com/pages/platform/limits)."""
PAGE_SIZE = 25
"""Largest page of deployments that Cloudflare accepts (8000024)."""
PROJECTS_PAGE_SIZE = 10
"""Page of projects that wrangler reads (cloudflare/workers-sdk, packages/wrangler/src/pages/projects.ts)."""
BINDING_KINDS = {
    "env_vars": ("variable", ""),
    "kv_namespaces": ("KV", "namespace_id"),
    "d1_databases": ("D1", "id"),
    "r2_buckets": ("R2", "name"),
    "durable_object_namespaces": ("Durable Object", ""),
    "queue_producers": ("queue", "name"),
    "services": ("service", "service"),
    "vectorize_bindings": ("Vectorize", "index_name"),
    "hyperdrive_bindings": ("Hyperdrive", "id"),
    "analytics_engine_datasets": ("Analytics Engine", "dataset"),
    "mtls_certificates": ("mTLS certificate", "certificate_id"),
    "ai_bindings": ("AI", ""),
    "browsers": ("browser", ""),
}
"""Key of `deployment_configs` → display name, and the field with its target (…/api/resources/pages)."""


class PagesApi:
    """Pages API of one account."""

    def __init__(self, client: CloudflareClient, account_id: str) -> None:
        self._client = client
        self._projects = f"/accounts/{account_id}/pages/projects"

    @reads("GET /accounts/{account}/pages/projects")
    def list_projects(self) -> tuple[PagesProject, ...]:
        page = self._client.list_reader(self._projects, "the Pages projects", _parse_project)
        return tuple(paginate_by_length(page, per_page=PROJECTS_PAGE_SIZE))

    @reads("GET /accounts/{account}/pages/projects/{project}")
    def read_project(self, project: str) -> PagesProject:
        answer = self._client.read(f"{self._projects}/{project}")
        return parse_result(answer, f"the Pages project {project}", lambda: _parse_project(answer.result))

    @reads("GET /accounts/{account}/pages/projects/{project}/deployments")
    def list_deployments(self, project: str, *, limit: int = 100) -> tuple[PagesDeployment, ...]:
        """Return at most `limit` production deployments of every status, newest first."""
        path, subject = f"{self._projects}/{project}/deployments", f"the deployments of {project}"
        read = self._client.list_reader(path, subject, _parse_pages_deployment, params={"env": PRODUCTION})

        def deployments_page(params: Mapping[str, str]) -> CloudflareResponse:
            answer = read(params)
            if not isinstance(answer.result_info.get("total_count"), int):
                raise unexpected_shape(answer, subject)
            return answer

        rows = islice(paginate_by_total(deployments_page, per_page=PAGE_SIZE), limit)
        # Keyed by ID, because a deployment between two reads moves a row to the next page.
        deployments = {row.id: row for row in rows if row.environment == PRODUCTION}
        return tuple(sorted(deployments.values(), key=lambda deployment: deployment.created_on, reverse=True))

    @reads("GET /accounts/{account}/pages/projects/{project}/deployments/{deployment}")
    def read_deployment(self, project: str, deployment: str) -> PagesDeployment | None:
        """Return a deployment; None if Cloudflare no longer has it."""
        try:
            path = f"{self._projects}/{project}/deployments/{deployment}"
            answer = self._client.read(path)
        except CloudflareApiError as error:
            if error.code == NO_SUCH_DEPLOYMENT:
                return None
            raise
        return parse_result(
            answer, f"deployment {deployment} of {project}", lambda: _parse_pages_deployment(answer.result)
        )

    def read_file_limit(self, project: str) -> int:
        """Return the most files of a Direct Upload, a claim of the upload token. The token is not stored.

        The token permits writes, so a plan must not read it (…/pages/platform/limits).
        """
        answer = self._client.read(f"{self._projects}/{project}/upload-token")
        return parse_result(answer, f"the upload token of {project}", lambda: _most_files(answer.result["jwt"]))

    def roll_back(self, project: str, deployment: str) -> None:
        """Roll production back to a deployment; sent once. Raises NotApplied, UnclearWrite and CloudflareApiError.

        A rollback has no message, so it leaves no mark in the history. Cloudflare documents no code for a refusal:
        8000000, "an unknown error", counts as unclear [unsure: pages-refusal].
        """
        path = f"{self._projects}/{project}/deployments/{deployment}/rollback"
        answer = self._client.write("POST", path)
        if not isinstance(answer.result, dict) or not isinstance(answer.result.get("id"), str):
            message = f"the answer to POST rollback of {project} names no deployment (cf-ray {answer.ray_id or 'none'})"
            raise UnclearWrite(message, reason=Reason.UNCLEAR)


def _parse_pages_deployment(row: Mapping[str, Any]) -> PagesDeployment:
    stage, metadata = row.get("latest_stage") or {}, nested_table(row, "deployment_trigger", "metadata")
    aliases = row.get("aliases")
    return PagesDeployment(
        id=require_answer_id(row["id"], UUID),
        url=_parse_deployment_address(row["url"]),
        created_on=parse_utc(row["created_on"]),
        environment=require_answer_text(row["environment"]),
        stage=answer_text_or_empty(stage.get("name")),
        status=answer_text_or_empty(stage.get("status")),
        is_skipped=row.get("is_skipped") is True,
        trigger=answer_text_or_empty(nested_table(row, "deployment_trigger").get("type")),
        branch=answer_text_or_empty(metadata.get("branch")),
        commit=answer_text_or_empty(metadata.get("commit_hash")),
        message=answer_text_or_empty(metadata.get("commit_message")),
        has_uncommitted_changes=metadata.get("commit_dirty") is True,
        aliases=tuple(filter(None, map(answer_text_or_empty, aliases if isinstance(aliases, list) else []))),
        has_functions=answer_flag(row.get("uses_functions")),
        env_vars=frozenset(row["env_vars"]) if isinstance(row.get("env_vars"), dict) else None,
    )


def _parse_project(row: Mapping[str, Any]) -> PagesProject:
    canonical, config = row.get("canonical_deployment"), nested_table(row, "source", "config")
    enabled = (config.get(name) is not False for name in ("deployments_enabled", "production_deployments_enabled"))
    return PagesProject(
        name=require_answer_text(row["name"]),
        production_branch=answer_text_or_empty(row.get("production_branch")),
        canonical=None if canonical is None else _parse_pages_deployment(canonical),
        env_vars=frozenset(nested_table(row, "deployment_configs", "production", "env_vars")),
        domains=_parse_domains(row),
        deploys_on_push=row.get("source") is not None and all(enabled),
        bindings=tuple(sorted(_parse_pages_bindings(nested_table(row, "deployment_configs", "production")))),
    )


def _parse_domains(row: Mapping[str, Any]) -> tuple[str, ...]:
    named = row.get("domains")
    listed = [row.get("subdomain"), *(named if isinstance(named, list) else [])]
    return tuple(dict.fromkeys(host.lower() for host in map(answer_text_or_empty, listed) if host))


def _parse_pages_bindings(settings: Mapping[str, Any]) -> Iterator[str]:
    for key, (kind, target) in BINDING_KINDS.items():
        for name, binding in nested_table(settings, key).items():
            yield describe_binding(kind, name, nested_table({"of": binding}, "of").get(target))


def _most_files(jwt: str) -> int:
    payload = jwt.partition(".")[2].partition(".")[0]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return int(claims.get("max_file_count_allowed", DEFAULT_FILE_LIMIT))


def _parse_deployment_address(value: Any) -> str:
    parts = urlsplit(require_answer_text(value))
    if parts.scheme != "https" or not parts.hostname or "@" in parts.netloc:
        raise ValueError(value)
    return str(value)
