"""GitHub Pages: settings, deployments of an artifact, and the site behind its cache."""

from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from sandbox import Sandbox
from sandbox.server import HttpRequest
from tests.sandbox.github.conftest import Api

DEPLOY = {"artifact_id": 7, "pages_build_version": "c0ffee", "oidc_token": "oidc-of-the-job"}


@pytest.fixture
def site(api: Api, tmp_path: Path) -> Path:
    """A folder that artifact 7 stands for, and a job that may deploy it."""
    api.github.enable_pages("status.bakery.example")
    api.github.pages.find_artifact = {7: tmp_path}.get
    api.github.pages.id_tokens.add("oidc-of-the-job")
    (tmp_path / "incidents").mkdir()
    (tmp_path / "index.html").write_text("first")
    (tmp_path / "incidents" / "a1.html").write_text("one")
    return tmp_path


def read(sandbox: Sandbox, target: str, host: str = "status.bakery.example") -> tuple[int, str, str]:
    headers = Message()
    headers["host"] = host
    answer = sandbox.edge.answer(HttpRequest(method="GET", target=target, headers=headers, body=b""))
    return answer.status, answer.body.decode(), dict(answer.headers).get("x-cache", "")


def deploy(api: Api, **changed: Any) -> str:
    """Deploy, and return the states that its reads report."""
    made = api.ok("POST", "pages/deployments", json={**DEPLOY, **changed})
    states = [api.get(f"pages/deployments/{made['id']}")["status"] for _ in range(4)]
    assert states == ["deployment_in_progress"] * 3 + ["succeed"]
    return str(made["page_url"])


def test_site_is_live_after_its_deployment_succeeded(sandbox: Sandbox, api: Api, site: Path) -> None:
    assert read(sandbox, "/")[0] == 404
    sandbox.clock.advance(601)
    assert deploy(api) == "https://status.bakery.example/"
    assert [read(sandbox, target)[:2] for target in ("/", "/index.html", "/incidents/a1", "/incidents/a1.html")] == [
        (200, "first"),
        (200, "first"),
        (200, "one"),
        (200, "one"),
    ]
    assert read(sandbox, "/incidents/a2")[0] == 404
    assert api.get("pages")["build_type"] == "workflow"


@pytest.mark.parametrize("ignores_query", [False, True])
def test_cache_serves_the_former_site_for_ten_minutes(
    sandbox: Sandbox, api: Api, site: Path, *, ignores_query: bool
) -> None:
    api.github.switches.pages_cache_ignores_query = ignores_query
    deploy(api)
    assert read(sandbox, "/") == (200, "first", "MISS")
    (site / "index.html").write_text("second")
    deploy(api)
    assert read(sandbox, "/") == (200, "first", "HIT")
    assert read(sandbox, "/?at=2")[1] == ("first" if ignores_query else "second")
    sandbox.clock.advance(601)
    assert read(sandbox, "/") == (200, "second", "MISS")


def test_site_without_a_domain_is_below_its_owner(sandbox: Sandbox, api: Api, site: Path) -> None:
    api.github.enable_pages()
    owner, _, name = api.github.repository.partition("/")
    assert deploy(api) == f"https://{owner}.github.io/{name}/"
    assert read(sandbox, f"/{name}/", f"{owner}.github.io")[:2] == (200, "first")


@pytest.mark.parametrize("changed", [{"oidc_token": "of another"}, {"artifact_id": 8}])
def test_deployment_without_a_right_or_an_artifact_is_refused(api: Api, site: Path, changed: dict[str, Any]) -> None:
    assert api("POST", "pages/deployments", json={**DEPLOY, **changed}).status_code == 400
    assert api.github.pages.deployments == {}


def test_second_deployment_waits_for_the_first_or_its_cancel(api: Api, site: Path) -> None:
    first = api.ok("POST", "pages/deployments", json=DEPLOY)
    assert "c0ffee" in api("POST", "pages/deployments", json=DEPLOY).json()["message"]
    assert api("POST", f"pages/deployments/{first['id']}/cancel").status_code == 204
    assert api.get(f"pages/deployments/{first['id']}")["status"] == "deployment_cancelled"
    deploy(api)


def test_pages_that_are_off_are_not_found(api: Api) -> None:
    assert api("GET", "pages").status_code == 404
    assert api("POST", "pages/deployments", json=DEPLOY).status_code == 404
    token = api.github.add_workflow_token("ghs_reader", {"contents": "read", "pages": "read"})
    api.github.enable_pages()
    assert api("POST", "pages/deployments", json=DEPLOY, token=token).status_code == 403
