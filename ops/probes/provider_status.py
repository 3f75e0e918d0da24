"""Read the status pages of Cloudflare, GitHub and others on Atlassian Statuspage.

www.cloudflarestatus.com/api, www.githubstatus.com/api: documents below /api/v2, without a token.
"""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import httpx

from ops.core.clock import parse_utc
from ops.core.outage import (
    OPERATIONAL,
    UNREADABLE,
    PageState,
    StatusDocument,
    StatusIncident,
    StatusReport,
    judge_page,
)
from ops.probes.http import MAX_SECONDS, ProbeClient

if TYPE_CHECKING:
    from ops.config import Environment, Service

CLOUDFLARE_STATUS = "https://www.cloudflarestatus.com"
GITHUB_STATUS = "https://www.githubstatus.com"
STATUS_SECONDS = 2.0
"""Time limit of a page beside other work: it is least reachable when it matters."""
GITHUB_COMPONENTS = ("Actions", "API Requests", "Issues", "Webhooks", "Git Operations")
"""Components of GitHub that labels, buttons and jobs need."""
PRODUCTS_GROUP = "Cloudflare Sites and Services"
"""Group of Cloudflare's products. Most other components are data centers, and some of those are always closed."""

SHARED_PRODUCTS = ("CDN/Cache", "Authoritative DNS", "Network")
"""Products in front of every service, as the page names them."""
LINK = re.compile(r"https://[\w.-]{1,100}/[\w./-]{0,100}")


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
    shared = SHARED_PRODUCTS if any(each.url for each in services) else ()
    return (*(name for name, is_used in uses.items() if is_used), *shared)


def read_components(web: ProbeClient, page: str, *, group: str = "") -> Mapping[str, str] | None:
    """Return component → status, such as `partial_outage`; None if the page cannot be read.

    With `group`, only the components of the group with that name.
    """
    document = _fetch_status_json(web, f"{page}/api/v2/components.json", MAX_SECONDS)
    try:
        return _parse_components(document, group) if document is not None else None
    except (LookupError, TypeError, AttributeError):
        return None


def read_report(
    web: ProbeClient, page: str, used: Iterable[str], *, group: str = "", within: float = MAX_SECONDS
) -> StatusReport:
    """Read a page in one request, and judge the used components."""
    return judge_used(page, read_status_document(web, page, group=group, within=within), used)


def judge_used(page: str, document: StatusDocument | None, used: Iterable[str]) -> StatusReport:
    """Judge the used components of a page. None: it cannot be read."""
    if document is None:
        return StatusReport(_status_page_host(page), PageState.UNKNOWN, (UNREADABLE,))
    return judge_page(document, used=used, shared=SHARED_PRODUCTS)


def read_status_document(
    web: ProbeClient, page: str, *, group: str = "", within: float = MAX_SECONDS
) -> StatusDocument | None:
    """Read components and unresolved incidents of a page in one request; None if it cannot be read."""
    document = _fetch_status_json(web, f"{page}/api/v2/summary.json", within)
    try:
        if document is not None:
            incidents = tuple(_parse_status_incident(each, group) for each in document["incidents"])
            states = [str(row["status"]) for row in document["components"] if group and row["name"] == group]
            return StatusDocument(
                _status_page_host(page),
                _parse_components(document, group),
                incidents,
                group,
                next(iter(states), OPERATIONAL),
            )
    except (LookupError, TypeError, AttributeError):
        pass
    return None


def _status_page_host(page: str) -> str:
    return page.partition("://")[2]


def _fetch_status_json(web: ProbeClient, url: str, within: float) -> Any:
    """Return the JSON document; None if it cannot be read."""
    try:
        response, body = web.send("GET", url, within=within)
        return json.loads(body) if response.status_code == 200 else None
    except (httpx.RequestError, ValueError, RecursionError):
        return None


def _parse_components(document: Any, group: str) -> dict[str, str]:
    rows = document["components"]
    groups = {str(row["id"]) for row in rows if row["name"] == group}
    wanted = (row for row in rows if not group or str(row.get("group_id")) in groups)
    found: dict[str, str] = {}
    for row in wanted:  # of two rows with one name, the one with trouble counts
        if found.get(str(row["name"]), OPERATIONAL) == OPERATIONAL:
            found[str(row["name"])] = str(row["status"])
    return found


def _parse_status_incident(row: Any, group: str) -> StatusIncident:
    """Return an incident with its current components: its own, and those of its newest update.

    The list keeps components that recovered. An update names a component with the group before it, and its status
    before and after; the newest one that names it counts.
    """
    listed = {str(each["name"]) for each in row.get("components") or ()}
    named = set(listed)
    updates = sorted(row.get("incident_updates") or (), key=lambda update: str(update.get("created_at")))
    for update in updates:
        for each in update.get("affected_components") or ():
            name = str(each["name"]).removeprefix(f"{group} - ")
            if each.get("new_status") == OPERATIONAL != each.get("old_status", OPERATIONAL):
                named.discard(name)
            elif update is updates[-1] or name in listed:
                named.add(name)
    link = LINK.fullmatch(str(row.get("shortlink")))
    return StatusIncident(
        str(row["name"]),
        str(row["status"]),
        str(row["impact"]),
        frozenset(named),
        _parse_status_time(row.get("started_at")),
        link[0] if link else "",
    )


def _parse_status_time(text: Any) -> datetime | None:
    try:
        return parse_utc(str(text))
    except (ValueError, OverflowError):
        return None
