"""Explanations of wrong values, pinned in `problems.json`. `--update-golden` with `-n0` writes what the code says now."""

import json
from pathlib import Path

GOLDEN = Path(__file__).with_name("problems.json")
"""Name of the value → its problems, each with line and path."""


def assert_explained(name: str, found: list[str], *, update: bool) -> None:
    known = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {}
    if update:
        known[name] = sorted(found)
        GOLDEN.write_text(json.dumps(known, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    assert sorted(found) == known.get(name)
