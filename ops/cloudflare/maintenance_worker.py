"""Upload the Worker ops-maintenance, whose source is `ops_maintenance.js` in this folder.

developers.cloudflare.com/workers/configuration/multipart-upload-metadata
"""

import json
from collections.abc import Mapping
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from ops.cloudflare.client import CloudflareClient
from ops.cloudflare.marks import DeploymentMark

MAIN_MODULE = "ops_maintenance.js"
COMPATIBILITY_DATE = "2026-09-01"


class MaintenanceWorkerApi:
    """API of the Worker ops-maintenance. A write is sent once.

    Raises NotApplied, UnclearWrite and CloudflareApiError.
    """

    def __init__(self, client: CloudflareClient, account_id: str, worker: str) -> None:
        self._client = client
        self._script = f"/accounts/{account_id}/workers/scripts/{worker}"

    @cached_property
    def _read_worker_source(self) -> bytes:
        return Path(__file__).with_name(MAIN_MODULE).read_bytes()

    @property
    def source_tag(self) -> str:
        """Return the tag of versions with this machine's source."""
        return sha256(self._read_worker_source).hexdigest()[:16]

    def create_worker(self, variables: Mapping[str, Any], *, mark: DeploymentMark) -> None:
        """Create and deploy the Worker."""
        self._client.write("PUT", self._script, files=self._build_upload_form(variables, mark))

    def upload_version(self, variables: Mapping[str, Any], *, mark: DeploymentMark) -> None:
        """Upload a version with these variables, without a deployment."""
        self._client.write("POST", f"{self._script}/versions", files=self._build_upload_form(variables, mark))

    def _build_upload_form(self, variables: Mapping[str, Any], mark: DeploymentMark) -> list[Any]:
        bindings = [
            {"type": "plain_text", "name": name, "text": value}
            if isinstance(value, str)
            else {"type": "json", "name": name, "json": value}
            for name, value in variables.items()
        ]
        metadata = {
            "main_module": MAIN_MODULE,
            "bindings": bindings,
            "compatibility_date": COMPATIBILITY_DATE,
            "annotations": {"workers/message": str(mark), "workers/tag": self.source_tag},
        }
        return [
            ("metadata", (None, json.dumps(metadata).encode(), "application/json")),
            (MAIN_MODULE, (MAIN_MODULE, self._read_worker_source, "application/javascript+module")),
        ]
