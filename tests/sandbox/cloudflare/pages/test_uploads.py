"""Direct Upload over HTTP: token, files and deployment."""

import base64
import json
from typing import Any

import pytest

from sandbox import Sandbox
from tests.sandbox.conftest import SITE, Answer, Api, Releases

HASH = "0123456789abcdef" * 2


@pytest.fixture
def jwt(api: Api, deployed: Releases) -> str:
    return str(api.site("GET", "upload-token").result["jwt"])


def upload(api: Api, jwt: str, *, key: str = HASH, content: bytes = b"new", **changed: Any) -> Answer:
    item = {"key": key, "value": base64.b64encode(content).decode(), "metadata": {"contentType": "text/html"}}
    return api("POST", "/pages/assets/upload", token=jwt, json=[{**item, "base64": True, **changed}])


def create(api: Api, manifest: Any = None, **fields: str) -> Answer:
    parts = {"manifest": json.dumps({"/index.html": HASH} if manifest is None else manifest), **fields}
    return api.site("POST", "deployments", files={name: (None, value) for name, value in parts.items()})


def test_files_are_uploaded_once_then_deployed(api: Api, sandbox: Sandbox, jwt: str) -> None:
    hashes = {"hashes": [HASH]}
    assert api("POST", "/pages/assets/check-missing", token=jwt, json=hashes).result == [HASH]
    assert upload(api, jwt).status == 200
    assert api("POST", "/pages/assets/check-missing", token=jwt, json=hashes).result == []
    assert api("POST", "/pages/assets/upsert-hashes", token=jwt, json=hashes).status == 200

    made = create(api, branch="main", commit_hash="c" * 40, commit_message="new", commit_dirty="true").result

    assert (made["latest_stage"]["name"], made["latest_stage"]["status"]) == ("queued", "active")
    assert api.site("POST", f"deployments/{made['id']}/rollback").error == (400, 8000000)  # not deployed yet
    stages = [api.site("GET", f"deployments/{made['id']}").result["latest_stage"] for _ in range(2)]
    assert [(s["name"], s["status"]) for s in stages] == [("queued", "active"), ("deploy", "success")]
    assert made["deployment_trigger"] == {
        "type": "ad_hoc",
        "metadata": {"branch": "main", "commit_hash": "c" * 40, "commit_message": "new", "commit_dirty": True},
    }
    assert sandbox.pages.live(SITE) == made["id"]


@pytest.mark.parametrize(
    ("branch", "environment", "alias"),
    [
        ("main", "production", None),
        ("", "production", None),
        ("Fix/ünlucky", "preview", "fix--nlucky"),
        ("ü", "preview", "preview"),
    ],
)
def test_branch_determines_environment(api: Api, jwt: str, branch: str, environment: str, alias: str | None) -> None:
    upload(api, jwt)
    made = create(api, branch=branch).result
    subdomain = api.site("GET").result["subdomain"]
    assert made["environment"] == environment
    assert made["aliases"] == (alias and [f"https://{alias}.{subdomain}"])


def test_long_message_is_cut_at_384_bytes_between_characters(api: Api, jwt: str) -> None:
    upload(api, jwt)
    made = create(api, commit_message="x" + "é" * 300).result
    assert made["deployment_trigger"]["metadata"]["commit_message"] == "x" + "é" * 191


def test_deployment_includes_functions_and_rules(api: Api, sandbox: Sandbox, jwt: str) -> None:
    upload(api, jwt)
    made = create(api, _headers="/*\n  X: 1", **{"_worker.bundle": "…"}).result
    assert made["uses_functions"] is True
    assert sandbox.pages.deployments(SITE)[0].rules["_headers"] == b"/*\n  X: 1"


@pytest.mark.parametrize(
    ("manifest", "fields"),
    [
        ([], {}),
        ({"/index.html": "f" * 32}, {}),
        ({"index.html": HASH}, {}),
        ({"/index.html": 1}, {}),
        (None, {"surprise": "1"}),
        (None, {"commit_dirty": "yes"}),
    ],
)
def test_invalid_deployment_is_refused_without_effect(
    api: Api, sandbox: Sandbox, deployed: Releases, jwt: str, manifest: Any, fields: dict[str, str]
) -> None:
    upload(api, jwt)
    assert create(api, manifest, **fields).error == (400, 10026)
    assert sandbox.pages.live(SITE) == deployed.bad


def test_deployment_without_manifest_or_form_is_refused(api: Api, deployed: Releases) -> None:
    assert api.site("POST", "deployments", files={"branch": (None, "main")}).error == (400, 10026)
    assert api.site("POST", "deployments", json={}).error == (400, 10026)


@pytest.mark.parametrize(
    "changed", [{"key": "short"}, {"value": "%"}, {"base64": False}, {"metadata": {}}, {"metadata": 1}, {"more": 1}]
)
def test_invalid_file_is_not_stored(api: Api, sandbox: Sandbox, jwt: str, changed: dict[str, Any]) -> None:
    key = changed.pop("key", HASH)
    assert upload(api, jwt, key=key, **changed).error == (400, 10026)
    assert sandbox.pages.assets == {}


def test_invalid_bucket_and_hashes_are_refused(api: Api, jwt: str) -> None:
    assert api("POST", "/pages/assets/upload", token=jwt, json={}).error == (400, 10026)
    for hashes in (["x"], [1], "x"):
        assert api("POST", "/pages/assets/check-missing", token=jwt, json={"hashes": hashes}).error == (400, 10026)


def test_upload_token_is_required_sufficient_and_expires(api: Api, sandbox: Sandbox, jwt: str) -> None:
    claims = json.loads(base64.urlsafe_b64decode(jwt.split(".")[1] + "=="))
    assert claims["max_file_count_allowed"] == 20_000
    signed, _, _ = jwt.rpartition(".")
    for wrong in (sandbox.token, f"{signed}.", f"{signed}.x", "x", ".."):
        answer = api("POST", "/pages/assets/check-missing", token=wrong, json={"hashes": []})
        assert answer.error == (401, 8000013)
    assert api.site("GET", token=jwt).error == (403, 10000)

    sandbox.clock.advance(3599)
    assert api("POST", "/pages/assets/check-missing", token=jwt, json={"hashes": []}).status == 200
    sandbox.clock.advance(1)
    assert api("POST", "/pages/assets/check-missing", token=jwt, json={"hashes": []}).error == (401, 8000013)
