"""List the accounts of a token (developers.cloudflare.com/api/resources/accounts)."""

from collections.abc import Mapping
from typing import Any

from ops.cloudflare.client import CloudflareClient, paginate_by_total, reads
from ops.cloudflare.response import HEX_ID, require_id, require_text
from ops.cloudflare.types.inventory import NamedResource

READ_PERMISSION = "Account Settings Read"


class AccountsApi:
    """Accounts of one token."""

    def __init__(self, client: CloudflareClient) -> None:
        self._client = client

    @reads("GET /accounts")
    def list_accounts(self) -> tuple[NamedResource, ...]:
        page = self._client.list_reader("/accounts", "the accounts", _account, permission=READ_PERMISSION)
        return tuple(paginate_by_total(page))


def _account(row: Mapping[str, Any]) -> NamedResource:
    return NamedResource(require_id(row["id"], HEX_ID), require_text(row["name"]))
