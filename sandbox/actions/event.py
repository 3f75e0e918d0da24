"""Match a delivered event with workflows, and build the contexts of their expressions.

docs.github.com/actions/reference/workflows-and-actions/workflow-syntax#on
docs.github.com/actions/reference/workflows-and-actions/workflow-syntax#filter-pattern-cheat-sheet
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sandbox.actions.expressions import UnsupportedExpression
from sandbox.github import GitHubRepository
from sandbox.github.actions.state import FakeRun
from sandbox.github.repository import Delivery

_DEFAULT_TYPES = {"pull_request": ("opened", "synchronize", "reopened")}
"""Default types of events that do not start a workflow for every type."""
_SKIPS = ("[skip ci]", "[ci skip]", "[no ci]", "[skip actions]", "[actions skip]")
"""docs.github.com/actions/how-tos/manage-workflow-runs/skip-workflow-runs"""
_KNOWN_FILTERS = {"types", "branches", "branches-ignore", "paths", "paths-ignore", "tags", "tags-ignore", "inputs"}


def is_triggered(on: Any, event: str, payload: Mapping[str, Any], changed: Callable[[], Collection[str]]) -> bool:
    """Return whether the event starts a workflow with this `on`.

    `changed` returns the paths that a push or a pull request changed.

    Raises:
        UnsupportedExpression: the workflow uses a trigger that this runner does not support.
    """
    triggers = {on: None} if isinstance(on, str) else dict.fromkeys(on) if isinstance(on, list) else on
    if event == "pull_request" and "pull_request_target" in triggers:
        raise UnsupportedExpression("this runner does not support `on: pull_request_target`")
    if event not in triggers:
        return False
    rules = triggers[event] or {}
    if not rules.keys() <= _KNOWN_FILTERS:
        raise UnsupportedExpression(
            f"this runner does not support, in `on: {event}`: {', '.join(sorted(rules.keys() - _KNOWN_FILTERS))}"
        )
    types = rules.get("types", _DEFAULT_TYPES.get(event))
    if types is not None and payload.get("action") not in ([types] if isinstance(types, str) else types):
        return False
    return _is_on_branch(rules, event, payload) and _passes_path_filter(rules, changed)


def is_skipped(github: GitHubRepository, delivery: Delivery) -> bool:
    """Return whether the message of the head commit skips all runs of this push or pull request."""
    event, payload = delivery
    if event not in {"push", "pull_request"}:
        return False
    sha = payload["after"] if event == "push" else payload["pull_request"]["head"]["sha"]
    message = github.commit_message(sha)
    return any(text in message for text in _SKIPS) or bool(re.search(r"\nskip-checks: ?true\s*$", message))


def _is_on_branch(rules: Mapping[str, Any], event: str, payload: Mapping[str, Any]) -> bool:
    if event == "push":
        if payload.get("deleted"):
            return False
        kind, _, name = payload["ref"].removeprefix("refs/").partition("/")
        if kind == "tags":
            return _passes_ref_filter(rules, "tags", name, other="branches")
        return _passes_ref_filter(rules, "branches", name, other="tags")
    if event in _DEFAULT_TYPES:
        return _passes_ref_filter(rules, "branches", payload["pull_request"]["base"]["ref"], other="")
    return True


def _passes_ref_filter(rules: Mapping[str, Any], kind: str, name: str, *, other: str) -> bool:
    """Return whether the filters allow this ref. A filter only for the other kind excludes this kind."""
    if kind in rules or f"{kind}-ignore" in rules:
        return matches(rules.get(kind, ["**"]), name) and not matches(rules.get(f"{kind}-ignore", []), name)
    return not (other and (other in rules or f"{other}-ignore" in rules))


def _passes_path_filter(rules: Mapping[str, Any], changed: Callable[[], Collection[str]]) -> bool:
    if "paths" in rules:
        return any(matches(rules["paths"], path) for path in changed())
    if "paths-ignore" in rules:
        return any(not matches(rules["paths-ignore"], path) for path in changed())
    return True


def matches(patterns: Sequence[str] | str, name: str) -> bool:
    """Return whether the name matches. The last matching pattern decides; one with a `!` prefix excludes the name."""
    found = False
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        negated = pattern.startswith("!")
        if _glob(pattern.removeprefix("!")).fullmatch(name):
            found = not negated
    return found


def _glob(pattern: str) -> re.Pattern[str]:
    signs = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "?", "+": "+"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\+|\[[^\]]+\])", pattern)
    return re.compile("".join(signs.get(part, part if part[:1] == "[" else re.escape(part)) for part in parts))


def expression_contexts(
    run: FakeRun, workflow: Mapping[str, Any], repository: str, variables: Mapping[str, str]
) -> dict[str, Any]:
    """Return the contexts github, inputs and vars."""
    ends = run.payload["pull_request"] if run.pull else {}
    full = run_ref(run)
    github = {
        "event": run.payload,
        "event_name": run.event,
        "ref": full,
        "ref_name": re.sub("^refs/(heads|pull)/", "", full),
        "head_ref": ends["head"]["ref"] if ends else "",
        "base_ref": ends["base"]["ref"] if ends else "",
        "sha": run.commit.sha,
        "repository": repository,
        "actor": run.actor.login,
        "triggering_actor": run.triggering_actor.login,
        "run_id": str(run.id),
        "run_attempt": str(run.run_attempt),
        "workflow": run.name,
        "workflow_ref": f"{repository}/{run.workflow.path}@{full}",
        "workflow_sha": run.commit.sha,
    }
    return {"github": github, "inputs": _inputs(run, workflow["on"]), "vars": variables}


def run_ref(run: FakeRun) -> str:
    """Return GITHUB_REF of the run."""
    return f"refs/pull/{run.pull.number}/merge" if run.pull else f"refs/heads/{run.head_branch}"


def _inputs(run: FakeRun, on: Any) -> dict[str, Any]:
    """Return the inputs, with booleans where the payload has texts."""
    given = run.payload.get("inputs") or {}
    declared = (on["workflow_dispatch"].get("inputs") or {}) if given else {}
    booleans = {name for name, rules in declared.items() if rules.get("type") == "boolean"}
    return {name: value == "true" if name in booleans else value for name, value in given.items()}


def workflow_source_ref(delivery: Delivery) -> str | None:
    """Return the branch whose workflow file runs, or the merge commit of a pull request; None for the default branch.

    docs.github.com/actions/reference/workflows-and-actions/events-that-trigger-workflows#pull_request

    Raises:
        UnsupportedExpression: the event is for a tag.
    """
    event, payload = delivery
    if event == "pull_request":
        return f"refs/pull/{payload['number']}/merge"
    if event in {"push", "workflow_dispatch"}:
        if not str(payload["ref"]).startswith("refs/heads/"):
            raise UnsupportedExpression(f"this runner supports only branches, not {payload['ref']}")
        return str(payload["ref"]).removeprefix("refs/heads/")
    return None


def changed_paths(github: GitHubRepository, delivery: Delivery) -> list[str]:
    """Return the paths changed by a push or a pull request.

    A push to an existing branch is compared from end to end; for a new branch, the changes of all its commits count.

    docs.github.com/actions/reference/workflows-and-actions/workflow-syntax#git-diff-comparisons
    """
    event, payload = delivery
    if event != "push":
        return github.changed_files(payload["number"])
    if not payload["created"]:
        return github.changed_between(payload["before"], payload["after"])
    kinds = ("added", "removed", "modified")
    return [path for commit in payload["commits"] for kind in kinds for path in commit[kind]]
