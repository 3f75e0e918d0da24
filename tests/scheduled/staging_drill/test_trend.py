"""A finished staging drill is in the trend, on the on-call card and in the hand-over."""

from typing import Any

from tests.support.staging_drill import DrillWorld


def show(place: DrillWorld, command: str, *arguments: str) -> dict[str, Any]:
    shown: dict[str, Any] = place.ops(command, *arguments, "--json").result
    return shown


def test_passed_drill_is_in_status_hand_over_and_on_the_card(place: DrillWorld) -> None:
    place.answer(place.recover)
    assert place.run().result["outcome"] == "passed"

    trend = show(place, "status", "--environment", "staging")["staging_drills"]
    (drill,) = trend["drills"]
    assert (drill["name"], drill["service"], drill["outcome"]) == ("rollback-worker", "web", "passed")
    assert (drill["write"]["target"], drill["verified"]["target"]) == (86_400, 86_400)
    assert None not in (drill["write"]["seconds"], drill["verified"]["seconds"])
    assert (trend["warnings"], trend["doubts"]) == ([], "")
    assert show(place, "hand-over", "--environment", "staging")["staging_drills"]["drills"] == [drill]
    assert place.ops("on-call-card").code == 0
    assert "in the drill of" in (place.world.folder / "on-call.md").read_text()


def test_second_result_of_one_drill_adds_nothing(place: DrillWorld) -> None:
    place.answer(place.recover)
    place.run()
    first = show(place, "status", "--environment", "staging")["staging_drills"]
    for _ in range(2):
        place.resume()

    assert show(place, "status", "--environment", "staging")["staging_drills"]["drills"] == first["drills"]


def test_stopped_drill_practices_nothing(place: DrillWorld) -> None:
    place.answer(lambda: place.ops("staging-drill", "stop", "--json"))
    assert place.run().result["outcome"] == "stopped"

    trend = show(place, "status", "--environment", "staging")["staging_drills"]
    assert [each["outcome"] for each in trend["drills"]] == ["stopped"]
    assert len(trend["warnings"]) == 1
