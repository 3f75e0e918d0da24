"""Create and delete the resources with which `ops verify-platform` measures an account.

developers.cloudflare.com/workers/configuration/multipart-upload-metadata, developers.cloudflare.com/api/resources/pages
A Direct Upload has no documented API; this one follows wrangler (cloudflare/workers-sdk, packages/wrangler/src/pages).
"""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from ops.cloudflare.blake3 import hash_chunk
from ops.cloudflare.client import CloudflareClient
from ops.cloudflare.response import (
    HEX_ID,
    UUID,
    CloudflareResponse,
    parse_result,
    require_answer_id,
    require_answer_text,
)
from ops.cloudflare.types.inventory import NamedResource
from ops.core.clock import Period, format_rfc3339
from ops.core.redaction import Secret

COMPATIBILITY_DATE = "2026-09-01"
PRODUCTION_BRANCH = "main"
UPLOAD_TOKEN = "upload token of Pages"  # noqa: S105  (its name in messages)


class VerificationApi:
    """Writes of a verification, each sent once, and reads of raw fields that no other method returns.

    Raises NotApplied, UnclearWrite and CloudflareApiError; MalformedCloudflareResponse for an unexpected answer.
    """

    def __init__(self, client: CloudflareClient, account_id: str) -> None:
        self._client = client
        self._account = f"/accounts/{account_id}"
        self._scripts = f"{self._account}/workers/scripts"

    def put_worker(self, name: str, module: str, code: bytes, bindings: Sequence[Mapping[str, Any]]) -> None:
        """Upload and deploy a Worker whose requests Workers Observability records."""
        metadata = _describe_worker(module, bindings) | {"observability": {"enabled": True}}
        self._client.write(
            "PUT",
            f"{self._scripts}/{name}",
            files=_build_form(metadata, module, code),
        )

    def upload_version(self, name: str, module: str, code: bytes, bindings: Sequence[Mapping[str, Any]]) -> str:
        """Upload a version without deploying it, and return its ID. It inherits the latest secrets."""
        metadata = _describe_worker(module, bindings) | {"keep_bindings": ["secret_text"]}
        answer = self._client.write(
            "POST",
            f"{self._scripts}/{name}/versions",
            files=_build_form(metadata, module, code),
        )
        return parse_result(answer, "an uploaded version", lambda: require_answer_id(answer.result["id"], UUID))

    def delete_worker(self, name: str) -> None:
        self._client.write("DELETE", f"{self._scripts}/{name}")

    def read_deployment_fields(self, name: str) -> list[frozenset[str]]:
        """Return the names of the fields that each deployment has in a list."""
        answer = self._client.read(f"{self._scripts}/{name}/deployments")
        return parse_result(answer, "the deployments", lambda: [frozenset(row) for row in answer.result["deployments"]])

    def read_listed_fields(self, name: str) -> list[frozenset[str]]:
        """Return the names of the fields that the Worker has in the list of scripts; empty if it is not listed."""
        answer = self._client.read(self._scripts)
        return parse_result(
            answer, "the Workers", lambda: [frozenset(row) for row in answer.result if row["id"] == name]
        )

    def create_namespace(self, title: str) -> NamedResource:
        path = f"{self._account}/storage/kv/namespaces"
        answer = self._client.write("POST", path, json={"title": title})
        return parse_result(
            answer, "a new KV namespace", lambda: NamedResource(require_answer_id(answer.result["id"], HEX_ID), title)
        )

    def delete_namespace(self, namespace: str) -> None:
        path = f"{self._account}/storage/kv/namespaces/{namespace}"
        self._client.write("DELETE", path)

    def create_database(self, name: str) -> NamedResource:
        answer = self._client.write("POST", f"{self._account}/d1/database", json={"name": name})
        return parse_result(
            answer, "a new D1 database", lambda: NamedResource(require_answer_id(answer.result["uuid"], UUID), name)
        )

    def delete_database(self, database: str) -> None:
        self._client.write("DELETE", f"{self._account}/d1/database/{database}")

    def create_project(self, name: str) -> None:
        """Create a Pages project for Direct Uploads."""
        body = {"name": name, "production_branch": PRODUCTION_BRANCH}
        self._client.write("POST", f"{self._account}/pages/projects", json=body)

    def delete_project(self, name: str) -> None:
        self._client.write("DELETE", f"{self._account}/pages/projects/{name}")

    def read_upload_token(self, project: str) -> Secret:
        """Return the token with which files of the project are uploaded."""
        path = f"{self._account}/pages/projects/{project}/upload-token"
        answer = self._client.read(path)
        return parse_result(answer, "the upload token", lambda: Secret(require_answer_text(answer.result["jwt"])))

    def deploy_site(self, project: str, files: Mapping[str, bytes], branch: str = PRODUCTION_BRANCH) -> str:
        """Deploy uploaded files, by path with a leading slash, and return the deployment's ID."""
        manifest = json.dumps({path: hash_site_file(path, content) for path, content in files.items()})
        answer = self._client.write(
            "POST",
            f"{self._account}/pages/projects/{project}/deployments",
            files=[("manifest", (None, manifest.encode())), ("branch", (None, branch.encode()))],
        )
        return parse_result(answer, "a new deployment", lambda: require_answer_id(answer.result["id"], UUID))

    def read_audit_page(self, period: Period, size: int) -> CloudflareResponse:
        """Return one page of the audit log, whose `result_info` names the next one."""
        between = {"since": format_rfc3339(period.since), "before": format_rfc3339(period.until)}
        path = f"{self._account}/logs/audit"
        return self._client.read(path, params={**between, "limit": str(size)})


def upload_files(client: CloudflareClient, files: Mapping[str, bytes]) -> None:
    """Upload the files of a site; the token of `client` is that of `read_upload_token`."""
    bucket = [
        {
            "key": hash_site_file(path, content),
            "value": base64.b64encode(content).decode(),
            "metadata": {"contentType": "text/html"},
            "base64": True,
        }
        for path, content in files.items()
    ]
    client.write("POST", "/pages/assets/upload", json=bucket)


def hash_site_file(path: str, content: bytes) -> str:
    """Return the key of a small file as wrangler computes it (packages/deploy-helpers: hash-file)."""
    text = base64.b64encode(content).decode() + PurePosixPath(path).suffix.removeprefix(".")
    return hash_chunk(text.encode()).hex()[:32]


def _describe_worker(module: str, bindings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"main_module": module, "bindings": list(bindings), "compatibility_date": COMPATIBILITY_DATE}


def _build_form(metadata: Mapping[str, Any], module: str, code: bytes) -> list[Any]:
    return [
        ("metadata", (None, json.dumps(metadata).encode(), "application/json")),
        (module, (module, code, "application/javascript+module")),
    ]
