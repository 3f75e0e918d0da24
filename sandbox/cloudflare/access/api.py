"""Access API: the service tokens of the account. A secret is shown only when it is made.

developers.cloudflare.com/api/resources/zero_trust/subresources/access/subresources/service_tokens
"""

from typing import Any

from sandbox.clock import timestamp
from sandbox.cloudflare.access.state import ServiceToken
from sandbox.cloudflare.call import CloudflareAnswer, CloudflareCall, Routes

ROUTES = Routes()


@ROUTES.add("GET", "/accounts/{account}/access/service_tokens")
def list_service_tokens(call: CloudflareCall) -> CloudflareAnswer:
    page, size = (int(call.request.query.get(name, default)) for name, default in (("page", 1), ("per_page", 25)))
    everything = call.account.access.tokens
    rows = [_shown(each) for each in everything[(page - 1) * size : page * size]]
    counts = {"page": page, "per_page": size, "count": len(rows), "total_count": len(everything)}
    return CloudflareAnswer(rows, result_info=counts)


def _shown(token: ServiceToken) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "client_id": token.client_id,
        "enabled": True,
        "expires_at": timestamp(token.expires_at),
        "duration": f"{int((token.expires_at - token.created_at).total_seconds() // 3600)}h",
    }
