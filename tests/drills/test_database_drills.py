"""Drills that restore a database: both methods of maintenance, each edge, and a team's own tables."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REFERENCE, World
from tests.drills.test_drill import switch_options
from tests.support.configurations import SHOPDESK
from tests.support.drills import Run, assert_recovered, drill, run_id, taken

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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "switches"),
    [
        *((run, []) for run in taken(PLAIN, IN_WORKERD)),
        (PLAIN, switch_options("restore-database", 0)),
        (IN_WORKERD, switch_options("restore-database", 1)),
    ],
    ids=run_id,
)
def test_restore_drill_counts_exactly_in_maintenance_at_the_edge(run: Run, switches: list[str]) -> None:
    assert_counted(assert_recovered(run, *switches))


@pytest.mark.slow
@pytest.mark.parametrize(("run", "group"), [(PLAIN, 1), (IN_WORKERD, 0)], ids=run_id)
def test_restore_drill_counts_exactly_in_maintenance_by_switch(run: Run, group: int, switched: list[str]) -> None:
    assert_counted(assert_recovered(run, *switched, *switch_options("restore-database", group)))


def assert_counted(result: dict[str, Any]) -> None:
    """The drill itself compares the counts, and every row, with the sandbox."""
    assert result["message"].endswith("; the sandbox has every row of the target")
    (counts,) = [found for event in result["timeline"] for found in COUNTS.findall(event["text"])]
    assert (counts[0], counts[3]) == ("charts", "")
    assert int(counts[4]) == int(counts[1]) - int(counts[2]) >= 10


@pytest.mark.slow
def test_restore_drill_has_the_tables_of_its_config() -> None:
    result = drill("--config", str(SHOPDESK), "--environment", "live", name="restore-database")

    assert (result["decision"], result["service"]) == ("recovered", "shop")
    assert any("orders: " in event["text"] for event in result["timeline"])
    checks = next(event["text"] for event in result["timeline"] if event["text"].startswith("checks of orders"))
    assert "orders-of-customers: healthy" in checks


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--edge", "workerd"], "shop has no database with the example's table charts"),
        (["--service", "desk"], "desk has no database in live, which this drill breaks"),
    ],
)
def test_restore_drill_needs_a_database(world: World, arguments: list[str], says: str) -> None:
    where = ["--config", str(SHOPDESK), "--environment", "live"]

    outcome = world.ops("drill", "restore-database", *where, *arguments)

    assert outcome.code == 2
    assert says in outcome.err
