"""Environments: rules, required reviewers, patterns of branches and tags."""

from dataclasses import replace
from typing import Any, Literal

from sandbox.github.actions import changes
from sandbox.github.call import (
    NO_CONTENT,
    REPO,
    Fields,
    GitHubAnswer,
    GitHubCall,
    GitHubRefusal,
    Routes,
    fields,
    not_found,
)
from sandbox.github.environments import serializers
from sandbox.github.environments.state import EnvironmentProtection, FakeEnvironment
from sandbox.github.users.state import Team, User

ROUTES = Routes()
ENVIRONMENT = REPO + "/environments/{environment}"
_MOST_REVIEWERS = 6
_PLAN_GATED: Fields = {"wait_timer": int, "prevent_self_review": bool, "reviewers": (list, type(None))}
"""Rules that need Enterprise in a private repository."""


def find_environment(call: GitHubCall) -> FakeEnvironment:
    environment = call.repository.environments.get(call.parameters["environment"].lower())
    if environment is None:
        raise not_found()
    return environment


@ROUTES.add("GET", REPO + "/environments")
def list_environments(call: GitHubCall) -> GitHubAnswer:
    found = call.repository.environments.values()
    return call.page(found, lambda one: serializers.environment(one, call.urls), under="environments")


@ROUTES.add("GET", ENVIRONMENT)
def get_environment(call: GitHubCall) -> GitHubAnswer:
    return GitHubAnswer(body=serializers.environment(find_environment(call), call.urls))


@ROUTES.add("PUT", ENVIRONMENT)
def put_environment(call: GitHubCall) -> GitHubAnswer:
    """Create an environment or replace its rules; missing rules are removed."""
    body = fields(call, optional={**_PLAN_GATED, "deployment_branch_policy": (dict, type(None))})
    policy = _policy(body.get("deployment_branch_policy"))
    reviewers = [_reviewer(call, one) for one in body.get("reviewers") or ()]
    if len(reviewers) > _MOST_REVIEWERS:
        raise GitHubRefusal(422, f"An environment can have at most {_MOST_REVIEWERS} reviewers.")
    made = _find_or_make(call)
    _refuse_rules_beyond_plan(call, body)
    before = made.protection if policy == "custom" else EnvironmentProtection()
    made.protection = EnvironmentProtection(
        reviewers=tuple(one for one in reviewers if isinstance(one, User)),
        teams=tuple(one for one in reviewers if isinstance(one, Team)),
        prevents_self_review=body.get("prevent_self_review", False),
        policy=policy,
        branches=before.branches,
        tags=before.tags,
        wait_timer=body.get("wait_timer", 0),
    )
    made.updated_at = call.repository.now()
    return GitHubAnswer(body=serializers.environment(made, call.urls))


def _policy(given: Any) -> Literal["all", "protected", "custom"]:
    if given is None:
        return "all"
    is_protected, is_custom = given.get("protected_branches"), given.get("custom_branch_policies")
    if {is_protected, is_custom} != {True, False}:
        text = "protected_branches and custom_branch_policies cannot have the same value"
        raise GitHubRefusal(422, f"Invalid request. {text}.")
    return "custom" if is_custom else "protected"


def _find_or_make(call: GitHubCall) -> FakeEnvironment:
    switches = call.repository.switches
    if not switches.has_environments and not switches.free_plan_creates_environments:
        raise not_found()
    return changes.find_or_make_environment(call.repository, call.parameters["environment"])


def _refuse_rules_beyond_plan(call: GitHubCall, body: dict[str, Any]) -> None:
    """Refuse a rule that the plan lacks, also with its default value. The environment exists by then.

    github.com/integrations/terraform-provider-github/issues/1311, github.com/backstage/backstage/issues/28977,
    github.com/alchemy-run/alchemy/pull/1373
    """
    switches = call.repository.switches
    if not switches.has_environments and (body.keys() & _PLAN_GATED or body.get("deployment_branch_policy")):
        text = "Fail to create protected rule, please ensure billing plan include protected branch gate."
        raise GitHubRefusal(422, text)
    if not switches.has_reviewers and body.keys() & _PLAN_GATED:
        raise GitHubRefusal(
            422,
            "Failed to create the environment protection rule. Please ensure the billing plan supports the required "
            "reviewers protection rule.",
        )


def _reviewer(call: GitHubCall, given: Any) -> User | Team:
    """Return the user or team with that ID; both need access to the repository."""
    named, repository = given if isinstance(given, dict) else {}, call.repository
    known: dict[tuple[str, int], User | Team] = {("User", one.id): one for one in repository.users}
    known |= {("Team", one.id): one for one in repository.teams}
    found = known.get((named.get("type", ""), named.get("id", 0)))
    if found is None or (isinstance(found, User) and repository.role(found) is None):
        raise GitHubRefusal(422, "Failed to create or update the environment protection rule. A reviewer is invalid.")
    return found


@ROUTES.add("DELETE", ENVIRONMENT)
def delete_environment(call: GitHubCall) -> GitHubAnswer:
    del call.repository.environments[find_environment(call).name.lower()]
    return NO_CONTENT


_BRANCH_POLICIES = ENVIRONMENT + "/deployment-branch-policies"


@ROUTES.add("GET", _BRANCH_POLICIES)
def list_branch_policies(call: GitHubCall) -> GitHubAnswer:
    return call.page(_patterns(find_environment(call)), serializers.branch_policy, under="branch_policies")


def _patterns(environment: FakeEnvironment) -> list[serializers.Pattern]:
    rules = environment.protection
    return [
        serializers.Pattern(environment, kind, name)
        for kind, names in (("branch", rules.branches), ("tag", rules.tags))
        for name in names
    ]


@ROUTES.add("POST", _BRANCH_POLICIES)
def add_branch_policy(call: GitHubCall) -> GitHubAnswer:
    """Add a pattern: 404 unless the policy is `custom`, 303 if it exists."""
    found, body = find_environment(call), fields(call, required={"name": str}, optional={"type": str})
    added = serializers.Pattern(found, body.get("type", "branch"), body["name"])
    rules = found.protection
    if rules.policy != "custom":
        raise not_found()
    if added in _patterns(found):
        return GitHubAnswer(status=303)
    found.protection = (
        replace(rules, tags=(*rules.tags, added.name))
        if added.kind == "tag"
        else replace(rules, branches=(*rules.branches, added.name))
    )
    return GitHubAnswer(body=serializers.branch_policy(added))


@ROUTES.add("DELETE", _BRANCH_POLICIES + "/{policy_number}")
def delete_branch_policy(call: GitHubCall) -> GitHubAnswer:
    found = find_environment(call)
    patterns = _patterns(found)
    kept = [one for one in patterns if one.id != call.number("policy_number")]
    if kept == patterns:
        raise not_found()
    found.protection = replace(
        found.protection,
        branches=tuple(one.name for one in kept if one.kind == "branch"),
        tags=tuple(one.name for one in kept if one.kind == "tag"),
    )
    return NO_CONTENT
