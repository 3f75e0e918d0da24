"""The real `wrangler pages` against the sandbox."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from sandbox import Sandbox
from tests.sandbox.conftest import SITE
from tests.support.wrangler import run_wrangler

Wrangler = Callable[..., str]
DEPLOY = ("pages", "deploy", "dist", "--project-name", SITE)


@pytest.fixture
def wrangler(sandbox: Sandbox, tmp_path: Path) -> Wrangler:
    """Return wrangler in a folder with a built site in `dist`; deployments succeed at once."""
    sandbox.switches.pages_reads_until_deployed = 0
    sandbox.switches.pages_propagation_seconds = 0
    (tmp_path / "dist" / "docs").mkdir(parents=True)
    for name, text in {"index.html": "home", "app.js": "1", "docs/index.html": "docs", "_headers": "/*\n X: 1"}.items():
        (tmp_path / "dist" / name).write_text(text)
    return lambda *arguments, code=0: run_wrangler(sandbox, tmp_path, *arguments, home=tmp_path, code=code)


def test_site_is_created_deployed_listed_and_served(wrangler: Wrangler, sandbox: Sandbox, edge: httpx.Client) -> None:
    sandbox.switches.pages_reads_until_deployed = 1
    wrangler("pages", "project", "create", SITE, "--production-branch", "main")
    subdomain = sandbox.pages.projects[SITE].subdomain
    commit = ("--commit-hash", "c" * 40, "--commit-message", "release 4", "--commit-dirty=true")

    said = wrangler(*DEPLOY, "--branch", "main", *commit)

    (made,) = sandbox.pages.deployments(SITE)
    assert f"Deployment complete! Take a peek over at {made.url}" in said
    assert (made.environment, made.commit_hash, made.commit_message) == ("production", "c" * 40, "release 4")
    assert made.commit_dirty
    assert made.rules.keys() == {"_headers"}
    for path, text in (("/", "home"), ("/docs/", "docs"), ("/app.js", "1")):
        answers = [edge.get(path, headers={"host": host}) for host in (subdomain, made.host)]
        assert [answer.text for answer in answers] == [text, text]
    assert edge.get("/app.js", headers={"host": subdomain}).headers["content-type"] == "application/javascript"
    listed = json.loads(wrangler("pages", "deployment", "list", "--project-name", SITE, "--json"))
    assert [(d["Id"], d["Environment"], d["Branch"], d["Source"]) for d in listed] == [
        (made.id, "Production", "main", "c" * 7)
    ]
    assert subdomain in wrangler("pages", "project", "list")
    assert sandbox.unknown_requests == []


def test_preview_branch_uploads_only_changed_files(
    wrangler: Wrangler, sandbox: Sandbox, edge: httpx.Client, tmp_path: Path
) -> None:
    sandbox.pages.add_project(SITE)
    wrangler(*DEPLOY, "--branch", "main")
    live = sandbox.pages.live(SITE)
    (tmp_path / "dist" / "index.html").write_text("next")
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "api.js").write_text("export const onRequest = () => new Response('ok');")

    said = wrangler(*DEPLOY, "--branch", "next")

    preview = sandbox.pages.deployments(SITE)[0]
    assert "Uploaded 1 files (2 already uploaded)" in said
    assert f"Deployment alias URL: {preview.alias}" in said
    assert preview.uses_functions
    assert preview.rules.keys() >= {"_routes.json", "functions-filepath-routing-config.json"}
    assert sandbox.pages.live(SITE) == live
    assert edge.get("/", headers={"host": preview.host}).text == "next"
    wrangler("pages", "deployment", "delete", preview.id, "--project-name", SITE, "--force")
    assert [d.id for d in sandbox.pages.deployments(SITE)] == [live]
    assert sandbox.unknown_requests == []


def test_unknown_error_is_retried_and_can_deploy_twice(wrangler: Wrangler, sandbox: Sandbox) -> None:
    """One command can therefore create two deployments."""
    sandbox.pages.add_project(SITE)
    sandbox.fault(method="POST", path="**/deployments", status=500, code=8000000, applied=True)

    wrangler(*DEPLOY, "--branch", "main", "--commit-hash", "c" * 40)

    assert [d.commit_hash for d in sandbox.pages.deployments(SITE)] == ["c" * 40] * 2


def test_failed_deployment_exits_nonzero_and_serves_nothing(wrangler: Wrangler, sandbox: Sandbox) -> None:
    sandbox.pages.add_project(SITE)
    sandbox.pages.fail_next(SITE, "Error: Failed to publish your Function")

    said = wrangler(*DEPLOY, "--branch", "main", code=1)

    assert "Deployment failed!" in said
    assert "Failed to publish your Function" in said
    assert sandbox.pages.live(SITE) is None
    assert sandbox.unknown_requests == []


def test_missing_project_is_not_created(wrangler: Wrangler, sandbox: Sandbox) -> None:
    said = wrangler(*DEPLOY, "--branch", "main", code=1)
    assert f'The Pages project "{SITE}" does not exist' in said
    assert sandbox.pages.projects == {}
