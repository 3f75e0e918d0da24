"""Rulesets, the rules of a branch, code owners, and the check of pushes and merges.

There is no older branch protection. docs.github.com/rest/repos/rules, docs.github.com/rest/branches/branch-protection
"""

from collections.abc import Collection, Mapping
from typing import Any

from sandbox.github.call import (
    NO_CONTENT,
    REPO,
    Fields,
    GitHubAnswer,
    GitHubCall,
    GitHubRefusal,
    Routes,
    custom,
    fields,
    not_found,
    validation_failed,
)
from sandbox.github.rulesets import serializers
from sandbox.github.rulesets.state import RULE_TYPES, FakeRuleset
from sandbox.github.users.state import includes_role

ROUTES = Routes()
_RULESETS = REPO + "/rulesets"
_RULESET = _RULESETS + "/{ruleset_number}"
CODEOWNERS = (".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS")
_OPTIONAL: Fields = {"target": str, "bypass_actors": list, "conditions": dict, "rules": list}
_PULL_REQUEST = {
    "dismiss_stale_reviews_on_push",
    "require_code_owner_review",
    "require_last_push_approval",
    "required_approving_review_count",
    "required_review_thread_resolution",
}
"""The required parameters of the rule `pull_request`."""
_VIOLATION = "Repository rule violations found"


def _require_plan(call: GitHubCall) -> None:
    """Refuse what private repositories on Free lack; organizations get the same text.

    github.com/SoftEtherApp/SoftEther-Web/issues/37, github.com/F-U-S-E-E/FuseDevelopmentGroup/issues/58
    """
    if not call.repository.switches.has_environments:
        raise GitHubRefusal(403, "Upgrade to GitHub Pro or make this repository public to enable this feature.")


@ROUTES.add("GET", _RULESETS)
def list_rulesets(call: GitHubCall) -> GitHubAnswer:
    _require_plan(call)
    return call.page(call.repository.rulesets.values(), lambda one: serializers.listed(one, call.urls))


@ROUTES.add("GET", _RULESET)
def get_ruleset(call: GitHubCall) -> GitHubAnswer:
    return _answer(call, _find(call))


@ROUTES.add("POST", _RULESETS)
def create_ruleset(call: GitHubCall) -> GitHubAnswer:
    _require_plan(call)
    body = fields(call, required={"name": str, "enforcement": str}, optional=_OPTIONAL)
    _check(call, body, None)
    repository = call.repository
    made = FakeRuleset(id=repository.new_id(), created_at=repository.now(), updated_at=repository.now(), **body)
    repository.rulesets[made.id] = made
    return _answer(call, made, status=201)


@ROUTES.add("PUT", _RULESET)
def update_ruleset(call: GitHubCall) -> GitHubAnswer:
    """Replace the given fields."""
    found = _find(call)
    body = fields(call, optional={"name": str, "enforcement": str, **_OPTIONAL})
    _check(call, body, found)
    for name, value in body.items():
        setattr(found, name, value)
    found.updated_at = call.repository.now()
    return _answer(call, found)


@ROUTES.add("DELETE", _RULESET)
def delete_ruleset(call: GitHubCall) -> GitHubAnswer:
    del call.repository.rulesets[_find(call).id]
    return NO_CONTENT


@ROUTES.add("GET", REPO + "/rules/branches/{branch*}")
def list_branch_rules(call: GitHubCall) -> GitHubAnswer:
    """Return the active rules. The branch does not need to exist."""
    repository = call.repository
    if not repository.switches.free_plan_lists_branch_rules:
        _require_plan(call)
    found = [
        (ruleset, rule)
        for ruleset in repository.rulesets.values()
        if repository.switches.has_environments
        if ruleset.applies_to(call.parameters["branch"], repository.git.default_branch)
        for rule in ruleset.rules
    ]
    return call.page(found, lambda item: serializers.branch_rule(*item, call.urls))


@ROUTES.add("GET", REPO + "/branches/{branch*}/protection")
def get_branch_protection(call: GitHubCall) -> GitHubAnswer:
    """Answer for a repository without branch protection; rulesets do not appear here."""
    _require_plan(call)
    if call.parameters["branch"] not in call.repository.git.branches:
        raise GitHubRefusal(404, "Branch not found")
    raise GitHubRefusal(404, "Branch not protected")


def _find(call: GitHubCall) -> FakeRuleset:
    _require_plan(call)
    found = call.repository.rulesets.get(call.number("ruleset_number"))
    if found is None:
        raise not_found()
    return found


def _answer(call: GitHubCall, found: FakeRuleset, *, status: int = 200) -> GitHubAnswer:
    role = None if call.token.app else call.repository.role(call.user)
    return GitHubAnswer(status=status, body=serializers.ruleset(found, role, call.urls))


def _check(call: GitHubCall, body: dict[str, Any], own: FakeRuleset | None) -> None:
    if any(one.name == body.get("name") for one in call.repository.rulesets.values() if one is not own):
        raise custom("RepositoryRuleset", "name", "Name must be unique")
    if body.get("enforcement", "active") not in {"active", "disabled"}:  # `evaluate` needs Enterprise
        raise custom("RepositoryRuleset", "enforcement", "Enforcement is invalid")
    if body.get("target", "branch") not in {"branch", "tag", "push"}:
        raise custom("RepositoryRuleset", "target", "Target is invalid")
    for rule in body.get("rules", ()):
        kind = rule.get("type") if isinstance(rule, dict) else None
        if kind not in RULE_TYPES:
            raise validation_failed(f"Invalid rule '{kind}'")
        if kind == "pull_request" and not rule.get("parameters", {}).keys() >= _PULL_REQUEST:
            raise validation_failed("Invalid parameters for the rule 'pull_request'")


@ROUTES.add("GET", REPO + "/codeowners/errors")
def list_code_owner_errors(call: GitHubCall) -> GitHubAnswer:
    """Return the unknown owners of CODEOWNERS: people without write access. Every team of the owner is known."""
    graph = call.repository.git
    head = graph.resolve(call.query.get("ref", graph.default_branch))
    path = next((name for name in CODEOWNERS if head is not None and name in head.files), None)
    if head is None or path is None:
        raise not_found()
    found = [
        serializers.code_owner_error(path, number, line, owner)
        for number, line in enumerate(head.files[path].decode().splitlines(), 1)
        for owner in line.partition("#")[0].split()[1:]
        if not _is_code_owner(call, owner)
    ]
    return GitHubAnswer(body={"errors": found})


def _is_code_owner(call: GitHubCall, owner: str) -> bool:
    login, _, team = owner.removeprefix("@").partition("/")
    if team:
        return login.lower() == call.repository.owner_login.lower()
    user = call.repository.user(login)
    return user is not None and includes_role(call.repository.collaborator_role(user), "write")


def require_push(call: GitHubCall, branch: str, status: int = 409) -> None:
    """Refuse a commit to the branch without a pull request."""
    if _rule(call, "pull_request", branch, {"never", "pull_requests_only"}):
        raise GitHubRefusal(status, f"{_VIOLATION}\n\nChanges must be made through a pull request.")


def require_merge(call: GitHubCall, branch: str) -> None:
    """Refuse a merge that needs an approval, because the sandbox has no reviews of pull requests."""
    rule = _rule(call, "pull_request", branch, {"never"})
    if rule and (count := rule["parameters"]["required_approving_review_count"]):
        text = f"At least {count} approving review is required by reviewers with write access."
        raise GitHubRefusal(405, f"{_VIOLATION}\n\n{text}")


def _rule(call: GitHubCall, kind: str, branch: str, bypasses: Collection[str]) -> Mapping[str, Any] | None:
    """Return a rule of this kind for the branch that the person, who has one of these bypasses, must follow."""
    repository = call.repository
    role = None if call.token.app else repository.role(call.user)
    return next(
        (
            rule
            for ruleset in repository.rulesets.values()
            if ruleset.applies_to(branch, repository.git.default_branch) and ruleset.bypass_of(role) in bypasses
            if (rule := ruleset.rule(kind)) is not None
        ),
        None,
    )
