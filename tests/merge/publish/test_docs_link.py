"""Each end of a run leads to the page about its reason: terminal, JSON, comment, record and watch."""

import pytest

from tests.conftest import ROOT, Incident, World
from tests.support.shop import Shop, open_shop

REASONS = (ROOT / "docs/reference/reasons.md").read_text()


@pytest.fixture
def shop(world: World) -> Shop:
    world.sandbox.switches.propagation_seconds = 0
    return open_shop(world)


def test_end_leads_to_the_page_of_its_reason(shop: Shop) -> None:
    github = shop.world.sandbox.github
    github.add_user("mai")
    incident = Incident(shop.world, github.open_issue("Cart fails", "", ["incident"], "mai"))
    given = ("rollback-worker", "--service", "web", "--incident", "1", "--yes")

    first = shop.ops(*given, "--json", **github.environ())
    again = shop.ops(*given, **github.environ())
    wrong = shop.ops("versions", "wbe", "--environment", "live")

    page = first.result["docs"]
    assert page.endswith(f"/acme/operations/blob/HEAD/docs/reference/reasons.md#{first.result['reason']}")
    assert f"## `{first.result['reason']}`\n" in REASONS
    assert f"[meaning of `{first.result['reason']}`]({page})" in incident.bodies[0]
    assert f"  meaning of already_stepped_back: {page.partition('#')[0]}#already_stepped_back" in again.out
    assert " docs: docs/reference/reasons.md#unknown_name" in wrong.err.splitlines()


def test_outage_verdict_leads_to_its_page(shop: Shop) -> None:
    github = shop.world.sandbox.github
    github.add_user("mai")
    incident = Incident(shop.world, github.open_issue("Cart fails", "", ["incident"], "mai"))

    outcome = shop.ops("check-outage", "web", "--incident", "1", "--json", **github.environ())

    heading = "See whether it is an outage"
    page, verdict = outcome.result["docs"], outcome.result["verdict"]
    assert page.endswith(f"/acme/operations/blob/HEAD/docs/how-to/incidents.md#{heading.lower().replace(' ', '-')}")
    text = (ROOT / "docs/how-to/incidents.md").read_text()
    assert f"## {heading}\n" in text
    assert f"\n| {verdict} |" in text
    assert f"[meaning of `{verdict}`]({page})" in incident.bodies[0]


def test_watch_leads_to_the_page_of_its_reason(shop: Shop) -> None:
    shop.world.sandbox.deploy("shop-web", shop.good)
    shop.world.sandbox.clock.advance(60)
    given = ("watch", "--service", "web", "--for", "2m")

    page = shop.ops(*given, "--json").result["docs"]

    assert page.endswith("docs/reference/reasons.md#verified")
    assert f"meaning of verified: {page}" in shop.ops(*given).out
