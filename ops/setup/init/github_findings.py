"""Find what a team has on GitHub: branch, rules, reviewers, runners and chat. Only reads."""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.app.configuration import add_github
from ops.config.types import REPOSITORY
from ops.core.client_guards import uses_one_sandbox
from ops.core.errors import ProviderError
from ops.core.names import first_of
from ops.core.redaction import Redactor
from ops.core.threads import run_in_time
from ops.github import actions_policy, protection
from ops.github.client import connect

if TYPE_CHECKING:
    from ops.github.client import Repository

SECONDS = 5.0
"""Longest wait for GitHub, in real seconds. What was not read by then is named."""
CHAT_SECRET = re.compile(r"SLACK|DISCORD|TEAMS_|CHAT|PAGERDUTY|OPSGENIE|NTFY")
"""Names of secrets that may lead to a chat or pager."""
STANDARD_BRANCH = "main"


@dataclass(frozen=True)
class GitHubFindings:
    """Settings of one repository of the team. Empty: nothing was found."""

    repository: str = ""
    """OWNER/NAME; empty if no repository was read."""
    is_own: bool = False
    """Whether it is that of the folder, and not that of the application."""
    branch: str = ""
    rules: tuple[str, ...] = ()
    """Types of the rules of the default branch."""
    reviewers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """GitHub environment → people, and teams as ORGANIZATION/TEAM."""
    runner_labels: tuple[str, ...] = ()
    chat_secrets: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def own_branch(self) -> str:
        """Return the default branch for `github.branch`; empty if it is the standard one or unknown."""
        return self.branch if self.is_own and self.branch != STANDARD_BRANCH else ""

    @property
    def proposals(self) -> Mapping[str, str]:
        """Return setting of ops.yml → what was found, and what to write."""
        found = {
            "notify": self._describe_chat(),
            "approval of an environment": self._describe_reviewers(),
            "github.branch": self._describe_branch(),
            "github.runs_on": self._describe_runners(),
        }
        return {name: f"{self.repository} has {text}" for name, text in found.items() if text}

    def _describe_chat(self) -> str:
        if not self.chat_secrets:
            return ""
        slack = next((name for name in self.chat_secrets if "SLACK" in name and "WEBHOOK" in name), "")
        way = f"write `notify: {{slack: {{webhook: {slack}}}}}`, and store the value here too" if slack else ""
        return f"the secrets {', '.join(first_of(self.chat_secrets))}: {way or 'see docs/how-to/chat.md'}"

    def _describe_reviewers(self) -> str:
        if not self.reviewers:
            return ""
        named = "; ".join(f"{', '.join(names)} for {place}" for place, names in self.reviewers.items())
        options = " ".join(f"--reviewer {name}" for name in dict.fromkeys(sum(self.reviewers.values(), ())))
        return f"the reviewers {named}: write `approval: [security]`, then `ops setup github {options}`"

    def _describe_branch(self) -> str:
        rules = f" with the rules {', '.join(self.rules)}" if self.rules else ""
        return f"the default branch {self.branch}{rules}" if self.branch != STANDARD_BRANCH or rules else ""

    def _describe_runners(self) -> str:
        labels = ", ".join(self.runner_labels)
        return f"runners with the labels {labels}: write `runs_on: [{labels}]` to use them" if labels else ""


NOTHING_FOUND = GitHubFindings()


def find_on_github(environ: Mapping[str, str], folder: Path, application: str, redactor: Redactor) -> GitHubFindings:
    """Read the repository of the folder, else that of the application (OWNER/NAME). No error ends the command."""
    known = add_github(environ, folder, redactor) if (folder / ".git").exists() else {**environ}
    own = known.get("GITHUB_REPOSITORY", "") if (folder / ".git").exists() else ""
    name = own or application
    if not re.fullmatch(REPOSITORY, name) or not known.get("GITHUB_TOKEN") or not uses_one_sandbox(known):
        return NOTHING_FOUND
    github = connect({**known, "GITHUB_REPOSITORY": name}, redactor, read_only=True)
    reads: dict[str, Callable[[], Any]] = {
        "default branch": partial(_read_branch, github),
        "reviewers": partial(protection.list_reviewers, github),
        "runners": partial(actions_policy.read_runners, github),
        "secrets": partial(protection.read_secret_names, github),
    }
    try:
        found = run_in_time(reads, len(reads), SECONDS)
    finally:
        github.requester.close()
    return _collect_findings(name, found, reads, is_own=bool(own))


def _read_branch(github: "Repository") -> tuple[str, tuple[str, ...]]:
    branch = protection.read_own_repository(github).default_branch
    rules: tuple[Mapping[str, Any], ...] = ()
    with suppress(ProviderError):  # a plan without rules has none, and the branch counts without them
        rules = protection.branch_rules(github, branch)
    return branch, tuple(sorted({str(each["type"]) for each in rules}))


def _collect_findings(
    name: str, found: Mapping[str, Any], reads: Mapping[str, object], *, is_own: bool
) -> GitHubFindings:
    branch, rules = found.get("default branch") or ("", ())
    owner = name.partition("/")[0]
    reviewers = {
        place: tuple(f"{owner}/{each.name}" if each.is_team else each.name for each in people)
        for place, people in (found.get("reviewers") or {}).items()
    }
    labels = sorted({label for each in found.get("runners") or () if each.is_online for label in each.labels})
    return GitHubFindings(
        repository=name,
        is_own=is_own,
        branch=branch,
        rules=rules,
        reviewers=reviewers,
        runner_labels=tuple(labels),
        chat_secrets=tuple(sorted(each for each in found.get("secrets") or () if CHAT_SECRET.search(each))),
        unread=tuple(each for each in reads if found.get(each) is None),
    )
