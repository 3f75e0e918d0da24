"""`ops verify-platform --repository` on the sandbox: what it makes, measures and leaves."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from ops.core.verification_name import PREFIX, make_verification_name
from ops.platform import workflow_checks
from ops.platform.github_verification import GITHUB_STEPS
from ops.platform.measurements import read_assumptions
from ops.platform.workflow_files import render_verification_workflow
from sandbox.switches import GitHubSwitches
from tests.support.bakery import CONFIG
from tests.support.verification import (
    ACCOUNT,
    GITHUB_SECRET,
    OWNER,
    PERMISSIONS_ON_GITHUB,
    REPOSITORY,
    WORKFLOW_FILE,
    MeasuredRepository,
    measured_repository,
    outcomes_of,
)

MOST_REQUESTS = 650
CHECKED = {each.id for each in read_assumptions() if each.check in GITHUB_STEPS.keys() - workflow_checks.STEPS.keys()}
"""By the API alone."""
TURNED: tuple[tuple[dict[str, Any], set[str]], ...] = (
    ({"private": False}, {"stranger-permission", "environment-branches", "environment-reviewers", "rulesets"}),
    ({"plan": "team"}, {"environment-branches", "rulesets"}),
    ({"plan": "enterprise"}, {"environment-branches", "environment-reviewers", "rulesets"}),
    ({"lists_lag_seconds": 20.0}, {"list-lag"}),
    ({"host_in_answers": "github.internal.example"}, {"answer-host"}),
    ({"over_long_issue_body_is_refused": True}, {"issue-body-limit"}),
    ({"mergeable_is_known": False}, {"mergeable-known"}),
    ({"free_plan_creates_environments": False}, {"environment-created"}),
    ({"free_plan_lists_branch_rules": False}, {"branch-rules"}),
)
"""Switches with another answer, and the assumptions that then differ."""
RATE_LIMIT = "You have exceeded a secondary rate limit."
NEEDED = {"contents", "pull_requests", "issues", "actions"}
OF_A_PERSON = "backout-verify-old-shop"


@pytest.fixture
def measured() -> Iterator[MeasuredRepository]:
    with measured_repository() as repository:
        yield repository


def test_each_checked_assumption_is_confirmed(measured: MeasuredRepository) -> None:
    outcomes = outcomes_of(measured.measure())

    assert {name for name, outcome in outcomes.items() if outcome == "confirmed"} >= CHECKED
    assert "differs" not in outcomes.values()


def test_turned_switches_are_those_that_a_check_measures() -> None:
    turned = {name for switches, _ in TURNED for name in switches}
    assert turned == {name for each in read_assumptions() if each.id in CHECKED for name in each.switches}


@pytest.mark.parametrize(("switches", "expected"), TURNED, ids=[str(switches) for switches, _ in TURNED])
def test_another_answer_of_github_differs(switches: dict[str, Any], expected: set[str]) -> None:
    with measured_repository(replace(GitHubSwitches(), **switches)) as measured:
        result = measured.measure()

        left = measured.left()
    assert {name for name, outcome in outcomes_of(result).items() if outcome == "differs"} == expected
    assert result["requests"] <= MOST_REQUESTS
    assert left == []


def test_rate_limit_is_no_answer_about_the_plan(measured: MeasuredRepository) -> None:
    for path in ("/**/rulesets", "/**/rules/branches/*"):
        measured.sandbox.github.fault(path=path, status=403, message=RATE_LIMIT, times=None)

    rows = {row["id"]: row for row in measured.measure()["assumptions"]}

    assert {rows[name]["outcome"] for name in ("rulesets", "branch-rules")} == {"not_provable"}
    assert "token" not in rows["rulesets"]["reason"]


def test_run_leaves_only_the_removal_of_its_workflow(measured: MeasuredRepository) -> None:
    measured.add(OF_A_PERSON)
    before = measured.names()
    measured.merge_on_request()

    result = measured.measure()

    assert result["requests"] <= MOST_REQUESTS
    measured.sandbox.clock.on_sleep = lambda: None
    assert WORKFLOW_FILE in measured.sandbox.github.files()
    assert len(measured.left()) == 2, "branch and pull request of the removal"
    measured.merge_all()
    assert WORKFLOW_FILE not in measured.sandbox.github.files()
    cleaned = measured.verify("--cleanup", "--yes", "--json")
    assert json.loads(cleaned.out) == {"schema": 1, "deleted": 1}
    assert measured.names() == before
    assert measured.sandbox.github.unknown_requests == []


def test_removal_is_proposed_once(measured: MeasuredRepository) -> None:
    measured.merge_on_request()
    measured.measure()
    measured.sandbox.clock.on_sleep = lambda: None
    before = measured.names()

    again, cleaned = measured.verify("--yes"), measured.verify("--cleanup", "--yes")

    assert (again.code, cleaned.code) == (0, 0)
    assert measured.names() == before
    number = measured.sandbox.github.open_pulls()[0]
    assert f"/pull/{number}" in again.out
    assert f"`ops verify-platform --repository {REPOSITORY} --cleanup`" in again.out
    assert f"/pull/{number}" in cleaned.out


def test_without_a_merge_nothing_is_left(measured: MeasuredRepository) -> None:
    before = measured.names()

    outcome = measured.verify("--yes")

    assert measured.names() == before
    assert outcome.code == 0
    assert [text for text in workflow_checks.STEPS.values() if text in outcome.out] == []
    issue = measured.sandbox.github.issues[-1]
    assert issue.state == "closed"
    assert len(issue.comments) >= 1


def test_workflow_that_another_run_added_is_used_at_once(measured: MeasuredRepository) -> None:
    github, other = measured.sandbox.github, make_verification_name()
    github.switches.lists_lag_seconds = 0.0  # for a list that is behind, the run sleeps before it looks
    measured.add(other)
    later = list[bool]()

    def merge_other() -> None:
        own = [number for number in github.open_pulls() if github.pull_branches(number)[0].endswith("-workflow")]
        if own and WORKFLOW_FILE not in github.files():
            github.add_commit("Merge the workflow", OWNER, files={WORKFLOW_FILE: render_verification_workflow()})
        else:
            later.append(bool(own))

    measured.sandbox.clock.on_sleep = merge_other
    outcome = measured.verify("--yes")

    rows = {row["id"]: row for row in json.loads(measured.output.read_text())["assumptions"]}
    assert rows["label-to-comment"]["reason"] == workflow_checks.NOT_STARTED, "no job runs in this sandbox"
    assert True not in later, "its own pull request is closed at once"
    assert other in outcome.out.partition(workflow_checks.STEPS["refused"])[2], "a warning beside the removal"


@pytest.mark.parametrize(("seconds", "is_used"), [(285, True), (305, False)])
def test_run_waits_five_minutes_for_the_merge(measured: MeasuredRepository, seconds: float, is_used: bool) -> None:
    github, clock, opened = measured.sandbox.github, measured.sandbox.clock, list[datetime]()

    def merge_later() -> None:
        if any(github.pull_branches(number)[0].endswith("-workflow") for number in github.open_pulls()):
            opened.append(clock.now())
            if clock.now() - opened[0] >= timedelta(seconds=seconds):
                measured.merge_all()

    clock.on_sleep = merge_later
    rows = {row["id"]: row for row in measured.measure()["assumptions"]}

    assert (rows["label-to-comment"]["reason"] == workflow_checks.NOT_STARTED) == is_used


def test_workflow_that_was_merged_and_removed_is_named(measured: MeasuredRepository) -> None:
    github = measured.sandbox.github

    def merge_and_remove() -> None:
        measured.merge_all()
        github.add_commit("Remove the workflow", OWNER, files={WORKFLOW_FILE: None})

    measured.sandbox.clock.on_sleep = merge_and_remove
    rows = {row["id"]: row for row in measured.measure()["assumptions"]}

    assert rows["label-to-comment"]["outcome"] == "not_provable"
    assert "minutes" not in rows["label-to-comment"]["reason"], "it was merged in time"


def test_lost_answer_to_the_closing_is_repeated_without_a_comment(measured: MeasuredRepository) -> None:
    github = measured.sandbox.github
    github.fault(method="PATCH", path="/**/issues/*", sends="closed", lost="before", times=2)

    assert measured.verify("--yes").code == 0

    issue = github.issues[-1]
    assert (issue.state, [each.body for each in issue.comments]) == ("closed", ["one"])


def test_other_workflow_of_that_name_stays(measured: MeasuredRepository) -> None:
    measured.sandbox.github.add_commit("Measure", OWNER, files={WORKFLOW_FILE: "name: ours\n"})
    before = measured.names()

    assert measured.verify("--yes").code == 0
    assert measured.verify("--cleanup", "--yes").code == 0

    assert measured.names() == before
    assert measured.sandbox.github.files()[WORKFLOW_FILE] == b"name: ours\n"


def test_both_halves_make_one_report(measured: MeasuredRepository) -> None:
    measured.merge_on_request()

    result = measured.measure("--account", ACCOUNT)

    outcomes = [row["outcome"] for row in result["assumptions"]]
    assert outcomes.count("confirmed") > 60
    assert result["seconds"] > 120, "one clock measures both, and the edge is sampled for two minutes"
    assert "differs" not in outcomes
    assert result["requests"] <= MOST_REQUESTS


@pytest.mark.slow
def test_slow_platform_takes_no_more_requests_than_promised() -> None:
    with measured_repository(GitHubSwitches(lists_lag_seconds=100.0, mergeable_is_known=False)) as measured:
        switches = measured.sandbox.switches
        switches.propagation_seconds = switches.pages_propagation_seconds = 100.0
        switches.kv_staleness_seconds = switches.kv_api_staleness_seconds = 300.0
        switches.audit_lag_seconds, switches.analytics_delay_seconds = 600.0, 900.0
        measured.merge_on_request()

        assert measured.measure("--account", ACCOUNT)["requests"] <= 850


def test_report_names_nothing_of_the_repository(measured: MeasuredRepository) -> None:
    measured.merge_on_request()
    outcomes = [measured.verify("--yes", "--markdown"), measured.verify("--yes", "--json")]

    texts = [measured.output.read_text(), *(each.out for each in outcomes)]
    hidden = (REPOSITORY, *REPOSITORY.split("/"), OWNER, GITHUB_SECRET, PREFIX, measured.sandbox.github.api_url)
    assert [(text[:40], word) for text in texts for word in hidden if word in text] == []


def test_leftovers_of_a_killed_run_are_found_and_deleted(measured: MeasuredRepository) -> None:
    measured.add(OF_A_PERSON)
    before = measured.names()
    gone = measured.sandbox.github.fault(path="/**", skip=30, lost="before", times=None)
    killed = measured.verify("--yes")
    gone.remove()
    assert killed.code != 0
    left = measured.left()
    assert len(left) >= 4

    looked, cleaned = measured.verify(), measured.verify("--cleanup", "--yes")

    assert looked.out.count("made by another run") == len(left)
    assert cleaned.code == 0, cleaned.err
    assert measured.names() == before


def test_things_with_equal_prefixes_stay(measured: MeasuredRepository) -> None:
    own = make_verification_name()
    for name in (OF_A_PERSON, f"{own}0", f"a{own}", own):
        measured.add(name)

    assert measured.verify("--cleanup", "--yes").code == 0

    assert set(measured.left()) == set()
    assert {OF_A_PERSON, f"{own}0", f"a{own}"} <= {*measured.names()["labels"], *measured.names()["branches"]}


@pytest.mark.parametrize(
    "missing", ["issues:write", "contents:write", "administration:write", "workflows:write", "pull_requests:write"]
)
def test_missing_permission_leaves_nothing(measured: MeasuredRepository, missing: str) -> None:
    github = measured.sandbox.github
    github.revoke(GITHUB_SECRET)
    name = missing.partition(":")[0]
    kept = [each for each in PERMISSIONS_ON_GITHUB if each != missing]
    github.add_token(GITHUB_SECRET, OWNER, [*kept, f"{name}:read"])
    before = measured.names()

    outcome = measured.verify("--yes")

    assert outcome.code == (4 if name in {"issues", "contents"} else 0), outcome.err
    assert ("first-day.md#the-token-on-github" in outcome.err) == (outcome.code == 4)
    assert measured.names() == before


@pytest.mark.parametrize("missing", PERMISSIONS_ON_GITHUB)
def test_token_without_a_permission_names_the_page_or_starts(measured: MeasuredRepository, missing: str) -> None:
    """docs/how-to/first-day.md names those without which nothing starts."""
    github, is_needed = measured.sandbox.github, missing.partition(":")[0] in NEEDED
    github.revoke(GITHUB_SECRET)
    github.add_token(GITHUB_SECRET, OWNER, [each for each in PERMISSIONS_ON_GITHUB if each != missing])

    outcome = measured.verify("--yes")

    assert outcome.code == (4 if is_needed else 0), outcome.err
    assert ("first-day.md#the-token-on-github" in outcome.err) == is_needed
    assert bool(github.issues) != is_needed


def test_without_confirmation_nothing_is_made(measured: MeasuredRepository) -> None:
    outcome = measured.verify()

    assert outcome.code == 9
    assert [each.method for each in measured.sandbox.github.requests if each.method != "GET"] == []


@pytest.mark.parametrize(
    ("arguments", "token", "code"),
    [
        (("--yes",), None, 2),
        (("--yes",), "two words", 2),
        (("--yes", "--repository", "acme"), GITHUB_SECRET, 2),
        (("--yes", "--repository", ""), GITHUB_SECRET, 2),
        (("--yes",), "github_pat_unknown", 4),
        (("--yes", "--repository", "acme/unknown"), GITHUB_SECRET, 4),
    ],
    ids=["no token", "a malformed token", "no owner", "nothing to measure", "another token", "another repository"],
)
def test_wrong_input_is_refused(
    measured: MeasuredRepository, arguments: tuple[str, ...], token: str | None, code: int
) -> None:
    outcome = measured.verify(*arguments, VERIFY_GITHUB_TOKEN=token)

    assert outcome.code == code, outcome.err
    assert [each.method for each in measured.sandbox.github.requests if each.method != "GET"] == []


def test_former_name_of_a_repository_is_refused(measured: MeasuredRepository) -> None:
    """GitHub redirects it to an address by ID: docs.github.com/rest/using-the-rest-api/best-practices."""
    github = measured.sandbox.github
    moved = {"location": f"{github.api_url}/repositories/7"}
    github.fault(path=f"/repos/{REPOSITORY}", status=301, headers=moved, times=None)

    outcome = measured.verify("--yes")

    assert outcome.code == 2
    assert "#unknown_name" in outcome.err


@pytest.mark.parametrize(("option", "code"), [([], 3), (["--same-repository"], 9)])
def test_repository_of_the_checkout_needs_an_option(measured: MeasuredRepository, option: list[str], code: int) -> None:
    subprocess.run(["git", "init", "-q", measured.folder], check=True)
    origin = f"{measured.sandbox.github.environ()['GITHUB_SERVER_URL']}/{REPOSITORY.title()}.git"
    subprocess.run(["git", "-C", measured.folder, "remote", "add", "origin", origin], check=True)

    outcome = measured.verify(*option)

    assert outcome.code == code, outcome.err


@pytest.mark.parametrize(("option", "code"), [([], 3), (["--same-repository"], 4)])
def test_repository_of_ops_yml_needs_an_option(measured: MeasuredRepository, option: list[str], code: int) -> None:
    """The sandbox has no repository of that name, so that the permitted run ends with GitHub's 404."""
    (measured.folder / "ops.yml").write_text(CONFIG)

    outcome = measured.verify("--repository", "Bakery/Shop", *option)

    assert outcome.code == code, outcome.err


def test_half_a_sandbox_is_refused(measured: MeasuredRepository) -> None:
    outcome = measured.verify("--yes", GITHUB_API_URL=None, GITHUB_SERVER_URL=None)

    assert outcome.code == 2, outcome.err


def test_refused_deletion_is_named_and_repeated_by_cleanup(measured: MeasuredRepository) -> None:
    refused = measured.sandbox.github.fault(method="DELETE", lost="before", times=None)
    ended = measured.verify("--yes")
    refused.remove()

    cleaned = measured.verify("--cleanup", "--yes")

    assert (ended.code, cleaned.code) == (4, 0)
    assert f"ops verify-platform --repository {REPOSITORY} --cleanup" in ended.err
    assert measured.left() == []


def test_repository_without_a_commit_is_named(measured: MeasuredRepository) -> None:
    measured.sandbox.github.fault(path="/repos/*/*/git/ref/**", status=409, message="Git Repository is empty.")

    outcome = measured.verify("--yes")

    assert outcome.code == 4
    assert "README" in outcome.err
