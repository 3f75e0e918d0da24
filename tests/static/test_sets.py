"""Folders of the sets of tests, and their independence of the speed of a machine."""

import ast
import re

from tests.conftest import ROOT, SLOW_FOLDERS, collect_ignore
from tests.support.syntax import parsed

TESTS = ROOT / "tests"
SLOW = "pytest.mark.slow"
SHORT = re.compile(r"\b(?:monotonic|perf_counter|time)\(\) - \w+ <=? 1?\d(?:\.\d+)?\b(?! \*)")
"""A limit below 20 real seconds."""


def is_slow(module: ast.Module) -> bool:
    """Return whether the module, or each test of it, is marked as slow."""
    marks = [ast.unparse(node.value) for node in module.body if isinstance(node, ast.Assign) and is_mark(node)]
    functions = [node for node in module.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    slow = [node for node in functions if SLOW in map(ast.unparse, node.decorator_list)]
    return any(SLOW in mark for mark in marks) or len(slow) == len(functions)


def is_mark(node: ast.Assign) -> bool:
    return [ast.unparse(target) for target in node.targets] == ["pytestmark"]


def test_modules_with_only_slow_tests_are_in_a_slow_folder() -> None:
    """The fast set imports every other module."""
    other = {*SLOW_FOLDERS, *collect_ignore}
    fast = [path for path in sorted(TESTS.rglob("test_*.py")) if path.relative_to(TESTS).parts[0] not in other]

    assert [path.relative_to(ROOT).as_posix() for path in fast if is_slow(parsed(path))] == [], "move to tests/merge"
    assert len(fast) > 200


def test_no_test_limits_real_time_to_a_few_seconds() -> None:
    """A busy machine takes longer: hold the requests that nothing may wait for (`in_process.held`), or use a barrier."""
    assert SHORT.search("assert time.monotonic() - began < 9.5")
    assert not SHORT.search("assert time.monotonic() - began < 60")

    found = [path for path in sorted(TESTS.rglob("test_*.py")) if SHORT.search(path.read_text(encoding="utf-8"))]
    assert [path.relative_to(ROOT).as_posix() for path in found if path.name != "test_sets.py"] == []
