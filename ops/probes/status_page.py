"""Read a status page on Atlassian Statuspage.

www.cloudflarestatus.com/api, www.githubstatus.com/api: documents below /api/v2, without a token.
"""

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import httpx

from ops.core.outage import PageState, StatusIncident, StatusReport, judge_page
from ops.probes.http import MAX_SECONDS, ProbeClient

if TYPE_CHECKING:
    from ops.config import Environment, Service

CLOUDFLARE_STATUS = "https://www.cloudflarestatus.com"
PRODUCTS_GROUP = "Cloudflare Sites and Services"
"""Group of Cloudflare's products. Most other components are data centers, and some of those are always closed."""


def used_products(environment: "Environment", *services: "Service") -> tuple[str, ...]:
    """Return the names of Cloudflare's products that these services of an environment use, as its page lists them."""
    uses = {
        "API": True,
        "Workers": any(each.worker for each in services),
        "Pages": any(each.pages for each in services),
        "Durable Objects": any(each.durable_objects for each in services),
        "Workers KV": environment.runtime is not None,
        "D1": any(environment.databases_of(each.name) for each in services),
    }
    return tuple(name for name, is_used in uses.items() if is_used)


def read_components(web: ProbeClient, page: str, *, group: str = "") -> Mapping[str, str] | None:
    """Return component → status, such as `partial_outage`; None if the page cannot be read.

    With `group`, only the components of the group with that name.
    """
    document = _fetch(web, f"{page}/api/v2/components.json", MAX_SECONDS)
    try:
        return _components(document, group) if document is not None else None
    except (LookupError, TypeError, AttributeError):
        return None


def read_report(
    web: ProbeClient, page: str, used: Iterable[str], *, group: str = "", within: float = MAX_SECONDS
) -> StatusReport:
    """Read components and unresolved incidents of a page in one request, and judge the used components."""
    document, name = _fetch(web, f"{page}/api/v2/summary.json", within), page.partition("://")[2]
    try:
        if document is not None:
            incidents = [_incident(each, group) for each in document["incidents"]]
            return judge_page(name, _components(document, group), incidents, used=used)
    except (LookupError, TypeError, AttributeError):
        pass
    return StatusReport(name, PageState.UNKNOWN, ("cannot be read",))


def _fetch(web: ProbeClient, url: str, within: float) -> Any:
    """Return the JSON document; None if it cannot be read."""
    try:
        response, body = web.send("GET", url, within=within)
        return json.loads(body) if response.status_code == 200 else None
    except (httpx.RequestError, ValueError, RecursionError):
        return None


def _components(document: Any, group: str) -> dict[str, str]:
    rows = document["components"]
    groups = {str(row["id"]) for row in rows if row["name"] == group}
    wanted = (row for row in rows if not group or str(row.get("group_id")) in groups)
    return {str(row["name"]): str(row["status"]) for row in wanted}


def _incident(row: Any, group: str) -> StatusIncident:
    """Return an incident. An update names its components with the group before them."""
    updates = row.get("incident_updates") or ()
    named = [each["name"] for each in row.get("components") or ()]
    named += [
        each["name"].removeprefix(f"{group} - ") for update in updates for each in update["affected_components"] or ()
    ]
    return StatusIncident(str(row["name"]), str(row["status"]), str(row["impact"]), frozenset(named))
