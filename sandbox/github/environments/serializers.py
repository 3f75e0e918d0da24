"""JSON of environments.

docs.github.com/rest/deployments/environments, docs.github.com/rest/deployments/branch-policies
"""

import zlib
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from sandbox.github.environments.state import EnvironmentProtection, FakeEnvironment
from sandbox.github.urls import Urls, node_id, timestamp
from sandbox.github.users import serializers as users


@dataclass(frozen=True)
class Pattern:
    """A pattern of the policy `custom`."""

    environment: FakeEnvironment
    kind: str
    name: str

    @property
    def id(self) -> int:
        return self.environment.id * 1000 + zlib.crc32(f"{self.kind} {self.name}".encode()) % 1000


def environment(environment: FakeEnvironment, urls: Urls) -> dict[str, Any]:
    rules = environment.protection
    shown: list[dict[str, Any]] = []
    if rules.wait_timer:
        shown.append({"type": "wait_timer", **_rule(environment, 3), "wait_timer": rules.wait_timer})
    if rules.reviewers or rules.teams:
        asked = {"prevent_self_review": rules.prevents_self_review, "reviewers": reviewers(rules, urls)}
        shown.append({"type": "required_reviewers", **_rule(environment, 1), **asked})
    if rules.policy != "all":
        shown.append({"type": "branch_policy", **_rule(environment, 2)})
    policies = {"protected_branches": rules.policy == "protected", "custom_branch_policies": rules.policy == "custom"}
    return {
        **named(environment, urls),
        "created_at": timestamp(environment.created_at),
        "updated_at": timestamp(environment.updated_at),
        "protection_rules": shown,
        "deployment_branch_policy": None if rules.policy == "all" else policies,
    }


def named(environment: FakeEnvironment, urls: Urls) -> dict[str, Any]:
    return {
        "id": environment.id,
        "node_id": node_id("EN", environment.id),
        "name": environment.name,
        "url": urls.repo(f"/environments/{quote(environment.name, safe='')}"),
        "html_url": urls.page(f"/deployments/activity_log?environments_filter={quote(environment.name)}"),
    }


def _rule(environment: FakeEnvironment, number: int) -> dict[str, Any]:
    return {"id": environment.id * 10 + number, "node_id": node_id("GA", environment.id * 10 + number)}


def reviewers(rules: EnvironmentProtection, urls: Urls) -> list[dict[str, Any]]:
    people = [{"type": "User", "reviewer": users.user(one, urls)} for one in rules.reviewers]
    return [*people, *({"type": "Team", "reviewer": users.team(one, urls)} for one in rules.teams)]


def branch_policy(pattern: Pattern) -> dict[str, Any]:
    return {"id": pattern.id, "node_id": node_id("GBP", pattern.id), "name": pattern.name, "type": pattern.kind}
