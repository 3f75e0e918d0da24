"""The account's audit log: requests to the API, their actors and results."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sandbox.clock import timestamp

ACTIONS = {"POST": "create", "PUT": "update", "PATCH": "update", "DELETE": "delete"}
"""HTTP method → action type. Reads are not logged."""


@dataclass(frozen=True, kw_only=True)
class FakeAuditEntry:
    id: str
    at: datetime
    email: str
    token_id: str
    token_name: str
    owner: str
    method: str
    uri: str
    status: int
    ray: str
    user_agent: str
    product: str
    type: str
    resource_id: str
    zone: str
    address: str = "127.0.0.1"

    def to_json(self, account: str) -> dict[str, Any]:
        """Return the entry as version 2 of the API does, without request and response, which may hold secrets.

        developers.cloudflare.com/api/resources/accounts/subresources/logs/subresources/audit/methods/list
        """
        return {
            "id": self.id,
            "account": {"id": account, "name": "Sandbox"},
            "action": {
                "type": ACTIONS[self.method],
                "result": "success" if self.status < 400 else "failure",
                "time": timestamp(self.at),
                "description": f"{self.method} {self.type}",
            },
            "actor": {
                "type": self.owner,
                "context": "api_token",
                "email": self.email,
                "ip_address": self.address,
                "token_id": self.token_id,
                "token_name": self.token_name,
            },
            "raw": {
                "method": self.method,
                "uri": self.uri,
                "status_code": self.status,
                "cf_ray_id": self.ray,
                "user_agent": self.user_agent,
            },
            "resource": {
                "product": self.product,
                "type": self.type,
                "id": self.resource_id,
                "request": {},
                "response": {},
            },
            "zone": {"id": self.zone} if self.zone else {},
        }


FILTERS = {
    f"{part}_{name}": (part, field)
    for part, names in {
        "action": {"type": "type", "result": "result"},
        "actor": {"email": "email", "context": "context", "token_id": "token_id", "ip_address": "ip_address"},
        "resource": {"product": "product", "type": "type", "id": "id"},
        "raw": {"method": "method", "uri": "uri", "status_code": "status_code"},
    }.items()
    for name, field in names.items()
}
"""Query parameter → location of its value. Each also exists with the suffix `.not`."""


def matches_filters(shown: Mapping[str, Any], query: Mapping[str, str]) -> bool:
    for name, (part, field) in FILTERS.items():
        value = str(shown[part][field])
        if query.get(name, value) != value or query.get(f"{name}.not") == value:
            return False
    return True
