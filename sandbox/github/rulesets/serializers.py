"""JSON of rulesets: docs.github.com/rest/repos/rules."""

from collections.abc import Mapping
from typing import Any

from sandbox.github.rulesets.state import FakeRuleset
from sandbox.github.urls import Urls, node_id, timestamp
from sandbox.github.users.state import Role


def listed(ruleset: FakeRuleset, urls: Urls) -> dict[str, Any]:
    """Return the ruleset as in a list, which has neither rules nor conditions."""
    return {
        "id": ruleset.id,
        "name": ruleset.name,
        "target": ruleset.target,
        "source_type": "Repository",
        "source": urls.full_name,
        "enforcement": ruleset.enforcement,
        "node_id": node_id("RRS", ruleset.id),
        "_links": {
            "self": {"href": urls.repo(f"/rulesets/{ruleset.id}")},
            "html": {"href": urls.page(f"/rules/{ruleset.id}")},
        },
        "created_at": timestamp(ruleset.created_at),
        "updated_at": timestamp(ruleset.updated_at),
    }


def ruleset(ruleset: FakeRuleset, role: Role | None, urls: Urls) -> dict[str, Any]:
    """Return the whole ruleset. Only an admin sees who can bypass it."""
    actors = {"bypass_actors": [dict(one) for one in ruleset.bypass_actors]} if role == "admin" else {}
    return {
        **listed(ruleset, urls),
        "conditions": dict(ruleset.conditions),
        "rules": [dict(rule) for rule in ruleset.rules],
        "current_user_can_bypass": ruleset.bypass_of(role),
        **actors,
    }


def branch_rule(ruleset: FakeRuleset, rule: Mapping[str, Any], urls: Urls) -> dict[str, Any]:
    source = {"ruleset_source_type": "Repository", "ruleset_source": urls.full_name, "ruleset_id": ruleset.id}
    return {**rule, **source}


def code_owner_error(path: str, number: int, line: str, owner: str) -> dict[str, Any]:
    column = line.index(owner) + 1
    suggestion = f"make sure {owner} exists and has write access to the repository"
    return {
        "line": number,
        "column": column,
        "kind": "Unknown owner",
        "source": line,
        "suggestion": suggestion,
        "message": f"Unknown owner on line {number}: {suggestion}\n\n  {line}\n  {' ' * (column - 1)}^",
        "path": path,
    }
