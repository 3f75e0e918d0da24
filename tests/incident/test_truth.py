"""Incidents from posted records: each surface says what the truth table of the story says."""

from collections.abc import Callable

import pytest

from tests.conftest import World
from tests.support.configurations import TEN_SERVICES
from tests.support.long_incidents import LongIncident, assert_truth, parse_time, read_truths
from tests.support.shop import open_shop

Story = Callable[[LongIncident], None]
TRUTHS = read_truths(__file__)


def no_run(night: LongIncident) -> None:
    night.wait_until("03:30")


def rollback(night: LongIncident) -> None:
    night.post_rollback("03:20", "web")


def confirmation(night: LongIncident) -> None:
    night.post_rollback("03:20", "web")
    rows = {
        "03:25:00 requested": "rollback-worker service=web in live (bo)",
        "03:25:01 planned": "already rolled back: good0000, deployed 2026-11-24 03:20:02 UTC by ci (api)",
        "03:25:02 verified": "healthy, seen from FRA",
        "03:25:02 ended": "nothing_to_do",
    }
    end = {"decision": "nothing_to_do", "reason": "already_stepped_back", "state": "Nothing to do", "live": "unchanged"}
    night.post("03:25:02", rows, service="web", **end)


def two_environments(night: LongIncident) -> None:
    night.post_rollback("03:20", "web")
    night.post_rollback("03:25", "web", environment="staging", ended="still_unhealthy")


def several_services(night: LongIncident) -> None:
    night.post_rollback("03:20", "cart")
    night.post_rollback("03:25", "orders")
    rows = {
        "03:30:00 requested": "rollback-worker service=mail in prod (mai)",
        "03:30:01 planned": "Worker nordmart-mail: bad00000 → good0000",
        "03:30:02 writing": "Worker nordmart-mail: bad00000 → good0000",
        "03:30:03 ended": "failed",
    }
    end = {"decision": "failed", "reason": "provider_rejected", "state": "Failed", "live": "unchanged"}
    night.post("03:30:03", rows, service="mail", **end)


def switch(night: LongIncident) -> None:
    rows = {
        "03:20:00 requested": "feature name=session-do state=off in production (alice)",
        "03:20:01 planned": "session-do: off until 2026-11-24 05:20:00 UTC",
        "03:20:01 probed": "before: runtime not as requested: json switches.session-do.state; health healthy",
        "03:20:02 written": "Cloudflare accepted it: session-do = off",
        "03:20:06 verified": "healthy, seen from FRA",
        "03:20:06 ended": "recovered",
    }
    end = {"decision": "recovered", "reason": "verified", "state": "Recovered", "live": "live"}
    night.post("03:20:06", rows, service="api", runbook="feature", health_before="healthy", **end)


def midnight(night: LongIncident) -> None:
    night.post_rollback("11-25 00:10", "api", asked="alice")


def responders_note(night: LongIncident) -> None:
    night.note("03:31", "mai", "2026-11-24 03:12 detected by a customer's call")
    night.note("03:32", "mai", "2026-11-24 03:30 recovered web: restarted by the provider")


def unfinished(night: LongIncident) -> None:
    rows = {
        "03:20:00 requested": "rollback-worker service=api in production (alice)",
        "03:20:01 planned": "Worker fortunet-api: bad00000 → good0000",
        "03:20:02 writing": "Worker fortunet-api: bad00000 → good0000",
    }
    night.post("03:20:02", rows, service="api")
    night.wait_until("04:30")


def forged(night: LongIncident) -> None:
    night.hub.add_user("mallory", "read")
    night.post_rollback("03:20", "api", by="mallory")
    night.post_rollback("03:21", "api", workflow="evil.yml")


def edited(night: LongIncident) -> None:
    comment = night.post_rollback("03:20", "web")
    body = night.bodies[-1]
    night.hub.add_user("eve")
    night.hub.edit_comment(night.number, comment, body.replace("A comment.", "Another text."), "eve")


def deleted(night: LongIncident) -> None:
    comment = night.post_rollback("03:20", "web")
    night.wait_until("03:25")
    night.hub.add_user("eve")
    night.hub.delete_comment(night.number, comment, "eve")


def future(night: LongIncident) -> None:
    night.post_rollback("11-26 03:20", "web", posted="03:20")


ON_SHOP: dict[str, Story] = {
    "no-run": no_run,
    "rollback": rollback,
    "confirmation": confirmation,
    "two-environments": two_environments,
    "responders-note": responders_note,
    "edited": edited,
    "deleted": deleted,
    "future": future,
}
ON_REFERENCE: dict[str, Story] = {"midnight": midnight, "switch": switch, "unfinished": unfinished, "forged": forged}


@pytest.mark.parametrize("name", ON_SHOP)
def test_incident_of_a_shop_equals_its_truth_table(world: World, name: str) -> None:
    world.sandbox.clock.set(parse_time("03:00"))
    shop = open_shop(world, staging=name == "two-environments")
    night = LongIncident(world, "live", shop.environ())
    night.open("03:15", "mai", service="web", began="03:11")

    ON_SHOP[name](night)

    assert_truth(night, TRUTHS[name])


def test_incident_of_several_services_lasts_until_the_last_one(world: World) -> None:
    world.sandbox.clock.set(parse_time("03:00"))
    world.config.write_text(TEN_SERVICES.read_text())
    night = LongIncident(world, "prod", {"NORDMART_PROD_TOKEN": world.sandbox.token})
    night.open("03:15", "mai", began="03:11")

    several_services(night)

    assert_truth(night, TRUTHS["several-services"])


@pytest.mark.parametrize("name", ON_REFERENCE)
def test_incident_of_the_reference_equals_its_truth_table(world: World, name: str) -> None:
    began, opened = ("23:40", "23:50") if name == "midnight" else ("03:11", "03:15")
    world.sandbox.clock.set(parse_time(began))
    night = LongIncident(world, "production", {})
    night.open(opened, "alice", service="api", began=began)

    ON_REFERENCE[name](night)

    assert_truth(night, TRUTHS[name])
