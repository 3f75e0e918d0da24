"""Deployments, one for each job that used an environment, and the statuses that lead to its log."""

from sandbox.github.actions import deployments_serializers as shapes
from sandbox.github.actions.state import Deployment
from sandbox.github.routing import REPO, Answer, Call, Routes, not_found

ROUTES = Routes()
_DEPLOYMENTS = REPO + "/deployments"


@ROUTES.add("GET", _DEPLOYMENTS, "deployments:read", "deployments/deployments#list-deployments")
def list_deployments(call: Call) -> Answer:
    """Newest first."""
    asked = {name: call.query.get(name) for name in ("sha", "ref", "environment")}
    found = [
        one
        for one in sorted(call.repository.deployments.values(), key=lambda one: one.created_at, reverse=True)
        if all(wanted in {None, getattr(one, name)} for name, wanted in asked.items())
    ]
    return call.page(found, lambda one: shapes.deployment(one, call.urls))


@ROUTES.add(
    "GET",
    _DEPLOYMENTS + "/{deployment_id}/statuses",
    "deployments:read",
    "deployments/statuses#list-deployment-statuses",
)
def list_statuses(call: Call) -> Answer:
    """One, the latest: the sandbox keeps no others."""
    found: Deployment | None = call.repository.deployments.get(call.number("deployment_id"))
    if found is None:
        raise not_found()
    return call.page([found], lambda one: shapes.status(one, call.urls))
