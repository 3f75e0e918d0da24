"""Worker secrets in the API: edits, versions, and values in use."""

import hashlib
import json
from typing import Any

import httpx
import pytest

from sandbox import Sandbox
from tests.sandbox.conftest import WORKER, Api, Releases

MERGE_PATCH = {"content-type": "application/merge-patch+json"}


def _secret(name: str, text: str = "1") -> dict[str, str]:
    return {"name": name, "text": text, "type": "secret_text"}


def _names(api: Api) -> list[str]:
    return [secret["name"] for secret in api.script("GET", "secrets").result]


def test_secret_edit_deploys_version_with_same_code(api: Api, releases: Releases) -> None:
    assert api.script("PUT", "secrets", json=_secret("KEY")).result == {"name": "KEY", "type": "secret_text"}
    (version,) = api.sandbox.live(WORKER)
    made, former = (api.script("GET", f"versions/{id_}").result for id_ in (version, releases.bad))
    assert made["resources"]["script"]["etag"] == former["resources"]["script"]["etag"]
    assert made["annotations"] == {"workers/triggered_by": "secret"}
    assert api.sandbox.deployments(WORKER)[0].annotations["workers/triggered_by"] == "secret"
    assert _names(api) == ["KEY"]


def test_bulk_secret_edit_creates_one_version(api: Api, releases: Releases) -> None:
    api.sandbox.put_secret(WORKER, "OLD", "1")
    api.sandbox.put_secret(WORKER, "STAYS", "1")
    edits = {"A": _secret("A"), "B": _secret("B"), "OLD": None}
    before = len(api.sandbox.deployments(WORKER))
    assert api.script("PATCH", "secrets-bulk", json={"secrets": edits}, headers=MERGE_PATCH).status == 200
    assert _names(api) == ["STAYS", "A", "B"]
    assert len(api.sandbox.deployments(WORKER)) == before + 1


def test_secret_is_deleted_by_name(api: Api, releases: Releases) -> None:
    api.sandbox.put_secret(WORKER, "MY KEY", "1")
    assert api.script("DELETE", "secrets/MY%20KEY?url_encoded=true").result is None
    assert _names(api) == []
    assert api.script("DELETE", "secrets/MY%20KEY").error == (404, 10056)


def test_secrets_cannot_be_edited_after_rollback(api: Api, releases: Releases) -> None:
    api.sandbox.put_secret(WORKER, "KEY", "1")
    api.deploy(releases.good, force=True)
    assert api.script("PUT", "secrets", json=_secret("KEY")).error == (400, 10215)
    assert api.script("DELETE", "secrets/KEY").error == (400, 10215)
    bulk = {"secrets": {"KEY": _secret("KEY")}}
    assert api.script("PATCH", "secrets-bulk", json=bulk, headers=MERGE_PATCH).error == (400, 10214)


def test_secrets_cannot_be_edited_during_split(api: Api, releases: Releases) -> None:
    api.deploy(releases.good, releases.bad)
    assert api.script("PUT", "secrets", json=_secret("KEY")).error == (400, 10215)


def test_secret_edit_can_end_split_with_switch(api: Api, releases: Releases) -> None:
    api.sandbox.switches.secret_edit_ends_split = True
    api.deploy(releases.good, releases.bad)
    assert api.script("PUT", "secrets", json=_secret("KEY")).status == 200
    (live,) = api.sandbox.live(WORKER)
    made, bad = (api.script("GET", f"versions/{id_}").result["resources"]["script"] for id_ in (live, releases.bad))
    assert made["etag"] == bad["etag"]
    api.deploy(releases.good, force=True)
    assert api.script("PUT", "secrets", json=_secret("KEY")).error == (400, 10215)


@pytest.mark.parametrize(
    "body", [{"name": "A", "text": "1"}, _secret("A") | {"type": "plain_text"}, _secret("A") | {"text": 1}, {}]
)
def test_invalid_secret_is_refused(api: Api, releases: Releases, body: dict[str, Any]) -> None:
    assert api.script("PUT", "secrets", json=body).error == (400, 10026)
    bulk = {"secrets": {"A": body}}
    assert api.script("PATCH", "secrets-bulk", json=bulk, headers=MERGE_PATCH).error == (400, 10026)


def test_bulk_secret_edit_accepts_plain_json(api: Api, releases: Releases) -> None:
    """Cloudflare's SDKs send plain JSON."""
    api.sandbox.deploy(WORKER, api.sandbox.latest(WORKER))
    assert api.script("PATCH", "secrets-bulk", json={"secrets": {"A": _secret("A")}}).status == 200


def test_bulk_secret_edit_checks_type_keys_and_size(api: Api, releases: Releases) -> None:
    assert api.script("PATCH", "secrets-bulk", content=b"{}", headers={"content-type": "text/plain"}).status == 400
    crossed = {"secrets": {"A": _secret("B")}}
    assert api.script("PATCH", "secrets-bulk", json=crossed, headers=MERGE_PATCH).error == (400, 10026)
    many = {"secrets": {f"S{n}": _secret(f"S{n}") for n in range(101)}}
    assert api.script("PATCH", "secrets-bulk", json=many, headers=MERGE_PATCH).error == (400, 100160)


def test_version_secret_creates_undeployed_version(api: Api, releases: Releases) -> None:
    api.deploy(releases.good)
    body = {"env": {"KEY": {"type": "secret_text", "text": "1"}}, "annotations": {"workers/message": "rotate"}}
    made = api("PATCH", f"workers/{WORKER}/versions/latest", json=body, headers=MERGE_PATCH).result
    bad = api.script("GET", f"versions/{releases.bad}").result
    assert made["resources"]["script"]["etag"] == bad["resources"]["script"]["etag"]
    assert made["annotations"] == {"workers/message": "rotate", "workers/triggered_by": "secret"}
    assert api.sandbox.live(WORKER) == {releases.good: 100}


def test_python_secret_edit_equals_api_edit(api: Api, sandbox: Sandbox) -> None:
    sandbox.deploy(WORKER, sandbox.upload(WORKER))
    version = sandbox.put_secret(WORKER, "KEY", "1")
    assert sandbox.live(WORKER) == {version: 100}
    assert _names(api) == ["KEY"]


@pytest.mark.parametrize("restored", [False, True])
def test_edge_shows_secret_value_in_use(api: Api, edge: httpx.Client, sandbox: Sandbox, restored: bool) -> None:
    sandbox.switches.propagation_seconds = 0
    sandbox.switches.forced_rollback_restores_secrets = restored
    old = sandbox.upload(WORKER, behaviour={"secrets": ["KEY", "NONE"]}, secrets={"KEY": "old"})
    sandbox.deploy(WORKER, old)
    assert _served(edge) == {"KEY": _digest("old"), "NONE": None}
    api.script("PUT", "secrets", json=_secret("KEY", "new"))
    assert _served(edge)["KEY"] == _digest("new")
    api.deploy(old, force=True)
    assert _served(edge)["KEY"] == _digest("old" if restored else "new")


def test_reuploaded_version_inherits_latest_secrets(
    api: Api, edge: httpx.Client, sandbox: Sandbox, releases: Releases
) -> None:
    """Upload the live code after a rollback with one new secret. Secrets can then be edited again."""
    sandbox.put_secret(WORKER, "KEY", "leaked")
    sandbox.put_secret(WORKER, "OTHER", "kept")
    api.deploy(releases.good, force=True)
    behaviour = {"type": "plain_text", "name": "SANDBOX_BEHAVIOUR", "text": '{"secrets": ["KEY", "OTHER"]}'}
    bindings = [behaviour, _secret("KEY", "new"), {"type": "inherit", "name": "OTHER"}]
    files = {
        "metadata": (None, json.dumps({"main_module": "index.js", "bindings": bindings})),
        "index.js": ("index.js", b"good", "application/javascript+module"),
    }
    made = api.script("POST", "versions?bindings_inherit=strict", files=files).result
    good = api.script("GET", f"versions/{releases.good}").result
    assert made["resources"]["script"]["etag"] == good["resources"]["script"]["etag"]
    assert api.deploy(made["id"]).status == 200
    sandbox.clock.advance(5)
    assert _served(edge) == {"KEY": _digest("new"), "OTHER": _digest("kept")}
    assert api.script("PUT", "secrets", json=_secret("THIRD")).status == 200


def _served(edge: httpx.Client) -> dict[str, str | None]:
    served: dict[str, str | None] = edge.get("/health").json()["secrets"]
    return served


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()
