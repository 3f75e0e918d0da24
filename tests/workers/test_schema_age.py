"""Which code works with a breaking migration, over random histories; by commands: test_rollback_worker_schema.py."""

from datetime import timedelta

from hypothesis import strategies as st

from ops.cloudflare.types.d1 import Migration
from ops.workers.schema_age import AppliedMigrations, list_schema_ages
from tests.support.properties import holds_for
from tests.support.simulated_history import BEGINNING, as_history, name_of, pasts
from tests.support.target_reference import Judge, Past

FAST, SLOW = 15, 1500
BREAKING = "0002_rename.sql"


@holds_for(FAST, SLOW, past=pasts, event=st.integers(0, 40), wait=st.sampled_from([0, 1, 4, 9, 10, 11, 30]))
def test_breaking_migrations_match_the_reference_rules(past: Past, event: int, wait: int) -> None:
    """The migration comes some minutes after a deployment. Code that was uploaded later knows it."""
    judge = Judge(past)
    applied = past.rows[event % len(past.rows)].at + wait
    at = BEGINNING + timedelta(minutes=applied)
    database = AppliedMigrations("orders", "0" * 32, (Migration(BREAKING, at),), breaking=(BREAKING,))

    for number in {number for row in past.rows for number in row.serving} - past.undeployable:
        (age, *_) = list_schema_ages(as_history(past), name_of(number), [database])
        if age.newer:
            assert bool(age.breaking) == (not judge.works_with_migration(number, applied))
