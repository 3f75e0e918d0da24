"""Require the approval that ops.yml demands before a recovery job changes anything."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from sandbox.github import GitHub
from sandbox.github.actions.state import DeploymentReview, FakeRun
from tests.conftest import Outcome, Releases, World
from tests.gate.support import Job

APPROVE = "approve-production"
DEMANDED = "    token: CLOUDFLARE_API_TOKEN\n    approval: [recovery]\n"


NOBODY = f'"{APPROVE}"(?![\\s\\S]*laptop)'
"""Of a refusal that names the environment, and no reviewer who requested it."""


@pytest.fixture
def hub(world: World) -> GitHub:
    """Return a repository whose ops.yml requires an approval in production."""
    world.edit_config("    token: CLOUDFLARE_API_TOKEN\n", DEMANDED)
    github = world.sandbox.github
    for login in ("alice", "rita"):
        github.add_user(login)
    files = {".github/workflows/rollback-worker.yml": "on: workflow_dispatch\n", "ops.yml": world.config.read_text()}
    github.add_commit("Workflow", "alice", files=files)
    return github


@pytest.fixture
def run(hub: GitHub) -> FakeRun:
    return hub.start_run(".github/workflows/rollback-worker.yml", "workflow_dispatch", {}, "alice")


def approve(hub: GitHub, run: FakeRun, name: str = APPROVE, state: str = "approved", by: str = "rita") -> None:
    hub.add_environment(name, reviewers=[by])
    repository = hub._repository
    environment = next(each for each in repository.environments.values() if each.name == name)
    user = next(user for user in repository.users if user.login == by)
    run.reviews.append(DeploymentReview(environments=(environment,), user=user, state=state, comment=""))


def recover(world: World, run: FakeRun, *more: str, **environ: str | None) -> Outcome:
    """Run the recovery step in the job after the approval job."""
    approved = [
        "--attempt",
        "1",
        "--approved-runbook",
        "rollback-worker",
        "--approved-environment",
        "production",
        "--approved-for",
        "recovery",
    ]
    approved += ["--requested-by", "alice"]
    params = json.dumps({"service": "api"})
    job = {"GITHUB_ACTIONS": "true", "GITHUB_ACTOR": "alice", "GITHUB_RUN_ID": str(run.id), "GITHUB_RUN_ATTEMPT": "1"}
    where = ["--environment", "production", "--config", str(world.config), "--yes", "--json"]
    hub = {name: value for name, value in world.sandbox.github.environ().items() if name.startswith("GITHUB_")}
    return world.ops(
        "recover",
        "--runbook",
        "rollback-worker",
        "--params",
        params,
        *where,
        *approved,
        *more,
        **{**hub, **job, **environ},
    )


def add_approval_job(hub: GitHub, run: FakeRun, ago: timedelta = timedelta()) -> None:
    hub.add_job(run.id, APPROVE, started_at=hub.clock.now() - ago)


@pytest.mark.slow
@pytest.mark.parametrize("caller", ["", "recover / "], ids=["own job", "job of a called workflow"])
def test_approved_run_recovers_and_names_reviewer(
    world: World, releases: Releases, hub: GitHub, run: FakeRun, caller: str
) -> None:
    hub.add_job(run.id, f"{caller}{APPROVE}", started_at=hub.clock.now())
    approve(hub, run)

    done = recover(world, run)

    assert done.result["decision"] == "recovered", done.err
    assert world.live == {releases.good: 100}
    assert "(alice, approved by rita)" in done.result["timeline"][0]["text"]


@pytest.mark.parametrize(
    ("reviews", "waits", "said"),
    [(1, True, NOBODY), (2, False, NOBODY), (2, True, "on_relapse")],
    ids=["the first approval is used up", "no job waited", "approved again"],
)
def test_automatic_step_needs_an_approval_of_its_own(
    world: World, releases: Releases, hub: GitHub, run: FakeRun, reviews: int, waits: bool, said: str
) -> None:
    """ops.yml has no `on_relapse: next`, so that an approved step is refused next."""
    hub.add_job(run.id, APPROVE, started_at=hub.clock.now() - timedelta(hours=1))
    if waits:
        hub.add_job(run.id, f"next-{APPROVE}", started_at=hub.clock.now())
    for _ in range(reviews):
        approve(hub, run)

    done = recover(world, run, "--relapsed", "d" * 8)

    assert (done.code, bool(re.search(said, done.out + done.err))) == (3, True), done.err
    assert world.live == {releases.bad: 100}


@pytest.mark.slow
def test_environment_name_ignores_case(world: World, releases: Releases, hub: GitHub, run: FakeRun) -> None:
    """GitHub ignores the case of an environment name, and shows the name as it was created."""
    add_approval_job(hub, run)
    approve(hub, run, "Approve-Production")

    assert recover(world, run).result["decision"] == "recovered"


@pytest.mark.slow
def test_approval_renews_old_request(world: World, releases: Releases, hub: GitHub, run: FakeRun) -> None:
    """The reviewer judges the current state."""
    asked = hub.clock.now().isoformat()
    world.sandbox.clock.advance(3600)
    add_approval_job(hub, run)
    approve(hub, run)

    world.edit_config(DEMANDED, "    token: CLOUDFLARE_API_TOKEN\n")
    assert recover(world, run, "--requested-at", asked).result["reason"] == "request_too_old"
    world.edit_config("    token: CLOUDFLARE_API_TOKEN\n", DEMANDED)
    done = recover(world, run, "--requested-at", asked)

    assert done.result["decision"] == "recovered", done.err
    assert world.live == {releases.good: 100}


def test_requester_who_lost_write_access_is_refused(
    world: World, releases: Releases, hub: GitHub, run: FakeRun
) -> None:
    """GitHub lets a job wait for a reviewer for 30 days."""
    hub.add_user("alice", "triage")
    add_approval_job(hub, run)
    approve(hub, run)

    done = recover(world, run)

    assert done.code == 3
    assert "alice requested this: alice may not write to this repository" in done.err
    assert world.sandbox.requests == []


def test_requester_removed_from_responders_is_refused(
    world: World, releases: Releases, hub: GitHub, run: FakeRun
) -> None:
    """The job runs with the files of the commit of the request."""
    text = world.config.read_text().replace("responders: []", "responders: [rita]")
    hub.add_commit("Take alice off", "rita", files={"ops.yml": text})
    add_approval_job(hub, run)
    approve(hub, run)

    done = recover(world, run)

    assert (done.code, "reasons.md#not_a_responder" in done.err) == (3, True), done.err
    assert world.sandbox.requests == []


def not_approved(hub: GitHub, run: FakeRun) -> None:
    """GitHub created the missing environment without rules, so the job ran without a review."""
    add_approval_job(hub, run)


def rejected(hub: GitHub, run: FakeRun) -> None:
    add_approval_job(hub, run)
    approve(hub, run, state="rejected")


def approved_for_staging(hub: GitHub, run: FakeRun) -> None:
    add_approval_job(hub, run)
    approve(hub, run, "approve-staging")


def without_approval_job(hub: GitHub, run: FakeRun) -> None:
    """The workflow file no longer has the approval job, which an earlier attempt had."""
    approve(hub, run)


def approved_too_long_ago(hub: GitHub, run: FakeRun) -> None:
    add_approval_job(hub, run, timedelta(minutes=31))
    approve(hub, run)


def approval_unreadable(hub: GitHub, run: FakeRun) -> None:
    add_approval_job(hub, run)
    approve(hub, run)
    hub.fault(method="GET", path="/repos/*/*/actions/runs/*/approvals", status=503, times=None)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (not_approved, NOBODY),
        (rejected, NOBODY),
        (approved_for_staging, NOBODY),
        (without_approval_job, NOBODY),
        (approved_too_long_ago, r"\brita\b.* 31 min .* 30 min"),
        (approval_unreadable, r"\(GitHub .*\)"),
    ],
)
def test_missing_approval_stops_run_before_any_request(
    world: World, releases: Releases, hub: GitHub, run: FakeRun, given: Callable[[GitHub, FakeRun], Any], said: str
) -> None:
    given(hub, run)

    done = recover(world, run)

    assert done.code == 3
    assert re.search(said, done.err), done.err
    assert world.live == {releases.bad: 100}
    assert world.sandbox.requests == []


def test_site_fetch_requires_approval(world: World, releases: Releases, hub: GitHub, run: FakeRun) -> None:
    not_approved(hub, run)
    job = {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": str(run.id), "GITHUB_RUN_ATTEMPT": "1"}
    github = {name: value for name, value in hub.environ().items() if name.startswith("GITHUB_")}
    where = ["--service", "frontend", "--environment", "production", "--config", str(world.config)]
    into = str(world.folder / "tree.tar")

    done = world.ops("site", "fetch", *where, "--into", into, "--requested-by", "alice", **{**github, **job})

    assert (done.code, bool(re.search(NOBODY, done.err))) == (3, True), done.err
    assert world.sandbox.requests == []


def rerun(hub: GitHub, run: FakeRun) -> dict[str, str]:
    """Rerun all jobs at once, and return the variables of the new attempt."""
    run.run_attempt += 1
    add_approval_job(hub, run)
    return {"GITHUB_RUN_ATTEMPT": str(run.run_attempt)}


@pytest.mark.slow
def test_approval_of_earlier_attempt_does_not_count(
    world: World, releases: Releases, hub: GitHub, run: FakeRun
) -> None:
    """The reviewers were removed from the environment between the attempts, so GitHub skips the review."""
    add_approval_job(hub, run)
    approve(hub, run)
    second = rerun(hub, run)

    done = recover(world, run, "--attempt", "2", **second)

    assert (done.code, bool(re.search(NOBODY, done.err))) == (3, True), done.err
    assert world.sandbox.requests == []

    approve(hub, run)
    done = recover(world, run, "--attempt", "2", **second)

    assert done.result["decision"] == "recovered", done.err


def test_requester_is_no_reviewer(world: World, releases: Releases, hub: GitHub, run: FakeRun) -> None:
    """Without *Prevent self-review*, GitHub lets the person who started the run approve it."""
    add_approval_job(hub, run)
    approve(hub, run, by="alice")

    for _ in range(2):
        done = recover(world, run, "--requested-by", "Alice")

        assert (done.code, done.result["reason"] if done.out else "same_person") == (3, "same_person"), done.err
        assert f'"{APPROVE}"' in done.err
        assert "laptop" in done.err
    assert world.live == {releases.bad: 100}
    assert world.sandbox.requests == []


def test_first_requester_is_no_reviewer_of_a_later_attempt(
    world: World, releases: Releases, hub: GitHub, run: FakeRun
) -> None:
    """Rita started the request of alice again. GitHub may list the reviews of both attempts in any order."""
    add_approval_job(hub, run)
    approve(hub, run)
    second = rerun(hub, run)
    approve(hub, run, by="alice")

    for _ in range(2):
        done = recover(world, run, "--attempt", "2", "--requested-by", "rita", **second)

        assert (done.code, "reasons.md#same_person" in done.err) == (3, True), done.err
        run.reviews.reverse()
    assert world.sandbox.requests == []


@pytest.mark.slow
def test_approval_after_rejection_counts(world: World, releases: Releases, hub: GitHub, run: FakeRun) -> None:
    hub.add_job(run.id, APPROVE, conclusion="failure")
    approve(hub, run, state="rejected")
    second = rerun(hub, run)
    approve(hub, run)

    assert recover(world, run, "--attempt", "2", **second).result["decision"] == "recovered"


@pytest.mark.slow
def test_environment_without_approval_rule_needs_none(
    world: World, releases: Releases, hub: GitHub, run: FakeRun
) -> None:
    world.edit_config(DEMANDED, "    token: CLOUDFLARE_API_TOKEN\n")

    assert recover(world, run).result["decision"] == "recovered"
    assert world.live == {releases.good: 100}


def test_approval_rule_requires_github_environments(world: World, hub: GitHub) -> None:
    world.config.write_text(world.config.read_text() + "\ngithub:\n  environments: false\n")

    done = world.ops("config", "check", "--config", str(world.config))

    assert done.code == 2
    assert "a GitHub plan without environments has no reviewers" in done.err


def pass_to_reviewers(job: Job, config: str) -> tuple[str, str, str]:
    """Run the gate with that line in ops.yml; return its summary, the comment of the request, and stderr."""
    job.world.edit_config("    token: CLOUDFLARE_API_TOKEN\n", config)
    page, starting = (
        job.world.folder / "summary.md",
        "**Received**, starting\n\n<!-- backout:request run=7001 attempt=1 -->",
    )
    page.write_text("")
    payload = job.label()
    comment = str(job.github.comment(job.incident, starting, "github-actions[bot]"))

    done = job.gate(payload, GITHUB_RUN_ID="7001", OPS_COMMENT=comment, GITHUB_STEP_SUMMARY=str(page))

    job.assert_accepted(done)
    return page.read_text(), job.comments[0], done.err


def test_summary_and_issue_describe_request_to_reviewers(job: Job) -> None:
    summary, comment, err = pass_to_reviewers(job, DEMANDED)

    options = f"--service api --environment production --incident {job.incident}"
    assert summary.strip() == (
        "**Waits for a reviewer of `approve-production`:** `rollback-worker service=api` in `production`, requested by "
        f"`@alice`.\n\nSee the plan, which only reads: `./run ops rollback-worker {options} --dry-run`"
    )
    assert comment == f"**Received**, starting\n\n{summary.strip()}\n\n<!-- backout:request run=7001 attempt=1 -->"
    assert "::notice title=approval::" in err


@pytest.mark.slow
def test_waiting_notice_requires_approval_rule(job: Job) -> None:
    summary, comment, _ = pass_to_reviewers(job, "    token: CLOUDFLARE_API_TOKEN\n")

    assert (summary, "Waits for" in comment) == ("", False)


def test_failed_comment_update_does_not_block_approval(job: Job) -> None:
    job.github.fault(path="/repos/*/*/issues/comments/*", status=500, times=None)

    summary, comment, err = pass_to_reviewers(job, DEMANDED)

    assert ("Waits for" in summary, "Waits for" in comment) == (True, False)
    assert "warning: the comment that announces the run could not be changed (GitHub" in err
