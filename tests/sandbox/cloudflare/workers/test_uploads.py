"""Uploads of scripts and versions in the API."""

import json
from typing import Any

import pytest

from tests.sandbox.conftest import WORKER, Answer, Api, Releases

MODULE = (
    "index.js",
    b"export default { async fetch() { return new Response('ok') } }",
    "application/javascript+module",
)


def _upload(api: Api, path: str = "versions?bindings_inherit=strict", **metadata: Any) -> Answer:
    parts = {"metadata": (None, json.dumps({"main_module": "index.js"} | metadata)), "index.js": MODULE}
    return api.script("POST", path, files=parts)


def _bindings(api: Api, version: str) -> list[dict[str, Any]]:
    bindings: list[dict[str, Any]] = api.script("GET", f"versions/{version}").result["resources"]["bindings"]
    return bindings


def put_script(api: Api, name: str = WORKER, **metadata: Any) -> Answer:
    parts = {"metadata": (None, json.dumps({"main_module": "index.js"} | metadata)), "index.js": MODULE}
    return api("PUT", f"scripts/{name}?excludeScript=true&bindings_inherit=strict", files=parts)


def test_module_is_found_by_file_name(api: Api) -> None:
    """Cloudflare's SDKs name the parts of a form after their own fields."""
    parts = {"metadata": (None, json.dumps({"main_module": "index.js"})), "files[0]": MODULE}
    assert api("PUT", f"scripts/{WORKER}", files=parts).status == 200


def test_static_assets_require_their_upload_token(api: Api) -> None:
    key = "0" * 32
    manifest = {"/index.html": {"hash": key, "size": 2}}
    session = api("POST", f"scripts/{WORKER}/assets-upload-session", json={"manifest": manifest}).result
    assert session["buckets"] == [[key]]
    bearer, form = {"authorization": f"Bearer {session['jwt']}"}, {key: (key, b"b2s=", "text/html")}
    assert put_script(api, assets={"jwt": session["jwt"]}).error == (400, 10026)
    assert api("POST", "assets/upload?base64=true", files=form).error == (403, 10000)
    done = api("POST", "assets/upload?base64=true", files=form, headers=bearer).result
    assert put_script(api, "other", assets={"jwt": done["jwt"]}).error == (400, 10026)
    assert put_script(api, assets={"jwt": done["jwt"], "config": {}}).status == 200
    (row,) = api("GET", "scripts").result
    assert row["has_assets"]
    again = api("POST", f"scripts/{WORKER}/assets-upload-session", json={"manifest": manifest}).result
    assert again["buckets"] == []


def test_script_upload_creates_version_and_deployment(api: Api) -> None:
    texts = {"workers/message": "first", "workers/tag": "1.0"}
    made = put_script(api, annotations=texts, compatibility_date="2026-09-01", observability={"enabled": True}).result
    (version,) = api.sandbox.live(WORKER)
    assert made["deployment_id"] == version.replace("-", "")
    detail = api.script("GET", f"versions/{version}").result
    assert detail["annotations"] == texts | {"workers/triggered_by": "upload"}
    assert detail["resources"]["script"]["handlers"] == ["fetch"]
    assert detail["resources"]["script_runtime"]["compatibility_date"] == "2026-09-01"
    assert api.script("GET", "script-settings").result == {"observability": {"enabled": True}}


def test_version_upload_does_not_deploy(api: Api, releases: Releases) -> None:
    version = _upload(api).result["id"]
    assert api.script("GET", "versions?deployable=true").result["items"][0]["id"] == version
    assert api.sandbox.live(WORKER) == {releases.bad: 100}


def test_version_read_can_lag(api: Api, releases: Releases) -> None:
    api.sandbox.switches.version_visible_after_reads = 1
    version = _upload(api).result["id"]
    assert api.script("GET", f"versions/{version}").error == (404, 100146)
    assert api.script("GET", f"versions/{version}").status == 200


def test_version_upload_requires_worker(api: Api) -> None:
    assert _upload(api).error == (404, 10007)


def test_version_upload_with_migration_is_refused(api: Api, releases: Releases) -> None:
    assert _upload(api, migrations={"new_tag": "v1", "steps": []}).error == (400, 10211)


def test_migration_must_start_from_current_tag(api: Api) -> None:
    assert put_script(api, migrations={"new_tag": "v1", "steps": []}).status == 200
    assert put_script(api, migrations={"old_tag": "v0", "new_tag": "v2", "steps": []}).error == (400, 10079)
    assert put_script(api, migrations={"old_tag": "v1", "new_tag": "v2", "steps": []}).status == 200
    service = api.get(f"services/{WORKER}").result
    assert service["default_environment"]["script"]["migration_tag"] == "v2"
    assert len(api.script("GET", "versions?deployable=true").result["items"]) == 1


def test_failed_upload_creates_no_worker(api: Api) -> None:
    assert put_script(api, main_module="other.js").error == (400, 10021)
    assert api.get(f"services/{WORKER}").error == (404, 10090)
    assert put_script(api, "Bad.Name").error == (400, 10016)


def test_bindings_of_kept_types_remain(api: Api) -> None:
    text = {"type": "plain_text", "name": "MODE", "text": "prod"}
    secret = {"type": "secret_text", "name": "KEY", "text": "1"}
    put_script(api, bindings=[text, secret])
    kept = _upload(api, keep_bindings=["secret_text"]).result["id"]
    assert _bindings(api, kept) == [{"type": "secret_text", "name": "KEY"}]
    assert _bindings(api, _upload(api).result["id"]) == []


def test_binding_is_inherited_only_from_latest_version(api: Api) -> None:
    put_script(api, bindings=[{"type": "plain_text", "name": "MODE", "text": "prod"}])
    inherit = {"type": "inherit", "name": "NEW", "old_name": "MODE"}
    made = _upload(api, bindings=[inherit | {"version_id": "latest"}]).result["id"]
    assert _bindings(api, made) == [{"type": "plain_text", "name": "NEW", "text": "prod"}]
    assert _upload(api, bindings=[inherit | {"version_id": made}]).error == (400, 10057)


def test_uploaded_settings_are_read_back(api: Api, releases: Releases) -> None:
    """An upload inherits nothing that it does not name."""
    asked: dict[str, Any] = {"usage_model": "bundled", "cache_options": {"enabled": True}, "limits": {"cpu_ms": 5}}
    made = _upload(api, **asked, placement={"mode": "smart"}).result["id"]
    read = api.get(f"workers/{WORKER}/versions/{made}").result
    assert asked.items() <= read.items()
    assert read["placement"] == {"mode": "smart"}
    plain = api.get(f"workers/{WORKER}/versions/{_upload(api).result['id']}").result
    assert (plain["usage_model"], plain["cache_options"]) == ("standard", None)


def test_version_is_found_by_its_message(api: Api, releases: Releases) -> None:
    made = _upload(api, annotations={"workers/message": "ops1 run=r"}).result["id"]
    items = api.script("GET", "versions?page=1&per_page=25").result["items"]
    assert [row["id"] for row in items if row["annotations"].get("workers/message") == "ops1 run=r"] == [made]


def test_missing_inherited_binding_fails_only_when_strict(api: Api, releases: Releases) -> None:
    missing = [{"type": "inherit", "name": "NONE"}]
    assert _upload(api, bindings=missing).error == (400, 10057)
    made = _upload(api, path="versions", bindings=missing).result["id"]
    assert _bindings(api, made) == []


@pytest.mark.parametrize(
    "metadata",
    [
        {"main_module": 1},
        {"body_part": "script"},
        {"bindings": {}},
        {"bindings": ["MODE"]},
        {"bindings": [{"name": "MODE"}]},
        {"bindings": [{"type": "plain_text", "name": "MODE"}]},
        {"bindings": [{"type": "plain_text", "name": "MODE", "text": "a", "value": "b"}]},
        {"annotations": {"workers/alias": "x"}},
        {"compatibility_flags": "nodejs_compat"},
        {"surprise": True},
        {"usage_model": "free"},
    ],
)
def test_invalid_metadata_is_refused(api: Api, releases: Releases, metadata: dict[str, Any]) -> None:
    assert _upload(api, **metadata).error == (400, 10026)


def test_form_without_metadata_is_refused(api: Api, releases: Releases) -> None:
    assert api.script("POST", "versions", files={"index.js": MODULE}).error == (400, 10026)


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data", "multipart/form-data; boundary=x"])
def test_body_without_form_is_refused(api: Api, releases: Releases, content_type: str) -> None:
    answer = api.script("POST", "versions", content=b"{}", headers={"content-type": content_type})
    assert answer.error == (400, 10026)


def test_source_map_does_not_change_etag(api: Api, releases: Releases) -> None:
    def etag(**more: Any) -> str:
        parts = {"metadata": (None, '{"main_module": "index.js"}'), "index.js": MODULE, **more}
        made = api.script("POST", "versions", files=parts).result
        return str(made["resources"]["script"]["etag"])

    plain = etag()
    assert etag(**{"index.js.map": ("index.js.map", b"{}", "application/source-map")}) == plain
    assert etag(**{"more.js": ("more.js", b"", "application/javascript+module")}) != plain


def test_script_settings_and_subdomain_are_not_versioned(api: Api, releases: Releases) -> None:
    assert api.script("PATCH", "script-settings", json={"logpush": True}).result == {"logpush": True}
    assert api.script("PATCH", "script-settings", json={"surprise": True}).error == (400, 10026)
    enabled = {"enabled": True, "previews_enabled": False}
    assert api.script("POST", "subdomain", json={"enabled": True}).result == enabled
    assert api.script("GET", "subdomain").result == enabled
    assert api.script("POST", "subdomain", json={}).error == (400, 10026)
    assert api.get(f"workers/{WORKER}").result["subdomain"] == enabled
    assert api.get("subdomain").result == {"subdomain": "sandbox"}


def test_settings_follow_latest_version(api: Api, releases: Releases) -> None:
    api.sandbox.upload(WORKER, vars={"MODE": "next"}, version_metadata=False)
    assert api.script("GET", "settings").result["bindings"] == [{"type": "plain_text", "name": "MODE", "text": "next"}]


@pytest.mark.parametrize(
    ("code", "handlers"),
    [
        ("export default { async fetch(r) { return ok({ email: 1 }); }, scheduled() {} };", ["fetch", "scheduled"]),
        ("const a = { queue: 1 };\nvar w = {\n  fetch: go\n};\nexport { A, w as default };", ["fetch"]),
        ("export default class extends WorkerEntrypoint {\n  email() {}\n}", ["email"]),
    ],
)
def test_handlers_are_those_of_the_default_export(api: Api, code: str, handlers: list[str]) -> None:
    parts = {"metadata": (None, '{"main_module": "index.js"}'), "index.js": ("index.js", code, MODULE[2])}
    assert api("PUT", f"scripts/{WORKER}", files=parts).status == 200

    (version,) = api.sandbox.live(WORKER)
    assert api.script("GET", f"versions/{version}").result["resources"]["script"]["handlers"] == handlers
