"""`ops limits reconcile`: ended limits and drift."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from sandbox.edge.status_pages import StatusIncident
from tests.conftest import World
from tests.scheduled.test_apply_limits import place, repository
from tests.support.commands import ended, texts
from tests.support.limits import SHIPPED, LimitsWorld, temporary

__all__ = ["place"]


def in_hours(world: World, hours: float) -> str:
    return f"{world.sandbox.clock.now() + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}"


def drift(place: LimitsWorld) -> list[Any]:
    return [issue for issue in place.github.issues if any(label.name == "limits-drift" for label in issue.labels)]


def test_reconcile_reports_missing_value(place: LimitsWorld) -> None:
    done = place.reconcile()

    assert ended(done) == (0, "nothing_to_do", "never_applied")
    assert (place.stored, place.github.issues) == (None, [])


@pytest.mark.slow
def test_reconcile_removes_ended_limit(place: LimitsWorld) -> None:
    place.commit(temporary(60, in_hours(place.world, 4)))
    place.apply()
    assert place.calculate(61) == [200] * 60 + [429]
    assert ended(place.reconcile()) == (0, "nothing_to_do", "already_live")

    place.world.sandbox.clock.advance(4 * 3600 + 60)
    assert place.calculate(31) == [200] * 30 + [429]
    done = place.reconcile()

    assert ended(done)[:2] == (0, "recovered")
    assert done.result["plan"]["summary"].startswith("a temporary limit has ended")
    assert "temporary" not in place.stored["limits"]["calc"]
    assert ended(place.reconcile()) == (0, "nothing_to_do", "already_live")
    assert place.github.issues == []


def end_a_limit(place: LimitsWorld) -> None:
    """Apply a temporary limit, and let it end by the clock."""
    place.commit(temporary(60, in_hours(place.world, 4)))
    place.apply()
    place.world.sandbox.clock.advance(4 * 3600 + 60)


def test_schedule_removes_no_ended_limit_in_an_outage(place: LimitsWorld) -> None:
    """The application has ended the limit by its own clock, so the pause changes nothing for users."""
    end_a_limit(place)
    sandbox = place.world.sandbox
    sandbox.switches.status_pages_lag_seconds = 0
    sandbox.status_pages.begin_incident("cloudflare", "KV errors", {"Workers KV": "major_outage"})
    assert place.calculate(31)[-1] == 429

    paused = place.reconcile(GITHUB_EVENT_NAME="schedule")

    assert ended(paused) == (0, "planned", "provider_outage")
    assert "Cloudflare has an outage (www.cloudflarestatus.com: Workers KV: major outage" in paused.result["message"]
    assert paused.result["message"] in texts(paused, "warning")
    assert "temporary" in place.stored["limits"]["calc"]
    assert place.github.issues == []
    sandbox.clock.advance(3600)
    assert ended(place.reconcile(GITHUB_EVENT_NAME="schedule"))[:2] == (0, "recovered")


def test_incident_that_stays_open_pauses_for_one_day_only(place: LimitsWorld) -> None:
    end_a_limit(place)
    sandbox = place.world.sandbox
    is_slow = StatusIncident(name="KV is slow", components={"Workers KV": "degraded_performance"})
    ends = []
    for hours in (23, 25):
        sandbox.status_pages.cloudflare.incidents = [replace(is_slow, age=timedelta(hours=hours))]
        ends.append(ended(place.reconcile(GITHUB_EVENT_NAME="schedule"))[2])

    assert ends == ["provider_outage", "not_seen_failing"]


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("components", "hours", "reason"),
    [
        ({"Stream": "major_outage"}, 1, "not_seen_failing"),
        ({}, 1, "not_seen_failing"),
        ({"CDN/Cache": "major_outage"}, 23, "provider_outage"),
        ({"CDN/Cache": "major_outage"}, 25, "not_seen_failing"),
    ],
    ids=["another product", "no product", "the edge", "the edge for a day"],
)
def test_major_incident_pauses_only_for_a_product_in_use(
    place: LimitsWorld, components: dict[str, str], hours: int, reason: str
) -> None:
    end_a_limit(place)
    incident = StatusIncident(name="Errors", components=components, impact="critical", age=timedelta(hours=hours))
    place.world.sandbox.status_pages.cloudflare.incidents = [incident]

    assert ended(place.reconcile(GITHUB_EVENT_NAME="schedule"))[2] == reason


def test_component_without_an_incident_does_not_pause(place: LimitsWorld) -> None:
    """Cloudflare may leave it so for weeks, and no start limits the pause."""
    end_a_limit(place)
    place.world.sandbox.status_pages.cloudflare.states["Workers KV"] = "major_outage"

    assert ended(place.reconcile(GITHUB_EVENT_NAME="schedule"))[1] == "recovered"


@pytest.mark.slow
def test_person_removes_an_ended_limit_in_an_outage(place: LimitsWorld) -> None:
    end_a_limit(place)
    sandbox = place.world.sandbox
    sandbox.switches.status_pages_lag_seconds = 0
    sandbox.status_pages.begin_incident("cloudflare", "KV errors", {"Workers KV": "major_outage"})

    assert ended(place.reconcile())[:2] == (0, "recovered")


def test_drift_is_reported_on_one_issue(place: LimitsWorld) -> None:
    place.apply()
    place.world.sandbox.clock.advance(60)
    by_hand = {**place.stored, "limits": {**place.stored["limits"], "calc": {"limit": 5, "period": 60, "key": "ip"}}}
    place.put(by_hand)

    done = place.reconcile()

    assert ended(done) == (0, "nothing_to_do", "drifted")
    (issue,) = drift(place)
    assert "- calc: 5 in 60 s per ip → 30 in 60 s per ip, probed\n" in issue.body
    place.put({**by_hand, "limits": {**by_hand["limits"], "ai": {"limit": 1, "period": 60, "key": "user"}}})
    place.reconcile()
    (issue,) = drift(place)
    assert "ai: 1 in 60 s per user" in issue.body
    assert place.stored["limits"]["calc"]["limit"] == 5
    place.apply()
    place.world.sandbox.clock.advance(60)
    place.reconcile()
    assert (drift(place)[0].state, len(drift(place))) == ("closed", 1)


@pytest.mark.slow
def test_comment_in_file_is_no_drift(place: LimitsWorld) -> None:
    place.apply()
    place.world.sandbox.clock.advance(60)
    place.commit(f"# another\n{SHIPPED}")

    assert ended(place.reconcile()) == (0, "nothing_to_do", "already_live")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hours", "enforce", "incident", "corrects"),
    [(25, True, False, True), (23, True, False, False), (25, False, False, False), (25, True, True, False)],
)
def test_drift_is_corrected_after_a_day_without_incident(
    place: LimitsWorld, hours: int, enforce: bool, incident: bool, corrects: bool
) -> None:
    place.world.edit_config("names: [calc, ai]\n", f"names: [calc, ai]\n        enforce: {str(enforce).lower()}\n")
    place.apply()
    place.put({**place.stored, "limits": {}})
    assert ended(place.reconcile())[2] == "drifted"
    if incident:
        place.github.open_issue("The API answers 500", labels=["incident"], author="alice")

    place.world.sandbox.clock.advance(hours * 3600)
    done = place.reconcile()

    assert (ended(done)[1] == "recovered") is corrects
    assert bool(place.stored["limits"]) is corrects
    assert (drift(place)[0].state == "closed") is corrects


def test_dry_run_closes_no_issue(place: LimitsWorld) -> None:
    place.apply()
    value = place.stored
    place.put({**value, "limits": {}})
    place.reconcile()
    place.put(value)

    done = place.reconcile("--dry-run")

    assert ended(done) == (0, "planned", "dry_run")
    assert drift(place)[0].state == "open"


def test_malformed_kv_value_is_drift(place: LimitsWorld) -> None:
    place.apply()
    place.put("garbage")

    assert ended(place.reconcile()) == (0, "nothing_to_do", "drifted")
    assert "malformed text: not a value of the limits" in drift(place)[0].body


@pytest.mark.slow
def test_drift_without_github_is_only_reported(place: LimitsWorld) -> None:
    repository(place.world.folder)
    place.apply()
    place.put({**place.stored, "limits": {}})
    laptop = dict.fromkeys([*place.github.environ(), "GITHUB_ACTIONS", "GITHUB_SHA"])
    place.world.edit_config("names: [calc, ai]\n", "names: [calc, ai]\n        enforce: true\n")

    done = place.reconcile(**laptop)

    assert ended(done) == (0, "nothing_to_do", "drifted")
    assert "without GitHub the age of the difference is unknown" in done.result["message"]
