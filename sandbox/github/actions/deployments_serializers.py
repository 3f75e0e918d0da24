"""Deployments and their statuses.

docs.github.com/rest/deployments
"""

from typing import Any

from sandbox.github.actions.state import Deployment
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
