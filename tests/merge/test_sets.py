"""The fast set, which makes no cases of slow tests, is the tests that are not marked as slow."""

import json
import re
import subprocess
import sys
from functools import partial

from _pytest.mark.expression import Expression

from tests.conftest import ROOT

PLUGIN = "tests.support.marked_tests"


def collect(*options: str) -> dict[str, list[str]]:
    """Return the ID of each collected test with its marks."""
    argv = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n0", "-pno:cacheprovider", "-p", PLUGIN, *options]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    return dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))


def choose(tests: dict[str, list[str]], expression: str) -> set[str]:
    """Return the tests that `-m` would choose."""
    chosen = Expression.compile(expression)
    return {name for name, marks in tests.items() if chosen.evaluate(partial(has, marks))}


def has(marks: list[str], mark: str, **_: object) -> bool:
    return mark in marks


def test_fast_set_and_ci_have_every_test_of_their_marks() -> None:
    """One run without `-m`, which takes three seconds, makes every case of every test."""
    every = collect()
    fast = collect("-m", "not slow")
    (expression,) = set(re.findall(r"-m '([^']+)'", (ROOT / ".ci" / "run").read_text()))
    properties, tried = (
        {name.partition("[")[0] for name in choose(every, each)} for each in ("hypothesis", expression)
    )

    assert fast.keys() == choose(every, "not slow")
    assert len(fast) > 1000
    assert tried == properties
    assert len(tried) > 90
