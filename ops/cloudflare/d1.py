"""List D1 databases (developers.cloudflare.com/api/resources/d1/subresources/database)."""

import re
from collections.abc import Mapping
from typing import Any

from ops.cloudflare.client import CloudflareClient, paginate_by_length, reads
from ops.cloudflare.response import CloudflareResponse, parse_rows, require_id, require_text
from ops.cloudflare.types.inventory import NamedResource

READ_PERMISSION = "D1 Read"
ID_PATTERN = re.compile("[0-9a-f-]{36}")
PAGE_SIZE = 100


class D1Api:
    """D1 API of one account."""

    def __init__(self, client: CloudflareClient, account_id: str) -> None:
        self._client = client
        self._databases = f"/accounts/{account_id}/d1/database"

    @reads("GET /accounts/{account}/d1/database")
    def list_databases(self) -> tuple[NamedResource, ...]:
        def page(params: Mapping[str, str]) -> CloudflareResponse:
            answer = self._client.read(self._databases, permission=READ_PERMISSION, params=params)
            return parse_rows(answer, "the D1 databases", _database)

        return tuple(paginate_by_length(page, per_page=PAGE_SIZE))


def _database(row: Mapping[str, Any]) -> NamedResource:
    return NamedResource(require_id(row["uuid"], ID_PATTERN), require_text(row["name"]))
