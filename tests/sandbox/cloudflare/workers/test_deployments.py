"""Worker deployments in the API: lists, splits, rollbacks and refusals."""

from urllib.parse import urlencode

import pytest

from sandbox import Sandbox
from sandbox.clock import timestamp
from tests.sandbox.conftest import WORKER, Api, Releases


def test_deployment_shows_its_creation_fields(api: Api, releases: Releases) -> None:
    made = api.deploy(releases.good, annotations={"workers/message": "back to good"}).result
    assert made == {
        "id": api.sandbox.deployments(WORKER)[0].id,
        "source": "api",
        "strategy": "percentage",
        "author_email": "ci@example.com",
        "created_on": api.http.get(api.sandbox.clock_url).json()["now"],
        "annotations": {"workers/message": "back to good", "workers/triggered_by": "deployment"},
        "versions": [{"version_id": releases.good, "percentage": 100.0}],
    }
    assert api.script("GET", "deployments").result["deployments"][0] == made


def test_deployments_are_newest_first(api: Api, releases: Releases) -> None:
    api.deploy(releases.good)
    listed = api.script("GET", "deployments").result["deployments"]
    assert [d["versions"][0]["version_id"] for d in listed] == [releases.good, releases.bad, releases.good]
    times = [deployment["created_on"] for deployment in listed]
    assert times == sorted(set(times), reverse=True)


def test_deployment_list_has_ten_or_all(api: Api, releases: Releases) -> None:
    for _ in range(10):
        api.deploy(releases.good)
    assert len(api.script("GET", "deployments").result["deployments"]) == 10
    api.sandbox.switches.deployments_listed = None
    assert len(api.script("GET", "deployments").result["deployments"]) == 12


def test_deployments_are_paged_and_filtered_by_time(api: Api, releases: Releases) -> None:
    for _ in range(10):
        api.deploy(releases.good)
    made = api.sandbox.deployments(WORKER)
    oldest, newest = timestamp(made[-1].created_on), timestamp(made[0].created_on)

    def listed(**query: str) -> list[str]:
        answer = api.script("GET", f"deployments?{urlencode(query)}")
        return [deployment["id"] for deployment in answer.result["deployments"]]

    ids = [deployment.id for deployment in made]
    assert (listed(page="2"), listed(page="3")) == (ids[10:], [])
    assert listed(page="2", per_page="5") == ids[5:10]
    assert (listed(until=oldest), listed(since=newest)) == (ids[-1:], ids[:1])
    assert listed(since=oldest, until=newest, per_page="100") == ids
    api.sandbox.switches.deployments_paged = False
    assert listed(page="2", per_page="5", until=oldest) == ids[:10]


@pytest.mark.parametrize("query", ["page=0", "per_page=x", "since=yesterday", "until=2026-11-25"])
def test_invalid_page_or_time_range_is_refused(api: Api, releases: Releases, query: str) -> None:
    assert api.script("GET", f"deployments?{query}").error == (400, 10026)


def test_script_list_shows_static_assets(api: Api, releases: Releases) -> None:
    def listed() -> dict[str, bool | None]:
        return {script["id"]: script.get("has_assets") for script in api.get("scripts").result}

    api.sandbox.upload("site", assets=True)
    assert listed() == {WORKER: False, "site": True}
    api.sandbox.switches.has_assets_listed = False
    assert listed() == {WORKER: None, "site": None}


def test_long_message_is_cut_at_1000_bytes_between_characters(api: Api, releases: Releases) -> None:
    made = api.deploy(releases.good, annotations={"workers/message": "x" + "é" * 600}).result
    assert made["annotations"]["workers/message"] == "x" + "é" * 499


def test_shares_may_be_fractions_or_zero(api: Api, releases: Releases) -> None:
    for shares in ((99.9, 0.1), (100, 0)):
        versions = [
            {"version_id": id_, "percentage": share} for id_, share in zip(vars(releases).values(), shares, strict=True)
        ]
        made = api.script("POST", "deployments", json={"strategy": "percentage", "versions": versions}).result
        assert made["versions"] == versions


def test_missing_version_cannot_be_deployed(api: Api, releases: Releases) -> None:
    assert api.deploy("00000000-0000-4000-8000-000000000000").error == (404, 100146)


def test_deployment_list_can_lag(api: Api, releases: Releases) -> None:
    api.sandbox.switches.deployments_lag_reads = 2
    api.deploy(releases.good)
    seen = [api.script("GET", "deployments").result["deployments"][0]["versions"][0]["version_id"] for _ in range(3)]
    assert seen == [releases.bad, releases.bad, releases.good]


def test_code_update_strategy_is_returned_only_with_switch(api: Api, releases: Releases) -> None:
    made = api.deploy(releases.good, code_update_strategy={"mode": "immediate"}).result
    assert "code_update_strategy" not in made
    api.sandbox.switches.code_update_strategy_answered = True
    strategies = [d["code_update_strategy"] for d in api.script("GET", "deployments").result["deployments"]]
    assert strategies[:2] == [{"mode": "immediate"}, {"mode": "deferred", "max_delay": 300}]


def test_changed_secret_stops_rollback_and_is_named(api: Api, releases: Releases) -> None:
    api.sandbox.put_secret(WORKER, "B", "1")
    api.sandbox.put_secret(WORKER, "A", "1")
    answer = api.deploy(releases.good)
    assert answer.error == (400, 10220)
    assert answer.message.partition("The following secrets have changed: ")[2].split(", ") == ["A", "B"]
    assert api.deploy(releases.good, force=True).status == 200


def test_secret_with_changed_value_stops_rollback(api: Api, sandbox: Sandbox) -> None:
    old = sandbox.upload(WORKER, secrets={"KEY": "old", "SAME": "1"})
    sandbox.deploy(WORKER, old)
    sandbox.put_secret(WORKER, "KEY", "new")
    answer = api.deploy(old)
    assert answer.error == (400, 10220)
    assert answer.message.endswith(": KEY")


@pytest.mark.parametrize("is_checked", [False, True])
def test_changed_secret_stops_version_without_traffic_only_with_switch(
    api: Api, releases: Releases, is_checked: bool
) -> None:
    api.sandbox.switches.secrets_checked_without_traffic = is_checked
    live = api.sandbox.put_secret(WORKER, "A", "1")
    shares = {live: 100, releases.good: 0}
    versions = [{"version_id": version, "percentage": share} for version, share in shares.items()]

    answer = api.script("POST", "deployments", json={"strategy": "percentage", "versions": versions})

    assert (answer.status == 400) == is_checked


def test_forced_rollback_keeps_or_restores_secrets(api: Api, sandbox: Sandbox) -> None:
    old = sandbox.upload(WORKER, secrets={"KEY": "old"})
    sandbox.deploy(WORKER, old)
    new = sandbox.put_secret(WORKER, "KEY", "new")
    api.deploy(old, force=True)
    assert sandbox.deployments(WORKER)[0].secrets == {old: {"KEY": "new"}}
    api.deploy(new)
    sandbox.switches.forced_rollback_restores_secrets = True
    api.deploy(old, force=True)
    assert sandbox.deployments(WORKER)[0].secrets == {old: {"KEY": "old"}}


def test_split_resolves_to_either_version_despite_secrets(api: Api, sandbox: Sandbox) -> None:
    old = sandbox.upload(WORKER, secrets={"KEY": "old"})
    sandbox.deploy(WORKER, old)
    new = sandbox.upload(WORKER, secrets={"KEY": "new"})
    assert api.deploy(old, new).status == 200
    assert api.deploy(old).status == 200
    assert api.deploy(old, new, force=True).status == 200
    assert api.deploy(new).status == 200


def test_only_100_latest_versions_are_deployable(api: Api, releases: Releases) -> None:
    for _ in range(99):
        api.sandbox.upload(WORKER)
    assert api.deploy(releases.good, force=True).error == (400, 10210)
    assert api.deploy(releases.bad, force=True).status == 200


def test_version_with_missing_binding_cannot_be_deployed(api: Api, sandbox: Sandbox) -> None:
    bound = sandbox.upload(WORKER, bindings=[{"type": "kv_namespace", "name": "CACHE", "namespace_id": "n1"}])
    sandbox.delete_resource("n1")
    assert api.deploy(bound, force=True).error == (400, 10041)


def test_forced_rollback_cannot_cross_migration(api: Api, releases: Releases) -> None:
    migrated = api.sandbox.upload(WORKER, migration_tag="v1")
    api.sandbox.deploy(WORKER, migrated)
    answer = api.deploy(releases.good, force=True)
    assert answer.error == (400, 10210)
    assert "migration" in answer.message


def test_deleted_version_stays_in_deployment_history(api: Api, releases: Releases) -> None:
    api.sandbox.delete_version(WORKER, releases.good)
    assert api.script("GET", f"versions/{releases.good}").error == (404, 100146)
    assert api.deploy(releases.good).error == (404, 100146)
    assert len(api.script("GET", "deployments").result["deployments"]) == 2
