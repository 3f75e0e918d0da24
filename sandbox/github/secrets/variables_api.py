"""Variables of the repository and of its environments."""

from sandbox.github.actions import changes, serializers
from sandbox.github.call import NO_CONTENT, REPO, Access, Answer, ApiError, Call, Routes, fields, not_found
from sandbox.github.secrets.api import ENVIRONMENT, vault
from sandbox.github.secrets.state import LONGEST_VALUE, Entry, is_allowed

ROUTES = Routes()
_REPOSITORY = REPO + "/actions/variables"
_ENVIRONMENT = ENVIRONMENT + "/variables"


def _find(call: Call) -> Entry:
    entry = vault(call).variables.get(call.parameters["name"].upper())
    if entry is None:
        raise not_found()
    return entry


@ROUTES.add(
    "GET", _REPOSITORY, Access("actions_variables:read", "actions/variables#list-repository-variables", role="write")
)
@ROUTES.add(
    "GET", _ENVIRONMENT, Access("environments:read", "actions/variables#list-environment-variables", role="write")
)
def list_variables(call: Call) -> Answer:
    return call.page(vault(call).variables.values(), serializers.variable, under="variables")


@ROUTES.add("POST", _REPOSITORY, Access("actions_variables:write", "actions/variables#create-a-repository-variable"))
@ROUTES.add("POST", _ENVIRONMENT, Access("environments:write", "actions/variables#create-an-environment-variable"))
def create_variable(call: Call) -> Answer:
    body = fields(call, required={"name": str, "value": str})
    _check(body["name"], body["value"])
    if body["name"].upper() in vault(call).variables:
        raise ApiError(409, "Already exists - Variable already exists")
    changes.put(call.repository, vault(call).variables, body["name"], body["value"])
    return Answer(status=201, body={})


@ROUTES.add(
    "GET",
    _REPOSITORY + "/{name}",
    Access("actions_variables:read", "actions/variables#get-a-repository-variable", role="write"),
)
@ROUTES.add(
    "GET",
    _ENVIRONMENT + "/{name}",
    Access("environments:read", "actions/variables#get-an-environment-variable", role="write"),
)
def get_variable(call: Call) -> Answer:
    return Answer(body=serializers.variable(_find(call)))


@ROUTES.add(
    "PATCH",
    _REPOSITORY + "/{name}",
    Access("actions_variables:write", "actions/variables#update-a-repository-variable"),
)
@ROUTES.add(
    "PATCH", _ENVIRONMENT + "/{name}", Access("environments:write", "actions/variables#update-an-environment-variable")
)
def update_variable(call: Call) -> Answer:
    entry = _find(call)
    body = {"name": entry.name, "value": entry.value} | fields(call, optional={"name": str, "value": str})
    _check(body["name"], body["value"])
    own = vault(call).variables
    del own[entry.name]
    entry.name, entry.value, entry.updated_at = body["name"].upper(), body["value"], call.repository.now()
    own[entry.name] = entry
    return NO_CONTENT


@ROUTES.add(
    "DELETE",
    _REPOSITORY + "/{name}",
    Access("actions_variables:write", "actions/variables#delete-a-repository-variable"),
)
@ROUTES.add(
    "DELETE", _ENVIRONMENT + "/{name}", Access("environments:write", "actions/variables#delete-an-environment-variable")
)
def delete_variable(call: Call) -> Answer:
    del vault(call).variables[_find(call).name]
    return NO_CONTENT


def _check(name: str, value: str) -> None:
    # docs.github.com/actions/reference/workflows-and-actions/variables#naming-conventions-for-configuration-variables
    if not is_allowed(name):
        raise ApiError(422, "Variable name is invalid: it has letters, digits and _ alone, and no GITHUB_ in front.")
    if len(value.encode()) > LONGEST_VALUE:
        raise ApiError(422, f"Variable value is too large: {LONGEST_VALUE} bytes at most.")
