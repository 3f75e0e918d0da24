"""GitHub's limit of requests that generate content: a recovery ends without its comment."""

from tests.conftest import Incident, Releases


def test_limit_does_not_stop_the_recovery(incident: Incident, releases: Releases) -> None:
    incident.github.switches.content_writes_per_minute = 1

    outcome = incident.rollback()

    assert (outcome.code, outcome.result["decision"]) == (0, "recovered"), outcome.err
    assert len(incident.bodies) <= 1
    assert any("403" in event["text"] for event in outcome.events)
