"""State of a service that exists in two environments, while the issue form names no environment."""

import pytest

from ops.core.run_record import RecordRow, RunRecord, embed_record
from ops.github.comments import BOT
from tests.conftest import World
from tests.incident.test_state import at, note, recovery
from tests.support.shop import Shop, open_shop


def outage(minute: float, decision: str, seen: str = "") -> RunRecord:
    return RunRecord(
        f"outage-{minute}",
        source="outage",
        environment="live",
        service="web",
        decision=decision,
        state=seen,
        rows=(RecordRow(at(minute), "checked", "checked"),),
        job="5001.1",
    )


FAILED = [
    recovery(f"5001.1-000{n}", "web", n, "failed", environment=name) for n, name in enumerate(("live", "staging"))
]
BROKEN = {"live": "broken", "staging": "broken"}
CASES = {
    "nothing": ([], {"": "broken"}),
    "outage-ended": ([outage(10, "theirs"), outage(40, "unknown", "Healthy")], {"live": "mitigated"}),
    "noted": ([note(10, "broken web in live"), note(20, "recovered web in live")], {"live": "mitigated"}),
    "both-noted": (
        [note(10, "broken web in live"), note(20, "recovered web in staging")],
        BROKEN | {"staging": "mitigated"},
    ),
    "neither-named": ([note(10, "recovered web")], {"": "mitigated"}),
    "misspelled": ([*FAILED, note(10, "recovered web in stagin")], BROKEN),
    "misspelled-second": ([FAILED[0], note(10, "recovered web in stagin")], {"live": "broken"}),
}


def post_all(world: World, records: list[RunRecord]) -> tuple[Shop, int]:
    """Open an incident of web, and write the records on it."""
    shop, hub = open_shop(world, staging=True), world.sandbox.github
    world.sandbox.clock.set(at(120))
    hub.add_user("bob")
    number = hub.open_issue("Carts are lost", "### Service\n\nweb\n", ["incident"], "bob", at=at(0))
    hub.add_run("rollback-worker.yml", 5001)
    for record in records:
        author = "bob" if record.source == "note" else BOT
        hub.comment(number, embed_record("### shown", record), author, at=record.rows[-1].at)
    return shop, number


@pytest.mark.parametrize("case", CASES)
def test_records_name_the_environment_of_the_service(world: World, case: str) -> None:
    records, expected = CASES[case]
    shop, number = post_all(world, records)

    shown = shop.ops("incident", "show", str(number), "--json", **world.sandbox.github.environ()).result

    assert {each["environment"]: each["state"] for each in shown["services"]} == expected
    is_unclear = any("note of" in each["what"] for each in shown["unknown"])
    assert is_unclear == case.startswith("misspelled")


def test_sentence_names_both_environments(world: World) -> None:
    shop, _ = post_all(world, CASES["both-noted"][0])

    (listed,) = shop.ops("incident", "list", "--json", **world.sandbox.github.environ()).result["incidents"]

    assert [name in listed["summary"] for name in ("web in live", "web in staging")] == [True, True]
