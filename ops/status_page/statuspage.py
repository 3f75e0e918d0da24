"""Publish updates on a page at Atlassian Statuspage.

Wire rules: developer.statuspage.io. The incident's `metadata` keeps our random ids: with them an incident and its
updates are found again, also after a lost answer. `metadata` is written whole, whether the provider merges it or not.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ops.core.clock import format_rfc3339
from ops.core.public_update import ComponentCondition, UpdateKind
from ops.status_page.provider import (
    ProviderClient,
    ShownIncident,
    UpdateCourse,
    needed_window,
)

HOST, SCHEME = "api.statuspage.io", "OAuth"
MEMORY = "backout"
"""Our object in `metadata`: kind → public id of the incident, and id of each update → its number."""
CONDITIONS = {
    ComponentCondition.OPERATIONAL: "operational",
    ComponentCondition.MAINTENANCE: "under_maintenance",
    ComponentCondition.DEGRADED: "degraded_performance",
    ComponentCondition.PARTIAL_OUTAGE: "partial_outage",
    ComponentCondition.MAJOR_OUTAGE: "major_outage",
}
NO_AUTOMATION = dict.fromkeys(
    (
        *("scheduled_auto_in_progress", "scheduled_auto_completed", "scheduled_remind_prior"),
        *("auto_transition_to_maintenance_state", "auto_transition_to_operational_state"),
    ),
    False,
)
"""States change by updates only."""


class Statuspage:
    """The Manage API of Atlassian Statuspage."""

    name = "Statuspage"

    def __init__(self, client: ProviderClient) -> None:
        self._client = client
        self._path = f"/v1/pages/{client.page.id}"

    def find(self, course: UpdateCourse) -> ShownIncident | None:
        for row in self._client.read_rows(f"{self._path}/incidents", size="limit"):
            memory, kind = _read_incident_memory(row), course.update.kind.value
            if memory.get(kind) == course.update.incident:
                numbers = (int(value) for key, value in memory.items() if key != kind and value.isdecimal())
                has_newer = max(numbers, default=0) > course.update.number
                return ShownIncident(quote(str(row["id"]), safe=""), course.update.id in memory, has_newer, memory)
        return None

    def create(self, course: UpdateCourse) -> None:
        planned: dict[str, Any] = {}
        if course.update.kind == UpdateKind.MAINTENANCE:
            starts, ends = map(format_rfc3339, needed_window(course))
            planned = {"scheduled_for": starts, "scheduled_until": ends, **NO_AUTOMATION}
        memory = {course.update.kind.value: course.update.incident}
        body = {"name": course.title, **planned, **self._describe_statuspage_update(course, memory)}
        self._client.write("POST", f"{self._path}/incidents", {"incident": body})

    def add(self, shown: ShownIncident, course: UpdateCourse) -> None:
        body = self._describe_statuspage_update(course, shown.memory)
        self._client.write("PATCH", f"{self._path}/incidents/{shown.id}", {"incident": body})

    def list_components(self) -> Mapping[str, str]:
        return self._client.list_components(self._path)

    def _describe_statuspage_update(self, course: UpdateCourse, memory: Mapping[str, str]) -> dict[str, Any]:
        ids = self._client.page.components
        states = {ids[name]: CONDITIONS[each] for name, each in course.conditions.items() if name in ids}
        return {
            "status": course.update.state.value,
            "body": course.update.text,
            "components": states,
            "component_ids": [ids[name] for name in course.names if name in ids],
            "deliver_notifications": True,
            "metadata": {MEMORY: {**memory, course.update.id: str(course.update.number)}},
        }


def _read_incident_memory(row: Mapping[str, Any]) -> dict[str, str]:
    """Return what an incident keeps for us; {} for one of another program or person."""
    metadata = row.get("metadata")
    kept = metadata.get(MEMORY) if isinstance(metadata, dict) else None
    return {str(key): str(value) for key, value in kept.items()} if isinstance(kept, dict) else {}
