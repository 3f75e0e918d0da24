"""Zones, Workers routes and custom domains. They are unversioned: no rollback restores them."""

import re
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

from sandbox.cloudflare.call import (
    CloudflareAnswer,
    CloudflareCall,
    CloudflareRefusal,
    NoRouteRefusal,
    Routes,
    fields,
    invalid,
    json_body,
)
from sandbox.cloudflare.zones.state import FakeCustomDomain, FakeWorkerRoute, FakeZone, is_pattern, split_pattern

ROUTES = Routes()
_CREATED = "2026-01-01T00:00:00.000000Z"
_ROUTES = "/zones/{zone}/workers/routes"
_DOMAINS = "/accounts/{account}/workers/domains"


@ROUTES.add("GET", "/zones")
def list_zones(call: CloudflareCall) -> CloudflareAnswer:
    # developers.cloudflare.com/api/resources/zones/methods/list
    query, zones = call.request.query, list(call.account.zones.all.values())
    page, per_page = int(query.get("page", "1")), int(query.get("per_page", "20"))
    found = [zone for zone in zones if query.get("name", zone.name) == zone.name]
    shown = [_zone(call, zone) for zone in found[(page - 1) * per_page : page * per_page]]
    info = {"page": page, "per_page": per_page, "count": len(shown), "total_count": len(found)}
    return CloudflareAnswer(shown, result_info={**info, "total_pages": -(-len(found) // per_page)})


@ROUTES.add("GET", "/zones/{zone}")
def get_zone(call: CloudflareCall) -> CloudflareAnswer:
    return CloudflareAnswer(_zone(call, _find_zone(call)))


@ROUTES.add("GET", _ROUTES)
def list_routes(call: CloudflareCall) -> CloudflareAnswer:
    """Return all routes of the zone in one list.

    developers.cloudflare.com/api/resources/workers/subresources/routes
    """
    return CloudflareAnswer([_to_json(route) for route in _find_zone(call).routes.values()])


@ROUTES.add("POST", _ROUTES)
def create_route(call: CloudflareCall) -> CloudflareAnswer:
    zone = _find_zone(call)
    pattern, script = _check_route(call, zone)
    return CloudflareAnswer(_to_json(call.account.zones.add_route(zone, pattern, script)))


@ROUTES.add("GET", _ROUTES + "/{route}")
def get_route(call: CloudflareCall) -> CloudflareAnswer:
    return CloudflareAnswer(_to_json(_find_route(call)))


@ROUTES.add("PUT", _ROUTES + "/{route}")
def put_route(call: CloudflareCall) -> CloudflareAnswer:
    zone, route = _find_zone(call), _find_route(call)
    pattern, script = _check_route(call, zone, route)
    return CloudflareAnswer(_to_json(call.account.zones.add_route(zone, pattern, script, id=route.id)))


@ROUTES.add("DELETE", _ROUTES + "/{route}")
def delete_route(call: CloudflareCall) -> CloudflareAnswer:
    route = _find_route(call)
    del _find_zone(call).routes[route.id]
    return CloudflareAnswer({"id": route.id})


@ROUTES.add("PUT", "/accounts/{account}/workers/scripts/{script}/routes")
def put_routes(call: CloudflareCall) -> CloudflareAnswer:
    """Replace all routes of a script in all zones. Undocumented: wrangler uses it [unsure: wrangler-routes]."""
    name, body, zones = call.worker.name, json_body(call.request), call.account.zones
    if not isinstance(body, list):
        raise invalid("body", "must be a list")
    known = {"zone_id": str, "zone_name": str}
    wanted = [fields(each, required={"pattern": str}, optional=known, at=f"body[{i}]") for i, each in enumerate(body)]
    found = [(each["pattern"], zones.find(split_pattern(each["pattern"])[0].lstrip("*."))) for each in wanted]
    for pattern, zone in found:
        if zone is None or not is_pattern(pattern, zone):
            raise CloudflareRefusal(_BAD_PATTERN, f"Route pattern {pattern} is not valid in any zone of this account.")
        if any(route.pattern == pattern and route.script != name for route in zone.routes.values()):
            raise CloudflareRefusal(_SAME_PATTERN, "A route with the same pattern already exists.", status=409)
    for zone in zones.all.values():
        zone.routes = {id_: route for id_, route in zone.routes.items() if route.script != name}
    for pattern, zone in found:
        assert zone is not None
        zones.add_route(zone, pattern, name)
    return CloudflareAnswer([pattern for pattern, _ in found])


@ROUTES.add("GET", _DOMAINS)
def list_domains(call: CloudflareCall) -> CloudflareAnswer:
    # developers.cloudflare.com/api/resources/workers/subresources/domains
    return CloudflareAnswer([_domain(domain) for domain in call.account.zones.domains.values()])


@ROUTES.add("PUT", _DOMAINS)
def put_domain(call: CloudflareCall) -> CloudflareAnswer:
    known = {"environment": str, "zone_id": str, "zone_name": str}
    body = fields(json_body(call.request), required={"hostname": str, "service": str}, optional=known)
    zone = call.account.zones.find(body["hostname"])
    if zone is None or body.get("zone_id", zone.id) != zone.id or body.get("zone_name", zone.name) != zone.name:
        raise invalid("body.hostname", "is not in that zone of this account")
    _require_worker(call, body["service"])
    return CloudflareAnswer(_domain(call.account.zones.add_domain(zone, body["hostname"], body["service"])))


@ROUTES.add("DELETE", _DOMAINS + "/{domain}")
def delete_domain(call: CloudflareCall) -> CloudflareAnswer:
    if call.account.zones.domains.pop(call.parameters["domain"], None) is None:
        raise NoRouteRefusal(call.request.path)
    return CloudflareAnswer(None)


def _find_zone(call: CloudflareCall) -> FakeZone:
    """Return the zone named in the path. A zone of another account gets the same refusal as a missing one."""
    zone = call.account.zones.all.get(call.parameters["zone"])
    if zone is None:
        if not re.fullmatch("[0-9a-f]{32}", call.parameters["zone"]):
            raise NoRouteRefusal(call.request.path)
        raise CloudflareRefusal(10000, "Authentication error", status=call.account.switches.auth_error_status)
    return zone


def _find_route(call: CloudflareCall) -> FakeWorkerRoute:
    route = _find_zone(call).routes.get(call.parameters["route"])
    if route is None:
        raise CloudflareRefusal(_NO_ROUTE, "This route does not exist.", status=404)
    return route


def _check_route(call: CloudflareCall, zone: FakeZone, own: FakeWorkerRoute | None = None) -> tuple[str, str | None]:
    body = fields(json_body(call.request), required={"pattern": str}, optional={"script": (str, type(None))})
    pattern, script = body["pattern"], body.get("script") or None
    if not is_pattern(pattern, zone):
        raise CloudflareRefusal(_BAD_PATTERN, f"Route pattern {pattern} is not valid in this zone.")
    is_kept = own is not None and own.pattern == pattern
    if not is_kept and any(route.pattern == pattern for route in zone.routes.values()):
        raise CloudflareRefusal(_SAME_PATTERN, "A route with the same pattern already exists.", status=409)
    if script is not None:
        _require_worker(call, script)
    return pattern, script


_SAME_PATTERN, _BAD_PATTERN, _NO_ROUTE = 10020, 10022, 10009
"""Codes from user reports; none is documented."""


def _require_worker(call: CloudflareCall, name: str) -> None:
    if name not in call.account.workers:
        raise CloudflareRefusal(10007, "This Worker does not exist on your account.", status=404)


def _to_json(route: FakeWorkerRoute) -> dict[str, Any]:
    return {"id": route.id, "pattern": route.pattern, **({"script": route.script} if route.script else {})}


def _domain(domain: FakeCustomDomain) -> dict[str, Any]:
    return {
        "id": domain.id,
        "hostname": domain.hostname,
        "service": domain.service,
        "environment": "production",
        "cert_id": str(uuid5(NAMESPACE_DNS, domain.hostname)),
        "zone_id": domain.zone.id,
        "zone_name": domain.zone.name,
    }


def _zone(call: CloudflareCall, zone: FakeZone) -> dict[str, Any]:
    """Return the zone with every field that Cloudflare's SDKs require.

    developers.cloudflare.com/api/resources/zones
    """
    owner = {"id": call.account.id, "name": "Sandbox"}
    return {
        "id": zone.id,
        "name": zone.name,
        "status": "active",
        "paused": False,
        "type": "full",
        "account": owner,
        "created_on": _CREATED,
        "modified_on": _CREATED,
        "development_mode": 0,
        "meta": {"page_rule_quota": 3, "phishing_detected": False},
        "name_servers": ["ada.ns.cloudflare.com", "bob.ns.cloudflare.com"],
        "owner": {**owner, "type": "organization"},
        "plan": {"id": "0feeeeeeeeeeeeeeeeeeeeeeeeeeeeee", "name": "Free Website", "legacy_id": "free"},
    }
