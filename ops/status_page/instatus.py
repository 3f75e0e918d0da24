"""Publish updates on a page at Instatus.

Wire rules: github.com/instatushq/openapi (instatus.yaml), instatus.com/help/api. An incident has no field for programs.
So its title and start find it again, and the start, state and text of an update find that. We set all of them.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from ops.core.clock import format_rfc3339, parse_utc
from ops.core.public_update import ComponentCondition, PublicState, UpdateKind, clean_text
from ops.status_page.provider import (
    ProviderClient,
    ShownIncident,
    UpdateCourse,
    needed_window,
)

HOST, SCHEME = "api.instatus.com", "Bearer"
CONDITIONS = {
    ComponentCondition.OPERATIONAL: "OPERATIONAL",
    ComponentCondition.MAINTENANCE: "UNDERMAINTENANCE",
    ComponentCondition.DEGRADED: "DEGRADEDPERFORMANCE",
    ComponentCondition.PARTIAL_OUTAGE: "PARTIALOUTAGE",
    ComponentCondition.MAJOR_OUTAGE: "MAJOROUTAGE",
}
STATES = {
    PublicState.INVESTIGATING: "INVESTIGATING",
    PublicState.IDENTIFIED: "IDENTIFIED",
    PublicState.MONITORING: "MONITORING",
    PublicState.RESOLVED: "RESOLVED",
    PublicState.SCHEDULED: "NOTSTARTEDYET",
    PublicState.IN_PROGRESS: "INPROGRESS",
    PublicState.COMPLETED: "COMPLETED",
}
FOLDERS = {UpdateKind.INCIDENT: ("incidents", "incident"), UpdateKind.MAINTENANCE: ("maintenances", "maintenance")}
"""Kind → name of its list, and the start of the name of its updates."""


class Instatus:
    """The API of Instatus."""

    name = "Instatus"

    def __init__(self, client: ProviderClient) -> None:
        self._client = client
        self._path = f"/v1/{client.page.id}"

    def find(self, course: UpdateCourse) -> ShownIncident | None:
        folder, _ = FOLDERS[course.update.kind]
        for row in self._client.read_rows(f"{self._path}/{folder}", size="per_page"):
            if _is_of_course(row, course):
                updates = row.get("updates") or ()
                is_shown = any(_is_same(each, course) for each in updates)
                return ShownIncident(
                    quote(str(row["id"]), safe=""), is_shown, any(_is_newer(each, course) for each in updates)
                )
        return None

    def create(self, course: UpdateCourse) -> None:
        folder, _ = FOLDERS[course.update.kind]
        body = {"name": course.title, **self._describe_instatus_update(course)}
        if course.update.kind == UpdateKind.MAINTENANCE:
            starts, ends = map(format_rfc3339, needed_window(course))
            flags = dict.fromkeys(("autoStart", "autoEnd", "notifyStart", "notifyEnd", "notifyEarly"), False)
            body |= {"start": starts, "end": ends, **flags}
        else:
            body |= {"started": format_rfc3339(course.first.at)}
        self._client.write("POST", f"{self._path}/{folder}", body)

    def add(self, shown: ShownIncident, course: UpdateCourse) -> None:
        folder, word = FOLDERS[course.update.kind]
        body = {**self._describe_instatus_update(course), "started": format_rfc3339(course.update.at)}
        self._client.write("POST", f"{self._path}/{folder}/{shown.id}/{word}-updates", body)

    def list_components(self) -> Mapping[str, str]:
        return self._client.list_components(self._path)

    def _describe_instatus_update(self, course: UpdateCourse) -> dict[str, Any]:
        ids = self._client.page.components
        return {
            "message": course.update.text,
            "status": STATES[course.update.state],
            "notify": True,
            "components": [ids[name] for name in course.names if name in ids],
            "statuses": [
                {"id": ids[name], "status": CONDITIONS[each]} for name, each in course.conditions.items() if name in ids
            ],
        }


def _is_of_course(row: Mapping[str, Any], course: UpdateCourse) -> bool:
    """Return whether this is the incident of the course: its title and its start are the ones that we set."""
    if row.get("name") != course.title:
        return False
    if course.update.kind == UpdateKind.MAINTENANCE:
        return course.window is not None and _read_instatus_time(row, "start") == course.window[0]
    return _read_instatus_time(row, "started") == course.first.at


def _is_same(shown: Mapping[str, Any], course: UpdateCourse) -> bool:
    """Return whether a shown update is this one. The update that created an incident has the start of the incident.

    A new maintenance takes no time of an update, so its state and text must suffice.
    """
    update, first = course.update, course.first
    if (shown.get("status"), clean_text(str(shown.get("message")))) != (STATES[update.state], update.text):
        return False
    starts = {update.at} if update != first and update.says_same(first) else {update.at, first.at}
    return update.kind == UpdateKind.MAINTENANCE or _read_instatus_time(shown, "started") in starts


def _is_newer(shown: Mapping[str, Any], course: UpdateCourse) -> bool:
    """Return whether a shown update came after this one; of a maintenance by its state."""
    update = course.update
    if update.kind == UpdateKind.MAINTENANCE:
        states = [*STATES.values()]
        return shown.get("status") in states[states.index(STATES[update.state]) + 1 :]
    started = _read_instatus_time(shown, "started")
    return started is not None and started > update.at


def _read_instatus_time(row: Mapping[str, Any], name: str) -> datetime | None:
    """Return a time of an answer in whole seconds, as ours are; None if it is none."""
    try:
        return parse_utc(str(row.get(name))).replace(microsecond=0)
    except (ValueError, OverflowError):
        return None
