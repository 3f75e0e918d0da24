"""`ops evidence --audit`: what runs were asked for, planned, written and ended, as chained JSON lines."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ops.core.run_record import RecordRow, RunRecord, embed_record
from tests.conftest import ROOT, Incident, Outcome, Releases
from tests.support.commands import texts

Lines = list[dict[str, Any]]


def export(incident: Incident, *arguments: str, since: str = "1h", **environ: Any) -> tuple[Outcome, Path]:
    path = incident.world.folder / "audit.jsonl"
    return incident.ops("evidence", "--since", since, "--audit", str(path), *arguments, **environ), path


def read(path: Path) -> Lines:
    return [json.loads(line) for line in path.read_text().splitlines()]


def is_whole(path: Path) -> bool:
    """Run the check of docs/how-to/evidence.md."""
    page = (ROOT / "docs/how-to/evidence.md").read_text()
    program = page.split("<<'END'\n")[1].split("\nEND\n")[0]
    done = subprocess.run([sys.executable, "-", str(path)], input=program, capture_output=True, text=True, check=False)
    return (done.returncode, done.stdout) == (0, "whole\n")


@pytest.fixture
def rolled_back(incident: Incident, releases: Releases) -> Incident:
    outcome = incident.rollback("--reason", "checkout fails")
    assert outcome.code == 0, outcome.err
    assert texts(outcome, "warning") == []
    return incident


def test_run_is_exported_from_its_request_to_its_result(rolled_back: Incident, releases: Releases) -> None:
    outcome, path = export(rolled_back)

    begin, *entries, end = read(path)
    assert (outcome.code, outcome.out) == (0, f"{len(entries)} entries in {path}\n"), outcome.err
    assert [each["kind"] for each in entries] == ["request", "plan", "request", "write", "write", "write", "result"]
    assert (begin["kind"], begin["incidents"]) == ("begin", [rolled_back.number])
    assert end == {"kind": "end", "entries": len(entries), "previous": end["previous"]}
    (plan,) = [each for each in entries if each["kind"] == "plan"]
    assert [[releases.bad[:8], releases.good[:8]]] == [[side[:8] for side in each[1:]] for each in plan["changes"]]
    assert {(each["incident"], each["runbook"], each["service"]) for each in entries} == {
        (rolled_back.number, "rollback-worker", "api")
    }
    assert entries[-1]["decision"] == "recovered"
    assert not any(each["is_edited"] for each in entries)
    assert is_whole(path)


def test_changed_missing_or_added_line_shows(rolled_back: Incident) -> None:
    _, path = export(rolled_back)
    lines = path.read_text().splitlines()
    broken = {
        "changed": [lines[0], lines[1].replace("rollback-worker", "maintenance"), *lines[2:]],
        "missing": [*lines[:2], *lines[3:]],
        "doubled": [*lines[:2], lines[1], *lines[2:]],
        "cut": [*lines[:-2], lines[-1]],
    }
    for kind, each in broken.items():
        path.write_text("".join(f"{line}\n" for line in each))
        assert not is_whole(path), kind


def test_edited_record_is_exported_as_edited(rolled_back: Incident) -> None:
    (comment,) = [
        each for each in rolled_back.github.issue(rolled_back.number).comments if "rollback-worker" in each.body
    ]
    comment.body = comment.body.replace("checkout fails", "all is well")

    _, path = export(rolled_back)

    assert all(each["is_edited"] for each in read(path)[1:-1])


def test_record_of_somebody_without_write_access_is_left_out(incident: Incident) -> None:
    now = incident.world.sandbox.clock.now()
    incident.github.add_user("mallory", "read")
    record = RunRecord("7.1-abcd", runbook="maintenance", rows=(RecordRow(now, "written", "closed"),))
    incident.github.comment(incident.number, embed_record("closed", record), "mallory")

    _, path = export(incident)

    assert read(path)[1:-1] == []


def test_period_environment_and_incident_select_entries(rolled_back: Incident) -> None:
    rolled_back.world.sandbox.clock.advance(timedelta(hours=2).total_seconds())
    other = rolled_back.github.open_issue("Bread is gone", labels=["incident"])

    found = {
        "later": export(rolled_back, since="1h")[1].read_text(),
        "all": export(rolled_back, since="3h")[1].read_text(),
        "before": export(rolled_back, "--until", "150m", since="3h")[1].read_text(),
        "other environment": export(rolled_back, "--environment", "labs", since="3h")[1].read_text(),
        "other incident": export(rolled_back, "--incident", str(other), since="3h")[1].read_text(),
    }

    assert [kind for kind, text in found.items() if len(text.splitlines()) > 2] == ["all"]
    filters = {kind: json.loads(text.splitlines()[0])["only"] for kind, text in found.items()}
    assert filters["all"] == {"incident": None, "environment": ""}
    assert filters["other environment"] == {"incident": None, "environment": "labs"}
    assert filters["other incident"] == {"incident": other, "environment": ""}


@pytest.mark.parametrize("is_issue", [True, False])
def test_audit_of_a_number_that_is_no_incident_is_refused(rolled_back: Incident, is_issue: bool) -> None:
    number = rolled_back.github.open_issue("Buy bread", labels=[]) if is_issue else 999

    outcome, path = export(rolled_back, "--incident", str(number))

    assert outcome.code == 2
    assert f"#{number} {'is not an incident' if is_issue else 'does not exist'}" in outcome.err
    assert not path.exists()


def test_unreadable_github_writes_no_file(rolled_back: Incident) -> None:
    rolled_back.github.fault(path="/repos/acme/operations/issues", status=503, times=None)

    outcome, path = export(rolled_back)

    assert outcome.code == 4
    assert not path.exists()


def test_two_exports_at_once_are_refused(incident: Incident) -> None:
    outcome, path = export(incident, "--json", "evidence.json")

    assert outcome.code == 2
    assert "--audit" in outcome.err
    assert not path.exists()
