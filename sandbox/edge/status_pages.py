"""Status pages of Cloudflare and GitHub, with recorded documents and scripted incidents.

Both are Atlassian Statuspages: www.cloudflarestatus.com/api, www.githubstatus.com/api. The documents in
`status_documents.json` are written by hand in their format; `tests/probes/test_status_page.py` says what each means.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sandbox.clock import FakeClock, timestamp
from sandbox.hosted_pages import instatus, statuspage
from sandbox.hosted_pages.instatus import InstatusApi
from sandbox.hosted_pages.statuspage import StatuspageApi
from sandbox.server import HttpRequest, HttpResponse, json_response
from sandbox.switches import Switches

OPERATIONAL = "operational"
CLOUDFLARE, GITHUB = "www.cloudflarestatus.com", "www.githubstatus.com"
PRODUCTS = (
    *("API", "Dashboard", "Workers", "Workers KV", "Pages", "D1", "Durable Objects", "R2", "Stream", "CDN/Cache"),
    *("Network", "Authoritative DNS", "DNS Updates", "Recursive DNS", "WARP", "Always Online"),
)
GITHUB_COMPONENTS = ("Git Operations", "Webhooks", "API Requests", "Issues", "Actions", "Pages", "Copilot")
GROUP = "Cloudflare Sites and Services"
_GROUP_ID = "1km35smx8p41"
REGIONS = ("Africa", "Asia", "Europe", "Latin America & the Caribbean", "Middle East", "North America", "Oceania")
"""Groups of the data centers."""
_STAGES = ((0, "investigating"), (15, "identified"), (45, "monitoring"), (60, "resolved"))
"""Minutes after the start of a scripted incident, and its state from then on."""
_SEVERITY = (OPERATIONAL, "under_maintenance", "degraded_performance", "partial_outage", "major_outage")
_INDICATORS = {"major_outage": "critical", "partial_outage": "major", "degraded_performance": "minor"}
_DESCRIPTIONS = {
    "none": "All Systems Operational",
    "minor": "Minor Service Outage",
    "major": "Partial System Outage",
    "critical": "Major Service Outage",
}


@dataclass(frozen=True, kw_only=True)
class StatusIncident:
    """An incident on a status page. A scripted one has `began` and moves through its states."""

    name: str
    components: Mapping[str, str]
    """Component → its status while the incident lasts."""
    impact: str = "major"
    status: str = "investigating"
    began: datetime | None = None
    age: timedelta = timedelta(hours=1)
    """Time since the start of one without `began`."""
    keeps_components: bool = False
    """Whether the page shows the components as operational all the same."""
    earlier: tuple[str, ...] = ()
    """Components that only an earlier update named."""
    ended: tuple[str, ...] = ()
    """Components that an earlier update returned to operational, and that the incident still lists."""

    @property
    def touched_first(self) -> tuple[str, ...]:
        """Components of its first update."""
        return tuple(dict.fromkeys((*self.earlier, *self.ended)))

    def at(self, now: datetime, lag: timedelta) -> "StatusIncident | None":
        """Return the incident as the page shows it; None before its start and after its end."""
        if self.began is None:
            return self
        minutes = (now - lag - self.began) / timedelta(minutes=1)
        states = [state for after, state in _STAGES if after <= minutes]
        if not states or states[-1] == "resolved":
            return None
        changed = dict.fromkeys(self.components, OPERATIONAL) if states[-1] == "monitoring" else self.components
        return StatusIncident(
            name=self.name, components=changed, impact=self.impact, status=states[-1], began=self.began
        )


USUAL_INCIDENTS = (
    StatusIncident(
        name="R2 custom domains are slow",
        components={"R2": "degraded_performance"},
        impact="minor",
        status="identified",
        age=timedelta(days=3),
        earlier=("Workers", "R2"),
    ),
    StatusIncident(name="Delayed e-mails to subscribers", components={}, impact="minor", age=timedelta(days=9)),
)


@dataclass
class StatusPage:
    """One page. `states` holds component → status without incidents."""

    host: str
    name: str
    group: str
    states: dict[str, str]
    data_centers: int = 1
    """Data centers that are closed at present, of which each page of Cloudflare has some."""
    incidents: list[StatusIncident] = field(default_factory=list)
    maintenances: list[Mapping[str, Any]] = field(default_factory=list)
    usual: tuple[StatusIncident, ...] = ()
    """Incidents without meaning for an application, which are open on most days."""
    group_state: str = ""
    """State of the group of products; "" is that of its worst component."""

    def load(self, name: str) -> None:
        """Show a recorded document. Raises KeyError for an unknown name."""
        recorded = read_documents()[name]
        usual = PRODUCTS if self.host == CLOUDFLARE else GITHUB_COMPONENTS
        known = [each for each in usual if each not in recorded.get("omits", [])]
        self.states = dict.fromkeys(known, OPERATIONAL) | recorded.get("components", {})
        self.data_centers = recorded.get("data_centers", 1)
        self.group_state = recorded.get("group_state", "")
        self.incidents = [StatusIncident(**each) for each in recorded.get("incidents", [])]
        self.maintenances = recorded.get("maintenances", [])

    def documents(self, now: datetime, switches: Switches) -> dict[str, dict[str, Any]]:
        """Return path below /api/v2 → document."""
        lag = timedelta(seconds=switches.status_pages_lag_seconds)
        shown = [each for one in (*self.incidents, *self.usual) if (each := one.at(now, lag))]
        states = dict(self.states)
        for incident in shown if not switches.status_pages_contradict else ():
            if not incident.keeps_components:
                states |= {
                    name: max(state, states.get(name, OPERATIONAL), key=_SEVERITY.index)
                    for name, state in incident.components.items()
                }
        if switches.status_pages_contradict:
            usual = dict.fromkeys(states, OPERATIONAL)
            is_calm = all(each in self.usual for each in shown)
            states, shown = (usual | {next(iter(states)): "major_outage"}, []) if is_calm else (usual, [])
        page = {
            "id": self.host.partition(".")[2].partition(".")[0],
            "name": self.name,
            "url": f"https://{self.host}",
            "time_zone": "Etc/UTC",
            "updated_at": timestamp(now - lag),
        }
        components = list(self._components(states, now))
        incidents = [self._incident(number, each, now) for number, each in enumerate(shown)]
        maintenances = [self._maintenance(number, each, now) for number, each in enumerate(self.maintenances)]
        found = {"components": components, "incidents": incidents, "scheduled_maintenances": maintenances}
        active = [each for each in maintenances if each["status"] in {"in_progress", "verifying"}]
        return {
            "summary": {"page": page, **found, "status": self._status(components)},
            "status": {"page": page, "status": self._status(components)},
            "components": {"page": page, "components": components},
            "incidents": {"page": page, "incidents": incidents},
            "incidents/unresolved": {"page": page, "incidents": incidents},
            "scheduled-maintenances": {"page": page, "scheduled_maintenances": maintenances},
            "scheduled-maintenances/active": {"page": page, "scheduled_maintenances": active},
            "scheduled-maintenances/upcoming": {
                "page": page,
                "scheduled_maintenances": [each for each in maintenances if each["status"] == "scheduled"],
            },
        }

    def _components(self, states: Mapping[str, str], now: datetime) -> Iterable[dict[str, Any]]:
        if self.group:
            worst = self.group_state or max(states.values(), key=_SEVERITY.index, default=OPERATIONAL)
            yield self._group(_GROUP_ID, GROUP, worst, [f"c{number}" for number in range(len(states))], now)
            for at, region in enumerate(REGIONS):
                own = range(at, self.data_centers, len(REGIONS))
                state = "partial_outage" if own else OPERATIONAL
                yield self._group(f"r{at}", region, state, [f"p{number}" for number in own], now)
                for number in own:
                    yield self._component(f"p{number}", f"City {number}, Peru - (P{number:02})", state, f"r{at}", now)
        for number, (name, state) in enumerate(states.items()):
            yield self._component(f"c{number}", name, state, _GROUP_ID if self.group else None, now)

    def _group(self, id: str, name: str, state: str, components: list[str], now: datetime) -> dict[str, Any]:  # noqa: A002
        """Return a group of components, which is a component itself (www.cloudflarestatus.com/api)."""
        return self._component(id, name, state, None, now) | {"group": True, "components": components}

    def _component(self, id: str, name: str, state: str, group: str | None, now: datetime) -> dict[str, Any]:  # noqa: A002
        return {
            "id": id,
            "name": name,
            "status": state,
            "created_at": "2014-10-27T21:59:30.264Z",
            "updated_at": timestamp(now),
            "position": 1,
            "description": None,
            "showcase": False,
            "start_date": None,
            "group_id": group,
            "page_id": self.host,
            "group": False,
            "only_show_if_degraded": False,
        }

    def _incident(self, number: int, incident: StatusIncident, now: datetime) -> dict[str, Any]:
        began = timestamp(incident.began or now - incident.age)
        updates = [self._update(number, incident.status, incident.components, began)]
        outage = "major_outage"
        earlier = ((5, incident.ended, OPERATIONAL, outage), (10, incident.touched_first, outage, OPERATIONAL))
        for minutes, names, state, old in earlier:
            if names:  # the newest update comes first
                at = timestamp((incident.began or now - incident.age) - timedelta(minutes=minutes))
                updates.append(self._update(number, "investigating", dict.fromkeys(names, state), at, old=old))
        listed = dict.fromkeys(incident.ended, OPERATIONAL) | dict(incident.components)
        return {
            "id": f"i{number}",
            "name": incident.name,
            "status": incident.status,
            "created_at": began,
            "updated_at": began,
            "monitoring_at": began if incident.status == "monitoring" else None,
            "resolved_at": None,
            "impact": incident.impact,
            "shortlink": f"https://stspg.io/i{number}",
            "started_at": began,
            "page_id": self.host,
            "incident_updates": updates,
            "components": [
                self._component(f"c{at}", name, state, None, now) for at, (name, state) in enumerate(listed.items())
            ],
        }

    def _update(
        self, number: int, status: str, components: Mapping[str, str], at: str, *, old: str = OPERATIONAL
    ) -> dict[str, Any]:
        """Return an update of an incident. Its affected components are null if it names none; `old` is their status."""
        affected = [
            {
                "code": f"c{place}",
                "name": f"{self.group} - {name}" if self.group else name,
                "old_status": old,
                "new_status": state,
            }
            for place, (name, state) in enumerate(components.items())
        ]
        return {
            "id": f"u{number}",
            "status": status,
            "body": f"{self.name} reports: {status}.",
            "incident_id": f"i{number}",
            "created_at": at,
            "updated_at": at,
            "display_at": at,
            "affected_components": affected or None,
        }

    def _maintenance(self, number: int, maintenance: Mapping[str, Any], now: datetime) -> dict[str, Any]:
        own = StatusIncident(
            name=maintenance["name"],
            components=dict.fromkeys(maintenance["components"], "under_maintenance"),
            impact="maintenance",
            status=maintenance["status"],
        )
        times = {"scheduled_for": timestamp(now), "scheduled_until": timestamp(now + timedelta(hours=2))}
        return {**self._incident(number, own, now), **times}

    def _status(self, components: list[dict[str, Any]]) -> dict[str, str]:
        worst = max((each["status"] for each in components), key=_SEVERITY.index, default=OPERATIONAL)
        indicator = _INDICATORS.get(worst, "none")
        return {"indicator": indicator, "description": _DESCRIPTIONS[indicator]}


class StatusPages:
    """Both pages, at their real hosts."""

    def __init__(self, clock: FakeClock, switches: Switches) -> None:
        self._clock, self._switches = clock, switches
        self.cloudflare = StatusPage(
            CLOUDFLARE, "Cloudflare", GROUP, dict.fromkeys(PRODUCTS, OPERATIONAL), usual=USUAL_INCIDENTS
        )
        self.github = StatusPage(GITHUB, "GitHub", "", dict.fromkeys(GITHUB_COMPONENTS, OPERATIONAL))

    def answer(self, host: str, request: HttpRequest) -> HttpResponse | None:
        """Return the response of a status page; None for another host."""
        page = {CLOUDFLARE: self.cloudflare, GITHUB: self.github}.get(host)
        if page is None:
            return None
        time.sleep(self._switches.status_pages_delay_seconds)
        if self._switches.status_pages_unreachable:
            return HttpResponse(status=503, headers=[("content-type", "text/html")], body=b"<html>busy</html>")
        documents = page.documents(self._clock.now(), self._switches)
        found = documents.get(request.path.removeprefix("/api/v2/").removesuffix(".json"))
        if found is None or not request.path.startswith("/api/v2/"):
            return HttpResponse(status=404, headers=[("content-type", "text/html")])
        return json_response(200, found)

    def change(self, body: Any) -> dict[str, Any]:
        """Load a recorded document, or begin a scripted incident now; a handler of the control API.

        Raises ValueError if the body has another form.
        """
        match body:
            case {"page": ("cloudflare" | "github") as name, "document": str(document), **rest} if not rest:
                if document not in read_documents():
                    raise ValueError(f"no status document is called {document}")
                self._page(name).load(document)
            case {
                "page": ("cloudflare" | "github") as name,
                "incident": str(title),
                "components": dict(components),
                **rest,
            } if not rest:
                self.begin_incident(name, title, components)
            case _:
                raise ValueError('expected {"page": "cloudflare", "document": NAME} or an incident with components')
        return {"page": name, "incidents": len(self._page(name).incidents)}

    def begin_incident(self, page: str, name: str, components: Mapping[str, str], *, impact: str = "major") -> None:
        """Begin a scripted incident now. The page shows it after `status_pages_lag_seconds`."""
        incident = StatusIncident(name=name, components=dict(components), impact=impact, began=self._clock.now())
        self._page(page).incidents.append(incident)

    def _page(self, name: str) -> StatusPage:
        return self.cloudflare if name == "cloudflare" else self.github


def read_documents() -> dict[str, dict[str, Any]]:
    """Return name → recorded document, in short form: only deviations from a calm page."""
    found: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "status_documents.json").read_text())
    return found


class PublicSites:
    """Status pages of providers, APIs of the team's own status page, and the status code of the package index."""

    def __init__(self, clock: FakeClock, switches: Switches) -> None:
        self.status = StatusPages(clock, switches)
        self.statuspage, self.instatus = StatuspageApi(clock, switches), InstatusApi(clock, switches)
        self.index_status = 200
        self.answer_site: Callable[[str, HttpRequest], HttpResponse | None] = lambda _host, _request: None
        """Answer for a site on GitHub Pages; None for another host."""

    def answer(self, host: str, request: HttpRequest) -> HttpResponse | None:
        """Return the response of a public site; None for another host."""
        if request.path.startswith("/simple/"):
            return HttpResponse(status=self.index_status, headers=[("content-type", "text/html")])
        match host:
            case statuspage.HOST:
                return self.statuspage.answer(request)
            case instatus.HOST:
                return self.instatus.answer(request)
        return self.status.answer(host, request) or self.answer_site(host, request)
