"""Write the page as JSON in the shape of Statuspage's `summary.json`, for existing clients.

Every public Statuspage shows it at /api/v2 (www.githubstatus.com/api). `build` is our own key: a browser, `doctor`
and the deploying job see from it whether the page is fresh.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from ops.core.clock import format_optional, format_rfc3339
from ops.core.public_update import PublicState, incident_conditions
from ops.status_page.overview import SHOWN, PageOverview, PublicIncident, ShownComponent, ShownCondition

MOST_BYTES = 100_000
"""Limit of each file of the page: it must load over a slow connection while many users want it."""
STATUS_FILES = ("status.json", "api/v2/summary.json")
"""The same document: for people and our own checks, and where clients of Statuspage look for it."""
IMPACTS: Mapping[str, str] = {
    ShownCondition.OPERATIONAL: "none",
    ShownCondition.UNKNOWN: "none",
    ShownCondition.UNDER_MAINTENANCE: "maintenance",
    ShownCondition.DEGRADED: "minor",
    ShownCondition.PARTIAL_OUTAGE: "major",
    ShownCondition.MAJOR_OUTAGE: "critical",
}
"""Worst condition → Statuspage's word for an incident or a page."""
OPEN = "open"
"""State of a page with an open incident that gives no component a condition worse than maintenance."""
INDICATORS: Mapping[str, str] = {**IMPACTS, OPEN: "minor", ShownCondition.UNKNOWN: "unknown"}
HEADLINES: Mapping[str, str] = {
    ShownCondition.OPERATIONAL: "All components are operational",
    OPEN: "An incident is open",
    ShownCondition.UNDER_MAINTENANCE: "Maintenance in progress",
    ShownCondition.DEGRADED: "Degraded performance",
    ShownCondition.PARTIAL_OUTAGE: "Partial outage",
    ShownCondition.MAJOR_OUTAGE: "Major outage",
}
LIMITS = ((50, 100), (50, 20), (50, 5), (50, 1), (10, 1))
"""Newest incidents of a list, and newest updates of each: the document has the first pair that fits into a file."""


def status_document(overview: PageOverview) -> dict[str, Any]:
    """Return the document. Times are RFC 3339 in UTC."""
    settings = overview.settings
    page_id = short_public_id(settings.url)
    updated, going = overview.last_update or overview.built_at, (*overview.running, *overview.planned)
    return {
        "page": {
            "id": page_id,
            "name": settings.title,
            "url": settings.url,
            "time_zone": "Etc/UTC",
            "updated_at": format_rfc3339(updated),
        },
        "components": [_describe_component(overview, each, place) for place, each in enumerate(overview.components, 1)],
        "incidents": [_public_incident_json(overview, each) for each in overview.running if not each.is_maintenance],
        "scheduled_maintenances": [_describe_maintenance(overview, each) for each in going if each.is_maintenance],
        "status": {"indicator": indicator(overview), "description": headline(overview)},
        "build": {
            "at": format_rfc3339(overview.built_at),
            "late_after": late.total_seconds() if (late := settings.late_after) is not None else None,
        },
    }


def _describe_component(overview: PageOverview, component: ShownComponent, position: int) -> dict[str, Any]:
    since = format_rfc3339(component.updated_at or overview.built_at)
    return {
        "id": short_public_id(component.name),
        "name": component.name,
        "status": component.condition.value,
        "created_at": since,
        "updated_at": since,
        "position": position,
        "description": None,
        "showcase": True,
        "start_date": None,
        "group_id": None,
        "page_id": short_public_id(overview.settings.url),
        "group": False,
        "only_show_if_degraded": False,
    }


def render_status(overview: PageOverview) -> bytes:
    """Return the document as a file. Older incidents and updates are left out if it would be too large."""
    text = b""
    for most_incidents, most_updates in LIMITS:
        document = status_document(overview)
        for listed in (document["incidents"], document["scheduled_maintenances"]):
            del listed[most_incidents:]
            for one in listed:
                del one["incident_updates"][most_updates:]
        text = (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode()
        if len(text) <= MOST_BYTES:
            break
    return text


def page_state(overview: PageOverview) -> str:
    """Return the worst condition; `open` if an incident runs and nothing is worse than maintenance."""
    worst, has_incident = overview.worst, any(not each.is_maintenance for each in overview.running)
    if IMPACTS[worst] != "none" and not (has_incident and worst == ShownCondition.UNDER_MAINTENANCE):
        return worst
    if overview.running:
        return OPEN
    return ShownCondition.OPERATIONAL if overview.is_operational else ShownCondition.UNKNOWN


def indicator(overview: PageOverview) -> str:
    """Return Statuspage's word for the page. It has none for unknown, and clients show `none` in green."""
    return INDICATORS[page_state(overview)]


def headline(overview: PageOverview) -> str:
    """Return the state of the whole page in words."""
    if words := HEADLINES.get(page_state(overview)):
        return words
    return f"Last update at {format_page_minute(overview.last_update)}" if overview.last_update else "No update yet"


def format_page_minute(moment: datetime) -> str:
    """Format a time for users, to whom seconds say nothing."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def incident_page(incident: PublicIncident) -> str:
    """Return the path of its page, from the root of the site."""
    return f"incidents/{incident.id}.html"


def short_public_id(text: str) -> str:
    """Return an id of the length that Statuspage's have; the same for the same text."""
    return sha256(text.encode()).hexdigest()[:12]


def _public_incident_json(overview: PageOverview, incident: PublicIncident) -> dict[str, Any]:
    ended = incident.first(PublicState.RESOLVED, PublicState.COMPLETED)
    conditions = {each.name: each for each in overview.components}
    return {
        "id": incident.id,
        "name": incident.title,
        "status": incident.state.value,
        "created_at": format_optional(incident.updates[0].at),
        "started_at": format_optional(incident.updates[0].at),
        "updated_at": format_optional(incident.newest.at),
        "monitoring_at": format_optional(incident.first(PublicState.MONITORING)),
        "resolved_at": None if incident.is_open else format_optional(ended),
        "impact": IMPACTS[incident.worst],
        "shortlink": f"{overview.settings.url}/{incident_page(incident)}",
        "page_id": short_public_id(overview.settings.url),
        "components": [
            {"id": short_public_id(name), "name": name, "status": condition.value}
            for name, condition in incident.conditions.items()
            if name in conditions
        ],
        "incident_updates": [_describe_update(incident, number) for number in reversed(range(len(incident.updates)))],
    }


def _describe_update(incident: PublicIncident, number: int) -> dict[str, Any]:
    """Return an update, with the conditions that it changed from those of the updates before it."""
    update = incident.updates[number]
    former = incident_conditions(incident.updates[:number])
    return {
        "id": update.id,
        "incident_id": incident.id,
        "status": update.state.value,
        "body": update.text,
        "created_at": format_optional(update.at),
        "updated_at": format_optional(update.at),
        "display_at": format_optional(update.at),
        "affected_components": [
            {
                "code": short_public_id(each.name),
                "name": each.name,
                "old_status": SHOWN[former[each.name]] if each.name in former else ShownCondition.UNKNOWN,
                "new_status": SHOWN[each.condition] if each.condition else ShownCondition.UNKNOWN,
            }
            for each in update.components
        ],
    }


def _describe_maintenance(overview: PageOverview, incident: PublicIncident) -> dict[str, Any]:
    """Return a maintenance. A planned time that no update names is null."""
    planned = [(each.starts, each.ends) for each in incident.standing if each.starts or each.ends]
    starts, ends = planned[-1] if planned else (None, None)
    return {
        **_public_incident_json(overview, incident),
        "scheduled_for": format_optional(starts),
        "scheduled_until": format_optional(ends),
    }
