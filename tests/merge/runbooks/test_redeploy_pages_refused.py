"""`ops redeploy-pages`: refusals before a request, and builds that fail."""

import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import SITE
from tests.merge.runbooks.test_redeploy_pages import Site, assert_refused, site
from tests.support.commands import ended, has_ended

__all__ = ["site"]


def test_unknown_commit_is_refused(site: Site) -> None:
    assert_refused(site, site.redeploy("--commit", "f" * 40), "unknown_name", "is not in")


@pytest.mark.parametrize("text", ["main", "HEAD~1", "--upload-pack=x", "main^{/good}"])
def test_commit_must_be_a_sha(site: Site, text: str) -> None:
    outcome = site.redeploy(f"--commit={text}")

    assert ended(outcome) == (2, "refused", "unknown_name"), outcome.err
    assert f'"{text}"' in outcome.result["message"]
    assert "`previous`" in outcome.result["hint"]
    assert site.world.sandbox.requests == [], "it is checked before any request"


def test_commit_off_the_production_branch_is_refused(site: Site) -> None:
    site.repository.git("checkout", "-q", "-b", "side")
    stray = site.repository.commit("never merged", page_html="<h1>good, but not ours</h1>")

    assert_refused(site, site.redeploy("--commit", stray), "not_on_branch", "is not on main")


def test_git_failure_is_reported(site: Site) -> None:
    """A broken object store is one cause."""
    broken = site.world.folder / "bin" / "git"
    broken.parent.mkdir()
    failing = "*merge-base*) echo 'fatal: object is corrupt'; exit 128"
    broken.write_text(f'#!/bin/sh\ncase "$*" in {failing};; esac\nexec {shutil.which("git")} "$@"\n')
    broken.chmod(0o755)

    outcome = site.redeploy("--commit", site.good, PATH=f"{broken.parent}:{os.environ['PATH']}")

    assert_refused(site, outcome, "tool_missing", "git merge-base failed: fatal: object is corrupt")


def test_missing_production_branch_is_refused(site: Site) -> None:
    site.world.sandbox.pages.projects[SITE].production_branch = ""

    assert_refused(site, site.redeploy(), "malformed_answer", SITE)


def test_shallow_checkout_is_refused(site: Site) -> None:
    shallow = site.world.folder / "shallow"
    site.repository.git("clone", "-q", "--depth", "1", f"file://{site.repository.folder}", str(shallow))

    assert_refused(site, site.redeploy(OPS_SOURCE="shallow"), "unknown_name", "is shallow")


def test_folder_without_a_repository_is_refused(site: Site) -> None:
    (site.world.folder / "empty").mkdir()

    assert_refused(site, site.redeploy(OPS_SOURCE="empty"), "tool_missing", "is not a git repository")


def test_first_commit_has_no_previous_commit(site: Site) -> None:
    site.world.sandbox.pages.projects[SITE].deployments[0].commit_hash = site.good

    assert_refused(site, site.redeploy(), "no_target", f"before {site.good[:12]}")


def test_service_without_build_is_a_config_error(site: Site) -> None:
    text = site.world.config.read_text()
    start = text.index("        build: #")
    site.world.config.write_text(text[:start] + text[text.index("        verify:", start) :])

    outcome = site.redeploy()

    assert (outcome.code, outcome.result["reason"]) == (2, "config_invalid")
    assert "frontend " in outcome.result["message"]
    assert "`build`" in outcome.result["hint"]


BUILDS: dict[str, tuple[str, str, str]] = {
    "fails": ("echo 'module not found'; exit 3", "build_failed", "failed with exit code 3: module not found"),
    "leaves no folder": ("true", "build_unusable", " dist"),
    "leaves nothing": ("mkdir dist", "build_unusable", "produced no file"),
    "leaves links alone": ("mkdir dist; ln -s /etc/passwd dist/index.html", "build_unusable", "produced no file"),
    "leaves a link to elsewhere": ("ln -s /etc dist", "build_unusable", " dist"),
    "leaves a file that is too large": (
        "mkdir dist; truncate -s 26214401 dist/large.bin",
        "build_unusable",
        "large.bin has 26214401 bytes",
    ),
    "leaves too many files": (
        "mkdir dist; cd dist; i=0; while [ $i -le 20000 ]; do : > $i; i=$((i+1)); done",
        "build_unusable",
        "20001 files",
    ),
}


@pytest.mark.parametrize("name", BUILDS)
def test_unusable_build_is_refused(site: Site, name: str) -> None:
    build, reason, said = BUILDS[name]

    assert_refused(site, site.redeploy("--commit", site.commit_build(build)), reason, said)


def test_build_is_stopped_at_its_timeout(site: Site) -> None:
    site.world.edit_config("          output: dist\n", "          output: dist\n          timeout: 1s\n")
    commit = site.commit_build('sleep 600 & echo $! > "$OUT"; sleep 600')
    site.world.edit_config(
        "          output: dist\n", f"          output: dist\n          env: {{OUT: {site.world.folder / 'pid'}}}\n"
    )

    assert_refused(site, site.redeploy("--commit", commit), "build_failed", "did not finish within 1 s")
    assert has_ended(int((site.world.folder / "pid").read_text()))


def test_missing_build_tool_is_named(site: Site, tmp_path: Path) -> None:
    site.world.edit_config("[sh, build.sh]", "[pnpm-that-is-not-here, build]")

    assert_refused(site, site.redeploy(), "tool_missing", "pnpm-that-is-not-here is not on PATH")


def test_read_only_token_is_refused_with_the_permission(site: Site) -> None:
    token = site.world.sandbox.add_token("reading", ["Pages Read"])

    outcome = site.redeploy(CLOUDFLARE_API_TOKEN=token)

    assert outcome.code == 4, outcome.err
    assert '"Pages Write"' in outcome.result["hint"]
    site.assert_nothing_sent()


def test_other_production_branch_is_named(site: Site) -> None:
    site.world.sandbox.pages.projects[SITE].production_branch = "release"

    assert_refused(site, site.redeploy(), "unknown_name", "release")


def test_commit_without_the_folder_of_the_build_is_refused(site: Site) -> None:
    site.world.edit_config("          folder: .", "          folder: web")

    assert_refused(site, site.redeploy(), "build_unusable", "web")
