"""A watch completes the report: its result, the mitigation, and a timeline without a gap."""

import re
from datetime import timedelta

import pytest

from ops.core.clock import parse_utc
from ops.core.run_record import is_edited
from tests.conftest import Incident, Outcome, World
from tests.support.shop import WORKER, Shop, open_shop
from tests.watch.test_watch import Killed, kill
from tests.watch.test_watch import watch as watch_in_process

NOW = parse_utc("2026-11-24T03:20:00Z")


@pytest.fixture
def shop(world: World) -> Shop:
    world.sandbox.clock.set(NOW)
    world.sandbox.switches.propagation_seconds = 0
    return open_shop(world)


@pytest.fixture
def incident(shop: Shop) -> Incident:
    """An incident whose recovery is three minutes old."""
    hub = shop.world.sandbox.github
    hub.add_user("mai")
    form = "### When it began (UTC)\n\n2026-11-24 03:11\n"
    found = Incident(shop.world, hub.open_issue("Cart is down", form, ["incident"], "mai", at=NOW))
    assert run(found, shop, "rollback-worker", "--service", "web", "--environment", "live", "--yes").code == 0
    shop.world.sandbox.clock.advance(180)
    return found


def run(incident: Incident, shop: Shop, *arguments: str) -> Outcome:
    where = ("--incident", str(incident.number), "--config", str(shop.world.config))
    return incident.ops(*arguments, *where, **shop.environ())


def watch(incident: Incident, shop: Shop, *more: str) -> int:
    return run(incident, shop, "watch", "--service", "web", "--for", "20m", *more).code


def report(incident: Incident, shop: Shop) -> str:
    where = (str(incident.number), "--config", str(shop.world.config))
    outcome = incident.ops("incident", "report", *where, **shop.environ())
    assert outcome.code == 0, outcome.err
    (page,) = [issue for issue in incident.github.issues if issue.find_label("post-incident")]
    return (page.body or "").replace("\u200b", "").replace("&#8203;", "").replace("&#58;", ":")


def moment(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if name in line)


@pytest.mark.slow
def test_healthy_watch_confirms_the_mitigation_of_the_run(incident: Incident, shop: Shop) -> None:
    assert watch(incident, shop) == 0

    text = report(incident, shop)

    assert re.search(r"The \[watch\]\(\S+\) after it ended \*\*mitigated\*\*", text)
    assert "recovered web at 03:20 UTC, and a watch confirmed it" in text
    assert "- [ ] Monitor for 30 minutes\n" in text
    assert "| 03:20:0" in moment(text, "**Mitigated**")
    assert "in all required rounds, and in the watch until 03:43:" in moment(text, "**Mitigated**")
    assert "no record for" not in text.partition("incident opened")[2]
    assert "healthy from this time to the end of the watch" in text


def test_long_watch_ticks_its_step_in_report_and_comment(incident: Incident, shop: Shop) -> None:
    """No person has to tick the 30 healthy minutes."""
    assert run(incident, shop, "watch", "--service", "web", "--for", "30m").code == 0

    text = report(incident, shop)

    assert "- [x] Monitor for 30 minutes (recorded)\n" in text
    (comment,) = [body for body in incident.bodies if "Monitor for 30 minutes" in body]
    assert "- [x] Monitor for 30 minutes\n" in comment
    assert "- [ ] Review user feedback (people, in the report)\n" in comment
    assert not is_edited(comment)


@pytest.mark.slow
def test_service_that_wavers_is_mitigated_when_it_became_green(incident: Incident, shop: Shop) -> None:
    shop.world.sandbox.edge_fault(path="/cart", status=500, times=2)
    assert watch(incident, shop) == 0

    line = moment(report(incident, shop), "**Mitigated**")

    assert "| 03:24:" in line
    assert "healthy from then to the end of the watch, 03:43:" in line


def test_relapse_leaves_the_incident_unmitigated(incident: Incident, shop: Shop) -> None:
    shop.world.sandbox.edge_fault(path="/cart", status=500, times=None)
    assert watch(incident, shop) == 7

    text = report(incident, shop)

    assert "after it ended **relapsed**" in text
    assert "web is broken again since" in text
    assert "Mitigated: the watch found a relapse at 03:25:" in text
    assert "start to mitigation" not in text


@pytest.mark.slow
def test_second_recovery_after_a_relapse_counts(incident: Incident, shop: Shop) -> None:
    sandbox = shop.world.sandbox
    sandbox.deploy(WORKER, shop.bad)
    assert watch(incident, shop) == 7
    assert run(incident, shop, "rollback-worker", "--service", "web", "--environment", "live", "--yes").code == 0

    text = report(incident, shop)

    assert text.count("after it ended **relapsed**") == 1
    assert re.search("rollback-worker recovered web at .*; it took .* from the start to the last recovery", text)
    assert "probes of the run healthy in all required rounds" in moment(text, "**Mitigated**")


@pytest.mark.slow
def test_watch_that_died_is_a_row(incident: Incident, shop: Shop) -> None:
    with pytest.raises(Killed):
        watch_in_process(shop, incident.number, actions={10: kill})
    shop.world.sandbox.clock.advance(1800)

    text = report(incident, shop)

    assert "after it has no result yet" in text
    assert re.search(r"03:28:0\d \[watch stopped\]\(\S+\): no later round", text)


@pytest.mark.slow
def test_time_between_two_runners_is_a_row(incident: Incident, shop: Shop) -> None:
    with pytest.raises(Killed):
        watch_in_process(shop, incident.number, actions={10: kill}, duration=timedelta(minutes=20))
    shop.world.sandbox.clock.advance(690)
    assert watch(incident, shop) == 0

    text = report(incident, shop)

    assert re.search(r"03:28:0\d \[warning\]\(\S+\): not probed for 11 min", text)
    assert "no record for" not in text.partition("incident opened")[2]
