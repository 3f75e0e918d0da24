"""A code rollback says how far the schema of D1 has moved on, and stops at a breaking migration."""

from datetime import timedelta

import pytest

from ops.workers.schema_age import SCHEMA_SECTION
from tests.conftest import Incident
from tests.support import orders as databases
from tests.support.in_process import held
from tests.support.orders import ID, QUERIES, Orders, mark
from tests.support.shop import WORKER, Shop, answering

BREAKING = "0003_split_names.sql"


@pytest.fixture
def orders(shop: Shop) -> Orders:
    """The live version is an hour old, and the rollback's target 30 hours."""
    return databases.open_database(shop)


@pytest.mark.slow
def test_newer_migrations_are_named_with_three_ways_on(orders: Orders) -> None:
    orders.migrate("0002_notes.sql", hours=20)
    orders.migrate("0004_index.sql", hours=2)

    done = orders.rollback("--incident", "42")

    assert done.code == 0, done.err
    text = f"the schema of orders is 2 migrations newer than this code ({orders.shop.good[:8]}): "
    assert done.result["plan"]["warnings"][0] == f"{text}0002_notes.sql, 0004_index.sql"
    first, revert, together, go_on = done.result["plan"]["sections"][SCHEMA_SECTION]
    assert first == f"{text}0002_notes.sql, 0004_index.sql"
    assert "ops revert-migration --environment live --incident 42 --database orders --name 0004_index.sql" in revert
    assert "maintenance on, code back" in together
    assert "--to before-migration:0002_notes.sql" in together
    assert go_on.startswith("or go on, if ")
    assert orders.shop.live == {orders.shop.good: 100}


@pytest.mark.slow
def test_schema_as_old_as_the_code_is_no_warning(orders: Orders) -> None:
    done = orders.rollback()

    assert not any("schema" in text for text in done.result["plan"]["warnings"])
    section = done.result["plan"]["sections"][SCHEMA_SECTION]
    assert section == [f"no applied migration of orders is newer than this code ({orders.shop.good[:8]})"]


def test_old_code_that_is_uploaded_again_stays_old(orders: Orders) -> None:
    """A revert has the time of its first upload, not that of its last one."""
    orders.migrate("0002_notes.sql", hours=20)
    again = orders.release(hours=0.5, code="good", behaviour=answering(), mark=mark("0002_notes.sql"))

    section = orders.section("--to", again)

    assert section[0] == f"the schema of orders is 1 migration newer than this code ({again[:8]}): 0002_notes.sql"


@pytest.mark.slow
def test_mark_adds_a_migration_that_the_times_hide(orders: Orders) -> None:
    """The release was built for the schema before 0002, and uploaded after it."""
    orders.migrate("0002_notes.sql", hours=20)
    version = orders.release(hours=10, mark=mark("0001_orders.sql"))

    assert orders.section("--to", version)[0].endswith(f"than this code ({version[:8]}): 0002_notes.sql")


def test_mark_removes_no_migration(orders: Orders) -> None:
    """Everyone who deploys can write a mark, so it cannot take a warning or a refusal away."""
    version = orders.release(hours=25, mark=mark("0009_later.sql", BREAKING))
    orders.migrate(BREAKING, hours=1)

    done = orders.rollback("--to", version)

    assert (done.code, done.result["reason"]) == (3, "breaking_migration")


def test_mark_of_another_database_does_not_count(orders: Orders) -> None:
    version = orders.release(hours=10, mark=mark("0000_x.sql"))
    sandbox = orders.shop.world.sandbox
    other = sandbox.upload(WORKER, message=f"cart {mark('')}".replace(ID, ID.replace("5c", "6c")))

    assert orders.section("--to", version) == [
        f"no applied migration of orders is newer than this code ({version[:8]})"
    ]
    assert orders.section("--to", other)[0].startswith("no applied migration of orders is newer")


@pytest.mark.slow
def test_without_an_answer_of_d1_the_marks_count(orders: Orders) -> None:
    """Their names are untrusted: no command has them."""
    orders.release(hours=0.5, mark=mark("0004_index.sql", "0002_notes.sql", "0004_index.sql"))
    orders.shop.world.sandbox.fault(path=f"**{QUERIES}", status=403, code=10000)

    section = orders.section("--to", orders.shop.good)

    text = f"the schema of orders is at least 2 migrations newer than this code ({orders.shop.good[:8]}): "
    assert section[0] == f"{text}0002_notes.sql, 0004_index.sql"
    assert all("--name NAME" in line or "before-migration:NAME" in line for line in section[1:3])


def test_mark_may_add_a_refusal(orders: Orders) -> None:
    """D1 does not answer, and a later release says that it was deployed with the breaking migration."""
    orders.release(hours=0.5, mark=mark(BREAKING, BREAKING))
    orders.shop.world.sandbox.fault(path=f"**{QUERIES}", status=403, code=10000)

    done = orders.rollback("--to", orders.shop.good)

    assert (done.code, done.result["reason"]) == (3, "breaking_migration")
    assert "at least 1 migration newer" in done.result["message"]


def test_without_any_answer_it_is_unknown(orders: Orders) -> None:
    orders.shop.world.sandbox.fault(path=f"**{QUERIES}", status=403, code=10000)

    done = orders.rollback()

    assert done.code == 0, done.err
    (line,) = done.result["plan"]["sections"][SCHEMA_SECTION]
    assert line.startswith("unknown whether the schema of orders is newer than this code")
    (warning, *_) = done.result["plan"]["warnings"]
    assert warning.endswith(f"ops.yml marks as breaking: {BREAKING}")


@pytest.mark.slow
def test_database_without_a_name_in_ops_yml_is_unknown(shop: Shop) -> None:
    now = shop.world.sandbox.clock.now()
    bound = [{"type": "d1", "name": "DB", "id": ID}]
    version = shop.world.sandbox.upload(WORKER, bindings=bound, at=now - timedelta(hours=50))

    (line,) = Orders(shop).section("--to", version)

    assert line.startswith(f"unknown whether the schema of {ID} is newer")
    assert line.endswith("ops.yml does not name this database")


@pytest.mark.slow
def test_slow_database_does_not_delay_the_recovery(orders: Orders) -> None:
    with held(orders.shop.world.sandbox.faults, path=f"**{QUERIES}"):
        done = orders.rollback()

    assert done.code == 0, done.err
    (line,) = done.result["plan"]["sections"][SCHEMA_SECTION]
    assert line.startswith("unknown whether ")
    assert orders.shop.live == {orders.shop.good: 100}


@pytest.mark.slow
def test_breaking_migration_is_refused_until_it_is_accepted_by_name(orders: Orders) -> None:
    orders.migrate(BREAKING, hours=1)

    refused = orders.rollback()
    other = orders.rollback("--accept-breaking-migrations", "0002_notes.sql")

    for each in (refused, other):
        assert (each.code, each.result["decision"], each.result["reason"]) == (3, "refused", "breaking_migration")
        assert BREAKING in each.result["message"]
        assert f"--to {orders.shop.good[:8]}" in each.result["press"]
        assert f"--accept-breaking-migrations {BREAKING}" in each.result["press"]
    assert orders.shop.world.writes() == []

    accepted = orders.rollback("--accept-breaking-migrations", BREAKING)

    assert accepted.code == 0, accepted.err
    assert orders.shop.live == {orders.shop.good: 100}
    assert f": {BREAKING}" in accepted.result["plan"]["warnings"][0]


@pytest.mark.parametrize("hours", [20.0, 29.99], ids=["hours after its release", "36 seconds after it"])
def test_code_that_served_well_after_a_breaking_migration_works_with_it(orders: Orders, hours: float) -> None:
    orders.migrate(BREAKING, hours=hours)

    done = orders.rollback()

    assert done.code == 0, done.err
    assert orders.shop.live == {orders.shop.good: 100}
    newer, proof, *_ = done.result["plan"]["sections"][SCHEMA_SECTION]
    assert BREAKING in newer
    assert f"({orders.shop.good[:8]}) served all traffic for " in proof
    assert ("for 18 h 59 min" if hours == 20 else "for 1 d 4 h") in proof
    assert f"after {BREAKING}" in proof


def test_too_short_a_service_after_a_breaking_migration_proves_nothing(orders: Orders) -> None:
    """`min_served` of the shop is ten minutes; its bad version is an hour old."""
    orders.migrate(BREAKING, hours=1 + 9 / 60)

    short = orders.rollback()

    assert (short.code, short.result["reason"]) == (3, "breaking_migration")


def test_service_during_the_incident_proves_nothing(orders: Orders, incident: Incident) -> None:
    sandbox, github = orders.shop.world.sandbox, incident.github.environ()
    orders.migrate(BREAKING, hours=2)
    number = incident.github.open_issue(
        "Orders fail", labels=["incident"], author="alice", at=sandbox.clock.now() - timedelta(hours=2)
    )

    during = orders.rollback("--incident", str(number), **orders.shop.environ(**github))

    assert (during.code, during.result["reason"]) == (3, "breaking_migration")


def test_unread_start_of_the_incident_proves_nothing(orders: Orders, incident: Incident) -> None:
    orders.migrate(BREAKING, hours=20)
    incident.github.fault(path=f"/repos/acme/operations/issues/{incident.number}", status=503, times=None)
    github = orders.shop.environ(**incident.github.environ())

    unread = orders.rollback("--incident", str(incident.number), **github)

    assert (unread.code, unread.result["reason"]) == (3, "breaking_migration")


def test_partial_traffic_after_a_breaking_migration_proves_nothing(orders: Orders) -> None:
    sandbox, hour = orders.shop.world.sandbox, timedelta(hours=1)
    now, canary = sandbox.clock.now(), sandbox.upload(WORKER, at=sandbox.clock.now() - timedelta(hours=21))
    sandbox.deploy(WORKER, {orders.shop.good: 60, canary: 40}, at=now - 20.5 * hour)
    orders.migrate(BREAKING, hours=20)

    done = orders.rollback("--to", orders.shop.good)

    assert (done.code, done.result["reason"]) == (3, "breaking_migration")


def test_code_that_was_rolled_back_after_a_breaking_migration_is_not_proved(orders: Orders) -> None:
    """It served for hours, and somebody then took it away for older code."""
    sandbox = orders.shop.world.sandbox
    blamed = orders.release(hours=22)
    orders.migrate(BREAKING, hours=20)
    sandbox.deploy(WORKER, orders.shop.good, at=sandbox.clock.now() - timedelta(hours=10))

    done = orders.rollback("--to", blamed)

    assert (done.code, done.result["reason"]) == (3, "breaking_migration")


@pytest.mark.slow
def test_hostile_name_is_one_line(orders: Orders) -> None:
    orders.migrate("0002\n::error::@org <script>$(id).sql", hours=2)

    done = orders.rollback("--dry-run")

    assert done.code == 0, done.err
    assert "\n" not in done.result["plan"]["warnings"][0]


def test_versions_and_report_say_it_too(orders: Orders, incident: Incident) -> None:
    orders.migrate("0002_notes.sql", hours=20)
    shop, github = orders.shop, orders.shop.environ(**incident.github.environ())

    listed = {each["id"]: each["schema"] for each in shop.ops("versions", "web", "--json").result["versions"]}
    text = shop.ops("versions", "web").out
    assert orders.rollback("--incident", str(incident.number), **github).code == 0
    assert shop.ops("incident", "report", str(incident.number), **github).code == 0

    newer = f"the schema of orders is 1 migration newer than this code ({shop.good[:8]}): 0002_notes.sql"
    assert listed[shop.good] == [newer]
    assert listed[shop.bad] == []
    assert f"            {newer}\n" in text
    report = incident.github.issue(incident.number + 1).body or ""
    assert "Database schema, for the live code of web" in report
    assert "is 1 migration newer than this code" in report
    assert "revert-migration" in report


def test_report_takes_no_service_of_the_live_code_for_a_proof(orders: Orders, incident: Incident) -> None:
    """It may be the code that fails because of the migration."""
    orders.migrate(BREAKING, hours=0.5)
    github, accepted = orders.shop.environ(**incident.github.environ()), ("--accept-breaking-migrations", BREAKING)
    assert orders.rollback("--incident", str(incident.number), *accepted, **github).code == 0
    orders.shop.world.sandbox.clock.advance(3600)

    assert orders.shop.ops("incident", "report", str(incident.number), **github).code == 0

    report = incident.github.issue(incident.number + 1).body or ""
    assert "is 1 migration newer than this code" in report
    assert "so it works with" not in report
