"""The start that people state on the incident form, in the report of a shop."""

import pytest

from ops.core.clock import parse_utc
from tests.conftest import Incident, World
from tests.report.test_watch import moment, report
from tests.support.shop import Shop, open_shop

NOW = parse_utc("2026-11-24T03:20:00Z")


@pytest.mark.parametrize(
    ("stated", "shown"),
    [
        ("2026-11-24 04:11 +01:00", "03:11:00"),
        ("23:11", "23:11:00"),
        ("2026-11-24 05:11", '"2026-11-24 05:11" in the issue form is no past time'),
        ("_No response_", "not given in the issue form"),
    ],
)
def test_report_shows_the_stated_start_or_why_it_is_unknown(world: World, stated: str, shown: str) -> None:
    world.sandbox.clock.set(NOW)
    shop: Shop = open_shop(world)
    hub = world.sandbox.github
    hub.add_user("mai")
    form = f"### When it began (UTC)\n\n{stated}\n"
    incident = Incident(world, hub.open_issue("Cart is down", form, ["incident"], "mai", at=NOW))
    shop.world.sandbox.clock.advance(20)

    line = moment(report(incident, shop), "Started")

    assert shown in line.replace("&quot;", '"').replace("`", '"'), line
