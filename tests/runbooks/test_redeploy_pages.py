"""`ops redeploy-pages`: build and deploy an earlier commit."""

import hashlib
import os
import shutil
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SITE, Outcome, World
from tests.support.commands import Command, ended, has_ended, texts
from tests.support.pages_reads import ORDERS, between
from tests.support.site_repository import BUILD, SiteRepository, repository

pytestmark = pytest.mark.slow  # git and the build are real programs
POST = {"method": "POST", "path": "/accounts/*/pages/projects/*/deployments"}


@dataclass
class Site:
    """A repository whose commit A builds a good site and B a bad one; only B was ever deployed."""

    world: World
    repository: SiteRepository
    good: str
    bad: str
    live: str

    def redeploy(self, *arguments: str, **environ: str | None) -> Outcome:
        where = ["--service", "frontend", "--environment", "production", "--config", str(self.world.config)]
        given: dict[str, str | None] = {"OPS_SOURCE": "app", **environ}
        return self.world.ops("redeploy-pages", *where, "--yes", "--json", *arguments, **given)

    @property
    def served(self) -> Any:
        return self.world.sandbox.pages.projects[SITE].live

    def commit_build(self, build: str, subject: str = "another build") -> str:
        """Commit this build to main without deploying it."""
        return self.repository.commit(subject, build_sh=build)

    def assert_nothing_sent(self) -> None:
        assert self.world.served == self.live
        assert self.world.writes() == []


@pytest.fixture
def site(world: World) -> Site:
    world.edit_config("content-type: text/html\n", "content-type: text/html\n              body: good\n")
    found = repository(world)
    good = found.commit("the good page", page_html="<h1>good</h1>", build_sh=BUILD)
    bad = found.commit("the bad page", page_html="<h1>bad</h1>")
    return Site(world, found, good, bad, world.site(timedelta(minutes=10), "bad", commit=bad))


# End to end, with the real wrangler


def test_previous_commit_is_built_deployed_and_verified(site: Site) -> None:
    before = site.repository.state()

    outcome = site.redeploy("--reason", "blank page", "--incident", "42")

    assert ended(outcome) == (0, "recovered", "verified"), outcome.err
    made = site.served
    assert (made.commit_hash, made.branch, made.environment, made.commit_dirty) == (
        site.good,
        "main",
        "production",
        False,
    )
    assert made.commit_message.startswith("the good page (redeployed by ops ")
    assert made.files["/index.html"].content == b"<h1>good</h1>"
    assert f"{made.id[:8]} of commit {site.good[:12]} is live" in texts(outcome, "read_back")[0]
    assert site.repository.state() == before
    assert site.world.sandbox.token not in outcome.out + outcome.err


def test_repeated_redeployment_does_nothing(site: Site) -> None:
    site.redeploy()
    site.world.sandbox.clock.advance(60)

    outcome = site.redeploy()

    assert ended(outcome) == (0, "nothing_to_do", "already_stepped_back"), outcome.err
    assert f"is live instead of the newer {site.live[:8]}, created" in outcome.result["message"]
    assert len(site.world.sandbox.pages.deployments(SITE)) == 2


def test_undo_command_rolls_the_redeployment_back(site: Site) -> None:
    outcome = site.redeploy()
    site.world.sandbox.clock.advance(60)

    (undo,) = outcome.result["undo"]
    site.world.rollback_pages("--to", undo.partition("--to ")[2].split()[0])

    assert "rollback-pages" in undo
    assert site.world.served == site.live


def test_later_rollback_skips_the_replaced_deployment(site: Site) -> None:
    hub = site.world.sandbox.github
    hub.add_user("alice")
    incident = ["--incident", str(hub.open_issue("The page is blank", "", ["incident"], "alice"))]
    site.redeploy(*incident, **hub.environ())
    site.world.sandbox.clock.advance(60)

    outcome = site.world.rollback_pages(*incident, **hub.environ())

    assert ended(outcome) == (3, "refused", "no_target"), outcome.err
    assert site.served.commit_hash == site.good


def test_committed_functions_are_deployed(site: Site) -> None:
    commit = site.repository.commit(
        "with a Function", functions__api_js="export const onRequest = () => new Response();"
    )

    outcome = site.redeploy("--commit", commit)

    assert site.served.commit_hash == commit, outcome.err
    assert site.served.uses_functions
    assert f"{site.served.id[:8]} has Functions, unlike {site.live[:8]}" in texts(outcome, "warning")


def test_unknown_error_may_create_two_deployments(site: Site) -> None:
    site.world.sandbox.fault(**POST, status=500, code=8000000, applied=True)

    outcome = site.redeploy()

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert [d.commit_hash for d in site.world.sandbox.pages.deployments(SITE)] == [site.good, site.good, site.bad]


@pytest.mark.parametrize("applied", [True, False])
def test_lost_answer_is_resolved_by_read_back(site: Site, applied: bool) -> None:
    """wrangler does not retry these."""
    site.world.sandbox.fault(**POST, lost="after" if applied else "before")

    outcome = site.redeploy()

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert len(site.world.sandbox.pages.deployments(SITE)) == 2
    assert any("wrangler exited with 1" in text for text in texts(outcome, "warning"))


@pytest.mark.parametrize(("first", "then"), ORDERS)
def test_our_deployment_between_two_reads_is_recognized(site: Site, first: str, then: str) -> None:
    """Wrangler got no answer, and its deployment appears while this run looks for it."""
    come = partial(site.world.site, timedelta(), "good", commit=site.good)
    site.world.sandbox.fault(**POST, lost="before", before=lambda: between(site.world, first, then, come))

    outcome = site.redeploy()

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert len(site.world.sandbox.pages.deployments(SITE)) == 2


@pytest.mark.parametrize(("first", "then"), [("list", "project"), ("list and project", "site")])
def test_foreign_deployment_between_two_reads_is_recognized(site: Site, first: str, then: str) -> None:
    come = partial(site.world.site, timedelta(), "hotfix", commit="c" * 40)
    site.world.sandbox.fault(**POST, lost="before", before=lambda: between(site.world, first, then, come))

    outcome = site.redeploy()

    assert ended(outcome) == (4, "failed", "world_moved"), outcome.err
    assert "from commit cccccccccccc" in outcome.result["message"]
    assert len(site.world.sandbox.pages.deployments(SITE)) == 2


def test_publish_failure_fails_the_run_without_retry(site: Site) -> None:
    site.world.sandbox.pages.fail_next(SITE, "Error: Failed to publish your Function")

    outcome = site.redeploy()

    assert ended(outcome) == (4, "failed", "provider_refused"), outcome.err
    assert site.world.served == site.live
    assert len(site.world.sandbox.pages.deployments(SITE)) == 2


def test_foreign_deployment_after_ours_is_named(site: Site) -> None:
    site.world.sandbox.fault(**POST, after=lambda: site.world.site(timedelta(), "hotfix", commit="c" * 40))

    outcome = site.redeploy()

    assert ended(outcome) == (4, "failed", "world_moved"), outcome.err
    assert "from commit cccccccccccc" in outcome.result["message"]


def act_during_build(site: Site, meanwhile: Callable[[], object]) -> Outcome:
    """Run a redeployment whose build waits until `meanwhile` has happened."""
    said, go = (site.world.folder / name for name in ("said", "go"))
    for fifo in (said, go):
        os.mkfifo(fifo)
    env = f"          output: dist\n          env: {{SAID: {said}, GO: {go}}}\n"
    site.world.edit_config("          output: dist\n", env)
    gate = 'echo "$$" > "$SAID"; cat "$GO"; '
    site.good = site.repository.commit("gated", build_sh=gate + BUILD, page_html="<h1>good</h1>")
    site.world.sandbox.pages.projects[SITE].deployments[-1].commit_hash = site.repository.commit("bad again")

    def watch() -> None:
        said.read_text()
        meanwhile()
        go.write_text("go")

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    outcome = site.redeploy()
    watching.join(10)
    return outcome


def test_foreign_deployment_during_the_build_stops_the_run(site: Site) -> None:
    outcome = act_during_build(site, lambda: site.world.site(timedelta(), "hotfix", commit="c" * 40))

    assert ended(outcome) == (3, "refused", "world_moved"), outcome.err
    assert site.world.writes() == []


def test_dashboard_rollback_during_the_build_stops_the_run(site: Site) -> None:
    site.world.sandbox.switches.propagation_seconds = 0
    older = site.world.site(timedelta(hours=3), "older")

    outcome = act_during_build(site, lambda: site.world.sandbox.pages.rollback(SITE, older))

    assert ended(outcome)[1:] == ("refused", "world_moved"), outcome.err
    assert site.world.writes() == []


def test_same_deployment_during_the_build_is_nothing_to_do(site: Site) -> None:
    site.world.sandbox.switches.propagation_seconds = 0

    outcome = act_during_build(site, lambda: site.world.site(timedelta(), "good", commit=site.good))

    assert outcome.code == 0, outcome.err
    assert outcome.result["message"] == "somebody had made the same change already; the probes are healthy"
    assert any("is live" in text for text in texts(outcome, "compared"))
    assert site.world.writes() == []


# The plan


def dry_run_plan(site: Site, *arguments: str) -> dict[str, Any]:
    outcome = site.redeploy("--dry-run", *arguments)
    assert ended(outcome)[:2] == (0, "planned"), outcome.err
    site.assert_nothing_sent()
    plan: dict[str, Any] = outcome.result["plan"]
    return plan


def test_plan_describes_build_and_replaced_deployment(site: Site) -> None:
    site.world.edit_config("          output: dist\n", "          output: dist\n          env:\n            MODE: x\n")
    site.world.sandbox.pages.projects[SITE].configs["production"]["env_vars"] = {
        name: {"type": "plain_text", "value": "v41ue"} for name in ("MODE", "API_URL")
    }

    plan = dry_run_plan(site)

    (change,) = plan["changes"]
    assert (change["before"], change["after"]) == (site.live[:8], f"commit {site.good[:12]}")
    assert plan["sections"]["Commit"] == [f'{site.good}, on main, "the good page"']
    assert plan["sections"]["Build"] == ["sh build.sh in ., output in dist", "with MODE"]
    assert "the build does not get these project variables: API_URL; add them to `build.env`" in plan["warnings"]
    assert "v41ue" not in str(plan)


def test_plan_suggests_a_rollback_to_the_same_commit(site: Site) -> None:
    older = site.world.site(timedelta(hours=3), "good", commit=site.good)

    plan = dry_run_plan(site)

    assert plan["changes"][0]["after"] == f"commit {site.good[:12]}"
    assert any(f"{older[:8]} has this commit" in text for text in plan["warnings"])


def test_live_commit_is_nothing_to_do(site: Site) -> None:
    outcome = site.redeploy("--commit", site.bad)

    assert outcome.result["plan"]["changes"] == [], outcome.err
    assert "is live already" in outcome.result["plan"]["summary"]
    assert f"--commit {site.good}" in outcome.result["plan"]["next_step"]
    site.assert_nothing_sent()


def test_unreadable_site_needs_an_explicit_commit(site: Site) -> None:
    site.world.sandbox.edge_fault(host="fortunet.example", body="<h1>good</h1>put in by the zone", times=None)

    outcome = site.redeploy()
    assert ended(outcome) == (3, "refused", "live_unknown")
    assert "redeploy-pages --commit SHA" in outcome.result["hint"]
    assert "redeploy-pages" in outcome.result["press"]
    assert "--commit SHA" in outcome.result["press"]

    plan = dry_run_plan(site, "--commit", site.good)
    assert plan["changes"][0]["before"] == "unknown"
    assert any("could not be identified" in warning for warning in plan["warnings"])


# Refusals before a request


def assert_refused(site: Site, outcome: Outcome, reason: str, said: str) -> None:
    assert ended(outcome) == (3, "refused", reason), outcome.err
    assert said in outcome.result["message"]
    site.assert_nothing_sent()


def test_unknown_commit_is_refused(site: Site) -> None:
    assert_refused(site, site.redeploy("--commit", "f" * 40), "unknown_name", "is not in")


@pytest.mark.parametrize("text", ["main", "HEAD~1", "--upload-pack=x", "main^{/good}"])
def test_commit_must_be_a_sha(site: Site, text: str) -> None:
    outcome = site.redeploy(f"--commit={text}")

    assert ended(outcome) == (2, "refused", "unknown_name"), outcome.err
    assert outcome.result["message"] == f'"{text}" is not a commit SHA; nothing was changed'
    assert "Pass at least 7 digits of a SHA, as `git log` shows them, or `previous`" in outcome.result["hint"]
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

    assert_refused(site, site.redeploy(), "malformed_answer", f"does not name the production branch of {SITE}")


def test_shallow_checkout_is_refused(site: Site) -> None:
    shallow = site.world.folder / "shallow"
    site.repository.git("clone", "-q", "--depth", "1", f"file://{site.repository.folder}", str(shallow))

    assert_refused(site, site.redeploy(OPS_SOURCE="shallow"), "unknown_name", "is shallow")


def test_folder_without_a_repository_is_refused(site: Site) -> None:
    (site.world.folder / "empty").mkdir()

    assert_refused(site, site.redeploy(OPS_SOURCE="empty"), "tool_missing", "is not a git repository")


def test_first_commit_has_no_previous_commit(site: Site) -> None:
    site.world.sandbox.pages.projects[SITE].deployments[0].commit_hash = site.good

    assert_refused(site, site.redeploy(), "no_target", "is not known")


def test_service_without_build_is_a_config_error(site: Site) -> None:
    text = site.world.config.read_text()
    start = text.index("        build: #")
    site.world.config.write_text(text[:start] + text[text.index("        verify:", start) :])

    outcome = site.redeploy()

    assert (outcome.code, outcome.result["reason"]) == (2, "config_invalid")
    assert "frontend has no build in ops.yml" in outcome.result["message"]


BUILDS: dict[str, tuple[str, str, str]] = {
    "fails": ("echo 'module not found'; exit 3", "build_failed", "failed with exit code 3: module not found"),
    "leaves no folder": ("true", "build_unusable", "did not create the folder dist"),
    "leaves nothing": ("mkdir dist", "build_unusable", "produced no file"),
    "leaves links alone": ("mkdir dist; ln -s /etc/passwd dist/index.html", "build_unusable", "produced no file"),
    "leaves a link to elsewhere": ("ln -s /etc dist", "build_unusable", "did not create the folder dist"),
    "leaves a file that is too large": (
        "mkdir dist; truncate -s 26214401 dist/large.bin",
        "build_unusable",
        "large.bin has 26214401 bytes",
    ),
    "leaves too many files": (
        "mkdir dist; cd dist; i=0; while [ $i -le 20000 ]; do : > $i; i=$((i+1)); done",
        "build_unusable",
        "produced 20001 files, but this project may have 20000",
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if "too many" in name else ()) for name in BUILDS]
)
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


def test_build_gets_no_secrets_and_no_home(site: Site) -> None:
    seen = site.world.folder / "seen"
    site.world.edit_config(
        "          output: dist\n", f"          output: dist\n          env: {{OUT: {seen}, MODE: x}}\n"
    )
    commit = site.commit_build('env > "$OUT"; exit 1')

    site.redeploy("--commit", commit, GITHUB_TOKEN="ghs_secret")

    names = {line.partition("=")[0] for line in seen.read_text().splitlines()} - {"PWD", "_", "SHLVL", "OLDPWD"}
    assert names <= {"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "CI", "OUT", "MODE"} | {
        "CF_PAGES",
        "CF_PAGES_BRANCH",
        "CF_PAGES_COMMIT_SHA",
    }
    assert f"HOME={os.environ['HOME']}\n" not in seen.read_text()
    assert site.world.sandbox.token not in seen.read_text()


# Interruption


def descendants(pid: int) -> list[int]:
    """Return the IDs of all child processes."""
    children = [int(pid) for path in Path(f"/proc/{pid}/task").glob("*/children") for pid in path.read_text().split()]
    return [*children, *(further for child in children for further in descendants(child))]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_build_leaves_no_process_and_worktree(site: Site, number: signal.Signals) -> None:
    fifo = site.world.folder / "pid"
    os.mkfifo(fifo)
    site.world.edit_config("          output: dist\n", f"          output: dist\n          env: {{OUT: {fifo}}}\n")
    site.commit_build('sleep 600 & echo "$$ $!" > "$OUT"; wait')
    later = site.repository.commit("later", page_html="later")
    site.world.sandbox.pages.projects[SITE].deployments[0].commit_hash = later
    before = site.repository.state()
    command = Command(site.world, "redeploy-pages", "frontend", environ={"OPS_SOURCE": "app"})
    seen: list[str] = []

    def end() -> None:
        seen.append(fifo.read_text())
        command.send(number)()

    ending = threading.Thread(target=end, daemon=True)
    ending.start()
    outcome = command.run()
    ending.join(10)

    assert outcome.code == (-signal.SIGKILL if number == signal.SIGKILL else 130), outcome.err
    assert all(has_ended(int(pid)) for pid in seen[0].split())
    assert site.repository.state() == before
    site.assert_nothing_sent()


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    "path",
    [
        "/accounts/*/pages/projects/*/upload-token",
        "/pages/assets/check-missing",
        "/pages/assets/upload",
        "/pages/assets/upsert-hashes",
        "/accounts/*/pages/projects/*/deployments",
    ],
)
def test_killed_deployment_can_be_finished(site: Site, path: str, moment: str) -> None:
    command = Command(site.world, "redeploy-pages", "frontend", environ={"OPS_SOURCE": "app"})
    method = "GET" if path.endswith("upload-token") else "POST"
    lost = {"lost": "before"} if moment == "before" else {}
    started: list[int] = []

    def end() -> None:
        command.send()()
        started.extend(descendants(command.pid))
        command.send(signal.SIGKILL)()

    site.world.sandbox.fault(method=method, path=path, **{moment: end}, **lost)

    outcome = command.run()

    assert outcome.code == -signal.SIGKILL, outcome.err
    assert all(has_ended(pid) for pid in started)
    site.world.sandbox.faults.clear()
    site.world.sandbox.clock.advance(60)
    again = site.redeploy()
    ours = f"(redeployed by ops {again.result['run']})"
    made = [d for d in site.world.sandbox.pages.deployments(SITE)[:-1] if not d.commit_message.endswith(ours)]
    if again.result["reason"] == "world_moved":
        assert made, "Cloudflare can only finish, while this one plans, what the killed run had sent"
        again = site.redeploy()
    assert again.result["decision"] == ("nothing_to_do" if made else "recovered"), again.err
    assert site.served.commit_hash == site.good
    assert len(site.world.sandbox.pages.deployments(SITE)) == 2


# A site built by another job


def test_job_with_a_token_refuses_to_build(site: Site) -> None:
    assert_refused(
        site, site.redeploy(GITHUB_ACTIONS="true"), "build_unusable", "the build of an old commit could read"
    )
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
    assert "PLANNED  planned, and the workflow goes on: it builds the commit" in outcome.out
    assert "read the log of its job build" in outcome.out
    assert "dry run: nothing" not in outcome.out
    assert site.good in (tmp_path / "outputs").read_text()
    site.assert_nothing_sent()


def test_fetch_job_explains_its_refusal(site: Site, tmp_path: Path) -> None:
    outcome = fetch(site, tmp_path / "outputs", "--commit", "f" * 40)

    assert outcome.code == 3
    assert "REFUSED  commit" in outcome.out
    assert "next step: Run `git fetch` there" in outcome.out
    assert "fetched" not in outcome.out.replace("nothing was fetched, so the jobs after this one do nothing", "")


def test_fetch_job_probes_if_nothing_is_to_do(site: Site, tmp_path: Path) -> None:
    outcome = fetch(site, tmp_path / "outputs", "--commit", site.bad)

    assert outcome.code == 6
    assert f"STILL UNHEALTHY  {site.live[:8]} is live already" in outcome.out
    assert "; nothing was changed, and it is unhealthy" in outcome.out
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
    assert "is not a full SHA" in outcome.result["message"]
