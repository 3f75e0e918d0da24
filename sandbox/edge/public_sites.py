"""Public sites that a client of the edge also finds: two status pages and a package index.

Both status pages are Atlassian Statuspages: www.cloudflarestatus.com/api, www.githubstatus.com/api.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from sandbox.server import HttpRequest, HttpResponse

OPERATIONAL = "operational"
PRODUCTS = "API", "Dashboard", "Workers", "Workers KV", "Pages", "D1", "Durable Objects"
_GROUP = {"id": "1km35smx8p41", "name": "Cloudflare Sites and Services", "group": True, "group_id": None}
_DATA_CENTER = {
    "id": "pop",
    "name": "Lima, Peru - (LIM)",
    "group": False,
    "group_id": "pops",
    "status": "partial_outage",
}


@dataclass
class PublicSites:
    """Component of a status page → its status; and the status code of the package index."""

    cloudflare: dict[str, str] = field(default_factory=lambda: dict.fromkeys(PRODUCTS, OPERATIONAL))
    github: dict[str, str] = field(
        default_factory=lambda: dict.fromkeys(
            ("Git Operations", "Webhooks", "API Requests", "Issues", "Actions"), OPERATIONAL
        )
    )
    index_status: int = 200

    def answer(self, host: str, request: HttpRequest) -> HttpResponse | None:
        """Return the response of a public site; None for another host."""
        if request.path.startswith("/simple/"):
            return HttpResponse(status=self.index_status, headers=[("content-type", "text/html")])
        if request.path != "/api/v2/components.json":
            return None
        if host == "www.cloudflarestatus.com":
            return _components(_GROUP | {"status": OPERATIONAL}, _DATA_CENTER, *_rows(self.cloudflare, _GROUP["id"]))
        return _components(*_rows(self.github, None)) if host == "www.githubstatus.com" else None


def _rows(states: dict[str, str], group: Any) -> list[dict[str, Any]]:
    return [
        {"id": f"c{number}", "name": name, "group": False, "group_id": group, "status": state}
        for number, (name, state) in enumerate(states.items())
    ]


def _components(*rows: dict[str, Any]) -> HttpResponse:
    body = json.dumps({"page": {"id": "sandbox"}, "components": rows}).encode()
    return HttpResponse(headers=[("content-type", "application/json")], body=body)
