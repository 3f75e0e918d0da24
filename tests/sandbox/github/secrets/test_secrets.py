"""Secrets, variables and environments."""

from base64 import b64decode, b64encode
from typing import Any

import pytest
from nacl.public import PublicKey, SealedBox

from tests.sandbox.github.conftest import Api


def encrypt(key: dict[str, str], value: str) -> dict[str, str]:
    box = SealedBox(PublicKey(b64decode(key["key"])))
    return {"key_id": key["key_id"], "encrypted_value": b64encode(box.encrypt(value.encode())).decode()}


@pytest.fixture
def admin(api: Api) -> str:
    api.github.add_user("ada", "admin")
    api.github.add_environment("recovery")
    return api.github.add_token("ghp_ada", "ada")


@pytest.fixture(params=[None, "recovery"])
def environment(request: pytest.FixtureRequest) -> str | None:
    """Return no environment (the repository), then `recovery`."""
    return str(request.param) if request.param else None


def secrets(environment: str | None) -> str:
    return f"environments/{environment}/secrets" if environment else "actions/secrets"


def variables(environment: str | None) -> str:
    return f"environments/{environment}/variables" if environment else "actions/variables"


def test_secret_is_encrypted_listed_and_never_returned(api: Api, admin: str, environment: str | None) -> None:
    key = api.get(f"{secrets(environment)}/public-key", token=admin)
    first = api("PUT", f"{secrets(environment)}/cf_token", token=admin, json=encrypt(key, "one"))
    second = api("PUT", f"{secrets(environment)}/CF_TOKEN", token=admin, json=encrypt(key, "two"))
    assert (first.status_code, first.json(), second.status_code) == (201, {}, 204)
    assert api.github.secrets(environment) == {"CF_TOKEN": "two"}
    assert [one["name"] for one in api.get(secrets(environment), token=admin)["secrets"]] == ["CF_TOKEN"]
    assert set(api.get(f"{secrets(environment)}/CF_TOKEN", token=admin)) == {"name", "created_at", "updated_at"}
    assert api("DELETE", f"{secrets(environment)}/CF_TOKEN", token=admin).status_code == 204
    assert api.github.secrets(environment) == {}
    assert api.refusal("DELETE", f"{secrets(environment)}/CF_TOKEN", token=admin)[0] == 404


def test_repository_and_environment_have_own_public_keys(api: Api, admin: str) -> None:
    key = api.get("actions/secrets/public-key", token=admin)
    body = encrypt(key, "one")
    assert api.refusal("PUT", "environments/recovery/secrets/X", token=admin, json=body)[0] == 422
    other = api.get("environments/recovery/secrets/public-key", token=admin)
    swapped = body | {"key_id": other["key_id"]}
    assert api.refusal("PUT", "environments/recovery/secrets/X", token=admin, json=swapped)[0] == 422
    assert api.refusal("GET", "environments/nope/secrets/public-key", token=admin)[0] == 404


@pytest.mark.parametrize("name", ["GITHUB_TOKEN", "1ST", "WITH-DASH", "a%20b"])
def test_invalid_secret_or_variable_name_is_refused(api: Api, admin: str, name: str) -> None:
    key = api.get("actions/secrets/public-key", token=admin)
    assert api.refusal("PUT", f"actions/secrets/{name}", token=admin, json=encrypt(key, "x"))[0] == 422
    assert api.refusal("POST", "actions/variables", token=admin, json={"name": name, "value": "x"})[0] == 422


@pytest.mark.parametrize("body", [{"encrypted_value": "x"}, {"encrypted_value": "x", "key_id": 1}, {"value": "x"}])
def test_unencrypted_secret_is_refused(api: Api, admin: str, body: Any) -> None:
    assert api.refusal("PUT", "actions/secrets/X", token=admin, json=body)[0] == 422


def test_variable_is_created_once_changed_and_deleted(api: Api, admin: str, environment: str | None) -> None:
    path = variables(environment)
    made = api("POST", path, token=admin, json={"name": "region", "value": "eu"})
    assert (made.status_code, made.json()) == (201, {})
    assert api.refusal("POST", path, token=admin, json={"name": "REGION", "value": "us"})[0] == 409
    assert api("PATCH", f"{path}/REGION", token=admin, json={"value": "us"}).status_code == 204
    assert api.get(f"{path}/region", token=admin)["value"] == "us"
    assert api.get(path, token=admin)["total_count"] == 1
    assert api.github.variables(environment) == {"REGION": "us"}
    assert api("DELETE", f"{path}/REGION", token=admin).status_code == 204
    assert api.refusal("GET", f"{path}/REGION", token=admin)[0] == 404


def test_environments_are_created_by_admin_and_listed(api: Api, admin: str, alice: str) -> None:
    assert api.ok("PUT", "environments/security", token=admin)["name"] == "security"
    assert api.refusal("PUT", "environments/other", token=alice)[0] == 403
    assert [one["name"] for one in api.get("environments")["environments"]] == ["recovery", "security"]
    assert api.get("environments/Security")["name"] == "security"
    assert api.refusal("GET", "environments/other")[0] == 404


def test_seeded_secrets_and_variables_are_read(api: Api, admin: str) -> None:
    api.github.put_secret("CF_TOKEN", "one", "recovery")
    api.github.put_variable("REGION", "eu")
    assert api.get("environments/recovery/secrets", token=admin)["total_count"] == 1
    assert api.get("actions/variables/REGION", token=admin)["value"] == "eu"
