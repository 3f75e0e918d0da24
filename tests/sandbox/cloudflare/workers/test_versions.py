"""Worker versions in the API: lists, details and deployability."""

from typing import Any

import pytest

from sandbox import Sandbox
from tests.sandbox.conftest import WORKER, Api, Releases


def _ids(items: list[dict[str, Any]]) -> list[str]:
    return [item["id"] for item in items]


def test_deployable_versions_are_newest_first_without_paging(api: Api, releases: Releases) -> None:
    items = api.script("GET", "versions?deployable=true&page=2&per_page=1").result["items"]
    assert _ids(items) == [releases.bad, releases.good]
    assert [item["number"] for item in items] == [2, 1]


def test_at_most_100_versions_are_deployable(api: Api, sandbox: Sandbox) -> None:
    ids = [sandbox.upload(WORKER) for _ in range(103)]
    assert _ids(api.script("GET", "versions?deployable=true").result["items"]) == ids[:2:-1]


def test_migration_or_missing_binding_makes_version_undeployable(api: Api, sandbox: Sandbox) -> None:
    sandbox.upload(WORKER)
    sandbox.upload(WORKER, migration_tag="v1", bindings=[{"type": "queue", "name": "Q", "queue_name": "jobs"}])
    last = sandbox.upload(WORKER)
    sandbox.delete_resource("jobs")
    assert _ids(api.script("GET", "versions?deployable=true").result["items"]) == [last]


def test_versions_are_paged(api: Api, sandbox: Sandbox) -> None:
    ids = [sandbox.upload(WORKER) for _ in range(5)]
    answer = api.script("GET", "versions?page=2&per_page=2")
    assert _ids(answer.result["items"]) == [ids[2], ids[1]]
    assert answer.response.json()["result_info"] == {"page": 2, "per_page": 2, "count": 2, "total_count": 5}
    assert api.script("GET", "versions?page=4&per_page=2").result["items"] == []


@pytest.mark.parametrize("query", ["page=0", "page=x", "per_page=101", "per_page=-1"])
def test_invalid_page_is_refused(api: Api, releases: Releases, query: str) -> None:
    assert api.script("GET", f"versions?{query}").error == (400, 10026)


def test_version_shows_variables_and_only_secret_names(api: Api, sandbox: Sandbox) -> None:
    sandbox.switches.assets_binding_shown = True
    version = sandbox.upload(WORKER, vars={"MODE": "prod"}, secrets={"KEY": "hidden"}, tag="4.1.0", assets=True)
    detail = api.script("GET", f"versions/{version}").result
    assert detail["resources"]["bindings"] == [
        {"type": "plain_text", "name": "MODE", "text": "prod"},
        {"type": "version_metadata", "name": "CF_VERSION_METADATA"},
        {"type": "assets", "name": "ASSETS"},
        {"type": "secret_text", "name": "KEY"},
    ]
    assert detail["annotations"] == {"workers/tag": "4.1.0", "workers/triggered_by": "upload"}
    assert detail["metadata"]["author_email"] == "ci@example.com"
    assert "hidden" not in str(detail)


def test_etag_depends_only_on_code(api: Api, sandbox: Sandbox) -> None:
    versions = [
        sandbox.upload(WORKER, code="a"),
        sandbox.upload(WORKER, code="a", vars={"MODE": "prod"}, compatibility_date="2025-01-01"),
        sandbox.upload(WORKER, code="b"),
    ]
    etags = [api.script("GET", f"versions/{id_}").result["resources"]["script"]["etag"] for id_ in versions]
    assert etags[0] == etags[1] != etags[2]


def test_migration_tag_is_shown_after_deployment_or_with_switch(api: Api, sandbox: Sandbox) -> None:
    version = sandbox.upload(WORKER, migration_tag="v1")

    def runtime() -> dict[str, Any]:
        shown: dict[str, Any] = api.script("GET", f"versions/{version}").result["resources"]["script_runtime"]
        return shown

    assert "migration_tag" not in runtime()
    sandbox.switches.migration_tag_before_deploy = True
    assert runtime()["migration_tag"] == "v1"
    sandbox.switches.migration_tag_before_deploy = False
    sandbox.deploy(WORKER, version)
    assert runtime()["migration_tag"] == "v1"


def test_unknown_version_returns_100146(api: Api, releases: Releases) -> None:
    assert api.script("GET", "versions/none").error == (404, 100146)


def test_version_keeps_previous_secrets(sandbox: Sandbox, api: Api, releases: Releases) -> None:
    sandbox.put_secret(WORKER, "KEY", "1")
    version = sandbox.upload(WORKER)
    assert {"type": "secret_text", "name": "KEY"} in api.script("GET", f"versions/{version}").result["resources"][
        "bindings"
    ]


def test_bindings_include_cloudflare_fields(api: Api, sandbox: Sandbox) -> None:
    """Field names follow the API reference: both IDs of a database, and the namespace of a class."""
    bound = [
        {"type": "d1", "name": "DB", "id": "orders"},
        {"type": "durable_object_namespace", "name": "ROOM", "class_name": "Room"},
        {"type": "durable_object_namespace", "name": "FAR", "class_name": "Room", "script_name": "other"},
    ]
    version = sandbox.upload(WORKER, bindings=bound, durable_objects=["Room"])

    answered = api.script("GET", f"versions/{version}").result["resources"]["bindings"]
    found = {binding["name"]: binding for binding in answered}

    assert found["DB"] == {**bound[0], "database_id": "orders"}
    assert found["ROOM"].items() > bound[1].items()
    assert found["FAR"]["namespace_id"] != found["ROOM"]["namespace_id"]
