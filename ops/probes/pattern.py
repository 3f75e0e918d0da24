"""Search texts of a service with the regular expressions of ops.yml, with a time limit.

Python cannot stop a search in its own process, and one that backtracks would stop all other threads as well.
"""

import json
import re
import sys
from collections.abc import Sequence

from ops.core.redaction import Redactor
from ops.tools import process

TIMEOUT_SECONDS = 3.0
REPEATS = re.compile(r"[*+?{|]")
"""Without any of these a pattern cannot backtrack, and is searched here."""
PROGRAM = """
import json, re
patterns, texts = json.load(open("input.json"))
found = [re.compile(pattern) for pattern in patterns]
print(json.dumps([any(pattern.search(text) for pattern in found) for text in texts]))
"""
TOO_SLOW = f"not searched to the end within {TIMEOUT_SECONDS:g} s: make the pattern simpler"


def search_patterns(patterns: Sequence[str], texts: Sequence[str]) -> list[bool] | None:
    """Return for each text whether one of the patterns is found in it; None if that takes longer than `SECONDS`."""
    if not any(REPEATS.search(pattern) for pattern in patterns):
        return [any(re.search(pattern, text) for pattern in patterns) for text in texts]
    with process.scratch_folder() as folder:
        (folder / "input.json").write_text(json.dumps([patterns, texts]), encoding="ascii")
        argv = [sys.executable, "-I", "-S", "-c", PROGRAM]
        done = process.run(argv, environ={}, timeout=TIMEOUT_SECONDS, redactor=Redactor(), folder=folder)
    if done.code != 0:
        return None
    matches: list[bool] = json.loads(done.output)
    return matches
