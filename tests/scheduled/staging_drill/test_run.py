"""`ops staging-drill run`: it breaks staging harmlessly, waits for the recovery, and leaves the world as before."""

import pytest

from sandbox import Sandbox
from tests.conftest import World
from tests.support.staging_drill import LABEL, WORKER, DrillWorld, open_drill_world
from tests.support.webhooks import receiving

OTHER_LABEL = '{"runbook": "rollback-worker", "environment": "shop-live", "params": {"service": "web"}}'


@pytest.mark.parametrize("knows_drills", [True, False], ids=["health path", "header"])
def test_recovered_drill_passes_and_leaves_staging_as_before(
    world: World, live: Sandbox, *, knows_drills: bool
) -> None:
    place = open_drill_world(world, live, knows_drills=knows_drills)
    before = live.live(WORKER)
    place.answer(place.recover)

    ended = place.run()

    result = ended.result
    assert (ended.code, result["outcome"], result["undone"]) == (0, "passed", True), ended.err
    assert result["write"]["seconds"] is not None
    assert (place.served, live.live(WORKER)) == ({place.good: 100}, before)
    assert place.drill.state == "closed"
    assert place.drill.state_reason == "completed"
    reports = [each for each in place.sandbox.github.issues if each.find_label("post-incident")]
    assert [each.title.startswith("Drill: ") for each in reports] == [True]
    (results,) = [each for each in place.issues if not each.find_label("incident")]
    assert [f"issues/{reports[0].number}" in each.body for each in results.comments] == [True]


def test_request_names_the_label_and_the_fields_of_the_button(place: DrillWorld) -> None:
    place.world.edit_config(f'"{LABEL}"', f'"recover:other": {OTHER_LABEL}, "{LABEL}"')
    requests: list[str] = []

    def read() -> None:
        requests.extend(each.body for each in place.drill.comments if "please recover" in each.body)
        place.recover()

    place.answer(read)

    assert place.run().code == 0
    (request,) = requests
    (button,) = [line for line in request.splitlines() if line.startswith("- Button: ")]
    assert LABEL in request
    assert "recover:other" not in request
    assert ("`web`" in button, "`staging`" in button) == (True, True)


def test_rollback_of_the_bad_version_holds_no_deployment(place: DrillWorld) -> None:
    place.world.edit_config('"worker": "shop-web"', '"hold_check": true, "worker": "shop-web"')
    place.answer(place.recover)

    assert place.run().code == 0

    status = place.ops("status", "--environment", "staging", "--json")
    assert status.result["held"] == [], status.out
    assert status.result["services"][0]["rollback"] is None


def test_chat_gets_no_notice_of_a_drill_and_one_of_another_recovery(place: DrillWorld) -> None:
    place.world.edit_config('"watch": "off"', '"watch": "off", "notify": {"slack": {"webhook": "SLACK_WEBHOOK_URL"}}')
    where = ("rollback-worker", "--service", "web", "--environment", "staging", "--yes")
    with receiving() as receiver:
        place.answer(lambda: place.ops(*where, "--incident", str(place.drill.number), **receiver.environ))
        assert place.run(**receiver.environ).code == 0
        assert receiver.requests == []

        at = place.sandbox.clock.now()
        place.sandbox.deploy(WORKER, place.sandbox.upload(WORKER, behaviour={"status": 500}, at=at), at=at)
        place.ops(*where, "--to", place.good, **receiver.environ)

        states = [text.removeprefix("[DRILL] ").partition(":")[0].partition("#")[0] for text in receiver.texts]
        assert states == ["Started", "Recovered", "Incident "]


def test_fault_that_nobody_sees_in_time_is_no_evidence_and_is_undone(place: DrillWorld) -> None:
    place.sandbox.switches.propagation_seconds = 600

    ended = place.run()

    assert ended.code == 8, ended.err
    assert (place.served, place.issues) == ({place.good: 100}, [])
