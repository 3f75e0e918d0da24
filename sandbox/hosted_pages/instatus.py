"""Fake of the API of Instatus: the parts that publish an incident or a maintenance.

Routes, required fields and states: github.com/instatushq/openapi/blob/main/instatus.yaml (version 2.0.0). Form of an
error: instatus.com/help/api. A missing key answers 401.

The harder answer [unsure: team-status-page]: the order of the listed incidents, unknown fields, and the statuses of
refused bodies. No rate limit is documented, so the fake has none.
"""

from datetime import UTC, datetime
from typing import Any

from sandbox.clock import FakeClock
from sandbox.hosted_pages.page import (
    HostedPage,
    HostedPages,
    PageIncident,
    PageRefusal,
    PageUpdate,
    make_id,
    read_fields,
    read_number,
    read_time,
)
from sandbox.records import RequestRecord, parse_body
from sandbox.server import HttpRequest, HttpResponse, json_response
from sandbox.switches import Switches

HOST = "api.instatus.com"
USUAL_ROWS, MOST_ROWS = 50, 100
STATES = ("OPERATIONAL", "UNDERMAINTENANCE", "DEGRADEDPERFORMANCE", "PARTIALOUTAGE", "MAJOROUTAGE")
INCIDENT = ("INVESTIGATING", "IDENTIFIED", "MONITORING", "RESOLVED")
MAINTENANCE = ("NOTSTARTEDYET", "INPROGRESS", "COMPLETED")
_CODES = {400: "bad_request", 401: "unauthorized", 403: "forbidden", 404: "not_found"}
_TYPES: dict[str, type] = {
    **dict.fromkeys(("name", "message", "status", "started", "start", "end"), str),
    **dict.fromkeys(
        ("notify", "shouldPublish", "autoStart", "autoEnd", "notifyStart", "notifyEnd", "notifyEarly"), bool
    ),
    **dict.fromkeys(("components", "statuses"), list),
}
_NEW_INCIDENT = ("name", "status")
_NEW_MAINTENANCE = (
    *("name", "components", "status", "autoStart", "autoEnd", "notifyStart", "notifyEnd", "notifyEarly", "notify"),
    *("start", "end"),
)


class InstatusApi(HostedPages):
    """The API of Instatus, with all its pages."""

    def __init__(self, clock: FakeClock, switches: Switches) -> None:
        super().__init__(clock, switches, STATES[0])

    def answer(self, request: HttpRequest) -> HttpResponse:
        try:
            return self._answer(request)
        except PageRefusal as refusal:
            error = {"code": _CODES.get(refusal.status, "error"), "message": refusal.message}
            return json_response(refusal.status, {"error": error})

    def _answer(self, request: HttpRequest) -> HttpResponse:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        own = [page for page in self._pages.values() if key in page.keys]
        if scheme != "Bearer" or not own:
            raise PageRefusal(401, "Not authorized")
        match request.path.split("/"):
            case ["", "v2", "pages"] if request.method == "GET":
                return json_response(200, self._cut([{"id": page.id, "name": page.name} for page in own], request))
            case ["", "v1", page_id, *rest] if page_id in self._pages:
                page = self._pages[page_id]
            case _:
                raise PageRefusal(404, "Not found")
        if page not in own:
            raise PageRefusal(403, "Not authorized")
        page.requests.append(RequestRecord.from_request(request, at=self._clock.now(), unknown=False))
        return self._answer_page(page, request, rest)

    def _answer_page(self, page: HostedPage, request: HttpRequest, rest: list[str]) -> HttpResponse:
        match (request.method, rest):
            case ("GET", ["components"]):
                return json_response(200, self._cut([self._component(page, each) for each in page.names], request))
            case ("GET", [("incidents" | "maintenances") as kind]):
                listed = [each for each in page.incidents if each.is_maintenance == (kind == "maintenances")]
                rows = [self._incident(page, each) for each in listed]
                rows = rows if self._switches.status_page_oldest_first else rows[::-1]
                return json_response(200, self._cut(rows, request))
            case ("POST", ["incidents"]):
                given = self._read_body(page, request, INCIDENT, _NEW_INCIDENT)
                return json_response(200, self._incident(page, self._create(page, given)))
            case ("POST", ["maintenances"]):
                given = self._read_body(page, request, MAINTENANCE, _NEW_MAINTENANCE)
                if "started" in given:
                    raise PageRefusal(400, "started is unknown")
                return json_response(200, self._incident(page, self._create(page, given)))
            case ("POST", ["incidents", incident, "incident-updates"]):
                found = page.find_incident(incident, is_maintenance=False)
                given = self._read_body(page, request, INCIDENT, ("status", "components", "statuses"))
                return json_response(200, self._update(self._add_update(page, found, given)))
            case ("POST", ["maintenances", incident, "maintenance-updates"]):
                found = page.find_incident(incident, is_maintenance=True)
                given = self._read_body(page, request, MAINTENANCE, ())
                return json_response(200, self._update(self._add_update(page, found, given)))
        raise PageRefusal(404, "Not found")

    def _cut(self, rows: list[Any], request: HttpRequest) -> list[Any]:
        most = read_number(request, "per_page", USUAL_ROWS, MOST_ROWS)
        first = (read_number(request, "page", 1, 10_000) - 1) * most
        return rows[first : first + most]

    def _read_body(
        self, page: HostedPage, request: HttpRequest, states: tuple[str, ...], required: tuple[str, ...]
    ) -> dict[str, Any]:
        given = read_fields(parse_body(request), _TYPES, required, status=400)
        if given.get("status", states[0]) not in states:
            raise PageRefusal(400, f"status must be one of {', '.join(states)}")
        rows = given.get("statuses", [])
        if any(
            not isinstance(row, dict) or row.keys() != {"id", "status"} or row["status"] not in STATES for row in rows
        ):
            raise PageRefusal(400, "statuses is invalid")
        if any(row["id"] not in given.get("components", ()) for row in rows):
            raise PageRefusal(400, "statuses names a component that components does not")
        page.check_components(given.get("components", ()), status=400)
        return given

    def _create(self, page: HostedPage, given: dict[str, Any]) -> PageIncident:
        now = self._clock.now()
        is_maintenance = "start" in given
        starts, ends = (
            (read_time(given[each], each, status=400) for each in ("start", "end")) if is_maintenance else (None, None)
        )
        began = read_time(given["started"], "started", status=400) if "started" in given else now
        incident = PageIncident(
            id=make_id(),
            name=given["name"],
            status=given["status"],
            created=now,
            began=began,
            components=[],
            starts=starts,
            ends=ends,
        )
        self._add_update(page, incident, given)
        page.incidents.append(incident)
        return incident

    def _add_update(self, page: HostedPage, incident: PageIncident, given: dict[str, Any]) -> PageUpdate:
        at = read_time(given["started"], "started", status=400) if "started" in given else self._clock.now()
        incident.components = list(dict.fromkeys((*incident.components, *given.get("components", ()))))
        states = {row["id"]: row["status"] for row in given.get("statuses", ())}
        status, notify = given.get("status", incident.status), given.get("notify", False)
        return page.add_update(incident, status, given.get("message", ""), states, at=at, notify=notify)

    def _component(self, page: HostedPage, component: str) -> dict[str, Any]:
        return {"id": component, "name": page.names[component], "status": page.states[component], "group": None}

    def _incident(self, page: HostedPage, incident: PageIncident) -> dict[str, Any]:
        times = {"started": _format(incident.began), "resolved": None}
        if incident.starts and incident.ends:
            times = {"start": _format(incident.starts), "end": _format(incident.ends)}
        return {
            "id": incident.id,
            "name": incident.name,
            "status": incident.status,
            **times,
            "updates": [self._update(each) for each in incident.updates],
            "components": [self._component(page, each) for each in incident.components],
        }

    def _update(self, update: PageUpdate) -> dict[str, Any]:
        return {
            "id": update.id,
            "message": update.text,
            "messageHtml": f"<p>{update.text}</p>",
            "status": update.status,
            "notify": update.notify,
            "started": _format(update.at),
            "ended": None,
            "createdAt": _format(self._clock.now()),
        }


def _format(moment: datetime) -> str:
    """Return a time as the examples of the documentation show it, such as 2020-09-12T19:05:17.398Z."""
    return f"{moment.astimezone(UTC).isoformat(timespec='milliseconds')[:-6]}Z"
