"""Secrets of the repository and of its environments; environments."""

from sandbox.github.actions import changes, serializers
from sandbox.github.call import NO_CONTENT, REPO, Access, Answer, ApiError, Call, Fields, Routes, fields, not_found
from sandbox.github.secrets.state import LONGEST_VALUE, Environment, SealError, Vault, is_allowed

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


@ROUTES.add("GET", REPO + "/environments", Access("actions:read", "deployments/environments#list-environments"))
def list_environments(call: Call) -> Answer:
    found = call.repository.environments.values()
    return call.page(found, lambda one: serializers.environment(one, call.urls), under="environments")


@ROUTES.add("GET", ENVIRONMENT, Access("actions:read", "deployments/environments#get-an-environment"))
def get_environment(call: Call) -> Answer:
    return Answer(body=serializers.environment(find_environment(call), call.urls))


@ROUTES.add(
    "PUT",
    ENVIRONMENT,
    Access("administration:write", "deployments/environments#create-or-update-an-environment", role="admin"),
)
def put_environment(call: Call) -> Answer:
    """Its protection rules are accepted and not kept."""
    rules: Fields = {"wait_timer": int, "prevent_self_review": bool, "reviewers": (list, type(None))}
    fields(call, optional={**rules, "deployment_branch_policy": (dict, type(None))})
    made = changes.make_environment(call.repository, call.parameters["environment"])
    return Answer(body=serializers.environment(made, call.urls))


_REPOSITORY = REPO + "/actions/secrets"
_ENVIRONMENT = ENVIRONMENT + "/secrets"


@ROUTES.add(
    "GET",
    _REPOSITORY + "/public-key",
    Access("secrets:read", "actions/secrets#get-a-repository-public-key", role="write"),
)
@ROUTES.add(
    "GET",
    _ENVIRONMENT + "/public-key",
    Access("environments:read", "actions/secrets#get-an-environment-public-key", role="write"),
)
def get_public_key(call: Call) -> Answer:
    own = vault(call)
    return Answer(body={"key_id": own.key_id, "key": own.public_key})


@ROUTES.add("GET", _REPOSITORY, Access("secrets:read", "actions/secrets#list-repository-secrets", role="write"))
@ROUTES.add("GET", _ENVIRONMENT, Access("environments:read", "actions/secrets#list-environment-secrets", role="write"))
def list_secrets(call: Call) -> Answer:
    return call.page(vault(call).secrets.values(), serializers.secret, under="secrets")


@ROUTES.add(
    "GET", _REPOSITORY + "/{name}", Access("secrets:read", "actions/secrets#get-a-repository-secret", role="write")
)
@ROUTES.add(
    "GET",
    _ENVIRONMENT + "/{name}",
    Access("environments:read", "actions/secrets#get-an-environment-secret", role="write"),
)
def get_secret(call: Call) -> Answer:
    entry = vault(call).secrets.get(call.parameters["name"].upper())
    if entry is None:
        raise not_found()
    return Answer(body=serializers.secret(entry))


@ROUTES.add(
    "PUT", _REPOSITORY + "/{name}", Access("secrets:write", "actions/secrets#create-or-update-a-repository-secret")
)
@ROUTES.add(
    "PUT",
    _ENVIRONMENT + "/{name}",
    Access("environments:write", "actions/secrets#create-or-update-an-environment-secret"),
)
def put_secret(call: Call) -> Answer:
    """201 with an empty object, or 204 where it was there before."""
    name, own = call.parameters["name"], vault(call)
    if not is_allowed(name):
        raise ApiError(422, "Secret name is invalid: it has letters, digits and _ alone, and no GITHUB_ in front.")
    body = fields(call, required={"encrypted_value": str, "key_id": str})
    if body["key_id"] != own.key_id:
        raise ApiError(422, "Bad request - public key id does not match the current one.")
    try:
        value = own.unsealed(body["encrypted_value"])
    except SealError as error:
        raise ApiError(422, "Bad request - encrypted_value is not sealed with the public key.") from error
    if len(value.encode()) > LONGEST_VALUE:
        raise ApiError(422, f"Secret value is too large: {LONGEST_VALUE} bytes at most.")
    is_new = changes.put(call.repository, own.secrets, name, value)
    return Answer(status=201, body={}) if is_new else NO_CONTENT


@ROUTES.add("DELETE", _REPOSITORY + "/{name}", Access("secrets:write", "actions/secrets#delete-a-repository-secret"))
@ROUTES.add(
    "DELETE", _ENVIRONMENT + "/{name}", Access("environments:write", "actions/secrets#delete-an-environment-secret")
)
def delete_secret(call: Call) -> Answer:
    if vault(call).secrets.pop(call.parameters["name"].upper(), None) is None:
        raise not_found()
    return NO_CONTENT
