"""Drills of a database: both methods of maintenance, each edge, and a team's own tables.

Without switches, the drills on an incident run.
"""

import re
from pathlib import Path
from typing import Any

import pytest

from ops.github.actions import job_id
from tests.conftest import REFERENCE
from tests.merge.drills.test_drill import switch_options
from tests.support.configurations import SHOPDESK
from tests.support.drills import IN_A_JOB, Run, assert_recovered, drill, run_id, runs

PLAIN: Run = ("restore-database", "embedded", None)
IN_WORKERD: Run = ("restore-database", "workerd", None)
COUNTS = re.compile(r"(\w+): (\d+) → (\d+) rows, (at least )?(\d+) rows removed")


@pytest.fixture
def switched(tmp_path: Path) -> list[str]:
    """The reference application, whose API turns maintenance on by its switch."""
    config, text = tmp_path / "ops.yml", (REFERENCE / "ops.yml").read_text()
    config.write_text(
        text.replace("        worker: fortunet-api", "        maintenance: switch\n        worker: fortunet-api")
    )
    return ["--config", str(config)]


@pytest.mark.parametrize(
    ("run", "switches"),
    [
        (PLAIN, switch_options("restore-database", 0)),
        (IN_WORKERD, switch_options("restore-database", 1)),
    ],
    ids=run_id,
)
def test_restore_drill_counts_exactly_in_maintenance_at_the_edge(run: Run, switches: list[str]) -> None:
    assert_counted(assert_recovered(run, *switches))


def test_restore_drill_counts_exactly_in_maintenance_by_switch(switched: list[str]) -> None:
    assert_counted(assert_recovered(PLAIN, *switched, *switch_options("restore-database", 1)))


def assert_counted(result: dict[str, Any]) -> None:
    """The drill itself compares the counts, and every row, with the sandbox."""
    assert result["message"].endswith("; the sandbox has every expected row")
    (counts,) = [found for event in result["timeline"] for found in COUNTS.findall(event["text"])]
    assert (counts[0], counts[3]) == ("charts", "")
    assert int(counts[4]) == int(counts[1]) - int(counts[2]) >= 10


REVERT: list[Run] = [("revert-migration", "embedded", None), ("revert-migration", "workerd", None)]


@pytest.mark.parametrize(
    ("run", "switches"),
    [(run, switch_options("revert-migration", group)) for group, run in enumerate(REVERT)],
    ids=run_id,
)
def test_revert_drill_keeps_the_rows_written_since(run: Run, switches: list[str]) -> None:
    result = assert_recovered(run, *switches)

    assert result["message"].endswith("; the sandbox has every expected row")
    assert any("which is held" in event["text"] for event in result["timeline"])


ON_AN_INCIDENT = [*runs("restore-database", "embedded"), *runs("revert-migration", "embedded")]


@pytest.mark.parametrize("run", ON_AN_INCIDENT, ids=run_id)
def test_database_drill_recovers_on_an_incident(run: Run) -> None:
    """Another person approves label and button by the button; a command runs with --one-person."""
    result = assert_recovered(run)

    assert result["message"].endswith("; the sandbox has every expected row")
    approved = [event["text"] for event in result["timeline"] if event["kind"] == "approved"]
    assert any(event["kind"] == "prepared" and "bookmark " in event["text"] for event in result["timeline"])
    if run[2] == "command":
        assert "acts alone (--one-person)" in approved[0]
        return
    assert re.search(r"\bdrill-approver\b", approved[0])
    assert result["workflow_run"]["event"] == IN_A_JOB["button"]
    ended = {job_id(job["name"]): job["conclusion"] for job in result["workflow_run"]["jobs"]}
    assert (ended["gate"], ended["database-production"]) == ("success", "success")


@pytest.mark.parametrize("name", ["restore-database", "revert-migration"])
def test_drill_has_the_tables_of_its_config(name: str) -> None:
    result = drill("--config", str(SHOPDESK), "--environment", "live", name=name)

    assert (result["decision"], result["service"]) == ("recovered", "shop")
    checks = next(event["text"] for event in result["timeline"] if event["text"].startswith("checks of orders"))
    assert "orders-of-customers: healthy; vouchers: healthy" in checks


def test_drill_deploys_all_services_of_the_database(tmp_path: Path) -> None:
    config = tmp_path / "ops.yml"
    config.write_text(SHOPDESK.read_text().replace("services: [shop]", "services: [shop, desk]"))

    result = drill("--config", str(config), "--environment", "live", name="restore-database")

    assert (result["decision"], result["service"]) == ("recovered", "shop")
    verified = [event["text"] for event in result["timeline"] if event["text"].startswith("after, 2 of 2")]
    assert "desk: alive healthy" in verified[0]
