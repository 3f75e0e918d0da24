"""Watch that a closed service stays closed: an opening, the reopening, another runner, and no data."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ops.app.scope import Place
from ops.core.errors import Decision, Reason
from ops.core.redaction import Redactor
from ops.core.run_record import read_record
from ops.watch.judgment import WatchResult
from ops.watch.start import WatchPlace, watch_services
from tests.conftest import WORKER, Incident, Outcome, World, job_environ
from tests.support.offline import HOST, MaintenanceWorld, prepared
from tests.support.switches import DECLARED, NAMESPACE
from tests.support.switches import prepared as prepared_switches
from tests.support.webhooks import Receiver, receiving
from tests.watch.test_watch import Killed, at_round, kill

READS = ["Workers Scripts Read", "Workers Routes Read", "Zone Read", "Workers KV Storage Read"]
HALF_HOUR = timedelta(minutes=30)


@pytest.fixture
def place(world: World) -> Iterator[MaintenanceWorld]:
    with prepared(world) as found:
        world.sandbox.add_token("reading", READS)
        world.sandbox.github.add_user("alice")
        yield found


@pytest.fixture
def incident(place: MaintenanceWorld) -> Incident:
    number = place.world.sandbox.github.open_issue("A key has leaked", "", ["incident"], "alice")
    assert place.on("--incident", str(number)).code == 0
    return Incident(place.world, number)


def test_forged_record_of_an_opening_mutes_no_alarm(place: MaintenanceWorld, incident: Incident) -> None:
    """A writer posts the record of an opening before it happens."""
    hub = place.world.sandbox.github
    watch(place, incident.number, {5: deploy_by_ci(place)})
    (notice,) = (each for each in hub.issue(incident.number).comments if '"opening' in each.body)
    hub.issue(incident.number).comments.clear()
    hub.add_user("mallory")
    hub.comment(incident.number, notice.body, "mallory")

    watch(place, incident.number, {})

    authors = [each.user.login for each in hub.issue(incident.number).comments if '"opening' in each.body]
    assert authors == ["mallory", "github-actions[bot]"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def watch(place: MaintenanceWorld, number: int | None, actions: dict[int, Callable[[], object]], **more: str) -> Any:
    """Watch in this process; `actions`: number of looks → what happens after them."""
    sandbox = place.world.sandbox
    environ = {**sandbox.environ(), **job_environ(sandbox.github), "CLOUDFLARE_API_TOKEN": "reading", **more}
    (result,) = watch_services(
        [WatchPlace(Place("production", "api"), number, is_closed=True)],
        place.world.config,
        environ,
        Redactor(),
        duration=HALF_HOUR,
        on_round=at_round(actions),
    )
    return result


def command(place: MaintenanceWorld, incident: Incident, *arguments: str) -> Outcome:
    where = ["--service", "api", "--environment", "production", "--config", str(place.world.config)]
    asked = ["watch", "--closed", *where, "--incident", str(incident.number), *arguments]
    return incident.ops(*asked, CLOUDFLARE_API_TOKEN="reading")


def deploy_by_ci(place: MaintenanceWorld) -> Callable[[], None]:
    """Return a function that sets one of two routes, as a deployment does."""

    def deploy() -> None:
        routes = place.zone.routes
        (former,) = (each for each in routes.values() if each.pattern == f"{HOST}/*")
        routes[former.id] = replace(former, script=WORKER)

    return deploy


def watch_body(incident: Incident) -> str:
    (body,) = (each for each in incident.bodies if (found := read_record(each)) and found.source == "watch")
    return body


def notices(incident: Incident) -> list[str]:
    return [each for each in incident.bodies if (found := read_record(each)) and found.source == "opening"]


def test_closed_service_is_looked_at_each_minute_for_half_an_hour(place: MaintenanceWorld, incident: Incident) -> None:
    world = place.world
    before, writes = world.sandbox.clock.now(), len(world.writes())

    outcome = command(place, incident, "--json")

    assert outcome.code == 0, outcome.err
    assert (outcome.result["decision"], outcome.result["reason"]) == ("nothing_to_do", "already_off")
    assert outcome.result["rounds"] == "h" * 30
    assert world.sandbox.clock.now() - before >= HALF_HOUR
    assert len(world.writes()) == writes
    assert "api in production is closed at the end of the watch" in watch_body(incident)
    assert "30 closed" in watch_body(incident)
    assert "Nobody looks from now on" in watch_body(incident)
    assert notices(incident) == []


def test_opening_by_a_deployment_is_reported_on_the_incident_and_in_chat(
    place: MaintenanceWorld, incident: Incident, receiver: Receiver
) -> None:
    issue = place.world.sandbox.github.issue(incident.number)

    def deploy() -> None:
        deploy_by_ci(place)()
        issue.state = "closed"

    found: WatchResult = watch(place, incident.number, {5: deploy}, **receiver.environ)

    assert (found.decision, found.reason, found.exit_code) == (Decision.RELAPSED, Reason.OPEN_ALTHOUGH_CLOSED, 7)
    assert found.state.rounds == "hhhhhu"
    assert found.is_published
    assert issue.state == "open"
    (notice,) = notices(incident)
    assert f"api in production is OPEN although closed: {HOST} leads to {WORKER}" in notice
    assert "Close it again: " in notice
    assert "--state on" in notice
    (message,) = receiver.texts
    assert f"api in production is OPEN although closed: {HOST} leads to {WORKER}. Close it again: " in message

    again: WatchResult = watch(place, incident.number, {}, **receiver.environ)
    assert again.decision == Decision.RELAPSED
    assert (len(notices(incident)), len(receiver.texts)) == (1, 1)  # the first opening is reported, once

    assert place.on("--incident", str(incident.number)).code == 0
    deploy_by_ci(place)()
    watch(place, incident.number, {})
    assert len(notices(incident)) == 2


def test_opening_is_reported_once_by_jobs_that_may_not_read_runs(
    place: MaintenanceWorld, incident: Incident, receiver: Receiver
) -> None:
    """The scheduled job of release 0.1.1 has no `actions: read`, and it looks every few minutes."""
    former = place.world.sandbox.github.add_workflow_token("ghs_former", {"contents": "read", "issues": "write"})
    deploy_by_ci(place)()

    for _ in range(3):
        found: WatchResult = watch(place, incident.number, {}, GITHUB_TOKEN=former, **receiver.environ)
        assert found.decision == Decision.RELAPSED

    assert (len(notices(incident)), len(receiver.texts)) == (1, 1)


def close_for_others(place: MaintenanceWorld, count: int) -> list[int]:
    """Return so many other incidents that need the service closed."""
    others = [place.world.sandbox.github.open_issue("Data is wrong", "", ["incident"], "alice") for _ in range(count)]
    for number in others:
        assert place.on("--incident", str(number)).code == 0
    return others


def test_opening_is_reported_on_each_incident_that_needs_the_service_closed(
    place: MaintenanceWorld, incident: Incident
) -> None:
    """Of the others, one lost its label and one was deleted (docs.github.com/rest/issues/issues#get-an-issue: 410)."""
    github, others = place.world.sandbox.github, close_for_others(place, 3)
    github.issue(others[0]).labels.clear()
    github.fault(path=f"/repos/*/*/issues/{others[1]}", status=410, times=None)

    for _watch in range(2):
        found = watch(place, incident.number, {2: deploy_by_ci(place)})
        assert (found.decision, found.is_published) == (Decision.RELAPSED, True)

    assert [len(notices(Incident(place.world, number))) for number in (incident.number, *others)] == [1, 0, 0, 1]


def test_opening_is_reported_on_the_other_incidents_if_one_cannot_be_read(
    place: MaintenanceWorld, incident: Incident
) -> None:
    others = close_for_others(place, 2)
    place.world.sandbox.github.fault(path=f"/repos/*/*/issues/{others[0]}", status=403, times=None)

    found = watch(place, incident.number, {2: deploy_by_ci(place)})

    assert (found.decision, found.is_published) == (Decision.RELAPSED, False)
    assert [len(notices(Incident(place.world, number))) for number in (incident.number, *others)] == [1, 0, 1]


@pytest.mark.slow
def test_reopening_ends_the_watch(place: MaintenanceWorld, incident: Incident) -> None:
    found = watch(place, incident.number, {3: lambda: place.off("--incident", str(incident.number))})

    assert (found.decision, found.reason, found.state.rounds) == (Decision.NOTHING_TO_DO, Reason.NOT_OFF, "hhhh")
    assert "is not closed: it was reopened" in watch_body(incident)
    assert notices(incident) == []


@pytest.mark.slow
def test_route_that_a_run_just_opened_is_no_opening(place: MaintenanceWorld, incident: Incident) -> None:
    """A run opens the routes first, and stores that afterwards: the second look sees both."""

    def reopen() -> None:
        place.off("--incident", str(incident.number))

    def open_and_store() -> None:
        deploy_by_ci(place)()
        place.world.sandbox.clock.on_sleep = reopen

    found = watch(place, incident.number, {3: open_and_store})

    assert (found.decision, found.reason) == (Decision.NOTHING_TO_DO, Reason.NOT_OFF)


def test_unread_looks_are_unknown_and_not_closed(place: MaintenanceWorld, incident: Incident) -> None:
    place.world.sandbox.fault(method="GET", path="/zones", times=None, status=403, code=10000)

    outcome = command(place, incident, "--for", "5m")

    assert outcome.code == 8
    assert "unknown whether it is still closed" in outcome.out
    assert "5 unknown" in outcome.out
    assert "403" in watch_body(incident)


@pytest.mark.slow
def test_watch_that_lost_its_runner_continues_as_one_of_a_closed_service(
    place: MaintenanceWorld, incident: Incident
) -> None:
    with pytest.raises(Killed):
        watch(place, incident.number, {4: kill})
    place.world.sandbox.clock.advance(7 * 60)
    assert "--closed" in watch_body(incident)

    where = ["--stopped", "--incident", str(incident.number), "--config", str(place.world.config)]
    outcome = incident.ops("watch", *where, "--json", CLOUDFLARE_API_TOKEN="reading")

    assert outcome.code == 0, outcome.err
    assert outcome.result["rounds"][:4] == "hhhh"
    assert outcome.result["rounds"].count(".") >= 5
    assert outcome.result["closed"] is True


@pytest.mark.slow
def test_watch_of_health_and_of_the_closure_have_their_own_comments(
    place: MaintenanceWorld, incident: Incident
) -> None:
    with pytest.raises(Killed):
        watch(place, incident.number, {2: kill})

    where = ["--service", "api", "--environment", "production", "--for", "2m", "--config", str(place.world.config)]
    incident.ops("watch", *where, "--incident", str(incident.number), CLOUDFLARE_API_TOKEN="reading")

    records = [read_record(each) for each in incident.bodies]
    watches = [each for each in records if each and each.source == "watch"]
    assert [each.watch.get("closed") for each in watches] == [True, None]
    assert [each.decision for each in watches] == ["", "no_evidence"]


def test_watch_of_a_switch_looks_at_what_the_application_shows(world: World) -> None:
    """A deployment binds another namespace, in which the switch was never set."""
    switched = prepared_switches(world)
    switched.put("maintenance", state="on", incident=42)
    other = [{"type": "kv_namespace", "name": "OPS_RUNTIME", "namespace_id": "0" * 32}]
    world.edit_config("        worker: fortunet-api", "        maintenance: switch\n        worker: fortunet-api")
    where = ["--service", "api", "--environment", "production", "--config", str(world.config), "--for", "2m"]
    calm = world.ops("watch", "--closed", *where, CLOUDFLARE_API_TOKEN="switching")
    world.release(timedelta(), code="rebound", bindings=other, behaviour={"runtime": DECLARED})
    world.sandbox.clock.advance(300)

    found = world.ops("watch", "--closed", *where, CLOUDFLARE_API_TOKEN="switching")

    assert (calm.code, found.code) == (0, 7), calm.out
    assert "api in production is OPEN although closed: api shows maintenance = off, and KV on" in found.out
    assert "Check that the deployed Worker reads this KV namespace" in found.out


@pytest.mark.parametrize("shown", ["without the switch", "no state"])
def test_switch_that_the_application_does_not_show_leaves_its_state_unknown(world: World, shown: str) -> None:
    switched = prepared_switches(world)
    switched.put("maintenance", state="on", incident=42)
    world.edit_config("        worker: fortunet-api", "        maintenance: switch\n        worker: fortunet-api")
    others = {name: each for name, each in DECLARED["switches"].items() if name != "maintenance"}
    behaviour = {"runtime": {**DECLARED, "switches": others}} if shown == "without the switch" else {}
    bound = [{"type": "kv_namespace", "name": "OPS_RUNTIME", "namespace_id": NAMESPACE}]
    world.release(timedelta(), code="other", bindings=bound, behaviour=behaviour)
    world.sandbox.clock.advance(300)

    where = ["--service", "api", "--environment", "production", "--config", str(world.config), "--for", "2m"]
    found = world.ops("watch", "--closed", *where, CLOUDFLARE_API_TOKEN="switching")

    assert found.code == 8, found.out
    assert ("does not show maintenance" in found.out) == (shown == "without the switch"), found.out
