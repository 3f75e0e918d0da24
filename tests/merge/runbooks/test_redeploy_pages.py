"""`ops redeploy-pages`: build and deploy an earlier commit."""

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ops.pages.plan_text import BUILD_SECTION, COMMIT_SECTION
from tests.conftest import SITE, Outcome, World
from tests.support.commands import Command, ended, has_ended, texts
from tests.support.pages_reads import ORDERS, between
from tests.support.site_repository import BUILD, SiteRepository, repository

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

    assert ended(outcome) == (0, "recovered", "not_seen_failing"), outcome.err
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


def deploy_revert(site: Site, html: str) -> None:
    """Deploy a revert of the bad commit."""
    text = f'Revert "the bad page"\n\nThis reverts commit {site.bad}.'
    revert = site.repository.commit(text, page_html=f"<h1>{html}</h1>")
    site.live = site.world.site(timedelta(0), html, commit=revert, message=text)


def test_fresh_revert_is_nothing_to_do(site: Site) -> None:
    site.world.site(timedelta(days=3), "good", commit=site.good)
    deploy_revert(site, "good")
    site.world.sandbox.clock.advance(600)

    outcomes = [site.redeploy() for _ in range(2)]

    assert [ended(each)[1:] for each in outcomes] == [("nothing_to_do", "already_stepped_back")] * 2, outcomes[0].err
    assert site.bad not in outcomes[0].result["plan"]["next_step"]
    site.assert_nothing_sent()


@pytest.mark.parametrize("sign", ["content", "message"])
def test_reverted_commit_is_not_the_previous_one(site: Site, sign: str) -> None:
    if sign == "content":  # the release before the bad one is live again
        site.world.site(timedelta(days=3), "good", commit=site.good)
    deploy_revert(site, "good" if sign == "content" else "good, and more")
    site.world.sandbox.clock.advance(3600)

    outcome = site.redeploy()

    assert ended(outcome) == (3, "refused", "no_target"), outcome.err
    site.assert_nothing_sent()


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


def redeploy_while_the_site_lags(site: Site) -> tuple[Outcome, Outcome]:
    """Redeploy twice: some machines show the deployment before the first deadline, the last one after both."""
    site.world.edit_config("deadline: 10s", "deadline: 1m")
    site.world.sandbox.switches.pages_propagation_seconds = 200
    return site.redeploy("--commit", site.good), site.redeploy("--commit", site.good)


@pytest.mark.usefixtures("one_machine")
def test_redeployment_waits_for_the_site_and_is_not_repeated_meanwhile(site: Site) -> None:
    first, second = redeploy_while_the_site_lags(site)
    site.world.sandbox.clock.advance(200)
    third = site.redeploy("--commit", site.good)

    assert "waiting for the site to show it (until " in " ".join(texts(first, "compared"))
    assert first.result["decision"] in {"no_evidence", "still_unhealthy"}, first.err
    assert first.result["message"].startswith("written, not seen live: ")
    assert ended(second) == (3, "refused", "world_moved"), second.err
    assert site.good[:12] in second.result["message"]
    assert ended(third)[:2] == (0, "nothing_to_do"), third.err
    assert len(site.world.sandbox.pages.deployments(SITE)) == 2


def test_redeployment_that_some_machines_show_is_not_repeated(site: Site) -> None:
    """Which machine answers is chance. If it shows the deployment already, the probes decide."""
    _, second = redeploy_while_the_site_lags(site)

    assert second.result["decision"] in {"refused", "no_evidence", "still_unhealthy", "nothing_to_do"}, second.err
    assert len(site.world.sandbox.pages.deployments(SITE)) == 2


@pytest.mark.usefixtures("one_machine")
def test_redeployment_recovers_after_thirty_seconds_of_propagation(site: Site) -> None:
    site.world.edit_config("deadline: 10s", "deadline: 1m")
    site.world.sandbox.switches.pages_propagation_seconds = 30

    outcome = site.redeploy()

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    probed = [text for text in texts(outcome, "probed") if text.startswith("after")]
    assert len(probed) == 1, "the probes start when the site shows the deployment"


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
    site.world.sandbox.switches.pages_propagation_seconds = 0
    older = site.world.site(timedelta(hours=3), "older")

    outcome = act_during_build(site, lambda: site.world.sandbox.pages.rollback(SITE, older))

    assert ended(outcome)[1:] == ("refused", "world_moved"), outcome.err
    assert site.world.writes() == []


def test_same_deployment_during_the_build_is_nothing_to_do(site: Site) -> None:
    site.world.sandbox.switches.pages_propagation_seconds = 0

    outcome = act_during_build(site, lambda: site.world.site(timedelta(), "good", commit=site.good))

    assert outcome.code == 0, outcome.err
    assert (
        outcome.result["message"] == "somebody had made the same change already; the probes are healthy, seen from FRA"
    )
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
    assert plan["sections"][COMMIT_SECTION] == [f'{site.good}, on main, "the good page"']
    assert plan["sections"][BUILD_SECTION] == ["sh build.sh in ., output in dist", "with MODE"]
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
    assert site.live[:8] in outcome.result["plan"]["summary"]
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


def test_deployment_after_the_request_stops_it_also_if_the_live_one_is_unknown(site: Site) -> None:
    site.world.sandbox.edge_fault(host="fortunet.example", body="<h1>good</h1>put in by the zone", times=None)
    before = f"{site.world.sandbox.clock.now() - timedelta(minutes=15):%Y-%m-%dT%H:%M:%SZ}"

    outcome = site.redeploy("--commit", site.good, "--requested-at", before)

    assert ended(outcome) == (3, "refused", "world_moved"), outcome.err
    assert site.live[:8] in outcome.result["message"]
    assert site.world.writes() == []


def assert_refused(site: Site, outcome: Outcome, reason: str, said: str) -> None:
    assert ended(outcome) == (3, "refused", reason), outcome.err
    assert said in outcome.result["message"]
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
