"""`ops redeploy-pages` in jobs: one fetches the commit, and another one deploys the built site."""

import hashlib
from pathlib import Path

from ops.cli.pages_build import NEXT_JOB_MESSAGE
from tests.conftest import Outcome
from tests.merge.runbooks.test_redeploy_pages import Site, assert_refused, site
from tests.support.commands import ended

__all__ = ["site"]


def test_job_with_a_token_refuses_to_build(site: Site) -> None:
    assert_refused(site, site.redeploy(GITHUB_ACTIONS="true"), "build_unusable", "token")
    assert site.world.sandbox.requests == []


def fetch(site: Site, outputs: Path, *arguments: str, **environ: str) -> Outcome:
    """Run the first job of the workflow."""
    where = ["--service", "frontend", "--environment", "production", "--config", str(site.world.config)]
    outputs.write_text("")
    return site.world.ops(
        "site",
        "fetch",
        *where,
        *("--into", str(outputs.parent / "tree.tar")),
        *arguments,
        OPS_SOURCE="app",
        GITHUB_ACTIONS="true",
        GITHUB_OUTPUT=str(outputs),
        **{"GITHUB_REPOSITORY": "fortunet/fortunet", **environ},
    )


def test_fetch_job_lets_the_workflow_continue(site: Site, tmp_path: Path) -> None:
    github = site.world.sandbox.github
    github.add_user("alice")
    number = github.open_issue("blank page", "", ["incident"], "alice")

    outcome = fetch(site, tmp_path / "outputs", "--incident", str(number), **github.environ())

    assert outcome.code == 0, outcome.err
    (comment,) = github.issue(number).comments
    assert comment.body.startswith("### 📋 redeploy-pages for frontend: planned, and going on\n\n")
    assert f"PLANNED  planned, and {NEXT_JOB_MESSAGE}" in outcome.out
    assert "dry run: nothing" not in outcome.out
    assert site.good in (tmp_path / "outputs").read_text()
    site.assert_nothing_sent()


def test_fetch_job_explains_its_refusal(site: Site, tmp_path: Path) -> None:
    outcome = fetch(site, tmp_path / "outputs", "--commit", "f" * 40)

    assert outcome.code == 3
    assert "REFUSED  nothing was changed: commit" in outcome.out
    assert "next step: Run `git fetch` there" in outcome.out
    assert "fetched" not in outcome.out.replace("nothing was fetched, so the jobs after this one do nothing", "")


def test_fetch_job_probes_if_nothing_is_to_do(site: Site, tmp_path: Path) -> None:
    outcome = fetch(site, tmp_path / "outputs", "--commit", site.bad)

    assert outcome.code == 6
    assert site.live[:8] in outcome.out
    assert "nothing was changed, and it is unhealthy: " in outcome.out
    assert "nothing was fetched" in outcome.out
    site.assert_nothing_sent()


def deploy_job_variables(tmp_path: Path) -> dict[str, str]:
    """Return the variables of the deploy job for a commit without a wrangler file."""
    (tmp_path / "configuration.json").write_text("{}")
    return {
        "OPS_BUILT": str(tmp_path / "built"),
        "OPS_CONFIGURATION": str(tmp_path / "configuration.json"),
        "OPS_CONFIGURATION_SHA256": hashlib.sha256(b"{}").hexdigest(),
    }


def test_built_site_is_deployed_without_a_repository(site: Site, tmp_path: Path) -> None:
    (tmp_path / "built" / "output").mkdir(parents=True)
    (tmp_path / "built" / "output" / "index.html").write_text("<h1>good</h1>")
    (tmp_path / "built" / ".env").write_text("CLOUDFLARE_API_BASE_URL=http://127.0.0.1:9/\n")
    (tmp_path / "built" / "output" / "link").symlink_to("/etc/passwd")

    outcome = site.redeploy("--commit", site.good, OPS_SOURCE="nowhere", **deploy_job_variables(tmp_path))

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert (site.served.commit_hash, list(site.served.files)) == (site.good, ["/index.html"])


def test_built_site_needs_the_full_sha(site: Site, tmp_path: Path) -> None:
    outcome = site.redeploy("--commit", site.good[:12], OPS_BUILT=str(tmp_path))

    assert (outcome.code, outcome.result["decision"]) == (2, "refused"), outcome.err
    assert f'"{site.good[:12]}"' in outcome.result["message"]


def test_artifact_without_its_output_is_refused(site: Site, tmp_path: Path) -> None:
    (tmp_path / "built").mkdir()

    outcome = site.redeploy("--commit", site.good, **deploy_job_variables(tmp_path))

    assert_refused(site, outcome, "build_unusable", str(tmp_path / "built"))
