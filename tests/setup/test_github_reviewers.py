"""Reviewers that `ops setup github` gives to the environments of a repository."""

import re

import pytest

from tests.setup.test_github_setup import ENVIRONMENTS, REPOSITORY, Shop, shop

__all__ = ["shop"]


def test_approval_on_free_is_left_to_a_person(shop: Shop) -> None:
    shop.edit("    services:\n", "    approval: [security]\n    services:\n")
    before = shop.config.read_text()

    result = shop.result()

    assert (result["decision"], result["exit_code"]) == ("incomplete", 4)
    assert "`approval` under live" in result["impossible"][0]
    assert shop.config.read_text() == before
    assert result["secrets"] == []


@pytest.mark.slow
def test_reviewers_are_set_where_the_plan_has_them(shop: Shop) -> None:
    shop.github.switches.plan = "enterprise"
    shop.edit("    services:\n", "    approval: [security]\n    services:\n")

    result = shop.result("--reviewer", "omar", "--reviewer", "rita")

    assert result["decision"] == "done"
    rules = shop.github.environments["approve-live"]
    assert ([one.login for one in rules.reviewers], rules.prevents_self_review) == (["omar", "rita"], True)
    assert "one reviewer" not in str(result["notices"])
    assert shop.result()["decision"] == "nothing_to_do"
    shop.result("--reviewer", "rita")
    assert [one.login for one in shop.github.environments["approve-live"].reviewers] == ["rita"]


def test_more_reviewers_than_github_allows_are_refused(shop: Shop) -> None:
    shop.github.switches.plan = "enterprise"
    shop.edit("    services:\n", "    approval: [security]\n    services:\n")

    refused = shop.setup("--yes", *(word for number in range(7) for word in ("--reviewer", f"person-{number}")))

    assert refused.code == 2
    assert re.search(r"\b6\b.*\b7\b", refused.err)
    assert shop.writes() == []


def test_reviewers_of_a_person_may_no_longer_approve_their_own_requests(shop: Shop) -> None:
    shop.github.switches.plan = "enterprise"
    shop.edit("    services:\n", "    approval: [security]\n    services:\n")
    shop.github.add_environment("approve-live", reviewers=["rita"], branches=["main"], wait_timer=5)

    result = shop.result()

    rules = shop.github.environments["approve-live"]
    assert ([one.login for one in rules.reviewers], rules.prevents_self_review, rules.wait_timer) == (["rita"], True, 5)
    assert any("`approve-live`" in each and "rita" in each for each in result["notices"])
    assert shop.result()["decision"] == "nothing_to_do"


def test_responders_are_the_default_reviewers(shop: Shop) -> None:
    shop.github.switches.private = False
    shop.edit("    services:\n", "    approval: [security]\n    services:\n")
    shop.result()
    assert [one.login for one in shop.github.environments["approve-live"].reviewers] == ["dana", "omar"]


def test_team_plan_has_no_reviewers(shop: Shop) -> None:
    shop.github.switches.plan = "team"
    shop.edit("    services:\n", "    approval: [security]\n    services:\n")

    outcome = shop.setup("--yes", "--reviewer", "omar")

    assert outcome.code == 4
    assert re.search("NOT created environment approve-live: .*`approval`", outcome.err)
    assert shop.branches() == dict.fromkeys({*ENVIRONMENTS, "approve-live"}, ("main",))


def test_refused_rule_of_an_environment_names_the_setting(shop: Shop) -> None:
    shop.github.switches.plan = "team"
    shop.github.fault(method="PUT", path="/repos/*/*/environments/recovery", status=422, times=None)
    outcome = shop.setup("--yes")
    assert outcome.code == 4
    assert "NOT created environment recovery: " in outcome.err
    assert "environments: false" in outcome.err
    assert "created environment security" in outcome.out


def test_team_with_access_approves(shop: Shop) -> None:
    shop.github.switches.plan = "enterprise"
    shop.edit("    services:\n", "    approval: [security]\n    services:\n")
    owner = REPOSITORY.partition("/")[0]
    teams = ("--reviewer", f"{owner}/On-Call", "--reviewer", "rita")

    stranger = shop.setup("--yes", *teams)
    shop.github.add_team("on-call", ["omar"])
    result = shop.result(*teams)

    assert (stranger.code, f'no team "{owner}/On-Call" has access' in stranger.err) == (2, True)
    assert f"PUT orgs/{owner}/teams/On-Call/repos/{REPOSITORY}" in stranger.err
    rules = shop.github.environments["approve-live"]
    assert ([one.slug for one in rules.teams], [one.login for one in rules.reviewers]) == (["on-call"], ["rita"])
    assert (result["decision"], shop.result(*teams)["decision"]) == ("done", "nothing_to_do")
    shop.result("--reviewer", f"{owner}/on-call")
    assert "one reviewer" not in str(result["notices"])


@pytest.mark.parametrize(("login", "why"), [("nobody", 'no user "nobody"'), ("zoo/on-call", "of another owner")])
def test_reviewer_who_is_no_person_stops_before_any_write(shop: Shop, login: str, why: str) -> None:
    shop.github.switches.private = False
    shop.edit("    services:\n", "    approval: [security]\n    services:\n")
    outcome = shop.setup("--yes", "--reviewer", login)
    assert (outcome.code, why in outcome.err, shop.writes()) == (2, True, [])
