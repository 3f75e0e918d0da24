"""A write beyond GitHub's limit of requests that generate content."""

import pytest

from tests.conftest import Incident


@pytest.mark.parametrize("status", [403, 429])
def test_limit_is_no_missing_permission(incident: Incident, status: int) -> None:
    incident.github.switches.content_writes_per_minute = 0
    incident.github.switches.content_limit_status = status
    note = ("incident", "note", str(incident.number), "the cache is cold", "--config", str(incident.world.config))

    outcome = incident.world.ops(*note, **incident.github.environ())

    assert (outcome.code, str(status) in outcome.err) == (4, True), outcome.err
    assert "GITHUB_TOKEN" not in outcome.err
    assert incident.bodies == []
