"""Whether an event starts a workflow: its name, type, branch and paths.

docs.github.com/actions/reference/workflows-and-actions/workflow-syntax#on
docs.github.com/actions/reference/workflows-and-actions/workflow-syntax#filter-pattern-cheat-sheet
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sandbox.actions.expressions import Unsupported

_USUAL_TYPES = {"pull_request": ("opened", "synchronize", "reopened")}
"""Of events that do not start by every type."""
_KNOWN = {"types", "branches", "branches-ignore", "paths", "paths-ignore", "tags", "tags-ignore", "inputs"}


def starts(on: Any, event: str, payload: Mapping[str, Any], changed: Callable[[], Collection[str]]) -> bool:
    """`on` as the workflow has it; `changed` are the paths of a push or a pull request. Raises Unsupported."""
    triggers = {on: None} if isinstance(on, str) else dict.fromkeys(on) if isinstance(on, list) else on
    if event == "pull_request" and "pull_request_target" in triggers:
        raise Unsupported("this runner does not know `on: pull_request_target`")
    if event not in triggers:
        return False
    rules = triggers[event] or {}
    if not rules.keys() <= _KNOWN:
        raise Unsupported(f"this runner does not know, of `on: {event}`, {', '.join(sorted(rules.keys() - _KNOWN))}")
    types = rules.get("types", _USUAL_TYPES.get(event))
    if types is not None and payload.get("action") not in ([types] if isinstance(types, str) else types):
        return False
    return _is_on_branch(rules, event, payload) and _has_paths(rules, changed)


def _is_on_branch(rules: Mapping[str, Any], event: str, payload: Mapping[str, Any]) -> bool:
    if event == "push":
        if payload.get("deleted"):
            return False
        kind, _, name = payload["ref"].removeprefix("refs/").partition("/")
        if kind == "tags":
            return _passes(rules, "tags", name, other="branches")
        return _passes(rules, "branches", name, other="tags")
    if event in _USUAL_TYPES:
        return _passes(rules, "branches", payload["pull_request"]["base"]["ref"], other="")
    return True


def _passes(rules: Mapping[str, Any], kind: str, name: str, *, other: str) -> bool:
    """With a filter for the other kind alone, this kind starts nothing."""
    if kind in rules or f"{kind}-ignore" in rules:
        return matches(rules.get(kind, ["**"]), name) and not matches(rules.get(f"{kind}-ignore", []), name)
    return not (other and (other in rules or f"{other}-ignore" in rules))


def _has_paths(rules: Mapping[str, Any], changed: Callable[[], Collection[str]]) -> bool:
    if "paths" in rules:
        return any(matches(rules["paths"], path) for path in changed())
    if "paths-ignore" in rules:
        return any(not matches(rules["paths-ignore"], path) for path in changed())
    return True


def matches(patterns: Sequence[str] | str, name: str) -> bool:
    """The last pattern that fits decides; with `!` before it, against the name."""
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
