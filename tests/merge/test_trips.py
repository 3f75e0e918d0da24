"""Files and functions that a recovery enters, as `./run benchmarks.structure` counts them."""

import pytest

from benchmarks import trips
from benchmarks.trips import Trip
from tests.support import team_files


def test_command_on_a_laptop_enters_its_runbook_and_no_code_of_jobs() -> None:
    with team_files.allowed():
        trip = trips.follow_command("rollback-worker", "--service", "api", "--environment", "production", "--yes")

    assert ("ops/runbooks/rollback_worker.py", "RollbackWorker.choose") in trip.functions
    assert {"ops/cli/runbook_command.py", "ops/engine/engine.py"} <= trip.files
    assert not any(file.startswith(("ops/gate/", "ops/report/", "ops/drills/", "sandbox/")) for file in trip.files)
    assert not any(name.endswith(("<module>", "<lambda>", "<genexpr>")) for _, name in trip.functions)


def test_command_that_fails_is_no_trip() -> None:
    with team_files.allowed(), pytest.raises(SystemExit, match="absent"):
        trips.follow_command("rollback-worker", "--service", "absent", "--environment", "production", "--yes")


def test_trip_counts_a_file_once() -> None:
    trip = Trip(frozenset({("ops/a.py", "one"), ("ops/a.py", "two"), ("ops/b.py", "one")}))

    assert (sorted(trip.files), len(trip.functions)) == (["ops/a.py", "ops/b.py"], 3)
