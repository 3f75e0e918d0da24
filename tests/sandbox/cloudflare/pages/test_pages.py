"""Pages in the API: projects, deployments, and the one that serves production."""

from datetime import timedelta
from typing import Any

import pytest

from sandbox import Sandbox
from sandbox.clock import timestamp
from tests.sandbox.conftest import SITE, Api, Releases


def ids(answer: Any) -> list[str]:
    return [deployment["id"] for deployment in answer.result]


# Projects


def test_project_shows_live_and_latest_deployment_and_settings(api: Api, deployed: Releases) -> None:
    preview = api.sandbox.pages.add_deployment(SITE, files={}, branch="fix/One")

    project = api.site("GET").result

    assert project["domains"] == [project["subdomain"], "app.fortunet.example"]
    assert project["subdomain"].startswith(f"{SITE}-")  # the plain name belongs to another project on pages.dev
    assert project["production_branch"] == "main"
    assert project["source"] is None
    assert project["canonical_deployment"]["id"] == deployed.bad
    assert project["latest_deployment"]["id"] == preview
    assert project["deployment_configs"]["production"]["env_vars"] == {
        "API": {"type": "plain_text", "value": "x"},
        "KEY": {"type": "secret_text", "value": ""},
    }


def test_missing_project_returns_8000007(api: Api) -> None:
    for method, path in (("GET", ""), ("GET", "deployments"), ("POST", "deployments/x/rollback"), ("PATCH", "")):
        assert api.site(method, path).error == (404, 8000007)


def test_project_is_created_once_without_deployment(api: Api, sandbox: Sandbox) -> None:
    url = f"/accounts/{sandbox.account_id}/pages/projects"
    body = {"name": SITE, "production_branch": "main", "deployment_configs": {"production": {"fail_open": False}}}

    made = api("POST", url, json=body).result

    assert (made["canonical_deployment"], made["latest_deployment"]) == (None, None)
    assert made["deployment_configs"]["production"]["fail_open"] is False
    assert api("POST", url, json=body).error == (409, 8000002)
    assert api("POST", url, json={**body, "name": "Not_A_Name"}).error == (400, 10026)


def test_project_list_has_pages_of_ten_without_total(api: Api, sandbox: Sandbox) -> None:
    for number in range(12):
        sandbox.pages.add_project(f"site-{number}")
    url = f"/accounts/{sandbox.account_id}/pages/projects"

    pages = [api.get(url, params={"page": page}) for page in ("1", "2", "3")]

    assert [len(page.result) for page in pages] == [10, 2, 0]
    assert pages[0].response.json()["result_info"] == {"page": 1, "per_page": 10, "count": 10}
    assert api.get(url, params={"per_page": "11"}).error == (400, 8000024)


def test_settings_are_patched_and_null_removes_variable(api: Api, deployed: Releases) -> None:
    new = {"type": "secret_text", "value": "s3cret"}
    change = {"production": {"env_vars": {"API": None, "NEW": new}}, "preview": {"fail_open": False}}

    patched = api.site("PATCH", json={"production_branch": "live", "deployment_configs": change}).result

    assert patched["production_branch"] == "live"
    assert patched["deployment_configs"]["production"]["env_vars"].keys() == {"KEY", "NEW"}
    assert patched["deployment_configs"]["preview"]["fail_open"] is False
    assert api.site("GET", f"deployments/{deployed.bad}").result["env_vars"].keys() == {"API", "KEY"}
    api.sandbox.pages.add_deployment(SITE, files={})
    assert "s3cret" not in api.site("GET").response.text + api.site("GET", "deployments").response.text


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"production_branch": 1},
        {"source": 1},
        {"source": {"config": 1}},
        {"source": {"type": "github", "surprise": {}}},
        {"deployment_configs": {"staging": {}}},
        {"deployment_configs": {"production": 1}},
        {"deployment_configs": {"production": {"env_vars": {"A": "1"}}}},
    ],
)
def test_invalid_settings_are_refused_without_effect(api: Api, sandbox: Sandbox, change: dict[str, Any]) -> None:
    sandbox.pages.add_project(SITE, repository="fortunet/fortunet")
    before = api.site("GET").result
    assert api.site("PATCH", json=change).error == (400, 10026)
    assert api.site("GET").result == before


def test_partial_source_is_accepted_only_with_switch(api: Api, sandbox: Sandbox) -> None:
    sandbox.pages.add_project(SITE, repository="fortunet/fortunet")
    part = {"source": {"config": {"production_deployments_enabled": False}}}
    assert api.site("PATCH", json=part).error == (400, 10026)

    whole = api.site("GET").result["source"]
    whole["config"]["production_deployments_enabled"] = False
    patched = api.site("PATCH", json={"source": whole}).result["source"]
    assert (patched["config"]["production_deployments_enabled"], patched["config"]["owner"]) == (False, "fortunet")

    sandbox.switches.pages_partial_source_taken = True
    part["source"]["config"]["production_deployments_enabled"] = True
    patched = api.site("PATCH", json=part).result["source"]
    assert (patched["config"]["production_deployments_enabled"], patched["type"]) == (True, "github")


def test_direct_upload_project_cannot_get_repository(api: Api, deployed: Releases) -> None:
    assert api.site("PATCH", json={"source": {"type": "github", "config": {}}}).error == (400, 10026)


# Deployments


def test_deployment_shows_its_source(api: Api, sandbox: Sandbox, deployed: Releases) -> None:
    shown = api.site("GET", f"deployments/{deployed.good}").result

    subdomain = api.site("GET").result["subdomain"]
    assert shown["short_id"] == deployed.good[:8]
    assert shown["url"] == f"https://{deployed.good[:8]}.{subdomain}"
    assert shown["environment"] == "production"
    assert shown["aliases"] is None
    assert shown["created_on"] == timestamp(sandbox.clock.now() - timedelta(seconds=120))
    assert shown["latest_stage"] == shown["stages"][-1]
    assert (shown["latest_stage"]["name"], shown["latest_stage"]["status"]) == ("deploy", "success")
    assert shown["deployment_trigger"] == {
        "type": "ad_hoc",
        "metadata": {"branch": "main", "commit_hash": "a" * 40, "commit_message": "good", "commit_dirty": False},
    }


def test_deployments_are_newest_first_by_environment(api: Api, deployed: Releases) -> None:
    preview = api.sandbox.pages.add_deployment(SITE, files={}, branch="fix")

    assert ids(api.site("GET", "deployments")) == [preview, deployed.bad, deployed.good]
    assert ids(api.site("GET", "deployments", params={"env": "production"})) == [deployed.bad, deployed.good]
    assert ids(api.site("GET", "deployments", params={"env": "preview"})) == [preview]
    assert api.site("GET", "deployments", params={"env": "staging"}).error == (400, 10026)


def test_deployment_list_has_pages_of_25_with_total(api: Api, deployed: Releases) -> None:
    for _ in range(30):
        api.sandbox.pages.add_deployment(SITE, files={})

    first, second = (api.site("GET", "deployments", params={"page": page}) for page in ("1", "2"))

    assert (len(first.result), len(second.result)) == (25, 7)
    assert second.result[-1]["id"] == deployed.good
    info = {"page": 2, "per_page": 25, "count": 7, "total_count": 32, "total_pages": 2}
    assert second.response.json()["result_info"] == info
    for wrong in ({"per_page": "26"}, {"per_page": "0"}, {"page": "0"}, {"page": "x"}):
        assert api.site("GET", "deployments", params=wrong).error == (400, 8000024)


def test_build_and_upload_fail_in_different_stages(api: Api, sandbox: Sandbox) -> None:
    for repository, stage in ((None, "deploy"), ("fortunet/fortunet", "build")):
        sandbox.pages.add_project(SITE, repository=repository)
        failed = sandbox.pages.add_deployment(SITE, files={}, status="failure")
        latest = api.site("GET", f"deployments/{failed}").result["latest_stage"]
        assert (latest["name"], latest["status"]) == (stage, "failure")
        assert sandbox.pages.live(SITE) is None


def test_skipped_deployment_is_marked(api: Api, deployed: Releases) -> None:
    skipped = api.sandbox.pages.add_deployment(SITE, files={}, status="skipped")
    assert api.site("GET", f"deployments/{skipped}").result["is_skipped"] is True
    assert api.sandbox.pages.live(SITE) == deployed.bad


def test_missing_deployment_returns_8000009(api: Api, deployed: Releases) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/rollback"), ("POST", "/retry")):
        assert api.site(method, f"deployments/none{path}").error == (404, 8000009)


def test_live_deployment_cannot_be_deleted_and_alias_needs_force(api: Api, deployed: Releases) -> None:
    preview = api.sandbox.pages.add_deployment(SITE, files={}, branch="fix")

    assert api.site("DELETE", f"deployments/{deployed.bad}").error == (400, 8000034)
    assert api.site("DELETE", f"deployments/{preview}").error == (400, 8000035)
    assert api.site("DELETE", f"deployments/{preview}", params={"force": "true"}).status == 200
    assert api.site("DELETE", f"deployments/{deployed.good}").status == 200
    assert [d.id for d in api.sandbox.pages.deployments(SITE)] == [deployed.bad]


def test_retry_rebuilds_git_deployment_only(api: Api, sandbox: Sandbox) -> None:
    sandbox.pages.add_project(SITE, repository="fortunet/fortunet")
    failed = sandbox.pages.add_deployment(SITE, files={"a": b"1"}, commit="c" * 40, status="failure")

    again = api.site("POST", f"deployments/{failed}/retry").result

    assert again["id"] != failed
    assert again["deployment_trigger"]["metadata"]["commit_hash"] == "c" * 40
    assert sandbox.pages.live(SITE) == again["id"]
    sandbox.pages.add_project(SITE)
    uploaded = sandbox.pages.add_deployment(SITE, files={})
    assert api.site("POST", f"deployments/{uploaded}/retry").error == (400, 8000000)


def test_simultaneous_deployments_keep_their_order(sandbox: Sandbox, api: Api) -> None:
    sandbox.pages.add_project(SITE)
    made = [sandbox.pages.add_deployment(SITE, files={}) for _ in range(3)]
    assert ids(api.site("GET", "deployments")) == made[::-1]


def test_past_deployment_is_listed_by_its_time(sandbox: Sandbox, deployed: Releases) -> None:
    older = sandbox.pages.add_deployment(SITE, files={}, at=sandbox.clock.now() - timedelta(days=1))
    assert [d.id for d in sandbox.pages.deployments(SITE)] == [deployed.bad, deployed.good, older]
    assert sandbox.pages.live(SITE) == deployed.bad


def test_fail_next_fails_one_deployment_with_log(api: Api, deployed: Releases) -> None:
    api.sandbox.pages.fail_next(SITE, "Error: out of memory")

    failed, next_ = (api.sandbox.pages.add_deployment(SITE, files={}) for _ in range(2))

    logs = [api.site("GET", f"deployments/{made}/history/logs").result for made in (failed, next_)]
    assert [log["data"][-1]["line"] for log in logs] == [
        "Error: out of memory",
        "Info: the deployment ended with success",
    ]
    assert api.site("GET", f"deployments/{failed}").result["latest_stage"]["status"] == "failure"
    assert api.sandbox.pages.live(SITE) == next_


# Rollback


def test_rollback_returns_live_deployment(api: Api, sandbox: Sandbox, deployed: Releases) -> None:
    assert api.site("POST", f"deployments/{deployed.good}/rollback").result["id"] == deployed.good
    assert sandbox.pages.live(SITE) == deployed.good
    assert [d.id for d in sandbox.pages.deployments(SITE)] == [deployed.bad, deployed.good]  # no new row
    assert api.site("POST", f"deployments/{deployed.bad}/rollback").status == 200  # and forward again
    assert sandbox.pages.live(SITE) == deployed.bad


def test_canonical_follows_rollback_only_with_switch(api: Api, deployed: Releases) -> None:
    api.sandbox.pages.rollback(SITE, deployed.good)
    assert api.site("GET").result["canonical_deployment"]["id"] == deployed.bad
    api.sandbox.switches.pages_canonical_follows_rollbacks = True
    assert api.site("GET").result["canonical_deployment"]["id"] == deployed.good


def test_canonical_lags_after_rollback(api: Api, deployed: Releases) -> None:
    api.sandbox.switches.pages_canonical_follows_rollbacks = True
    api.sandbox.switches.pages_canonical_lag_reads = 2
    api.site("POST", f"deployments/{deployed.good}/rollback")
    seen = [api.site("GET").result["canonical_deployment"]["id"] for _ in range(3)]
    assert seen == [deployed.bad, deployed.bad, deployed.good]


def test_canonical_lags_after_deployment(api: Api, deployed: Releases) -> None:
    api.sandbox.switches.pages_canonical_lag_reads = 1
    newest = api.sandbox.pages.add_deployment(SITE, files={})
    seen = [api.site("GET").result["canonical_deployment"]["id"] for _ in range(2)]
    assert seen == [deployed.bad, newest]


@pytest.mark.parametrize("code", [8000000, 8000096])
@pytest.mark.parametrize("kind", [{"branch": "fix"}, {"status": "failure"}, {"status": "skipped"}])
def test_rollback_target_must_be_successful_production(
    api: Api, deployed: Releases, kind: dict[str, Any], code: int
) -> None:
    api.sandbox.switches.pages_refusal_code = code
    other = api.sandbox.pages.add_deployment(SITE, files={}, **kind)
    assert api.site("POST", f"deployments/{other}/rollback").error == (400, code)
    assert api.sandbox.pages.live(SITE) == deployed.bad
    with pytest.raises(ValueError, match="not a successful production deployment"):
        api.sandbox.pages.rollback(SITE, other)


# Permissions


def test_read_token_cannot_change_pages(api: Api, deployed: Releases) -> None:
    reader = api.sandbox.add_token("reader", {"Pages Read"})
    workers = api.sandbox.add_token("workers", {"Workers Scripts Write"})

    assert api.site("GET", token=reader).status == 200
    for path in (f"deployments/{deployed.good}/rollback", f"deployments/{deployed.good}/retry", "deployments"):
        assert api.site("POST", path, token=reader).error == (403, 10000)
    assert api.site("GET", token=workers).error == (403, 10000)


def test_sandbox_describes_its_sites(api: Api, deployed: Releases) -> None:
    subdomain = api.site("GET").result["subdomain"]
    assert api.http.get(api.sandbox.control_url).json()["sites"] == [
        {"project": SITE, "subdomain": subdomain, "live": deployed.bad}
    ]


def test_faults_apply_to_pages(api: Api, deployed: Releases) -> None:
    api.sandbox.fault(method="POST", path="**/rollback", status=500, applied=True)
    assert api.site("POST", f"deployments/{deployed.good}/rollback").status == 500
    assert api.sandbox.pages.live(SITE) == deployed.good
