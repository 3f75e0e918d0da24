"""Secrets and variables of the repository and its environments."""

from sandbox.github.actions import changes, serializers
from sandbox.github.call import (
    NO_CONTENT,
    REPO,
    GitHubAnswer,
    GitHubCall,
    GitHubRefusal,
    Routes,
    fields,
    not_found,
)
from sandbox.github.environments.api import ENVIRONMENT, find_environment
from sandbox.github.secrets.state import MAX_VALUE_BYTES, SealError, Vault, VaultEntry, is_valid_name

ROUTES = Routes()


def vault(call: GitHubCall) -> Vault:
    """Return the values of the environment in the path, or of the repository."""
    return find_environment(call).vault if "environment" in call.parameters else call.repository.vault


_SECRETS = REPO + "/actions/secrets"
_ENVIRONMENT_SECRETS = ENVIRONMENT + "/secrets"


@ROUTES.add("GET", _SECRETS + "/public-key")
@ROUTES.add("GET", _ENVIRONMENT_SECRETS + "/public-key")
def get_public_key(call: GitHubCall) -> GitHubAnswer:
    own = vault(call)
    return GitHubAnswer(body={"key_id": own.key_id, "key": own.public_key})


@ROUTES.add("GET", _SECRETS)
@ROUTES.add("GET", _ENVIRONMENT_SECRETS)
def list_secrets(call: GitHubCall) -> GitHubAnswer:
    return call.page(vault(call).secrets.values(), serializers.secret, under="secrets")


@ROUTES.add("GET", _SECRETS + "/{name}")
@ROUTES.add("GET", _ENVIRONMENT_SECRETS + "/{name}")
def get_secret(call: GitHubCall) -> GitHubAnswer:
    entry = vault(call).secrets.get(call.parameters["name"].upper())
    if entry is None:
        raise not_found()
    return GitHubAnswer(body=serializers.secret(entry))


@ROUTES.add("PUT", _SECRETS + "/{name}")
@ROUTES.add("PUT", _ENVIRONMENT_SECRETS + "/{name}")
def put_secret(call: GitHubCall) -> GitHubAnswer:
    """Set a secret: 201 with an empty object, or 204 if it already existed."""
    name, own = call.parameters["name"], vault(call)
    if not is_valid_name(name):
        raise GitHubRefusal(422, "Secret name is invalid: use letters, digits and _, without the prefix GITHUB_.")
    body = fields(call, required={"encrypted_value": str, "key_id": str})
    if body["key_id"] != own.key_id:
        raise GitHubRefusal(422, "Bad request - public key id does not match the current one.")
    try:
        value = own.unseal(body["encrypted_value"])
    except SealError as error:
        raise GitHubRefusal(422, "Bad request - encrypted_value is not sealed with the public key.") from error
    if len(value.encode()) > MAX_VALUE_BYTES:
        raise GitHubRefusal(422, f"Secret value is too large: {MAX_VALUE_BYTES} bytes at most.")
    is_new = changes.put_value(call.repository, own.secrets, name, value)
    return GitHubAnswer(status=201, body={}) if is_new else NO_CONTENT


@ROUTES.add("DELETE", _SECRETS + "/{name}")
@ROUTES.add("DELETE", _ENVIRONMENT_SECRETS + "/{name}")
def delete_secret(call: GitHubCall) -> GitHubAnswer:
    if vault(call).secrets.pop(call.parameters["name"].upper(), None) is None:
        raise not_found()
    return NO_CONTENT


_VARIABLES = REPO + "/actions/variables"
_ENVIRONMENT_VARIABLES = ENVIRONMENT + "/variables"


def _find_variable(call: GitHubCall) -> VaultEntry:
    entry = vault(call).variables.get(call.parameters["name"].upper())
    if entry is None:
        raise not_found()
    return entry


@ROUTES.add("GET", _VARIABLES)
@ROUTES.add("GET", _ENVIRONMENT_VARIABLES)
def list_variables(call: GitHubCall) -> GitHubAnswer:
    return call.page(vault(call).variables.values(), serializers.variable, under="variables")


@ROUTES.add("POST", _VARIABLES)
@ROUTES.add("POST", _ENVIRONMENT_VARIABLES)
def create_variable(call: GitHubCall) -> GitHubAnswer:
    body = fields(call, required={"name": str, "value": str})
    _check_variable(body["name"], body["value"])
    if body["name"].upper() in vault(call).variables:
        raise GitHubRefusal(409, "Already exists - Variable already exists")
    changes.put_value(call.repository, vault(call).variables, body["name"], body["value"])
    return GitHubAnswer(status=201, body={})


@ROUTES.add("GET", _VARIABLES + "/{name}")
@ROUTES.add("GET", _ENVIRONMENT_VARIABLES + "/{name}")
def get_variable(call: GitHubCall) -> GitHubAnswer:
    return GitHubAnswer(body=serializers.variable(_find_variable(call)))


@ROUTES.add("PATCH", _VARIABLES + "/{name}")
@ROUTES.add("PATCH", _ENVIRONMENT_VARIABLES + "/{name}")
def update_variable(call: GitHubCall) -> GitHubAnswer:
    entry = _find_variable(call)
    body = {"name": entry.name, "value": entry.value} | fields(call, optional={"name": str, "value": str})
    _check_variable(body["name"], body["value"])
    own = vault(call).variables
    del own[entry.name]
    entry.name, entry.value, entry.updated_at = body["name"].upper(), body["value"], call.repository.now()
    own[entry.name] = entry
    return NO_CONTENT


@ROUTES.add("DELETE", _VARIABLES + "/{name}")
@ROUTES.add("DELETE", _ENVIRONMENT_VARIABLES + "/{name}")
def delete_variable(call: GitHubCall) -> GitHubAnswer:
    del vault(call).variables[_find_variable(call).name]
    return NO_CONTENT


def _check_variable(name: str, value: str) -> None:
    # docs.github.com/actions/reference/workflows-and-actions/variables#naming-conventions-for-configuration-variables
    if not is_valid_name(name):
        raise GitHubRefusal(422, "Variable name is invalid: use letters, digits and _, without the prefix GITHUB_.")
    if len(value.encode()) > MAX_VALUE_BYTES:
        raise GitHubRefusal(422, f"Variable value is too large: {MAX_VALUE_BYTES} bytes at most.")
