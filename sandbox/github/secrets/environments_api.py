"""Environments, and the vault of one or of the repository."""

from sandbox.github.actions import changes
from sandbox.github.actions import serializers as shapes
from sandbox.github.body import Fields, fields
from sandbox.github.routing import REPO, Answer, Call, Routes, not_found
from sandbox.github.secrets.state import Environment, Vault

ROUTES = Routes()
ENVIRONMENT = REPO + "/environments/{environment}"


def find_environment(call: Call) -> Environment:
    environment = call.repository.environments.get(call.parameters["environment"].lower())
    if environment is None:
        raise not_found()
    return environment


def vault(call: Call) -> Vault:
    """Of the environment in the path, else of the repository."""
    return find_environment(call).vault if "environment" in call.parameters else call.repository.vault


@ROUTES.add("GET", REPO + "/environments", "actions:read", "deployments/environments#list-environments")
def list_environments(call: Call) -> Answer:
    found = call.repository.environments.values()
    return call.page(found, lambda one: shapes.environment(one, call.urls), under="environments")


@ROUTES.add("GET", ENVIRONMENT, "actions:read", "deployments/environments#get-an-environment")
def get_environment(call: Call) -> Answer:
    return Answer(body=shapes.environment(find_environment(call), call.urls))


@ROUTES.add(
    "PUT",
    ENVIRONMENT,
    "administration:write",
    "deployments/environments#create-or-update-an-environment",
    role="admin",
)
def put_environment(call: Call) -> Answer:
    """Its protection rules are accepted and not kept."""
    rules: Fields = {"wait_timer": int, "prevent_self_review": bool, "reviewers": (list, type(None))}
    fields(call, optional={**rules, "deployment_branch_policy": (dict, type(None))})
    made = changes.make_environment(call.repository, call.parameters["environment"])
    return Answer(body=shapes.environment(made, call.urls))
