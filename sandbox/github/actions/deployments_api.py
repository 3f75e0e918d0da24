"""Deployments, one for each job that used an environment, and the statuses that lead to its log.

docs.github.com/rest/deployments
"""

from typing import Any

from sandbox.github.actions.state import Deployment
from sandbox.github.call import REPO, Access, Answer, Call, Routes, not_found
from sandbox.github.urls import Urls, node_id, timestamp
from sandbox.github.users import serializers


def deployment(one: Deployment, urls: Urls) -> dict[str, Any]:
    at = timestamp(one.created_at)
    path = f"/deployments/{one.id}"
    return {
        "url": urls.repo(path),
        "id": one.id,
        "node_id": node_id("DE", one.id),
        "task": "deploy",
        "original_environment": one.environment,
        "environment": one.environment,
        "description": None,
        "created_at": at,
        "updated_at": at,
        "statuses_url": urls.repo(f"{path}/statuses"),
        "repository_url": urls.repo(),
        "creator": serializers.user(one.creator, urls),
        "sha": one.sha,
        "ref": one.ref,
        "payload": {},
        "transient_environment": False,
        "production_environment": False,
        "performed_via_github_app": None,
    }


def status(one: Deployment, urls: Urls) -> dict[str, Any]:
    at, path = timestamp(one.created_at), f"/deployments/{one.id}"
    log = urls.page(f"/actions/runs/{one.run_id}/job/{one.id}")
    return {
        "url": urls.repo(f"{path}/statuses/{one.id}"),
        "id": one.id,
        "node_id": node_id("DES", one.id),
        "state": one.state,
        "creator": serializers.user(one.creator, urls),
        "description": "",
        "environment": one.environment,
        "target_url": log,
        "created_at": at,
        "updated_at": at,
        "deployment_url": urls.repo(path),
        "repository_url": urls.repo(),
        "environment_url": "",
        "log_url": log,
        "performed_via_github_app": None,
    }


ROUTES = Routes()
_DEPLOYMENTS = REPO + "/deployments"


@ROUTES.add("GET", _DEPLOYMENTS, Access("deployments:read", "deployments/deployments#list-deployments"))
def list_deployments(call: Call) -> Answer:
    """Newest first."""
    asked = {name: call.query.get(name) for name in ("sha", "ref", "environment")}
    found = [
        one
        for one in sorted(call.repository.deployments.values(), key=lambda one: one.created_at, reverse=True)
        if all(wanted in {None, getattr(one, name)} for name, wanted in asked.items())
    ]
    return call.page(found, lambda one: deployment(one, call.urls))


@ROUTES.add(
    "GET",
    _DEPLOYMENTS + "/{deployment_id}/statuses",
    Access("deployments:read", "deployments/statuses#list-deployment-statuses"),
)
def list_statuses(call: Call) -> Answer:
    """One, the latest: the sandbox keeps no others."""
    found: Deployment | None = call.repository.deployments.get(call.number("deployment_id"))
    if found is None:
        raise not_found()
    return call.page([found], lambda one: status(one, call.urls))
