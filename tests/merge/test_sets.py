"""The fast set, which makes no cases of slow tests, is the tests that are not marked as slow."""

import re
import subprocess
import sys

from tests.conftest import ROOT


def collect(expression: str) -> set[str]:
    argv = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n0", "-pno:cacheprovider", "-m", expression]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    return {line for line in done.stdout.splitlines() if "::" in line}


def test_fast_set_has_every_test_that_is_not_slow() -> None:
    """The parentheses let pytest make every case, and deselect the slow ones."""
    fast = collect("not slow")

    assert fast == collect("(not slow)")
    assert len(fast) > 1000


def test_ci_tries_new_examples_of_each_property() -> None:
    (expression,) = set(re.findall(r"-m '([^']+)'", (ROOT / ".ci" / "run").read_text()))
    properties, tried = ({line.partition("[")[0] for line in collect(each)} for each in ("hypothesis", expression))

    assert tried == properties
    assert len(tried) > 90
