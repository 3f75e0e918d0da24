"""Rulesets of the repository: the refs they apply to, and who can bypass them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from sandbox.github.users.state import Role, includes_role

RULE_TYPES = frozenset(
    {
        *("creation", "update", "deletion", "required_linear_history", "merge_queue", "required_deployments"),
        *("required_signatures", "pull_request", "required_status_checks", "non_fast_forward", "workflows"),
        *("commit_message_pattern", "commit_author_email_pattern", "committer_email_pattern", "branch_name_pattern"),
        *("tag_name_pattern", "file_path_restriction", "max_file_path_length", "file_extension_restriction"),
        *("max_file_size", "code_scanning", "copilot_code_review"),
    }
)
_ROLES: Mapping[int, Role] = {2: "maintain", 4: "write", 5: "admin"}
"""ID of a built-in role as `actor_id` of a `RepositoryRole`: not documented [unsure: role-ids], but used by
registry.terraform.io/providers/integrations/github/latest/docs/resources/repository_ruleset."""


@dataclass(eq=False, kw_only=True)
class FakeRuleset:
    id: int
    name: str
    created_at: datetime
    updated_at: datetime
    enforcement: str = "active"
    target: str = "branch"
    bypass_actors: Sequence[Mapping[str, Any]] = ()
    conditions: Mapping[str, Any] = field(default_factory=dict)
    rules: Sequence[Mapping[str, Any]] = ()

    def applies_to(self, branch: str, default_branch: str) -> bool:
        """Return whether it is active for the branch."""
        named = self.conditions.get("ref_name", {})
        refs = f"refs/heads/{branch}", branch == default_branch
        return (
            (self.enforcement, self.target) == ("active", "branch")
            and _matches(named.get("include", ()), *refs)
            and not _matches(named.get("exclude", ()), *refs)
        )

    def bypass_of(self, role: Role | None) -> str:
        """Return `always`, `pull_requests_only` or `never` for a person with this role."""
        modes = {
            actor["bypass_mode"]
            for actor in self.bypass_actors
            if actor["actor_type"] == "RepositoryRole" and includes_role(role, _ROLES[actor["actor_id"]])
        }
        return "always" if modes & {"always", "exempt"} else "pull_requests_only" if modes else "never"

    def rule(self, kind: str) -> Mapping[str, Any] | None:
        return next((rule for rule in self.rules if rule["type"] == kind), None)


def _matches(patterns: Iterable[str], ref: str, is_default: bool) -> bool:  # noqa: FBT001
    """Return whether one of the patterns names the ref. `*` includes slashes here, unlike on GitHub."""
    return any(one == "~ALL" or (one == "~DEFAULT_BRANCH" and is_default) or fnmatchcase(ref, one) for one in patterns)
