"""Records that only need a writer as their author are shown, and never act: `ops.github.records` judges those that do."""

import ast

from tests.conftest import ROOT
from tests.support.syntax import nodes

SHOWN = {"records_of", "trusted_records", "newest_records", "find_state_comment", "run_records", "own_records"}
"""Functions that return records without a judgment of their workflow and of their editors."""
PLACES = {
    "ops/evidence/audit.py": "exports them",
    "ops/github/comments.py": "defines one, and finds our own comment to write",
    "ops/github/drill_results.py": "gives them to the judge, and finds our own comment to write",
    "ops/github/issues.py": "defines them, and finds our own comment to write",
    "ops/github/records.py": "judges them",
    "ops/github/triggers.py": "finds our own comment to write",
    "ops/publish/incident_chat.py": "a forged one leads a message to another thread of the same channel",
    "ops/report/action_reminder.py": "of this token: a reminder of this week lets the next one wait",
    "ops/report/build.py": "prints them",
    "ops/setup/adopt/drill_repository.py": "tells that the run of a drill ended, and prints its result",
    "ops/setup/doctor/facts.py": "prints them",
    "ops/status/last_runs.py": "prints them",
    "ops/incident/commands.py": "an import counts the events of its run in our own comments, and may refuse; it acts on none",
    "ops/watch/record.py": "finds the comment of an old watch to write into it, or to end it",
}
"""File → why its use is no act."""


def test_records_that_act_are_judged() -> None:
    used = set()
    for path in (ROOT / "ops").rglob("*.py"):
        names = {each.id for each in nodes(path) if isinstance(each, ast.Name)}
        names |= {each.attr for each in nodes(path) if isinstance(each, ast.Attribute)}
        if names & SHOWN:
            used.add(path.relative_to(ROOT).as_posix())

    assert used == PLACES.keys()
