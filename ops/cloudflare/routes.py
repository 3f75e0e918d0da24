"""Read zones, Workers routes and custom domains, and change routes.

developers.cloudflare.com/api/resources/workers/subresources/routes
"""

from collections.abc import Mapping
from typing import Any

from ops.cloudflare.client import CloudflareClient, paginate_by_total, reads
from ops.cloudflare.response import (
    HEX_ID,
    CloudflareApiError,
    answer_text_or_empty,
    parse_result,
    require_answer_id,
    require_answer_text,
)
from ops.cloudflare.types.zones import CustomDomain, WorkerRoute, Zone
from ops.core.errors import Reason, UnclearWrite

WORKER_NOT_FOUND = 10007
"""Cloudflare's code for a route to a Worker that does not exist."""


class RoutesApi:
    """Workers routes of an account, in the zones that the token can read. Only the list of zones is paged."""

    def __init__(self, client: CloudflareClient, account_id: str) -> None:
        self._client = client
        self._account = account_id

    @reads("GET /zones")
    def list_zones(self) -> tuple[Zone, ...]:
        """Return the zones that the token can read."""
        page = self._client.list_reader("/zones", "the zones", _parse_zone, params={"account.id": self._account})
        return tuple(paginate_by_total(page))

    @reads("GET /zones/{zone}/workers/routes")
    def list_routes(self, zone: str) -> tuple[WorkerRoute, ...]:
        answer = self._client.read(f"/zones/{zone}/workers/routes")
        return parse_result(
            answer, f"the routes of zone {zone}", lambda: tuple(_parse_route(zone, row) for row in answer.result)
        )

    @reads("GET /accounts/{account}/workers/domains")
    def list_domains(self) -> tuple[CustomDomain, ...]:
        answer = self._client.read(f"/accounts/{self._account}/workers/domains")
        return parse_result(
            answer, "the custom domains", lambda: tuple(_parse_custom_domain(row) for row in answer.result)
        )

    def add_route(self, zone: str, pattern: str, script: str) -> None:
        """Add a route; sent once, like the two writes below. Raises NotApplied, UnclearWrite and CloudflareApiError.

        An existing pattern (HTTP 409) is UnclearWrite: another run may have added the same route.
        """
        body = {"pattern": pattern, "script": script}
        self._write_route("POST", f"/zones/{zone}/workers/routes", json=body)

    def update_route(self, zone: str, route: str, pattern: str, script: str) -> None:
        """Point a route to another Worker. A missing route (HTTP 404) is UnclearWrite, so it is read again."""
        body = {"pattern": pattern, "script": script}
        self._write_route("PUT", f"/zones/{zone}/workers/routes/{route}", json=body)

    def delete_route(self, zone: str, route: str) -> bool:
        """Delete a route; return False if it did not exist.

        The code of that is undocumented; users report 10009 [unsure: route-delete-code].
        """
        try:
            self._client.write("DELETE", f"/zones/{zone}/workers/routes/{route}")
        except CloudflareApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    def _write_route(self, method: str, path: str, **body: Any) -> None:
        try:
            self._client.write(method, path, **body)
        except CloudflareApiError as error:
            if error.status not in {404, 409} or error.code == WORKER_NOT_FOUND:
                raise
            raise UnclearWrite(error.message, reason=Reason.UNCLEAR, hint=error.hint) from None


def _parse_zone(row: Mapping[str, Any]) -> Zone:
    return Zone(require_answer_id(row["id"], HEX_ID), require_answer_text(row["name"]))


def _parse_route(zone: str, row: Mapping[str, Any]) -> WorkerRoute:
    return WorkerRoute(
        zone,
        require_answer_id(row["id"], HEX_ID),
        require_answer_text(row["pattern"]),
        answer_text_or_empty(row.get("script")) or None,
    )


def _parse_custom_domain(row: Mapping[str, Any]) -> CustomDomain:
    return CustomDomain(
        require_answer_id(row["zone_id"], HEX_ID),
        require_answer_text(row["hostname"]),
        require_answer_text(row["service"]),
    )
