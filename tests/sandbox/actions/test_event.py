"""Workflow triggers: type, branch, tag and path filters as GitHub documents them."""

from typing import Any

import pytest

from sandbox.actions.event import is_triggered, matches
from sandbox.actions.expressions import UnsupportedExpression

LABELED = {"action": "labeled"}
MAIN = {"ref": "refs/heads/main"}
TAG = {"ref": "refs/tags/v1"}
PULL = {"action": "synchronize", "pull_request": {"base": {"ref": "main"}}}


@pytest.mark.parametrize(
    ("on", "event", "payload", "expected"),
    [
        ("issues", "issues", {"action": "opened"}, True),
        (["push", "issues"], "issues", LABELED, True),
        ({"issues": None}, "issues", LABELED, True),
        ({"issues": {"types": ["labeled"]}}, "issues", LABELED, True),
        ({"issues": {"types": ["labeled"]}}, "issues", {"action": "opened"}, False),
        ({"issues": {"types": "closed"}}, "issues", {"action": "closed"}, True),
        ({"push": None}, "issues", LABELED, False),
        ("push", "push", MAIN, True),
        ({"push": {"branches": ["main"]}}, "push", MAIN, True),
        ({"push": {"branches": ["release/**"]}}, "push", MAIN, False),
        ({"push": {"branches-ignore": ["main"]}}, "push", MAIN, False),
        ({"push": {"branches": ["main"]}}, "push", TAG, False),
        ({"push": {"tags": ["v*"]}}, "push", TAG, True),
        ({"push": {"tags": ["v*"]}}, "push", MAIN, False),
        ({"push": None}, "push", {**MAIN, "deleted": True}, False),
        ("pull_request", "pull_request", PULL, True),
        ("pull_request", "pull_request", {**PULL, "action": "labeled"}, False),
        ({"pull_request": {"types": ["labeled"]}}, "pull_request", {**PULL, "action": "labeled"}, True),
        ({"pull_request": {"branches": ["release"]}}, "pull_request", PULL, False),
        ({"push": {"paths": ["limits.yml"]}}, "push", MAIN, True),
        ({"push": {"paths": ["docs/**"]}}, "push", MAIN, False),
        ({"push": {"paths-ignore": ["limits.yml"]}}, "push", MAIN, True),
        ({"push": {"paths-ignore": ["**.yml", "src/**"]}}, "push", MAIN, False),
    ],
)
def test_event_triggers_matching_workflow(on: Any, event: str, payload: Any, expected: bool) -> None:
    assert is_triggered(on, event, payload, lambda: ["limits.yml", "src/a.py"]) is expected


def test_unknown_filter_raises() -> None:
    with pytest.raises(UnsupportedExpression, match="colours"):
        is_triggered({"push": {"colours": ["red"]}}, "push", MAIN, list)


def test_pull_request_target_raises() -> None:
    with pytest.raises(UnsupportedExpression, match="pull_request_target"):
        is_triggered(["pull_request_target", "pull_request"], "pull_request", PULL, list)


@pytest.mark.parametrize(
    ("patterns", "name", "expected"),
    [
        (["*"], "a/b", False),
        (["**"], "a/b", True),
        (["docs/*"], "docs/a.md", True),
        (["docs/*"], "docs/a/b.md", False),
        (["**/docs/**"], "docs/a/b.md", True),
        (["**/docs/**"], "x/docs/a.md", True),
        (["*.jsx?"], "page.js", True),
        (["v[12].[0-9]+"], "v1.10", True),
        (["a.c"], "abc", False),
        (["docs/**", "!docs/x.md"], "docs/x.md", False),
        (["!docs/x.md", "docs/**"], "docs/x.md", True),
    ],
)
def test_patterns_match_like_github(patterns: list[str], name: str, expected: bool) -> None:
    assert matches(patterns, name) is expected
