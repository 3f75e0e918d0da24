"""Secrets of Workers, and uploads of existing code with other secrets.

developers.cloudflare.com/workers/configuration/secrets
"""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

from ops.cloudflare.client import CloudflareClient, reads
from ops.cloudflare.marks import DeploymentMark
from ops.cloudflare.response import CloudflareApiError, ErrorKind, answer_text_or_empty, parse_result, unexpected_shape
from ops.cloudflare.types.workers import SECRET_BINDING_TYPES, WorkerCode, WorkerModule
from ops.core.errors import LatestNotDeployed, Reason, UnclearWrite
from ops.core.redaction import Secret

LATEST_NOT_DEPLOYED = frozenset({10214, 10215})
MERGE_PATCH = "application/merge-patch+json"
MAX_SECRETS_PER_CALL = 100
"""Most secrets of one call (100160)."""
MAX_CODE_BYTES = 100_000_000
"""Longest answer with code in bytes: 64 MB in Base64 (developers.cloudflare.com/workers/platform/limits)."""
UPLOADABLE_SETTINGS = (
    "cache_options",
    "compatibility_date",
    "compatibility_flags",
    "limits",
    "placement",
    "usage_model",
)
"""Settings of a version that an upload accepts unchanged."""
UNSUPPORTED_PARTS = ("assets", "containers", "exports")
"""Parts of a version that no upload of a version accepts."""
REPORTED_PLACEMENT_KEYS = frozenset({"last_analyzed_at", "status"})
"""Keys that Cloudflare adds to a placement in its answers."""


class WorkerSecretsApi:
    """Secrets API of the Workers of one account. Cloudflare returns names but no values."""

    def __init__(self, client: CloudflareClient, account_id: str) -> None:
        self._client = client
        self._workers = f"/accounts/{account_id}/workers"

    @reads("GET /accounts/{account}/workers/scripts/{script}/secrets")
    def list_names(self, worker: str) -> frozenset[str]:
        """Return the names of a Worker's secrets. Cloudflare reports neither their version nor their age."""
        answer = self._client.read(f"{self._workers}/scripts/{worker}/secrets")
        return parse_result(
            answer, f"the secrets of {worker}", lambda: frozenset(_parse_secret_name(row) for row in answer.result)
        )

    def edit(self, worker: str, edits: Mapping[str, Secret | None]) -> None:
        """Set secrets, or delete those with the value None; sent once. The new version gets all traffic at once.

        It builds on the latest upload, so Cloudflare refuses it while another version is live.
        Raises LatestNotDeployed, NotApplied, UnclearWrite and CloudflareApiError.
        """
        if not 1 <= len(edits) <= MAX_SECRETS_PER_CALL:
            raise ValueError(f"from 1 to {MAX_SECRETS_PER_CALL} secrets can be changed at once, not {len(edits)}")
        secrets = {
            name: value and {"name": name, "text": value.reveal(), "type": "secret_text"}
            for name, value in edits.items()
        }
        try:
            self._client.write(
                "PATCH",
                f"{self._workers}/scripts/{worker}/secrets-bulk",
                json={"secrets": secrets},
                headers={"content-type": MERGE_PATCH},
            )
        except CloudflareApiError as error:
            if error.code in LATEST_NOT_DEPLOYED:
                raise LatestNotDeployed(worker) from None
            raise

    @reads("GET /accounts/{account}/workers/workers/{script}/versions/{version}")
    def read_code(self, worker: str, version: str) -> WorkerCode | None:
        """Return the code of a version; None if Cloudflare no longer has it. Raises MalformedCloudflareResponse.

        developers.cloudflare.com/api/resources/workers/subresources/beta/subresources/workers/subresources/versions
        """
        path = f"{self._workers}/workers/{worker}/versions/{version}"
        try:
            asked = {"include": "modules"}
            answer = self._client.read(path, params=asked, most=MAX_CODE_BYTES)
        except CloudflareApiError as error:
            if error.kind == ErrorKind.NOT_FOUND:
                return None
            raise
        what = f"the code of version {version} of {worker}"
        code = parse_result(answer, what, lambda: _parse_worker_code(answer.result))
        if code.version != version:
            raise unexpected_shape(answer, what)
        return code

    def upload_version(
        self, worker: str, code: WorkerCode, edits: Mapping[str, Secret], *, mark: DeploymentMark, tag: str = ""
    ) -> str:
        """Upload `code` with changed secrets and return the ID of the new version, which is not deployed. Sent once.

        `tag`: tag of the version, mostly its commit, which later runs compare. A preview alias is not kept.

        Other secrets are inherited from the latest upload, which may not be live. Cloudflare refuses an upload if
        one is missing there (10057). The caller must check `code.upload_obstacles` first.
        Raises NotApplied, UnclearWrite and CloudflareApiError.
        """
        head = json.dumps(build_upload_metadata(code, edits, message=str(mark), tag=tag))
        parts = [("metadata", (None, head.encode(), "application/json"))]
        files = [(module.name, (module.name, module.content, module.content_type)) for module in code.modules]
        path = f"{self._workers}/scripts/{worker}/versions"
        answer = self._client.write("POST", path, params={"bindings_inherit": "strict"}, files=[*parts, *files])
        made = answer.result.get("id") if isinstance(answer.result, dict) else None
        if not isinstance(made, str) or not re.fullmatch("[0-9a-f-]{36}", made):
            message = f"the answer to POST versions of {worker} names no version (cf-ray {answer.ray_id or 'none'})"
            raise UnclearWrite(message, reason=Reason.UNCLEAR)
        return made


def _parse_secret_name(row: Mapping[str, Any]) -> str:
    if not isinstance(row["name"], str):
        raise TypeError(row)
    return row["name"]


def _parse_worker_code(row: Mapping[str, Any]) -> WorkerCode:
    bindings = tuple(dict(binding) for binding in row.get("bindings") or ())
    if not all(isinstance(b.get("name"), str) and isinstance(b.get("type"), str) for b in bindings):
        raise ValueError(row)
    settings = {name: row[name] for name in UPLOADABLE_SETTINGS if row.get(name)}
    if isinstance(settings.get("placement"), dict):
        settings["placement"] = {
            key: value for key, value in settings["placement"].items() if key not in REPORTED_PLACEMENT_KEYS
        }
    return WorkerCode(
        version=row["id"],
        main_module=answer_text_or_empty(row.get("main_module")),
        modules=tuple(_parse_worker_module(module) for module in row["modules"]),
        bindings=bindings,
        settings=settings,
        unsupported_parts=tuple(name for name in UNSUPPORTED_PARTS if row.get(name)),
        migration_tag=answer_text_or_empty(row.get("migration_tag")) or None,
    )


def _parse_worker_module(row: Mapping[str, Any]) -> WorkerModule:
    name, content_type = answer_text_or_empty(row["name"]), answer_text_or_empty(row["content_type"])
    if not name or not content_type:
        raise ValueError(row)
    return WorkerModule(name, content_type, base64.b64decode(row["content_base64"], validate=True))


def build_upload_metadata(
    code: WorkerCode, edits: Mapping[str, Secret], *, message: str, tag: str = ""
) -> dict[str, Any]:
    """Return the metadata of an upload: bindings of `code`, new values for `edits`, other secrets inherited.

    Only the latest upload can be inherited from, whichever version is live: another version ID is refused (10057).
    developers.cloudflare.com/workers/configuration/multipart-upload-metadata
    """
    own = [dict(binding) for binding in code.bindings if binding["type"] not in SECRET_BINDING_TYPES]
    new = [{"type": "secret_text", "name": name, "text": value.reveal()} for name, value in edits.items()]
    others = sorted(code.secret_names - edits.keys())
    inherited = [{"type": "inherit", "name": name, "version_id": "latest"} for name in others]
    return {
        "main_module": code.main_module,
        "bindings": [*own, *new, *inherited],
        **code.settings,
        "annotations": {"workers/message": message, **({"workers/tag": tag} if tag else {})},
    }
