"""Service tokens of Cloudflare Access, by which probes reach a protected service.

developers.cloudflare.com/api/resources/zero_trust/subresources/access/subresources/service_tokens
"""

from collections.abc import Mapping
from typing import Any

from ops.cloudflare.client import CloudflareClient, paginate_by_total, reads
from ops.cloudflare.response import require_text, text_or_empty
from ops.cloudflare.types.inventory import ServiceToken
from ops.core.clock import parse_utc

READ_PERMISSION = "Access: Service Tokens Read"


@reads("GET /accounts/{account}/access/service_tokens")
def list_service_tokens(client: CloudflareClient, account_id: str) -> tuple[ServiceToken, ...]:
    """Return the service tokens of the account, without their secrets. Raises ProviderError."""
    path = f"/accounts/{account_id}/access/service_tokens"
    page = client.list_reader(path, "the service tokens", _service_token, permission=READ_PERMISSION)
    return tuple(paginate_by_total(page))


def _service_token(row: Mapping[str, Any]) -> ServiceToken:
    expires_at = text_or_empty(row.get("expires_at"))
    return ServiceToken(require_text(row["client_id"]), parse_utc(expires_at) if expires_at else None)
