"""Fake of the Manage API of Atlassian Statuspage: the parts that publish an incident.

Routes, fields, limits and errors: developer.statuspage.io (OpenAPI document, also in
github.com/sbecker59/statuspage-api-client-go/blob/main/api/v1/statuspage/api/openapi.yaml). A refused request beyond
the rate limit has `Retry-After`: community.atlassian.com/t5/Statuspage-articles/
Upcoming-rate-limiting-changes-to-Statuspage-REST-API/ba-p/1455362.

The harder answer [unsure: team-status-page]: the order of the listed incidents, whether `metadata` is merged or
replaced, unknown fields, and that a maintenance needs both of its times.
"""

from datetime import timedelta
from typing import Any

from sandbox.clock import FakeClock, timestamp
from sandbox.hosted_pages.page import (
    OPERATIONAL,
    HostedPage,
    HostedPages,
    PageIncident,
    PageRefusal,
    PageUpdate,
    RequestLimit,
    make_id,
    read_fields,
    read_number,
    read_time,
)
from sandbox.records import RequestRecord, parse_body
from sandbox.server import HttpRequest, HttpResponse, json_response
from sandbox.switches import Switches

HOST = "api.statuspage.io"
CALLS, PERIOD = 60, timedelta(seconds=60)
"""One request a second for each key, measured over 60 seconds."""
LONGEST_NAME, LONGEST_BODY, MOST_LISTED = 255, 25_000, 100
STATES = (OPERATIONAL, "under_maintenance", "degraded_performance", "partial_outage", "major_outage")
REALTIME = ("investigating", "identified", "monitoring", "resolved")
SCHEDULED = ("scheduled", "in_progress", "verifying", "completed")
_IMPACT = {"major_outage": "critical", "partial_outage": "major", "degraded_performance": "minor"}
_TYPES: dict[str, type] = {
    **dict.fromkeys(("name", "status", "body", "scheduled_for", "scheduled_until", "impact_override"), str),
    **dict.fromkeys(("deliver_notifications", "scheduled_remind_prior", "scheduled_auto_in_progress"), bool),
    **dict.fromkeys(("scheduled_auto_completed", "auto_transition_to_maintenance_state"), bool),
    "auto_transition_to_operational_state": bool,
    "components": dict,
    "component_ids": list,
    "metadata": dict,
}


class StatuspageApi(HostedPages):
    """The API of Statuspage, with all its pages."""

    def __init__(self, clock: FakeClock, switches: Switches) -> None:
        super().__init__(clock, switches, OPERATIONAL)
        self._limit = RequestLimit(clock, CALLS, PERIOD)

    def answer(self, request: HttpRequest) -> HttpResponse:
        try:
            return self._answer(request)
        except PageRefusal as refusal:
            said = json_response(refusal.status, {"message": refusal.message})
            said.headers += refusal.headers
            return said

    def _answer(self, request: HttpRequest) -> HttpResponse:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme != "OAuth" or not any(key in page.keys for page in self._pages.values()):
            raise PageRefusal(401, "Could not authenticate")
        if seconds := self._limit.seconds_to_wait(key):
            raise PageRefusal(
                self._switches.statuspage_limit_status, "Rate limit exceeded", [("retry-after", str(seconds))]
            )
        match request.path.removesuffix(".json").split("/"):
            case ["", "v1", "pages", page_id, *rest] if key in getattr(self._pages.get(page_id), "keys", ()):
                page = self._pages[page_id]
            case _:
                raise PageRefusal(404, "The requested resource could not be found.")
        page.requests.append(RequestRecord.from_request(request, at=self._clock.now(), unknown=False))
        return self._answer_page(page, request, rest)

    def _answer_page(self, page: HostedPage, request: HttpRequest, rest: list[str]) -> HttpResponse:
        match (request.method, rest):
            case ("GET", []):
                return json_response(200, {"id": page.id, "name": page.name, "subdomain": page.id})
            case ("GET", ["components"]):
                return json_response(200, self._cut([self._component(page, each) for each in page.names], request))
            case ("GET", ["incidents"]):
                listed = page.incidents if self._switches.status_page_oldest_first else page.incidents[::-1]
                return json_response(200, self._cut([self._incident(page, each) for each in listed], request, "limit"))
            case ("GET", ["incidents", incident]):
                return json_response(200, self._incident(page, page.find_incident(incident)))
            case ("POST", ["incidents"]):
                return json_response(201, self._incident(page, self._create(page, self._read_body(request))))
            case ("PATCH", ["incidents", incident]):
                changed = self._change(page, page.find_incident(incident), self._read_body(request))
                return json_response(200, self._incident(page, changed))
        raise PageRefusal(404, "The requested resource could not be found.")

    def _cut(self, rows: list[Any], request: HttpRequest, size: str = "per_page") -> list[Any]:
        most = read_number(request, size, MOST_LISTED, MOST_LISTED)
        first = (read_number(request, "page", 1, 10_000) - 1) * most
        return rows[first : first + most]

    def _read_body(self, request: HttpRequest) -> dict[str, Any]:
        body = parse_body(request)
        if not isinstance(body, dict) or body.keys() != {"incident"}:
            raise PageRefusal(400, "incident is missing, or the content type does not match the body")
        given = read_fields(body["incident"], _TYPES, (), status=422)
        if len(given.get("name", "")) > LONGEST_NAME:
            raise PageRefusal(422, f"name is too long (maximum is {LONGEST_NAME} characters)")
        if len(given.get("body", "")) > LONGEST_BODY:
            raise PageRefusal(422, f"body is too long (maximum is {LONGEST_BODY} characters)")
        if any(not isinstance(value, dict) for value in given.get("metadata", {}).values()):
            raise PageRefusal(422, "all top-level values of metadata must be objects")
        if any(state not in STATES for state in given.get("components", {}).values()):
            raise PageRefusal(422, "components has an invalid status")
        return given

    def _create(self, page: HostedPage, given: dict[str, Any]) -> PageIncident:
        if not given.get("name"):
            raise PageRefusal(422, "name can't be blank")
        times = [
            read_time(given[each], each, status=422) for each in ("scheduled_for", "scheduled_until") if each in given
        ]
        status = given.get("status", REALTIME[0])
        if status in SCHEDULED and (len(times) != 2 or times[0] >= times[1]):
            raise PageRefusal(422, "a scheduled incident needs scheduled_for before scheduled_until")
        if status in REALTIME and times:
            raise PageRefusal(422, "a realtime incident has no scheduled_for")
        now = self._clock.now()
        starts, ends = times or (None, None)
        incident = PageIncident(
            id=make_id(),
            name=given["name"],
            status=status,
            created=now,
            began=now,
            components=[],
            starts=starts,
            ends=ends,
        )
        self._change(page, incident, {**given, "status": status})
        page.incidents.append(incident)
        return incident

    def _change(self, page: HostedPage, incident: PageIncident, given: dict[str, Any]) -> PageIncident:
        status = given.get("status", incident.status)
        if status not in (SCHEDULED if incident.is_maintenance else REALTIME):
            raise PageRefusal(422, f"status {status} is not valid for this incident")
        states, named = given.get("components", {}), given.get("component_ids", incident.components)
        page.check_components((*states, *named), status=422)
        incident.components = list(named)
        incident.name = given.get("name", incident.name)
        former = {} if not self._switches.statuspage_metadata_merged else incident.metadata
        incident.metadata = {**former, **given["metadata"]} if "metadata" in given else incident.metadata
        notify = given.get("deliver_notifications", True)
        if given.keys() & {"body", "status", "components"}:
            page.add_update(incident, status, given.get("body", ""), states, at=self._clock.now(), notify=notify)
        return incident

    def _component(self, page: HostedPage, component: str) -> dict[str, Any]:
        return {
            "id": component,
            "page_id": page.id,
            "name": page.names[component],
            "status": page.states[component],
            "group": False,
            "group_id": None,
            "description": None,
        }

    def _incident(self, page: HostedPage, incident: PageIncident) -> dict[str, Any]:
        worst = max((page.states[each] for each in incident.components), key=STATES.index, default=OPERATIONAL)
        return {
            "id": incident.id,
            "page_id": page.id,
            "name": incident.name,
            "status": incident.status,
            "impact": "maintenance" if incident.is_maintenance else _IMPACT.get(worst, "none"),
            "metadata": incident.metadata,
            "created_at": timestamp(incident.created),
            "scheduled_for": incident.starts and timestamp(incident.starts),
            "scheduled_until": incident.ends and timestamp(incident.ends),
            "shortlink": f"https://stspg.io/{incident.id}",
            "components": [self._component(page, each) for each in incident.components],
            "incident_updates": [self._update(page, incident, each) for each in reversed(incident.updates)],
        }

    def _update(self, page: HostedPage, incident: PageIncident, update: PageUpdate) -> dict[str, Any]:
        affected = [
            {"code": code, "name": page.names[code], "new_status": state} for code, state in update.components.items()
        ]
        return {
            "id": update.id,
            "incident_id": incident.id,
            "status": update.status,
            "body": update.text,
            "created_at": timestamp(update.at),
            "display_at": timestamp(update.at),
            "deliver_notifications": update.notify,
            "affected_components": affected or None,
        }
